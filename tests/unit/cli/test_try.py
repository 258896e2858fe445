"""`curation-operator try`: the operator's own gate, floor, limits and guests, seen from the command.

| what ends the run              | code | shown                                                   |
|--------------------------------|------|---------------------------------------------------------|
| a result                       | 0    | each call with the policies that decided, log, limits   |
| a denial                       | 3    | the reason; nothing has left                            |
| anything else that fails a run | 1    | its class and message, as a job's status has them       |
| a file that cannot be used     | 2    | the file, the field, the remedy                         |
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from click.testing import CliRunner, Result

from curation.cli import trial_run
from curation.cli.operator import main
from curation.wasm.module_bytes import builtin_bytes
from testing.sessions import SessionService
from tests.guests import hostile
from tests.guests.wat import Script

BUILTIN = "build-session-message-v1"
PERMIT = '@id("all") permit (principal, action, resource);'
LOOPBACK = ("--allow-cidr", "127.0.0.0/8")
ROOMY = ("--limit", "cpuSeconds=60")
DONE = {"action": "Completed", "output": {"rows": 7}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "all.cedar").write_text(PERMIT)
    return tmp_path


def put(folder: Path, wasm: bytes) -> Path:
    file = folder / "guest.wasm"
    file.write_bytes(wasm)
    return file


def attempt(file: Path, *options: str | Path, stdin: str = "") -> Result:
    done = CliRunner().invoke(main, ["try", str(file), *map(str, options)], input=stdin)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def told(file: Path, *options: str | Path) -> tuple[int, dict[str, Any]]:
    done = attempt(file, *options, "-o", "json")
    return done.exit_code, json.loads(done.stdout)


def test_a_build_is_compiled_once_for_all_tries_and_checks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    file = put(folder, Script().ok(DONE))
    made: list[set[tuple[Path, int]]] = []
    for command in ("check", "try", "check", "try"):
        done = CliRunner().invoke(main, [command, str(file), "-o", "json"])
        assert done.exit_code == 0, done.output
        made.append({(path, path.stat().st_ino) for path in (folder / "cache").rglob("*.cwasm")})
    assert len(made[0]) == 1
    assert made == made[:1] * 4, "it was made anew"
    for path, _ in made[0]:
        assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("place", ["open to others", "a file", "without a home"])
def test_a_cache_that_cannot_be_used_stops_no_try(folder: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    cache = folder / "curation-operator" / "modules" / f"compiled-{version('curation-operator')}"
    monkeypatch.setenv("XDG_CACHE_HOME", "" if place == "without a home" else str(folder))
    cache.parent.mkdir(parents=True)
    if place == "a file":
        cache.touch()
    elif place == "open to others":
        cache.mkdir()
        cache.chmod(0o777)
    else:

        def nobody() -> Path:
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr(Path, "home", nobody)
    assert told(put(folder, Script().ok(DONE)))[0] == 0
    assert not list(folder.rglob("*.cwasm"))


@contextmanager
def server(body: bytes = b"{}") -> Iterator[tuple[str, list[str]]]:
    """A real HTTP server that answers all alike, and what it was asked."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(f"{self.path} {self.headers['Curation-Run-Id']}")
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        thread = Thread(target=serving.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{serving.server_address[1]}", seen
        finally:
            serving.shutdown()
            thread.join()


async def test_the_shipped_module_starts_follows_and_cancels_a_session_of_a_real_service(folder: Path) -> None:
    file = put(folder, builtin_bytes(BUILTIN))
    common = ("--module", "build-session-message", "--policy", folder / "all.cedar", *LOOPBACK, *ROOMY)
    async with SessionService() as service:

        async def told_of(*options: str) -> tuple[int, dict[str, Any]]:
            return await asyncio.to_thread(told, file, *common, "--config", f"api_url={service.url}", *options)

        code, started = await told_of("--input", '{"message": "hello"}')
        assert (code, started["result"]["action"]) == (0, "SessionSpawned")
        assert [call["policies"] for call in started["calls"]] == [
            [f"CurationPolicy/default/{folder}/all.cedar#all"]
        ] * 3
        assert [call["request"]["path"].split("/")[1] for call in started["calls"]] == [
            "workspaces",
            "sessions",
            "sessions",
        ]
        assert [call["answer"] for call in started["calls"]] == [{"status": 201}, {"status": 201}, {"status": 200}]
        assert started["log"][0].startswith("info: created workspace ")
        used = {name: limit["used"] for name, limit in started["limits"].items()}
        assert used["httpCalls"] == 3
        assert 0 < used["cpuSeconds"] < used["wallSeconds"]
        assert used["responseSize"] > 0
        session = started["result"]["session"]["id"]
        assert len(service.log(run=started["run"]["id"])) == 3

        code, seen = await told_of("--trigger", "observe", "--session", session)
        assert (code, seen["result"]["action"]) == (0, "Running")
        # As after a crash: the run alone is known.
        code, ended = await told_of("--trigger", "Cancel", "--run", started["run"]["id"])
        assert (code, ended["result"], ended["run"]["id"]) == (0, {"action": "Cancelled"}, started["run"]["id"])
        code, seen = await told_of("--trigger", "Observe", "--session", session)
        assert (code, seen["result"]["action"]) == (1, "Failed")


def test_without_a_policy_nothing_leaves_and_the_exit_code_says_so(folder: Path) -> None:
    with server() as (url, seen):
        file = put(folder, Script().call({"method": "GET", "url": f"{url}/a"}).error({"message": "no"}))
        code, document = told(file, *LOOPBACK, *ROOMY)
    assert (code, seen) == (3, [])
    (call,) = document["calls"]
    assert call["decision"] == "denied"
    assert call["answer"]["code"] == document["result"]["error"].lower() == "denied"
    assert "no policy permits GET http://127.0.0.1" in call["reason"]


def test_no_policy_opens_an_address_beneath_the_floor(folder: Path) -> None:
    with server() as (url, seen):
        file = put(folder, Script().call({"method": "GET", "url": f"{url}/a"}).error({"message": "no"}))
        code, document = told(file, "--policy", folder / "all.cedar", *ROOMY)
        assert (code, seen, document["result"]["error"]) == (1, [], "EgressRefused")
        assert document["calls"][0]["decision"] == "allowed"
        assert "a loopback address; start the operator with --allow-cidr" in document["calls"][0]["answer"]["message"]
        code, document = told(file, "--policy", folder / "all.cedar", *LOOPBACK, *ROOMY)
        assert [line.split()[0] for line in seen] == ["/a"]
        code, document = told(file, "--policy", folder / "all.cedar", *LOOPBACK, "--deny-cidr", "127.0.0.1/32", *ROOMY)
        assert (len(seen), document["result"]["error"]) == (1, "EgressRefused")


def test_an_answer_over_the_limit_is_the_one_of_the_limit(folder: Path) -> None:
    with server(b"x" * 5000) as (url, _):
        file = put(folder, Script().call({"method": "GET", "url": f"{url}/a"}).error({"message": "no"}))
        code, document = told(file, "--policy", folder / "all.cedar", *LOOPBACK, *ROOMY, "--limit", "responseSize=4Ki")
    assert (code, document["result"]["error"]) == (1, "LimitExceeded")
    assert document["limits"]["responseSize"]["allowed"] == 4096
    assert document["calls"][0]["answer"]["code"] == "limit"


@pytest.mark.parametrize(
    ("wasm", "options", "error"),
    [
        (hostile.spins, ("--limit", "cpuSeconds=1"), "LimitExceeded"),
        (hostile.traps, ROOMY, "Trap"),
        (hostile.allocates_for_ever, (*ROOMY, "--limit", "memory=8Mi"), "LimitExceeded"),
        (lambda: hostile.starts_with(200), (*ROOMY, "--limit", "memory=8Mi"), "LimitExceeded"),
        (lambda: hostile.returns_giant(3 << 20), ROOMY, "LimitExceeded"),
        (lambda: hostile.requests_giant(2 << 20), ROOMY, "LimitExceeded"),
        (hostile.returns_bad_utf8, ROOMY, "Trap"),
        (hostile.calls_wasi, ROOMY, "Trap"),
        (lambda: Script().ok({"action": "Running"}), ROOMY, "ModuleError"),
    ],
    ids=["spins", "traps", "allocates", "starts-large", "returns-giant", "asks-giant", "bad-utf8", "wasi", "no-result"],
)
def test_a_hostile_guest_ends_as_it_does_in_the_operator(
    folder: Path, wasm: Callable[[], bytes], options: tuple[str, ...], error: str
) -> None:
    code, document = told(put(folder, wasm()), *options)
    assert (code, document["result"].get("error")) == (1, error), document["result"]


def test_a_call_that_the_gate_is_never_asked_about_is_shown_as_the_module_made_it(folder: Path) -> None:
    script = Script().call("not json").call("[]").call({"method": "GET", "url": "ftp://a/"})
    script.call({"method": [[["GET"]]], "url": 1}).call({"method": "GET", "url": "x" * 100_000})
    code, document = told(put(folder, script.ok(DONE)), *ROOMY)
    assert code == 0
    calls = [(call["call"], call["decision"], call["answer"]["code"]) for call in document["calls"]]
    assert calls.pop() == (f"GET {'x' * 16383}…", "none", "invalid")
    assert calls == [
        ("a request that is no JSON", "none", "invalid"),
        ("a request that is no object", "none", "invalid"),
        ("GET ftp://a/", "none", "invalid"),
        ("a request without method and URL", "none", "invalid"),
    ]


def test_of_a_guest_that_never_stops_asking_a_bounded_number_of_calls_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_run, "MAX_CALLS", 10)
    file = put(folder, Script().call({"method": "GET", "url": "http://a.example/"}, times=500).ok(DONE))
    code, document = told(file, *ROOMY, "--limit", "httpCalls=3")
    assert code == 0
    assert [call["answer"]["code"] for call in document["calls"]] == ["denied"] * 3 + ["limit"] * 7
    assert document["callsNotShown"] == 490
    assert document["limits"]["httpCalls"] == {"used": 500, "allowed": 3}
    assert "and 490 calls more" in attempt(file, *ROOMY, "--limit", "httpCalls=3").stdout


def test_what_others_wrote_steers_no_terminal(folder: Path) -> None:
    script = Script().log("a\x1b[2Jb").call({"method": "GET", "url": "http://\x1b[2J/"})
    done = attempt(put(folder, script.error({"message": "\x1b[2J gone"})), *ROOMY)
    assert done.exit_code == 1
    assert "\x1b" not in done.output
    assert "Error: ModuleError" in done.stdout or "Error: EgressRefused" in done.stdout


MOCK = """
answers:
  - {method: GET, url: "https://a.example/once", times: 1, response: {status: 503,
     headers: {Retry-After: "1", Set-Cookie: x}}}
  - {method: get, url: "https://a.example:443/*", response: {json: {id: [1, null]}}}
  - {url: "http://down.example/", unavailable: the cable is cut}
"""


def test_a_mock_answers_in_the_order_of_its_file_and_all_else_gets_no_answer(folder: Path) -> None:
    (folder / "mock.yaml").write_text(MOCK)
    script = Script()
    for url in ("https://a.example/once", "https://a.example/once", "http://down.example", "https://b.example/"):
        script.call({"method": "GET", "url": url}).log_answer()
    code, document = told(
        put(folder, script.ok(DONE)), "--policy", folder / "all.cedar", "--mock", folder / "mock.yaml", *ROOMY
    )
    assert code == 0
    assert [call["answer"].get("status") for call in document["calls"]] == [503, 200, None, None]
    assert json.loads(document["log"][0].removeprefix("info: "))["headers"] == {"retry-after": "1"}
    assert json.loads(document["log"][1].removeprefix("info: "))["body"] == '{"id": [1, null]}'
    assert "the cable is cut" in document["calls"][2]["answer"]["message"]
    assert (
        "mock.yaml has no answer for GET https://b.example:443/; add one" in document["calls"][3]["answer"]["message"]
    )


def test_stars_of_a_mock_take_no_longer_the_more_of_them_a_url_might_fit(folder: Path) -> None:
    stars = "http://a.example/" + "*a" * 50
    (folder / "mock.yaml").write_text(
        f"answers: [{{url: '{stars}b', response: {{status: 500}}}}, {{url: '{stars}', response: {{}}}}]"
    )
    script = Script()
    for path in ("a" * 8000, "a" * 49, "xa" * 50, "a" * 8000 + "b", "a" * 50 + "c"):
        script.call({"method": "GET", "url": f"http://a.example/{path}"})
    _, document = told(
        put(folder, script.ok(DONE)), "--policy", folder / "all.cedar", "--mock", folder / "mock.yaml", *ROOMY
    )
    assert [call["answer"].get("status") for call in document["calls"]] == [200, None, 200, 500, None]


def test_a_mock_refuses_what_must_not_leave(folder: Path) -> None:
    (folder / "mock.yaml").write_text('answers: [{url: "*", response: {}}]')
    script = Script().call({"method": "GET", "url": "http://169.254.169.254/"})
    script.call({"method": "GET", "url": "http://a.example/", "headers": {"Host": "b.example"}})
    _, document = told(
        put(folder, script.ok(DONE)), "--policy", folder / "all.cedar", "--mock", folder / "mock.yaml", *ROOMY
    )
    assert [call["answer"]["code"] for call in document["calls"]] == ["invalid", "invalid"]
    assert "a link-local address" in document["calls"][0]["answer"]["message"]


def test_a_call_that_the_wall_limit_cuts_short_is_shown_without_an_answer(folder: Path) -> None:
    (folder / "mock.yaml").write_text('answers: [{url: "*", response: {}, delaySeconds: 3600}]')
    file = put(folder, Script().call({"method": "GET", "url": "http://a.example/"}).ok(DONE))
    options = ("--policy", folder / "all.cedar", "--mock", folder / "mock.yaml", *ROOMY, "--limit", "wallSeconds=3")
    code, document = told(file, *options)
    assert (code, document["result"]["error"], document["calls"][0]["answer"]) == (1, "Timeout", None)
    assert document["calls"][0]["policies"] != []


@pytest.mark.parametrize(
    ("name", "text", "options", "said"),
    [
        ("mock.yaml", "answers: [{url: x, response: {}}]", ("--mock",), "answers[0].url: 'x' is no absolute URL"),
        ("mock.yaml", "answers: [{url: '*', respons: {}}]", ("--mock",), "answers[0].respons: there is no such field"),
        ("mock.yaml", "answers: [{url: '*'}]", ("--mock",), "exactly one of response and unavailable must be set"),
        ("mock.yaml", "answers: [{url: '*', method: CONNECT, unavailable: x}]", ("--mock",), "method 'CONNECT' is not"),
        ("mock.yaml", "a: [", ("--mock",), "it is no valid YAML"),
        ("mock.yaml", "answers: [{url: '*', response: {headers: {'a b': x}}}]", ("--mock",), "should match pattern"),
        ("mock.yaml", "answers: [{url: '*', response: {headers: {a: \"x\\ny\"}}}]", ("--mock",), "headers.a: string"),
        ("mock.yaml", "answers: [{url: '*', response: {json: [.nan]}}]", ("--mock",), "a number that JSON has not"),
        ("mock.yaml", "answers: [{url: '*', response: {body: \"\\ud800\"}}]", ("--mock",), "a lone surrogate"),
        ("in.json", '{"a": 1, "a": 2}', ("--input",), "the key 'a' is given twice"),
        ("in.json", '{"a": "\\ud800"}', ("--input",), "a lone surrogate"),
        ("in.yaml", "a: [\n  '\u202e': }", ("--input",), "\\u202e"),
        ("mock.yaml", "--- 1\n--- 2\n", ("--mock",), "it holds 2 documents"),
        ("bad.cedar", "permit (", ("--policy",), "ParseError: policy 0, line 1"),
        ("none.yaml", "kind: Namespace", ("--policy",), "holds no CurationPolicy"),
        ("in.json", "[1]", ("--input",), "the input of a job is one JSON object"),
        ("in.json", "{", ("--input",), "no valid JSON"),
        ("in.json", json.dumps({"a": "x" * 70_000}), ("--input",), "spec.input is"),
        ("in.json", json.dumps({"a": 1 << 60}), ("--input",), "a number that JSON cannot carry exactly"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_with_the_field(
    folder: Path, name: str, text: str, options: tuple[str], said: str
) -> None:
    (folder / name).write_text(text)
    at = "@" if options == ("--input",) else ""
    done = attempt(put(folder, Script().ok(DONE)), *options, f"{at}{folder / name}")
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--limit", "cpu=1"), "there is no limit cpu; the limits are memory, cpuSeconds"),
        (("--limit", "memory=2Gi"), "memory must be more than 0 and at most"),
        (("--limit", "cpuSeconds=0"), "--limit cpuSeconds"),
        (("--limit", "cpuSeconds"), "is not KEY=VALUE"),
        (("--config", "=x"), "is not KEY=VALUE"),
        (("--config", f"a={'x' * 5000}"), "spec.config"),
        (("--module", "Build"), "moduleRef.name"),
        (("-n", "team_a"), "the cluster would refuse such a job: namespace"),
        (("--job", "A b"), "the cluster would refuse such a job: job"),
        (("--label", "a b=c"), "the cluster would refuse such a job: labels.a b"),
        (("--label", "a=\udc80"), "the cluster would refuse such a job: labels.a"),
        (("--input", '{"a": "\udc80"}'), "it is no valid JSON: it is not UTF-8"),
        (("--run", "\x1b.g1.a1"), "is not the id of a run"),
        (("--trigger", "Observe"), "--trigger Observe: say which session is to be observed, with --session ID"),
        (("--session", ""), "--session: id: string should have at least 1 character"),
        (("--session", "x" * 257), "--session: id: string should have at most 256 characters"),
        (("--run", "x"), "is not the id of a run"),
        (("--trigger", "Stop"), "is none of Submit, Observe, Cancel"),
        (("--input", "{nope}"), "no valid JSON"),
        (("--allow-cidr", "10.0.0.1/8"), "write a network such as 10.0.0.0/8"),
    ],
)
def test_an_option_that_makes_no_sense_is_bad_usage(folder: Path, options: tuple[str, ...], said: str) -> None:
    done = attempt(put(folder, Script().ok(DONE)), *options)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_module_that_does_not_fit_is_told_as_check_tells_it(folder: Path) -> None:
    file = put(folder, hostile.imports_more())
    done = attempt(file)
    assert (done.exit_code, done.stdout) == (1, "")
    checked = CliRunner().invoke(main, ["check", str(file)])
    assert done.stderr == f"error: {checked.stderr}"


def test_a_policy_of_another_namespace_does_not_count_and_one_of_the_cluster_does(folder: Path) -> None:
    (folder / "p.yaml").write_text(
        f"""
kind: CurationPolicy
metadata: {{name: mine, namespace: team-b}}
spec: {{cedar: {json.dumps(PERMIT)}}}
---
kind: ClusterCurationPolicy
metadata: {{name: never}}
spec: {{cedar: 'forbid (principal, action, resource) when {{ context.labels.hasTag("test") }};'}}
"""
    )
    (folder / "mock.yaml").write_text('answers: [{url: "*", response: {}}]')
    file = put(folder, Script().call({"method": "GET", "url": "http://a.example/"}).ok(DONE))
    options = ("--policy", folder / "p.yaml", "--mock", folder / "mock.yaml", *ROOMY)
    done = attempt(file, *options)
    assert "CurationPolicy/mine is of namespace team-b, and does not count in default" in done.stderr
    assert "no policy permits" in done.stdout
    _, document = told(file, *options, "-n", "team-b")
    assert document["calls"][0]["policies"] == ["CurationPolicy/team-b/mine#all"]
    _, document = told(file, *options, "-n", "team-b", "--label", "test=yes")
    assert document["calls"][0]["policies"] == ["ClusterCurationPolicy/never#0"]


def test_two_policies_of_one_name_are_refused_since_one_would_replace_the_other(folder: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        manifest = {"kind": "CurationPolicy", "metadata": {"name": "p"}, "spec": {"cedar": PERMIT}}
        (folder / name).write_text(json.dumps(manifest))
    done = attempt(put(folder, Script().ok(DONE)), "--policy", folder / "a.yaml", "--policy", folder / "b.yaml")
    assert done.exit_code == 2
    assert "b.yaml: CurationPolicy/p has the name of" in done.stderr


def test_a_cancel_gets_no_input_and_the_operators_own_wall_limit(folder: Path) -> None:
    file = put(folder, Script().log_context().ok({"action": "Cancelled"}))
    options = ("--trigger", "Cancel", "--input", '{"a": 1}', "--limit", "wallSeconds=3000", *ROOMY)
    code, document = told(file, *options)
    assert code == 0
    assert '"input":{}' in document["log"][0]
    assert document["limits"]["wallSeconds"]["allowed"] == 120


def test_the_input_may_come_from_standard_input(folder: Path) -> None:
    file = put(folder, Script().log_context().ok(DONE))
    done = attempt(file, "--input", "@-", "--config", "a=b=c", *ROOMY, stdin='{"n": 1}')
    assert '"input":{"n":1},"config":{"a":"b=c"}' in done.stdout
