"""A git repository that is served over HTTP on the loopback address, by git's own `http-backend`.

`Repository` is a folder of files and a server: write files, commit, and whoever fetches has the commit.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

_IDENTITY = ("-c", "user.name=author", "-c", "user.email=author@example.test", "-c", "commit.gpgsign=false")


class Repository:
    """A context manager; `url` is where it is served."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="curation-git-"))
        self.work = self._folder / "work"
        """The files; `commit` takes them as they are."""
        self._git("init", "--quiet", "--initial-branch=main", str(self.work), cwd=self._folder)
        self._git("init", "--quiet", "--bare", "--initial-branch=main", "served.git", cwd=self._folder)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self._folder))
        self._server.daemon_threads = False
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/served.git"
        self._thread = threading.Thread(target=self._server.serve_forever, name="git server")

    def write(self, files: Mapping[str, str | bytes]) -> None:
        """Make these all the files there are."""
        for path in self.work.iterdir():
            if path.name != ".git":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for name, text in files.items():
            path = self.work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())

    def commit(self, message: str) -> str:
        """Commit what is there, and serve it; returns the commit's id."""
        self._git("add", "--all")
        self._git(*_IDENTITY, "commit", "--quiet", "--allow-empty", "-m", message)
        self._git("push", "--quiet", str(self._folder / "served.git"), "HEAD:main")
        return self._git("rev-parse", "HEAD").strip()

    def _git(self, *arguments: str, cwd: Path | None = None) -> str:
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        return subprocess.run(
            ["git", *arguments], cwd=cwd or self.work, env=environment, check=True, capture_output=True, text=True
        ).stdout

    def __enter__(self) -> Repository:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        shutil.rmtree(self._folder, ignore_errors=True)


def _handler(root: Path) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """CGI, as far as git needs it."""

        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._run()

        def do_POST(self) -> None:
            self._run()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name in the base class)
            pass

        def _run(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            environment = {
                **os.environ,
                "GIT_PROJECT_ROOT": str(root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": parts.path,
                "QUERY_STRING": parts.query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "REMOTE_ADDR": "127.0.0.1",
            }
            said = subprocess.run(
                ["git", "http-backend"], input=body, env=environment, capture_output=True, check=False
            ).stdout
            head, _, content = said.partition(b"\r\n\r\n")
            fields = [line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line]
            status = next((value for name, value in fields if name == "Status"), "200 OK")
            self.send_response(int(status.split()[0]))
            for name, value in fields:
                if name not in ("Status", "Content-Length"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            # The server's end waits for its threads: one would sit on a connection that is kept for 90 s.
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(content)

    return Handler
