"""What the benchmarks' node says of pods that it does not run."""

from typing import Any

from bench.kubelet import status, task_result

CREATED = "2026-01-01T00:00:00Z"


def pod(*containers: str, before: tuple[str, ...] = ()) -> dict[str, Any]:
    spec: dict[str, Any] = {"containers": [{"name": name, "image": "image:1"} for name in containers]}
    if before:
        spec["initContainers"] = [{"name": name, "image": "image:1"} for name in before]
    return {"metadata": {"name": "p", "creationTimestamp": CREATED}, "spec": spec}


def test_a_pod_runs_in_all_its_containers_and_then_all_have_ended_well() -> None:
    one = pod("wait", "main", before=("init",))
    running, ended = status(one, ended=False), status(one, ended=True)
    assert (running["phase"], ended["phase"]) == ("Running", "Succeeded")
    assert [each["name"] for each in running["containerStatuses"]] == ["wait", "main"]
    assert all(each["state"] == {"running": {"startedAt": CREATED}} for each in running["containerStatuses"])
    codes = [each["state"]["terminated"]["exitCode"] for each in ended["containerStatuses"]]
    assert codes == [0, 0]
    for said in (running, ended):
        (init,) = said["initContainerStatuses"]
        assert init["state"]["terminated"]["exitCode"] == 0


def test_a_pod_without_init_containers_has_no_status_of_any() -> None:
    assert "initContainerStatuses" not in status(pod("work"), ended=False)


def test_the_result_of_a_workflows_pod_is_the_workflows_and_not_whole_yet() -> None:
    argo = "workflows.argoproj.io"
    owner = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "w", "uid": "u"}
    metadata = {
        "labels": {f"{argo}/workflow": "w", f"{argo}/completed": "false"},
        "annotations": {f"{argo}/node-id": "w-1", f"{argo}/node-name": "w"},
        "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
    }
    made = task_result(metadata)["metadata"]
    assert made["name"] == "w-1"
    assert made["labels"] == {f"{argo}/workflow": "w", f"{argo}/report-outputs-completed": "false"}
    assert made["ownerReferences"] == [owner]
