"""Starts and stops a control plane, and breaks it on purpose.

Called by the pytest plugin, the demo, the benchmarks and `python -m testing.controlplane up`.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from testing.controlplane import audit, programs
from testing.controlplane.binaries import Binaries
from testing.controlplane.build import find_or_build
from testing.controlplane.connection import ADMIN, Connection
from testing.controlplane.errors import ControlPlaneError
from testing.controlplane.install import MARKER
from testing.controlplane.ports import free_port
from testing.controlplane.processes import MEMORY, Processes

APISERVER = "kube-apiserver"
MANAGER = "kube-controller-manager"
_READY_SECONDS = 120.0
"""40 times what an idle machine takes: the start of one server competes with whole test runs."""
_STOP_SECONDS = 15.0
_POLL_SECONDS = 0.02
_PORT_ATTEMPTS = 5


class ControlPlane:
    """etcd, kube-apiserver and (by default) the controllers, on a free port of 127.0.0.1, with data of their own.

    A context manager; `start()` and `stop()` do the same by hand. All of it ends, and its folder goes, when the process
    that started it ends, even by SIGKILL. With `folder` the data are kept there, and found again by the next start.
    With `audit_log` each request is recorded (`audit_records`). `arguments` are added to kube-apiserver's command line,
    `more_controllers` to those that run (see `programs.CONTROLLERS`). `memory`: see `Processes`.
    Raises ControlPlaneError, with the end of the right log, when a server does not become ready.
    """

    def __init__(
        self,
        *,
        binaries: Binaries | None = None,
        folder: Path | None = None,
        controller_manager: bool = True,
        audit_log: bool = False,
        arguments: Sequence[str] = (),
        more_controllers: Sequence[str] = (),
        memory: str = MEMORY,
    ) -> None:
        self._more_controllers = tuple(more_controllers)
        self._binaries = binaries
        self._kept_folder = folder
        self._wants_manager = controller_manager
        self._audit_log = audit_log
        self._arguments = tuple(arguments)
        self._memory = memory
        self._processes: Processes | None = None
        self._connection: Connection | None = None
        self._port = 0

    def __enter__(self) -> ControlPlane:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def connection(self) -> Connection:
        """How to reach it; can be given to other processes."""
        if self._connection is None:
            raise ControlPlaneError("this control plane is not started")
        return self._connection

    @property
    def folder(self) -> Path:
        """Data, logs (`<program>.log`), certificates and kubeconfigs."""
        return self.connection.folder

    def kubeconfig(self, user: str = ADMIN, groups: Sequence[str] = ()) -> Path:
        """See `Connection.kubeconfig`."""
        return self.connection.kubeconfig(user, groups)

    def kubectl(
        self,
        *args: str,
        user: str = ADMIN,
        groups: Sequence[str] = (),
        input: str | None = None,  # noqa: A002
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """See `Connection.kubectl`."""
        return self.connection.kubectl(*args, user=user, groups=groups, input=input, check=check)

    def request(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """See `Connection.request`."""
        return self.connection.request(method, path, body)

    def audit_records(self) -> list[audit.AuditRecord]:
        """See `audit.read`."""
        return audit.read(self.folder)

    def start(self) -> None:
        """Start all servers and wait until they work; builds the programs first where necessary."""
        if self._processes:
            raise ControlPlaneError("this control plane is started already")
        binaries = self._binaries or find_or_build(controllers=self._wants_manager)
        self._binaries = binaries
        if self._wants_manager and binaries.controller_manager is None:
            print(
                f"warning: {binaries.source} has no kube-controller-manager: nothing collects garbage, ends namespaces "
                "or aggregates roles in this control plane",
                file=sys.stderr,
            )
        folder = self._make_folder()
        self._processes = Processes(folder, keep=self._kept_folder is not None, memory=self._memory)
        try:
            programs.write_files(folder)
            (folder / MARKER).unlink(missing_ok=True)
            programs.remove_sockets(folder)
            self._run(folder, "etcd", programs.etcd(binaries))
            self._wait(folder, "etcd", "listen", (folder / programs.ETCD_SOCKET).exists)
            self._find_port_and_serve(folder, binaries)
            if self._wants_manager and binaries.controller_manager:
                self._start_controllers(folder, binaries.controller_manager)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill all servers and remove the data (unless a folder was given); may be called again."""
        processes, self._processes, self._connection = self._processes, None, None
        if processes:
            processes.stop()

    def stop_apiserver(self, *, kill: bool = False) -> None:
        """Stop the API server only, in good order or as a crash would; its data stay in etcd."""
        running = self._running()
        running.signal(APISERVER, signal.SIGKILL if kill else signal.SIGTERM)
        # SIGCONT: a paused server would never see the signal.
        running.signal(APISERVER, signal.SIGCONT)
        deadline = time.monotonic() + _STOP_SECONDS
        while running.exit_code(APISERVER) is None:
            if time.monotonic() > deadline:
                running.signal(APISERVER, signal.SIGKILL)
            time.sleep(_POLL_SECONDS)

    def start_apiserver(self) -> None:
        """Start the API server again on the same port and data, and wait until it is ready."""
        assert self._binaries
        self._serve(self.folder, self._binaries)
        self._wait(self.folder, APISERVER, "become ready", self._ready)

    def restart_apiserver(self, *, kill: bool = False) -> None:
        """Stop and start the API server: all watches break, nothing is lost."""
        self.stop_apiserver(kill=kill)
        self.start_apiserver()

    def back_up(self) -> None:
        """Keep a copy of etcd's data, in place of an earlier one; the servers stop for it."""
        self._with_etcd_stopped(lambda data, copy: _copy(data, copy))

    def restore(self) -> None:
        """Put the copy of `back_up` in place of etcd's data, as after a disaster: all that was written since is gone.

        The API server comes back under the same address, at lower resourceVersions.
        """
        self._with_etcd_stopped(lambda data, copy: _copy(copy, data))

    def pause_apiserver(self) -> None:
        """Freeze the API server: connections stay open, and nobody answers."""
        self._running().signal(APISERVER, signal.SIGSTOP)

    def resume_apiserver(self) -> None:
        """End a pause; what was asked in the meantime is answered then."""
        self._running().signal(APISERVER, signal.SIGCONT)

    def pause_controllers(self) -> None:
        """Freeze the controllers: nobody mends, counts or removes what a test makes."""
        self._running().signal(MANAGER, signal.SIGSTOP)

    def resume_controllers(self) -> None:
        """End that pause."""
        self._running().signal(MANAGER, signal.SIGCONT)

    def _with_etcd_stopped(self, change: Callable[[Path, Path], None]) -> None:
        assert self._binaries
        running = self._running()
        self.stop_apiserver(kill=True)
        running.signal("etcd", signal.SIGTERM)
        while running.exit_code("etcd") is None:
            time.sleep(_POLL_SECONDS)
        change(self.folder / "etcd", self.folder / "etcd-backup")
        programs.remove_sockets(self.folder)
        self._run(self.folder, "etcd", programs.etcd(self._binaries))
        self._wait(self.folder, "etcd", "listen", (self.folder / programs.ETCD_SOCKET).exists)
        self.start_apiserver()

    def _running(self) -> Processes:
        if self._processes is None:
            raise ControlPlaneError("this control plane is not started")
        return self._processes

    def _make_folder(self) -> Path:
        if self._kept_folder is None:
            return Path(tempfile.mkdtemp(prefix="curation-controlplane-"))
        folder = self._kept_folder.absolute()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def _find_port_and_serve(self, folder: Path, binaries: Binaries) -> None:
        log = folder / f"{APISERVER}.log"
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            self._port = free_port()
            manager = self._wants_manager and binaries.controller_manager is not None
            self._connection = Connection(folder, f"https://127.0.0.1:{self._port}", binaries.folder, manager)
            log.unlink(missing_ok=True)
            self._serve(folder, binaries)
            try:
                self._wait(folder, APISERVER, "become ready", self._ready)
            except ControlPlaneError:
                if attempt == _PORT_ATTEMPTS or "address already in use" not in programs.tail(log):
                    raise
            else:
                return

    def _serve(self, folder: Path, binaries: Binaries) -> None:
        command = programs.apiserver(binaries, self._port, audit_log=self._audit_log, arguments=self._arguments)
        self._run(folder, APISERVER, command)

    def _start_controllers(self, folder: Path, program: Path) -> None:
        # One identity with all rights, instead of an account for each controller: fewer writes at start.
        kubeconfig = self.kubeconfig(programs.MANAGER_USER, ("system:masters",))
        name = MANAGER
        self._run(folder, name, programs.controller_manager(program, kubeconfig, self._more_controllers))
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        self._wait(folder, name, "make the account `default`", lambda: self.request("GET", account)[0] == 200)

    def _ready(self) -> bool:
        try:
            return self.request("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def _run(self, folder: Path, name: str, command: Sequence[str]) -> None:
        self._running().start(name, command, folder / f"{name}.log")

    def _wait(self, folder: Path, name: str, what: str, condition: Callable[[], bool]) -> None:
        started = time.monotonic()
        while not condition():
            code = self._running().exit_code(name)
            late = time.monotonic() - started > _READY_SECONDS
            if code is not None or late:
                why = f"did not {what} in {_READY_SECONDS:.0f} s" if code is None else f"ended with {code}"
                raise ControlPlaneError(f"{name} {why}; the end of its log:\n{programs.tail(folder / f'{name}.log')}")
            time.sleep(_POLL_SECONDS)


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
