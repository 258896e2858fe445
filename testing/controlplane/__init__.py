"""The local control plane: a real etcd, kube-apiserver and kube-controller-manager, without nodes.

The demo, the integration tests and the benchmarks run against it, because only a real API server knows what a 409 is.
`server.ControlPlane` starts one, `pytest_plugin` shares one among the tests of a run, and
`python -m testing.controlplane` serves `make controlplane` and people.
"""
