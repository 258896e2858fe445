"""One operator process: put together, led, stopped. Called by `cli.operator`; the only room that knows kopf.

`lifetime` makes the parts, and `stopping` has the order in which they end; `assembly` makes the reconcilers.
`leadership` works while the lease is held, `first_reads` is what must be known before the first decision. `handlers`
are kopf's: each only records what kopf has delivered.
"""
