"""What tests of the running operator are made of: the operator as a process, a witness, and the history of its jobs.

Called by the integration tests, the gauntlet and the stress tests. `tests/conftest.py` loads its fixtures.
"""
