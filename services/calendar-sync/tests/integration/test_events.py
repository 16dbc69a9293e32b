"""Events over HTTP on a real PostgreSQL: single, series, all-day, and their single occurrences."""

import asyncio
import csv
import io
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from calendar_sync.storage.tables import CalendarConnection, OccurrenceRow

RETREAT = {"title": "Youth retreat", "first_day": "2026-03-06", "last_day": "2026-03-08"}
SINGLE: dict[str, Any] = {"recurrence": None}


def starts(event: dict[str, Any]) -> list[str]:
    return [one["starts_at"][5:16] for one in event["occurrences"]]


async def test_a_series_is_added_read_and_published(church: Any) -> None:
    added = await church.add(description="Bring a cup.\r\nAll are welcome.", external_id="e-1")
    assert starts(added) == ["03-01T15:30", "03-08T14:30", "03-15T14:30", "03-22T14:30"]
    assert added["description"] == "Bring a cup.\nAll are welcome."
    assert (added["version"], added["occurrence_count"], added["all_day"]) == (1, 4, False)
    assert (added["first_starts_at"], added["last_ends_at"]) == ("2026-03-01T15:30:00Z", "2026-03-22T15:30:00Z")
    assert await church.call("GET", f"/events/{added['id']}") == added
    [(kind, key, body)] = await church.facts()
    assert (kind, key, body["version"]) == ("EventChanged", added["id"], 1)
    assert body["event"]["occurrences"] == added["occurrences"]
    assert body["event"]["recurrence"] == "FREQ=WEEKLY;COUNT=4"
    assert await church.history(added) == [("created", False, True)]
    taken = await church.call("POST", "/events", {**RETREAT, "time_zone": "UTC", "external_id": "e-1"}, status=409)
    assert taken["type"] == "/problems/external-id-taken"


async def test_an_id_of_the_platform_is_taken_once_by_creations_at_the_same_time(church: Any) -> None:
    body = {**RETREAT, "time_zone": "UTC", "external_id": "e-1"}
    answers = await asyncio.gather(*(church.http.post("/api/v1/calendar/events", json=body) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 5]
    assert len(await church.facts()) == 1


async def test_the_zone_of_the_church_is_taken_if_it_is_known(church: Any) -> None:
    assert "time_zone" in await church.faults("POST", "/events", RETREAT)
    connection = {"organization_id": "org-1", "state": "connected", "generation": 1, "version": 1}
    named = {"pco_organization_id": "1", "pco_organization_name": "First", "time_zone": "America/Denver"}
    async with church.app.state.runtime.sessions.begin() as session:
        session.add(CalendarConnection(**connection, **named, occurred_at=church.app.state.runtime.clock.now()))
    added = await church.call("POST", "/events", RETREAT, status=201)
    assert added["time_zone"] == "America/Denver"
    assert (added["starts_at"], added["ends_at"]) == ("2026-03-06T07:00:00Z", "2026-03-09T06:00:00Z")
    assert (added["first_day"], added["last_day"], added["all_day"]) == ("2026-03-06", "2026-03-08", True)
    moved = await church.call("PATCH", f"/events/{added['id']}", {"time_zone": "Asia/Tokyo"})
    assert (moved["first_day"], moved["occurrences"][0]["key"]) == ("2026-03-06", "20260306")
    back = await church.call("PATCH", f"/events/{added['id']}", {"time_zone": None})
    assert back["time_zone"] == "America/Denver"


async def test_only_what_is_sent_is_changed(church: Any) -> None:
    event = await church.add()
    await church.facts()
    path = f"/events/{event['id']}"
    assert await church.call("PATCH", path, {"title": event["title"], "version": 1}) == event
    assert await church.facts() == []
    changed = await church.call("PATCH", path, {"location": "", "title": "Tea"})
    assert (changed["location"], changed["title"], changed["version"]) == (None, "Tea", 2)
    assert changed["occurrences"] == event["occurrences"]
    stale = await church.call("PATCH", path, {"title": "Coffee", "version": 1}, status=409)
    assert stale["type"] == "/problems/version-conflict"
    single = await church.call("PATCH", path, {"recurrence": None})
    assert starts(single) == ["03-01T15:30"]
    assert await church.history(event) == [
        ("created", False, True),
        ("title", "Coffee after church", "Tea"),
        ("location", "Hall", None),
        ("recurrence", "FREQ=WEEKLY;COUNT=4", None),
    ]
    who = (await church.call("GET", f"{path}/history"))["items"][0]
    assert (who["by"], who["side"], who["can_undo"], bool(who["by_name"])) == ("person", "here", False, True)
    assert [body["version"] for _, _, body in await church.facts()] == [2, 3]


async def test_two_edits_with_the_same_version(church: Any) -> None:
    event = await church.add()
    path = f"{church.http.base_url}/api/v1/calendar/events/{event['id']}"
    bodies = [{"title": title, "version": 1} for title in ("Tea", "Cake")]
    answers = await asyncio.gather(*(church.http.patch(path, json=body) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert (await church.call("GET", f"/events/{event['id']}"))["version"] == 2


async def test_one_occurrence_of_a_series(church: Any) -> None:
    event = await church.add()
    path = f"/events/{event['id']}/occurrences"
    body = {
        "title": "Easter breakfast",
        "starts_at": "2026-03-08T08:00:00-04:00",
        "ends_at": "2026-03-08T09:00:00-04:00",
    }
    moved = await church.call("PATCH", f"{path}/20260308T103000", body | {"version": 1})
    one = moved["occurrences"][1]
    assert (one["key"], one["starts_at"], one["moved"]) == ("20260308T103000", "2026-03-08T12:00:00Z", True)
    assert one["title"] == "Easter breakfast"
    out = await church.call("DELETE", f"{path}/20260315")
    assert (out["occurrences"][2]["cancelled"], out["occurrence_count"], out["version"]) == (True, 3, 3)
    later = {"starts_at": "2026-03-01T11:00:00-05:00", "ends_at": "2026-03-01T12:00:00-05:00"}
    after = await church.call("PATCH", f"/events/{event['id']}", later | {"recurrence": "FREQ=WEEKLY;COUNT=5"})
    assert starts(after) == ["03-01T16:00", "03-08T12:00", "03-15T15:00", "03-22T15:00", "03-29T15:00"]
    assert [one["cancelled"] for one in after["occurrences"]] == [False, False, True, False, False]
    listed = await church.occurrences(first_day="2026-03-01", last_day="2026-03-31", time_zone="America/New_York")
    assert [(one["key"], one["title"]) for one in listed] == [
        ("20260301T110000", "Coffee after church"),
        ("20260308T110000", "Easter breakfast"),
        ("20260322T110000", "Coffee after church"),
        ("20260329T110000", "Coffee after church"),
    ]
    back = await church.call("PATCH", f"{path}/20260315", {"cancelled": False})
    assert back["occurrence_count"] == 5
    ruled = await church.call("PATCH", f"{path}/20260308", {"starts_at": None, "title": None})
    assert ruled["occurrences"][1]["starts_at"] == "2026-03-08T15:00:00Z"
    history = [entry for entry in await church.history(event) if entry[0] == "occurrence"]
    own = {"key": "20260308T103000", "starts_at": "2026-03-08T12:00:00+00:00", "ends_at": "2026-03-08T13:00:00+00:00"}
    assert history == [
        ("occurrence", None, own | {"title": "Easter breakfast"}),
        ("occurrence", None, {"key": "20260315T103000", "cancelled": True}),
        ("occurrence", {"key": "20260315T110000", "cancelled": True}, None),
        ("occurrence", own | {"key": "20260308T110000", "title": "Easter breakfast"}, None),
    ]


async def test_what_cannot_be_done_with_one_occurrence(church: Any) -> None:
    event = await church.add(recurrence="FREQ=WEEKLY;COUNT=2")
    path = f"/events/{event['id']}/occurrences"
    await church.call("PATCH", f"{path}/20260302", {"title": "Tea"}, status=404)
    assert "first_day" in await church.faults("PATCH", f"{path}/20260308", {"first_day": "2026-03-08"})
    assert "ends_at" in await church.faults("PATCH", f"{path}/20260308", {"ends_at": "2026-03-08T00:00:00Z"})
    await church.call("DELETE", f"{path}/20260301")
    last = await church.call("DELETE", f"{path}/20260308", status=409)
    assert last["type"] == "/problems/last-occurrence"
    shorter = {"recurrence": "FREQ=WEEKLY;COUNT=1"}
    assert "recurrence" in await church.faults("PATCH", f"/events/{event['id']}", shorter)
    single = await church.add(recurrence=None)
    key = single["occurrences"][0]["key"]
    alone = await church.call("DELETE", f"/events/{single['id']}/occurrences/{key}", status=409)
    assert alone["type"] == "/problems/single-event"


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"title": ""}, "title", "Must not be empty"),
        ({"title": "\u200b"}, "title", "can be seen"),
        ({"title": "a\nb"}, "title", "control characters"),
        ({"description": "a\u0007"}, "description", "control characters"),
        ({"title": None}, "title", "Send text"),
        ({"ends_at": "2026-03-01T15:29:59Z"}, "ends_at", "lies before"),
        ({"ends_at": "2027-03-03T15:30:00Z"}, "ends_at", "more than a year"),
        ({"ends_at": None}, "ends_at", "is required"),
        ({"starts_at": "2026-03-01T10:30:00"}, "starts_at", "with its offset"),
        ({"starts_at": "2026-03-01"}, "starts_at", "with its offset"),
        ({"starts_at": 1772379000}, "starts_at", "with its offset"),
        ({"starts_at": "2026-02-30T10:30:00Z"}, "starts_at", "with its offset"),
        ({"starts_at": "0001-01-01T00:00:00+23:59"}, "starts_at", "between 1900 and 2199"),
        ({"first_day": "2026-03-01"}, "first_day", "either days"),
        ({"time_zone": "Mars/Phobos"}, "time_zone", "no time zone"),
        ({"time_zone": None}, "time_zone", "is not known"),
        ({"recurrence": "FREQ=WEEKLY"}, "recurrence", "never ends"),
        ({"recurrence": "FREQ=HOURLY;COUNT=3"}, "recurrence", "needs FREQ"),
        ({"recurrence": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30;COUNT=3"}, "recurrence", "does not begin"),
        ({"recurrence": "FREQ=WEEKLY;BYDAY=MO;COUNT=3"}, "recurrence", "does not begin"),
        ({"recurrence": "FREQ=DAILY;COUNT=1001"}, "recurrence", "needs COUNT"),
        ({"recurence": None}, "recurence", "spelling"),
    ],
)
async def test_what_an_event_cannot_be(church: Any, values: dict[str, Any], field: str, words: str) -> None:
    faults = await church.faults("POST", "/events", await coffee(values))
    assert words in faults[field]
    assert await church.facts() == []


async def coffee(values: dict[str, Any]) -> dict[str, Any]:
    return {
        "title": "Coffee",
        "starts_at": "2026-03-01T15:30:00Z",
        "ends_at": "2026-03-01T16:30:00Z",
        "time_zone": "America/New_York",
    } | values


async def test_deleted_here(church: Any) -> None:
    event = await church.add(external_id="e-1")
    await church.facts()
    path = f"/events/{event['id']}"
    await church.call("DELETE", path, status=204)
    assert [(kind, body and body["version"]) for kind, _, body in await church.facts()] == [
        ("EventRemoved", 2),
        ("EventRemoved", None),
    ]
    for method, body in (("GET", None), ("PATCH", {"title": "Tea"}), ("DELETE", None)):
        await church.call(method, path, body, status=404)
    assert await church.rows(OccurrenceRow) == []
    assert (await church.call("GET", "/events"))["total"] == 0
    assert await church.history(event) == [("created", False, True), ("deleted", False, True)]


async def test_another_church_sees_and_changes_nothing(church: Any, another: Callable[..., Any]) -> None:
    event = await church.add(external_id="e-1")
    await church.facts()
    stranger = another("org-2")
    path = f"/events/{event['id']}"
    key = event["occurrences"][0]["key"]
    for method, below, body in (
        ("GET", "", None),
        ("PATCH", "", {"title": "Mine"}),
        ("DELETE", "", None),
        ("GET", "/history", None),
        ("GET", "/history.csv", None),
        ("PATCH", f"/occurrences/{key}", {"title": "Mine"}),
        ("DELETE", f"/occurrences/{key}", None),
    ):
        await stranger.call(method, path + below, body, status=404)
    for unknown in (str(uuid4()), "nonsense"):
        await church.call("GET", f"/events/{unknown}", status=404)
    assert (await stranger.call("GET", "/events"))["items"] == []
    assert await stranger.occurrences(first_day="2026-03-01", last_day="2026-03-31") == []
    result = await stranger.call("POST", "/bulk", {"events": [{**RETREAT, "external_id": "e-1", "time_zone": "UTC"}]})
    assert result["created"] == 1
    assert await church.call("GET", path) == event
    assert {key for _, key, _ in await church.facts()} != {event["id"]}


async def test_staff_read_and_admins_act(church: Any, another: Callable[..., Any]) -> None:
    event = await church.add()
    staff = another("org-1", "staff")
    path = f"/events/{event['id']}"
    key = event["occurrences"][0]["key"]
    assert await staff.call("GET", path) == event
    assert len(await staff.occurrences(first_day="2026-03-01")) == 4
    for method, at, body in (
        ("POST", "/events", await coffee({})),
        ("PATCH", path, {"title": "Tea"}),
        ("DELETE", path, None),
        ("PATCH", f"{path}/occurrences/{key}", {"title": "Tea"}),
        ("DELETE", f"{path}/occurrences/{key}", None),
        ("POST", "/bulk", {"events": []}),
    ):
        await staff.call(method, at, body, status=403)


async def test_a_repeat_with_the_same_key_adds_nothing(church: Any) -> None:
    headers = {"Idempotency-Key": "one"}
    first = await church.call("POST", "/events", await coffee({}), status=201, headers=headers)
    assert await church.call("POST", "/events", await coffee({}), status=201, headers=headers) == first
    assert (await church.call("GET", "/events"))["total"] == 1


async def test_the_list_by_title(church: Any) -> None:
    for title in ("Évensong", "choir practice", "Bible study", "Choir tour", "☕"):
        await church.add(title=title, recurrence=None)

    async def titles(**query: Any) -> list[str]:
        page = await church.call("GET", "/events", params=query)
        return [one["title"] for one in page["items"]]

    assert await titles() == ["☕", "Bible study", "choir practice", "Choir tour", "Évensong"]
    assert await titles(q="choir") == ["choir practice", "Choir tour"]
    assert await titles(q="tour CHO") == ["Choir tour"]
    assert await titles(q="evens") == ["Évensong"]
    assert await titles(q="%") == []
    page = await church.call("GET", "/events", params={"limit": 2})
    assert page["total"] == 5
    assert await titles(limit=2, after=page["next"]) == ["choir practice", "Choir tour"]


async def test_a_month_of_the_calendar(church: Any) -> None:
    """Times by the instants at which days begin in the zone that is asked for, all-day events by their dates."""
    await church.add(title="Late", starts_at="2026-03-31T22:00:00-04:00", ends_at="2026-04-01T01:00:00-04:00", **SINGLE)
    await church.add(title="Next", starts_at="2026-04-01T00:00:00-04:00", ends_at="2026-04-01T01:00:00-04:00", **SINGLE)
    await church.add(
        title="Ended", starts_at="2026-02-28T23:00:00-05:00", ends_at="2026-03-01T00:00:00-05:00", **SINGLE
    )
    await church.add(
        title="Moment", starts_at="2026-03-01T00:00:00-05:00", ends_at="2026-03-01T00:00:00-05:00", **SINGLE
    )
    await church.add(title="Lent", starts_at="2025-08-01T00:00:00Z", ends_at="2026-03-20T00:00:00Z", **SINGLE)
    for title, first, last, zone in (
        ("First", "2026-03-01", "2026-03-01", "Pacific/Kiritimati"),
        ("Last", "2026-03-31", "2026-04-03", "Pacific/Pago_Pago"),
        ("Before", "2026-02-01", "2026-02-28", "Pacific/Pago_Pago"),
        ("After", "2026-04-01", "2026-04-01", "Pacific/Kiritimati"),
        ("All winter", "2025-12-01", "2026-03-02", "UTC"),
    ):
        body = {"title": title, "first_day": first, "last_day": last, "time_zone": zone}
        await church.call("POST", "/events", body, status=201)
    march = {"first_day": "2026-03-01", "last_day": "2026-03-31", "time_zone": "America/New_York"}
    everything = [one["title"] for one in await church.occurrences(**march)]
    assert everything == ["Lent", "All winter", "First", "Moment", "Last", "Late"]
    assert [one["title"] for one in await church.occurrences(**march, limit=1)] == everything
    london = [one["title"] for one in await church.occurrences(**march | {"time_zone": "Europe/London"})]
    assert london == ["Lent", "All winter", "First", "Ended", "Moment", "Last"]
    first = (await church.occurrences(**march))[2]
    assert (first["all_day"], first["first_day"], first["series"]) == (True, "2026-03-01", False)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"first_day": "2026-03-01", "last_day": "2026-02-28"}, "last_day"),
        ({"first_day": "2026-01-01", "last_day": "2027-02-05"}, "last_day"),
        ({"first_day": "0001-01-01"}, "first_day"),
        ({"first_day": "9999-12-31"}, "first_day"),
        ({"first_day": "tomorrow"}, "query.first_day"),
        ({"time_zone": "Mars/Phobos"}, "time_zone"),
        ({"after": "x"}, "after"),
    ],
)
async def test_what_a_window_cannot_be(church: Any, query: dict[str, str], field: str) -> None:
    problem = await church.call("GET", "/occurrences", params=query, status=422)
    assert [one["field"] for one in problem["errors"]] == [field]


async def test_a_window_of_400_days_and_one_that_is_not_named(church: Any) -> None:
    await church.occurrences(first_day="2026-01-01", last_day="2027-02-04")
    now = church.app.state.runtime.clock.now()
    await church.add(starts_at=now.isoformat(), ends_at=now.isoformat(), recurrence="FREQ=DAILY;COUNT=90")
    assert len(await church.occurrences()) in {30, 31}


async def test_files_hold_nothing_that_a_spreadsheet_carries_out(church: Any) -> None:
    event = await church.add(title="=SUM(A1)", location="+1", recurrence="FREQ=WEEKLY;COUNT=2")
    await church.call("PATCH", f"/events/{event['id']}", {"title": "@risk"})

    async def lines(path: str) -> list[list[str]]:
        answer = await church.http.get(f"/api/v1/calendar{path}")
        assert answer.headers["content-type"].startswith("text/csv")
        return list(csv.reader(io.StringIO(answer.text.removeprefix("\ufeff"))))

    heading, line = await lines("/events.csv")
    assert (heading[0], line[0], line[6], line[8], line[9]) == ("Title", "'@risk", "'+1", "FREQ=WEEKLY;COUNT=2", "2")
    assert [line[0] for line in await lines("/occurrences.csv?first_day=2026-03-01")] == ["Title", "'@risk", "'@risk"]
    history = await lines(f"/events/{event['id']}/history.csv")
    assert [line[3:5] for line in history] == [["Before", "After"], ["'=SUM(A1)", "'@risk"], ["no", "yes"]]
