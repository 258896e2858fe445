"""The rights that the shipped roles give the operator, taken away one at a time from a control plane of the test's own.

The audit log is the witness: what the operator was refused, and what it was answered.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from testing.controlplane.audit import AuditRecord
from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER
from testing.controlplane.server import ControlPlane

_MANIFESTS = Path(__file__).parents[3] / "manifests"
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
_SECONDS = 60.0
_POLL_SECONDS = 0.02

Document = dict[str, Any]


class Right(NamedTuple):
    """One verb on one resource (`curationjobs/status` for a subresource)."""

    verb: str
    resource: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}"


def rights(verbs: str, *resources: str) -> set[Right]:
    """Each of these verbs, separated by spaces, on each of these resources."""
    return {Right(verb, resource) for verb in verbs.split() for resource in resources}


@dataclass(frozen=True)
class _Role:
    path: str
    namespace: str
    rules: list[Document]


def _role(file: str, namespace: str) -> _Role:
    document = next(yaml.safe_load_all((_MANIFESTS / file).read_text(encoding="utf-8")))
    scope = f"/namespaces/{namespace}/roles" if document["kind"] == "Role" else "/clusterroles"
    rules = [
        {**rule, "resources": [resource], "verbs": [verb]}
        for rule in document["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]
    return _Role(f"{_RBAC}{scope}/{document['metadata']['name']}", namespace, rules)


def _right(rule: Document) -> Right:
    return Right(rule["verbs"][0], rule["resources"][0])


def granted() -> set[Right]:
    """All that the shipped roles give the operator: cluster role, lease role, secrets component."""
    files = ("base/cluster-role.yaml", "base/lease-role.yaml", "components/secrets/role.yaml")
    return {_right(rule) for file in files for rule in _role(file, "").rules}


class Rights:
    """The operator's rights in a control plane, where a test takes them away and gives them back."""

    def __init__(self, control_plane: ControlPlane, namespace: str) -> None:
        self._control_plane = control_plane
        self._roles = (
            _role("base/cluster-role.yaml", namespace),
            _role("base/lease-role.yaml", "curation-system"),
            _role("components/secrets/role.yaml", namespace),
        )
        self._namespace = namespace
        self._taken: set[Right] = set()
        self.needed: set[Right] = set()
        """What was asked for while it was taken away, and answered once it was given back."""

    async def grant_secrets(self) -> None:
        """Apply the secrets component for the test's namespace."""
        for document in yaml.safe_load_all((_MANIFESTS / "components/secrets/role.yaml").read_text(encoding="utf-8")):
            document["metadata"]["namespace"] = self._namespace
            path = f"{_RBAC}/namespaces/{self._namespace}/{document['kind'].lower()}s"
            await self._ask("POST", path, document)

    async def take(self, *taken: Right) -> None:
        """Take these away, and wait until the API server refuses them."""
        self._taken.update(taken)
        await self._write(taken)

    async def give_back(self, *given: Right) -> None:
        """Give these back, and wait until the API server allows them."""
        self._taken.difference_update(given)
        await self._write(given)

    @asynccontextmanager
    async def without(self, verb: str, resource: str) -> AsyncIterator[None]:
        """Within, the operator lacks this right and must come to need it; afterwards it has it again."""
        async with self.without_all(Right(verb, resource)):
            yield

    @asynccontextmanager
    async def without_all(self, *taken: Right) -> AsyncIterator[None]:
        """The same of several at once, where one will do for another."""
        await self.take(*taken)
        yield
        await self.until_refused(*taken)
        await self.give_back(*taken)

    async def until_refused(self, *wanted: Right) -> None:
        """Wait until the operator has asked for all of these and was refused, with 403."""
        await self._until("refused", set(wanted), lambda code: code == 403)
        self.needed.update(wanted)

    async def until_allowed(self, wanted: Iterable[Right]) -> None:
        """Wait until each of these was asked for and carried out. A watch is recorded when it ends."""
        await self._until("allowed", set(wanted), lambda code: 200 <= code < 300)

    def refused(self) -> set[Right]:
        """All that the operator was ever refused for want of a right."""
        return self._answered(lambda code: code in (401, 403))

    def _answered(self, which: Callable[[int], bool]) -> set[Right]:
        records = self._control_plane.audit_records()
        return {_asked(record) for record in records if record.user == OPERATOR_USER and which(record.code)}

    async def _write(self, changed: Iterable[Right]) -> None:
        for role in self._roles:
            if any(_right(rule) in changed for rule in role.rules):
                rules = [rule for rule in role.rules if _right(rule) not in self._taken]
                await self._ask("PATCH", role.path, {"rules": rules})
                await asyncio.gather(*(self._in_effect(role, rule) for rule in role.rules if _right(rule) in changed))

    async def _in_effect(self, role: _Role, rule: Document) -> None:
        resource, _, subresource = rule["resources"][0].partition("/")
        attributes = {
            "verb": rule["verbs"][0],
            "group": rule["apiGroups"][0],
            "resource": resource,
            "subresource": subresource,
            "namespace": role.namespace,
            "name": rule.get("resourceNames", [""])[0],
        }
        spec = {"user": OPERATOR_USER, "groups": OPERATOR_GROUPS, "resourceAttributes": attributes}
        wanted = _right(rule) not in self._taken
        deadline = time.monotonic() + _SECONDS
        while (await self._ask("POST", _REVIEWS, {"spec": spec}))["status"]["allowed"] is not wanted:
            assert time.monotonic() < deadline, f"{_right(rule)} should be {'allowed' if wanted else 'refused'} now"
            await asyncio.sleep(_POLL_SECONDS)

    async def _ask(self, method: str, path: str, body: Document) -> Document:
        status, answer = await asyncio.to_thread(self._control_plane.request, method, path, body)
        assert status in (200, 201), answer
        return dict(answer)

    async def _until(self, what: str, wanted: set[Right], which: Callable[[int], bool]) -> None:
        deadline = time.monotonic() + _SECONDS
        while missing := wanted - self._answered(which):
            assert time.monotonic() < deadline, f"the operator was not {what}: {', '.join(map(str, sorted(missing)))}"
            await asyncio.sleep(_POLL_SECONDS)


def _asked(record: AuditRecord) -> Right:
    resource = f"{record.resource}/{record.subresource}" if record.subresource else record.resource
    return Right(record.verb, resource)
