"""Who is asked for permission, and what has been permitted.

The jobs' reconciler calls `asking`, which has `making` create a CurationApproval for each denied request; `waiters`
knows which jobs wait for which approval. `grants` puts approvals in force in the very call of the cache that receives
them. `approval_status` is the reconciler of CurationApprovals, called by the workers of the queue.
"""
