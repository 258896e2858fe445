"""The modules that ship with the operator, so that neither a user nor a test needs Rust.

Each folder of `modules/` with a `build.json` is one: the file records the compiler and the digest of the component that
is kept in the operator's package.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from curation.building.build_cache import cache_folder
from curation.building.component import build_component, kept_component, traces
from curation.building.crate import Crate
from curation.building.build_errors import BuildError, CratesUnavailable
from hack.modules.pins import unpinned
from curation.building.rust import find_toolchain

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "modules"
BUILTINS = ROOT / "operator" / "curation" / "wasm" / "builtins"

# What a build without the remapping leaves in the bytes, whoever builds.
_TELLTALE = ("registry", ".cargo", ".rustup", "target/")


@dataclass(frozen=True)
class Module:
    """A crate under `modules/` and what was recorded at its last build."""

    name: str
    builtin: str
    rustc: str
    sha256: str

    @property
    def component(self) -> Path:
        """The component as it is kept in the operator's package."""
        return BUILTINS / f"{self.builtin}.wasm"

    @property
    def crate(self) -> Crate:
        """Its sources."""
        return Crate.of(SOURCES / self.name, ignore_lock=True)


def modules() -> list[Module]:
    """All crates that ship as a component."""
    found = []
    for record in sorted(SOURCES.glob("*/build.json")):
        found.append(Module(name=record.parent.name, **json.loads(record.read_text())))
    return found


def traces_of(component: bytes) -> list[str]:
    """The traces in a component's bytes of the machine that it was built on."""
    return traces(component, [Path.home(), ROOT, cache_folder(), *_TELLTALE])


def build() -> None:
    """Builds every module into the operator's package and records the compiler.

    :raises BuildError: when there is no Rust, or a build fails.
    """
    toolchain = find_toolchain()
    if isinstance(toolchain, str):
        raise BuildError(f"cannot build the modules: {toolchain}")
    for module in modules():
        if loose := unpinned(module.crate):
            raise BuildError(f"{module.name} pins no version of {', '.join(loose)}: add them to its Cargo.toml")
        component = build_component(module.crate, toolchain, cache_folder())
        if found := traces_of(component):
            raise BuildError(
                f"the component of {module.name} names {', '.join(found)}: see the remapping in curation/building/component.py"
            )
        digest = hashlib.sha256(component).hexdigest()
        module.component.parent.mkdir(parents=True, exist_ok=True)
        module.component.write_bytes(component)
        record = {"builtin": module.builtin, "rustc": toolchain.version, "sha256": digest}
        (SOURCES / module.name / "build.json").write_text(json.dumps(record, indent=2) + "\n")
        print(f"{module.component.relative_to(ROOT)}: {len(component)} bytes, sha256:{digest}")


def check() -> str | None:
    """Builds every module and compares with what is kept.

    :returns: None when all are the same, or the reason why nothing could be compared.
    :raises BuildError: when the kept component is not what its record says or what the sources build to.
    """
    for module in modules():
        if hashlib.sha256(module.component.read_bytes()).hexdigest() != module.sha256:
            raise BuildError(f"{module.component.name} is not the one recorded in build.json: run `make modules`")
    toolchain = find_toolchain()
    if isinstance(toolchain, str):
        return toolchain
    for module in modules():
        if module.rustc != toolchain.version:
            return f"{module.name} was built by rustc {module.rustc}, and here is {toolchain.version}"
        try:
            component = kept_component(module.crate, toolchain)
        except CratesUnavailable as error:
            return str(error)
        if component != module.component.read_bytes():
            raise BuildError(f"the sources of {module.name} build to other bytes than are kept: run `make modules`")
    return None
