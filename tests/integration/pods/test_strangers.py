"""Whoever may edit all in a job's namespace has no way to its pod; a pod's token opens nothing but its own run."""

from testing.controlplane.connection import Connection
from tests.harness.pods import Pods
from tests.harness.slow_runs import Point

EDITOR = "erin"


async def test_an_editor_of_the_jobs_namespace_reaches_neither_job_nor_pod_nor_token(
    pods: Pods, plane: Connection
) -> None:
    world = pods.world
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "editors"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": EDITOR}],
    }
    await world.cluster.create(binding)
    for verb, what in (
        ("create", "jobs.batch"),
        ("create", "pods"),
        ("create", "pods/exec"),
        ("get", "pods"),
        ("delete", "jobs.batch"),
        ("create", "serviceaccounts/token"),
    ):
        said = plane.kubectl("auth", "can-i", verb, what, "-n", world.guests, user=EDITOR, check=False)
        assert said.stdout.strip() == "no", (verb, what)


async def test_a_pods_token_is_no_token_of_the_api_server(pods: Pods, plane: Connection) -> None:
    world = pods.world
    await world.prepare()
    await world.start_operator()
    rule = await pods.create_held_job(Point.CREATE)
    pod = await pods.until_bound()
    token = pods.kubelet.tokens[pod["uid"]]
    said = plane.kubectl(
        *("get", "--raw", "/api/v1/namespaces", "--token", token, "--kubeconfig", "/dev/null"),
        *("--server", plane.url, "--insecure-skip-tls-verify"),
        check=False,
    )
    assert said.returncode != 0
    assert "Unauthorized" in said.stderr or "logged in" in said.stderr
    rule.release()
    await world.until_phase("Running")
