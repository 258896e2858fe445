"""Where admission policies are missing, the rules behind them hold: the CRD's own, and the validating policies."""

import pytest

from testing.controlplane.connection import Connection
from testing.controlplane.server import ControlPlane
from tests.integration.api.objects import approval, create, job, path, read, until

_MUTATING = "mutatingadmissionpolicies,mutatingadmissionpolicybindings"
_VALIDATING = "validatingadmissionpolicies,validatingadmissionpolicybindings"
_JOBS = path("default", "curationjobs")


@pytest.fixture
def unmarked(private_control_plane: ControlPlane) -> Connection:
    """A server that neither marks jobs nor stamps decisions, but still checks both."""
    server = private_control_plane.connection
    server.kubectl("delete", _MUTATING, "--all")
    until(lambda: server.request("POST", f"{_JOBS}?dryRun=All", job())[0] == 403)
    return server


@pytest.fixture
def unguarded(unmarked: Connection) -> Connection:
    """A server without any of our admission policies."""
    unmarked.kubectl("delete", _VALIDATING, "--all")
    until(lambda: unmarked.request("POST", f"{_JOBS}?dryRun=All", job())[0] == 201)
    return unmarked


def test_a_creator_or_decider_that_was_not_stamped_is_refused(unmarked: Connection) -> None:
    def post(creator: str, requester: str = "") -> tuple[int, str]:
        document = job()
        names = {"curation.dev/created-by": creator, "curation.dev/requested-by": requester}
        document["metadata"]["annotations"] = {name: value for name, value in names.items() if value}
        status, answer = unmarked.request("POST", _JOBS, document)
        return status, answer.get("message", "")

    status, message = post("")
    assert status == 403
    for cause in ("[curation.dev/created-by] is not set", "curation-job-provenance", "components/admission-validating"):
        assert cause in message
    status, message = post("mallory", "admin")
    assert status == 403
    assert "it must be 'admin', not 'mallory'" in message
    assert post("admin", "admin") == (201, "")
    found = read(unmarked, "default", "curationjobs", "job")
    found["metadata"]["annotations"]["curation.dev/created-by"] = "mallory"
    status, answer = unmarked.request("PUT", f"{_JOBS}/job", found)
    assert status == 403
    assert "it must be 'admin', not 'mallory'" in answer["message"]

    create(unmarked, "default", "curationapprovals", approval())
    found = read(unmarked, "default", "curationapprovals", "approval")
    for claimed in ({}, {"decidedBy": "mallory"}):
        decided = {**found, "spec": {**found["spec"], "decision": "Approved", **claimed}}
        status, answer = unmarked.request("PUT", path("default", "curationapprovals", "approval"), decided)
        assert status == 403
        assert "spec.decidedBy must be who decides, admin" in answer["message"]
        why = "curation-approval-decided-by, which does, is not at work" if not claimed else "leave it out"
        assert why in answer["message"]


def test_a_decision_and_its_decider_stay_as_they_are(unguarded: Connection) -> None:
    server = unguarded
    create(server, "default", "curationapprovals", approval())
    address = path("default", "curationapprovals", "approval")

    def put(**spec: str | None) -> tuple[int, str]:
        current = read(server, "default", "curationapprovals", "approval")
        merged = {**current["spec"], **spec}
        current["spec"] = {key: value for key, value in merged.items() if value is not None}
        status, answer = server.request("PUT", address, current)
        return status, answer.get("message", "")

    assert put(decision="Approved", decidedBy="alice") == (200, "")
    for change in ({"decidedBy": None}, {"decidedBy": "bob"}):
        status, message = put(**change)
        assert status == 422
        assert "spec.decidedBy" in message
    assert put(decision="Pending")[0] == 422
    assert put(decision="Revoked", decidedBy="bob") == (200, "")
