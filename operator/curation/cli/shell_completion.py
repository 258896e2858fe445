"""Names that the shell can complete. Completion is a convenience: whatever goes wrong, it offers nothing."""

import asyncio
import logging

import click
from click.shell_completion import CompletionItem

from curation.api.names import GROUP
from curation.cli.access import open_cluster
from curation.cli.options import AccessOptions
from curation.cluster.answers import Document
from curation.cluster.resources import APPROVALS, JOBS, MODULES, ResourceKind

# A shell that hangs on TAB is worse than one that completes nothing.
PATIENCE_SECONDS = 3.0


class NameOf(click.ParamType[str, object]):
    """The name of an object of one kind, completed from the cluster; ``KIND/NAME``, as kubectl prints it, will do."""

    def __init__(self, kind: ResourceKind, *, decisions: frozenset[str] = frozenset()) -> None:
        self.name = kind.kind
        self.kind = kind
        self.decisions = decisions

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Take ``curationjob/x`` and ``curationjob.curation.dev/x`` for ``x``; refuse what cannot be a name."""
        prefix, slash, name = str(value).rpartition("/")
        kinds = {alias for word in (self.kind.kind.lower(), self.kind.plural) for alias in (word, f"{word}.{GROUP}")}
        if slash and prefix.lower() not in kinds:
            self.fail(f"{value!r} is not the name of a {self.kind.kind}", param, ctx)
        if not name or not all(char.isascii() and (char.isalnum() or char in "-.") for char in name):
            self.fail(f"{value!r} is not the name of a {self.kind.kind}: letters, digits, '-' and '.'", param, ctx)
        return name

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The names in the namespace that begin like this."""
        settings = ctx.ensure_object(AccessOptions)
        logging.disable()
        try:
            documents = asyncio.run(asyncio.wait_for(self._documents(settings), PATIENCE_SECONDS))
        except (Exception, click.ClickException):
            return []
        names = sorted(document["metadata"]["name"] for document in documents if self._fits(document))
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]

    async def _documents(self, settings: AccessOptions) -> list[Document]:
        async with open_cluster(
            namespace=settings.namespace,
            kubeconfig=settings.kubeconfig,
            request_timeout=PATIENCE_SECONDS,
            overrides=settings.overrides,
        ) as cluster:
            return await cluster.list(self.kind)

    def _fits(self, document: Document) -> bool:
        return not self.decisions or document.get("spec", {}).get("decision") in self.decisions


JOB = NameOf(JOBS)
MODULE = NameOf(MODULES)
PENDING_APPROVAL = NameOf(APPROVALS, decisions=frozenset({"Pending"}))
APPROVED_APPROVAL = NameOf(APPROVALS, decisions=frozenset({"Approved"}))
