"""Unknown fields: refused by kubectl's default, pruned with a warning by --validate=warn."""

import pytest

from testing.controlplane.connection import Connection, Kubectl
from tests.integration.api.objects import Document, job, module, read, text

_TYPOS: dict[str, tuple[Document, str]] = {
    "at the top": ({**job(), "metdata": {}}, "metdata"),
    "in the spec": (job(moduleReference={"name": "m"}), "spec.moduleReference"),
    "deep in the spec": (job(timeouts={"runing": 1}), "spec.timeouts.runing"),
    "in a list": (
        module(
            "job",
            credentials=[{"host": "h", "header": "X", "token": "t", "secretKeyRef": {"name": "s", "key": "k"}}],
        ),
        "spec.credentials[0].token",
    ),
}


@pytest.mark.parametrize(("document", "field"), _TYPOS.values(), ids=_TYPOS.keys())
def test_kubectl_apply_refuses_an_unknown_field_by_default(kubectl: Kubectl, document: Document, field: str) -> None:
    result = kubectl("apply", "-f", "-", input=text(document), check=False)
    assert result.returncode == 1
    assert f'unknown field "{field}"' in result.stderr


@pytest.mark.parametrize(("document", "field"), _TYPOS.values(), ids=_TYPOS.keys())
def test_validate_warn_prunes_it_and_says_so(
    installed: Connection, namespace: str, kubectl: Kubectl, document: Document, field: str
) -> None:
    result = kubectl("apply", "--validate=warn", "-f", "-", input=text(document))
    assert f'unknown field "{field}"' in result.stderr
    plural = "curationjobs" if document["kind"] == "CurationJob" else "curationmodules"
    kept = read(installed, namespace, plural, "job")
    key = field.rpartition(".")[2]
    assert key not in kept
    assert key not in kept["spec"]
    assert key not in kept["spec"].get("timeouts", {})
    assert all(key not in credential for credential in kept["spec"].get("credentials", ()))


def test_unknown_fields_of_an_input_are_kept(installed: Connection, namespace: str, kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", input=text(job(input={"any": {"thing": ["goes", 1]}})))
    assert read(installed, namespace, "curationjobs", "job")["spec"]["input"] == {"any": {"thing": ["goes", 1]}}
