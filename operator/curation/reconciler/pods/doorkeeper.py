"""Judges who knocks at the door of guest pods: see `pods.seam.Doorkeeper`.

What is cheap comes first: a stranger chooses the name of an execution. Then the API server says whose the token is, the
pod is read, and the run is bound to it by a write of the job's status. Only after that has landed may it in.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from curation.api.job import RunPod
from curation.cluster.answers import APIError, Created, Refused, Unreachable
from curation.cluster.api import ClusterAPI
from curation.cluster.resources import JOBS, TOKEN_REVIEWS
from curation.lifecycle.outcome import RunKey
from curation.pods.manifest import AUDIENCE, SERVICE_ACCOUNT
from curation.pods.seam import Admitted, Knock, Turned
from curation.reconciler.pods.keeper import PodKeeper
from curation.reconciler.pods.making import JobMaker
from curation.reconciler.runtime.key import Key

log = logging.getLogger(__name__)

REVIEWS_AT_ONCE: Final = 8
WAITING_AT_MOST: Final = 256
"""Knocks that are judged or wait for it; whoever comes beyond that is to come again."""
JUDGE_SECONDS: Final = 15.0
_POD_NAME: Final = "authentication.kubernetes.io/pod-name"
_POD_UID: Final = "authentication.kubernetes.io/pod-uid"

Bind = Callable[[Key, RunKey, RunPod], Awaitable[str]]
"""Why the pod may never speak for the run; empty once the job's status says that it does."""


class PodDoorkeeper:
    """Of one replica; only the one that leads lets anybody in."""

    def __init__(
        self,
        api: ClusterAPI,
        keeper: PodKeeper,
        maker: JobMaker,
        bind: Bind,
        namespace: str,
        leading: Callable[[], bool],
    ) -> None:
        """`namespace` is that of the guests."""
        self._api = api
        self._keeper = keeper
        self._maker = maker
        self._bind = bind
        self._account = f"system:serviceaccount:{namespace}:{SERVICE_ACCOUNT}"
        self._leading = leading
        self._reviews = asyncio.Semaphore(REVIEWS_AT_ONCE)
        self._waiting = 0

    async def judge(self, knock: Knock) -> Admitted | Turned:
        """See the seam."""
        if (turned := self._at_once(knock)) is not None:
            return turned
        self._waiting += 1
        try:
            async with asyncio.timeout(JUDGE_SECONDS):
                return await self._judge(knock)
        except (APIError, Unreachable, TimeoutError) as error:
            return Turned(
                f"it could not be found out whether this is the pod of the run: {error or 'no answer'}", False
            )
        except Exception:
            log.exception("a knock at the door could not be judged")
            return Turned("the operator failed to judge this", False)
        finally:
            self._waiting -= 1

    def _at_once(self, knock: Knock) -> Turned | None:
        """What needs nobody to be asked."""
        if not self._leading():
            return Turned("this replica does not lead: come to another one", False)
        if self._waiting >= WAITING_AT_MOST:
            return Turned("too many knock at a time: come again", False)
        if self._keeper.awaited(knock.execution) is not None:
            return None
        if self._keeper.synced and not self._keeper.has_job(knock.execution):
            return Turned("no such execution awaits a pod", True)
        return Turned("nothing awaits this pod yet: come again", False)

    async def _judge(self, knock: Knock) -> Admitted | Turned:
        async with self._reviews:
            claimed = await self._reviewed(knock.token)
        if isinstance(claimed, Turned):
            return claimed
        name, uid = claimed
        found = await self._maker.find_pod(name)
        awaited = self._keeper.awaited(knock.execution)
        if awaited is None:
            return Turned("nothing awaits this pod any more", False)
        request, job_uid = awaited
        if found is None or found.uid != uid or found.deleted or found.ended:
            return Turned("this pod is gone, or about to be", True)
        if found.job_uid != job_uid:
            return Turned("this pod is not of the Job of that execution", True)
        pod = RunPod(name=name, uid=uid, job_uid=job_uid, node=found.node)
        refusal = await self._bind(Key(JOBS, request.namespace, request.job), request.run, pod)
        if refusal:
            return Turned(refusal, True)
        self._keeper.bound(knock.execution, pod)
        return Admitted(name)

    async def _reviewed(self, token: str) -> tuple[str, str] | Turned:
        """Name and uid of the pod that the API server says this token is of. Never the token into a log."""
        body = {
            "apiVersion": TOKEN_REVIEWS.api_version,
            "kind": TOKEN_REVIEWS.kind,
            "spec": {"token": token, "audiences": [AUDIENCE]},
        }
        match await self._api.create(TOKEN_REVIEWS, None, body):
            case Created(found):
                status = found.get("status") or {}
            case Refused(code, _, message):
                log.error("the API server refuses to review tokens of guest pods: %d %s", code, message[:512])
                return Turned("the operator may not review tokens: apply manifests/components/guest-pods", False)
            case answer:
                return Turned(f"the API server has not said whose the token is: {type(answer).__name__}", False)
        if status.get("authenticated") is not True or AUDIENCE not in (status.get("audiences") or ()):
            # Not for good: a token is renewed, and a review that fails inside the API server is answered so too.
            return Turned("the token is no valid token for this door", False)
        user = status.get("user") or {}
        name, uid = (_first(user, field) for field in (_POD_NAME, _POD_UID))
        if user.get("username") != self._account or not name or not uid:
            return Turned("the token is no token of a guest pod", True)
        return name, uid


def _first(user: Any, field: str) -> str:
    values = (user.get("extra") or {}).get(field) or [""]
    return values[0] if isinstance(values, list) and isinstance(values[0], str) else ""
