"""The operator needs each right that the shipped roles give it, and asks for no other.

Each verb on each resource is taken away alone, but for update and patch of a status, of which either will do. The
operator, at its ordinary work, is refused with 403, and what needed the right is not done; once the right is given
back, the work goes on by itself.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from testing.admin_client import Document
from testing.controlplane import namespaces
from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER
from testing.controlplane.server import ControlPlane
from testing.operator_process import READY_SECONDS, OperatorProcess
from tests.faults.proxy import UPDATE, FaultProxy, held_request
from tests.guests.wat import Script
from tests.harness import manifests
from tests.harness.history import History
from tests.harness.world import JOBS, World, open_world
from tests.integration.manifests.rights import Right, Rights, granted, rights

MODULES, POLICIES, CLUSTER_POLICIES, APPROVALS = (
    "curationmodules",
    "curationpolicies",
    "clustercurationpolicies",
    "curationapprovals",
)
KINDS = (JOBS, MODULES, POLICIES, CLUSTER_POLICIES, APPROVALS)
OTHER = "other"
# All but the module `other` may reach the session service.
PERMIT = manifests.PERMIT_LOCAL.removesuffix(";") + f' unless {{ principal == Agent::"{OTHER}" }};'
NO_CANCEL = 'forbid(principal, action, resource) when { context.trigger == "Cancel" };'
HARMLESS = 'forbid(principal, action, resource) when { context.path == "/nowhere" };'

AT_START = rights("list watch", *KINDS) | rights("get create", "leases")
AT_WORK = (
    rights("get patch", *KINDS[:-1])
    | rights("get create delete", APPROVALS)
    | rights("delete", JOBS)
    | rights("update patch", *(f"{kind}/status" for kind in KINDS))
    | rights("get", "configmaps", "namespaces", "secrets")
    | rights("create patch", "events")
    | rights("patch", "leases")
)
# An object is read once more after a conflict; when the right is given back the watch has brought the newer version.
AFTER_A_CONFLICT = rights("get", *KINDS)


@dataclass
class Stage:
    """A world in a control plane of its own, whose operator works for the whole cluster behind a proxy."""

    world: World
    rights: Rights
    proxy: FaultProxy
    kubeconfig: Path

    def operator(self, *options: str) -> OperatorProcess:
        """An operator for the whole cluster, not started yet."""
        made = OperatorProcess(
            self.world.operator_environment(KUBECONFIG=str(self.kubeconfig)),
            ("--allow-cidr=127.0.0.0/8", "--http-bind=127.0.0.1:0", "--log-format=json", *options),
            self.world.notify,
        )
        self.world.operators.append(made)
        return made

    async def make(self, document: Document) -> None:
        """Create an object as admin; a cluster policy too."""
        if document["kind"] != "ClusterCurationPolicy":
            await self.world.cluster.create(document)
            return
        path = f"/apis/curation.dev/v1alpha1/{CLUSTER_POLICIES}"
        code, answer = await self.world.cluster.request("POST", path, document)
        assert code == 201, answer

    async def patch(self, plural: str, name: str, body: Document) -> None:
        """Merge into an object as admin; a cluster policy too."""
        if plural != CLUSTER_POLICIES:
            await self.world.cluster.patch(plural, name, body)
            return
        path = f"/apis/curation.dev/v1alpha1/{CLUSTER_POLICIES}/{name}"
        code, answer = await self.world.cluster.request("PATCH", path, body)
        assert code == 200, answer


@pytest.fixture
async def stage(private_control_plane: ControlPlane, module_cache: Path, tmp_path: Path) -> AsyncIterator[Stage]:
    """See `Stage`."""
    connection = private_control_plane.connection
    namespace = namespaces.create(connection, "rights")
    found = Rights(private_control_plane, namespace)
    await found.grant_secrets()
    user = connection.kubeconfig(OPERATOR_USER, OPERATOR_GROUPS)
    async with FaultProxy(user) as proxy, open_world(connection, namespace, module_cache) as world:
        # A read that was refused ends a reconcile with a traceback, and the key is tried again.
        world.tolerated.append("curation.cluster.answers.APIError: 403 Forbidden")
        yield Stage(world, found, proxy, proxy.kubeconfig(tmp_path))
        await world.stop_operators()


def test_these_are_all_the_rights_that_are_given() -> None:
    assert granted() == AT_START | AT_WORK
    assert not AT_START & AT_WORK


async def test_each_right_that_a_start_needs_is_missed_when_it_is_taken_away(stage: Stage) -> None:
    for kind in KINDS:
        async with stage.rights.without("list", kind):
            operator = stage.operator("--no-lease")
            await operator.launch()
            assert await operator.exit_code(READY_SECONDS) == 1
            assert f'cannot list resource "{kind}"' in operator.text()

    watches, get, create = rights("watch", *KINDS), Right("get", "leases"), Right("create", "leases")
    await stage.rights.take(*watches, get, create)
    operator = stage.operator("--lease-namespace=curation-system")
    await operator.launch()
    await stage.rights.until_refused(*watches, get)
    await stage.rights.give_back(get)
    await stage.rights.until_refused(create)
    assert not operator.logged("working as")
    assert (await operator.fetch("/readyz"))[0] == 503
    await stage.rights.give_back(*watches, create)
    await stage.world.until(lambda: bool(operator.logged("working as")), "the operator leads")
    await stage.world.prepare()
    await stage.world.create_jobs(1)
    await stage.world.until_phase("Running")
    await stage.world.settled()

    await operator.stop()
    await stage.rights.until_allowed(AT_START)
    assert stage.rights.needed == AT_START
    assert stage.rights.refused() == AT_START


async def test_each_right_that_the_work_needs_is_missed_when_it_is_taken_away(stage: Stage) -> None:
    operator = stage.operator("--lease-namespace=curation-system")
    await operator.start()
    await stage.world.until(lambda: bool(operator.logged("working as")), "the operator leads")

    await modules_and_policies(stage)
    await jobs(stage)
    await secrets_and_namespaces(stage)
    await approvals(stage)
    await events(stage)

    # What is refused now is the release of the lease, at the end.
    async with stage.rights.without("patch", "leases"):
        await operator.stop()
        assert operator.logged("Could not release the lease")
    await stage.rights.until_allowed(AT_WORK - AFTER_A_CONFLICT)
    assert stage.rights.needed == AT_WORK
    assert stage.rights.refused() == AT_WORK


async def modules_and_policies(stage: Stage) -> None:
    """Finalizers and statuses of the kinds that are loaded, and the bytes of a module."""
    quick = Script().ok({"action": "Completed", "output": {}})
    config_map, module = manifests.wasm_module("quick", quick)
    await stage.make(config_map)
    async with loaded(stage, MODULES, "quick"), stage.rights.without("get", "configmaps"):
        await stage.make(module)
    cluster_policy = {**manifests.policy(HARMLESS), "kind": "ClusterCurationPolicy"}
    for plural, document in (
        (MODULES, manifests.module()),
        (POLICIES, manifests.policy(PERMIT)),
        (CLUSTER_POLICIES, cluster_policy),
    ):
        async with loaded(stage, plural, "with-all-rights"):
            await stage.make(renamed(document, "with-all-rights"))
        for verbs, resource in (("patch", plural), ("update patch", f"{plural}/status")):
            name = f"without-{resource.replace('/', '-')}"
            async with loaded(stage, plural, name), stage.rights.without_all(*rights(verbs, resource)):
                await stage.make(renamed(document, name))
        name = f"without-get-{plural}"
        async with loaded(stage, plural, name), edited_before_its_status(stage, plural, name):
            await stage.make(renamed(document, name))
    await stage.make(manifests.module())
    await stage.make(manifests.module(OTHER))


async def jobs(stage: Stage) -> None:
    """Claims, conflicts, deletions."""
    world = stage.world
    await world.create_job("with-all-rights")
    await world.until_phase("Running", "with-all-rights")
    async with stage.rights.without_all(*rights("update patch", f"{JOBS}/status")):
        await world.create_job("claimed")
    await world.until_phase("Running", "claimed")
    async with edited_before_its_status(stage, JOBS, "edited"):
        await world.create_job("edited")
    await world.until_phase("Running", "edited")
    async with stage.rights.without("patch", JOBS):
        await world.cluster.delete(JOBS, "edited")
    await world.until_gone("edited")
    async with stage.rights.without("delete", JOBS):
        await world.create_job("outlived", moduleRef={"name": "quick"}, ttlSecondsAfterFinished=0)
    await world.until_gone("outlived")
    await world.settled()


async def secrets_and_namespaces(stage: Stage) -> None:
    """A module's credential; a deleted job whose Cancel is denied."""
    world = stage.world
    with_credential = manifests.module("with-credential")
    with_credential["spec"]["credentials"] = [
        {
            "scheme": "http",
            "host": "127.0.0.1",
            "port": int(world.service.url.rpartition(":")[2]),
            "header": "X-Token",
            "secretKeyRef": {"name": "session-service", "key": "token"},
        }
    ]
    await stage.make(with_credential)
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "session-service"},
        "stringData": {"token": "t"},
    }
    await stage.make(secret)
    async with stage.rights.without("get", "secrets"):
        await world.create_job("with-credential", moduleRef={"name": "with-credential"})
    await world.until_phase("Running", "with-credential")
    await stage.make(manifests.policy(NO_CANCEL, name="no-cancel"))
    async with stage.rights.without("get", "namespaces"):
        await world.cluster.delete(JOBS, "with-credential")
    await stage.rights.until_allowed(rights("get", "namespaces"))
    await stage.patch(POLICIES, "no-cancel", {"spec": {"cedar": HARMLESS}})
    await world.until_gone("with-credential")
    await world.settled()


async def approvals(stage: Stage) -> None:
    """A denial that waits, is approved, revoked, and asked for again."""
    world = stage.world
    async with History(world.cluster, APPROVALS, world.notify) as history:
        async with stage.rights.without("create", APPROVALS):
            await world.create_job("waits", moduleRef={"name": OTHER})
        await world.until(lambda: len(history.present) == 1, "the approval is made")
        (name,) = history.present
        first = history.present[name]["metadata"]["uid"]

        def says(reason: str) -> bool:
            conditions = history.present[name]["status"].get("conditions", [])
            return any((c["type"], c["reason"]) == ("Ready", reason) for c in conditions)

        await world.until(lambda: says("Pending"), "the approval says that it is pending")
        expires = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        async with stage.rights.without_all(*rights("update patch", f"{APPROVALS}/status")):
            await stage.patch(
                APPROVALS, name, {"spec": {"decision": "Approved", "scope": "Host", "expiresAt": expires}}
            )
        await world.until(lambda: says("Approved"), "the approval says that it is approved")
        await world.until_phase("Running", "waits")
        async with edited_before_its_status(stage, APPROVALS, name):
            await stage.patch(APPROVALS, name, {"spec": {"decision": "Revoked"}})
        await world.until(lambda: says("Revoked"), "the approval says that it is revoked")
        async with stage.rights.without("delete", APPROVALS):
            await world.edit("waits", rerun="again")
        await world.until(lambda: history.present.get(name, {}).get("metadata", {}).get("uid", first) != first, "anew")
        await world.until_phase("AwaitingApproval", "waits")
        await world.cluster.delete(JOBS, "waits")
        await world.until_gone("waits")


async def events(stage: Stage) -> None:
    """An Event, and the same once more."""
    world = stage.world
    async with stage.rights.without("create", "events"):
        await world.create_job("untold")
    await world.until_phase("Running", "untold")
    await world.create_job("denied", moduleRef={"name": OTHER}, onDenied="Fail")
    await world.until(lambda: world.event_count("Denied", name="denied") == 1, "the denial has an Event")
    async with stage.rights.without("patch", "events"):
        await world.edit("denied", rerun="again")
    await world.edit("denied", rerun="and again")
    await world.until(lambda: world.event_count("Denied", name="denied") == 3, "the denials are one series")


def renamed(document: Document, name: str) -> Document:
    """The same object under another name."""
    return {**document, "metadata": {**document["metadata"], "name": name}}


@asynccontextmanager
async def loaded(stage: Stage, plural: str, name: str) -> AsyncIterator[None]:
    """Afterwards the object has its finalizer, and its status says of this generation that it is Ready."""
    yield
    cluster = stage.world.cluster
    place = f"/apis/curation.dev/v1alpha1/{plural}/{name}" if plural == CLUSTER_POLICIES else cluster.path(plural, name)
    async with asyncio.timeout(60):
        while True:
            code, found = await cluster.request("GET", place)
            assert code == 200, found
            ready = [c["status"] for c in found["status"].get("conditions", []) if c["type"] == "Ready"]
            if ready == ["True"] and found["metadata"].get("finalizers") == ["curation.dev/in-use"]:
                return
            await asyncio.sleep(0.02)


@asynccontextmanager
async def edited_before_its_status(stage: Stage, plural: str, name: str) -> AsyncIterator[None]:
    """Somebody edits a label between the operator's decision about an object and its status write: 409, read anew."""
    write = stage.proxy.inject(held_request(UPDATE, f"/{plural}/{name}/status"))
    async with stage.rights.without("get", plural):
        yield
        await write.reached.wait()
        await stage.patch(plural, name, {"metadata": {"labels": {"edited": "yes"}}})
        write.release()
