"""`make demo`: the main job of the operator, from nothing, on a real API server, in one screen.

Ten jobs are applied at once; the answers of three first attempts arrive only after all ten have been retried. The demo
shows that these stale completions are dropped and that no running session dies, and fails if that is not so. Everything
in it is real: the control plane of `testing.controlplane`, the operator as its own process under its shipped role, the
session service of `testing.sessions` as another, kubectl and the files in `manifests/`. README.md shows its output.
"""
