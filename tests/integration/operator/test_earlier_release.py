"""Objects as an earlier release wrote them, with conditions that are False: nothing is written for that alone."""

from pathlib import Path

import pytest
import yaml

from tests.harness.world import JOBS, World

KEPT = Path(__file__).parents[3] / "manifests/gitops/argocd/resource_customizations/curation.dev/CurationJob/testdata"


@pytest.mark.own_operator
async def test_a_job_with_all_conditions_is_left_as_it_is_until_it_changes(world: World) -> None:
    await world.prepare()
    versions = {}
    for name in ("completed", "failed"):
        text = (KEPT / f"{name}.yaml").read_text(encoding="utf-8")
        kept = yaml.safe_load(text)
        assert len(kept["status"]["conditions"]) == 7
        made = await world.cluster.create(
            {
                **{key: kept[key] for key in ("apiVersion", "kind", "spec")},
                "metadata": {"name": name, "finalizers": ["curation.dev/session"]},
            }
        )
        status = yaml.safe_load(text.replace("0000-uid", made["metadata"]["uid"]))["status"]
        written = await world.cluster.patch(JOBS, name, {"status": status}, "status")
        assert made["metadata"]["generation"] == kept["status"]["observedGeneration"]
        versions[name] = written["metadata"]["resourceVersion"]
    await world.start_operator()
    await world.create_job("job-0")
    await world.until_phase("Running")
    for name, version in versions.items():
        assert (await world.cluster.get(JOBS, name))["metadata"]["resourceVersion"] == version
    await world.edit("completed", observeIntervalSeconds=20)
    await world.until(lambda: world.status("completed").get("observedGeneration") == 2, "the edit is seen")
    shown = {condition["type"]: condition["status"] for condition in world.status("completed")["conditions"]}
    assert shown == {"Ready": "True", "Finished": "True", "Succeeded": "True", "Authorized": "True"}
