"""What the API server asks of the webhook: only what a verdict needs is read, and nothing odd ends the listener."""

import json
from typing import Any

import pytest

from curation.admission import reviews
from curation.admission.reviews import NotAReview, Review
from curation.authz.check_result import PolicyCheck
from curation.checking.judgement import PolicyJudgement

BAD = PolicyJudgement(PolicyCheck(False, 0, "ParseError", "policy 0, line 1, column 2: no"))
GOOD = PolicyJudgement(PolicyCheck(True, 1, "Valid", "1 policy"), ("policy 0, line 1, column 1: hm",))
V1 = b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"'


def review(kind: str, spec: Any, *, old: Any = None, operation: str = "CREATE") -> Review:
    request = {
        "uid": "u",
        "kind": {"group": "curation.dev", "version": "v1alpha1", "kind": kind},
        "operation": operation,
        "name": "n",
        "namespace": "ns",
        "object": {"metadata": {"name": "n"}, "spec": spec} if operation != "DELETE" else None,
        "oldObject": {"spec": old} if old is not None else None,
    }
    document = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return reviews.parsed(json.dumps(document).encode())


def response(answer: bytes) -> Any:
    document = json.loads(answer)
    assert (document["kind"], document["response"]["uid"]) == ("AdmissionReview", "u")
    return document["response"]


@pytest.mark.parametrize("kind", ["CurationPolicy", "ClusterCurationPolicy"])
def test_a_text_that_is_new_is_judged_and_no_other(kind: str) -> None:
    assert review(kind, {"cedar": "x"}).judged
    assert review(kind, {"cedar": "x"}, old={"cedar": "y"}, operation="UPDATE").judged
    assert not review(kind, {"cedar": "x"}, old={"cedar": "x"}, operation="UPDATE").judged
    assert not review(kind, {}, old={"cedar": "x"}, operation="DELETE").judged
    assert not review("CurationJob", {"cedar": "x"}).judged


def test_an_invalid_text_is_refused_with_its_field_and_the_remedy() -> None:
    said = response(reviews.judged(review("CurationPolicy", {"cedar": "x"}), BAD))
    assert (said["allowed"], said["status"]["code"]) == (False, 422)
    assert said["status"]["message"].startswith("spec.cedar: policy 0, line 1, column 2: no. Nothing was changed")
    (cause,) = said["status"]["details"]["causes"]
    assert cause["field"] == "spec.cedar"
    assert "kubectl curation check-policy" in cause["message"]


@pytest.mark.parametrize(
    ("kind", "operation", "name", "dry", "probes"),
    [
        ("CurationApproval", "CREATE", reviews.PROBE, True, True),
        ("CurationApproval", "CREATE", reviews.PROBE, False, False),
        ("CurationApproval", "UPDATE", reviews.PROBE, True, False),
        ("CurationApproval", "CREATE", "another", True, False),
        ("CurationPolicy", "CREATE", reviews.PROBE, True, False),
    ],
)
def test_only_the_operators_own_dry_run_is_answered_that_the_webhook_was_reached(
    kind: str, operation: str, name: str, dry: bool, probes: bool
) -> None:
    request = {"uid": "u", "kind": {"kind": kind}, "operation": operation, "name": name, "dryRun": dry}
    document = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    assert reviews.parsed(json.dumps(document).encode()).probes is probes


def test_a_valid_text_is_allowed_with_its_warnings() -> None:
    said = response(reviews.judged(review("CurationPolicy", {"cedar": "x"}), GOOD))
    assert (said["allowed"], said["warnings"]) == (True, list(GOOD.warnings))


def test_what_was_not_judged_in_time_is_refused_for_now() -> None:
    said = response(reviews.unanswered(review("CurationPolicy", {"cedar": "x"}), "since nobody has time"))
    assert (said["allowed"], said["status"]["code"]) == (False, 503)
    assert "apply it again" in said["status"]["message"]


def test_of_jobs_and_modules_only_what_is_warned_of_is_read() -> None:
    job = review("CurationJob", {"moduleRef": {"name": "m"}, "input": {"text": "x" * 70_000}})
    assert job.module == "m"
    assert job.input_bytes > 70_000
    assert "65536 are accepted" in (reviews.input_warning(job.input_bytes) or "")
    assert reviews.input_warning(65_536) is None
    credentials = [{"host": "h", "secretKeyRef": {"name": name, "key": "k"}} for name in ("a", "b", "a")]
    found = review("CurationModule", {"credentials": credentials}).secrets
    assert found == [("spec.credentials", "a"), ("spec.credentials", "b")]
    source = {"oci": {"ref": "r/m", "pullSecretRef": {"name": "a"}}}
    found = review("CurationModule", {"credentials": credentials, "source": source}).secrets
    assert found == [("spec.source.oci.pullSecretRef", "a"), ("spec.credentials", "a"), ("spec.credentials", "b")]
    assert review("CurationModule", {"credentials": "none", "source": source}).secrets == found[:1]
    many = [{"secretKeyRef": {"name": f"s{number}"}} for number in range(1000)]
    assert len(review("CurationModule", {"credentials": many}).secrets) == reviews.MAX_CREDENTIALS


def test_a_deprecated_field_is_warned_of_and_no_other() -> None:
    job = review("CurationJob", {"moduleRef": {"name": "m"}, "observeIntervalSeconds": 5})
    assert job.deprecated == [reviews.OBSERVE_INTERVAL]
    assert len(reviews.OBSERVE_INTERVAL) <= reviews.MAX_WARNING_CHARS
    assert review("CurationJob", {"observe": {"minSeconds": 1}}).deprecated == []
    assert review("CurationJob", {"observeIntervalSeconds": None}).deprecated == []
    assert review("CurationModule", {"observeIntervalSeconds": 5}).deprecated == []


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"cedar": 3},
        {"cedar": None, "moduleRef": "m", "credentials": {"a": 1}},
        {"moduleRef": {"name": 7}, "credentials": [7], "source": {"oci": {"pullSecretRef": {"name": ""}}}},
        {"source": {"oci": {"pullSecretRef": "name"}}},
        {"source": {"configMap": {"name": "m"}, "oci": None}},
        {"source": ["oci"]},
        {"source": {"oci": {"pullSecretRef": {"name": "x" * 5000}}}},
        {"moduleRef": {"name": "x" * 5000}, "credentials": [{"secretKeyRef": {"name": ["x"]}}]},
    ],
)
@pytest.mark.parametrize("kind", ["CurationPolicy", "CurationJob", "CurationModule", "Pod"])
def test_a_spec_of_another_form_is_the_schemas_to_refuse(kind: str, spec: Any) -> None:
    found = review(kind, spec)
    assert (found.cedar, found.module, found.secrets) == ("", "", [])


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{}", b"[]", b"[" * 100_000, b"\xff\xfe", V1 + b"}", V1 + b',"request":{"uid":7}}'),
        V1.replace(b"/v1", b"/v1beta1") + b',"request":{"uid":"u","kind":{"kind":"x"},"operation":"CREATE"}}',
    ],
)
def test_what_no_api_server_has_sent_is_no_review(body: bytes) -> None:
    with pytest.raises(NotAReview):
        reviews.parsed(body)
