"""One operator process: put together, led, stopped. Called by `cli.operator`; the only room that knows kopf.

`lifetime` makes the parts and ends them in order, `leadership` works while the lease is held, `first_reads` is what
must be known before the first decision, `handlers` are kopf's. A handler only records what was seen.
"""
