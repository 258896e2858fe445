"""People of a namespace: each test names who holds which of the shipped roles."""

import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from testing.controlplane.connection import Connection

Bind = Callable[[str], str]
Edits = Callable[[str], None]


@pytest.fixture
def bind(installed: Connection, namespace: str) -> Bind:
    """Binds a ClusterRole in the test's namespace to a new user, and returns the user's name."""

    def bound(role: str) -> str:
        user = f"{role}-{secrets.token_hex(4)}"
        binding = {
            "metadata": {"name": user},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        }
        address = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings"
        status, answer = installed.request("POST", address, binding)
        assert status == 201, answer
        return user

    return bound


@pytest.fixture
def edits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Edits:
    """Makes `kubectl edit` apply a sed expression. It must find nothing to do the second time: kubectl opens the editor
    again after a refusal, until nothing changes."""

    def script(expression: str) -> None:
        editor = tmp_path / "editor"
        editor.write_text(f"#!/bin/sh\nexec sed -i -e '{expression}' \"$1\"\n", encoding="utf-8")
        editor.chmod(0o700)
        monkeypatch.setenv("KUBE_EDITOR", str(editor))
        monkeypatch.setenv("TMPDIR", str(tmp_path))  # kubectl keeps what it could not save

    return script
