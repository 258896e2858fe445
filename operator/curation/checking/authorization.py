"""Whether requests that wait may be made now: the gate, asked with all that counts in their namespace."""

import time
from datetime import datetime
from typing import Any

from curation.authz.book import PolicyBook
from curation.authz.gate import Gate
from curation.checking.verdict import Question, put_set, verdict_to_wire


def authorize(namespace: str, counts: bytes, questions: list[Question], now: datetime, seconds: float) -> list[Any]:
    """The verdicts on the first questions: on one at least, and on no more once so much processor time has passed."""
    book = PolicyBook()
    put_set(book, namespace, counts)
    gate = Gate(book, lambda: now)
    began, verdicts = time.process_time(), list[Any]()
    for question in questions:
        decision = gate.authorize(namespace, question.request, question.context)
        try:
            by = book.effective(namespace, question.request.trigger, now)
            verdicts.append(verdict_to_wire(decision, by.since, by.until))
        except ValueError:  # then the gate has denied it, and says so
            verdicts.append(verdict_to_wire(decision, None, None))
        if time.process_time() - began > seconds:
            break
    return verdicts
