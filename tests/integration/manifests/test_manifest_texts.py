"""What can be said of the manifests without a server."""

import base64
import hashlib
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wasmtime
import yaml

from curation.api.crd import crds
from curation.authz.policy_check import check_policy
from curation.reconciler.runtime.health import WATCH_STALE_SECONDS
from curation.wasm.abi import abi_problems
from curation.wasm.engine import new_engine

_ROOT = Path(__file__).parents[3]
_MANIFESTS = _ROOT / "manifests"
_SAMPLES = sorted((_MANIFESTS / "samples").glob("*.yaml"))


def _documents(path: Path) -> list[dict[str, Any]]:
    return [item for item in yaml.safe_load_all(path.read_text(encoding="utf-8")) if item]


def _all() -> Iterator[dict[str, Any]]:
    for path in sorted(_MANIFESTS.rglob("*.yaml")):
        if not path.is_relative_to(_MANIFESTS / "chart" / "templates"):  # which are no YAML
            yield from _documents(path)


def _operator(pod: dict[str, Any]) -> dict[str, Any]:
    """The operator's own container."""
    (found,) = (each for each in pod["containers"] if each["name"] == "operator")
    container: dict[str, Any] = found
    return container


def _roles() -> dict[str, dict[str, Any]]:
    return {f"{item['kind']}/{item['metadata']['name']}": item for item in _all() if item.get("rules")}


def test_no_role_has_a_wildcard() -> None:
    roles = _roles()
    assert len(roles) == 15
    for name, role in roles.items():
        for rule in role["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]], name


def test_only_three_components_touch_secrets_and_only_named_ones() -> None:
    rules = {name: rule for name, role in _roles().items() for rule in role["rules"] if "secrets" in rule["resources"]}
    own = ("door", "webhook")
    assert set(rules) == {"Role/curation-operator-secrets", *(f"Role/curation-operator-{name}" for name in own)}
    assert rules["Role/curation-operator-secrets"]["resourceNames"]
    assert rules["Role/curation-operator-secrets"]["verbs"] == ["get"]
    for name in own:  # its own certificates
        assert rules[f"Role/curation-operator-{name}"]["resourceNames"] == [f"curation-operator-{name}"]
        assert rules[f"Role/curation-operator-{name}"]["verbs"] == ["get", "patch"]


def test_guest_pods_add_no_right_but_to_jobs_and_pods_of_their_namespace_and_to_review_tokens() -> None:
    roles = {name: role for name, role in _roles().items() if name.endswith(("-guests", "-door"))}
    granted = {
        (name, role["metadata"].get("namespace"), resource, verb)
        for name, role in roles.items()
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    jobs, pods = ("get", "list", "watch", "create", "delete"), ("get", "list", "watch")
    guests = "Role/curation-operator-guests", "curation-guests"
    door = "Role/curation-operator-door", "curation-system"
    assert granted == {
        *((*guests, "jobs", verb) for verb in jobs),
        *((*guests, "pods", verb) for verb in pods),
        *((*door, "secrets", verb) for verb in ("get", "patch")),
        (*door, "pods", "get"),
        ("ClusterRole/curation-operator-guests", None, "tokenreviews", "create"),
    }


def test_only_viewing_and_jobs_aggregate_into_the_roles_of_kubernetes() -> None:
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    found = {
        (role["metadata"]["name"], label.removeprefix(prefix))
        for role in _roles().values()
        for label in role["metadata"].get("labels", {})
        if label.startswith(prefix)
    }
    assert found == {("curation-viewer", "view"), ("curation-job-author", "edit")}


def test_the_namespaced_role_is_the_cluster_role_without_cluster_policies() -> None:
    cluster = _documents(_MANIFESTS / "base" / "cluster-role.yaml")[0]["rules"]
    for rule in cluster:
        rule["resources"] = [name for name in rule["resources"] if not name.startswith("clustercurationpolicies")]
    assert _documents(_MANIFESTS / "components" / "namespaced" / "role.yaml")[0]["rules"] == cluster


def test_the_probes_learn_within_90_s_that_a_watch_hangs_or_the_loop_is_blocked() -> None:
    container = _operator(_documents(_MANIFESTS / "base" / "deployment.yaml")[0]["spec"]["template"]["spec"])
    for name, path in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        probe = container[name]
        assert probe["httpGet"]["path"] == path
        next_answer = probe["periodSeconds"] + probe["timeoutSeconds"]
        # A hung watch is named in the answer; a blocked loop gives none.
        assert WATCH_STALE_SECONDS + next_answer <= 90
        assert next_answer * probe.get("failureThreshold", 3) <= 90


def test_what_is_compiled_outlasts_the_container() -> None:
    pod = _documents(_MANIFESTS / "base" / "deployment.yaml")[0]["spec"]["template"]["spec"]
    container = _operator(pod)
    (folder,) = (each.partition("=")[2] for each in container["args"] if each.startswith("--module-cache="))
    (mount,) = (each for each in container["volumeMounts"] if Path(folder).is_relative_to(each["mountPath"]))
    # Not the mount itself: a volume's own folder is open to its group.
    assert folder != mount["mountPath"]
    (volume,) = (each for each in pod["volumes"] if each["name"] == mount["name"])
    assert "emptyDir" in volume
    (overlay,) = _documents(_MANIFESTS / "overlays" / "development" / "kustomization.yaml")
    assert f"--module-cache={folder}" in overlay["patches"][0]["patch"]


def test_the_image_has_the_version_of_the_project() -> None:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    images = _documents(_MANIFESTS / "base" / "kustomization.yaml")[0]["images"]
    assert images == [{"name": project["name"], "newTag": project["version"]}]


def test_every_sample_says_what_to_expect_and_is_in_the_kustomization() -> None:
    resources = _documents(_MANIFESTS / "samples" / "kustomization.yaml")[0]["resources"]
    assert sorted(resources) == [path.name for path in _SAMPLES if path.name != "kustomization.yaml"]
    for path in _SAMPLES:
        comment = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
        assert path.name == "kustomization.yaml" or "Expect" in " ".join(comment), path.name


def test_the_samples_change_nothing_cluster_wide() -> None:
    cluster_scoped = {crd["spec"]["names"]["kind"] for crd in crds() if crd["spec"]["scope"] == "Cluster"}
    assert cluster_scoped == {"ClusterCurationPolicy"}
    kinds = {document["kind"] for path in _SAMPLES for document in _documents(path)} - {"Kustomization"}
    assert kinds == {"ConfigMap", "CurationJob", "CurationModule", "CurationPolicy"}
    assert _documents(_MANIFESTS / "samples" / "kustomization.yaml")[0]["namespace"] == "default"


@pytest.mark.parametrize("name", ["policy", "cluster-wide/cluster-policy"])
def test_the_sample_policies_are_valid(name: str) -> None:
    checked = check_policy(_documents(_MANIFESTS / "samples" / f"{name}.yaml")[0]["spec"]["cedar"])
    assert (checked.valid, checked.count) == (True, 1), checked.message


def test_the_sample_module_is_what_its_source_says_and_fits_the_contract() -> None:
    config_map, module = _documents(_MANIFESTS / "samples" / "module-configmap.yaml")
    source = module["spec"]["source"]["configMap"]
    assert source["name"] == config_map["metadata"]["name"]
    wasm = base64.b64decode(config_map["binaryData"][source["key"]])
    assert wasm == bytes(wasmtime.wat2wasm((_MANIFESTS / "samples" / "hello.wat").read_text(encoding="utf-8")))
    assert module["spec"]["digest"] == "sha256:" + hashlib.sha256(wasm).hexdigest()
    engine = new_engine()
    assert abi_problems(engine, wasmtime.component.Component(engine, wasm)) == []
