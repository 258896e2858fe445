"""What tests, the demo and the benchmarks run the operator against, each as programs of their own.

`controlplane` is a real API server (etcd, kube-apiserver, kubectl), `sessions` the service that modules call, `gitops`
Flux' real controllers, `operator_process` the operator as it is shipped, `admin_client` an admin's access to objects.
Called by tests/, demo/, bench/ and the Makefile; nothing of it is in the product.
"""
