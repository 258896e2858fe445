"""What a release says of itself fits the repository: the chart, the changelog, the workflows."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
CHART = ROOT / "manifests" / "chart"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def test_the_chart_has_the_version_of_the_package() -> None:
    chart = read(CHART / "Chart.yaml")
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)


def test_artifact_hub_is_told_of_each_kind() -> None:
    listed = yaml.safe_load(read(CHART / "Chart.yaml")["annotations"]["artifacthub.io/crds"])
    crds = [read(path) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    assert [(each["kind"], each["name"], each["version"]) for each in listed] == [
        (crd["spec"]["names"]["kind"], crd["metadata"]["name"], crd["spec"]["versions"][0]["name"]) for crd in crds
    ]


def test_the_defaults_of_the_chart_are_those_of_the_deployment() -> None:
    values, deployment = read(CHART / "values.yaml"), read(ROOT / "manifests" / "base" / "deployment.yaml")
    assert values["replicas"] == deployment["spec"]["replicas"]
    containers = deployment["spec"]["template"]["spec"]["containers"]
    (container,) = (each for each in containers if each["name"] == "operator")
    assert values["resources"] == container["resources"]
    assert f"--log-format={values['log']['format']}" in container["args"]


def test_each_value_of_the_chart_is_in_its_schema_and_each_property_has_a_default() -> None:
    def compare(values: Any, schema: Any, path: str) -> None:
        properties = schema.get("properties")
        if properties is None:
            return
        assert schema["additionalProperties"] is False, path
        assert set(values) == set(properties) - {"global"}, path
        for name, value in values.items():
            compare(value, properties[name], f"{path}.{name}")

    compare(read(CHART / "values.yaml"), read(CHART / "values.schema.json"), "values")


def test_the_changelog_has_the_version() -> None:
    assert re.search(rf"(?m)^## {re.escape(VERSION)}( |$)", (ROOT / "CHANGELOG.md").read_text())


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_pins_each_action_by_digest(workflow: Path) -> None:
    used = re.findall(r"uses: (\S+)(.*)", workflow.read_text())
    assert used
    for action, comment in used:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), "the version that the digest is"


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_runs_targets_that_there_are(workflow: Path) -> None:
    targets = set(re.findall(r"(?m)^([a-z0-9]+):.*## ", (ROOT / "Makefile").read_text()))
    steps = [step for job in read(workflow)["jobs"].values() for step in job["steps"] if "run" in step]
    assert steps
    for step in steps:
        assert set(re.findall(r"(?m)^\s*make (\w+)", step["run"])) <= targets


@pytest.mark.parametrize(
    "template", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda path: path.name
)
def test_an_issue_template_has_what_a_form_needs(template: Path) -> None:
    form = read(template)
    assert {"name", "description", "body"} <= set(form)
    for part in form["body"]:
        assert part["type"] in ("markdown", "textarea", "input")
        assert part["attributes"].get("value" if part["type"] == "markdown" else "label")
    identities = [part["id"] for part in form["body"] if "id" in part]
    assert len(set(identities)) == len(identities)
