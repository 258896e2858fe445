"""One process's connection to the model of the API server: what its real client and its real writer send and get.

Before a write is carried out, and before its answer comes, anything else may happen; and so before a read is answered.
"""

import json
from typing import TYPE_CHECKING, Any, Final

from curation.cluster.answers import Failure, Unreachable
from curation.cluster.resources import CONFIG_MAPS, JOBS
from tests.models.apiserver import Reply
from tests.models.documents import NAME, NAMESPACE, Document, placed
from tests.models.executions import Step

if TYPE_CHECKING:
    from tests.models.process import Process

_JOB: Final = JOBS.path(NAMESPACE, NAME)
_STATUS: Final = JOBS.path(NAMESPACE, NAME, "status")
_CONFIG_MAP: Final = CONFIG_MAPS.path(NAMESPACE, "work")
_REASONS: Final = {403: "Forbidden", 404: "NotFound", 409: "Conflict", 422: "Invalid"}


class ModelConnection:
    """Sends a request of one process. See `curation.cluster.connection.Connection.send`."""

    def __init__(self, process: "Process") -> None:
        self._process = process
        self.clock = process.clock

    async def send(
        self, method: str, path: str, *, body: Document | None = None, query: object = None, **_: object
    ) -> Document | Failure:
        """The object, or why there is none. Raises Unreachable if no answer comes."""
        world = self._process.world
        match method, path:
            case "GET", str() if path == _CONFIG_MAP:
                await Step("about to read")
                return self._config_map()
            case "GET", str() if path == _JOB:
                await Step("reading")
                return _answer(world.api.get(NAME))
            case "DELETE", str() if path == _JOB:
                assert body is not None
                wanted = body["preconditions"]
                await Step("about to delete")
                return _answer(world.api.delete(NAME, uid=wanted["uid"], resource_version=wanted["resourceVersion"]))
            case "PATCH", str() if path in (_JOB, _STATUS):
                assert body is not None
                base, report = self._process.known, self._process.settling
                await Step("about to write")
                reply = world.write(base, body, "status" if path == _STATUS else None, report=report)
                await Step("written")
                if reply is None:
                    raise Unreachable("no answer")
                return _answer(reply)
        raise AssertionError(f"the model serves no {method} {path}")

    def _config_map(self) -> Document | Failure:
        contents = self._process.world.contents
        if contents is None:
            return _failure(404, CONFIG_MAPS.plural, "work")
        data = {work: json.dumps({"work": work, "written": contents}) for work in "ABC"}
        return {"metadata": {"name": "work", "namespace": NAMESPACE}, "data": data}


def _answer(reply: Reply) -> Document | Failure:
    return placed(reply.written) if reply.code == 200 else _failure(reply.code, JOBS.plural, NAME)


def _failure(code: int, plural: str, name: str) -> Failure:
    details: dict[str, Any] = {"kind": plural, "name": name}
    return Failure(code, _REASONS[code], "refused", None, details, {})
