"""`curation-operator try`: a module run once, here, as the operator would run it."""

import re
import sys
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click
import uvloop
from pydantic import ValidationError

from curation.api.contract import GuestSession
from curation.api.files import CallDefaults
from curation.api.job import MAX_CONFIG_BYTES, CurationJob
from curation.api.module import ModuleLimits
from curation.api.names import Trigger
from curation.api.reading import Unreadable, read
from curation.authz.book import PolicyBook
from curation.cli.errors import BadInput, PluginError
from curation.cli.file_errors import Mistakes, loaded, parsed
from curation.cli.mock_service import MockService
from curation.cli.networks import CIDR, PEM_FILE, Network
from curation.cli.options import ANSWER_FORMATS, OneOf, output_option
from curation.cli.output import note, print_document
from curation.cli.policy_files import PolicyText, policy_texts, read_text
from curation.cli.trial_run import Trial, tried
from curation.cli.trial_shown import as_document, as_text
from curation.egress.client import EgressClient
from curation.egress.floor import AddressFloor
from curation.execution.seam import ExecutionRequest, ModuleBuild
from curation.lifecycle.outcome import Denied, Failed, RunKey, SessionFailed, SessionRef
from curation.lifecycle.template import Template
from curation.reconciler.jobs.runs import CANCEL_WALL_SECONDS
from curation.wasm.limits import Limits
from curation.wasm.module_bytes import digest_of
from curation.wasm.module_errors import ModuleLoadError, ModuleUnreadable
from curation.wasm.module_limits import limits_of
from curation.wasm.module_size import MAX_MODULE_BYTES

FAILED: Final = 1
DENIED: Final = 3
MAX_INPUT_FILE: Final = 1 << 20
"""Bytes of the text of an input, of which the job's own bound is smaller."""
_RUN_ID: Final = re.compile(r"(?P<uid>[!-.0-~]{1,90})\.g(?P<generation>[0-9]{1,9})\.a(?P<attempt>[1-9][0-9]{0,8})")
_MOST: Final = {"memory": 1 << 30, "response_size": 16 << 20, "output_size": 32 << 10}


class Pair(click.ParamType[tuple[str, str]]):
    """KEY=VALUE."""

    name = "KEY=VALUE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """See click."""
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not equals or not key:
            self.fail(f"{value!r} is not {self.name}", param, ctx)
        return key, text


class RunId(click.ParamType[RunKey]):
    """The id of a run, as a job's status and this command print it."""

    name = "RUN-ID"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> RunKey:
        """See click."""
        if isinstance(value, RunKey):
            return value
        found = _RUN_ID.fullmatch(str(value))
        if found is None:
            self.fail(f"{value!r} is not the id of a run, such as 4a1f0c6e.g1.a1", param, ctx)
        return RunKey(found["uid"], str(value), int(found["generation"]), int(found["attempt"]), "")


@click.command("try", context_settings={"max_content_width": 100})
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--trigger", type=OneOf(Trigger), default=Trigger.SUBMIT, show_default=Trigger.SUBMIT.value)
@click.option("--input", "given", metavar="JSON|@FILE", help="The job's input: a JSON object, or a file; @- is stdin.")
@click.option("--config", type=Pair(), multiple=True, help="A key of the configuration; may be repeated.")
@click.option("--session", metavar="ID", help="The session to observe or cancel.")
@click.option("--run", type=RunId(), help="The run's id, as to cancel what an earlier try has made; else a new one.")
@click.option(
    "--policy",
    "policies",
    type=click.Path(allow_dash=True),
    multiple=True,
    metavar="FILE",
    help="Policies in force: Cedar text, or manifests; may be repeated. Without any, each call is denied.",
)
@click.option("--mock", type=click.Path(allow_dash=True), metavar="FILE", help="Answers, in the place of all services.")
@click.option("--allow-cidr", type=CIDR, multiple=True, help="A private or loopback network that may be reached.")
@click.option("--deny-cidr", type=CIDR, multiple=True, help="A network that may not be reached.")
@click.option("--ca-bundle", type=PEM_FILE, help="A PEM file of authorities to trust, beside the system's.")
@click.option("--limit", "limits", type=Pair(), multiple=True, help="A field of spec.limits, such as cpuSeconds=5.")
@click.option("--module", metavar="NAME", help="Name of the module, which policies know; the file's name by default.")
@click.option("-n", "--namespace", default="default", show_default=True, help="Namespace of the job.")
@click.option("--job", default="try", show_default=True, help="Name of the job.")
@click.option("--label", "labels", type=Pair(), multiple=True, help="A label of the job; may be repeated.")
@output_option(ANSWER_FORMATS)
def try_module(
    file: Path,
    trigger: Trigger,
    given: str | None,
    config: Sequence[tuple[str, str]],
    session: str | None,
    run: RunKey | None,
    policies: Sequence[str],
    mock: str | None,
    allow_cidr: Sequence[Network],
    deny_cidr: Sequence[Network],
    ca_bundle: Path | None,
    limits: Sequence[tuple[str, str]],
    module: str | None,
    namespace: str,
    job: str,
    labels: Sequence[tuple[str, str]],
    output: str | None,
) -> None:
    """Run the module in FILE once, as the operator would, without a cluster.

    Policies decide each call, the address floor counts, the limits of a module hold. Calls that are allowed do leave,
    unless --mock answers them. Exit codes: 0 the run went well, 1 it failed or the module does not fit, 2 wrong usage
    or a file that cannot be used, 3 a call was denied and the run failed of it.
    """
    try:
        floor = AddressFloor(allow_cidr, deny_cidr)
        service = None if mock is None else MockService.of(mock, floor)
        wasm = _wasm(file)
        request = _request(
            wasm, module or _name_of(file), namespace, job, dict(labels), _input(given), dict(config), trigger
        )
        request = replace(
            request,
            run=replace(run, template_digest=request.run.template_digest) if run else request.run,
            module=replace(request.module, limits=_limits(limits, trigger)),
            session=_session(session, trigger),
        )
        book = _book(policies, namespace)
    except PluginError as error:
        raise BadInput(error.message) from None

    async def once() -> Trial:
        if service is not None:
            return await tried(wasm, request, book, service)
        client = EgressClient(floor, ca_bundle=ca_bundle)
        try:
            return await tried(wasm, request, book, client)
        finally:
            await client.close()

    try:
        trial = uvloop.run(once())
    except ModuleLoadError as error:
        raise PluginError("\n".join(f"{file}: {line}" for line in error.message.split("\n"))) from None
    except (ModuleUnreadable, OSError) as error:
        raise PluginError(f"{file} cannot be compiled here: {error}") from None
    if output:
        print_document(as_document(trial), output)
    else:
        click.echo(as_text(trial))
    sys.exit(_exit_code(trial))


def _exit_code(trial: Trial) -> int:
    match trial.report.result:
        case Denied():
            return DENIED
        case Failed() | SessionFailed():
            return FAILED
        case _:
            return 0


def _session(given: str | None, trigger: Trigger) -> SessionRef | None:
    if given is None and trigger is Trigger.OBSERVE:
        raise BadInput("--trigger Observe: say which session is to be observed, with --session ID")
    if given is None:
        return None
    try:
        return SessionRef(parsed(GuestSession, {"id": given}).id)
    except Mistakes as mistakes:
        raise BadInput(f"--session: {mistakes}") from None


def _wasm(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_MODULE_BYTES + 1)
    except OSError as error:
        raise BadInput(f"cannot read {file}: {error.strerror or error}") from None


def _name_of(file: Path) -> str:
    """A name that a CurationModule could have, of a file's."""
    return re.sub(r"[^a-z0-9]+", "-", file.stem.lower())[:52].strip("-") or "module"


def _request(
    wasm: bytes,
    module: str,
    namespace: str,
    job: str,
    labels: dict[str, str],
    given: dict[str, Any],
    config: dict[str, str],
    trigger: Trigger,
) -> ExecutionRequest:
    """What would be run of a job like this one, whose fields are held to what the cluster would hold them to."""
    try:
        parsed(CallDefaults, {"namespace": namespace, "job": job, "labels": labels})
    except Mistakes as mistakes:
        raise BadInput(f"the cluster would refuse such a job: {mistakes}") from None
    document = {
        "metadata": {"name": job, "namespace": namespace, "labels": labels},
        "spec": {"moduleRef": {"name": module}, "input": given, "config": config},
    }
    try:
        spec = read(CurationJob, document).spec
    except Unreadable as error:
        raise BadInput(f"the cluster would refuse such a job: {error.fault.field}: {error.fault.problem}") from None
    template = Template.of(spec)
    if template.problem:
        raise BadInput(template.problem)
    if (size := sum(len(key.encode()) + len(value.encode()) for key, value in config.items())) > MAX_CONFIG_BYTES:
        raise BadInput(f"--config: {size} bytes in all, {MAX_CONFIG_BYTES} are allowed; put larger data in input")
    uid = str(uuid.uuid4())
    return ExecutionRequest(
        trigger=trigger,
        run=RunKey(uid, f"{uid}.g1.a1", 1, 1, template.digest),
        namespace=namespace,
        job=job,
        module=ModuleBuild(module, digest_of(wasm)),
        labels=labels,
        input={} if trigger is Trigger.CANCEL else spec.input,  # as the operator does: what a Cancel needs is in config
        config=config,
    )


def _input(given: str | None) -> dict[str, Any]:
    if given is None:
        return {}
    file, text = "--input", given
    if given.startswith("@"):
        file = given[1:]
        text = read_text(file, MAX_INPUT_FILE)
    try:
        # A file may be YAML, which JSON is too, but for what no JSON parser would let pass.
        documents = loaded(file if file != "--input" else "--input.json", text)
    except Mistakes as mistakes:
        raise BadInput(f"{file}: {mistakes}") from None
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise BadInput(f'{file}: the input of a job is one JSON object, such as {{"message": "hello"}}')
    return documents[0]


def _limits(given: Sequence[tuple[str, str]], trigger: Trigger) -> Limits:
    try:
        fields = ModuleLimits.model_validate(dict(given))
        limits = limits_of(fields)
        unknown = {name for name, _ in given} - {field.alias for field in ModuleLimits.model_fields.values()}
        if unknown:
            known = ", ".join(str(field.alias) for field in ModuleLimits.model_fields.values())
            raise ValueError(f"there is no limit {', '.join(sorted(unknown))}; the limits are {known}")
        for name, most in _MOST.items():
            if not 0 < getattr(limits, name) <= most:
                raise ValueError(
                    f"{ModuleLimits.model_fields[name].alias} must be more than 0 and at most {most} bytes"
                )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise BadInput(f"--limit {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except ValueError as error:
        raise BadInput(f"--limit: {error}") from None
    wall = min(limits.wall_seconds, CANCEL_WALL_SECONDS) if trigger is Trigger.CANCEL else limits.wall_seconds
    return replace(limits, wall_seconds=wall)


def _book(files: Sequence[str], namespace: str) -> PolicyBook:
    """What the files put in force. Raises PluginError for an invalid policy: in a cluster it would not count."""
    book, seen = PolicyBook(), dict[tuple[str | None, str], PolicyText]()
    for text in [text for file in dict.fromkeys(files) for text in policy_texts(file)]:
        place = text.place(namespace)
        if (other := seen.get((place, text.name))) is not None:
            raise PluginError(text.clash_with(other))
        seen[place, text.name] = text
        if place not in (None, namespace):
            note(f"note: {text.label} is of namespace {place}, and does not count in {namespace}")
        check = book.put_policy(place, text.name, text.cedar)
        if not check.valid:
            raise PluginError(f"{text.label}: {check.reason}: {check.message}")
    return book
