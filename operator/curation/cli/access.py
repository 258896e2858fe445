"""The cluster as a person's command sees it: their kubeconfig, their namespace, and errors in words.

Every read and write of kubectl-curation passes here, and on to `curation.cluster`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final, NoReturn, TypeVar

from curation.api.reading import Unreadable, read
from curation.api.schema import ResourceModel
from curation.cli.errors import ChangedMeanwhile, Forbidden, Invalid, NotFound, PluginError
from curation.cluster.answers import APIError, Document, Failure, Unreachable
from curation.cluster.api import ClusterAPI
from curation.cluster.connection import Connection, connect
from curation.cluster.credentials import ConfigurationError
from curation.cluster.kubeconfig import Overrides
from curation.cluster.personal import personal_environ
from curation.cluster.resources import ResourceKind
from curation.cluster.writer import MERGE_PATCH

CLI_FIELD_MANAGER: Final = "curation"
"""Who the plugin is in metadata.managedFields."""
_SELF: Final = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
_MAY: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_REVIEW: Final[Document] = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}

M = TypeVar("M", bound=ResourceModel)


class Cluster:
    """One connection, and the namespace that the command is about."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self.namespace = namespace
        self.server = connection.server
        self.connection = connection
        self._connection = connection
        self._api = ClusterAPI(connection)

    def within(self, namespace: str) -> "Cluster":
        """The same connection, for a command about another namespace."""
        return Cluster(self._connection, namespace)

    def now(self) -> datetime:
        """The API server's time, once it has answered anything."""
        return self._connection.clock.now()

    def namespace_of(self, kind: ResourceKind) -> str | None:
        """The namespace to ask in: None for a cluster-scoped type."""
        return self.namespace if kind.namespaced else None

    async def find(self, kind: ResourceKind, name: str) -> Document | None:
        """The object, or None."""
        try:
            found = await self._api.get(kind, self.namespace_of(kind), name)
        except (APIError, Unreachable) as error:
            self._fail(error, f"get {self.named(kind, name)}", kind)
        return found

    async def get(self, kind: ResourceKind, name: str) -> Document:
        """The object; an error that says where it was searched if there is none."""
        found = await self.find(kind, name)
        if found is None:
            raise NotFound(
                f"there is no {self.named(kind, name)}; list them with: kubectl get {kind.plural}{self.flag(kind)}"
            )
        return found

    async def list(
        self,
        kind: ResourceKind,
        *,
        everywhere: bool = False,
        field_selector: str | None = None,
        label_selector: str | None = None,
    ) -> list[Document]:
        """All objects of the namespace, or of all namespaces, each with its apiVersion and kind."""
        namespace = None if everywhere else self.namespace_of(kind)
        try:
            items = await self._api.list(kind, namespace, field_selector=field_selector, label_selector=label_selector)
        except (APIError, Unreachable) as error:
            where = "all namespaces" if namespace is None else f"namespace {namespace}"
            self._fail(error, f"list {kind.plural} in {where}", kind)
        return [{"apiVersion": kind.api_version, "kind": kind.kind, **item} for item in items]

    async def patch(self, kind: ResourceKind, seen: Document, body: Document, *, dry_run: bool = False) -> Document:
        """Merge ``body`` into the object as it was ``seen``; the object after it.

        Raises `ChangedMeanwhile` when it is no longer as it was seen.
        """
        metadata = seen["metadata"]
        conditioned = {
            **body,
            "metadata": {**body.get("metadata", {}), "resourceVersion": metadata["resourceVersion"]},
        }
        query = {
            "fieldManager": CLI_FIELD_MANAGER,
            "fieldValidation": "Strict",
            **({"dryRun": "All"} if dry_run else {}),
        }
        doing = f"change {self.named(kind, metadata['name'])}"
        try:
            answer = await self._connection.send(
                "PATCH",
                kind.path(metadata.get("namespace"), metadata["name"]),
                query=query,
                body=conditioned,
                content_type=MERGE_PATCH,
            )
        except Unreachable as error:
            raise PluginError(
                f'the answer to "{doing}" was lost, so it may or may not be done: {error}; check before you repeat it'
            ) from None
        if isinstance(answer, Failure):
            if answer.code == 409:
                raise ChangedMeanwhile
            self._fail(answer.error(), doing, kind)
        return answer

    async def whoami(self) -> str:
        """The name by which the API server knows who asks; empty where it does not say."""
        try:
            answer = await self._connection.send("POST", _SELF, body=_REVIEW)
        except Unreachable:
            return ""
        return "" if isinstance(answer, Failure) else str(answer["status"]["userInfo"].get("username", ""))

    async def may(self, kind: ResourceKind, verb: str, name: str) -> bool:
        """Whether the API server says that this person may do that; False where it does not say."""
        attributes = {"group": kind.group, "resource": kind.plural, "verb": verb, "name": name}
        if kind.namespaced:
            attributes["namespace"] = self.namespace
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        try:
            answer = await self._connection.send("POST", _MAY, body=body)
        except Unreachable:
            return False
        return not isinstance(answer, Failure) and bool(answer.get("status", {}).get("allowed"))

    def named(self, kind: ResourceKind, name: str) -> str:
        """How errors call an object: ``CurationJob demo/build``."""
        return f"{kind.kind} {self.namespace}/{name}" if kind.namespaced else f"{kind.kind} {name}"

    def flag(self, kind: ResourceKind | None = None) -> str:
        """`` -n NAMESPACE``, for commands that are shown to be copied."""
        return f" -n {self.namespace}" if kind is None or kind.namespaced else ""

    def _fail(self, error: APIError | Unreachable, doing: str, kind: ResourceKind) -> NoReturn:
        if isinstance(error, Unreachable):
            raise PluginError(f"the API server {self.server} gave no answer: {error}") from None
        said = error.message.strip() or error.reason
        match error.code:
            case 401:
                raise PluginError(
                    f"cannot {doing}: the API server {self.server} does not accept your credentials; log in again"
                ) from None
            case 403:
                raise Forbidden(f"you may not {doing}: {said}", said) from None
            case 404 if "the server could not find the requested resource" in said or "page not found" in said:
                raise PluginError(
                    f"cannot {doing}: the API server {self.server} does not know {kind.plural}.{kind.group}; "
                    "install the CRDs with: kubectl apply --server-side -k crds/"
                ) from None
            case 404:
                raise NotFound(f"cannot {doing}: {said}") from None
            case 400 | 422:
                raise Invalid(f"cannot {doing}: {said}", said) from None
            case code:
                raise PluginError(f"cannot {doing}: the server answered {code} {error.reason}: {said}") from None


def parse(model: type[M], document: Document) -> M:
    """The object as our model; an error that names the object and the field when it is of another make."""
    try:
        return read(model, document)
    except Unreadable as error:
        raise PluginError(f"{_called(model, document)} cannot be read: {error}") from None


def parse_all(model: type[M], documents: list[Document]) -> tuple[list[tuple[Document, M]], list[tuple[Document, str]]]:
    """Each object with its model, and each that cannot be read with why: one never hides the others."""
    readable, unreadable = list[tuple[Document, M]](), list[tuple[Document, str]]()
    for document in documents:
        try:
            readable.append((document, read(model, document)))
        except Unreadable as error:
            unreadable.append((document, str(error)))
    return readable, unreadable


def unreadable_line(model: type[ResourceModel], document: Document, problem: str, effect: str) -> str:
    """One sentence about an object that was left out, and what that means for the answer."""
    return f"{_called(model, document)} cannot be read: {effect} ({problem})"


def _called(model: type[ResourceModel], document: Document) -> str:
    metadata: dict[str, Any] = document.get("metadata", {})
    return f"{model.__name__} " + f"{metadata.get('namespace', '')}/{metadata.get('name', '')}".lstrip("/")


@asynccontextmanager
async def open_cluster(
    *, namespace: str | None, kubeconfig: str | None, request_timeout: float, overrides: Overrides
) -> AsyncIterator[Cluster]:
    """Connect as the command line and the environment say; nothing is sent yet."""
    try:
        connection = await connect(
            request_timeout=request_timeout, parallel_calls=8, environ=personal_environ(kubeconfig), overrides=overrides
        )
    except ConfigurationError as error:
        remedy = "; list the contexts with: kubectl config get-contexts" if overrides.context else ""
        raise PluginError(f"{error}{remedy}") from None
    async with connection:
        yield Cluster(connection, namespace or connection.default_namespace or "default")
