"""The Curation Operator: gated WebAssembly runs that start agent sessions, fenced so that no stale run can touch a job.

The folders are layers, each importing only those before it: api, lifecycle, authz, egress, wasm, execution, cluster,
reconciler, cli. Below them all are `turns` and `isolation`, which know nothing of this project. import-linter enforces
it.
"""
