"""The processes of the demo besides the control plane: the session service and the operator (`testing.supervised`)."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from demo.board import WAIT_SECONDS
from demo.reach import Reach
from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER
from testing.supervised import OPERATOR, Supervised

DROPPED: Final = "dropped a stale completion"
_LEISURELY_SECONDS = 1.0


class Stage(Supervised):
    """Starts and stops both; a context manager. The cluster must be there for longer."""

    def __init__(self, cluster: Reach) -> None:
        super().__init__("curation-demo-", WAIT_SECONDS)
        self.cluster = cluster

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def start(self) -> str:
        """Start the operator as its shipped service account, and wait until it is ready; returns its URL."""
        kubeconfig = self.cluster.kubeconfig(OPERATOR_USER, OPERATOR_GROUPS)
        options = ("--allow-cidr=127.0.0.0/8", "--http-bind=127.0.0.1:0", "--identity=demo")
        return await self.start_operator([f"KUBECONFIG={kubeconfig}", *_home()], options)

    async def until_one_dies(self) -> str:
        """Wait as long as both run; says which has ended, and what it last said."""
        while True:
            if died := self.died():
                return died
            await asyncio.sleep(_LEISURELY_SECONDS)

    def dropped_lines(self) -> Sequence[str]:
        """What the operator's log says about dropped completions."""
        return [line for line in self.log(OPERATOR).read_text().splitlines() if DROPPED in line]

    def save_logs(self) -> Path:
        """Copy the logs to a folder that stays."""
        kept = Path(tempfile.mkdtemp(prefix="curation-demo-logs-"))
        for log in self.folder.glob("*.log"):
            shutil.copy(log, kept)
        return kept


def _home() -> list[str]:
    """Programs that a kubeconfig names for its credentials keep theirs in the person's home folder."""
    return [f"HOME={os.environ['HOME']}"] if "HOME" in os.environ else []
