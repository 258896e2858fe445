"""A client that may reach loopback, closed after each test, with nothing left of it."""

from collections.abc import AsyncIterator
from ipaddress import ip_network

import pytest

from curation.egress.client import EgressClient
from curation.egress.floor import AddressFloor
from tests.unit.egress.raw_server import nothing_left


@pytest.fixture
def floor() -> AddressFloor:
    return AddressFloor([ip_network("127.0.0.0/8")])


@pytest.fixture
async def client(floor: AddressFloor) -> AsyncIterator[EgressClient]:
    client = EgressClient(floor)
    yield client
    await client.close()
    await nothing_left()
