"""Pushing events to Planning Center: created there once where that is allowed, handed off where it is refused."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from calendar_sync.storage.tables import CalendarConnection, Creation, Event, Push

pytestmark = pytest.mark.asyncio

SUPPER = {
    "title": "Harvest supper",
    "starts_at": "2027-03-06T23:00:00Z",
    "ends_at": "2027-03-07T01:30:00Z",
    "recurrence": None,
}
CHOIR = {
    "title": "Choir",
    "starts_at": "2027-03-04T23:00:00Z",
    "ends_at": "2027-03-05T00:30:00Z",
    "recurrence": "FREQ=WEEKLY;COUNT=3",
    "location": "Chapel",
}


@pytest.fixture
def writable(linked: Any) -> Iterator[Any]:
    """A Planning Center that lets events be created."""
    linked.control.change_settings(calendar_writes="writable")
    yield linked
    linked.control.change_settings(calendar_writes="read-only")


async def push(linked: Any, event: dict[str, Any]) -> dict[str, Any]:
    asked = await linked.here.call("POST", f"/events/{event['id']}/push", status=202)
    await linked.work()
    done: dict[str, Any] = await linked.here.call("GET", f"/syncs/{asked['id']}")
    return done


async def state(linked: Any, event: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = await linked.here.call("GET", f"/events/{event['id']}/push")
    return found


def named(linked: Any, name: str) -> list[dict[str, Any]]:
    return [one for one in linked.control.events(linked.there.id) if one["name"] == name]


async def typed(linked: Any, instant: str) -> str:
    """A local time of the church, as staff type it there."""
    zone = (await linked.here.call("GET", "/status"))["time_zone"]
    return f"{datetime.fromisoformat(instant).astimezone(ZoneInfo(zone)):%Y-%m-%dT%H:%M}"


async def test_an_event_is_created_and_linked(writable: Any) -> None:
    event = await writable.here.add(**SUPPER | {"description": "Bring a dish", "location": "Garden"})
    assert (await push(writable, event))["outcome"] == "pushed"
    (there,) = named(writable, "Harvest supper")
    (instance,) = writable.instances(there["id"])
    now = await writable.event(event)
    assert (now["link"]["pco_event_id"], now["link"]["pco_event_instance_id"]) == (there["id"], instance["id"])
    assert now["link"]["linked_by_name"]
    assert (await state(writable, event))["state"] == "none"
    assert (await state(writable, event))["may_create"] is True
    assert await writable.here.rows(Creation) == []
    names = ("title", "starts_at", "ends_at", "location", "description")
    await writable.poll()
    again = await writable.event(event)
    assert [again[name] for name in names] == [now[name] for name in names] == [event[name] for name in names]


async def test_a_series_is_created_with_all_its_dates(writable: Any) -> None:
    event = await writable.here.add(**CHOIR)
    await writable.here.call("DELETE", f"/events/{event['id']}/occurrences/20270311T180000")
    assert (await push(writable, event))["outcome"] == "pushed"
    (there,) = named(writable, "Choir")
    starts = [one["starts_at"] for one in writable.instances(there["id"])]
    assert starts == ["2027-03-04T23:00:00Z", "2027-03-18T22:00:00Z"]
    await writable.poll()
    now = await writable.event(event)
    assert [one["starts_at"] for one in now["occurrences"] if not one["cancelled"]] == starts
    assert now["location"] == "Chapel"


async def test_whole_days_stay_those_days(writable: Any) -> None:
    days = {"first_day": "2027-03-13", "last_day": "2027-03-14", "starts_at": None, "ends_at": None}
    event = await writable.here.add(**SUPPER | days)
    assert (await push(writable, event))["outcome"] == "pushed"
    await writable.poll()
    now = await writable.event(event)
    assert (now["first_day"], now["last_day"]) == ("2027-03-13", "2027-03-14")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("path", ["/calendar/v2/events$", "/event_instances$"])
async def test_a_lost_answer_creates_nothing_twice(writable: Any, path: str, when: str) -> None:
    event = await writable.here.add(**SUPPER)
    writable.control.add_fault({"kind": "reset", "when": when}, method="POST", path=path, times=1)
    assert (await push(writable, event))["state"] == "queued"
    for _ in range(4):
        await writable.poll()
    (there,) = named(writable, "Harvest supper")
    assert len(writable.instances(there["id"])) == 1
    assert (await writable.event(event))["link"]["pco_event_id"] == there["id"]


async def test_an_edit_meanwhile_stays_here(writable: Any) -> None:
    event = await writable.here.add(**SUPPER)
    lost = {"method": "POST", "path": "/event_instances$", "times": 1}
    writable.control.add_fault({"kind": "reset", "when": "after"}, **lost)
    asked = await writable.here.call("POST", f"/events/{event['id']}/push", status=202)
    await writable.work()
    await writable.here.call("DELETE", f"/events/{event['id']}/push", status=409)
    await writable.here.call("PATCH", f"/events/{event['id']}", {"location": "Garden"})
    for _ in range(4):
        await writable.poll()
    assert (await writable.here.call("GET", f"/syncs/{asked['id']}"))["outcome"] == "pushed"
    assert (await writable.event(event))["location"] == "Garden"
    assert (await writable.sync(event))["outcome"] == "updated_here"
    assert (await writable.event(event))["location"] == "Hall"


async def test_what_is_refused_is_handed_off_and_linked_once_it_is_there(linked: Any) -> None:
    event = await linked.here.add(**SUPPER)
    assert (await push(linked, event))["outcome"] == "handed_off"
    waiting = await state(linked, event)
    assert (waiting["state"], waiting["may_create"]) == ("waiting", False)
    assert named(linked, "Harvest supper") == []
    linked.create("Harvest supper", "2027-03-07T18:00", "2027-03-07T20:30")
    await linked.poll()
    assert (await linked.event(event))["link"] is None, "it is on another day"
    times = (await typed(linked, str(SUPPER["starts_at"])), await typed(linked, str(SUPPER["ends_at"])))
    pco_event_id = linked.create("harvest SUPPER", *times)
    await linked.poll()
    now = await linked.event(event)
    assert (now["link"]["pco_event_id"], now["link"]["linked_by_name"]) == (pco_event_id, None)
    assert await linked.here.rows(Push) == []
    # Taken back, it is not linked by itself again.
    await linked.here.call("DELETE", f"/events/{event['id']}/link")
    await linked.poll()
    assert (await linked.event(event))["link"] is None


async def test_of_two_that_match_none_is_linked_by_itself(linked: Any) -> None:
    event = await linked.here.add(**SUPPER)
    await push(linked, event)
    times = (await typed(linked, str(SUPPER["starts_at"])), await typed(linked, str(SUPPER["ends_at"])))
    for _ in range(2):
        linked.create("Harvest supper", *times)
    await linked.poll()
    assert (await linked.event(event))["link"] is None
    assert "More than one" in (await state(linked, event))["note"]
    await linked.here.call("DELETE", f"/events/{event['id']}/push", status=204)
    assert (await state(linked, event))["state"] == "none"
    await linked.here.call("DELETE", f"/events/{event['id']}/push", status=409)


async def test_a_refusal_is_remembered_and_asked_about_without_creating(linked: Any) -> None:
    event = await linked.here.add(**SUPPER)
    await push(linked, event)
    mark = linked.mark()
    assert (await push(linked, event))["outcome"] == "handed_off"
    assert len([one for one in linked.requests(mark) if one["method"] == "POST"]) == 1
    linked.control.change_settings(calendar_writes="writable")
    assert (await push(linked, event))["outcome"] == "pushed"
    linked.control.change_settings(calendar_writes="read-only")
    (row,) = await linked.here.rows(CalendarConnection)
    assert row.may_create is True
    assert len(named(linked, "Harvest supper")) == 1


@contextmanager
def published(event: Mapping[str, Any]) -> Iterator[str]:
    """Address of a calendar with one event."""
    starts, ends = (event[name].translate({ord("-"): None, ord(":"): None}) for name in ("starts_at", "ends_at"))
    lines = ["UID:1", f"DTSTART:{starts}", f"DTEND:{ends}", f"SUMMARY:{event['title']}"]
    whole = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//test//EN", "BEGIN:VEVENT", *lines, "END:VEVENT"]
    body = "\r\n".join([*whole, "END:VCALENDAR", ""]).encode()

    class Calendar(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/calendar")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Calendar) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/calendar.ics"
        server.shutdown()


async def test_what_came_by_the_feed_is_changed_here_alone(linked: Any) -> None:
    """Planning Center reads the feed, and has the event from it: out of the feed it would delete it again."""
    event = await linked.here.add(**SUPPER)
    await push(linked, event)
    assert await handed_off(linked) == [True]
    with published(SUPPER) as address:
        feed = linked.control.subscribe_feed(linked.there.id, address)
        linked.control.refresh_feed(linked.there.id, feed)
    (there,) = named(linked, "Harvest supper")
    pco_event_id = there["id"]
    await linked.poll()
    now = await linked.event(event)
    assert now["link"]["pco_event_id"] == pco_event_id
    assert "feed" in now["link"]["note"]
    assert await handed_off(linked) == [True]
    await linked.here.call("PATCH", f"/events/{event['id']}", {"title": "Harvest lunch"})
    assert (await linked.sync(event))["outcome"] == "unchanged"
    await linked.poll()
    assert (await linked.event(event))["title"] == "Harvest lunch"
    linked.control.delete_event(linked.there.id, pco_event_id)
    for _ in range(3):
        await linked.poll()
    assert (await linked.event(event))["link"]["state"] == "gone"
    assert await handed_off(linked) == [False]


async def test_what_somebody_created_there_leaves_the_feed(linked: Any) -> None:
    event = await linked.here.add(**SUPPER)
    await push(linked, event)
    times = (await typed(linked, str(SUPPER["starts_at"])), await typed(linked, str(SUPPER["ends_at"])))
    linked.create("Harvest supper", *times)
    await linked.poll()
    assert (await linked.event(event))["link"]["state"] == "linked"
    assert await handed_off(linked) == [False]


async def handed_off(linked: Any) -> list[bool]:
    return [event.handed_off for event in await linked.here.rows(Event)]
