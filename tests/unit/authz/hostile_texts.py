"""Policy texts made to break a parser, and the program that feeds them to Cedar in a process of its own.

``python hostile_texts.py STACK_KIB [FAMILY]...`` takes each family to the largest size that the scan lets pass, checks
it, parses it and authorizes a request with it in a thread of that stack, and prints one line for each. A crash ends the
process: the last line names the family before. ``python hostile_texts.py raw`` parses 20000 brackets without the scan.
"""

import random
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

import cedarpy

from curation.api.approval import EvaluatedRequest
from curation.api.names import Trigger
from curation.authz.book import PolicyBook
from curation.authz.decision import CallContext
from curation.authz.gate import Gate
from curation.authz.scan import ScanRefused, scan

LIMIT: Final = 64 * 1024
REQUEST: Final = EvaluatedRequest(
    module="m",
    module_digest="sha256:0",
    trigger=Trigger.SUBMIT,
    method="GET",
    scheme="http",
    host="h.example",
    port=80,
    path="/" + "a" * 4000,
    query="q" * 4000,
)

EXPRESSIONS: Final[dict[str, Callable[[int], str]]] = {
    "not": lambda n: "!" * n + "true",
    "negation": lambda n: "-" * n + "1 == 1",
    "negated brackets": lambda n: "-(" * n + "1" + ")" * n + " == 1",
    "members": lambda n: "context" + ".a" * n + " == 1",
    "index": lambda n: "context" + '["a"]' * n + " == 1",
    "index with blanks": lambda n: "context" + ' \n["a"] // [\r' * n + " == 1",
    "calls": lambda n: "context" + ".contains(1)" * n,
    "and": lambda n: "&&".join(['context.method=="GET"'] * (n + 1)),
    "or": lambda n: "||".join(['context.method=="POST"'] * (n + 1)),
    "sum": lambda n: "+".join(["context.attempt"] * (n + 1)) + " == 1",
    "difference": lambda n: "-".join(["context.attempt"] * (n + 1)) + " == 1",
    "product": lambda n: "*".join(["context.attempt"] * (n + 1)) + " == 1",
    "equal": lambda n: "==".join(["1"] * (n + 1)),
    "has members": lambda n: "context has a" + ".a" * n,
    "has and": lambda n: "&&".join(["!(context has a)"] * (n + 1)),
    "has members and": lambda n: "||".join(["context has labels.a.a.a.a.a.a.a.a.a.a"] * (n + 1)),
    "like": lambda n: 'context.url like "' + "*a" * n + '"',
    "like and": lambda n: "&&".join(['context.url like "*a*"'] * (n + 1)),
    "in": lambda n: "||".join(['principal in Agent::"a"'] * (n + 1)),
    "is": lambda n: "&&".join(["principal is Agent"] * (n + 1)),
    "else if": lambda n: "if context.attempt == 9 then true else " * n + "true",
    "if if": lambda n: "if " * n + "true" + " then true else true" * n,
    "then if": lambda n: "if true then " * n + "true" + " else true" * n,
    "records": lambda n: "{a:" * n + "1" + "}" * n + " == 1",
    "sets": lambda n: "[" * n + "1" + "]" * n + " == 1",
    "brackets": lambda n: "(" * n + "true" + ")" * n,
    "brackets after a comment that a carriage return ends": lambda n: "//\r" + "(" * n + "true" + ")" * n,
    "brackets after a string": lambda n: '"\\"//" != "" && ' + "(" * n + "true" + ")" * n,
    "big set": lambda n: "[" + ",".join(["1"] * n) + "].contains(1)",
    "big record": lambda n: "{" + ",".join(f"a{i}:1" for i in range(n)) + "} == {}",
    "namespaces": lambda n: "principal == " + "A::" * n + 'A::"x"',
    "functions": lambda n: "ip(" * n + '"1.1.1.1"' + ")" * n + ".isLoopback()",
    "string": lambda n: '"' + "a" * n + '" == ""',
    "escapes": lambda n: '"' + "\\u{41}" * n + '" == ""',
    "number": lambda n: "1" * n + " == 1",
    "mixed": lambda n: "(!(-(" * n + "1" + ")))" * n,
    "brackets of ifs": lambda n: "(if true then true else " * n + "true" + ")" * n,
    "sets of records": lambda n: "[{a:" * n + "1" + "}]" * n + " == 1",
    "ifs of records": lambda n: "if true then {a:" * n + "1" + "} else {a:1}" * n + " == 1",
    "everything at its bound": lambda n: (
        "(" * min(n, 62)
        + "if true then true else " * min(n, 256)
        + '!!!!(context.url like "*")'
        + ' && context.method == "GET"' * min(n, 1000)
        + ")" * min(n, 62)
    ),
}
TEXTS: Final[dict[str, Callable[[int], str]]] = {
    "whens": lambda n: "permit(principal,action,resource)" + " when {true}" * n + ";",
    "policies": lambda n: 'permit(principal,action,resource)when{context.job==""};' * n,
    "annotations": lambda n: "".join(f'@a{i}("x")' for i in range(n)) + "permit(principal,action,resource);",
    "actions": lambda n: "permit(principal,action in [" + ",".join(['Action::"http_call"'] * n) + "],resource);",
    "open brackets": lambda n: "permit(" * n,
    "semicolons": lambda n: ";" * n,
    "backslashes": lambda n: '@id("' + "\\" * n,
    "escaped quotes": lambda n: '@id("' + '\\"' * n,
    "comments": lambda n: "//\n" * n,
    "at signs": lambda n: "@" * n,
    "nul": lambda n: "\0" * n,
    "bidi": lambda n: "\u202e" * n,
}


def text_of(family: str, n: int) -> str:
    """The text of a family at a size."""
    if family in TEXTS:
        return TEXTS[family](n)
    return f"permit(principal,action,resource) when {{{EXPRESSIONS[family](n)}}};"


def passes(text: str) -> bool:
    """Whether the scan lets it pass."""
    try:
        scan(text)
    except ScanRefused:
        return False
    return True


def largest(family: str) -> int:
    """The largest size, to within 2%, that the scan lets pass."""
    low, high = 0, LIMIT
    while high - low > max(1, low // 50):
        middle = (low + high) // 2
        low, high = (middle, high) if len(text_of(family, middle).encode()) <= LIMIT else (low, middle)
    if passes(text_of(family, low)):
        return low
    low, high = 0, 1
    while high < LIMIT and passes(text_of(family, high)):
        low, high = high, high * 2
    while high - low > max(1, low // 50):
        middle = (low + high) // 2
        low, high = (middle, high) if passes(text_of(family, middle)) else (low, middle)
    return low


def random_text(source: random.Random) -> str:
    """A random text of Cedar's tokens, mostly well-formed, that the scan may or may not let pass."""
    out: list[str] = []

    def expression(depth: int) -> None:
        kind = source.randrange(9) if depth < 60 else 8
        pair = [("(", ")"), ("[", "]"), ("{a:", "}"), ("ip(", ")"), ("!(", ")"), ("-(", ")")]
        if kind < 6:
            out.append(pair[kind][0])
            expression(depth + 1 if source.random() < 0.98 else depth + 9)
            out.append(pair[kind][1])
        elif kind == 6:
            out.append("if true then 1 else ")
            expression(depth + 1)
        elif kind == 7:
            out.append(
                source.choice(["1 + ", "true && ", "context.url || ", "1 == ", 'context has a.b && "x" like '] * 2)
            )
            expression(depth + 1)
        else:
            out.append(source.choice(["true", "1", '"*"', "context.url", 'context.labels.hasTag("a")', "principal"]))
        if source.random() < 0.005:
            out.append(source.choice(['"', "\\", "//", "\r", ")", "}", ";", "@", "\0", "if", "then"]))

    for _ in range(source.randrange(1, 6)):
        out.append("permit(principal,action,resource) when {")
        expression(0)
        out.append("};")
    return "".join(out)


def texts(families: list[str]) -> Iterator[tuple[str, str]]:
    """The families at their largest size; if none are given all of them, and 400 random texts."""
    for family in families or (*EXPRESSIONS, *TEXTS):
        n = largest(family)
        yield f"{family} {n}", text_of(family, n)
    if families:
        return
    source = random.Random(20251122)
    for number in range(400):
        text = random_text(source)
        if passes(text):
            yield f"random {number}", text


def feed(families: list[str]) -> None:
    """Check, parse and authorize with every text."""
    for name, text in texts(families):
        book = PolicyBook()
        check = book.put_policy("ns", "hostile", text)
        decision = Gate(book, lambda: datetime(2025, 1, 1, tzinfo=UTC)).authorize("ns", REQUEST, CallContext("j"))
        outcome = "allowed" if decision.allowed else "; ".join(decision.errors) or "denied"
        print(f"{name}: {check.reason}, {outcome}", flush=True)
    print("done", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "raw":
        cedarpy.PolicySet.from_str(f"permit(principal,action,resource) when {{{'(' * 20000}true{')' * 20000}}};")
    else:
        threading.stack_size(int(sys.argv[1]) * 1024)
        thread = threading.Thread(target=feed, args=(sys.argv[2:],))
        thread.start()
        thread.join()
