"""The rest of what docs/gitops.md says of Flux: order, names that kustomize makes, a Running job taken for healthy."""

import hashlib
import re
from pathlib import Path

import pytest
import yaml

from testing.gitops.flux import KUSTOMIZE_USER, NAMESPACE
from tests.gitops_kit.team import FLUX, GROUP, Document, Team
from tests.guests.wat import Script
from tests.harness.manifests import module, policy

GATE = False
OPTIONS = ("--custom-apply-stage-kinds=curation.dev/CurationModule,curation.dev/CurationPolicy",)
"""So that modules and policies come before the jobs of the same commit."""

DOCS = Path("docs/gitops.md").read_text()
NAME_REFERENCE = Path("manifests/gitops/kustomize/name-reference.yaml").read_text()

pytestmark = pytest.mark.asyncio(loop_scope="session")


def documented_checks() -> list[Document]:
    """The expressions of the docs' Kustomization."""
    found = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)
    documents = [yaml.safe_load(each) for each in found if "kind: Kustomization" in each]
    (checks,) = [each["spec"]["healthCheckExprs"] for each in documents if "healthCheckExprs" in each.get("spec", {})]
    return list(checks)


async def test_with_the_documented_expressions_a_running_job_is_current_and_holds_no_commit_back(team: Team) -> None:
    team.checks = documented_checks()
    revision = await team.commit("all", module(), policy(), team.job())
    await team.follow()
    await team.until_phase("Running")
    await team.until_ready(revision)
    assert (await team.status())["phase"] == "Running"
    revision = await team.commit("another", module(), policy(), team.job(), team.job("weekly"))
    await team.until_phase("Running", "weekly")
    await team.until_ready(revision)


async def test_with_the_stages_modules_and_policies_of_a_commit_are_applied_before_its_jobs(team: Team) -> None:
    team.checks = documented_checks()
    revision = await team.commit("all", team.job(), module(), policy())
    await team.follow()
    await team.until_ready(revision)
    made = [
        record.resource
        for record in team.server.audit_records()
        if record.user == KUSTOMIZE_USER
        and record.namespace == team.name
        and record.is_write
        and "dryRun=All" not in record.path
        and record.resource in ("curationjobs", "curationmodules", "curationpolicies")
    ]
    assert made.index("curationjobs") > max(made.index("curationmodules"), made.index("curationpolicies"))


async def test_jobs_that_depend_on_the_kustomization_of_their_policies_never_run_without_them(team: Team) -> None:
    policies = f"{team.name}-policies"
    documents = {"policies/module.yaml": module(), "policies/policy.yaml": policy()}
    team.repository.write(
        {
            "jobs/job.yaml": yaml.safe_dump(team.job(onDenied="Fail")),
            **{name: yaml.safe_dump(each) for name, each in documents.items()},
        }
    )
    revision = f"main@sha1:{team.repository.commit('jobs and policies')}"
    await team.follow(dependsOn=[{"name": policies}])
    await team.follow(policies, path="./policies")
    try:
        await team.finish()
        await team.until_ready(revision)
        assert [run["id"].rpartition(".g")[2] for run in (await team.status())["history"]] == ["1.a1"]
    finally:
        await team.kubectl("delete", "kustomization", policies, "-n", NAMESPACE, "--wait=false", check=False)


async def test_a_builtin_that_does_not_exist_is_named_at_once_and_a_commit_mends_it(team: Team) -> None:
    wrong = module()
    wrong["spec"]["source"]["builtin"] = "nightly-v9"
    revision = await team.commit("typo", wrong, policy(), team.job())
    await team.follow()
    failed = await team.until_ready(revision, ready="False")
    assert "CurationModule" in failed["message"]
    revision = await team.commit("mended", module(), policy(), team.job())
    await team.finish()
    await team.until_ready(revision)


async def test_names_that_kustomize_makes_are_followed_and_a_new_build_is_one_commit(team: Team) -> None:
    def files(guest: bytes, rerun: str) -> dict[str, str | bytes]:
        source = {"configMap": {"name": "hello", "key": "module.wasm"}}
        kustomization = {
            "namePrefix": "team-a-",
            "configurations": ["name-reference.yaml"],
            "configMapGenerator": [{"name": "hello", "files": ["module.wasm"]}],
            "resources": ["module.yaml", "job.yaml", "policy.yaml"],
        }
        made = module("hello")
        made["spec"] = {"source": source, "digest": f"sha256:{hashlib.sha256(guest).hexdigest()}"}
        job = team.job(rerun=rerun)
        job["spec"]["moduleRef"] = {"name": "hello"}
        return {
            "jobs/module.wasm": guest,
            "jobs/name-reference.yaml": NAME_REFERENCE,
            "jobs/kustomization.yaml": yaml.safe_dump(kustomization),
            "jobs/module.yaml": yaml.safe_dump(made),
            "jobs/job.yaml": yaml.safe_dump(job),
            "jobs/policy.yaml": yaml.safe_dump(policy()),
        }

    async def build(number: int) -> None:
        guest = Script().ok({"action": "Completed", "output": {"build": number}})
        team.repository.write(files(guest, str(number)))
        revision = f"main@sha1:{team.repository.commit(f'build {number}')}"
        if number == 1:
            await team.follow()
        await team.until_phase("Completed", "team-a-nightly", output={"build": number})
        await team.until_ready(revision)
        source = (await team.object("curationmodules", "team-a-hello"))["spec"]["source"]["configMap"]["name"]
        assert re.fullmatch(r"team-a-hello-[0-9a-z]+", source)

    await build(1)
    await build(2)


async def test_a_job_with_a_ttl_in_git_runs_again_with_each_reconciliation(team: Team) -> None:
    team.checks = documented_checks()
    revision = await team.commit("all", module(), policy(), team.job(ttlSecondsAfterFinished=1))
    await team.follow()
    await team.until_ready(revision)
    first = (await team.object("curationjobs", "nightly"))["metadata"]["uid"]
    await team.finish()

    async def another() -> bool:
        found = await team.object("curationjobs", "nightly")
        return bool(found) and found["metadata"]["uid"] != first

    await team.until(another, "Flux has made the job again")
    await team.until_phase("Running")


async def test_a_rerun_by_hand_of_what_git_owns_is_refused_and_by_force_runs_the_job_twice_more(team: Team) -> None:
    team.checks = documented_checks()
    revision = await team.commit("all", module(), policy(), team.job(rerun="1"))
    await team.follow()
    await team.until_ready(revision)
    refused = await team.plugin("rerun", "nightly", check=False)
    assert refused.returncode == 1
    assert "kustomize-controller" in refused.stderr
    await team.plugin("rerun", "nightly", "--force")

    async def taken_back() -> bool:
        job = await team.object("curationjobs", "nightly")
        return bool(job["spec"]["rerun"] == "1" and job["metadata"]["generation"] == 3)

    await team.until(taken_back, "Flux has set the field back")
    status = await team.until_phase("Running", observedGeneration=3)
    assert [run["id"].rpartition(".g")[2] for run in status["history"]] == ["1.a1", "2.a1", "3.a1"]


async def test_the_deletion_of_a_kustomization_that_waits_for_termination_ends_after_the_sessions(team: Team) -> None:
    team.checks = documented_checks()
    revision = await team.commit("all", module(), policy(), team.job())
    await team.follow(deletionPolicy="WaitForTermination")
    await team.until_ready(revision)
    session = (await team.status())["session"]["id"]
    await team.kubectl("delete", "kustomization", team.name, "-n", NAMESPACE, "--wait=false")

    async def no_kustomization() -> bool:
        return not await team.get(f"{FLUX}/namespaces/{NAMESPACE}/kustomizations/{team.name}")

    await team.until(no_kustomization, "the Kustomization is gone")
    assert session not in {live.id for live in team.service.live_sessions()}
    assert (await team.get(f"{GROUP}/namespaces/{team.name}/curationjobs"))["items"] == []
