"""A checker that does what a text tells it to, as a policy might bring Cedar to do it."""

import ctypes
import os
import signal
import socket
import time
from typing import Any

from curation.checking import checker
from curation.checking.authorization import authorize
from curation.checking.judgement import PolicyJudgement
from curation.checking.policy_judgement import judge_policy
from curation.checking.verdict import Question


def main(channel: socket.socket) -> None:
    def judged(text: str, **options: Any) -> PolicyJudgement:
        what, _, argument = text.removeprefix("// ").partition(" ")
        if not text.startswith("// "):
            return judge_policy(text, **options)
        match what:
            case "spin":
                while True:
                    pass
            case "memory":
                bytearray(1 << 30)
            case "crash":
                ctypes.string_at(0)
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "sleep":
                time.sleep(float(argument))
            case "once":  # dies of it the first time alone
                try:
                    os.mkdir(argument)  # noqa: PTH102 - a mark, whatever else happens
                except FileExistsError:
                    return judge_policy("", **options)
                os._exit(3)
        return judge_policy(text, **options)

    def authorized(namespace: str, counts: bytes, questions: list[Question], *more: Any) -> list[Any]:
        while any(question.request.path == "/spin" for question in questions):
            pass
        return authorize(namespace, counts, questions, *more)

    vars(checker)["authorize"] = authorized
    vars(checker)["judge_policy"] = judged
    checker.main(channel)
