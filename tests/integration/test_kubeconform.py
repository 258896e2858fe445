"""The JSON Schemas of the kinds, as the real kubeconform reads them: they take what is right and name what is not."""

import subprocess
from pathlib import Path

import pytest
import yaml

from hack.manifest_schemas import FOLDER
from tests.oracles import go_programs

ROOT = Path(__file__).parents[2]
_LOCATION = str(ROOT / FOLDER / "{{.ResourceKind}}_{{.ResourceAPIVersion}}.json")
_OTHERS = (
    "Namespace,Role,RoleBinding,ServiceAccount,ConfigMap,Service,Deployment,NetworkPolicy,Kustomization,Workflow,Task"
)
_JOB = {
    "apiVersion": "curation.dev/v1alpha1",
    "kind": "CurationJob",
    "metadata": {"name": "a", "labels": {"b": "c"}},
    "spec": {"moduleRef": {"name": "m"}, "input": {"any": ["thing", 1, None]}, "config": {"k": "v"}},
}


@pytest.fixture(scope="module")
def kubeconform() -> Path:
    try:
        return go_programs.build(
            ROOT / "tests" / "oracles" / "kubeconform_go", "github.com/yannh/kubeconform/cmd/kubeconform"
        )
    except go_programs.CannotBuild as reason:
        pytest.skip(str(reason))


def judge(kubeconform: Path, *files: Path) -> subprocess.CompletedProcess[str]:
    command = [str(kubeconform), "-strict", "-skip", _OTHERS, "-schema-location", _LOCATION, *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_the_manifests_of_this_repository_are_valid(kubeconform: Path) -> None:
    folders = ("manifests/samples", "demo/manifests")
    files = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.yaml"))
    # Some are no manifests: a workflow, a test file of kubectl curation.
    files = [path for path in files if all("kind" in each for each in yaml.safe_load_all(path.read_text()) if each)]
    assert len(files) > 10
    ended = judge(kubeconform, *files)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_a_job_with_all_that_is_free_in_form_is_valid(kubeconform: Path, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(_JOB))
    ended = judge(kubeconform, file)
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({"moduleReff": {"name": "m"}}, "moduleReff"),
        ({"moduleRef": {"nam": "m"}}, "nam"),
        ({"moduleRef": "m"}, "moduleRef"),
        ({"moduleRef": {"name": "m"}, "suspend": "yes"}, "suspend"),
        ({"moduleRef": {"name": "m"}, "onDenied": "Wait"}, "onDenied"),
    ],
)
def test_what_is_wrong_is_named(spec: object, named: str, kubeconform: Path, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump({**_JOB, "spec": spec}))
    ended = judge(kubeconform, file)
    assert ended.returncode == 1
    assert named in ended.stdout
