"""One job at a time: settle what has ended, decide what is next, write it, launch what was claimed.

`reconciler` is called by the workers of the queue for each CurationJob that needs work. It decides with `lifecycle` and
uses the rest of this room: what is remembered of each job (`memory`), what is to be executed (`orders`), the executions
of this process (`runs`, and `attempt` for one of them), the write of an outcome (`completion`), Observe
(`observation`), Cancel (`cleanup`) and the holder rule (`takeover`).
"""
