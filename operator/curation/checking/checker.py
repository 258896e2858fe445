"""A checker's process: one question comes in, one answer goes out. It keeps nothing in between."""

import json
import math
import resource
import signal
import socket
import sys
import time
from datetime import UTC, datetime

from curation.authz.grant import grant_of_wire
from curation.authz.grant_text import grant_text
from curation.checking.authorization import authorize
from curation.checking.policy_judgement import judge_policy
from curation.checking.questions import (
    FROM_CHECKER,
    TO_CHECKER,
    Authorize,
    Authorized,
    GrantWritten,
    JudgePolicy,
    PolicyJudged,
    WriteGrant,
)
from curation.checking.verdict import questions_of_wire
from curation.isolation.blocking import BlockingChannel
from curation.isolation.hardening import limit


def main(channel: socket.socket) -> None:
    """Answer until nobody asks any more."""
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    frames = BlockingChannel(channel, outgoing=FROM_CHECKER, incoming=TO_CHECKER)
    while (question := frames.receive()) is not None:
        assert isinstance(question, JudgePolicy | Authorize | WriteGrant)
        # The limit counts from the start of the process, in whole seconds.
        limit(resource.RLIMIT_CPU, math.ceil(time.process_time()) + question.cpu_seconds)
        match question:
            case JudgePolicy():
                frames.send(_judged(question))
            case Authorize():
                frames.send(_authorized(question))
            case WriteGrant():
                text = grant_text(grant_of_wire(question.namespace, json.loads(question.payload)))
                frames.send(GrantWritten(number=question.number, payload=text.encode()))
        sys.stderr.flush()


def _judged(question: JudgePolicy) -> PolicyJudged:
    judgement = judge_policy(
        question.payload.decode(errors="surrogatepass"), cluster=question.cluster, lint=question.lint
    )
    check = judgement.check
    return PolicyJudged(
        number=question.number,
        valid=check.valid,
        count=check.count,
        reason=check.reason,
        message=check.message,
        warnings=judgement.warnings,
    )


def _authorized(question: Authorize) -> Authorized:
    counts, asked = question.payload[: question.set_bytes], question.payload[question.set_bytes :]
    now = datetime.fromtimestamp(question.now, UTC)
    verdicts = authorize(question.namespace, counts, questions_of_wire(asked), now, question.enough_seconds)
    return Authorized(number=question.number, payload=json.dumps(verdicts, separators=(",", ":")).encode())
