"""Events that a church's subscription to an iCal feed makes."""

from typing import Any

import pytest

from pco_simulator.direct import Direct
from pco_simulator.feeds import Feeds, Outcome
from pco_simulator.world import Mutation, World

EVENTS = "/calendar/v2/events"

WEEKLY = """BEGIN:VEVENT
UID:weekly@ours
DTSTART;TZID=America/New_York:20261025T090000
DTEND;TZID=America/New_York:20261025T101500
RRULE:FREQ=WEEKLY;COUNT=4
EXDATE;TZID=America/New_York:20261108T090000
SUMMARY:Choir\\, Sundays
LOCATION:Hall
DESCRIPTION:Bring <music>\\nand water
END:VEVENT
BEGIN:VEVENT
UID:weekly@ours
RECURRENCE-ID;TZID=America/New_York:20261101T090000
DTSTART;TZID=America/New_York:20261101T110000
DTEND;TZID=America/New_York:20261101T120000
SUMMARY:Choir outdoors
LOCATION:Park
END:VEVENT
"""
DAYS = """BEGIN:VEVENT
UID:days@ours
DTSTART;VALUE=DATE:20261031
DTEND;VALUE=DATE:20261102
SUMMARY:Camp
END:VEVENT
"""
FLOATING = """BEGIN:VEVENT
UID:floating@ours
DTSTART:20260701T230000
DURATION:PT2H
SUMMARY:Night Prayer
END:VEVENT
"""


def feed(*events: str) -> bytes:
    text = "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//ours//EN\n" + "".join(events) + "END:VCALENDAR\n"
    return text.replace("\n", "\r\n").encode()


@pytest.fixture
def calendar(world: World) -> Direct:
    login = world.logins[0]
    return Direct(world, login.organization_id, login.person_id, version=None, scopes=("calendar",))


@pytest.fixture
def feeds(world: World) -> Feeds:
    return Feeds(world)


@pytest.fixture
def feed_id(feeds: Feeds, calendar: Direct) -> str:
    return feeds.subscribe(calendar.organization_id, "https://platform.example/feed.ics", "Platform")


def shown(calendar: Direct, feed_id: str) -> dict[str, list[tuple[Any, ...]]]:
    """Per event: its name, and start, end, all-day, name and location of its instances."""
    found = {}
    for event in calendar.get(f"{EVENTS}?where[feed_id]={feed_id}").data:
        rows = calendar.get(f"{EVENTS}/{event['id']}/event_instances?order=starts_at").data
        names = ("starts_at", "ends_at", "all_day_event", "name", "location")
        found[event["attributes"]["name"]] = [tuple(row["attributes"][name] for name in names) for row in rows]
    return found


def test_instants_whole_days_and_exceptions(feeds: Feeds, calendar: Direct, feed_id: str) -> None:
    church = calendar.organization_id
    assert feeds.take(church, feed_id, feed(WEEKLY, DAYS, FLOATING)) == Outcome(created=3)
    assert shown(calendar, feed_id) == {
        "Choir, Sundays": [
            ("2026-10-25T13:00:00Z", "2026-10-25T14:15:00Z", False, "Choir, Sundays", "Hall"),
            ("2026-11-01T16:00:00Z", "2026-11-01T17:00:00Z", False, "Choir outdoors", "Park"),
            ("2026-11-15T14:00:00Z", "2026-11-15T15:15:00Z", False, "Choir, Sundays", "Hall"),
        ],
        "Camp": [("2026-10-31T04:00:00Z", "2026-11-02T05:00:00Z", True, "Camp", None)],
        "Night Prayer": [("2026-07-02T03:00:00Z", "2026-07-02T05:00:00Z", False, "Night Prayer", None)],
    }
    choir = next(
        row for row in calendar.get(f"{EVENTS}?where[feed_id]={feed_id}").data if "Choir" in row["attributes"]["name"]
    )
    assert choir["attributes"]["summary"] == "Bring <music>\nand water"
    assert choir["attributes"]["description"] == "<div>Bring &lt;music&gt;<br>and water</div>"
    assert choir["attributes"]["visible_in_church_center"] is True
    assert calendar.get(f"{EVENTS}/{choir['id']}/feed").data["attributes"]["feed_type"] == "ical"


def test_a_second_reading_changes_what_changed_and_keeps_ids(
    world: World, feeds: Feeds, calendar: Direct, feed_id: str
) -> None:
    church = calendar.organization_id
    feeds.take(church, feed_id, feed(WEEKLY, DAYS, FLOATING))
    ids = {row["attributes"]["name"]: row["id"] for row in calendar.get(f"{EVENTS}?where[feed_id]={feed_id}").data}
    choir = calendar.get(f"{EVENTS}/{ids['Choir, Sundays']}/event_instances").ids
    told: list[Mutation] = []
    world.mutations.append(told.append)
    assert feeds.take(church, feed_id, feed(WEEKLY, DAYS, FLOATING)) == Outcome()
    assert {each.type for each in told} == {"Feed"}
    assert {each.by for each in told} == {"feed"}
    moved = WEEKLY.replace("20261101T110000", "20261102T110000").replace("20261101T120000", "20261102T120000")
    outcome = feeds.take(church, feed_id, feed(moved, DAYS.replace("SUMMARY:Camp", "SUMMARY:Big Camp")))
    assert outcome == Outcome(updated=2, deleted=1)
    assert calendar.get(f"{EVENTS}/{ids['Choir, Sundays']}/event_instances").ids == choir
    assert shown(calendar, feed_id)["Choir, Sundays"][1][0] == "2026-11-02T16:00:00Z"
    assert calendar.get(f"{EVENTS}/{ids['Camp']}").data["attributes"]["name"] == "Big Camp"
    assert calendar.get(f"{EVENTS}/{ids['Night Prayer']}").status == 404
    cancelled = DAYS.replace("SUMMARY:Camp", "STATUS:CANCELLED\nSUMMARY:Camp")
    assert feeds.take(church, feed_id, feed(WEEKLY, cancelled)).deleted == 1


@pytest.mark.parametrize("body", [b"", b"<html>gone</html>", b"BEGIN:VEVENT\r\nUID:x\r\nEND:VEVENT\r\n"])
def test_what_is_no_calendar_deletes_nothing(feeds: Feeds, calendar: Direct, feed_id: str, body: bytes) -> None:
    church = calendar.organization_id
    feeds.take(church, feed_id, feed(WEEKLY))
    before = shown(calendar, feed_id)
    with pytest.raises(ValueError, match=r"."):
        feeds.take(church, feed_id, body)
    assert shown(calendar, feed_id) == before


def test_an_endless_series_has_an_end_here(feeds: Feeds, calendar: Direct, feed_id: str) -> None:
    feeds.take(calendar.organization_id, feed_id, feed(WEEKLY.replace(";COUNT=4", "")))
    (event,) = calendar.get(f"{EVENTS}?where[feed_id]={feed_id}").data
    total = calendar.get(f"{EVENTS}/{event['id']}/event_instances").body["meta"]["total_count"]
    assert 60 < total < 120


def test_subscriptions_end_with_their_events(feeds: Feeds, calendar: Direct, feed_id: str) -> None:
    church = calendar.organization_id
    feeds.take(church, feed_id, feed(WEEKLY))
    feeds.end(church, feed_id)
    assert calendar.get(f"/calendar/v2/feeds/{feed_id}").status == 404
    assert shown(calendar, feed_id) == {}
    with pytest.raises(KeyError):
        feeds.end(church, feed_id)
    with pytest.raises(ValueError, match="begins with"):
        feeds.subscribe(church, "file:///etc/passwd", "No")
