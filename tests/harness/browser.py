"""A real headless Chromium, driven by the DevTools protocol: no driver, no library beside aiohttp."""

import asyncio
import base64
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp

SECONDS = 120.0
"""How long a page may take for what takes a moment on an idle machine."""

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WHY_NOT = "there is no Chromium on the PATH: apt-get install chromium"
_KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "ArrowDown": 40}


@contextmanager
def browser(folder: Path) -> Iterator[str]:
    """Starts the browser; the address of its DevTools. Nothing of it is left at the end."""
    assert PROGRAM is not None
    profile = folder / "profile"
    command = [
        PROGRAM,
        "--headless=new",
        "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
        "--no-first-run",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--window-size=1280,900",
        # Its sandbox needs what root in a container does not have.
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
        "about:blank",
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, cwd=folder
    )
    try:
        port = profile / "DevToolsActivePort"
        deadline = time.monotonic() + SECONDS
        while not port.exists() or not port.read_text().strip():
            assert process.poll() is None, f"{PROGRAM} has ended with {process.returncode}"
            assert time.monotonic() < deadline, f"{PROGRAM} does not start"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port.read_text().split()[0]}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Page:
    """One page of the browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.complaints: list[str] = []
        """What the page's console and its security policy complain of."""
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._socket:
            heard = json.loads(message.data)
            waiting = self._waiting.pop(heard.get("id", 0), None)
            if waiting is not None and not waiting.done():
                waiting.set_result(heard)
            elif heard.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(heard["params"]["exceptionDetails"])[:500])
            elif heard.get("method") == "Log.entryAdded" and heard["params"]["entry"]["level"] == "error":
                entry = heard["params"]["entry"]
                self.complaints.append(f"{entry['text']} {entry.get('url', '')}")

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol, and its result."""
        self._number += 1
        waiting = self._waiting[self._number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        async with asyncio.timeout(SECONDS):
            answer = await waiting
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: dict[str, Any] = answer["result"]
        return result

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page; of a promise, what it comes to."""
        answer = await self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, f"{expression}: {answer['exceptionDetails']}"
        return answer["result"].get("value")

    async def until(self, condition: str) -> None:
        """Wait until the expression is true."""
        deadline = time.monotonic() + SECONDS
        while not await self.evaluate(f"Boolean({condition})"):
            if time.monotonic() > deadline:
                text = await self.evaluate("document.body.innerText")
                raise AssertionError(f"waited in vain until {condition}; the page says:\n{text}\n{self.complaints}")
            await asyncio.sleep(0.05)

    async def text(self) -> str:
        """What a person reads."""
        return str(await self.evaluate("document.body.innerText"))

    async def open(self, url: str) -> None:
        """Go there."""
        await self.send("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def click(self, selector: str) -> None:
        """Click with the mouse, as a person does: on what lies at the middle of the element."""
        await self.until(f"document.querySelector({selector!r})?.getClientRects().length")
        box = await self.evaluate(
            f"(() => {{ const e = document.querySelector({selector!r}); e.scrollIntoView({{block: 'center'}});"
            "const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.send("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    async def type(self, text: str) -> None:
        """Type into what has the focus."""
        await self.send("Input.insertText", text=text)

    async def press(self, key: str) -> None:
        """Press one key."""
        text = {"Enter": "\r", " ": " "}.get(key, "")
        code = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": _KEYS[key]}
        await self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **code)
        await self.send("Input.dispatchKeyEvent", type="keyUp", **code)

    async def tab_to(self, selector: str, most: int = 60) -> None:
        """Reach an element by the Tab key alone."""
        for _ in range(most):
            if await self.evaluate(f"document.activeElement?.matches({selector!r}) ?? false"):
                return
            await self.press("Tab")
        raise AssertionError(f"{selector} is not reached by {most} times Tab")

    async def spoken(self) -> list[tuple[str, str]]:
        """Role and name of all that a screen reader is told."""
        nodes = (await self.send("Accessibility.getFullAXTree"))["nodes"]
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node.get("ignored") and "role" in node
        ]

    async def look(self, scheme: str) -> None:
        """Prefer light or dark."""
        await self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    async def picture(self) -> bytes:
        """A PNG of what is seen."""
        return base64.b64decode((await self.send("Page.captureScreenshot", format="png"))["data"])

    async def close(self) -> None:
        """Stop listening."""
        await self._socket.close()
        await asyncio.gather(self._reading, return_exceptions=True)


@asynccontextmanager
async def page(devtools: str) -> AsyncIterator[Page]:
    """A new page of the browser, closed at the end."""
    async with aiohttp.ClientSession() as session:
        async with session.put(f"{devtools}/json/new?about:blank") as answer:
            target = await answer.json()
        async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            found = Page(socket)
            for domain in ("Page", "Runtime", "Log", "Accessibility"):
                await found.send(f"{domain}.enable")
            try:
                yield found
            finally:
                await found.close()
        async with session.get(f"{devtools}/json/close/{target['id']}"):
            pass
