"""Options that every verb takes, before or after its own name, and the step from a verb to the cluster.

kubectl's users put ``-n`` anywhere, so the options are declared on the group and on each verb, and share one
`Settings`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import click
from click.shell_completion import CompletionItem

from curation.cli.access import Cluster, open_cluster

P = ParamSpec("P")
R = TypeVar("R")
E = TypeVar("E", bound=StrEnum)
Command = Callable[..., Any]

OBJECT_FORMATS: Final = ("json", "yaml", "name")
LIST_FORMATS: Final = ("json", "yaml", "wide", "name")
ANSWER_FORMATS: Final = ("json", "yaml")


@dataclass
class Settings:
    """Where to look, as far as the command line says."""

    namespace: str | None = None
    context: str | None = None
    kubeconfig: str | None = None
    request_timeout: float = 10.0


def _keep(ctx: click.Context, param: click.Parameter, value: object) -> None:
    settings = ctx.ensure_object(Settings)
    # While the shell completes, too: names are looked up where -n says.
    if value is not None and param.name is not None:
        setattr(settings, param.name, value)


def cluster_options(command: Command) -> Command:
    """Declare -n, --context, --kubeconfig and --request-timeout; their values land in `Settings`."""
    options = (
        click.option("-n", "--namespace", metavar="NAMESPACE", help="Namespace; default: that of the context."),
        click.option("--context", metavar="CONTEXT", help="Context of the kubeconfig; default: the current one."),
        click.option("--kubeconfig", metavar="FILE", help="The kubeconfig; default: KUBECONFIG, ~/.kube/config."),
        click.option(
            "--request-timeout", type=click.FloatRange(0.1), metavar="SECONDS", help="Of one request; default: 10."
        ),
    )
    for option in reversed(options):
        command = option(command)
    for parameter in getattr(command, "__click_params__", []):
        if parameter.name in Settings.__dataclass_fields__:
            parameter.expose_value, parameter.callback = False, _keep
    return command


all_namespaces_option = click.option(
    "-A", "--all-namespaces", is_flag=True, help="All namespaces, with a column for them."
)


def output_option(formats: tuple[str, ...]) -> Callable[[Command], Command]:
    """Declare -o; the verb gets it as ``output``, None for text."""
    return click.option("-o", "--output", type=click.Choice(formats), help="Print this instead of text.")


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
        settings = click.get_current_context().ensure_object(Settings)

        async def connected() -> R:
            async with open_cluster(
                namespace=settings.namespace,
                context=settings.context,
                kubeconfig=settings.kubeconfig,
                request_timeout=settings.request_timeout,
            ) as cluster:
                return await verb(cluster, *args, **kwargs)

        return asyncio.run(connected())

    return cluster_options(run)
