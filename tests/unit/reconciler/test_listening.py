"""Where the health port listens: on what was asked, of IPv4 and IPv6, with a URL that can be opened."""

import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from yarl import URL

from curation.reconciler.runtime.listening import authority, listen, url


@contextmanager
def listening_on(host: str, port: int = 0) -> Iterator[list[socket.socket]]:
    made = listen(host, port)
    try:
        yield made
    finally:
        for each in made:
            each.close()


def reached(made: list[socket.socket], *hosts: str) -> list[str]:
    """Those of the addresses at which a client reaches it."""
    found = []
    for host in hosts:
        try:
            socket.create_connection((host, made[0].getsockname()[1]), timeout=10).close()
        except OSError:
            continue
        found.append(host)
    return found


@pytest.mark.parametrize("host", ["", "*", "::"])
def test_every_address_is_that_of_both_families(host: str) -> None:
    with listening_on(host) as made:
        assert reached(made, "127.0.0.1", "::1") == ["127.0.0.1", "::1"]


@pytest.mark.parametrize(
    ("host", "addresses"), [("0.0.0.0", ["127.0.0.1"]), ("127.0.0.1", ["127.0.0.1"]), ("::1", ["::1"])]
)
def test_an_address_is_that_of_its_family(host: str, addresses: list[str]) -> None:
    with listening_on(host) as made:
        assert reached(made, "127.0.0.1", "::1") == addresses


def without(family: int, step: str, code: int) -> Callable[..., socket.socket]:
    """A socket of a machine that lacks this family, which it notices at this step."""

    class Lacking(socket.socket):
        def __init__(self, of: int = -1, *rest: int) -> None:
            if step == "socket" and of == family:
                raise OSError(code, "no such family")
            super().__init__(of, *rest)

        def bind(self, address: object) -> None:
            if step == "bind" and self.family == family:
                raise OSError(code, "no such address")
            super().bind(address)  # type: ignore[arg-type]

    return Lacking


LACKS = [("socket", errno.EAFNOSUPPORT), ("bind", errno.EADDRNOTAVAIL)]


@pytest.mark.parametrize(("step", "code"), LACKS)
@pytest.mark.parametrize("host", ["", "localhost"])
def test_a_machine_without_ipv6_is_served_on_ipv4(
    monkeypatch: pytest.MonkeyPatch, host: str, step: str, code: int
) -> None:
    monkeypatch.setattr(socket, "socket", without(socket.AF_INET6, step, code))
    with listening_on(host) as made:
        monkeypatch.undo()
        assert reached(made, "127.0.0.1", "::1") == ["127.0.0.1"]
        assert url(made[0]).startswith("http://127.0.0.1:")


@pytest.mark.parametrize(("step", "code"), LACKS)
def test_an_address_that_was_asked_for_and_is_not_there_is_an_error_that_names_it(
    monkeypatch: pytest.MonkeyPatch, step: str, code: int
) -> None:
    monkeypatch.setattr(socket, "socket", without(socket.AF_INET6, step, code))
    with pytest.raises(OSError, match=r"cannot listen on \[::1\]:0: "):
        listen("::1", 0)


def test_a_name_is_all_its_addresses_at_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [(socket.AF_INET, 1, 6, "", ("127.0.0.1", 0)), (socket.AF_INET6, 1, 6, "", ("::1", 0, 0, 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    made = listen("both.example", 0)
    monkeypatch.undo()
    try:
        assert reached(made, "127.0.0.1", "::1") == ["127.0.0.1", "::1"]
    finally:
        for each in made:
            each.close()


@pytest.mark.parametrize("taken", ["127.0.0.1", "::1", "::"])
@pytest.mark.parametrize("asked", ["", "same"])
def test_a_port_that_is_taken_is_an_error_that_names_it(taken: str, asked: str) -> None:
    with listening_on(taken) as made:
        port = made[0].getsockname()[1]
        with pytest.raises(OSError, match=rf"cannot listen on .*:{port}: Address already in use"):
            listen(taken if asked else asked, port)


def test_a_name_that_does_not_resolve_is_an_error_that_names_it() -> None:
    with pytest.raises(OSError, match=r"cannot listen on no\.such\.host\.invalid:80: "):
        listen("no.such.host.invalid", 80)


@pytest.mark.parametrize("host", ["", "::", "0.0.0.0", "127.0.0.1", "::1", "localhost"])
def test_its_url_can_be_opened(host: str) -> None:
    with listening_on(host) as made:
        found = URL(url(made[0]))
        assert found.host is not None
        assert reached(made, found.host) == [found.host]
        assert found.port == made[0].getsockname()[1]


@pytest.mark.parametrize(
    ("host", "port", "text"),
    [
        ("10.0.0.1", 80, "10.0.0.1:80"),
        ("name.example", 80, "name.example:80"),
        ("fd00::1", 80, "[fd00::1]:80"),
        ("fe80::1%eth0", 80, "[fe80::1%25eth0]:80"),
    ],
)
def test_an_authority_is_that_of_a_url(host: str, port: int, text: str) -> None:
    assert authority(host, port) == text
