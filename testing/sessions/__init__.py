"""The session service of the demo and the tests: a real HTTP server that the shipped module talks to.

It is the witness of every test about stale runs: it records each call by run id, holds and releases answers on command,
and says at the end which sessions live. The demo starts it as `python -m testing.sessions`; tests use `SessionService`
in their own event loop. Nothing of it is part of the operator. README.md beside this file lists its HTTP interface.
"""

from testing.sessions.faults import Rule
from testing.sessions.journal import Entry
from testing.sessions.service import SessionService

__all__ = ["Entry", "Rule", "SessionService"]
