"""A checker's process: one question comes in, one answer goes out. It keeps nothing in between."""

import math
import resource
import signal
import socket
import sys
import time

from curation.checking.policy_judgement import judge_policy
from curation.checking.questions import FROM_CHECKER, TO_CHECKER, JudgePolicy, PolicyJudged
from curation.isolation.blocking import BlockingChannel
from curation.isolation.hardening import limit


def main(channel: socket.socket) -> None:
    """Answer until nobody asks any more."""
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    frames = BlockingChannel(channel, outgoing=FROM_CHECKER, incoming=TO_CHECKER)
    while (question := frames.receive()) is not None:
        assert isinstance(question, JudgePolicy)
        # The limit counts from the start of the process, in whole seconds.
        limit(resource.RLIMIT_CPU, math.ceil(time.process_time()) + question.cpu_seconds)
        frames.send(_judged(question))
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
