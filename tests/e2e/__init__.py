"""End-to-end tests: the operator as a user installs it, by its image and its manifests, on a cluster with a real node.

`make e2e` gives them a cluster; without one they are skipped. They run one after another: the operator that they stop,
kill and replace is one for all. Only kubectl is used, so that they need no more of the cluster than a user has.
"""
