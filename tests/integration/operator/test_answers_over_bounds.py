"""A service whose answers are over a bound of the operator's own: the job fails once, by name, and is cleaned."""

from collections import Counter

from tests.harness.world import World
from tests.unit.egress.raw_server import RawServer, answering, raw_server

# Made by a proxy before the service, for one: 70 KiB of cookies.
LONG = b"Set-Cookie: a=%b\r\n" % (b"x" * 1000) * 70
ANSWER = b'HTTP/1.1 200 OK\r\n%bContent-Length: 12\r\n\r\n{"id":"s-1"}' % LONG


def asked(server: RawServer) -> Counter[str]:
    """Requests by the trigger that made them."""
    return Counter(
        line.split(": ")[1] for head in server.heads for line in head if line.lower().startswith("curation-trigger:")
    )


async def test_a_head_over_the_bound_fails_a_job_without_a_retry_and_its_one_cancel_counts(world: World) -> None:
    await world.prepare(wall_seconds=5)
    await world.start_operator()
    async with raw_server(answering(ANSWER, close=True)) as server:
        await world.create_job(config={"api_url": f"http://127.0.0.1:{server.port}"}, retry={"limit": 5})
        await world.until_phase("Failed", reason="LimitExceeded")
        await world.settled()
        assert "the head of its answer is over 64 KiB in all" in world.status()["message"]
        assert [run["reason"] for run in world.status()["history"]] == ["LimitExceeded"]
        assert asked(server) == {"Submit": 1, "Cancel": 1}
    await world.until(lambda: world.event_count("SessionCancelled") == 1, "the run is cleaned")
    assert world.event_count("RetryScheduled") == 0
    assert world.event_count("CleanupFailed") == 0
