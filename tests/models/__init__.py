"""Small models of what surrounds the lifecycle: the API server, the session service, the reconciler's processes.

The state machine and the guard tests in `tests/unit/lifecycle` run the real reconciler of jobs in this world.
The API server's model is held against the real one by `tests/integration/test_apiserver_model.py`.
"""
