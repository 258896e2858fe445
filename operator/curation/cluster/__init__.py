"""The only code that talks to the API server: one connection pool, reads, conditioned writes, events, lease, cache.

The reconciler and the command line call it; it knows nothing of phases, runs or policies. Two rules hold everywhere:
a write carries the resourceVersion that it was computed from and is sent once, and a known object is replaced only
by a newer one.
"""
