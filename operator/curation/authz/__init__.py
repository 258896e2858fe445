"""Cedar decides every outbound call of a module: policy texts, what is in force, grants, and the gate.

Called by `execution.calls` (`Gate.authorize`), by the policy and approval reconcilers (`PolicyBook`), and by
`kubectl curation check-policy` (`check_policy`). It does no I/O, and it is the only code that calls cedarpy.
"""
