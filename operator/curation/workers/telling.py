"""What a worker tells the operator beside the words of its executions: of each call, and its log."""

import asyncio
import json
import logging
import time
from dataclasses import replace
from typing import Final

from curation.api.approval import EvaluatedRequest
from curation.authz.decision import CallContext, Decision
from curation.authz.gate import Gate
from curation.execution.seam import CallEnd, ExecutionRequest
from curation.isolation.channel import Channel
from curation.lifecycle.outcome import Report
from curation.workers.frames import MAX_LOG_BYTES, MAX_POLICIES, MAX_URL, Called, Logged

MAX_LOG_LINES: Final = 256
"""Lines of log in a second; what is over is counted."""


class TimedGate:
    """The gate, and how long each of its decisions took."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.seconds: list[float] = []

    def authorize(self, namespace: str, request: EvaluatedRequest, context: CallContext) -> Decision:
        """See `execution.seam.Authorizer`."""
        started = time.perf_counter()
        decision = self._gate.authorize(namespace, request, context)
        self.seconds.append(time.perf_counter() - started)
        return decision

    def is_still_valid(self, namespace: str, request: EvaluatedRequest, decision: Decision) -> bool:
        """See `execution.seam.Authorizer`."""
        return self._gate.is_still_valid(namespace, request, decision)


class TellingObserver:
    """See `execution.seam.ExecutionObserver`: it tells the operator."""

    def __init__(self, channel: Channel, gate: TimedGate) -> None:
        self._channel = channel
        self._gate = gate

    def on_start(self, request: ExecutionRequest) -> None:
        """The operator has started it."""

    def on_call(self, request: ExecutionRequest, call: CallEnd) -> None:
        """See `execution.seam.ExecutionObserver`."""
        decided, self._gate.seconds = tuple(self._gate.seconds), []
        self._channel.send(
            Called(
                execution=request.execution,
                decision=call.decision,
                code=call.code,
                seconds=call.seconds,
                decided=decided[:64],
                number=call.number,
                method=call.method,
                url=call.url[:MAX_URL],
                policies=call.policies[:MAX_POLICIES],
            ),
            soon=True,
        )

    def on_end(self, request: ExecutionRequest, report: Report, seconds: float) -> None:
        """The operator hears of it."""


class LogFrames(logging.Handler):
    """Hands this process's log to the operator, so many lines a second."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel
        self._loop = asyncio.get_running_loop()
        self._second, self._lines, self._dropped = 0, 0, 0

    def emit(self, record: logging.LogRecord) -> None:
        """See logging. From any thread."""
        try:
            fields = {name: value for name, value in vars(record).items() if name not in _STANDARD}
            text = self.format(record)[: MAX_LOG_BYTES // 4]
            payload = json.dumps({"message": text, "fields": fields}, default=str).encode()
            if len(payload) > MAX_LOG_BYTES:
                payload = json.dumps({"message": text[:1024], "fields": {}}).encode()
            frame = Logged(level=record.levelno, logger=record.name, payload=payload)
            self._loop.call_soon_threadsafe(self._send, frame)
        except Exception:
            self.handleError(record)

    def _send(self, frame: Logged) -> None:
        now = int(time.monotonic())
        if now != self._second:
            if self._dropped:
                text = f"{self._dropped} lines of the log were left out"
                payload = json.dumps({"message": text, "fields": {}}).encode()
                self._channel.send(replace(frame, level=logging.WARNING, payload=payload))
            self._second, self._lines, self._dropped = now, 0, 0
        self._lines += 1
        if self._lines > MAX_LOG_LINES:
            self._dropped += 1
        else:
            self._channel.send(frame)


_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
