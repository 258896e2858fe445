"""What `curation-operator check`, `crds` and `schemas` print, without any cluster.

| file                    | code | says                                            |
|-------------------------|------|-------------------------------------------------|
| a module                | 0    | that it fits, its size, its digest              |
| one too large to apply  | 0    | the same, and that no ConfigMap can hold it     |
| anything else           | 1    | the file, what is wrong, what helps             |
| no file                 | 2    | usage                                           |
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from curation.api.contract import contract_schemas
from curation.api.files import file_schemas
from curation.api.module import CurationModule
from curation.authz.cedar_schema import SCHEMA_TEXT
from curation.cli.operator import main
from curation.wasm.module_bytes import CONFIG_MAP_BYTES
from curation.wasm.module_size import MAX_MODULE_BYTES
from tests.guests import hostile
from tests.guests.wat import Script

ROOT = Path(__file__).resolve().parents[3]


def operator(*arguments: str | Path) -> Result:
    done = CliRunner().invoke(main, [str(each) for each in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def test_a_module_that_fits_is_shown_with_the_digest_that_its_spec_needs(tmp_path: Path) -> None:
    wasm = Script().ok("{}")
    file = tmp_path / "good.wasm"
    file.write_bytes(wasm)
    done = operator("check", file)
    digest = hashlib.sha256(wasm).hexdigest()
    assert done.stdout == f"{file}: fits the module contract\n{len(wasm)} bytes\ndigest: sha256:{digest}\n"
    assert (done.exit_code, done.stderr) == (0, "")


def test_a_module_that_no_config_map_can_hold_fits_and_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "large.wasm"
    file.write_bytes(Script().log("x" * CONFIG_MAP_BYTES).ok("{}"))
    done = operator("check", file)
    assert done.exit_code == 0
    said = "no ConfigMap can hold it: 1048576 bytes are the limit; push it to a registry (source.oci), or strip it"
    assert done.stderr == f"{file}: {said}\n"


def test_imports_of_wasi_are_warned_of_by_name(tmp_path: Path) -> None:
    file = tmp_path / "wasi.wasm"
    file.write_bytes(hostile.calls_wasi())
    for _ in ("compiled", "compiled before"):
        done = operator("check", file)
        assert done.exit_code == 0
        assert "wasi:" in done.stderr
        assert "every call traps" in done.stderr
    document = json.loads(operator("check", file, "-o", "json").stdout)
    assert document["fits"] is True
    assert all(name.startswith("wasi:") for name in document["trappingImports"])
    assert document["trappingImports"]


def test_o_json_says_what_is_wrong_too(tmp_path: Path) -> None:
    file = tmp_path / "bad.wasm"
    file.write_bytes(hostile.exports_nothing())
    done = operator("check", file, "-o", "json")
    document = json.loads(done.stdout)
    assert (done.exit_code, document["fits"]) == (1, False)
    assert "it exports nothing" in document["problems"][0]


@pytest.mark.parametrize(("filler", "kind"), [(1, "configMap"), (CONFIG_MAP_BYTES, "oci")])
def test_a_manifest_is_printed_that_the_crd_takes(tmp_path: Path, filler: int, kind: str) -> None:
    wasm = Script().log("x" * filler).ok("{}")
    file = tmp_path / "good.wasm"
    file.write_bytes(wasm)
    done = operator("check", file, "--manifest", "my-module")
    document = yaml.safe_load(done.stdout)
    module = CurationModule.model_validate(document)
    assert (done.exit_code, document["metadata"]["name"]) == (0, "my-module")
    assert document["spec"]["digest"] == f"sha256:{hashlib.sha256(wasm).hexdigest()}"
    assert list(document["spec"]["source"]) == [kind]
    assert module.spec.digest == document["spec"]["digest"]
    assert "fits the module contract" in done.stderr


PUSHED = f"registry.example:5000/team/my-module@sha256:{'5' * 64}"


def test_a_manifest_names_the_artifact_that_was_pushed(tmp_path: Path) -> None:
    wasm = Script().ok("{}")
    file = tmp_path / "good.wasm"
    file.write_bytes(wasm)
    done = operator("check", file, "--manifest", "my-module", "--oci", PUSHED)
    document = yaml.safe_load(done.stdout)
    CurationModule.model_validate(document)
    assert done.exit_code == 0
    ref, _, digest = PUSHED.partition("@")
    assert document["spec"] == {
        "source": {"oci": {"ref": ref, "digest": digest}},
        "digest": f"sha256:{hashlib.sha256(wasm).hexdigest()}",
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--oci", PUSHED), "give --manifest NAME too"),
        (("--manifest", "my-module", "--oci", PUSHED, "-o", "json"), "leave -o json out"),
        *(
            (("--manifest", "my-module", "--oci", artifact), "is not REPOSITORY@DIGEST, without a scheme and a tag")
            for artifact in (
                "",
                PUSHED.partition("@")[0],
                PUSHED[:-1],
                PUSHED.upper(),
                f"https://{PUSHED}",
                PUSHED.replace("@", ":1@"),
                PUSHED.replace("/team/my-module", ""),
            )
        ),
        *(
            (("--manifest", name, "--oci", PUSHED), "is not the name of an object")
            for name in ("", "My-Module", "my_module", "-m", "m.", "m" * 53, "m\nkind: Secret")
        ),
    ],
)
def test_what_makes_no_manifest_of_an_artifact_is_bad_usage(
    tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    file = tmp_path / "good.wasm"
    file.write_bytes(Script().ok("{}"))
    done = operator("check", file, *options)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


@pytest.mark.parametrize(
    ("wasm", "wrong", "remedy"),
    [
        (hostile.core_module, "this is a core WebAssembly module", "link it with wasm-component-ld"),
        (lambda: b"#!/bin/sh\n", "this is not WebAssembly", "give the binary component"),
        (lambda: b"", "this is not WebAssembly", "give the binary component"),
        (lambda: Script().ok("{}")[:-9], "it does not compile", "build it anew"),
        (hostile.exports_run_of_another_type, "not `func() -> u32`", "must be `func(context: string) -> result<"),
        (hostile.exports_nothing, "it exports nothing", "build it from the world in modules/wit/curation.wit"),
        (hostile.imports_more, "unknown import 'curation:guest/secrets@0.1.0'", "a module may import only"),
        (hostile.imports_more_of_host, "host@0.1.0#read-file", "the interface has only http-call and log"),
        (
            lambda: Script().log("x" * MAX_MODULE_BYTES).ok("{}"),
            f"at most {MAX_MODULE_BYTES} are accepted",
            "strip it, optimize for size",
        ),
    ],
    ids=[
        "core",
        "script",
        "empty",
        "cut",
        "wrong-type",
        "no-run",
        "unknown-interface",
        "unknown-function",
        "too-large",
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_what_is_wrong_and_what_helps(
    tmp_path: Path, wasm: Callable[[], bytes], wrong: str, remedy: str
) -> None:
    file = tmp_path / "bad.wasm"
    file.write_bytes(wasm())
    done = operator("check", file)
    assert (done.exit_code, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{file}: ")
    assert wrong in line
    assert remedy in line


def test_a_file_that_is_not_there_is_bad_usage(tmp_path: Path) -> None:
    done = operator("check", tmp_path / "none.wasm")
    assert done.exit_code == 2
    assert "none.wasm' does not exist" in done.stderr


def test_crds_prints_the_five_that_the_repository_keeps() -> None:
    printed = list(yaml.safe_load_all(operator("crds").stdout))
    kept = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    assert sorted(printed, key=lambda crd: str(crd["metadata"]["name"])) == kept
    assert len(kept) == 5


def test_schemas_prints_the_documents_that_the_repository_keeps_and_the_cedar_schema() -> None:
    printed = json.loads(operator("schemas").stdout)
    assert printed.pop("cedarSchema") == SCHEMA_TEXT == (ROOT / "docs/cedar/curation.cedarschema").read_text()
    assert printed == {path.stem: json.loads(path.read_text()) for path in (ROOT / "docs/schemas").glob("*.json")}
    assert set(printed) == {*contract_schemas(), *file_schemas()}
