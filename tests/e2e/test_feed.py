"""The private iCal feed, read by Planning Center as a church subscribes to it: the same instants on both sides."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import asyncpg
import httpx
import pytest

from contracts.values import CALENDAR_SYNC
from local_stack.church import Church
from local_stack.stack import Stack

pytestmark = pytest.mark.e2e

NEW_YORK: Final = "America/New_York"
COFFEE: Final = {"time_zone": NEW_YORK, "location": "Hall"}


def span(begins: str, zone: str = NEW_YORK, *, hours: float = 1, fold: int = 0) -> dict[str, Any]:
    start = datetime.fromisoformat(begins).replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)
    return {"starts_at": start.isoformat(), "ends_at": (start + timedelta(hours=hours)).isoformat()}


def days(first: str, last: str) -> dict[str, Any]:
    return {"first_day": first, "last_day": last}


EVENTS: Final[dict[str, dict[str, Any]]] = {
    "single": span("2027-03-01T10:30"),
    "over midnight": span("2027-03-13T22:00", hours=9),
    "while clocks skip": span("2027-03-12T02:30") | {"recurrence": "FREQ=DAILY;COUNT=4"},
    "while clocks repeat": span("2027-11-05T01:30") | {"recurrence": "FREQ=DAILY;COUNT=4"},
    "the second of the two": span("2027-11-07T01:30", fold=1),
    "nights": span("2027-11-05T22:00", hours=6) | {"recurrence": "FREQ=DAILY;UNTIL=20271109"},
    "until an instant": span("2027-03-07T22:30") | {"recurrence": "FREQ=WEEKLY;UNTIL=20270322T023000Z"},
    "whole days": days("2027-03-12", "2027-03-15"),
    "whole days, again": days("2027-03-13", "2027-03-14") | {"recurrence": "FREQ=WEEKLY;COUNT=3"},
    "last working day": span("2027-01-29T10:30")
    | {"recurrence": "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1;COUNT=8"},
    "elsewhere": span("2027-03-20T09:00", "Europe/Berlin")
    | {"time_zone": "Europe/Berlin", "recurrence": "FREQ=WEEKLY;COUNT=4"},
    "a thousand": span("2026-10-01T23:30") | {"recurrence": "FREQ=DAILY;COUNT=700"},
    "moved": span("2027-03-07T10:30")
    | {
        "recurrence": "FREQ=WEEKLY;COUNT=5",
        "excluded": ["20270321"],
        "moved": [
            {"key": "20270314", **span("2027-03-15T18:00", hours=2)},
            {"key": "20270328", "title": "Easter, with ☕; bring \\cups", "location": "Garden"},
        ],
    },
}
TEXT: Final = "Soup, bread; and \\more\nBEGIN:VEVENT\nfor äöü 🎉 " + "long " * 300


@pytest.fixture
def olga(door: Stack) -> Iterator[Church]:
    with Church.of(door, "olga") as church:
        yield church


def test_planning_center_reads_the_same_instants(door: Stack, olga: Church) -> None:
    events = [
        {"external_id": f"feed-{name}", "title": name, "description": TEXT, **COFFEE, **values}
        for name, values in EVENTS.items()
    ]
    answer = olga.call("POST", "/calendar/bulk", json={"events": events})
    assert (answer["created"], answer["rejected"]) == (len(EVENTS), [])
    hand_off_all(door)
    address = door.url() + olga.call("POST", "/calendar/feed")["path"]
    control = olga.control
    church = control.organizations()[1]["id"]
    feed = control.subscribe_feed(church, address)
    assert control.refresh_feed(church, feed) == {"created": len(EVENTS), "updated": 0, "deleted": 0}
    here, there = ours(olga), theirs(olga, church, feed)
    assert set(there) == set(EVENTS)
    for name in EVENTS:
        assert there[name] == here[name], name
    assert control.refresh_feed(church, feed) == {"created": 0, "updated": 0, "deleted": 0}

    ids = {one["title"]: one["id"] for one in olga.all("/calendar/events")}
    # The zone alone changes: the instant stays, and later ones follow the clocks of Berlin.
    olga.call("PATCH", f"/calendar/events/{ids['nights']}", json={"time_zone": "Europe/Berlin"})
    olga.call("PATCH", f"/calendar/events/{ids['single']}", json={"title": "renamed"})
    olga.call("DELETE", f"/calendar/events/{ids['whole days']}")
    assert control.refresh_feed(church, feed) == {"created": 0, "updated": 2, "deleted": 1}
    here, there = ours(olga), theirs(olga, church, feed)
    assert set(there) == set(EVENTS) - {"single", "whole days"} | {"renamed"}
    assert all(there[name] == here[name] for name in there)

    olga.call("DELETE", "/calendar/feed")
    assert httpx.get(address).status_code == 404
    control.unsubscribe_feed(church, feed)


def hand_off_all(door: Stack) -> None:
    """As if somebody had pushed each event, and Planning Center had refused."""

    async def update() -> None:
        connection = await asyncpg.connect(door.database_url(CALENDAR_SYNC, driver="postgresql"))
        await connection.execute("UPDATE event SET handed_off = true")
        await connection.close()

    with ThreadPoolExecutor(1) as aside:
        aside.submit(lambda: asyncio.run(update())).result()


Shown = tuple[Any, Any, str, str]
"""Begin, end (instants, or first and last day), title, location."""


def ours(olga: Church) -> dict[str, list[Shown]]:
    """By the event's title, the occurrences of each in the order of their starts."""
    found: dict[str, list[Shown]] = {}
    for event in olga.all("/calendar/events"):
        details = olga.get(f"/calendar/events/{event['id']}")
        found[event["title"]] = sorted(
            (
                one["first_day"] or instant(one["starts_at"]),
                one["last_day"] or instant(one["ends_at"]),
                one["title"] or event["title"],
                one["location"] or event["location"],
            )
            for one in details["occurrences"]
            if not one["cancelled"]
        )
    return found


def theirs(olga: Church, church: str, feed: str) -> dict[str, list[Shown]]:
    """The same of the events that came from a feed."""
    return {
        event["name"]: sorted(
            (
                one.get("first_day") or instant(one["starts_at"]),
                one.get("last_day") or instant(one["ends_at"]),
                one.get("name") or event["name"],
                one["location"],
            )
            for one in event["instances"]
        )
        for event in olga.control.events(church)
        if str(event.get("feed_id")) == feed
    }


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
