"""Faults of pushes: links made meanwhile, no answer, ended connections, and waiting events that cannot be read."""

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import stamina
from sqlalchemy import text

from calendar_sync.storage.tables import Creation, Push
from calendar_sync.usecases.events import change
from contracts.http.calendar import EventPatch
from servicekit.testing import eventually
from synckit.history import Actor

pytestmark = pytest.mark.asyncio(loop_scope="session")

SUPPER = {
    "title": "Harvest supper",
    "starts_at": "2027-03-06T23:00:00Z",
    "ends_at": "2027-03-07T01:30:00Z",
    "recurrence": None,
}
POST = {"method": "POST", "path": "/event_instances$", "times": 1}


@pytest.fixture
def writable(linked: Any) -> Iterator[Any]:
    """A Planning Center that lets events be created."""
    linked.control.change_settings(calendar_writes="writable")
    yield linked
    linked.control.change_settings(calendar_writes="read-only")


def named(linked: Any, name: str) -> list[dict[str, Any]]:
    return [one for one in linked.control.events(linked.there.id) if one["name"] == name]


async def asked(linked: Any, event: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = await linked.here.call("POST", f"/events/{event['id']}/push", status=202)
    return found


async def state(linked: Any, event: dict[str, Any]) -> str:
    return str((await linked.here.call("GET", f"/events/{event['id']}/push"))["state"])


async def test_a_link_that_a_person_makes_meanwhile_stays(writable: Any) -> None:
    event = await writable.here.add(**SUPPER)
    chosen = writable.create("Supper of theirs", "2027-03-06T18:00", "2027-03-06T20:30")
    writable.control.add_fault({"kind": "reset", "when": "before"}, **POST)
    sync = await asked(writable, event)
    await writable.work()
    await writable.link(event, chosen)
    for _ in range(4):
        await writable.poll()
    assert (await writable.event(event))["link"]["pco_event_id"] == chosen
    assert (await writable.here.call("GET", f"/syncs/{sync['id']}"))["outcome"] == "linked"
    # Held at the last step: the push has created all, and not linked yet.
    other = await writable.here.add(**SUPPER | {"title": "Lunch"})
    free = writable.create("Lunch of theirs", "2027-03-06T18:00", "2027-03-06T20:30")
    held = writable.control.add_fault({"kind": "hold", "when": "after"}, **POST)
    await asked(writable, other)
    pushing = asyncio.create_task(writable.work())
    await eventually(lambda: writable.control.fault(held)["holding"])
    await writable.link(other, free)
    writable.control.release(held)
    await pushing
    assert (await writable.event(other))["link"]["pco_event_id"] == free
    # What was created is not created again.
    await writable.here.call("DELETE", f"/events/{other['id']}/link")
    await asked(writable, other)
    await writable.work()
    (there,) = named(writable, "Lunch")
    assert (await writable.event(other))["link"]["pco_event_id"] == there["id"]


async def test_what_a_push_created_and_a_person_links_leaves_no_intent(writable: Any) -> None:
    event = await writable.here.add(**SUPPER)
    writable.control.add_fault({"kind": "reset", "when": "before"}, **POST)
    await asked(writable, event)
    await writable.work()
    (there,) = named(writable, "Harvest supper")
    writable.control.create_instance(writable.there.id, there["id"], SUPPER["starts_at"])
    assert await writable.here.rows(Creation)
    await writable.link(event, there["id"])
    assert await writable.here.rows(Creation) == []
    await writable.poll()
    assert len(named(writable, "Harvest supper")) == 1
    # A person links it between two of its dates: it has what they were shown, and the push creates no more.
    series = await writable.here.add(**SUPPER | {"title": "Choir", "recurrence": "FREQ=WEEKLY;COUNT=2"})
    held = writable.control.add_fault({"kind": "hold", "when": "after"}, **POST)
    await asked(writable, series)
    pushing = asyncio.create_task(writable.work())
    await eventually(lambda: writable.control.fault(held)["holding"])
    (there,) = named(writable, "Choir")
    await writable.link(series, there["id"])
    writable.control.release(held)
    await pushing
    assert len(writable.instances(there["id"])) == 1
    assert (await writable.event(series))["link"]["state"] == "linked"
    assert await writable.here.rows(Creation) == []


async def test_what_was_created_is_linked_to_another_event_meanwhile(writable: Any) -> None:
    event, other = await writable.here.add(**SUPPER), await writable.here.add(**SUPPER)
    held = writable.control.add_fault({"kind": "hold", "when": "after"}, **POST)
    sync = await asked(writable, event)
    pushing = asyncio.create_task(writable.work())
    await eventually(lambda: writable.control.fault(held)["holding"])
    (there,) = named(writable, "Harvest supper")
    await writable.link(other, there["id"])
    writable.control.release(held)
    await pushing
    done = await writable.here.call("GET", f"/syncs/{sync['id']}")
    assert (done["state"], done["outcome"]) == ("done", "taken")
    assert await state(writable, event) == "waiting"
    assert len(named(writable, "Harvest supper")) == 1


async def test_a_push_without_an_answer_ends_and_can_be_asked_for_again(writable: Any) -> None:
    stamina.set_testing(True, attempts=1)
    event = await writable.here.add(**SUPPER)
    writable.control.add_fault({"kind": "respond", "status": 503}, method="POST", path="/calendar/v2/events$", times=9)
    sync = await asked(writable, event)
    for _ in range(9):
        await writable.poll()
    assert (await writable.here.call("GET", f"/syncs/{sync['id']}"))["state"] == "done"
    assert await state(writable, event) == "waiting", "it is not on its way any more"
    writable.control.clear_faults()
    await asked(writable, event)
    for _ in range(2):
        await writable.poll()
    assert len(named(writable, "Harvest supper")) == 1
    assert (await writable.event(event))["link"]["state"] == "linked"


async def test_a_push_ends_with_the_connection(writable: Any) -> None:
    event = await writable.here.add(**SUPPER)
    await asked(writable, event)
    await writable.disconnected()
    assert await state(writable, event) == "waiting"
    await writable.connected()
    await writable.here.call("DELETE", f"/events/{event['id']}/push", status=204)


async def test_edits_since_the_first_request_stay_after_a_second_one(writable: Any) -> None:
    event = await writable.here.add(**SUPPER)
    writable.control.add_fault({"kind": "reset", "when": "after"}, **POST)
    await asked(writable, event)
    await writable.work()
    await writable.here.call("PATCH", f"/events/{event['id']}", {"location": "Garden"})
    await writable.poll(1)
    await asked(writable, event)
    for _ in range(4):
        await writable.poll()
    now = await writable.event(event)
    assert now["link"]["state"] == "linked"
    assert now["location"] == "Garden"


async def test_what_was_created_and_deleted_there_is_created_again(writable: Any) -> None:
    event = await writable.here.add(**SUPPER)
    writable.control.add_fault({"kind": "reset", "when": "before"}, **POST)
    await asked(writable, event)
    await writable.work()
    (there,) = named(writable, "Harvest supper")
    writable.control.delete_event(writable.there.id, there["id"])
    for _ in range(3):
        await writable.poll()
    await asked(writable, event)
    for _ in range(3):
        await writable.poll()
    (again,) = named(writable, "Harvest supper")
    assert (await writable.event(event))["link"]["pco_event_id"] == again["id"]


async def test_a_waiting_event_that_cannot_be_read_holds_up_no_other(linked: Any) -> None:
    stamina.set_testing(True, attempts=1)
    events = [await linked.here.add(**SUPPER | {"title": f"Supper {number}"}) for number in range(3)]
    for event in events:
        await asked(linked, event)
        await linked.work()
        linked.clock.advance(timedelta(seconds=1))
    for number, status in enumerate((422, 503)):
        action = {"kind": "respond", "status": status}
        linked.control.add_fault(action, path="/event_instances", query=f"Supper.{number}")
    pco = linked.create("Supper 2", str(SUPPER["starts_at"]), str(SUPPER["ends_at"]))
    await linked.poll()
    assert (await linked.event(events[2]))["link"]["pco_event_id"] == pco
    status = await linked.here.call("GET", "/status")
    assert datetime.fromisoformat(status["checked_at"]) == linked.clock.now(), "every linked event was read"


async def test_an_edit_is_not_followed_by_the_state_before_it(linked: Any) -> None:
    event = await linked.here.add(**SUPPER)
    await asked(linked, event)
    await linked.work()
    for _ in range(2):
        linked.create("Harvest supper", str(SUPPER["starts_at"]), str(SUPPER["ends_at"]))
    sessions, organization_id = linked.here.app.state.runtime.sessions, linked.here.organization_id
    waits = text(
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )

    async def held_up() -> bool:
        async with sessions() as session:
            return bool(await session.scalar(waits))

    async with sessions.begin() as session:
        edit = EventPatch(location="Barn")
        await change(session, organization_id, event["id"], edit, Actor("person"), linked.clock.now())
        checking = asyncio.create_task(linked.poll())
        await eventually(held_up)
    await checking
    pushed = await linked.here.call("GET", f"/events/{event['id']}/push")
    assert "More than one event" in pushed["note"]
    *_, (_, _, told) = await linked.here.facts()
    assert told["event"]["location"] == "Barn"


async def test_a_deleted_event_is_waited_for_no_longer(linked: Any) -> None:
    event = await linked.here.add(**SUPPER)
    await asked(linked, event)
    await linked.work()
    await linked.here.call("DELETE", f"/events/{event['id']}", status=204)
    assert await linked.here.rows(Push) == []
    mark = linked.mark()
    for _ in range(2):
        await linked.poll()
    assert linked.requests(mark) == []
