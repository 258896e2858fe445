"""The commands of docs/write-a-module.md, in the order in which a reader runs them, in one shell."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from testing.controlplane.connection import Connection
from tests.harness.real_registry import RealRegistry

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "write-a-module.md"
LANGUAGES = ("Rust", "JavaScript", "Python")
HOLDERS = ("In a ConfigMap", "In a registry")
_BEGIN = "## From an empty folder to a running job\n"
_LINE = re.compile(r"^(####? )([^\n]*)\n|^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_DONE = "--- this block is done ---"
SECONDS = 900
"""Of one block: npm fetches 100 packages, and the operator compiles 18 MB."""


@dataclass(frozen=True)
class Block:
    """Commands, and the headings that they stand under."""

    heading: str
    choice: str | None
    """A language, or where the component is held; None: for all."""
    text: str


def blocks() -> list[Block]:
    """All of the section."""
    text = PAGE.read_text(encoding="utf-8").partition(_BEGIN)[2].partition("\n## ")[0]
    found: list[Block] = []
    heading, choice = "", None
    for level, name, commands in _LINE.findall(text):
        if level == "### ":
            heading, choice = name, None
        elif level:
            choice = name
        else:
            found.append(Block(heading, choice, commands))
    return found


def way(language: str, holder: str) -> list[Block]:
    """Those that a reader runs who writes in this language, and gives the component to the cluster so."""
    return [block for block in blocks() if block.choice in (None, language, holder)]


class Shell:
    """One bash, which stops at the first command that fails."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path, values: Mapping[str, str]) -> None:
        self._process = process
        self._folder = folder
        self._values = values

    async def run(self, *blocks: Block) -> str:
        """Run them; what the last one prints. Raises AssertionError with what was said, if a command fails."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        printed: list[str] = []
        for block in blocks:
            text = block.text
            for old, new in self._values.items():
                text = text.replace(old, new)
            file = self._folder / "block.sh"
            file.write_text(text, encoding="utf-8")
            self._process.stdin.write(f". '{file}'\nprintf '\\n%s\\n' '{_DONE}'\n".encode())
            printed = []
            async with asyncio.timeout(SECONDS):
                while (line := (await self._process.stdout.readline()).decode()).rstrip("\n") != _DONE:
                    assert line, f"{text}\nfailed:\n{''.join(printed)}{(self._folder / 'said').read_text()[-3000:]}"
                    printed.append(line)
        return "".join(printed).strip()


@asynccontextmanager
async def shell(
    folder: Path, connection: Connection, *, sessions: str, team: str, registry: RealRegistry | None = None
) -> AsyncIterator[Shell]:
    """A reader's shell, in the root of the checkout, whose home is in the folder; its children end with it."""
    home = Path.home()
    environment = {
        **os.environ,
        **{name: value for name, value in connection.environment().items() if name.startswith("KUBE")},
        # What a reader's tools keep in his home: fetching it anew takes minutes.
        "CARGO_HOME": os.environ.get("CARGO_HOME", str(home / ".cargo")),
        "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", str(home / ".rustup")),
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(home / ".cache")),
        "npm_config_cache": str(home / ".npm"),
        "no_proxy": "127.0.0.1",
        "HOME": str(folder),
    }
    programs = [str(Path(sys.executable).parent), str(connection.binaries)]
    values = {"http://127.0.0.1:33333": sessions, "my-team": team}
    if registry is not None:
        environment |= registry.variables
        programs += [str(registry.programs), str(registry.cosign_folder)]
        values["registry.example/team"] = f"{registry.host}/team"
    environment["PATH"] = os.pathsep.join([*programs, os.environ["PATH"]])
    with (folder / "said").open("wb") as said:
        process = await asyncio.create_subprocess_exec(
            *("bash", "--noprofile", "--norc", "-euo", "pipefail"),
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,
        )
    try:
        yield Shell(process, folder, values)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def objects(**values: str) -> Sequence[dict[str, Any]]:
    """The objects that the page applies by hand, with these values of the shell's variables."""
    [text] = [block.text for block in blocks() if "<<END" in block.text]
    text = text.partition("<<END\n")[2].partition("\nEND\n")[0]
    for name, value in values.items():
        text = text.replace(f"${name}", value)
    return list(yaml.safe_load_all(text))
