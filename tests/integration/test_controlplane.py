"""The control plane itself: it is a real one, it can be broken and mended, and it leaves nothing behind.

Servers in the folder of a control plane are found by their working directory in /proc.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from testing.controlplane import audit
from testing.controlplane.connection import Connection, Kubectl, service_account
from testing.controlplane.errors import ControlPlaneError, KubectlError
from testing.controlplane.ports import free_port
from testing.controlplane.server import ControlPlane

ROOT = Path(__file__).parents[2]
LIMIT = 90.0


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, f"waited {LIMIT:.0f} s in vain until {what}"
        time.sleep(0.05)


def servers(folder: str) -> dict[str, int]:
    """Program and process number of what runs in a folder."""
    found = {}
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and str((process / "cwd").readlink()).removesuffix(" (deleted)") == folder:
                found[(process / "comm").read_text().strip()] = int(process.name)
        except OSError:
            continue
    return found


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def needs_controllers(connection: Connection) -> None:
    if not connection.has_controller_manager:
        pytest.skip("KUBEBUILDER_ASSETS has no kube-controller-manager")


def created(connection: Connection, collection: str, body: Mapping[str, object]) -> dict[str, dict[str, str]]:
    status, answer = connection.request("POST", collection, body)
    assert status == 201, answer
    result: dict[str, dict[str, str]] = answer
    return result


def test_the_server_is_ready_and_of_the_version_of_its_kubectl(control_plane: Connection) -> None:
    assert control_plane.request("GET", "/readyz") == (200, "ok")
    versions = json.loads(control_plane.kubectl("version", "-o", "json").stdout)
    assert versions["serverVersion"]["gitVersion"] == versions["clientVersion"]["gitVersion"]


def test_a_certificate_makes_anybody_and_rbac_denies_who_has_no_role(kubectl: Kubectl) -> None:
    who = json.loads(kubectl("auth", "whoami", "-o", "json", user="ann", groups=["curators"]).stdout)
    assert who["status"]["userInfo"]["username"] == "ann"
    assert who["status"]["userInfo"]["groups"] == ["curators", "system:authenticated"]
    with pytest.raises(KubectlError, match='User "ann" cannot list resource "configmaps"'):
        kubectl("get", "configmaps", user="ann", groups=["curators"])
    kubectl("create", "rolebinding", "curators", "--clusterrole=view", "--group=curators")

    def allowed() -> bool:
        return kubectl("get", "configmaps", user="ann", groups=["curators"], check=False).returncode == 0

    until(allowed, "the role is in effect")
    assert kubectl("get", "configmaps", user="bob", check=False).returncode == 1


def test_a_certificate_can_identify_a_service_account(kubectl: Kubectl, namespace: str) -> None:
    user, groups = service_account(namespace, "robot")
    who = json.loads(kubectl("auth", "whoami", "-o", "json", user=user, groups=groups).stdout)
    assert who["status"]["userInfo"]["username"] == f"system:serviceaccount:{namespace}:robot"
    assert f"system:serviceaccounts:{namespace}" in who["status"]["userInfo"]["groups"]


def test_a_stale_resource_version_is_a_conflict(control_plane: Connection, namespace: str) -> None:
    collection = f"/api/v1/namespaces/{namespace}/configmaps"
    old = created(control_plane, collection, {"metadata": {"name": "a"}})
    assert control_plane.request("PATCH", f"{collection}/a", {"data": {"k": "1"}})[0] == 200
    assert control_plane.request("PUT", f"{collection}/a", old)[0] == 409


def test_mutating_admission_policy_v1_is_served_and_works(
    control_plane: Connection, namespace: str, request: pytest.FixtureRequest
) -> None:
    group = "/apis/admissionregistration.k8s.io/v1"
    name = f"mark-{namespace}"
    policy = {
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "resourceRules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
                ],
            },
            "mutations": [
                {
                    "patchType": "ApplyConfiguration",
                    "applyConfiguration": {"expression": 'Object{data: {"by": request.userInfo.username}}'},
                }
            ],
        },
    }
    for resource in ("mutatingadmissionpolicies", "mutatingadmissionpolicybindings"):
        request.addfinalizer(functools.partial(control_plane.request, "DELETE", f"{group}/{resource}/{name}"))
    created(control_plane, f"{group}/mutatingadmissionpolicies", policy)
    binding = {"metadata": {"name": name}, "spec": {"policyName": name}}
    created(control_plane, f"{group}/mutatingadmissionpolicybindings", binding)
    path = f"/api/v1/namespaces/{namespace}/configmaps?dryRun=All"

    def marked() -> bool:
        return created(control_plane, path, {"metadata": {"name": "a"}}).get("data") == {"by": "admin"}

    until(marked, "the policy marks a new ConfigMap")


def test_a_deleted_namespace_ends_with_all_that_is_in_it(control_plane: Connection, namespace: str) -> None:
    needs_controllers(control_plane)
    created(control_plane, f"/api/v1/namespaces/{namespace}/configmaps", {"metadata": {"name": "a"}})
    assert control_plane.request("DELETE", f"/api/v1/namespaces/{namespace}")[0] == 200
    path = f"/api/v1/namespaces/{namespace}"
    until(lambda: control_plane.request("GET", path)[0] == 404, "the namespace has ended")
    assert control_plane.request("GET", f"{path}/configmaps/a")[0] == 404


def test_what_a_deleted_object_owned_is_collected(control_plane: Connection, namespace: str) -> None:
    needs_controllers(control_plane)
    collection = f"/api/v1/namespaces/{namespace}/configmaps"
    owner = created(control_plane, collection, {"metadata": {"name": "owner"}})
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    created(control_plane, collection, {"metadata": {"name": "owned", "ownerReferences": [reference]}})
    assert control_plane.request("DELETE", f"{collection}/owner")[0] == 200
    until(lambda: control_plane.request("GET", f"{collection}/owned")[0] == 404, "the garbage is collected")


def test_a_role_that_aggregates_into_another_is_added_to_it(
    control_plane: Connection, namespace: str, request: pytest.FixtureRequest
) -> None:
    needs_controllers(control_plane)
    roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    label = {f"aggregate-to-{namespace}": "true"}
    rule = {"apiGroups": ["curation.dev"], "resources": ["curationapprovals"], "verbs": ["approve"]}
    for name in (namespace, f"{namespace}-part"):
        request.addfinalizer(functools.partial(control_plane.request, "DELETE", f"{roles}/{name}"))
    whole = {"metadata": {"name": namespace}, "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": label}]}}
    created(control_plane, roles, whole)
    created(control_plane, roles, {"metadata": {"name": f"{namespace}-part", "labels": label}, "rules": [rule]})
    path = f"{roles}/{namespace}"
    until(lambda: control_plane.request("GET", path)[1].get("rules") == [rule], "the roles are aggregated")


def test_the_audit_log_says_who_wrote_what(control_plane: Connection, kubectl: Kubectl, namespace: str) -> None:
    kubectl("create", "rolebinding", "ann", "--clusterrole=edit", "--user=ann")
    until(lambda: kubectl("auth", "can-i", "create", "cm", user="ann", check=False).returncode == 0, "ann may write")
    for name in ("a", "b"):
        kubectl("create", "configmap", name, user="ann")
    kubectl("delete", "configmap", "a", user="ann", check=False)
    assert kubectl("create", "role", "r", "--verb=get", "--resource=pods", user="ann", check=False).returncode == 1

    def writes() -> list[tuple[str, str, str, int]]:
        records = [one for one in audit.read(control_plane.folder) if one.namespace == namespace and one.is_write]
        return [(one.verb, one.resource, one.name, one.code) for one in records if one.user == "ann"]

    until(lambda: len(writes()) >= 4, "the writes are in the log")
    assert writes() == [
        ("create", "configmaps", "a", 201),
        ("create", "configmaps", "b", 201),
        ("delete", "configmaps", "a", 200),
        # Refused before its content was read.
        ("create", "roles", "", 403),
    ]


@pytest.mark.parametrize("kill", [False, True], ids=["in good order", "killed"])
def test_a_restart_keeps_objects_address_and_certificates(private_control_plane: ControlPlane, kill: bool) -> None:
    server = private_control_plane
    server.kubectl("create", "configmap", "a")
    uid = server.kubectl("get", "configmap", "a", "-o", "jsonpath={.metadata.uid}").stdout
    server.stop_apiserver(kill=kill)
    with pytest.raises(OSError, match="refused"):
        server.request("GET", "/readyz")
    server.start_apiserver()
    assert server.kubectl("get", "configmap", "a", "-o", "jsonpath={.metadata.uid}").stdout == uid


def test_a_paused_server_takes_connections_and_answers_only_when_it_is_resumed(
    private_control_plane: ControlPlane,
) -> None:
    server = private_control_plane
    server.pause_apiserver()
    late = server.kubectl("get", "--raw", "/readyz", "--request-timeout=2s", check=False)
    assert late.returncode == 1
    assert "refused" not in late.stderr
    server.resume_apiserver()
    assert server.kubectl("get", "--raw", "/readyz").stdout == "ok"


def test_a_paused_server_can_be_stopped(private_control_plane: ControlPlane) -> None:
    private_control_plane.pause_apiserver()
    private_control_plane.restart_apiserver()
    assert private_control_plane.request("GET", "/readyz")[0] == 200


def test_a_port_that_somebody_took_first_is_given_up_for_another(
    control_plane: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = [taken.getsockname()[1], free_port()]
        monkeypatch.setattr("testing.controlplane.server.free_port", lambda: ports.pop(0))
        with ControlPlane(controller_manager=False) as server:
            assert ports == []
            assert server.request("GET", "/readyz") == (200, "ok")


def test_the_port_is_not_one_that_an_outgoing_connection_could_get() -> None:
    try:
        low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    except FileNotFoundError:
        pytest.skip("this system does not say which ports those are")
    if low < 16000:
        pytest.skip("here there are hardly any others")
    assert not [port for port in (free_port() for _ in range(50)) if low <= port <= high]


def test_a_failed_start_shows_the_log_of_the_server_that_failed_and_leaves_nothing(
    control_plane: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    server = ControlPlane(arguments=["--no-such-flag"])
    with pytest.raises(ControlPlaneError, match=r"(?s)kube-apiserver ended with 1; .*unknown flag: --no-such-flag"):
        server.start()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ControlPlaneError, match="not started"):
        server.kubectl("get", "ns")


def test_a_kept_folder_gives_its_data_to_the_next_control_plane(control_plane: Connection, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    with ControlPlane(folder=folder, controller_manager=False) as first:
        first.kubectl("create", "namespace", "kept")
        kubeconfig = first.kubeconfig()
    assert servers(str(folder)) == {}
    with ControlPlane(folder=folder, controller_manager=False) as second:
        assert second.kubectl("get", "namespace", "kept", "-o", "name").stdout == "namespace/kept\n"
        # The address has changed.
        assert second.kubeconfig() != kubeconfig


OWNER = """
import json, sys, threading
from testing.controlplane.ports import free_port
from testing.controlplane.server import ControlPlane
control_plane = ControlPlane(controller_manager=True)
control_plane.start()
print(json.dumps(str(control_plane.folder)), flush=True)
threading.Event().wait()
"""


@pytest.fixture
def owner(control_plane: Connection, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that owns a control plane, and the folder of that."""
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", OWNER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as process:
        try:
            assert process.stdout
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def test_the_servers_end_and_the_folder_goes_when_the_owner_is_killed(
    owner: tuple[subprocess.Popen[str], str],
) -> None:
    process, folder = owner
    pids = servers(folder)
    assert {"etcd", "kube-apiserver"} <= set(pids)
    supervisor = parent_of(pids["etcd"])
    assert supervisor != process.pid
    process.send_signal(signal.SIGKILL)
    process.wait()
    until(lambda: not any(map(runs, [*pids.values(), supervisor])), "all processes have ended")
    assert not Path(folder).exists()


def test_the_servers_end_when_their_supervisor_is_killed_and_the_owner_gets_an_error(
    private_control_plane: ControlPlane,
) -> None:
    folder = private_control_plane.folder
    pids = servers(str(folder))
    os.kill(parent_of(pids["etcd"]), signal.SIGKILL)
    until(lambda: not any(map(runs, pids.values())), "all servers have ended")
    with pytest.raises(ControlPlaneError, match="supervisor"):
        private_control_plane.pause_apiserver()
    private_control_plane.stop()
    assert not folder.exists()


SHARING = """
import os, pathlib, pytest

@pytest.mark.parametrize("number", range(8))
def test_share(control_plane, number):
    assert control_plane.request("GET", "/readyz")[0] == 200
    worker = os.environ.get("PYTEST_XDIST_WORKER", "none")
    pathlib.Path("seen", f"{worker}-{number}").write_text(str(control_plane.folder))
    if number == CRASH:
        os._exit(9)
"""


@pytest.mark.parametrize(
    ("workers", "crash"), [("0", -1), ("2", -1), ("2", 0)], ids=["no workers", "workers", "a worker that crashes"]
)
def test_all_workers_of_a_run_share_one_control_plane_that_ends_with_the_run(
    control_plane: Connection, tmp_path: Path, workers: str, crash: int
) -> None:
    (tmp_path / "seen").mkdir()
    (tmp_path / "temporary").mkdir()
    (tmp_path / "test_sharing.py").write_text(SHARING.replace("CRASH", str(crash)))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"TMPDIR": str(tmp_path / "temporary"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "-p", "testing.controlplane.pytest_plugin", "-n", workers]
    command += ["-p", "no:cacheprovider", "--rootdir", str(tmp_path), "test_sharing.py"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    seen = [path.read_text() for path in (tmp_path / "seen").iterdir()]
    assert len(seen) == 8, result.stdout + result.stderr
    assert len(set(seen)) == 1
    assert result.returncode == (0 if crash < 0 else 1), result.stdout
    assert not Path(seen[0]).exists()
    assert servers(seen[0]) == {}


def test_a_run_that_asks_for_no_control_plane_starts_none(tmp_path: Path) -> None:
    (tmp_path / "test_pure.py").write_text("def test_pure(): pass\n")
    # There is nothing to start here: neither programs nor a Go to build them with.
    environment = {"PATH": "/nonexistent", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "pytest", "-p", "testing.controlplane.pytest_plugin", "-n", "2"]
    command += ["-p", "no:cacheprovider", "--rootdir", str(tmp_path), "test_pure.py"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    assert not (tmp_path / ".cache").exists()
