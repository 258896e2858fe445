"""An operator that is limited to one namespace works there with the role of `components/namespaced` and no other."""

from pathlib import Path

import yaml

from testing.controlplane import audit
from tests.harness.world import JOBS, World

_ROLE = Path(__file__).parents[3] / "manifests" / "components" / "namespaced" / "role.yaml"


async def test_the_role_of_the_namespaced_component_is_enough_and_cluster_policies_are_left_out_only_on_request(
    world: World,
) -> None:
    user = f"operator-of-{world.namespace}"[:64]
    for document in yaml.safe_load_all(_ROLE.read_text(encoding="utf-8")):
        document["metadata"]["namespace"] = world.namespace
        if document["kind"] == "RoleBinding":
            document["subjects"] = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]
        await world.cluster.create(document)
    connection = world.cluster.connection
    environment = {"KUBECONFIG": str(connection.kubeconfig(user))}
    refusing = world.operator(environment=environment)
    await refusing.launch()
    assert await refusing.exit_code() == 2
    assert "cluster policies may not be read" in refusing.text()
    assert "Grant list and watch on clustercurationpolicies, or start with --without-cluster" in refusing.text()

    operator = world.operator("--without-cluster-policies", environment=environment)
    await operator.start()
    assert len(operator.logged("cluster policies do not count in this installation")) == 1

    await world.prepare()
    await world.create_jobs(2)
    await world.until_phase("Running", "job-0", "job-1")
    await world.cluster.delete(JOBS, "job-0")
    await world.until_gone("job-0")
    await world.settled()

    await operator.stop()
    asked = [record for record in audit.read(connection.folder) if record.user == user]
    # status.inForce is the installed account's to write, not this user's: at first by a PUT, then by patches.
    refused = {(record.verb, record.resource) for record in asked if record.code == 403}
    assert refused - {("patch", "curationpolicies")} == {
        ("list", "clustercurationpolicies"),
        ("update", "curationpolicies"),
    }
    assert {record.namespace for record in asked if record.code < 300} == {world.namespace}
