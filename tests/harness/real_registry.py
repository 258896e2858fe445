"""The real registry (CNCF distribution) as a process, with the real oras and cosign beside it."""

import asyncio
import json
import os
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from testing.controlplane.errors import ControlPlaneError
from testing.registry.build import COSIGN, REGISTRY
from tests.harness.certificates import self_signed

SECONDS = 300
PASSWORD = "of-this-test"
"""Of the private keys that cosign makes."""


@dataclass(frozen=True)
class RealRegistry:
    """A registry that serves, and the programs that push to it and sign."""

    folder: Path
    """Where the programs run."""
    authority: Path
    """Of the registry's certificate."""
    trusted: Path
    """It and the authorities that this machine trusts."""
    host: str
    programs: Path
    cosign_folder: Path

    @property
    def variables(self) -> dict[str, str]:
        """What the programs need: oras and cosign trust the registry's authority, and cosign asks for no password."""
        logins = str(self.folder / "docker")
        return {"SSL_CERT_FILE": str(self.trusted), "COSIGN_PASSWORD": PASSWORD, "DOCKER_CONFIG": logins}

    @property
    def environment(self) -> dict[str, str]:
        """That of the programs."""
        path = os.pathsep.join((str(self.programs), str(self.cosign_folder), os.environ["PATH"]))
        return {**os.environ, **self.variables, "PATH": path}

    async def run(self, *command: str) -> str:
        """What a program prints. Raises AssertionError with what it said, if it fails."""
        started = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            out, said = await asyncio.wait_for(started.communicate(), SECONDS)
        finally:
            if started.returncode is None:
                started.kill()
                await started.wait()
        assert started.returncode == 0, f"{' '.join(command)}: {said.decode()}"
        return out.decode()

    def let_in(self, accounts: Mapping[str, str]) -> None:
        """From now on only these users, each with the bcrypt hash of a password; the registry reads the file anew."""
        # Under its name at once, so that no request meets a half of it.
        whole = _accounts(self.folder).with_suffix(".new")
        whole.write_text("".join(f"{user}:{hashed}\n" for user, hashed in accounts.items()), encoding="utf-8")
        whole.replace(_accounts(self.folder))

    async def push(self, repository: str, content: bytes) -> str:
        """Push a module as the pages say; the digest of its manifest."""
        (self.folder / "module.wasm").write_bytes(content)
        tagged = f"{self.host}/{repository}:1"
        await self.run("oras", "push", tagged, "module.wasm:application/wasm")
        return (await self.run("oras", "resolve", tagged)).strip()


@asynccontextmanager
async def real_registry(folder: Path, *, private: bool = False) -> AsyncIterator[RealRegistry]:
    """Serves until the end of the block; a private one lets nobody in before `let_in`.

    Skips the test where the registry cannot be had, or cosign was not built.
    """
    try:
        programs = await asyncio.to_thread(REGISTRY.find_or_build)
    except ControlPlaneError as error:
        pytest.skip(f"the registry cannot be built here: {error}")
    cosign = COSIGN.folder(os.environ)
    if not cosign.is_dir():
        pytest.skip("cosign is not built here: `make registry` builds it, once")
    authority, _ = self_signed(folder, "127.0.0.1")
    trusted = await asyncio.to_thread(_trusted, folder, authority)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tls = {"certificate": str(authority), "key": str(folder / "127.0.0.1.key")}
    config: dict[str, object] = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": PASSWORD, "tls": tls},
    }
    if private:
        config["auth"] = {"htpasswd": {"realm": "of this test", "path": str(_accounts(folder))}}
        _accounts(folder).touch()
    (folder / "config.yml").write_text(json.dumps(config), encoding="utf-8")
    environment = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
    with (folder / "log").open("wb") as log:
        command = (str(programs / "registry"), "serve", str(folder / "config.yml"))
        serving = await asyncio.create_subprocess_exec(*command, env=environment, stdout=log, stderr=log)
    try:
        async with asyncio.timeout(SECONDS):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    assert serving.returncode is None, (folder / "log").read_text(encoding="utf-8")
                    await asyncio.sleep(0.1)
                else:
                    writer.close()
                    break
        yield RealRegistry(folder, authority, trusted, f"127.0.0.1:{port}", programs, cosign)
    finally:
        if serving.returncode is None:
            serving.kill()
        await serving.wait()


def _accounts(folder: Path) -> Path:
    return folder / "htpasswd"


def _trusted(folder: Path, authority: Path) -> Path:
    system = Path(ssl.get_default_verify_paths().cafile or os.devnull)
    file = folder / "trusted.pem"
    file.write_bytes(system.read_bytes() + b"\n" + authority.read_bytes())
    return file
