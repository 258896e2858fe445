"""The webhook: what kubectl is told about an object before it is stored.

`listener` serves TLS, in a child of its own, so that nobody who reaches the port delays the operator; `reviews` are
what the API server asks and is answered, `messages` what the child and the operator say to each other.
"""
