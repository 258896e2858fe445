"""The cluster of the current kubeconfig, in place of a local control plane: `make demo CLUSTER=current`.

It gets the CRDs, the roles, the admission policies and two namespaces, and nothing that exists is changed: the demo
refuses a cluster that has any of them. The operator is a process of this machine. Everything is removed at the end.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from demo.commands import run
from testing.controlplane.binaries import OLDEST, minor_of
from testing.controlplane.connection import ADMIN
from testing.controlplane.errors import ControlPlaneError, KubectlError

_ANSWER_SECONDS: Final = 20
_EFFECTIVE_SECONDS: Final = 60
_POLL_SECONDS: Final = 0.5
_PROBE: Final = """{"apiVersion": "curation.dev/v1alpha1", "kind": "CurationJob",
"metadata": {"name": "is-it-marked", "namespace": "default"}, "spec": {"moduleRef": {"name": "none"}}}"""
_OVERLAYS: Final = {
    "admission": "default",
    "admission-v1beta1": "default-v1beta1",
    "admission-validating": "default-validating",
}
"""Which overlay has the component that manifests/choose-admission.sh names."""

# The API server could not ask an operator that is a process of this machine.
_NOT_HERE: Final = frozenset(
    {"Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy", "ValidatingWebhookConfiguration"}
)
"""What belongs to the operator's pods: there are none."""

_WITH_FINALIZERS: Final = ("curationjobs", "curationapprovals", "curationmodules", "curationpolicies")
_NO_FINALIZERS: Final = '{"metadata":{"finalizers":null}}'
_RIGHTS: Final = (
    "create customresourcedefinitions.apiextensions.k8s.io",
    "create clusterroles.rbac.authorization.k8s.io",
    "create validatingadmissionpolicies.admissionregistration.k8s.io",
    "create namespaces",
    "impersonate users",
)
_OTHERWISE: Final = (
    "Start one, for example with `kind create cluster`, or run `make demo` without CLUSTER, which brings its own."
)


class CurrentCluster:
    """A context manager: `install` puts the operator's objects there, the end of the block removes them.

    Raises ControlPlaneError when the cluster will not do; the message says why and what to do.
    """

    def __init__(self, namespace: str, say: Callable[[str], None]) -> None:
        self._namespace = namespace
        self._say = say
        found = shutil.which("kubectl")
        if found is None:
            raise ControlPlaneError("CLUSTER=current needs kubectl, and there is none on the PATH: install it")
        self.binaries = Path(found).parent
        self._folder = Path(tempfile.mkdtemp(prefix="curation-demo-cluster-"))
        self._manifest = self._folder / "objects.yaml"
        self._configuration: dict[str, Any] = {}
        self._overlay_used = ""
        self._left: list[str] = []

    def __enter__(self) -> CurrentCluster:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if self._overlay_used:
                self._remove()
        except KeyboardInterrupt:
            self._say(f"Interrupted while it was removed. {self._by_hand()}")
            raise
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._left:
            self._say(f"Not all of it could be removed. {self._by_hand()}")
            if kind is None:
                raise ControlPlaneError(f"the demo has left something in the cluster: {', '.join(self._left)}")

    def kubeconfig(self, user: str = ADMIN, groups: Sequence[str] = ()) -> Path:
        """The current context alone; for another user it impersonates them."""
        path = self._folder / f"{'-'.join([user, *groups]).replace(':', '-')}.yaml"
        if not path.exists():
            wanted = json.loads(json.dumps(self._configuration))
            if user != ADMIN:
                _impersonate(wanted, user, groups)
            path.touch(mode=0o600)
            path.write_text(json.dumps(wanted))
        return path

    def environment(self, user: str = ADMIN, groups: Sequence[str] = ()) -> dict[str, str]:
        """The caller's own, with the kubeconfig of this user."""
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig(user, groups))}

    def install(self) -> None:
        """Check the cluster, say what will be done, and do it."""
        context, server, version = self._look()
        self._say(f"The cluster of context {context} ({server}) runs Kubernetes {version}.")
        self._refuse_what_is_there(["-f", "crds"])
        self._refuse_what_is_there(["namespace", self._namespace, "curation-system"])
        overlay = self._overlay()
        objects = self._render(overlay)
        self._refuse_what_is_there(["-f", str(self._manifest)])
        kinds = Counter(each["kind"] for each in objects)
        counted = ", ".join(f"{number} {kind}" for kind, number in kinds.items())
        self._say(
            f"It gets the objects of manifests/overlays/{overlay} but for the operator's pods ({counted}), and the "
            f"namespace {self._namespace}. The operator and the session service are processes of this machine. "
            "At the end, and on Ctrl-C, all of it is removed. Nothing that was there is changed."
        )
        self._overlay_used = overlay
        self.kubectl("apply", "--server-side", "-f", str(self._manifest))
        crds = [f"crd/{each['metadata']['name']}" for each in objects if each["kind"] == "CustomResourceDefinition"]
        self.kubectl("wait", "--for=condition=Established", "--timeout=100s", *crds)
        self._wait_for_effect(mutating="MutatingAdmissionPolicy" in kinds)

    def empty(self) -> None:
        """Delete what the demo has made, while the operator runs: it cancels the sessions of the jobs."""
        if self._overlay_used:
            self._say(
                f"Deleting the jobs, so that the operator cancels their sessions, and the namespace {self._namespace}."
            )
            self._delete(*self._all_of_ours("--timeout=60s"))

    def kubectl(self, *arguments: str, user: str = ADMIN) -> str:
        """Run kubectl; returns what it printed. Raises KubectlError with what it said."""
        return run([str(self.binaries / "kubectl"), *arguments], self.environment(user))

    def _look(self) -> tuple[str, str, str]:
        """Name of the context, address and version of the server; refuses a cluster that will not do."""
        first = [str(self.binaries / "kubectl"), "config", "view", "--minify", "--flatten", "--raw", "-o", "json"]
        try:
            self._configuration = json.loads(run(first, dict(os.environ)))
            context = self._configuration["current-context"]
            server = self._configuration["clusters"][0]["cluster"]["server"]
        except (KubectlError, KeyError, IndexError, TypeError) as error:
            said = str(error).splitlines()[-1] if isinstance(error, KubectlError) else "it names no cluster"
            raise ControlPlaneError(f"there is no current cluster in the kubeconfig ({said}). {_OTHERWISE}") from error
        try:
            said = self.kubectl("version", "-o", "json", f"--request-timeout={_ANSWER_SECONDS}s")
            version = json.loads(said)["serverVersion"]["gitVersion"]
        except (KubectlError, KeyError) as error:
            why = str(error).splitlines()[-1]
            raise ControlPlaneError(
                f"the cluster of context {context} does not answer ({why}). {_OTHERWISE}"
            ) from error
        if minor_of(version) < OLDEST:
            wanted = ".".join(map(str, OLDEST))
            raise ControlPlaneError(
                f"context {context} is Kubernetes {version}, and the operator needs {wanted} or newer"
            )
        if denied := [right for right in _RIGHTS if not self._may(right)]:
            raise ControlPlaneError(
                f"you may not {', '.join(right.partition('.')[0] for right in denied)} in context {context}: "
                "the demo installs CRDs and roles, so it needs an administrator"
            )
        return context, server, version

    def _may(self, right: str) -> bool:
        try:
            self.kubectl("auth", "can-i", *right.split(), "--all-namespaces", "--quiet")
        except KubectlError:
            return False
        return True

    def _overlay(self) -> str:
        environment = self.environment()
        environment["PATH"] = f"{self.binaries}{os.pathsep}{environment.get('PATH', os.defpath)}"
        return _OVERLAYS[run(["sh", "manifests/choose-admission.sh"], environment).split()[-1]]

    def _render(self, overlay: str) -> list[dict[str, Any]]:
        text = self.kubectl("kustomize", f"manifests/overlays/{overlay}")
        objects = [each for each in yaml.safe_load_all(text) if each and each["kind"] not in _NOT_HERE]
        self._manifest.write_text(yaml.safe_dump_all(objects))
        return objects

    def _wait_for_effect(self, *, mutating: bool) -> None:
        """The new kinds and the admission policies work some seconds after they were accepted."""
        probe = self._folder / "probe.yaml"
        probe.write_text(_PROBE)
        deadline = time.monotonic() + _EFFECTIVE_SECONDS
        while True:
            try:
                self.kubectl("get", ",".join(_WITH_FINALIZERS), "--namespace=default", "-o", "name")
                made = json.loads(self.kubectl("create", "--dry-run=server", "-f", str(probe), "-o", "json"))
                if not mutating or "curation.dev/created-by" in made["metadata"].get("annotations", {}):
                    return
                why = "the admission policies do not record who creates a job"
            except KubectlError as error:
                why = str(error).splitlines()[-1]
            if time.monotonic() > deadline:
                raise ControlPlaneError(f"what was installed has no effect after {_EFFECTIVE_SECONDS} s: {why}")
            time.sleep(_POLL_SECONDS)

    def _found(self, *which: str) -> list[str]:
        return self.kubectl("get", *which, "--ignore-not-found", "-o", "name").split()

    def _refuse_what_is_there(self, which: list[str]) -> None:
        if found := self._found(*which):
            shown = ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
            raise ControlPlaneError(
                f"this cluster has {shown} already. The demo removes what it installs, so it never uses what is there. "
                f"Remove them if you can spare them (docs/install.md, Uninstall), or use another cluster. {_OTHERWISE}"
            )

    def _all_of_ours(self, *options: str) -> tuple[str, ...]:
        return ("delete", ",".join(_WITH_FINALIZERS), "--all", f"--namespace={self._namespace}", *options)

    def _remove(self) -> None:
        self._say("Removing from the cluster all that the demo has installed.")
        self._delete(*self._all_of_ours("--wait=false"))
        # Without an operator nobody takes the finalizers off. They come off only what is being deleted.
        for resource in _WITH_FINALIZERS:
            for name in self._names(resource):
                self._delete("patch", name, f"--namespace={self._namespace}", "--type=merge", "-p", _NO_FINALIZERS)
        self._delete("delete", "namespace", self._namespace, "--ignore-not-found", "--timeout=100s")
        self._delete("delete", "-f", str(self._manifest), "--ignore-not-found", "--timeout=100s")
        try:
            self._left = [*self._found("namespace", self._namespace), *self._found("-f", str(self._manifest))]
        except (KubectlError, ControlPlaneError) as error:
            self._left = [str(error).splitlines()[-1]]

    def _names(self, resource: str) -> list[str]:
        try:
            return self.kubectl("get", resource, f"--namespace={self._namespace}", "-o", "name").split()
        except (KubectlError, ControlPlaneError):
            return []

    def _delete(self, *arguments: str) -> None:
        """What cannot be removed is said, and the rest is removed all the same."""
        try:
            self.kubectl(*arguments)
        except (KubectlError, ControlPlaneError) as error:
            said = str(error).splitlines()[-1]
            if "(NotFound)" not in said and "the server doesn't have a resource type" not in said:
                self._say(f"`kubectl {' '.join(arguments)}` failed: {said}")

    def _by_hand(self) -> str:
        context = shlex.quote(self._configuration["current-context"])
        return (
            "What is left in the cluster goes with these commands, from here (docs/install.md, Uninstall, says what to "
            f"do about finalizers): `kubectl --context {context} delete namespace {self._namespace} "
            f"--ignore-not-found`, then `kubectl --context {context} delete -k manifests/overlays/"
            f"{self._overlay_used} --ignore-not-found`."
        )


def _impersonate(configuration: dict[str, Any], user: str, groups: Sequence[str]) -> None:
    """As `user` by the rights of the current one, who may have no credentials: behind `kubectl proxy` nobody has."""
    if not configuration.get("users"):
        configuration["users"] = [{"name": "demo", "user": {}}]
        configuration["contexts"][0]["context"]["user"] = "demo"
    who = configuration["users"][0]
    who["user"] = {**(who.get("user") or {}), "as": user, "as-groups": list(groups)}


@contextmanager
def current_cluster(namespace: str, say: Callable[[str], None]) -> Iterator[CurrentCluster]:
    """The cluster of the current kubeconfig, with the operator's objects until the block ends."""
    with CurrentCluster(namespace, say) as cluster:
        cluster.install()
        yield cluster
