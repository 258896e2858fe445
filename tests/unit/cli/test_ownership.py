"""Who has applied a field: operation Apply, or the manifest of client-side apply; an edit is no claim."""

from __future__ import annotations

import json
from typing import Any

import pytest

from curation.cli.ownership import LAST_APPLIED, Applied, applied_by

SUSPEND = ("spec", "suspend")


def entry(manager: str, operation: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "fieldsV1": fields}


def job(*entries: dict[str, Any], last_applied: object = None) -> dict[str, Any]:
    annotations = {} if last_applied is None else {LAST_APPLIED: last_applied}
    return {"metadata": {"managedFields": list(entries), "annotations": annotations}}


OWNS: dict[str, Any] = {"f:spec": {".": {}, "f:suspend": {}}}
ANNOTATES: dict[str, Any] = {"f:metadata": {"f:annotations": {f"f:{LAST_APPLIED}": {}}}}
MANIFEST = json.dumps({"spec": {"suspend": False}})


@pytest.mark.parametrize(
    ("document", "owners"),
    [
        pytest.param(job(), [], id="a field that nobody manages is free"),
        pytest.param(job(entry("flux", "Apply", OWNS)), [Applied("flux", "server-side apply")], id="applied"),
        pytest.param(job(entry("flux", "Apply", {"f:spec": {"f:input": {}}})), [], id="another field was applied"),
        pytest.param(job(entry("kubectl-edit", "Update", OWNS)), [], id="an edit is no claim"),
        pytest.param(job(entry("curation", "Apply", OWNS)), [], id="our own"),
        pytest.param(
            job(entry("flux", "Apply", OWNS), entry("argo", "Apply", OWNS)),
            [Applied("flux", "server-side apply"), Applied("argo", "server-side apply")],
            id="two share it",
        ),
        pytest.param(
            job(entry("argocd-controller", "Update", ANNOTATES), last_applied=MANIFEST),
            [Applied("argocd-controller", "client-side apply")],
            id="client-side, by who holds the annotation",
        ),
        pytest.param(
            job(last_applied=MANIFEST),
            [Applied("kubectl apply", "client-side apply")],
            id="client-side, holder unknown",
        ),
        pytest.param(job(last_applied='{"spec": {}}'), [], id="a manifest without the field"),
        pytest.param(job(last_applied="{"), [], id="a broken annotation"),
        pytest.param({"metadata": {}}, [], id="a server that hides managedFields"),
    ],
)
def test_a_field_belongs_to_who_applied_it(document: dict[str, Any], owners: list[Applied]) -> None:
    assert applied_by(document, SUSPEND) == owners
