"""The functions that a guest imports, linked to a Python object, and the one rule of wasmtime-py that must hold there.

A host function must raise nothing but WasmtimeError: an exception of any other type is kept in a global of the module
`wasmtime.component` and re-raised by whichever thread next comes out of a guest, which may be another run's.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from wasmtime import Engine, WasmtimeError
from wasmtime.component import Component, Linker, Variant

from curation.wasm.abi import HOST_INTERFACE, HTTP_CALL, LOG

logger = logging.getLogger(__name__)


class GuestStopped(Exception):
    """Raised by a host function to end the guest: it traps where it called. Why is for the host to remember."""


class Host(Protocol):
    """What a guest may ask for. Called in the guest's own thread; both may raise GuestStopped."""

    def http_call(self, request: str) -> tuple[bool, str]:
        """Answers a request document: (True, response document) or (False, error document)."""
        ...

    def log(self, level: str, message: str) -> None:
        """Takes a line for the run's log."""
        ...


class _NoHost:
    def http_call(self, request: str) -> tuple[bool, str]:
        raise GuestStopped("it is not running")

    def log(self, level: str, message: str) -> None:
        raise GuestStopped("it is not running")


NO_HOST: Host = _NoHost()
"""For linking without running: whether it can be done at all."""


def link(engine: Engine, component: Component, host: Host, log_fields: Mapping[str, object] | None = None) -> Linker:
    """A linker that gives the component its host, and traps for whatever it imports of wasi.

    A bug of the host is logged with the `log_fields`.
    """

    def http_call(_store: object, request: str) -> Variant:
        ok, document = host.http_call(request)
        # A lone surrogate would fail to encode outside of our reach; see the rule above.
        return Variant("ok" if ok else "err", document.encode("utf-8", "replace").decode("utf-8"))

    def log(_store: object, level: str, message: str) -> None:
        host.log(level, message)

    linker = Linker(engine)
    with linker.root() as root, root.add_instance(HOST_INTERFACE) as interface:
        interface.add_func(HTTP_CALL, _guarded(http_call, log_fields))
        interface.add_func(LOG, _guarded(log, log_fields))
    linker.define_unknown_imports_as_traps(component)
    return linker


def _guarded(function: Callable[..., Any], log_fields: Mapping[str, object] | None) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        try:
            return function(*args)
        except GuestStopped as stop:
            raise WasmtimeError(f"stopped by the host: {stop}") from None
        except BaseException as error:
            logger.exception("a host function failed", extra=log_fields)
            raise WasmtimeError(f"the host failed: {type(error).__name__}") from None

    return call
