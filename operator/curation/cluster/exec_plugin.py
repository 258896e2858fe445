"""Credentials from a program (client-go's exec plugins), as kubectl runs it.

What goes wrong is an error, with the install hint of the kubeconfig: to go on without credentials would be to act as
``system:anonymous``.
"""

import asyncio
import json
import os
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from curation.cluster.kubeconfig import Access
from curation.cluster.kubeconfig_entries import ConfigurationError, Exec

MAX_PLUGIN_ANSWER: Final = 2**20
# A token is asked for again so long before it expires.
EARLY: Final = timedelta(minutes=1)


@dataclass(frozen=True)
class ExecCredential:
    """What a plugin gave: a token, or a certificate with its key (PEM), or both."""

    token: str
    certificate: bytes
    key: bytes
    expires: datetime | None

    def expired(self, now: datetime | None = None) -> bool:
        """Whether it is over, or as good as."""
        return self.expires is not None and self.expires <= (now or datetime.now(UTC)) + EARLY


async def run(plugin: Exec, access: Access) -> ExecCredential:
    """Run it. Raises `ConfigurationError` that says what to do."""
    try:
        return _parsed(plugin, await _output(plugin, access))
    except ConfigurationError as error:
        hint = "".join(c if c.isprintable() or c in "\n\t" else f"U+{ord(c):04X}" for c in plugin.install_hint.strip())
        raise ConfigurationError(f"exec plugin {plugin.command}: {error}{f'; {hint}' if hint else ''}") from None


async def _output(plugin: Exec, access: Access) -> bytes:
    command = shutil.which(plugin.command)
    if command is None:
        raise ConfigurationError("the program was not found; install it, or mend the PATH or exec.command")
    interactive = _is_interactive(plugin)
    spec: dict[str, Any] = {"interactive": interactive}
    if plugin.provide_cluster_info:
        spec["cluster"] = dict(access.exec_cluster)
    info = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec}
    environment = {
        **os.environ,
        **{variable.name: variable.value for variable in plugin.env},
        "KUBERNETES_EXEC_INFO": json.dumps(info),
    }
    received = _Received()
    try:
        process, _ = await asyncio.get_running_loop().subprocess_exec(
            lambda: received,
            command,
            *plugin.args,
            env=environment,
            stdin=None if interactive else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=None,  # what it says there is for the person who waits, such as where to log in
        )
    except OSError as error:
        raise ConfigurationError(f"the program cannot be run: {error}") from None
    try:
        await received.over.wait()
        code = process.get_returncode()
    finally:
        await _end(process, received)
    if len(received.said) > MAX_PLUGIN_ANSWER:
        raise ConfigurationError(f"it has said more than {MAX_PLUGIN_ANSWER} bytes")
    if code:
        raise ConfigurationError(f"it ended with code {code}; see its output above")
    return bytes(received.said)


async def _end(process: asyncio.SubprocessTransport, received: "_Received") -> None:
    """No process, pipe or zombie stays, also of a program that has left another behind, which goes on writing."""
    if (output := process.get_pipe_transport(1)) is not None:
        output.close()
    with suppress(ProcessLookupError):
        process.kill()
    await received.exited.wait()
    process.close()


class _Received(asyncio.SubprocessProtocol):
    """What a program says. Trap: a `Process` whose output nobody reads to its end is waited for in vain."""

    def __init__(self) -> None:
        self.said = bytearray()
        self.over = asyncio.Event()
        self.exited = asyncio.Event()
        self._output_open = True

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.said += data
        if len(self.said) > MAX_PLUGIN_ANSWER:
            self.over.set()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 1:
            self._output_open = False
        self._settle()

    def process_exited(self) -> None:
        self.exited.set()
        self._settle()

    def _settle(self) -> None:
        if self.exited.is_set() and not self._output_open:
            self.over.set()


def _is_interactive(plugin: Exec) -> bool:
    terminal = sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()
    if plugin.interactive_mode == "Always" and not terminal:
        raise ConfigurationError("it needs a terminal (interactiveMode Always), and the standard input is none")
    # v1beta1 has IfAvailable where nothing is said.
    return terminal and plugin.interactive_mode != "Never"


def _parsed(plugin: Exec, said: bytes) -> ExecCredential:
    try:
        answer = json.loads(said)
    except ValueError:
        raise ConfigurationError("what it printed is not JSON") from None
    if not isinstance(answer, dict) or answer.get("kind") != "ExecCredential":
        raise ConfigurationError("what it printed is no ExecCredential")
    if answer.get("apiVersion") != plugin.api_version:
        raise ConfigurationError(
            f"it answered in apiVersion {answer.get('apiVersion')}, the kubeconfig says {plugin.api_version}"
        )
    status = answer.get("status")
    if not isinstance(status, dict):
        raise ConfigurationError("what it printed has no status")
    parts = {name: status.get(name) or "" for name in ("token", "clientCertificateData", "clientKeyData")}
    if not all(isinstance(part, str) for part in parts.values()):
        raise ConfigurationError("status.token, status.clientCertificateData and status.clientKeyData must be strings")
    if not any(parts.values()):
        raise ConfigurationError("it gave neither a token nor a certificate")
    if bool(parts["clientCertificateData"]) != bool(parts["clientKeyData"]):
        raise ConfigurationError("it gave a certificate without its key, or a key without its certificate")
    return ExecCredential(
        parts["token"],
        parts["clientCertificateData"].encode(),
        parts["clientKeyData"].encode(),
        _time(status.get("expirationTimestamp")),
    )


def _time(stated: object) -> datetime | None:
    if stated is None:
        return None
    try:
        moment = datetime.fromisoformat(str(stated))
    except ValueError:
        raise ConfigurationError(f"status.expirationTimestamp: {stated!r} is not a time") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
