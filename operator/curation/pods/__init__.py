"""Guests in pods of the cluster: a run's guest is in a pod of its own, and its calls go through its namespace's worker.

`carrier` is what the pod runs: it holds the pod's token, ends TLS, and has a guest host as its child. `door` is where
it knocks: a process beside the workers, which hears of the operator (`door_host`) whom it may let in. `guests` is the
worker's side, which believes nothing of what it hears; `frames` is what carrier, door and worker say to each other, and
`seam` is what is asked of whoever makes pods and judges who knocks. Nothing here talks to the API server.
"""
