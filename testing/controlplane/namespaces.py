"""Makes and deletes the namespace of one test. Called by the pytest plugin."""

from __future__ import annotations

import secrets
from http import HTTPStatus

from testing.controlplane.connection import Connection, Request
from testing.controlplane.errors import ControlPlaneError

_WITH_FINALIZERS = ("curationjobs", "curationmodules", "curationpolicies", "curationapprovals")


def unused() -> str:
    """A name that no namespace has."""
    return f"test-{secrets.token_hex(5)}"


def create(connection: Connection, made_for: str) -> str:
    """Make a namespace with a name of its own, annotated with what it was made for; returns the name."""
    name = unused()
    metadata = {"name": name, "annotations": {"curation.dev/test": made_for}}
    status, answer = connection.request("POST", "/api/v1/namespaces", {"metadata": metadata})
    if status != HTTPStatus.CREATED:
        raise ControlPlaneError(f"the namespace {name} cannot be made: {status} {answer}")
    return name


def delete(connection: Connection, name: str) -> None:
    """Begin to delete a namespace, with what a stopped operator cannot finalize any more; does not wait for its end.

    Without the latter the namespaces and jobs of all earlier tests would stay, and every operator that a later test
    runs for the whole cluster would clean them.
    """
    with connection.kept() as request:
        for resource in _WITH_FINALIZERS:
            _delete_all(request, f"/apis/curation.dev/v1alpha1/namespaces/{name}/{resource}")
        status, answer = request("DELETE", f"/api/v1/namespaces/{name}")
    # 404 and 409: the test has deleted it itself.
    if status not in (HTTPStatus.OK, HTTPStatus.ACCEPTED, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
        raise ControlPlaneError(f"the namespace {name} cannot be deleted: {status} {answer}")


def _delete_all(request: Request, collection: str) -> None:
    status, found = request("GET", collection)
    if status != HTTPStatus.OK:  # No such resource, or no such namespace any more.
        return
    # One by one, and not the collection: an operator that still runs would cancel every session of a test that is over.
    # Nor the finalizers before the deletion: an admission policy puts them back.
    for item in found["items"]:
        path = f"{collection}/{item['metadata']['name']}"
        _, left = request("DELETE", path)
        if left.get("metadata", {}).get("finalizers"):
            request("PATCH", path, {"metadata": {"finalizers": None}})
