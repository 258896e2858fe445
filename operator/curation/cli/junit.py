"""Results as JUnit XML, which CI systems read. Source of the form: https://github.com/testmoapp/junitxml."""

import re
from collections.abc import Sequence
from itertools import groupby
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

from curation.cli.text import safe

JUnitCase = tuple[str, str, str, float]
"""The suite (a file), the name, why it failed (empty: it passed), seconds."""

# XML 1.0, section 2.2: what is no character there. Controls are escaped before.
_NO_CHARACTER: Final = re.compile("[\ufffe\uffff\ud800-\udfff]")


def junit(name: str, cases: Sequence[JUnitCase]) -> bytes:
    """The report. Cases of one suite are given one after another."""
    root = Element("testsuites", {"name": name, **_totals(cases)})
    for suite, group in groupby(cases, key=lambda case: case[0]):
        members = list(group)
        element = SubElement(root, "testsuite", {"name": _text(suite), **_totals(members)})
        for _, title, problem, seconds in members:
            case = SubElement(element, "testcase", classname=_text(suite), name=_text(title), time=f"{seconds:.6f}")
            if problem:
                SubElement(case, "failure", message=_text(problem)).text = _text(problem)
    return bytes(tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _totals(cases: Sequence[JUnitCase]) -> dict[str, str]:
    failures = sum(1 for case in cases if case[2])
    seconds = sum(case[3] for case in cases)
    return {"tests": str(len(cases)), "failures": str(failures), "errors": "0", "time": f"{seconds:.6f}"}


def _text(text: str) -> str:
    return _NO_CHARACTER.sub("\ufffd", safe(text))
