"""rerun, suspend, resume: who owns the field decides whether a person may change it by hand."""

from __future__ import annotations

import pytest

from testing.controlplane.connection import Kubectl
from tests.integration.cli.running import Objects, Plugin

JOBS = "curationjobs"


def manifest(namespace: str, spec: str) -> str:
    return f"""
apiVersion: curation.dev/v1alpha1
kind: CurationJob
metadata: {{name: build, namespace: {namespace}}}
spec: {{moduleRef: {{name: build-session-message}}, {spec}}}
"""


def test_each_rerun_writes_a_new_value_and_so_a_new_generation(plugin: Plugin, objects: Objects) -> None:
    objects.job()
    values = []
    for _ in range(2):
        plugin("rerun", "build")
        values.append(objects.get(JOBS, "build")["spec"]["rerun"])
    assert values[0] != values[1]  # each by its own idea of the server's time
    after = objects.get(JOBS, "build")
    assert after["metadata"]["generation"] == 3
    assert "curation" in [entry["manager"] for entry in after["metadata"]["managedFields"]]


def test_a_rerun_says_what_it_costs_when_a_session_runs_or_the_job_is_suspended(
    plugin: Plugin, objects: Objects
) -> None:
    objects.job(suspend=True)
    run = objects.run("build")
    objects.status(JOBS, "build", phase="Running", run=run, session=objects.session(run))
    said = plugin("rerun", "build").stderr
    assert f"run {run['id']} was Running: it is abandoned, and its session cancelled" in said
    assert "kubectl curation resume build" in said


def test_suspend_and_resume_write_once_and_then_say_that_it_is_so(plugin: Plugin, objects: Objects) -> None:
    objects.job()
    assert "suspended" in plugin("suspend", "build").stdout
    suspended = objects.get(JOBS, "build")
    assert suspended["spec"]["suspend"] is True
    assert "is suspended already" in plugin("suspend", "build").stdout
    assert objects.get(JOBS, "build") == suspended
    assert "resumed" in plugin("resume", "build").stdout
    assert objects.get(JOBS, "build")["spec"]["suspend"] is False
    assert "is not suspended" in plugin("resume", "build").stdout


@pytest.mark.parametrize(
    ("verb", "spec", "line"),
    [
        ("suspend", "suspend: false", "    suspend: true\n"),
        ("resume", "suspend: true", "    suspend: false\n"),
        ("rerun", 'rerun: "1"', '    rerun: "'),
    ],
)
@pytest.mark.parametrize(
    ("options", "owner"),
    [
        (("--server-side", "--field-manager=kustomize-controller"), "'kustomize-controller' (server-side apply)"),
        ((), "'kubectl-client-side-apply' (client-side apply)"),
    ],
)
def test_a_field_that_was_applied_is_left_alone_and_the_person_learns_what_to_write_in_git(
    plugin: Plugin,
    objects: Objects,
    kubectl: Kubectl,
    verb: str,
    spec: str,
    line: str,
    options: tuple[str, ...],
    owner: str,
) -> None:
    kubectl("apply", *options, "-f", "-", input=manifest(objects.namespace, spec))
    before = objects.get(JOBS, "build")
    said = plugin(verb, "build", code=1).stderr
    assert (
        f"error: spec.{spec.partition(':')[0]} of CurationJob {objects.namespace}/build was applied by {owner}" in said
    )
    assert f"  spec:\n{line}" in said
    assert "--force" in said
    assert objects.get(JOBS, "build") == before


def test_force_changes_an_applied_field_and_says_that_it_will_not_last(
    plugin: Plugin, objects: Objects, kubectl: Kubectl
) -> None:
    apply = ("apply", "--server-side", "--field-manager=flux", "-f", "-")
    kubectl(*apply, input=manifest(objects.namespace, "suspend: false"))
    result = plugin("suspend", "build", "--force")
    assert "was applied by 'flux' (server-side apply): the next apply of that manifest sets it back" in result.stderr
    assert objects.get(JOBS, "build")["spec"]["suspend"] is True
    kubectl(*apply, "--force-conflicts", input=manifest(objects.namespace, "suspend: false"))
    assert objects.get(JOBS, "build")["spec"]["suspend"] is False


def test_a_field_that_was_taken_by_force_is_no_longer_git_s_and_an_apply_without_force_fails(
    plugin: Plugin, objects: Objects, kubectl: Kubectl
) -> None:
    apply = ("apply", "--server-side", "--field-manager=flux", "-f", "-")
    kubectl(*apply, input=manifest(objects.namespace, 'rerun: "1"'))
    plugin("rerun", "build", "--force")
    taken = objects.get(JOBS, "build")["spec"]["rerun"]
    refused = kubectl(*apply, input=manifest(objects.namespace, 'rerun: "1"'), check=False)
    assert refused.returncode == 1
    assert 'conflict with "curation"' in refused.stderr
    assert ".spec.rerun" in refused.stderr
    assert objects.get(JOBS, "build")["spec"]["rerun"] == taken
    plugin("rerun", "build")
    assert objects.get(JOBS, "build")["spec"]["rerun"] > taken


def test_a_field_that_the_applied_manifest_leaves_out_is_free(
    plugin: Plugin, objects: Objects, kubectl: Kubectl
) -> None:
    apply = ("apply", "--server-side", "--field-manager=flux", "-f", "-")
    kubectl(*apply, input=manifest(objects.namespace, "config: {a: b}"))
    plugin("suspend", "build")
    plugin("rerun", "build")
    after = objects.get(JOBS, "build")
    kubectl(*apply, input=manifest(objects.namespace, "config: {a: b}"))
    assert objects.get(JOBS, "build")["spec"] == after["spec"], "the next apply leaves both as they are"


def test_a_field_that_somebody_only_edited_is_free(plugin: Plugin, objects: Objects, kubectl: Kubectl) -> None:
    objects.job()
    kubectl("patch", "curationjob", "build", "--type=merge", '--patch={"spec": {"suspend": true}}')
    plugin("resume", "build")
    assert objects.get(JOBS, "build")["spec"]["suspend"] is False


def test_a_dry_run_of_a_rerun_changes_nothing(plugin: Plugin, objects: Objects) -> None:
    before = objects.job()
    assert "(server dry run)" in plugin("rerun", "build", "--dry-run").stdout
    assert objects.get(JOBS, "build")["metadata"]["generation"] == before["metadata"]["generation"]


def test_a_job_that_is_being_deleted_is_not_rerun(plugin: Plugin, objects: Objects) -> None:
    objects.job()
    objects.delete(JOBS, "build")
    assert "finalizers" in objects.get(JOBS, "build")["metadata"], "admission has put the finalizer on"
    assert "is being deleted; create it again once it is gone" in plugin("rerun", "build", code=1).stderr


def test_who_may_only_view_cannot_rerun(plugin: Plugin, objects: Objects, kubectl: Kubectl) -> None:
    objects.job()
    kubectl("create", "rolebinding", "v", "--clusterrole=curation-viewer", "--user=vic")
    said = plugin("rerun", "build", user="vic", groups=("people",), code=1).stderr
    assert f"error: you may not change CurationJob {objects.namespace}/build:" in said
