"""Options that every verb takes, before or after its own name, and the step from a verb to the cluster.

kubectl's users put ``-n`` anywhere, so the options are declared on the group and on each verb, and share one
`AccessOptions`.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import click
from click.shell_completion import CompletionItem

from curation.cli.access import Cluster, open_cluster
from curation.cluster.kubeconfig import Overrides

P = ParamSpec("P")
R = TypeVar("R")
E = TypeVar("E", bound=StrEnum)
Command = Callable[..., Any]

OBJECT_FORMATS: Final = ("json", "yaml", "name")
LIST_FORMATS: Final = ("json", "yaml", "wide", "name")
ANSWER_FORMATS: Final = ("json", "yaml")


@dataclass
class AccessOptions:
    """Which cluster and namespace, as far as the command line says."""

    namespace: str | None = None
    kubeconfig: str | None = None
    request_timeout: float = 10.0
    given: dict[str, Any] = field(default_factory=dict)
    """Fields of `Overrides`."""

    @property
    def overrides(self) -> Overrides:
        """What is said instead of the kubeconfig."""
        return Overrides(**self.given)


_OVERRIDES: Final = frozenset(Overrides.__dataclass_fields__)


def _keep(ctx: click.Context, param: click.Parameter, value: object) -> None:
    settings = ctx.ensure_object(AccessOptions)
    # While the shell completes, too: names are looked up where -n says.
    if value in (None, (), False) or param.name is None:
        return
    if param.name not in _OVERRIDES:
        setattr(settings, param.name, value)
    elif isinstance(value, tuple):
        settings.given[param.name] = settings.given.get(param.name, ()) + value
    else:
        settings.given[param.name] = value


class Timeout(click.ParamType[float, object]):
    """kubectl's: a number of seconds, or a Go duration such as ``1m30s``; 0 is no limit."""

    name = "timeout"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        if isinstance(value, int | float):
            return float(value)
        text = str(value)
        if _NUMBER.fullmatch(text):
            return float(text)
        if not _GO_DURATION.fullmatch(text):
            self.fail(f"{text!r} is not a number of seconds, or a length of time such as 30s or 1m30s", param, ctx)
        return sum(float(number) * _UNITS[unit] for number, unit in _GO_PART.findall(text))


_NUMBER: Final = re.compile(r"[0-9]{1,9}(\.[0-9]*)?")
_GO_PART: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]*)?)(ms|us|\u00b5s|ns|s|m|h)")
_GO_DURATION: Final = re.compile(rf"({_GO_PART.pattern})+")
_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "\u00b5s": 1e-6, "ns": 1e-9}


def cluster_options(command: Command, *, all_shown: bool = False) -> Command:
    """Declare kubectl's options about the cluster and who one is to it; their values land in `AccessOptions`.

    A verb's help shows those that people use every day, the group's, with ``all_shown``, all of them.
    """

    def text(*names: str, metavar: str, help: str, multiple: bool = False) -> Callable[[Command], Command]:  # noqa: A002
        return click.option(*names, metavar=metavar, help=help, multiple=multiple, hidden=not all_shown)

    def flag(name: str, help: str) -> Callable[[Command], Command]:  # noqa: A002
        return click.option(name, is_flag=True, help=help, hidden=not all_shown)

    options = (
        click.option("-n", "--namespace", metavar="NAMESPACE", help="Namespace; default: that of the context."),
        click.option("--context", metavar="CONTEXT", help="Context of the kubeconfig; default: the current one."),
        click.option("--kubeconfig", metavar="FILE", help="The kubeconfig; default: KUBECONFIG, ~/.kube/config."),
        click.option(
            "--request-timeout",
            type=Timeout(),
            metavar="30s",
            help="Longest time for one request; default: 10s; 0: no limit.",
        ),
        text("--cluster", metavar="NAME", help="Cluster of the kubeconfig."),
        text("--user", metavar="NAME", help="User of the kubeconfig."),
        text("-s", "--server", metavar="URL", help="The API server's address."),
        text("--token", metavar="TOKEN", help="Bearer token."),
        text("--username", metavar="NAME", help="User name for basic authentication."),
        text("--password", metavar="PASSWORD", help="Password for basic authentication."),
        text("--client-certificate", metavar="FILE", help="Client certificate."),
        text("--client-key", metavar="FILE", help="Key of the client certificate."),
        text(
            "--certificate-authority", metavar="FILE", help="Authorities that may have signed the server's certificate."
        ),
        text("--tls-server-name", metavar="NAME", help="Name that the server's certificate must have."),
        flag("--insecure-skip-tls-verify", "Trust any server."),
        flag("--disable-compression", "Ask for answers that are not compressed."),
        text("--as", "as_user", metavar="USER", help="Whom to impersonate."),
        text("--as-uid", metavar="UID", help="The uid to impersonate."),
        text("--as-group", metavar="GROUP", multiple=True, help="A group to impersonate; may be repeated."),
        text("--as-user-extra", metavar="KEY=VALUE", multiple=True, help="An extra to impersonate; may be repeated."),
    )
    for option in reversed(options):
        command = option(command)
    for parameter in getattr(command, "__click_params__", []):
        if parameter.name in _OVERRIDES or parameter.name in AccessOptions.__dataclass_fields__:
            parameter.expose_value, parameter.callback = False, _keep
    return command


FLAGS: Final = ("--insecure-skip-tls-verify", "--disable-compression")


class Group(click.Group):
    """Takes flags as kubectl does: ``--flag``, ``--flag=true`` and ``--flag=false``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click."""
        plain: list[str] = []
        for position, arg in enumerate(args):
            if arg == "--":
                plain += args[position:]
                break
            name, equals, value = arg.partition("=")
            if not equals or name not in FLAGS:
                plain.append(arg)
            elif value.lower() in ("true", "t", "1"):
                plain.append(name)
            elif value.lower() not in ("false", "f", "0"):
                raise click.UsageError(f"{name} is true or false, not {value!r}", ctx)
        return super().parse_args(ctx, plain)


all_namespaces_option = click.option(
    "-A", "--all-namespaces", is_flag=True, help="All namespaces, with a column for them."
)


def output_option(formats: tuple[str, ...]) -> Callable[[Command], Command]:
    """Declare -o; the verb gets it as ``output``, None for text."""
    return click.option("-o", "--output", type=click.Choice(formats), help="Print this format instead of text.")


class OneOf(click.ParamType[E, object]):
    """One of the values of an enumeration, as Kubernetes spells it; case does not matter."""

    def __init__(self, words: type[E]) -> None:
        self.name = "|".join(words)
        self._words = words

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Show the words in the help."""
        return self.name

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> E:
        """The member."""
        found = next((word for word in self._words if word.lower() == str(value).lower()), None)
        if found is None:
            self.fail(f"{value!r} is none of {', '.join(self._words)}", param, ctx)
        return found

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The words that begin like this."""
        return [CompletionItem(word) for word in self._words if word.lower().startswith(incomplete.lower())]


def with_cluster(
    verb: Callable[Concatenate[Cluster, P], Awaitable[R]],
) -> Callable[P, R]:
    """Run an asynchronous verb with a connection to the cluster that the options name."""

    @wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        settings = click.get_current_context().ensure_object(AccessOptions)

        async def connected() -> R:
            async with open_cluster(
                namespace=settings.namespace,
                kubeconfig=settings.kubeconfig,
                request_timeout=settings.request_timeout,
                overrides=settings.overrides,
            ) as cluster:
                return await verb(cluster, *args, **kwargs)

        return asyncio.run(connected())

    return cluster_options(run)
