"""What every reconciler uses; it knows none of them.

`context` is what the reconcilers of one process share: access to the cluster, caches, the work queue (`queue`) and the
one way to write (`writes`, with `refusals` and `unreadable`). `metrics`, `health` and `health_server` show how the
process does. The rooms above call it; only `process` makes its parts.
"""
