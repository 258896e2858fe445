"""Who we are to the API server is who kubectl is, with the same kubeconfig and the same options.

Each case is asked of the real kubectl (`kubectl auth whoami`) and of our connection (a SelfSubjectReview) side by side.
"""

import asyncio
import base64
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from curation.cluster.answers import Failure, Unreachable
from curation.cluster.connection import connect
from curation.cluster.kubeconfig import Overrides
from curation.cluster.kubeconfig_entries import ConfigurationError
from testing.controlplane.connection import Connection as Server

from .shell import Shell

REVIEW = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
EXEC_VERSION = "client.authentication.k8s.io/v1"


@dataclass
class Setting:
    """A folder for kubeconfigs, and what they may hold."""

    folder: Path
    server: Server
    namespace: str
    token: str

    @property
    def cluster(self) -> dict[str, Any]:
        """The server, as a kubeconfig names it."""
        found: dict[str, Any] = self._admin["clusters"][0]["cluster"]
        return dict(found)

    @property
    def admin(self) -> dict[str, Any]:
        """The certificate of one who may impersonate."""
        found: dict[str, Any] = self._admin["users"][0]["user"]
        return dict(found)

    @property
    def _admin(self) -> dict[str, Any]:
        document: dict[str, Any] = yaml.safe_load(self.server.kubeconfig().read_text())
        return document

    def write(
        self, user: dict[str, Any], cluster: dict[str, Any] | None = None, *, name: str = "k", **more: Any
    ) -> Path:
        """A kubeconfig of this user."""
        document = {
            "clusters": [{"name": "c", "cluster": {**self.cluster, **(cluster or {})}}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
            **more,
        }
        path = self.folder / name
        path.write_text(yaml.safe_dump(document))
        return path

    def exec(self, script: str, **more: Any) -> dict[str, Any]:
        """A user whose plugin runs this."""
        plugin = self.folder / "plugin"
        plugin.write_text(f"#!/bin/sh\n{script}\n")
        plugin.chmod(0o700)
        return {"apiVersion": EXEC_VERSION, "command": "./plugin", "interactiveMode": "Never", **more}

    def credential(self, **status: str) -> str:
        """A script that gives these."""
        document = {"apiVersion": EXEC_VERSION, "kind": "ExecCredential", "status": status}
        (self.folder / "credential").write_text(json.dumps(document))
        return f"cat {self.folder}/credential"


@pytest.fixture
def setting(installed: Server, namespace: str, tmp_path: Path) -> Setting:
    # An account of our own: that of the namespace comes a moment later.
    installed.kubectl("create", "serviceaccount", "runner", "-n", namespace)
    token = installed.kubectl("create", "token", "runner", "-n", namespace).stdout.strip()
    (tmp_path / "token").write_text(token + "\n")
    return Setting(tmp_path, installed, namespace, token)


def kubectl_is(setting: Setting, kubeconfig: str, *options: str) -> dict[str, Any] | None:
    """Who kubectl is; None if it refuses, or is refused."""
    environment = {**setting.server.environment(), "KUBECONFIG": kubeconfig, "HOME": str(setting.folder)}
    said = subprocess.run(
        [str(setting.server.binaries / "kubectl"), "auth", "whoami", "-o", "json", *options],
        env=environment,
        cwd=setting.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return None if said.returncode else plain(json.loads(said.stdout)["status"]["userInfo"])


async def we_are(kubeconfig: str, overrides: Overrides) -> dict[str, Any] | None:
    """Who our connection is."""
    try:
        async with await connect(environ={"KUBECONFIG": kubeconfig}, overrides=overrides, request_timeout=60) as made:
            answer = await made.send("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=REVIEW)
    except (ConfigurationError, Unreachable):
        return None
    return None if isinstance(answer, Failure) else plain(answer["status"]["userInfo"])


def plain(info: dict[str, Any]) -> dict[str, Any]:
    """What is the same in two answers: the order of groups is not."""
    return {**info, "groups": sorted(info.get("groups", []))}


Case = Callable[[Setting], tuple[Path | str, Overrides, tuple[str, ...]]]


def files(user: Callable[[Setting], dict[str, Any]], **cluster: Any) -> Case:
    """A case that is in the kubeconfig alone."""
    return lambda setting: (setting.write(user(setting), cluster), Overrides(), ())


def options(overrides: Overrides, *words: str, token: bool = False) -> Case:
    """A case of options over the administrator's kubeconfig, or over that of a service account's token."""
    return lambda setting: (setting.write({"token": setting.token} if token else setting.admin), overrides, words)


EXTRA = {"example.org/Reason %": ["a b", "c"], "plain": ["x"]}
CASES: dict[str, tuple[Case, str | None]] = {
    "certificate": (files(lambda s: s.admin), "admin"),
    "token": (files(lambda s: {"token": s.token}), "runner"),
    "token file, relative": (files(lambda _: {"tokenFile": "token"}), "runner"),
    "token file over token": (files(lambda _: {"token": "stale", "tokenFile": "token"}), "runner"),
    "token if its file is not there": (files(lambda s: {"token": s.token, "tokenFile": "none"}), "runner"),
    "token file that is not there": (files(lambda _: {"tokenFile": "none"}), None),
    "certificate and token": (files(lambda s: {**s.admin, "token": s.token}), "admin"),
    "a token that is refused": (files(lambda _: {"token": "wrong"}), None),
    "as": (files(lambda s: {**s.admin, "as": "bob"}), "bob"),
    "as a service account": (files(lambda s: {**s.admin, "as": "system:serviceaccount:a:b"}), "system:serviceaccount"),
    "as with everything": (
        files(
            lambda s: {**s.admin, "as": "bob", "as-uid": "7", "as-groups": ["g", "h"], "as-user-extra": EXTRA},
        ),
        "bob",
    ),
    "as of one who may not": (files(lambda s: {"token": s.token, "as": "bob"}), None),
    "as-groups without as": (files(lambda s: {**s.admin, "as-groups": ["g"]}), None),
    "as-uid without as": (files(lambda s: {**s.admin, "as-uid": "7"}), None),
    "--as": (options(Overrides(as_user="bob"), "--as", "bob"), "bob"),
    "--as with groups": (
        options(Overrides(as_user="bob", as_group=("g", "h")), "--as=bob", "--as-group=g", "--as-group=h"),
        "bob",
    ),
    "--as-uid": (options(Overrides(as_user="bob", as_uid="9"), "--as=bob", "--as-uid=9"), "bob"),
    "--as-user-extra": (
        options(
            Overrides(as_user="bob", as_user_extra=("k=1", "k=2")),
            *("--as=bob", "--as-user-extra=k=1", "--as-user-extra=k=2"),
        ),
        "bob",
    ),
    "--as-group alone": (options(Overrides(as_group=("g",)), "--as-group=g"), None),
    "--token over a certificate": (
        lambda s: (s.write(s.admin), Overrides(token=s.token), ("--token", s.token)),
        "admin",
    ),
    "--token over a token": (
        lambda s: (s.write({"token": "x"}), Overrides(token=s.token), ("--token", s.token)),
        "runner",
    ),
    "--token over a token file": (
        lambda s: (s.write({"tokenFile": "token"}), Overrides(token="wrong"), ("--token", "wrong")),
        "runner",
    ),
    "--tls-server-name of another": (options(Overrides(tls_server_name="other"), "--tls-server-name=other"), None),
    "--tls-server-name": (options(Overrides(tls_server_name="kubernetes"), "--tls-server-name=kubernetes"), "admin"),
    "--insecure-skip-tls-verify": (
        options(
            Overrides(insecure_skip_tls_verify=True, tls_server_name="other"),
            *("--insecure-skip-tls-verify", "--tls-server-name=other"),
        ),
        "admin",
    ),
    "tls-server-name": (files(lambda s: s.admin, **{"tls-server-name": "kubernetes"}), "admin"),
    "tls-server-name of another": (files(lambda s: s.admin, **{"tls-server-name": "other"}), None),
    "disable-compression": (files(lambda s: s.admin, **{"disable-compression": True}), "admin"),
    "proxy-url that is away": (files(lambda s: s.admin, **{"proxy-url": "http://127.0.0.1:9"}), None),
    "exec": (files(lambda s: {"exec": s.exec(s.credential(token=s.token))}), "runner"),
    "exec with a certificate": (
        files(
            lambda s: {
                "exec": s.exec(
                    s.credential(
                        clientCertificateData=decoded(s.admin["client-certificate-data"]),
                        clientKeyData=decoded(s.admin["client-key-data"]),
                    )
                )
            }
        ),
        "admin",
    ),
    "exec beside a token": (files(lambda s: {"token": s.token, "exec": s.exec("exit 1")}), "runner"),
    "exec and as": (
        files(lambda s: {"exec": s.exec(s.credential(token=s.token)), "as": "bob"}),
        None,
    ),
    "exec that fails": (files(lambda s: {"exec": s.exec("exit 1")}), None),
    "exec that gives nothing": (files(lambda s: {"exec": s.exec(s.credential())}), None),
    "exec that is missing": (files(lambda s: {"exec": s.exec("", command="./none")}), None),
    "exec without interactiveMode": (
        files(lambda s: {"exec": s.exec(s.credential(token=s.token), interactiveMode="")}),
        None,
    ),
    "exec of a version that is gone": (
        files(lambda s: {"exec": s.exec("", apiVersion="client.authentication.k8s.io/v1alpha1")}),
        None,
    ),
    "gcp": (files(lambda _: {"auth-provider": {"name": "gcp"}}), None),
    "two ways at once": (files(lambda s: {"token": s.token, "username": "u", "password": "p"}), None),
    "authority twice": (files(lambda s: s.admin, **{"certificate-authority": "token"}), None),
    "authority and none": (files(lambda s: s.admin, **{"insecure-skip-tls-verify": True}), None),
}


def decoded(data: str) -> str:
    """Base64 as the text that it encodes."""
    return base64.b64decode(data).decode()


@pytest.mark.parametrize("name", CASES)
async def test_we_are_who_kubectl_is(setting: Setting, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(setting.folder)
    case, expected = CASES[name]
    kubeconfig, overrides, words = case(setting)
    theirs, ours = await asyncio.gather(
        asyncio.to_thread(kubectl_is, setting, str(kubeconfig), *words), we_are(str(kubeconfig), overrides)
    )
    assert ours == theirs
    # So that two refusals for two reasons are not taken for the same.
    assert (ours is None) == (expected is None)
    assert ours is None or (expected or "") in ours["username"]


async def test_of_several_files_we_are_who_kubectl_is(setting: Setting) -> None:
    (setting.folder / "empty").write_text("")
    none: dict[str, Any] = {"current-context": ""}
    first = setting.write({**setting.admin, "as": "first"}, name="1", **none)
    second = setting.write({**setting.admin, "as": "second"}, name="2")
    third = setting.write({}, name="3", users=[{"name": "v", "user": {**setting.admin, "as": "third"}}])
    listed = ":".join(("", str(setting.folder / "empty"), "none", *map(str, (first, second, third))))
    for overrides, words, expected in (
        (Overrides(), (), "first"),
        (Overrides(user="v"), ("--user", "v"), "third"),
        (Overrides(context="x", cluster="c"), ("--context=x", "--cluster=c"), "first"),
        (Overrides(context="none"), ("--context=none",), None),
    ):
        theirs = await asyncio.to_thread(kubectl_is, setting, listed, *words)
        ours = await we_are(listed, overrides)
        assert ours == theirs
        assert (ours or {}).get("username") == expected


async def test_kopfs_watches_carry_the_impersonation_too(setting: Setting) -> None:
    """An operator whose kubeconfig impersonates one who may see jobs sees them; one who may not sees none."""
    setting.server.kubectl(
        *("create", "rolebinding", "viewers", "--clusterrole=curation-viewer", "--user=watcher"),
        *("-n", setting.namespace),
    )
    job = {
        "apiVersion": "curation.dev/v1alpha1",
        "kind": "CurationJob",
        "metadata": {"name": "seen"},
        "spec": {"moduleRef": {"name": "m"}},
    }
    setting.server.kubectl("create", "-n", setting.namespace, "-f", "-", input=json.dumps(job))
    path = setting.write({**setting.admin, "as": "watcher"})
    async with await connect(environ={"KUBECONFIG": str(path)}) as connection:
        shell = Shell(connection, setting.namespace)
        try:
            await shell.sees("seen")
        finally:
            await shell.end()
    path = setting.write({**setting.admin, "as": "stranger"})
    async with await connect(environ={"KUBECONFIG": str(path)}) as connection:
        queries: list[dict[str, str]] = [{}, {"watch": "true", "timeoutSeconds": "1"}]
        for query in queries:
            answer = await connection.send("GET", "/apis/curation.dev/v1alpha1/curationjobs", query=query)
            assert isinstance(answer, Failure)
            assert 'User "stranger" cannot' in answer.message
