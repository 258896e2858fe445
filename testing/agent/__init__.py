"""An agent that speaks Agent2Agent: the server of the official SDK, as a process, with an executor made for tests.

The module a2a-v1 is proven against it. The first word of a message says what the agent does (`executor.py`), and
`/control` makes it fail (`faults.py`). Nothing of it is part of the operator.
"""
