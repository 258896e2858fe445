"""`kubectl curation test`: the gate asked each case; what is wrong with a file is told with file, case and field."""

import json
import os
import shlex
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from curation.api.files import file_schemas
from curation.cli.plugin import cli

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT / "manifests" / "samples" / "policy-repository"
POLICY = """
@id("read") permit (principal == Agent::"build", action, resource == HttpEndpoint::"a.example")
when { context.method == "GET" };
forbid (principal, action, resource) when { context.path like "/secret/*" };
@id("b") permit (principal, action, resource == HttpEndpoint::"b.example");
"""
READ = {"method": "GET", "url": "https://a.example/x"}


def run(folder: Path, *options: str | Path) -> Result:
    done = CliRunner().invoke(cli, ["test", str(folder), *map(str, options)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def told(folder: Path, *options: str | Path) -> tuple[int, dict[str, Any]]:
    done = run(folder, *options, "-o", "json")
    return done.exit_code, json.loads(done.stdout)


def put(folder: Path, *cases: dict[str, Any], **fields: Any) -> Path:
    (folder / "p.cedar").write_text(POLICY)
    document = {"policies": ["p.cedar"], "defaults": {"module": "build"}, **fields, "cases": list(cases)}
    (folder / "cases.yaml").write_text(yaml.safe_dump(document))
    return folder


def case(request: dict[str, Any], expect: str, **fields: Any) -> dict[str, Any]:
    return {"request": request, "expect": expect, **fields}


def test_each_expectation_that_holds_passes_and_each_that_does_not_is_told(tmp_path: Path) -> None:
    secret = {"method": "get", "url": "https://A.example:443/secret/../secret/x"}
    folder = put(
        tmp_path,
        case(READ, "allow", by="@read"),
        case(READ, "deny", name="wrong"),
        case(secret, "deny", by=["1"]),
        case({"method": "GET", "url": "https://b.example/"}, "allow", by="read", name="by another"),
        case({"method": "PUT", "url": "https://a.example/x"}, "deny", by=[]),
        case(secret, "deny", by=[], name="not by nobody"),
        case(READ, "allow", by="@raed", name="misspelt"),
        case(READ, "allow", by=f"CurationPolicy/default/{tmp_path}/p.cedar#read"),
    )
    code, document = told(folder)
    assert (code, document["passed"]) == (1, False)
    problems = {each["name"]: each["problem"] for each in document["cases"] if not each["passed"]}
    assert list(problems) == ["wrong", "by another", "not by nobody", "misspelt"]
    assert problems["wrong"].startswith("expected deny, but the gate decided allow: GET https://a.example:443/x")
    assert problems["by another"].startswith("expected allow by read, but it is by CurationPolicy/default/")
    assert problems["not by nobody"].endswith("p.cedar#1")
    assert problems["misspelt"].endswith("no policy in force has the @id @raed")
    assert document["cases"][0]["name"] == "GET https://a.example/x (Submit by build)"


def test_who_calls_is_what_the_case_says_else_the_file_else_the_default(tmp_path: Path) -> None:
    (tmp_path / "who.yaml").write_text(
        yaml.safe_dump(
            {
                "kind": "ClusterCurationPolicy",
                "metadata": {"name": "who"},
                "spec": {
                    "cedar": """permit (principal, action, resource) when {
  context.namespace == "team-a" && context.job == "nightly" && context.trigger == "Cancel" && context.attempt == 2 &&
  context.generation == 7 && principal.digest == "sha256:1" &&
  context.labels.hasTag("team") && context.labels.getTag("team") == "web"
};"""
                },
            }
        )
    )
    given = {"namespace": "team-a", "trigger": "Cancel", "generation": 7, "digest": "sha256:1"}
    rest = {"job": "nightly", "attempt": 2, "labels": {"team": "web"}}
    folder = put(
        tmp_path,
        case({**READ, **rest}, "allow"),
        case({**READ, **rest, "trigger": "Submit"}, "deny", by=[]),
        defaults={"module": "m", **given},
        policies=["who.yaml"],
    )
    assert told(folder)[1]["passed"], told(folder)


def test_a_policy_counts_in_its_own_namespace_and_one_without_in_that_of_the_case(tmp_path: Path) -> None:
    manifests = [
        {
            "kind": "CurationPolicy",
            "metadata": {"name": name, **where},
            "spec": {"cedar": f'@id("{name}") permit (principal, action, resource);'},
        }
        for name, where in (("theirs", {"namespace": "team-b"}), ("ours", {}))
    ]
    (tmp_path / "list.yaml").write_text(yaml.safe_dump({"kind": "List", "items": manifests}))
    folder = put(
        tmp_path,
        case({**READ, "namespace": "team-a"}, "allow", by="@theirs"),
        case({**READ, "namespace": "team-b"}, "allow", by=["@theirs", "@ours"]),
        policies=["list.yaml"],
    )
    _, document = told(folder)
    assert [each["passed"] for each in document["cases"]] == [False, True]
    assert document["cases"][0]["policies"] == ["CurationPolicy/team-a/ours#ours"]


def test_a_file_without_policies_has_all_of_the_folder_and_an_empty_list_has_none(tmp_path: Path) -> None:
    folder = put(tmp_path, case(READ, "allow", by="@read"), case(READ, "deny", by=[], policies=[]))
    document = yaml.safe_load((folder / "cases.yaml").read_text())
    del document["policies"]
    (folder / "tests").mkdir()
    (folder / "tests" / "cases.json").write_text(json.dumps(document))
    (folder / "cases.yaml").unlink()
    assert told(folder)[0] == 0


def test_coverage_names_each_policy_that_never_decided_also_of_a_file_that_no_case_names(tmp_path: Path) -> None:
    folder = put(tmp_path, case(READ, "allow"))
    (folder / "other.cedar").write_text('@id("other") permit (principal, action, resource);')
    code, document = told(folder)
    assert code == 0
    never = [f"{folder}/other.cedar #other", f"{folder}/p.cedar #1", f"{folder}/p.cedar #b"]
    assert (document["coverage"]["decided"], sorted(document["coverage"]["never"])) == (1, never)
    done = run(folder, "--require-coverage", "--junit", folder / "report.xml")
    assert done.exit_code == 1
    assert "Coverage: 1 of 4 policies decided a case" in done.stdout
    assert "never: " in done.stdout
    (failure,) = ElementTree.parse(folder / "report.xml").iter("failure")
    assert "other.cedar #other" in str(failure.text)


def test_the_junit_report_has_each_case_and_is_xml_whatever_a_name_holds(tmp_path: Path) -> None:
    folder = put(tmp_path, case(READ, "allow", name='<&"\x85\ufffe\u202e'), case(READ, "deny", name="bad"))
    done = run(folder, "--junit", folder / "report.xml")
    assert done.exit_code == 1
    root = ElementTree.parse(folder / "report.xml").getroot()
    assert (root.get("tests"), root.get("failures")) == ("2", "1")
    cases = list(root.iter("testcase"))
    assert [len(each) for each in cases] == [0, 1]
    assert str(cases[0].get("name")).startswith('<&"')
    assert {each.get("classname") for each in cases} == {f"{folder}/cases.yaml"}
    assert run(folder, "--junit", folder / "none" / "report.xml").exit_code == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"expect": "alow"}, "cases[1].expect: input should be 'allow' or 'deny' (it is 'alow') (case \"second\")"),
        ({"request": {**READ, "url": "a.example"}}, "cases[1].request.url: no module can make this call: 'a.example'"),
        ({"request": {**READ, "method": "CONNECT"}}, "cases[1].request.method: no module can make this call"),
        ({"request": {**READ, "modul": "b"}}, "cases[1].request.modul: there is no such field; did you mean module?"),
        ({"request": {"method": "GET"}}, "cases[1].request.url: it is missing"),
        ({"request": {**READ, "labels": {"a": 1}}}, "cases[1].request.labels.a: input should be a valid string"),
        ({"policies": ["none/*.yaml"]}, "cases[1].policies[0]: no file fits none/*.yaml, as seen from"),
        ({"policies": ["bad.cedar"]}, "bad.cedar: ParseError: policy 0, line 1"),
        ({"policies": ["cases.yaml"]}, "holds no CurationPolicy and no ClusterCurationPolicy"),
        ({"by": 3}, "cases[1].by: input should be a valid list"),
        ({"request": {**READ, "generation": 1 << 63}}, "cases[1].request.generation: input should be less than or"),
        ({"request": {**READ, "namespace": "team_a"}}, "cases[1].request.namespace: string should match pattern"),
        ({"request": {**READ, "labels": {"team": "a b"}}}, "cases[1].request.labels.team: string should match pattern"),
        ({"request": {**READ, "job": "A b"}}, "cases[1].request.job: string should match pattern"),
        ({"x" * 9000: 1}, "x…: there is no such field"),
        ({"policies": ["../" + "x" * 4000]}, "cases[1].policies[0]: no file fits ../xxx"),
    ],
)
def test_a_mistake_is_told_with_the_file_the_case_and_the_field(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    folder = put(tmp_path, case(READ, "allow"), {**case(READ, "allow", name="second"), **change})
    outside = tmp_path.parent / f"{tmp_path.name}-bad"
    outside.mkdir()
    (outside / "bad.cedar").write_text("permit (")
    document = (folder / "cases.yaml").read_text().replace("bad.cedar", f"../{outside.name}/bad.cedar")
    (folder / "cases.yaml").write_text(document)
    done = run(folder)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr
    assert ".yaml" in done.stderr or ".cedar" in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("case: []", "case: there is no such field; did you mean cases?"),
        ("cases: []", "cases: list should have at least 1 item"),
        ("policies: []", "cases: it is missing"),
        ("cases: [{by: @read}]", 'put quotes around a text that begins with @, as in "@id"'),
        ("a: [", "it is no valid YAML"),
        ("[" * 300, "it is nested more than 100 levels deep"),
        ("cases: []\ncases: []", "the key 'cases' is given twice; leave one out at line 2, column 1"),
        ("a: &a [*a]", "an alias is within what it names"),
        ("cases: 0x" + "f" * 6000, "a number has 6002 characters"),
        ('cases: [{name: "\\ud800"}]', "a lone surrogate"),
        ("kind: CurationPolicy\nspec: {cedar: ''}", "a CurationPolicy has no metadata.name; give it one"),
        ("cases: [{request: {method: GET, url: 'http://a/'}, expect: deny}]", "request.module: it is missing; name"),
    ],
)
def test_a_file_that_is_no_file_of_cases_is_told(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "cases.yml").write_text(text)
    done = run(tmp_path)
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"{tmp_path}/cases.yml: " in done.stderr
    assert said in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"cases": [], "cases": []}', "the key 'cases' is given twice"),
        ('{"cases": NaN}', "NaN is no number of JSON"),
        ('{"cases": ' + "[" * 200 + "]" * 200 + "}", "it is nested more than 100 levels deep"),
        ('{"cases": ["\\udc00"]}', "a lone surrogate"),
    ],
)
def test_a_json_file_is_held_to_the_same(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "cases.json").write_text(text)
    done = run(tmp_path)
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"{tmp_path}/cases.json: it is no valid JSON: " in done.stderr
    assert said in done.stderr


def test_files_that_windows_wrote_are_read(tmp_path: Path) -> None:
    folder = put(tmp_path, case(READ, "allow"))
    for name, new in (("p.cedar", "P.CEDAR"), ("cases.yaml", "CASES.YML")):
        text = (folder / name).read_text().replace("p.cedar", "P.CEDAR").replace("\n", "\r\n")
        (folder / name).unlink()
        (folder / new).write_bytes(b"\xef\xbb\xbf" + text.encode())
    (folder / "MORE.JSON").write_bytes(
        b"\xef\xbb\xbf" + json.dumps({"cases": [case({**READ, "module": "m"}, "deny")]}).encode()
    )
    code, document = told(folder)
    assert (code, [each["file"] for each in document["cases"]]) == (0, [f"{folder}/CASES.YML", f"{folder}/MORE.JSON"])


def test_a_folder_that_cannot_be_read_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = put(tmp_path, case(READ, "allow"))
    (folder / "closed").mkdir()
    scandir = os.scandir

    def closed(path: Any) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    done = run(folder)
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"cannot read {folder}/closed: Permission denied" in done.stderr


def test_a_named_pipe_and_a_loop_of_links_are_no_files(tmp_path: Path) -> None:
    folder = put(tmp_path, case(READ, "allow"))
    os.mkfifo(folder / "pipe.yaml")
    (folder / "loop").symlink_to(folder)
    (folder / "gone.yaml").symlink_to(folder / "none")
    assert told(folder)[0] == 0


def test_a_pattern_is_seen_from_the_folder_that_a_link_leads_to(tmp_path: Path) -> None:
    for place, effect in (("real", "permit"), ("other", "forbid")):
        (tmp_path / place / "policies").mkdir(parents=True)
        (tmp_path / place / "policies" / "p.cedar").write_text(f"{effect} (principal, action, resource);")
    (tmp_path / "real" / "tests").mkdir()
    put(tmp_path / "real" / "tests", case(READ, "allow"), policies=["../policies/*.cedar"])
    (tmp_path / "real" / "tests" / "p.cedar").unlink()
    (tmp_path / "other" / "tests").symlink_to(tmp_path / "real" / "tests")
    assert told(tmp_path / "real" / "tests")[0] == 0
    assert told(tmp_path / "other" / "tests")[0] == 0


def test_a_policy_that_fails_to_evaluate_is_not_that_nobody_decides(tmp_path: Path) -> None:
    folder = put(tmp_path, case({**READ, "generation": (1 << 63) - 1}, "deny", by=[]))
    (folder / "p.cedar").write_text(
        '@id("over") permit (principal, action, resource) when { context.generation + 1 > 0 };'
    )
    code, document = told(folder)
    (failed,) = document["cases"]
    assert (code, failed["passed"]) == (1, False)
    assert failed["problem"].startswith("expected that no policy decides, but one failed: ")
    assert "#over" in failed["problem"]


def test_a_file_of_something_else_is_passed_over_and_named(tmp_path: Path) -> None:
    folder = put(tmp_path, case(READ, "allow"))
    (folder / "workflow.yaml").write_text("name: x\njobs: {}\n")
    (folder / "list.json").write_text("[1]")
    done = run(folder)
    assert done.exit_code == 0
    assert done.stderr.splitlines() == [
        f"note: {folder}/{name} is passed over: it holds no cases" for name in ("list.json", "workflow.yaml")
    ]


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    folder = put(tmp_path, case(READ, "alow"), case({**READ, "url": "x"}, "allow"))
    (folder / "other.yaml").write_text("cases: [{expect: deny}]")
    lines = run(folder).stderr.splitlines()
    assert len(lines) == 2
    (folder / "cases.yaml").write_text((folder / "cases.yaml").read_text().replace("alow", "allow"))
    assert [line.partition("cases[")[2][:10] for line in run(folder).stderr.splitlines()] == [
        "1].request",
        "0].request",
    ]


def test_two_policies_of_one_name_in_force_for_a_case_are_a_mistake(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        manifest = {"kind": "CurationPolicy", "metadata": {"name": "p"}, "spec": {"cedar": POLICY}}
        (tmp_path / name).write_text(json.dumps(manifest))
    done = run(put(tmp_path, case(READ, "allow"), policies=["[ab].yaml"]))
    assert done.exit_code == 2
    assert "b.yaml: CurationPolicy/p has the name of" in done.stderr


def test_a_folder_without_cases_is_no_success(tmp_path: Path) -> None:
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "cases.yaml").write_text("case: []")
    done = run(tmp_path)
    assert done.exit_code == 2
    assert "holds no cases" in done.stderr
    assert run(tmp_path / "none").exit_code == 2


def test_the_sample_passes_with_its_own_workflow_in_a_repository_that_copied_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "repository"
    shutil.copytree(SAMPLE, copy, ignore=shutil.ignore_patterns("ci"))
    monkeypatch.chdir(copy)
    workflow = yaml.safe_load((SAMPLE / "ci" / "github-actions.yaml").read_text())
    commands = [step["run"] for step in workflow["jobs"]["test"]["steps"] if "kubectl-curation" in step.get("run", "")]
    assert len(commands) == 2
    for command in commands:
        words = [
            path
            for word in shlex.split(command)[1:]
            for path in sorted(map(str, Path().glob(word) if "*" in word else ())) or [word]
        ]
        done = CliRunner().invoke(cli, words)
        assert done.exit_code == 0, done.output
    assert (copy / "policies.xml").is_file()


def test_the_schema_knows_the_fields_of_the_sample() -> None:
    schema = file_schemas()["PolicyCases"]
    document = yaml.safe_load((SAMPLE / "tests" / "sessions.yaml").read_text())
    assert set(document) <= set(schema["properties"])
    assert schema["additionalProperties"] is False
    assert {field for each in document["cases"] for field in each} <= set(schema["$defs"]["Case"]["properties"])
