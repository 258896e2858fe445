"""Removes one guard of the fence at a time, to show that it is needed."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from curation.lifecycle import decide as deciding
from curation.lifecycle import fence
from curation.lifecycle.outcome import Liveness
from tests.models import executor
from tests.models.world import Guards

Disable = Callable[[pytest.MonkeyPatch], Guards]
"""Removes a guard while the patch lasts; the guards that are left to the driver."""


def without_check(reason: str) -> Disable:
    """Without one of the checks of `curation.lifecycle.fence`."""

    def disable(patch: pytest.MonkeyPatch) -> Guards:
        left = tuple(check for check in fence.CHECKS if check[0] != reason)
        assert len(left) == len(fence.CHECKS) - 1
        patch.setattr(fence, "CHECKS", left)
        return Guards()

    return disable


def without(guard: str) -> Disable:
    """Without a guard that is the driver's to keep."""
    return lambda _: replace(Guards(), **{guard: False})


def without_finalizer_first(patch: pytest.MonkeyPatch) -> Guards:
    """Claims are computed from objects without our finalizer too."""
    patch.setattr(deciding, "_needs_finalizer", lambda job: False)
    return Guards()


def without_holder_rule(patch: pytest.MonkeyPatch) -> Guards:
    """Whatever Submitted run a process does not execute itself, it takes for dead."""
    patch.setattr(executor, "process_liveness", lambda held, known: Liveness.GONE)
    return Guards()
