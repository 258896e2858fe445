"""The documentation says what the code does: fields, reasons, metrics and options are there, and examples hold."""

import json
import re
import subprocess
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import click
import pytest
import yaml
from pydantic import BaseModel

from curation.api.approval import ApprovalDecision
from curation.api.crd import CRD_KINDS, Kind, crd
from curation.api.names import ConditionType, EventReason, FailureClass, Phase, Reason, RunOutcome
from curation.authz.policy_check import check_policy
from curation.cli.operator import main as operator
from curation.cli.plugin import cli
from curation.cli.run import run
from curation.wasm.module_errors import ModuleReason
from hack import metrics_reference
from tests.unit.test_remedies import verbs

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md"), *ROOT.glob("modules/*/README.md")])
PAGE_OF = {"ClusterCurationPolicy": "curationpolicy.md"}
JOB = (DOCS / "curationjob.md").read_text(encoding="utf-8")

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def fences(page: Path, language: str) -> list[str]:
    return fences_of(page.read_text(encoding="utf-8"), language)


def fences_of(page: str, language: str) -> list[str]:
    return [text for tag, text in _FENCE.findall(page) if tag == language]


def prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def words(text: str) -> set[str]:
    """The paths and words in backquotes: `run.id` counts as run.id."""
    return {word for quoted in re.findall(r"`([^`]+)`", text) for word in re.split(r"[\s,=:]+", quoted)}


# What is shown in full on another page, and linked there.
ELSEWHERE = {"CurationJob": ("status.approval.request",), "CurationApproval": ()}


def leaves(schema: dict[str, Any], path: str) -> Iterator[str]:
    """The paths of the fields without fields of their own, as the pages write them."""
    properties = schema.get("properties") or {}
    items = schema.get("items") or {}
    if properties:
        for key, value in properties.items():
            yield from leaves(value, f"{path}.{key}" if path else key)
    elif items.get("properties"):
        yield from leaves(items, f"{path}[]")
    else:
        yield path


def documented(path: str, known: set[str]) -> bool:
    """Whether the path is there, or a list or an object that it is in and that is explained as a whole."""
    if path.startswith("conditions[]"):
        return "conditions" in known  # metav1.Condition
    whole = re.fullmatch(r"(abandonedRuns\[\]\.module)\.\w+", path)
    return path in known or (whole is not None and whole.group(1) in known)


@pytest.mark.parametrize("kind", CRD_KINDS, ids=lambda kind: kind.name)
def test_every_field_of_a_kind_is_on_its_page(kind: Kind) -> None:
    known = words(prose(DOCS / PAGE_OF.get(kind.name, f"{kind.name.lower()}.md")))
    properties = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    missing = [
        f"{half}.{path}"
        for half in ("spec", "status")
        for path in leaves(properties[half], "")
        if not documented(path, known) and not f"{half}.{path}".startswith(ELSEWHERE.get(kind.name, ()) or ("-",))
    ]
    assert missing == []


@pytest.mark.parametrize("enum", [Reason, FailureClass, EventReason, RunOutcome, ConditionType, Phase])
def test_every_reason_outcome_and_condition_of_a_job_is_on_its_page(enum: type[StrEnum]) -> None:
    known = words(prose(DOCS / "curationjob.md"))
    assert [each.value for each in enum if each.value not in known] == []


def test_every_reason_that_keeps_a_job_or_fails_it_is_among_the_symptoms() -> None:
    page = words((DOCS / "symptoms.md").read_text(encoding="utf-8"))
    passing = {Reason.APPROVED, Reason.SUBMITTED, Reason.RESUBMITTED, Reason.SESSION_SPAWNED, Reason.COMPLETED}
    assert {reason.value for reason in (*Reason, *FailureClass) if reason not in passing} - page == set()


def test_the_defaults_of_the_schema_are_in_the_row_of_their_field() -> None:
    wrong = []
    for kind in CRD_KINDS:
        page = prose(DOCS / PAGE_OF.get(kind.name, f"{kind.name.lower()}.md"))
        rows = {row.split("|")[1].strip().strip("`"): row for row in page.splitlines() if row.startswith("| `")}
        spec = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        for path, default in defaults(spec, ""):
            shown = default if isinstance(default, str) and default else json.dumps(default)
            if f"`{shown}`" not in rows.get(path, ""):
                wrong.append(f"{kind.name} spec.{path}: {shown}")
    assert wrong == []


def defaults(schema: dict[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for key, value in (schema.get("properties") or {}).items():
        inner = f"{path}.{key}" if path else key
        if value.get("properties") or value.get("items"):
            yield from defaults(value.get("items") or value, f"{inner}[]" if value.get("items") else inner)
        elif "default" in value:
            yield inner, value["default"]


def test_every_reason_of_a_module_is_on_its_page() -> None:
    known = words(prose(DOCS / "curationmodule.md"))
    assert [reason.value for reason in ModuleReason if reason.value not in known] == []


def test_every_reason_of_a_policy_and_of_an_approval_is_on_its_page() -> None:
    assert words(prose(DOCS / "curationpolicy.md")) >= {"Valid", "ParseError", "ValidationError"}
    assert words(prose(DOCS / "curationapproval.md")) >= {*ApprovalDecision, "Expired"}


@pytest.mark.parametrize("kind", ["job", "module", "policy", "approval"])
def test_the_page_of_a_kind_begins_with_an_example_and_ends_with_how_to_debug_it(kind: str) -> None:
    headings = re.findall(r"^## (.+)$", prose(DOCS / f"curation{kind}.md"), re.MULTILINE)
    assert (headings[0], headings[-1]) == ("Example", "Debugging")


def test_the_operations_page_explains_upgrade_backup_and_capacity() -> None:
    assert anchors(DOCS / "operations.md") >= {"upgrade", "backup-and-restore", "capacity", "alerts"}


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_to_a_file_or_heading_leads_somewhere(page: Path) -> None:
    broken = []
    for target in _LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def test_every_page_is_in_the_index_or_in_that_of_its_folder() -> None:
    index: set[Path] = set()
    new = {DOCS / "README.md"}
    while new:
        index |= new
        indices = [page for page in new if page.name == "README.md" and page.is_relative_to(DOCS)]
        targets = {
            (page.parent / target).resolve() for page in indices for target in _LINK.findall(page.read_text("utf-8"))
        }
        new = targets - index
    assert [name(page) for page in DOCS.rglob("*.md") if page not in index] == []


def test_the_metrics_page_is_what_the_code_gives(capsys: pytest.CaptureFixture[str]) -> None:
    assert metrics_reference.main(["--check"]) == 0, capsys.readouterr().out


def test_every_metric_that_a_page_names_exists() -> None:
    known = {metric.name for metric in metrics_reference.metrics()}
    series = re.compile(r"\bcuration_[a-z_]+\b")
    wrong = {
        f"{name(page)}: {found}"
        for page in PAGES
        for quoted in re.findall(r"`([^`]+)`", prose(page))
        for found in series.findall(quoted)
        if found.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") not in known
    }
    assert wrong == set()


def test_operations_names_every_shipped_alert_with_its_threshold_duration_and_severity() -> None:
    (resource,) = yaml.safe_load_all(
        (ROOT / "manifests" / "components" / "prometheus" / "prometheus-rule.yaml").read_text()
    )
    shipped = {rule["alert"]: rule for group in resource["spec"]["groups"] for rule in group["rules"]}
    table = re.findall(
        r"^\| `(Curation\w+)` \| (.*?) \| (\S+) \| (\w+) \|", (DOCS / "operations.md").read_text(), re.MULTILINE
    )
    assert [row[0] for row in table] == list(shipped)
    for name, when, duration, severity in table:
        rule = shipped[name]
        assert duration == rule.get("for", "-"), name
        assert severity == rule["labels"]["severity"], name
        threshold = re.search(r"[<>=]=? ([\d.]+)$", rule["expr"].strip())
        assert threshold is None or re.search(rf"(?<![\d.]){re.escape(threshold[1])}(?![\d.])", when), name


def test_the_queries_of_a_runbook_look_at_no_fewer_series_than_its_alert() -> None:
    (resource,) = yaml.safe_load_all(
        (ROOT / "manifests" / "components" / "prometheus" / "prometheus-rule.yaml").read_text()
    )
    compared = 0
    for rule in (rule for group in resource["spec"]["groups"] for rule in group["rules"]):
        page = (DOCS / "runbooks" / f"{rule['alert']}.md").read_text()
        for metric, said in re.findall(r"(curation_\w+)\{([^}]*)\}", "".join(fences_of(page, "promql"))):
            if alerts := re.findall(rf"{metric}\{{([^}}]*)\}}", rule["expr"]):
                compared += 1
                assert any(set(re.findall(r'\w+[=!~]+"[^"]*"', said)) <= set(each.split(",")) for each in alerts), page
    assert compared > 2


def test_every_component_is_in_the_installation() -> None:
    page = (DOCS / "install.md").read_text()
    for component in sorted((ROOT / "manifests" / "components").iterdir()):
        assert f"| `manifests/components/{component.name}` |" in page


def test_every_option_of_the_operator_is_in_operations_with_its_variable_and_default() -> None:
    rows = [row for row in prose(DOCS / "operations.md").splitlines() if row.startswith("| `-")]
    for option in run.params:
        assert isinstance(option, click.Option)
        (row,) = [row for row in rows if f"`{option.opts[-1]}`" in row]
        assert all(f"`{spelling}`" in row for spelling in option.opts)
        assert f"`{option.envvar}`" in row
        if option.show_default:
            assert str(option.default) in row
    assert len(rows) == len(run.params)


def test_every_verb_of_the_plugin_and_every_option_of_it_is_on_its_page() -> None:
    text = (DOCS / "kubectl-curation.md").read_text(encoding="utf-8")
    said = set(re.findall(r"(?<![\w-])--?[\w-]+", text))
    options = [option for verb in cli.commands.values() for option in verb.params if isinstance(option, click.Option)]
    assert [verb for verb in cli.commands if f"`{verb} " not in text] == []
    assert [option.opts for option in options if not said & set(option.opts)] == []


def test_every_verb_of_the_plugin_that_a_page_names_exists() -> None:
    named = {
        f"{name(page)}: {verb}"
        for page in PAGES
        for verb in re.findall(r"kubectl curation ([a-z][a-z-]*)", page.read_text(encoding="utf-8"))
        if verb not in cli.commands and verb not in ("and", "explains", "comes")
    }
    assert named == set()


def test_every_option_of_a_command_of_ours_that_a_page_shows_exists() -> None:
    """Each with the command that it stands behind."""
    of = {"kubectl curation": verbs(cli), "curation-operator": verbs(operator)}
    wrong, checked = set(), 0
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for quoted in (*re.findall(r"`([^`\n]+)`", text), *fences_of(text, "sh"), *fences_of(text, "console")):
            for program, verb, rest in re.findall(
                r"(?:^|[\s/])(kubectl curation|curation-operator) ([a-z][a-z-]*)([^\n|;#]*)", quoted, re.MULTILINE
            ):
                if (command := of[program].get(verb)) is None:
                    continue  # prose; another test asks for the verbs
                known = {
                    "--help",
                    *(each for option in command.params for each in (*option.opts, *option.secondary_opts)),
                }
                found = set(
                    re.findall(r"(?<=\s)--?[a-zA-Z][a-z-]*", re.sub(r"'[^']*'|\"[^\"]*\"|\$\([^)]*\)", "", rest))
                )
                checked += len(found)
                wrong |= {(name(page), program, verb, each) for each in found - known}
    assert checked > 40
    assert wrong == set()


def test_every_target_of_make_and_every_file_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    file = r"(?<![\w/.~$-])((?:bench|crds|hack|manifests|modules|operator|requirements|testing|tests)/[\w./*-]*[\w*])"
    targets_named: set[tuple[str, str]] = set()
    files_named: set[tuple[str, str]] = set()
    for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "tests" / "README.md"]:
        text = page.read_text(encoding="utf-8")
        for quoted in (*re.findall(r"`([^`\n]+)`", text), *fences(page, "sh"), *fences(page, "console")):
            targets_named |= {(name(page), each) for each in re.findall(r"\bmake ([a-z][\w-]*)", quoted)}
            files_named |= {(name(page), each) for each in re.findall(file, quoted)}
    assert len(targets_named) > 20
    assert len(files_named) > 100
    assert {each for each in targets_named if each[1] not in targets} == set()
    assert {each for each in files_named if not list(ROOT.glob(each[1]))} == set()


def documents() -> Iterator[tuple[Path, Any]]:
    for page in PAGES:
        for text in fences(page, "yaml"):
            for document in yaml.safe_load_all(text):
                yield page, document


def test_every_yaml_example_of_ours_is_valid_and_has_no_unknown_field() -> None:
    models = {kind.name: kind.model for kind in CRD_KINDS}
    checked = 0
    for page, document in documents():
        if not isinstance(document, dict) or not str(document.get("apiVersion", "")).startswith("curation.dev/"):
            continue
        model = models[document["kind"]]
        parsed = model.model_validate(document)
        for half in ("spec", "status"):
            unknown = list(unknown_fields(document.get(half) or {}, getattr(parsed, half)))
            assert unknown == [], f"{name(page)}: {half} has {unknown}"
        checked += 1
    assert checked > 10


def unknown_fields(document: Any, model: Any) -> Iterator[str]:
    """Fields of a document that its model ignores."""
    if isinstance(model, BaseModel):
        aliases = {field.alias or key: key for key, field in type(model).model_fields.items()}
        for key, value in document.items():
            if key not in aliases:
                yield key
            else:
                yield from unknown_fields(value, getattr(model, aliases[key]))
    elif isinstance(model, tuple):
        for value, item in zip(document, model, strict=True):
            yield from unknown_fields(value, item)


def test_every_cedar_example_is_a_valid_policy() -> None:
    texts = [(page, text) for page in PAGES for text in fences(page, "cedar")]
    texts += [
        (page, document["spec"]["cedar"])
        for page, document in documents()
        if isinstance(document, dict) and document.get("kind") in ("CurationPolicy", "ClusterCurationPolicy")
    ]
    assert len(texts) > 5
    wrong = {f"{name(page)}: {check.message}" for page, text in texts if not (check := check_policy(text)).valid}
    assert wrong == set()


def test_every_json_example_parses() -> None:
    for page in PAGES:
        for text in fences(page, "json"):
            json.loads(text)


def test_no_text_refers_to_one_that_is_not_in_the_repository() -> None:
    """A reader has the repository and nothing else: no name of a document that only its makers had."""
    outside = re.compile(r"\b(?:DESIGN|NEXT|EXAMPLES)(?:\.md\b|,? sections?\b)|\.\./shared\b")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    found = [
        f"{path}: {match.group()}"
        for path in listed.decode().split("\0")
        if path and path != "tests/unit/test_docs.py" and (ROOT / path).is_file()
        for match in outside.finditer((ROOT / path).read_text(encoding="utf-8", errors="ignore"))
    ]
    assert found == []
