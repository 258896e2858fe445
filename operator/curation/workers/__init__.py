"""A process for each busy namespace, in which its modules run: a cell. The operator's side, the worker, what they say.

What a tenant can choose the cost of (a module, the policies that decide about its calls, what a service answers) is
worked on in the worker of its namespace, which has a copy of that namespace's policies and credentials, no token, and
can be ended at any time. `executor` is the operator's side, for `reconciler.process`; `worker` is the process; `frames`
are what the two say to each other, and `page` is the fence between them, which a worker asks before bytes leave.
"""
