"""Runs the shipped component with wasmtime's public API against a real HTTP service, without any of the operator.

What the module does is thus tested apart from what the operator makes of it. The host function here is a plain HTTP
client that adds the run's headers, as the contract says; `refuse` makes the host refuse instead, and `answer` is a body
that no service of ours would answer.
"""

import asyncio
import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import wasmtime
from wasmtime import component

COMPONENT = Path(__file__).resolve().parents[2] / "operator/curation/wasm/builtins/build-session-message-v1.wasm"
UID = "4a1f0c6e-0000-4000-8000-000000000001"


@dataclass
class Harness:
    """One job's view of the module: its config and input, and what the module asked of the host."""

    config: dict[str, Any]
    input: Any = field(default_factory=lambda: {"message": "hello"})
    generation: int = 3
    attempt: int = 1
    refuse: dict[str, str] | None = None
    answer: str | None = None
    calls: list[str] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    said: str = ""
    """Its last result or error, word for word."""
    logged: list[tuple[str, str]] = field(default_factory=list)

    @property
    def run_id(self) -> str:
        return f"{UID}.g{self.generation}.a{self.attempt}"

    def context(self, trigger: str, session: Any = None) -> dict[str, Any]:
        """The document that the operator gives."""
        return {
            "trigger": trigger,
            "run": {"id": self.run_id, "generation": self.generation, "attempt": self.attempt},
            "annotations": {"curation.dev/run-id": self.run_id},
            "job": {"namespace": "team-a", "name": "clean", "uid": UID, "labels": {"team": "a"}},
            "input": self.input,
            "config": self.config,
            "session": session,
            "deadline": "2030-01-01T00:00:00Z",
        }

    async def run(self, trigger: str, session: Any = None) -> tuple[bool, dict[str, Any]]:
        """Invokes the module once: whether it succeeded, and its result or error document."""
        return await self.run_text(json.dumps(self.context(trigger, session)))

    async def run_text(self, context: str) -> tuple[bool, dict[str, Any]]:
        """Invokes the module with any text as the context."""
        trigger = str(json.loads(context).get("trigger")) if context.startswith("{") else ""
        return await asyncio.to_thread(self._run, context, trigger)

    def _run(self, context: str, trigger: str) -> tuple[bool, dict[str, Any]]:
        engine, module = _compiled()
        with component.Linker(engine) as linker:
            with linker.root() as root, root.add_instance("curation:guest/host@0.1.0") as host:
                host.add_func("http-call", lambda _store, request: self._http_call(request, trigger))
                host.add_func("log", lambda _store, level, message: self.logged.append((level, message)))
            with wasmtime.Store(engine) as store:
                run = linker.instantiate(store, module).get_func(store, "run")
                assert run is not None
                result = run(store, context)
                run.post_return(store)
        self.said = result.payload
        return result.tag == "ok", json.loads(result.payload)

    def _http_call(self, document: str, trigger: str) -> component.Variant:
        asked = json.loads(document)
        assert set(asked) == {"method", "url", "headers", "body"}
        self.asked.append(asked)
        self.calls.append(f"{asked['method']} {asked['url']}")
        if self.refuse is not None:
            return component.Variant("err", json.dumps(self.refuse))
        if self.answer is not None:
            return component.Variant("ok", json.dumps({"status": 200, "headers": {}, "body": self.answer}))
        headers = {
            **asked["headers"],
            "Curation-Run-Id": self.run_id,
            "Curation-Generation": str(self.generation),
            "Curation-Attempt": str(self.attempt),
            "Curation-Trigger": trigger,
        }
        body = None if asked["body"] is None else asked["body"].encode()
        request = urllib.request.Request(asked["url"], body, headers, method=asked["method"])
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                status, text = error.code, error.read().decode()
        except OSError as error:
            return component.Variant("err", json.dumps({"code": "unavailable", "message": str(error)}))
        return component.Variant("ok", json.dumps({"status": status, "headers": {}, "body": text}))


@cache
def _compiled() -> tuple[wasmtime.Engine, component.Component]:
    engine = wasmtime.Engine()
    return engine, component.Component.from_file(engine, str(COMPONENT))
