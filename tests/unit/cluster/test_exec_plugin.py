"""Credentials from a program: what it is given, what it may answer, and that each failure is an error with the hint."""

import asyncio
import json
import os
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop

from curation.cluster.credentials import load
from curation.cluster.exec_plugin import run
from curation.cluster.kubeconfig import Access
from curation.cluster.kubeconfig_entries import ConfigurationError, Exec
from tests.unit.cluster.test_kubeconfig import write

VERSION = "client.authentication.k8s.io/v1"
HINT = "install it with:\n  brew \x1b[1minstall plugin"


def program(folder: Path, script: str) -> Path:
    path = folder / "plugin"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def answering(folder: Path, status: object, **more: Any) -> Path:
    document = {"apiVersion": VERSION, "kind": "ExecCredential", "status": status, **more}
    (folder / "answer").write_text(json.dumps(document))
    return program(folder, f"cat {folder}/answer")


def plugin(command: object, **more: Any) -> Exec:
    fields = {"apiVersion": VERSION, "command": str(command), "interactiveMode": "Never", "installHint": HINT, **more}
    return Exec.model_validate(fields)


async def refusal(command: object, **more: Any) -> str:
    with pytest.raises(ConfigurationError) as refused:
        await run(plugin(command, **more), Access("https://c"))
    said = str(refused.value)
    assert said.startswith(f"exec plugin {command}: ")
    assert "brew U+001B[1minstall plugin" in said, "the hint is shown, and cannot steer a terminal"
    return said


async def test_it_gets_what_client_go_gives_it(tmp_path: Path) -> None:
    answering(tmp_path, {"token": "t"})
    command = program(
        tmp_path,
        f'printf %s "$KUBERNETES_EXEC_INFO" > {tmp_path}/info; echo "$EXTRA $1" > {tmp_path}/seen; '
        f"cat > {tmp_path}/stdin; cat {tmp_path}/answer",
    )
    access = Access("https://c", exec_cluster={"server": "https://c"})
    env = [{"name": "EXTRA", "value": "e"}]
    given = await run(plugin(command, provideClusterInfo=True, args=["first"], env=env), access)
    assert given.token == "t"
    assert json.loads((tmp_path / "info").read_text()) == {
        "apiVersion": VERSION,
        "kind": "ExecCredential",
        "spec": {"interactive": False, "cluster": {"server": "https://c"}},
    }
    assert (tmp_path / "seen").read_text() == "e first\n"
    assert (tmp_path / "stdin").read_text() == ""
    await run(plugin(command), access)
    assert "cluster" not in json.loads((tmp_path / "info").read_text())["spec"]


async def test_a_program_that_is_missing_or_cannot_be_run_is_an_error_with_the_hint(tmp_path: Path) -> None:
    assert "was not found" in await refusal(tmp_path / "none")
    assert "was not found" in await refusal("no-such-program-anywhere")
    (tmp_path / "plain").write_text("")
    assert "was not found" in await refusal(tmp_path / "plain")
    broken = tmp_path / "broken"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o700)
    assert "cannot be run" in await refusal(broken)


async def test_a_program_that_fails_is_an_error_with_the_hint(tmp_path: Path) -> None:
    assert "ended with code 3" in await refusal(program(tmp_path, "exit 3"))


async def test_one_that_needs_a_terminal_is_not_run_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = program(tmp_path, f"touch {tmp_path}/ran")
    with (tmp_path / "plugin").open() as no_terminal:
        monkeypatch.setattr(sys, "stdin", no_terminal)
        assert "needs a terminal" in await refusal(command, interactiveMode="Always")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (None, "no status"),
        ({}, "neither"),
        ({"token": ""}, "neither"),
        ({"token": 5}, "must be strings"),
        ({"clientCertificateData": "c"}, "without its key"),
        ({"clientKeyData": "k"}, "without its certificate"),
        ({"token": "t", "expirationTimestamp": "soon"}, "expirationTimestamp"),
    ],
)
async def test_an_answer_without_credentials_is_an_error(tmp_path: Path, status: object, says: str) -> None:
    assert says in await refusal(answering(tmp_path, status))


async def test_an_answer_of_another_make_is_an_error(tmp_path: Path) -> None:
    token = {"token": "t"}
    assert "apiVersion" in await refusal(answering(tmp_path, token, apiVersion="client.authentication.k8s.io/v1beta1"))
    assert "no ExecCredential" in await refusal(answering(tmp_path, token, kind="Secret"))
    assert "not JSON" in await refusal(program(tmp_path, "echo hello"))
    assert "more than" in await refusal(program(tmp_path, "yes"))


async def test_nobody_goes_on_without_credentials(tmp_path: Path) -> None:
    """The official client logged the failure, and was `system:anonymous`."""
    user = {"exec": {"apiVersion": VERSION, "command": "./none", "interactiveMode": "Never", "installHint": "do this"}}
    kubeconfig = write(tmp_path / "k", user=user)
    with pytest.raises(ConfigurationError, match=r"kubeconfig .*/k: exec plugin .*/none: .*do this"):
        await load({"KUBECONFIG": kubeconfig})


@pytest.mark.parametrize("given", [{"token": "t"}, {"username": "u", "password": "p"}])
async def test_what_is_given_otherwise_goes_before_the_plugin(tmp_path: Path, given: dict[str, str]) -> None:
    user = {"exec": {"apiVersion": VERSION, "command": "./none", "interactiveMode": "Never"}, **given}
    credentials = await load({"KUBECONFIG": write(tmp_path / "k", user=user)})
    said = await credentials.authorization()
    assert said == ("Bearer t" if "token" in given else "Basic dTpw")


@pytest.mark.parametrize("script", ["yes", "exec sleep 300"])
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_program_that_is_given_up_leaves_no_process_behind(
    tmp_path: Path, script: str, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """The operator runs under uvloop, the plugin of kubectl under asyncio's own loop."""
    command = program(tmp_path, f"echo $$ > {tmp_path}/pid; {script} 2>/dev/null")

    async def given_up() -> None:
        with suppress(ConfigurationError, TimeoutError):
            async with asyncio.timeout(5):
                await run(plugin(command), Access("https://c"))

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(given_up())
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
