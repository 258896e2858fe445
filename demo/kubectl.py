"""Runs kubectl as a person would, from the root of the repository, and shows each command with its outcome."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from demo.board import DemoFailed
from demo.reach import Reach
from testing.controlplane.connection import ADMIN
from testing.operator_process import PROGRAM
from testing.supervised import ROOT

NAMESPACE: Final = "demo"
MANIFESTS: Final = "demo/manifests"
_SECONDS: Final = 120.0


class Kubectl:
    """`await kubectl("apply", "-f", ...)`. `now` is called with what runs, `show` also with how it ended."""

    def __init__(self, connection: Reach, show: Callable[[str, str], None], now: Callable[[str], None]) -> None:
        self._connection = connection
        self._show = show
        self._now = now

    async def __call__(self, *arguments: str, user: str = ADMIN, quiet: bool = False) -> str:
        """Run it; returns what it printed. Raises DemoFailed with what kubectl said."""
        environment = self._connection.environment(user, () if user == ADMIN else ("system:authenticated",))
        # `kubectl curation` is the program kubectl-curation on the PATH.
        environment["PATH"] = f"{PROGRAM.parent}{os.pathsep}{environment['PATH']}"
        command = shlex.join(("kubectl", *arguments))
        self._now(command)
        process = await asyncio.create_subprocess_exec(
            self._connection.binaries / "kubectl",
            *arguments,
            cwd=ROOT,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # Ctrl-C is for the demo: a kubectl that dies of it would seem a failure.
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(_SECONDS):
                out, error = await process.communicate()
        except TimeoutError:
            raise DemoFailed(f"{command} took longer than {_SECONDS:.0f} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise DemoFailed(f"{command} ended with {process.returncode}: {error.decode().strip()}")
        printed = out.decode()
        if not quiet:
            self._show(command if user == ADMIN else f"{command}   # as {user}", outcome(printed))
        return printed

    async def apply(self, file: str) -> None:
        """Apply one of the demo's files."""
        await self("apply", "-f", f"{MANIFESTS}/{file}")

    async def patch(self, file: str, spec: Mapping[str, object]) -> None:
        """Merge this into the spec of every object of one of the demo's files."""
        patch = json.dumps({"spec": spec}, separators=(",", ":"))
        await self("patch", "-f", f"{MANIFESTS}/{file}", "--type=merge", "-p", patch)


def outcome(printed: str) -> str:
    """`10 curationjobs created` of ten lines `curationjob.curation.dev/NAME created`; a single line as it is."""
    lines = [line for line in printed.splitlines() if line]
    counted: Counter[tuple[str, str]] = Counter()
    for line in lines:
        what, _, done = line.partition(" ")
        kind, slash, _ = what.partition("/")
        if not slash:
            return lines[0]
        counted[kind.partition(".")[0], done] += 1
    return ", ".join(f"{n} {kind}{'s' if n > 1 else ''} {done}" for (kind, done), n in counted.items())
