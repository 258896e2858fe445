"""Where the pure decisions meet the cluster: kopf handlers, the work queue, and one reconciler for each concern.

`cli.operator` runs it through `process.run`. A handler only records what was seen and wakes a key; a worker takes the
key, decides from the newest known object, and writes conditioned on exactly that object.
"""
