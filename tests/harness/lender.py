"""Operators that serve many tests, one after another, each test in a namespace of its own.

Starting an operator costs more than most tests of faces. With `--lend-operators N` each test worker starts one for
N namespaces, and lends it to N tests; a test that needs another kind of operator, or kills it, is marked `own_operator`
and has its own as ever, in a namespace that no lent operator serves.
"""

from collections.abc import Callable

from testing.controlplane import namespaces
from testing.controlplane.connection import Connection
from testing.operator_process import OperatorProcess

Make = Callable[..., OperatorProcess]
"""Makes an operator for these namespaces."""


class Lender:
    """Of one test worker."""

    def __init__(self, connection: Connection, size: int) -> None:
        self._connection = connection
        self._size = size
        self._free: list[str] = []
        self._operator: OperatorProcess | None = None
        self._spoiled = True

    async def namespace(self) -> str:
        """A namespace that no test has had."""
        if self._operator is not None and not self._operator.running:
            self._spoiled = True
        if self._spoiled or not self._free:
            await self.close()
            self._free = [namespaces.create(self._connection, "lent operator") for _ in range(self._size)]
            self._spoiled = False
        return self._free[-1]

    def done(self, namespace: str) -> None:
        """The test is over."""
        self._free.remove(namespace)
        namespaces.delete(self._connection, namespace)

    async def lend(self, make: Make, changed: Callable[[], None]) -> OperatorProcess:
        """The operator, which is made when there is none."""
        if self._operator is None:
            self._operator = make(*self._free)
            await self._operator.start()
        assert self._operator.running, "the lent operator has ended by itself"
        await self._operator.lend(changed)
        return self._operator

    def spoil(self) -> None:
        """A test has failed: let the next begin with another operator."""
        self._spoiled = True

    async def close(self) -> None:
        """Stop, and delete what no test has had."""
        operator, self._operator = self._operator, None
        if operator is not None and operator.running:
            await operator.stop()
        for namespace in self._free:
            namespaces.delete(self._connection, namespace)
        self._free = []
