"""`kubectl curation test`: cases of a policy repository, asked of the operator's own gate, without a cluster."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from curation.authz.book import PolicyBook
from curation.authz.decision import Decision
from curation.authz.gate import Gate
from curation.cli.case_files import CaseFolder, LoadedCase, ValidPolicy
from curation.cli.errors import BadInput
from curation.cli.junit import junit
from curation.cli.options import ANSWER_FORMATS, output_option
from curation.cli.output import print_document, say
from curation.cli.text import plural, safe


@dataclass(frozen=True, slots=True)
class Answered:
    """A case and what the gate said."""

    case: LoadedCase
    decision: Decision
    problem: str
    """Why the case failed: a sentence; empty if it passed."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which policies have decided a case."""

    decided: int
    never: tuple[str, ...]

    @property
    def line(self) -> str:
        """It in words."""
        total = self.decided + len(self.never)
        return f"{self.decided} of {plural(total, 'policy').replace('policys', 'policies')} decided a case"


@click.command("test")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--junit", "report", metavar="FILE", type=click.Path(path_type=Path), help="Write a JUnit report too.")
@click.option("--require-coverage", is_flag=True, help="Fail if a policy has never decided a case.")
@output_option(ANSWER_FORMATS)
def run_cases(folder: Path, report: Path | None, require_coverage: bool, output: str | None) -> None:
    """Test policies offline: ask the operator's own gate each case in the files of DIR.

    Exit codes: 0 all cases passed, 1 one failed (or, with --require-coverage, a policy never decided one), 2 a file
    cannot be used.
    """
    cases, in_folder = CaseFolder.read(folder)
    answers = _ask(cases)
    coverage = _coverage(answers, in_folder)
    uncovered = f"never decided a case: {'; '.join(coverage.never)}" if require_coverage and coverage.never else ""
    failed = [answer for answer in answers if answer.problem]
    if report is not None:
        _write(report, answers, uncovered)
    if output:
        print_document(_document(answers, coverage, not failed and not uncovered), output)
    else:
        _say(answers, coverage)
    if failed or uncovered:
        click.get_current_context().exit(1)


def _ask(cases: Sequence[LoadedCase]) -> list[Answered]:
    gates: dict[tuple[tuple[int, ...], str], Gate] = {}
    answers = []
    for case in cases:
        key = (tuple(id(policy) for policy in case.policies), case.namespace)
        gate = gates.get(key) or gates.setdefault(key, _gate(case.policies, case.namespace))
        started = time.perf_counter()
        decision = gate.authorize(case.namespace, case.request, case.context)
        answers.append(Answered(case, decision, _problem(case, decision), time.perf_counter() - started))
    return answers


def _gate(policies: Sequence[ValidPolicy], namespace: str) -> Gate:
    book = PolicyBook()
    for policy in policies:
        place = None if policy.text.everywhere else policy.text.namespace or namespace
        book.put_policy(place, policy.text.name, policy.text.cedar, check=policy.check)
    return Gate(book, lambda: datetime.now(UTC))


def _problem(case: LoadedCase, decision: Decision) -> str:
    decided = "allow" if decision.allowed else "deny"
    if decided != case.case.expect:
        return f"expected {case.case.expect}, but the gate decided {decided}: {decision.reason}"
    if case.case.by is None:
        return ""
    names = {each.rpartition("#")[2]: each for each in decision.policies}
    if not case.case.by:
        if decision.errors:
            return f"expected that no policy decides, but one failed: {_listed(decision.errors)}"
        return f"expected that no policy decides, but these do: {_listed(decision.policies)}" if names else ""
    missing = [each for each in case.case.by if each.removeprefix("@") not in names and each not in decision.policies]
    if not missing:
        return ""
    known = {statement for policy in case.policies for statement in policy.statements}
    unknown = [each for each in missing if each.removeprefix("@") not in known and "#" not in each]
    there = f"; no policy in force has the @id {_listed(unknown)}" if unknown else ""
    return f"expected {decided} by {_listed(missing)}, but it is by {_listed(decision.policies) or 'none'}{there}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def _coverage(answers: Sequence[Answered], in_folder: Sequence[ValidPolicy]) -> Coverage:
    """Of the policies in the folder, or in force for some case: how many decided one, and which did not."""
    covered = {key: (policy.shown(key[-1]), False) for policy in in_folder for key in policy.keys}
    for answer in answers:
        for policy in answer.case.policies:
            text = policy.text
            place = text.place(answer.case.namespace)
            kind = "ClusterCurationPolicy" if place is None else f"CurationPolicy/{place}"
            for key in policy.keys:
                decided = f"{kind}/{text.name}#{key[-1]}" in answer.decision.policies
                covered[key] = (policy.shown(key[-1]), decided or covered.get(key, ("", False))[1])
    never = tuple(shown for shown, decided in covered.values() if not decided)
    return Coverage(len(covered) - len(never), never)


def _say(answers: Sequence[Answered], coverage: Coverage) -> None:
    for answer in answers:
        where = f"{answer.case.file}: {answer.case.name}"
        say(safe(f"{'FAIL' if answer.problem else 'ok  '}  {where}"))
        if answer.problem:
            say(safe(f"      {answer.problem}"))
    failed = sum(1 for answer in answers if answer.problem)
    say(f"{plural(len(answers), 'case')}, {failed} failed")
    say(f"Coverage: {coverage.line}")
    for each in coverage.never:
        say(safe(f"      never: {each}"))


def _document(answers: Sequence[Answered], coverage: Coverage, passed: bool) -> dict[str, Any]:
    return {
        "passed": passed,
        "cases": [
            {
                "file": answer.case.file,
                "name": answer.case.name,
                "passed": not answer.problem,
                "expect": answer.case.case.expect,
                "decision": "allow" if answer.decision.allowed else "deny",
                "reason": answer.decision.reason,
                "policies": list(answer.decision.policies),
                "errors": list(answer.decision.errors),
                "problem": answer.problem,
                "namespace": answer.case.namespace,
                "request": answer.case.request.to_wire(),
            }
            for answer in answers
        ],
        "coverage": {"decided": coverage.decided, "never": list(coverage.never)},
    }


def _write(file: Path, answers: Sequence[Answered], uncovered: str) -> None:
    cases = [(answer.case.file, answer.case.name, answer.problem, answer.seconds) for answer in answers]
    if uncovered:
        cases.append(("coverage", "every policy decides a case", uncovered, 0.0))
    try:
        file.write_bytes(junit("kubectl curation test", cases))
    except OSError as error:
        raise BadInput(f"cannot write {file}: {error.strerror or error}") from None
