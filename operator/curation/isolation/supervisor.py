"""The supervisor: serves templates at a Unix socket, for a parent in another container. The first process of its own.

Whoever connects and asks gets a template whose channel is that very connection: see `template`. It ends with the
connection, and all its children with it. There is one of each kind at a time: a new connection ends the one before,
whose other end is gone or has been replaced. It holds nothing and keeps nothing.
"""

import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import Final

from curation.isolation.hardening import Hardening
from curation.isolation.spawn import execute

ASK_TEMPLATE: Final = b"T"
ASK_SECOND_TEMPLATE: Final = b"S"
"""The one of the second kind, which has imported less."""
ASK_ALIVE: Final = b"A"
ALIVE: Final = b"alive"
SUPERVISE: Final = (
    "import sys; arguments, sys.path[:] = sys.argv[1:5], sys.argv[5:]; "
    "from curation.isolation.supervisor import main; sys.exit(main(arguments))"
)
"""The code for `spawn.isolated_command`: serve or alive, the path, the targets of both kinds of templates."""
STOP_SECONDS: Final = 10.0
"""Both containers of a pod are told to stop at once: the parent, which stops in 5 s, is first to end what runs here."""
_STOPS: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGALRM})
"""The first asks for an end; the second, which may be the alarm of the first, ends it at once."""
_ASK_SECONDS: Final = 5.0
"""For whoever connects to say what for."""


def serve(path: Path, target: str, second: str) -> None:
    """Serve until SIGTERM. Raises OSError if the socket cannot be made."""
    with suppress(FileNotFoundError):
        path.unlink()  # of one that was killed
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        # The parent has another user; the folder, which this pod alone has, gives both one group.
        path.chmod(0o660)
        listener.listen(4)
        _Supervisor(listener, {ASK_TEMPLATE: target, ASK_SECOND_TEMPLATE: second}).run()


def alive(path: Path) -> bool:
    """Whether a supervisor answers there."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.settimeout(_ASK_SECONDS)
            asking.connect(str(path))
            asking.sendall(ASK_ALIVE)
            return asking.recv(len(ALIVE)) == ALIVE
    except OSError:
        return False


class _Supervisor:
    def __init__(self, listener: socket.socket, targets: dict[bytes, str]) -> None:
        self._listener = listener
        self._targets = targets
        """By what is asked for."""
        self._templates: dict[bytes, subprocess.Popen[bytes]] = {}

    def run(self) -> None:
        stop, stopped = socket.socketpair()
        for each in (stop, stopped):
            each.setblocking(False)
        signal.set_wakeup_fd(stop.fileno(), warn_on_full_buffer=False)
        for number in (*_STOPS, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        stops, stopping = 0, False
        waiting = select.poll()
        waiting.register(self._listener, select.POLLIN)
        waiting.register(stopped, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in waiting.poll()}
            stops += stopped.fileno() in ready and bool(_STOPS & set(stopped.recv(4096)))
            self._reap()
            if stops > 1 or (stops and not self._templates):
                break
            if stops and not stopping:
                stopping = True
                waiting.unregister(self._listener)
                signal.alarm(ceil(STOP_SECONDS))
            elif self._listener.fileno() in ready:
                self._answer()
        for asked in tuple(self._templates):
            self._end(asked)

    def _reap(self) -> None:
        """Whatever has ended: the first process of a container inherits the children of one that was killed."""
        with suppress(ChildProcessError):
            while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT | os.WNOHANG):
                template = next((each for each in self._templates.items() if each[1].pid == ended.si_pid), None)
                if template is None:
                    os.waitpid(ended.si_pid, 0)
                else:
                    _say(f"the template has ended with {template[1].wait()}")
                    del self._templates[template[0]]

    def _answer(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(_ASK_SECONDS)
            try:
                asked = connection.recv(1)
                if asked == ASK_ALIVE:
                    connection.sendall(ALIVE)
                elif asked in self._targets:
                    self._end(asked)
                    connection.setblocking(True)
                    self._templates[asked] = execute(self._targets[asked], Hardening(), connection, stderr=None)
            except OSError as error:
                _say(f"a connection has failed: {error}")

    def _end(self, asked: bytes) -> None:
        template = self._templates.pop(asked, None)
        if template is not None:
            template.kill()  # its children are ended with it
            template.wait()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def main(arguments: list[str]) -> int:
    """See `SUPERVISE`."""
    verb, path = arguments[0], Path(arguments[1])
    if verb == "alive":
        return 0 if alive(path) else 1
    serve(path, arguments[2], arguments[3])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
