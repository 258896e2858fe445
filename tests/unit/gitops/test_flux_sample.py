"""The Flux sample, checked without Flux; its own library checks it in tests/integration/test_kstatus_library.py."""

from pathlib import Path

import yaml

from tests.unit.gitops.argocd import KINDS

SAMPLE = Path(__file__).parents[3] / "manifests" / "gitops" / "flux" / "kustomization.yaml"


def test_the_sample_has_expressions_for_each_kind_and_waits() -> None:
    kustomization = yaml.safe_load(SAMPLE.read_text("utf-8"))
    assert kustomization["apiVersion"] == "kustomize.toolkit.fluxcd.io/v1"
    spec = kustomization["spec"]
    assert spec["wait"] is True, "without it healthCheckExprs are not evaluated"
    assert [(check["apiVersion"], check["kind"]) for check in spec["healthCheckExprs"]] == [
        ("curation.dev/v1alpha1", kind) for kind in KINDS
    ]
    for check in spec["healthCheckExprs"]:
        assert set(check) <= {"apiVersion", "kind", "inProgress", "failed", "current"}
        assert check["current"], "Flux requires it"
