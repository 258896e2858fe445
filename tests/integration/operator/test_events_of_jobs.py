"""The Events that a job costs: two writes in the good case, one object for what repeats itself."""

from tests.guests.wat import Script
from tests.harness import manifests
from tests.harness.world import World

SESSIONS = [f"session-{number}" for number in range(5)]
NO_SESSIONS = [f"none-{number}" for number in range(5)]


def recorded(world: World, name: str) -> list[str]:
    """The reason of each write of an Event about a job: of its creation, and of each repetition."""
    return [
        event["reason"]
        for versions in world.events.versions.values()
        for event in versions
        if event["regarding"]["name"] == name
    ]


async def test_a_job_that_goes_well_costs_two_events_with_a_session_and_one_without(world: World) -> None:
    await world.prepare()
    for document in manifests.wasm_module("quick", Script().ok({"action": "Completed", "output": {}})):
        await world.cluster.create(document)
    operator = await world.start_operator()
    for name in SESSIONS:
        await world.create_job(name, observeIntervalSeconds=1)
    for name in NO_SESSIONS:
        await world.create_job(name, moduleRef={"name": "quick"})
    await world.until_phase("Running", *SESSIONS)
    for session in world.service.live_sessions():
        world.service.complete(session.id, {})
    await world.until_phase("Completed", *SESSIONS, *NO_SESSIONS)

    # What is recorded is written before the end, so that no further one can follow.
    writes = (await operator.metrics()).value("curation_api_requests_total", resource="events")
    await operator.stop()
    last = await world.cluster.list("events")
    await world.until(lambda: len(world.events.present) == len(last), "all Events are seen")
    assert {name: sorted(recorded(world, name)) for name in SESSIONS} == {
        name: ["Completed", "SessionSpawned"] for name in SESSIONS
    }
    assert {name: recorded(world, name) for name in NO_SESSIONS} == {name: ["Completed"] for name in NO_SESSIONS}
    assert writes <= 2 * len(SESSIONS) + len(NO_SESSIONS)


async def test_what_happens_to_a_job_again_and_again_is_one_event_with_a_count(world: World) -> None:
    await world.prepare()
    await world.cluster.patch("curationpolicies", "allow", {"spec": {"cedar": "forbid(principal, action, resource);"}})
    await world.start_operator()
    await world.create_jobs(1, onDenied="Fail")
    for number in range(1, 6):
        await world.until(lambda times=number: world.event_count("Denied") == times, "the denial has an Event")  # type: ignore[misc]
        if number < 5:
            await world.edit("job-0", rerun=str(number))
    (event,) = (event for event in world.events.present.values() if event["reason"] == "Denied")
    assert event["series"]["count"] == 5
    assert event["series"]["lastObservedTime"] > event["eventTime"]
