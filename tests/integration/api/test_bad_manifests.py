"""Bad manifests, each refused by `kubectl apply` with a message that names the field and says what would be right.

The table is the documentation: what is wrong (the test's name), the field that the message names, the remedy in it.
"""

from typing import Any

import pytest

from testing.controlplane.connection import Kubectl
from tests.integration.api.objects import DIGEST, REQUEST, Document, approval, job, module, policy, text

_SECRET = {"secretKeyRef": {"name": "session-service", "key": "token"}}


def _credential(**fields: Any) -> Document:
    return module(credentials=[{"host": "api.example.com", "header": "Authorization", **_SECRET, **fields}])


def _cancel(path: str, method: str = "POST") -> Document:
    return module(cancel=[{"method": method, "path": path}])


def _limits(**fields: str | int) -> Document:
    return module(limits=fields)


def _without(document: Document, field: str) -> Document:
    del document["spec"][field]
    return document


_BAD: dict[str, tuple[Document, str, str]] = {
    # CurationJob
    "a job without a spec": (
        {key: value for key, value in job().items() if key != "spec"}, "spec", "Required value"),
    "a job without a module": (
        _without(job(), "moduleRef"), "spec.moduleRef", "Required value"),
    "a job whose name is too long": (
        job("j" * 53), "metadata.name", "must be at most 52 characters, since it becomes a label"),
    "a module name in upper case": (
        job(moduleRef={"name": "Build"}), "spec.moduleRef.name", "lower-case letters, digits, '-' and '.'"),
    "an empty module name": (
        job(moduleRef={"name": ""}), "spec.moduleRef.name", "should be at least 1 chars long"),
    "a module name that is too long": (
        job(moduleRef={"name": "m" * 53}), "spec.moduleRef.name", "may not be more than 52"),
    "a module of another namespace": (
        job(moduleRef={"name": "m", "namespace": "other"}), "spec.moduleRef.namespace", "unknown field"),
    "an input that is a list": (
        job(input=[1]), "spec.input", "must be of type object"),
    "an input that is a text": (
        job(input="hello"), "spec.input", "must be of type object"),
    "a config value that is a number": (
        job(config={"port": 80}), "spec.config.port", "must be of type string"),
    "a config beyond 4 KiB in all": (
        job(config={"a": "x" * 2500, "b": "x" * 2500}), "spec.config", "at most 4096 bytes; put larger data in input"),
    "a config beyond 4 KiB of bytes though not of characters": (
        job(config={"a": "ü" * 3000}), "spec.config", "at most 4096 bytes; put larger data in input"),
    "a config with too many keys": (
        job(config={f"k{n}": "" for n in range(65)}), "spec.config", "must have at most 64 items"),
    "an input and a reference to one": (
        job(input={"a": 1}, inputFrom={"configMapKeyRef": {"name": "c", "key": "k"}}), "spec.inputFrom",
        "inputFrom and input are both set: keep one of them"),
    "an input from nowhere": (
        job(inputFrom={}), "spec.inputFrom.configMapKeyRef", "Required value"),
    "an input from a whole config map": (
        job(inputFrom={"configMapKeyRef": {"name": "c"}}), "spec.inputFrom.configMapKeyRef.key", "Required value"),
    "an input from a file": (
        job(inputFrom={"configMapKeyRef": {"name": "c", "key": "a/b"}}), "spec.inputFrom.configMapKeyRef.key",
        "letters, digits, '-', '_' and '.'"),
    "an input from a config map of another namespace": (
        job(inputFrom={"configMapKeyRef": {"name": "c", "key": "k", "namespace": "n"}}),
        "spec.inputFrom.configMapKeyRef.namespace", "unknown field"),
    "an input from a secret": (
        job(inputFrom={"secretKeyRef": {"name": "c", "key": "k"}}), "spec.inputFrom.secretKeyRef", "unknown field"),
    "a config from nowhere": (
        job(configFrom={}), "spec.configFrom.configMapRef", "Required value"),
    "a config from a config map in upper case": (
        job(configFrom={"configMapRef": {"name": "Settings"}}), "spec.configFrom.configMapRef.name",
        "lower-case letters, digits, '-' and '.'"),
    "an unknown executor": (
        job(executor={"type": "Pod"}), "spec.executor.type", 'supported values: "InProcess", "Job"'),
    "what a pod is given, for a run without one": (
        job(executor={"job": {"runtimeClassName": "gvisor"}}), "spec.executor.job",
        "set type to Job, or leave job out"),
    "a pod with a class of the system": (
        job(executor={"type": "Job", "job": {"priorityClassName": "system-node-critical"}}),
        "spec.executor.job.priorityClassName", "classes of the system are not for guests"),
    "a node's label that is none": (
        job(executor={"type": "Job", "job": {"nodeSelector": {"a b": "c"}}}), "spec.executor.job.nodeSelector",
        "each key must be the key of a label"),
    "a node's label whose prefix is no name": (
        job(executor={"type": "Job", "job": {"nodeSelector": {"a..b/c": "d"}}}), "spec.executor.job.nodeSelector",
        "each key must be the key of a label"),
    "a node's label that is too long": (
        job(executor={"type": "Job", "job": {"nodeSelector": {".".join(["a" * 60] * 6) + "/c": "d"}}}),
        "spec.executor.job.nodeSelector", "each key must be the key of a label"),
    "a taint whose prefix is no name": (
        job(executor={"type": "Job", "job": {"tolerations": [{"key": "a..b/c", "operator": "Exists"}]}}),
        "spec.executor.job.tolerations[0].key", "must be the key of a label or taint"),
    "a toleration of everything that does not say so": (
        job(executor={"type": "Job", "job": {"tolerations": [{}]}}), "spec.executor.job.tolerations[0].operator",
        "needs the operator Exists"),
    "a toleration of any value that names one": (
        job(executor={"type": "Job", "job": {"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]}}),
        "spec.executor.job.tolerations[0].value", "leave value out, or set operator to Equal"),
    "a toleration for a time of what does not evict": (
        job(executor={"type": "Job", "job": {"tolerations": [{"key": "a", "tolerationSeconds": 5}]}}),
        "spec.executor.job.tolerations[0].tolerationSeconds", "set effect, or leave tolerationSeconds out"),
    "a rerun that is a number": (
        job(rerun=2), "spec.rerun", "must be of type string"),
    "a suspend that is a word": (
        job(suspend="yes"), "spec.suspend", "must be of type boolean"),
    "an unknown way to treat a denial": (
        job(onDenied="Retry"), "spec.onDenied", 'supported values: "AwaitApproval", "Fail"'),
    "too many retries": (
        job(retry={"limit": 21}), "spec.retry.limit", "less than or equal to 20"),
    "a negative number of retries": (
        job(retry={"limit": -1}), "spec.retry.limit", "greater than or equal to 0"),
    "a first delay longer than the longest": (
        job(retry={"initialDelaySeconds": 60, "maxDelaySeconds": 30}), "spec.retry.initialDelaySeconds",
        "raise maxDelaySeconds"),
    "a first delay longer than the longest by default": (
        job(retry={"initialDelaySeconds": 301}), "spec.retry.initialDelaySeconds", "raise maxDelaySeconds"),
    "a timeout of nothing": (
        job(timeouts={"runningSeconds": 0}), "spec.timeouts.runningSeconds", "greater than or equal to 1"),
    "a timeout with a unit": (
        job(timeouts={"submittedSeconds": "15m"}), "spec.timeouts.submittedSeconds", "must be of type integer"),
    "a timeout of an unknown phase": (
        job(timeouts={"completedSeconds": 1}), "spec.timeouts.completedSeconds", "unknown field"),
    "an observation without a pause": (
        job(observeIntervalSeconds=0), "spec.observeIntervalSeconds", "greater than or equal to 1"),
    "an observation that is never to come": (
        job(observe={"intervalSeconds": 3601, "maxIntervalSeconds": 3601}), "spec.observe.intervalSeconds",
        "less than or equal to 3600"),
    "an interval longer than the longest": (
        job(observe={"intervalSeconds": 30, "maxIntervalSeconds": 20}), "spec.observe.intervalSeconds",
        "raise maxIntervalSeconds"),
    "an interval longer than the longest by default": (
        job(observe={"intervalSeconds": 61}), "spec.observe.intervalSeconds", "raise maxIntervalSeconds"),
    "two intervals that contradict each other": (
        job(observe={"maxIntervalSeconds": 30}, observeIntervalSeconds=5), "spec.observeIntervalSeconds",
        "set observeIntervalSeconds to null"),
    "a negative time to live": (
        job(ttlSecondsAfterFinished=-1), "spec.ttlSecondsAfterFinished", "greater than or equal to 0"),
    "a field of the batch job": (
        job(backoffLimit=3), "spec.backoffLimit", "unknown field"),
    # CurationModule
    "a module whose name is too long": (
        module("m" * 53), "metadata.name", "must be at most 52 characters, since it becomes a label"),
    "a module without a source": (
        _without(module(), "source"), "spec.source", "Required value"),
    "a source that names nothing": (
        module(source={}), "spec.source", "exactly one of configMap, oci and builtin must be set"),
    "a source of two kinds": (
        module(source={"builtin": "b", "configMap": {"name": "c", "key": "k"}}), "spec.source",
        "exactly one of configMap, oci and builtin must be set"),
    "bytes of a config map without a digest": (
        module(source={"configMap": {"name": "c", "key": "k"}}), "spec.digest",
        "is required unless source.builtin is used"),
    "a digest of another algorithm": (
        module(digest="md5:" + "0" * 32), "spec.digest", "must be sha256: and 64 hexadecimal digits"),
    "a digest in upper case": (
        module(digest="sha256:" + "A" * 64), "spec.digest", "in lower case, as sha256sum prints them"),
    "a config map without a key": (
        module(source={"configMap": {"name": "c"}}, digest=DIGEST), "spec.source.configMap.key", "Required value"),
    "a config map key with a slash": (
        module(source={"configMap": {"name": "c", "key": "a/b"}}, digest=DIGEST), "spec.source.configMap.key",
        "must be a key of data or binaryData"),
    "an artifact with a tag": (
        module(source={"oci": {"ref": "registry.example/a:v1", "digest": DIGEST}}, digest=DIGEST),
        "spec.source.oci.ref", "without scheme or tag: digest says which artifact"),
    "an artifact with a scheme": (
        module(source={"oci": {"ref": "oci://registry.example/a", "digest": DIGEST}}, digest=DIGEST),
        "spec.source.oci.ref", "without scheme or tag"),
    "more memory than a run may have": (
        _limits(memory="2Gi"), "spec.limits.memory", "must be more than 0 and at most 1Gi"),
    "no memory at all": (
        _limits(memory="0"), "spec.limits.memory", "must be more than 0 and at most 1Gi"),
    "a size without a number": (
        _limits(responseSize="big"), "spec.limits.responseSize", "such as 64Mi"),
    "a size with a fraction": (
        _limits(memory="1.5Mi"), "spec.limits.memory", "must be a whole number of bytes"),
    "a size that is a number": (
        _limits(outputSize=1024), "spec.limits.outputSize", "must be of type string"),
    "a result larger than status may hold": (
        _limits(outputSize="33Ki"), "spec.limits.outputSize", "must be more than 0 and at most 32Ki"),
    "too many calls": (
        _limits(httpCalls=1025), "spec.limits.httpCalls", "less than or equal to 1024"),
    "no time to compute": (
        _limits(cpuSeconds=0), "spec.limits.cpuSeconds", "greater than or equal to 1"),
    "a credential for a URL": (
        _credential(host="https://api.example.com/v1"), "spec.credentials[0].host", "must be a host alone"),
    "a credential for a host in upper case": (
        _credential(host="API.example.com"), "spec.credentials[0].host", "in lower-case ASCII"),
    "a credential for a host with a trailing dot": (
        _credential(host="api.example.com."), "spec.credentials[0].host", "or trailing dot"),
    "a credential for an IPv6 address, which no URL of a module may name": (
        _credential(host="fd00::1"), "spec.credentials[0].host", "no IPv6 address"),
    "a credential for a host that is no DNS name": (
        _credential(host="my_service"), "spec.credentials[0].host", "underscore"),
    "a credential as a header that servers take for the run's": (
        _credential(header="Curation_Run_Id"), "spec.credentials[0].header", "the host itself sets or refuses"),
    "a credential as a header that every request would be refused for": (
        _credential(header="Expect"), "spec.credentials[0].header", "the host itself sets or refuses"),
    "a credential as a header that would change the method that the gate decided about": (
        _credential(header="X-HTTP-Method-Override"), "spec.credentials[0].header", "the host itself sets or refuses"),
    "a credential as an identity to a trusting proxy": (
        _credential(header="X_Remote_User"), "spec.credentials[0].header", "tells services who is calling"),
    "a credential as an identity to Kubernetes": (
        _credential(header="Impersonate-User"), "spec.credentials[0].header", "tells services who is calling"),
    "a credential of another scheme": (
        _credential(scheme="ftp"), "spec.credentials[0].scheme", 'supported values: "http", "https"'),
    "a credential for port 0": (
        _credential(port=0), "spec.credentials[0].port", "greater than or equal to 1"),
    "a credential as a header with its value": (
        _credential(header="Authorization: Bearer x"), "spec.credentials[0].header", "its value comes from the Secret"),
    "a credential as a header of the host's own": (
        _credential(header="curation-run-ID"), "spec.credentials[0].header", "the host itself sets or refuses"),
    "a credential as the Host header": (
        _credential(header="Host"), "spec.credentials[0].header", "the host itself sets or refuses"),
    "a credential without a secret": (
        module(credentials=[{"host": "h", "header": "X"}]), "spec.credentials[0].secretKeyRef", "Required value"),
    "two values for one header of one origin": (
        module(credentials=[{"host": "h", "header": "X", **_SECRET}] * 2), "spec.credentials[1]", "Duplicate value"),
    "a cancel path without a slash": (
        _cancel("sessions/*"), "spec.cancel[0].path", "must be a path from /"),
    "a cancel path with a star inside a segment": (
        _cancel("/sessions/s-*"), "spec.cancel[0].path", "in which a segment is either *"),
    "a cancel path with two stars for any depth": (
        _cancel("/sessions/**"), "spec.cancel[0].path", "in which a segment is either *"),
    "a cancel path with an empty segment": (
        _cancel("/sessions//cancel"), "spec.cancel[0].path", "must be a path from /"),
    "a cancel path with a query": (
        _cancel("/cancel?id=*"), "spec.cancel[0].path", "it has no query and no escapes"),
    "a cancel path with an escape": (
        _cancel("/sessions/%2A"), "spec.cancel[0].path", "it has no query and no escapes"),
    "a cancel path with a dot segment": (
        _cancel("/sessions/../admin"), "spec.cancel[0].path", "must have no dot segment"),
    "a cancel path with too many stars": (
        _cancel("/*" * 9), "spec.cancel[0].path", "at most 8 segments that are *"),
    "a cancel path that is too long": (
        _cancel("/" + "p" * 256), "spec.cancel[0].path", "may not be more than 256"),
    "a cancel that is a URL": (
        _cancel("https://sessions.example.com/cancel"), "spec.cancel[0].path", "must be a path from /"),
    "a cancel of any method": (
        _cancel("/cancel", method="*"), "spec.cancel[0].method", 'supported values: "GET", "HEAD", "POST"'),
    "a cancel without a method": (
        module(cancel=[{"path": "/cancel"}]), "spec.cancel[0].method", "Required value"),
    "too many cancels": (
        module(cancel=[{"method": "POST", "path": "/cancel"}] * 17), "spec.cancel", "must have at most 16 items"),
    # CurationPolicy and ClusterCurationPolicy
    "a policy without text": (
        _without(policy(), "cedar"), "spec.cedar", "Required value"),
    "a policy with empty text": (
        policy(cedar=""), "spec.cedar", "should be at least 1 chars long"),
    "a policy beyond 64 KiB": (
        policy(cedar="//" + "x" * 65536), "spec.cedar", "may not be more than 65536"),
    "a cluster policy without text": (
        {**_without(policy(), "cedar"), "kind": "ClusterCurationPolicy"}, "spec.cedar", "Required value"),
    # CurationApproval
    "an approval that is approved from birth": (
        approval(decision="Approved"), "spec.decision", "create it without decision, then approve it"),
    "an approval that is denied from birth": (
        approval(decision="Denied"), "spec.decision", "create it without decision, then approve it"),
    "an approval of an unknown decision": (
        approval(decision="Maybe"), "spec.decision", 'supported values: "Pending", "Approved", "Denied", "Revoked"'),
    "an approval of an unknown scope": (
        approval(scope="Everything"), "spec.scope", 'supported values: "Request", "Path", "Host"'),
    "an approval without its request": (
        _without(approval(), "request"), "spec.request", "Required value"),
    "an approval of half a request": (
        approval(request={key: value for key, value in REQUEST.items() if key != "host"}), "spec.request.host",
        "Required value"),
    "an approval with a short digest": (
        approval(requestDigest="abc"), "spec.requestDigest", "must be 64 hexadecimal digits"),
    "a pending approval that has been decided by somebody": (
        approval(decidedBy="alice"), "spec.decidedBy", "leave it out while decision is Pending"),
    "a pending approval that expires": (
        approval(expiresAt="2030-01-01T00:00:00Z"), "spec.expiresAt", "leave it out while decision is Pending"),
    "an approval that expires on a day without a time": (
        approval(expiresAt="2030-01-01"), "spec.expiresAt", "must be a time such as 2030-01-31T12:00:00Z"),
}  # fmt: skip


@pytest.mark.parametrize(("document", "field", "remedy"), _BAD.values(), ids=_BAD.keys())
def test_kubectl_apply_refuses(kubectl: Kubectl, document: Document, field: str, remedy: str) -> None:
    result = kubectl("apply", "-f", "-", input=text(document), check=False)
    assert result.returncode == 1, result.stdout
    assert field in result.stderr
    assert remedy in result.stderr


# A strict client gets an error for unknown fields; any other has them pruned (test_unknown_fields).
_BAD_FOR_ALL = {name: case for name, case in _BAD.items() if case[2] != "unknown field"}


@pytest.mark.parametrize(("document", "field", "remedy"), _BAD_FOR_ALL.values(), ids=_BAD_FOR_ALL.keys())
def test_the_server_itself_refuses(kubectl: Kubectl, document: Document, field: str, remedy: str) -> None:
    """A refusal by kubectl alone, from its own reading of the schema, would not protect from other clients."""
    result = kubectl("create", "--validate=false", "-f", "-", input=text(document), check=False)
    assert result.returncode == 1, result.stdout
    assert field in result.stderr
    assert remedy in result.stderr
