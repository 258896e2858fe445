"""Where the pure decisions meet the cluster: kopf's handlers, the work queue, one reconciler for each concern.

`cli.operator` runs it through `process.lifetime`. Five rooms, each importing only those below it (`make lint`):

- `process`: one operator process, put together, led and stopped;
- `jobs`: what is next for a job, its executions, and what they have come to;
- `approvals` and `sources`, which do not know each other: who is asked for permission, and what a run is made of;
- `runtime`: what every reconciler uses: the queue, the caches, conditioned writes, metrics, health.
"""
