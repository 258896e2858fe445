"""Makes the Helm chart, whose templates come from the manifests that kustomize uses: there is one source for both.

Run: ``python -m hack.chart [FOLDER]``; `make helm` does so, and the release and the tests of the chart use `make`. What
people write of it is in manifests/chart, which is no chart by itself: Helm refuses it. Of kustomize this knows only
what these manifests need: resources, components, labels, and patches that delete an object or are JSON patches. A test
renders chart and overlays with the real programs, and compares the objects.
"""

from __future__ import annotations

import copy
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCE: Final = ROOT / "manifests" / "chart"
MADE: Final = ROOT / "dist" / "chart"
_HEADER: Final = "{{- /* Made from manifests/ by hack/chart.py. */}}\n"
_COMPLETE: Final = '{{- define "this is not the whole chart: make helm writes it to dist/chart" -}}{{- end -}}\n'
_PART_OF: Final = {"app.kubernetes.io/part-of": "curation-operator"}
_NAME: Final = {"app.kubernetes.io/name": "curation-operator"}
_SYSTEM: Final = "curation-system"
_JOBS: Final = "curation-jobs"
_GUESTS: Final = "curation-guests"

Object = dict[str, Any]


def make(target: Path) -> Path:
    """Write the whole chart to `target`, in place of what is there; returns it."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(SOURCE, target)
    for name, text in templates().items():
        path = target / "templates" / "generated" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return target


def templates(root: Path = ROOT) -> dict[str, str]:
    """The text of each template that is made, by its name."""
    manifests = root / "manifests"
    crds = {path.name: path.read_text(encoding="utf-8") for path in (root / "crds").glob("*.yaml")}
    base = _read(manifests / "base", _NAME | _PART_OF)
    people = _read(manifests / "rbac", _PART_OF)
    definitions = [_labelled(yaml.safe_load(text), _PART_OF) for _, text in sorted(crds.items())]
    files = {
        "crds": _if(".Values.crds.install", "".join(_crd(each) for each in definitions)),
        "operator": _operator(base),
        "people": _documents(people),
        "namespaced": _for_each_namespace(_component(manifests, "namespaced")),
        "secrets": _for_each_secret(_component(manifests, "secrets")),
        "grafana": _if(".Values.grafana.enabled", _documents([_dashboard(manifests / "components" / "grafana")])),
        "webhook": _if(_WEBHOOK, "".join(map(_webhook, _component(manifests, "webhook")))),
        "webhook-cert-manager": _if(
            f"{_WEBHOOK} .Values.webhook.certManager", _documents(_component(manifests, "webhook-cert-manager"))
        ),
        "guest-pods": _if(".Values.guestPods.enabled", _guests(_component(manifests, "guest-pods"))),
        "prometheus": _if(".Values.prometheus.enabled", _monitoring(_component(manifests, "prometheus"))),
        "admission-no-self-approval": _if(
            ".Values.admission.noSelfApproval", _documents(_component(manifests, "admission-no-self-approval"))
        ),
        "admission-approval-limits": _if(
            ".Values.admission.approvalLimits.enabled",
            "".join(map(_limits, _component(manifests, "admission-approval-limits"))),
        ),
    }
    for mode, component in _MODES.items():
        chosen = f'eq (include "curation.admission" .) "{mode}"'
        files[f"admission-{mode}"] = _if(chosen, _documents(_component(manifests, component)))
    return {f"{name}.yaml": _HEADER + text for name, text in files.items()} | {"_complete.tpl": _COMPLETE}


_MODES: Final = {"v1": "admission", "v1beta1": "admission-v1beta1", "validating": "admission-validating"}
"""The values of `admission.mode`, and the component that each is."""


# What kustomize does.


def _read(folder: Path, labels: dict[str, str]) -> list[Object]:
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    return [
        _labelled(each, labels)
        for resource in kustomization["resources"]
        for each in yaml.safe_load_all((folder / resource).read_text())
        if each
    ]


def _component(manifests: Path, name: str) -> list[Object]:
    """The objects of a component, and those of the components that it changes, as it changes them."""
    folder = manifests / "components" / name
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    if "resources" in kustomization:
        return _read(folder, _PART_OF)
    objects = [each for other in kustomization["components"] for each in _component(manifests, Path(other).name)]
    for patch in kustomization["patches"]:
        changes = yaml.safe_load(patch["patch"])
        chosen = [each for each in objects if _chosen(each, patch["target"])]
        if not chosen:
            raise ValueError(f"{folder}: no object is {patch['target']}")
        if isinstance(changes, dict):
            if changes.get("$patch") != "delete":
                raise ValueError(f"{folder}: this patch neither deletes nor is a JSON patch: {changes}")
            objects = [each for each in objects if each not in chosen]
        else:
            for each in chosen:
                for change in changes:
                    _apply(each, change)
    return objects


def _chosen(item: Object, target: dict[str, str]) -> bool:
    name: str = item["metadata"]["name"]
    return bool(item["kind"] == target["kind"]) and target.get("name", name) == name


def _apply(item: Object, change: dict[str, Any]) -> None:
    """One operation of a JSON patch (RFC 6902)."""
    *parents, last = change["path"].lstrip("/").split("/")
    place: Any = item
    for key in parents:
        place = place[int(key) if isinstance(place, list) else key]
    key = int(last) if isinstance(place, list) else last
    if change["op"] == "remove":
        del place[key]
    elif change["op"] == "replace":
        place[key]  # Must be there.
        place[key] = change["value"]
    elif change["op"] != "test" or place[key] != change["value"]:
        raise ValueError(f"this JSON patch cannot be applied: {change}")


def _labelled(item: Object, labels: dict[str, str]) -> Object:
    item = copy.deepcopy(item)
    item["metadata"]["labels"] = {**item["metadata"].get("labels", {}), **labels}
    return item


def _dashboard(folder: Path) -> Object:
    generator = yaml.safe_load((folder / "kustomization.yaml").read_text())["configMapGenerator"][0]
    data = {name: (folder / name).read_text() for name in generator["files"]}
    labels = {**generator["options"]["labels"], **_PART_OF}
    metadata = {"name": generator["name"], "namespace": generator["namespace"], "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


# What Helm adds: conditions and values.


class _Dumper(yaml.SafeDumper):
    """Long texts as blocks, so that a diff of a template can be read."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, "|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
_Dumper.ignore_aliases = lambda self, data: True  # type: ignore[method-assign]


def _document(item: Object, inline: dict[str, str] | None = None, blocks: dict[str, str] | None = None) -> str:
    """One object as a template: braces of its own are kept, and each placeholder becomes its value.

    An inline value takes the place of `__NAME__`, a block that of the whole line that has it.
    """
    text = yaml.dump(item, Dumper=_Dumper, sort_keys=False, width=10**6, allow_unicode=True)
    # Whatever else has braces is text for somebody else: Prometheus, Grafana. Closing ones mean nothing alone.
    text = text.replace("{{", '{{ "{{" }}')
    text = re.sub(rf"(?m): {_SYSTEM}$", ": {{ $.Release.Namespace | quote }}", text)
    text = text.replace(_SYSTEM, "{{ $.Release.Namespace }}")
    for name, value in (inline or {}).items():
        text = text.replace(f"__{name}__", value)
    for name, value in (blocks or {}).items():
        text = re.sub(rf"(?m)^.*__{name}__.*$", lambda _, value=value: value, text)  # type: ignore[misc]
    if left := re.search(r"__[A-Z]+__", text):
        raise ValueError(f"{item['kind']} {item['metadata']['name']}: nothing is put in the place of {left[0]}")
    return f"---\n{text}"


def _documents(objects: list[Object]) -> str:
    return "".join(_document(each) for each in objects)


def _if(condition: str, text: str) -> str:
    return f"{{{{- if {condition} }}}}\n{text}{{{{- end }}}}\n"


def _crd(item: Object) -> str:
    if "annotations" in item["metadata"]:
        raise ValueError(f"{item['metadata']['name']} has annotations of its own: put the policy beside them")
    item["metadata"] = {**item["metadata"], "__KEEP__": None}
    keep = "{{- if $.Values.crds.keep }}\n  annotations:\n    helm.sh/resource-policy: keep\n{{- end }}"
    return _document(item, blocks={"KEEP": keep})


def _operator(base: list[Object]) -> str:
    """The namespace is Helm's own, and the ClusterRole goes where the operator is limited to namespaces."""
    makers: dict[str, Callable[[Object], str]] = {
        "Namespace": lambda _: "",
        "Deployment": _deployment,
        "ClusterRole": lambda item: _if("not .Values.namespaces", _document(item)),
        "ClusterRoleBinding": lambda item: _if("not .Values.namespaces", _document(item)),
        "PodDisruptionBudget": lambda item: _if("gt (int .Values.replicas) 1", _document(item)),
        "NetworkPolicy": lambda item: _if(".Values.networkPolicy.enabled", _document(item)),
    }
    return "".join(makers.get(each["kind"], _document)(each) for each in base)


_WEBHOOK: Final = "and .Values.webhook.enabled (not .Values.namespaces)"
_POD: Final = """\
{{- with .Values.imagePullSecrets }}
      imagePullSecrets:
{{ toYaml . | indent 8 }}
{{- end }}
{{- with .Values.nodeSelector }}
      nodeSelector:
{{ toYaml . | indent 8 }}
{{- end }}
{{- with .Values.tolerations }}
      tolerations:
{{ toYaml . | indent 8 }}
{{- end }}
{{- with .Values.affinity }}
      affinity:
{{ toYaml . | indent 8 }}
{{- end }}
{{- with .Values.priorityClassName }}
      priorityClassName: {{ . | quote }}
{{- end }}"""
_ARGUMENTS: Final = """\
{{- if ne .Values.log.level "info" }}
        - {{ printf "--log-level=%s" .Values.log.level | quote }}
{{- end }}
{{- range .Values.namespaces }}
        - -n
        - {{ . | quote }}
{{- end }}
{{- if and .Values.namespaces (not .Values.clusterPolicies) }}
        - --without-cluster-policies
{{- end }}
{{- range .Values.options }}
        - {{ . | quote }}
{{- end }}
{{- if and .Values.webhook.enabled (not .Values.namespaces) }}
        - --https-bind=:9443
{{- if .Values.webhook.certManager }}
        - --https-certificate=/etc/curation/webhook/tls.crt
        - --https-key=/etc/curation/webhook/tls.key
{{- end }}
{{- end }}
{{- if .Values.guestPods.enabled }}
        - --guest-pods
{{- if ne .Values.guestPods.namespace "curation-guests" }}
        - {{ printf "--guest-namespace=%s" .Values.guestPods.namespace | quote }}
{{- end }}
{{- end }}"""
_PORTS: Final = """\
{{- if and .Values.webhook.enabled (not .Values.namespaces) }}
        - containerPort: 9443
          name: https
{{- end }}
{{- if .Values.guestPods.enabled }}
        - containerPort: 9445
          name: door
{{- end }}"""

_MOUNTS: Final = """\
{{- if and .Values.webhook.enabled .Values.webhook.certManager (not .Values.namespaces) }}
        - name: webhook-certificate
          mountPath: /etc/curation/webhook
          readOnly: true
{{- end }}"""
_VOLUMES: Final = """\
{{- if and .Values.webhook.enabled .Values.webhook.certManager (not .Values.namespaces) }}
      - name: webhook-certificate
        secret:
          secretName: curation-operator-webhook-tls
          defaultMode: 0440
{{- end }}"""
_INJECTED: Final = """\
{{- if .Values.webhook.certManager }}
  annotations:
    cert-manager.io/inject-ca-from: {{ $.Release.Namespace }}/curation-operator-webhook
{{- end }}"""


def _webhook(item: Object) -> str:
    """Where cert-manager makes the certificate, the operator needs no right, and cert-manager a word."""
    if item["kind"] == "ValidatingWebhookConfiguration":
        item["metadata"]["__INJECTED__"] = None
        return _document(item, blocks={"INJECTED": _INJECTED})
    own = item["kind"] == "Secret" or item["apiVersion"].startswith("rbac.")
    return _if("not .Values.webhook.certManager", _document(item)) if own else _document(item)


def _guests(objects: list[Object]) -> str:
    """Their namespace is a value, and the network policies go with the operator's own."""
    text = "".join(
        _if(".Values.networkPolicy.enabled", _document(each)) if each["kind"] == "NetworkPolicy" else _document(each)
        for each in objects
    )
    value = "{{ $.Values.guestPods.namespace | quote }}"
    text = re.sub(
        rf"(?m)^(  namespace|      kubernetes.io/metadata.name|.*metadata.name): {_GUESTS}$", rf"\1: {value}", text
    )
    # The namespace itself, whose name stands where others have theirs.
    return re.sub(rf"(?m)^(kind: Namespace\nmetadata:\n  name): {_GUESTS}$", rf"\1: {value}", text)


def _deployment(item: Object) -> str:
    item["spec"]["replicas"] = "__REPLICAS__"
    pod = item["spec"]["template"]
    pod["metadata"]["__PODANNOTATIONS__"] = None
    pod["spec"]["__POD__"] = None
    container, workers = pod["spec"]["containers"]
    for each, resources in ((container, "__RESOURCES__"), (workers, "__WORKERRESOURCES__")):
        each["image"] = "__IMAGE__"
        each["__PULL__"] = None
        del each["resources"]
        each[resources] = None
    args = container["args"]
    args[args.index("--log-format=json")] = "__LOGFORMAT__"
    args.append("__ARGUMENTS__")
    container["ports"].append("__PORTS__")
    container["volumeMounts"].append("__MOUNTS__")
    pod["spec"]["volumes"].append("__VOLUMES__")
    return _document(
        item,
        inline={
            "REPLICAS": "{{ .Values.replicas }}",
            "IMAGE": '{{ include "curation.image" . | quote }}',
            "LOGFORMAT": '{{ printf "--log-format=%s" .Values.log.format | quote }}',
        },
        blocks={
            "ARGUMENTS": _ARGUMENTS,
            "PORTS": _PORTS,
            "MOUNTS": _MOUNTS,
            "VOLUMES": _VOLUMES,
            "PULL": "{{- with .Values.image.pullPolicy }}\n        imagePullPolicy: {{ . }}\n{{- end }}",
            "RESOURCES": "        resources:\n{{ toYaml .Values.resources | indent 10 }}",
            "WORKERRESOURCES": "        resources:\n{{ toYaml .Values.workers.resources | indent 10 }}",
            "PODANNOTATIONS": (
                "{{- with .Values.podAnnotations }}\n      annotations:\n{{ toYaml . | indent 8 }}\n{{- end }}"
            ),
            "POD": _POD,
        },
    )


def _limits(item: Object) -> str:
    """What may be granted: the two variables are values."""
    values = {
        "scopes": ("__SCOPES__", "{{ toJson .Values.admission.approvalLimits.scopes | squote }}"),
        "longest": ("__LONGEST__", '{{ printf "duration(%q)" .Values.admission.approvalLimits.longest | squote }}'),
    }
    for variable in item["spec"].get("variables", ()):
        if variable["name"] in values:
            variable["expression"] = values[variable["name"]][0]
    return _document(item, inline={mark.strip("_"): value for mark, value in values.values()})


def _for_each_namespace(objects: list[Object]) -> str:
    text = _documents(objects).replace(f": {_JOBS}\n", ": {{ $namespace | quote }}\n")
    return f"{{{{- range $namespace := .Values.namespaces }}}}\n{text}{{{{- end }}}}\n"


_SECRETS: Final = """\
{{- /* One role for each namespace, which may be listed more than once. */}}
{{- $namesOf := dict }}
{{- range .Values.secrets }}
{{- $_ := set $namesOf .namespace (concat (get $namesOf .namespace | default list) .names | uniq) }}
{{- end }}
{{- range $namespace, $names := $namesOf }}"""


def _for_each_secret(objects: list[Object]) -> str:
    (role,) = (each for each in objects if each["kind"] == "Role")
    (rule,) = role["rules"]
    rule["resourceNames"] = "__NAMES__"
    text = "".join(_document(each, inline={"NAMES": "{{ toJson $names }}"}) for each in objects)
    text = text.replace(f": {_JOBS}\n", ": {{ $namespace | quote }}\n")
    return f"{_SECRETS}\n{text}{{{{- end }}}}\n"


def _monitoring(objects: list[Object]) -> str:
    labels = "{{- with $.Values.prometheus.labels }}\n{{ toYaml . | indent 4 }}\n{{- end }}"
    for item in objects:
        item["metadata"]["labels"]["__LABELS__"] = None
    text = "".join(_document(each, blocks={"LABELS": labels}) for each in objects)
    return text.replace("runbook_url: docs/", "runbook_url: {{ $.Values.prometheus.runbookUrl }}docs/")


if __name__ == "__main__":
    print(make(Path(sys.argv[1]) if len(sys.argv) > 1 else MADE))
