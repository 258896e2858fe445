"""The agent as a process, for tests: started, set up to fail, asked what it has."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 60


class AgentProcess:
    """A running agent. Its JSON-RPC is at `rpc`, its HTTP+JSON at `url`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.rpc = f"{url}/a2a"

    def control(self, **faults: Any) -> None:
        """Set what goes wrong (`faults.py`), instead of all that did."""
        self._asked(f"{self.url}/control", faults)

    def calls(self) -> list[str]:
        """What was called, from the start of the process."""
        calls: list[str] = self._asked(f"{self.url}/control")["calls"]
        return calls

    def tasks(self, context: str = "") -> dict[str, str]:
        """The states of a context's tasks, or of all, by their ids, as the agent itself has them."""
        found = self._asked(f"{self.url}/tasks?contextId={context}")["tasks"]
        return {task["id"]: task["status"]["state"].removeprefix("TASK_STATE_") for task in found}

    def start(self, text: str, context: str) -> None:
        """Start a task that no run has made."""
        message = {"messageId": "m", "role": "ROLE_USER", "contextId": context, "parts": [{"text": text}]}
        self._asked(f"{self.url}/message:send", {"message": message, "configuration": {"returnImmediately": True}})

    def _asked(self, url: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"A2A-Version": "1.0", "Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            return json.load(answer)


@contextmanager
def agent_process() -> Iterator[AgentProcess]:
    """Start the agent, and end it."""
    command = [sys.executable, "-m", "testing.agent"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield AgentProcess(process.stdout.readline().strip())
        finally:
            process.kill()
