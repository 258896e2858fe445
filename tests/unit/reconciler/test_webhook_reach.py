"""What the leader says of the webhook, by what the API server answers to its dry run."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from curation.admission.reviews import REACHED
from curation.api.approval import CurationApproval
from curation.cluster.answers import Created, Creation, Exists, Refused, Throttled, Unknown
from curation.reconciler.process.webhook_reach import WebhookReach
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.metrics import Metrics

WARNED = (f'299 - "{REACHED}"',)
OURS = 'Internal error occurred: failed calling webhook "probe.curation.dev": failed to call webhook: x509: unknown'
ANOTHERS = 'Internal error occurred: failed calling webhook "another.example.com": no route to host'


class Server:
    """Answers with what a test has set."""

    def __init__(self) -> None:
        self.answer: Creation = Created({})
        self.warnings: tuple[str, ...] = WARNED
        self.sent: list[Any] = []

    async def try_to_create(self, kind: object, namespace: str, body: Any) -> tuple[Creation, tuple[str, ...]]:
        self.sent.append((namespace, body))
        return self.answer, self.warnings


def made(server: Server, *namespaces: str) -> tuple[WebhookReach, Metrics]:
    metrics = Metrics()
    settings = SimpleNamespace(namespaces=namespaces, lease=SimpleNamespace(namespace="curation-system"))
    context = cast(Context, SimpleNamespace(api=server, metrics=metrics, settings=settings))
    return WebhookReach(context, lambda: True), metrics


def value(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("curation_webhook_reached", {"webhook": "policies.curation.dev"})


@pytest.mark.parametrize(
    ("answer", "warnings", "after", "said"),
    [
        (Created({}), WARNED, 1, "the API server reaches the webhook"),
        (Exists(), ('299 - "of another"', *WARNED), 1, "the API server reaches the webhook"),
        (Created({}), (), 0, "does not ask the webhook"),
        (Created({}), ('299 - "of another"',), 0, "does not ask the webhook"),
        (Exists(), (), 0, "does not ask the webhook"),
        (Unknown(f"500 InternalError: {OURS}"), (), 0, "x509: unknown"),
        (Unknown(f"500 InternalError: {ANOTHERS}"), (), None, ""),
        (Unknown("no answer within 10 s"), (), None, ""),
        (Throttled(1), (), None, ""),
        (
            Refused(403, "Forbidden", "cannot create"),
            (),
            None,
            "does not say whether it reaches the webhook: 403 cannot",
        ),
    ],
)
async def test_each_answer_is_said_once_and_counts_for_what_it_is(
    answer: Creation, warnings: tuple[str, ...], after: int | None, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()
    server.answer, server.warnings = answer, warnings
    reach, metrics = made(server)
    caplog.set_level("INFO")
    assert [await reach.look() for _ in range(2)] == [after == 1] * 2
    assert value(metrics) == after
    assert [said in record.getMessage() for record in caplog.records] == ([True] if said else [])


async def test_what_is_no_longer_known_is_no_longer_shown() -> None:
    server = Server()
    reach, metrics = made(server)
    await reach.look()
    server.answer, server.warnings = Throttled(1), ()
    await reach.look()
    assert value(metrics) == 1, "a server that is busy says nothing"
    server.answer = Refused(403, "Forbidden", "cannot create")
    await reach.look()
    assert value(metrics) is None


async def test_it_looks_in_a_namespace_where_it_may_create_approvals_with_one_that_is_valid() -> None:
    server = Server()
    for namespaces, expected in (((), "curation-system"), (("team-a", "team-b"), "team-a")):
        reach, _ = made(server, *namespaces)
        await reach.look()
        namespace, body = server.sent.pop()
        assert namespace == body["metadata"]["namespace"] == expected
        CurationApproval.model_validate(body | {"metadata": {**body["metadata"], "uid": "u", "resourceVersion": "1"}})
