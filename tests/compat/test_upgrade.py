"""From a Kubernetes release without served MutatingAdmissionPolicy to one with it, on the same data."""

import os
from pathlib import Path

import pytest

from curation.api.names import ANNOTATION_CREATED_BY, ANNOTATION_REQUESTED_BY
from testing.controlplane.build import find_or_build
from testing.controlplane.connection import Connection
from testing.controlplane.install import MANIFESTS, install
from testing.controlplane.releases import parse
from testing.controlplane.server import ControlPlane
from tests.compat.conftest import ROOT, Setup, minor_of, version_asked_for
from tests.integration.api.objects import Document, create, job, path, read, until

PLACE = "default"
TARGET = os.environ.get("CURATION_COMPAT_TO") or None
"""The release that `make compat TO=...` upgrades to; none: the pinned one."""


def names(connection: Connection, name: str, namespace: str = PLACE) -> list[str | None]:
    """Who is recorded to have created a job, and to have asked for it."""
    annotations = read(connection, namespace, "curationjobs", name)["metadata"].get("annotations", {})
    return [annotations.get(ANNOTATION_CREATED_BY), annotations.get(ANNOTATION_REQUESTED_BY)]


def would_be(connection: Connection, name: str) -> Document:
    """A job as the server would store it."""
    status, made = connection.request("POST", path(PLACE, "curationjobs") + "?dryRun=All", job(name))
    return dict(made) if status == 201 else {}


def test_after_an_upgrade_of_the_server_the_default_overlay_records_names_and_old_jobs_stay(
    setup: Setup, tmp_path: Path
) -> None:
    if minor_of(version_asked_for()) >= 36:
        pytest.skip("MutatingAdmissionPolicy is on in this version: nothing changes with the next one")
    target = find_or_build(release=parse(TARGET) if TARGET else None)
    folder = tmp_path / "data"
    with ControlPlane(
        binaries=find_or_build(release=version_asked_for()), folder=folder, arguments=setup.arguments
    ) as before:
        install(before.connection, overlay=setup.overlay)
        create(before.connection, PLACE, "curationjobs", job("old", input={"n": 1}))
        old = read(before.connection, PLACE, "curationjobs", "old")
        recorded = names(before.connection, "old")
        assert recorded == (["admin", "admin"] if setup.stamps else [None, None])
    with ControlPlane(binaries=target, folder=folder) as after:
        server = after.connection
        found = read(server, PLACE, "curationjobs", "old")
        assert (found["spec"], found["metadata"]["uid"]) == (old["spec"], old["metadata"]["uid"])
        if setup.stamps:  # before anything is applied
            until(lambda: bool(would_be(server, "between")))
            annotations = would_be(server, "between")["metadata"]["annotations"]
            assert annotations[ANNOTATION_CREATED_BY] == annotations[ANNOTATION_REQUESTED_BY] == "admin"
        server.kubectl("apply", "--server-side", "--force-conflicts", "-k", str(ROOT / MANIFESTS))
        until(lambda: ANNOTATION_CREATED_BY in would_be(server, "new").get("metadata", {}).get("annotations", {}))
        create(server, PLACE, "curationjobs", job("new"))
        assert names(server, "new") == ["admin", "admin"]
        assert names(server, "old") == recorded
        address = path(PLACE, "curationjobs", "old")
        status, answer = server.request("PATCH", address, {"spec": {"rerun": "1"}})
        assert status == 200, answer
        assert names(server, "old") == [recorded[0], "admin"]
