"""`make e2e`: the end-to-end tests of `tests/e2e`, on a cluster with a real node.

Which cluster is `target`'s business: a node that a kit builds and runs on this machine, or the one of the current
kubeconfig. The tests install the operator there by its image and its manifests, and take it away in the end.
"""
