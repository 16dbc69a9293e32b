"""Bulk upsert by the platform's own ids, over HTTP on a real PostgreSQL."""

import asyncio
from datetime import date, timedelta
from typing import Any

import pytest

from calendar_sync.storage.tables import Effect, Event, OccurrenceRow
from calendar_sync.usecases import bulk

SERVICE = {
    "external_id": "s",
    "title": "Sunday service",
    "starts_at": "2026-03-01T10:30:00-05:00",
    "ends_at": "2026-03-01T11:30:00-05:00",
    "time_zone": "America/New_York",
    "recurrence": "FREQ=WEEKLY;COUNT=4",
    "excluded": ["20260315"],
    "moved": [{"key": "20260308", "title": "Family service", "starts_at": "2026-03-08T09:00:00-04:00"}],
}


def retreat(external_id: str, **values: Any) -> dict[str, Any]:
    days = {"first_day": "2026-03-06", "last_day": "2026-03-08", "time_zone": "UTC"}
    return {"external_id": external_id, "title": f"Retreat {external_id}"} | days | values


async def send(church: Any, *events: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = await church.call("POST", "/bulk", {"events": list(events)})
    return result


def counts(result: dict[str, Any]) -> tuple[int, int, int, int]:
    return result["created"], result["updated"], result["unchanged"], len(result["rejected"])


async def one(church: Any, external_id: str) -> dict[str, Any]:
    [event] = [each for each in await church.rows(Event) if each.external_id == external_id]
    found: dict[str, Any] = await church.call("GET", f"/events/{event.id}")
    return found


async def test_the_same_call_twice_has_the_effect_of_once(church: Any) -> None:
    events = [SERVICE, retreat("r"), retreat("x", recurrence="FREQ=YEARLY;COUNT=3")]
    assert counts(await send(church, *events)) == (3, 0, 0, 0)
    facts = await church.facts()
    assert [(kind, body["version"]) for kind, _, body in facts] == [("EventChanged", 1)] * 3
    service = await one(church, "s")
    assert [(o["starts_at"][5:16], o["title"], o["cancelled"]) for o in service["occurrences"]] == [
        ("03-01T15:30", None, False),
        ("03-08T13:00", "Family service", False),
        ("03-15T14:30", None, True),
        ("03-22T14:30", None, False),
    ]
    history = len(await church.rows(Effect))
    assert history == 3
    assert counts(await send(church, *events)) == (0, 0, 3, 0)
    assert await church.facts() == []
    assert len(await church.rows(Effect)) == history
    assert await one(church, "s") == service


async def test_two_calls_at_once_add_each_event_once(church: Any) -> None:
    events = [SERVICE, *(retreat(str(n)) for n in range(20))]
    results = await asyncio.gather(send(church, *events), send(church, *reversed(events)))
    assert sorted(counts(result) for result in results) == [(0, 0, 21, 0), (21, 0, 0, 0)]
    assert len(await church.rows(Event)) == 21


async def test_what_is_not_sent_stays(church: Any) -> None:
    await send(church, SERVICE | {"description": "Welcome", "location": "Hall"})
    before = await one(church, "s")
    assert counts(await send(church, {"external_id": "s", "title": "Sunday service"})) == (0, 0, 1, 0)
    assert await one(church, "s") == before
    assert counts(await send(church, {"external_id": "s", "title": "Worship", "location": None, "excluded": []})) == (
        0,
        1,
        0,
        0,
    )
    after = await one(church, "s")
    assert (after["title"], after["location"], after["description"]) == ("Worship", None, "Welcome")
    assert [o["title"] for o in after["occurrences"]] == [None, "Family service", None, None]
    assert not any(o["cancelled"] for o in after["occurrences"])
    assert counts(await send(church, {"external_id": "s", "title": "Worship", "moved": []})) == (0, 1, 0, 0)
    assert not any(o["moved"] for o in (await one(church, "s"))["occurrences"])
    who = (await church.call("GET", f"/events/{before['id']}/history"))["items"][0]
    assert (who["by"], who["field"]) == ("platform", "occurrence")


async def test_a_bad_event_is_refused_alone(church: Any) -> None:
    bad: list[tuple[dict[str, Any], str]] = [
        ({"title": "Nobody's"}, "external_id"),
        (retreat("t", title=""), "title"),
        (retreat("u", colour="red"), "colour"),
        (retreat("v", last_day="2026-03-05"), "last_day"),
        (retreat("w", time_zone="Mars/Phobos"), "time_zone"),
        (retreat("x", time_zone=None), "time_zone"),
        (retreat("y", recurrence="FREQ=DAILY"), "recurrence"),
        (retreat("good"), "external_id"),
        (retreat("z", excluded=["20260306"]), "excluded"),
        (SERVICE | {"external_id": "a", "excluded": ["20260302"]}, "excluded.0"),
        (SERVICE | {"external_id": "b", "moved": [{"key": "20260302"}]}, "moved.0"),
        (SERVICE | {"external_id": "c", "moved": [{"key": "20260308"}, {"key": "20260308"}]}, "moved.1"),
        (
            SERVICE | {"external_id": "d", "moved": [{"key": "20260308", "first_day": "2026-03-08"}]},
            "moved.0.first_day",
        ),
        (
            SERVICE | {"external_id": "e", "recurrence": "FREQ=WEEKLY;COUNT=1", "moved": [], "excluded": ["20260301"]},
            "excluded",
        ),
    ]
    result = await send(church, retreat("good"), *(event for event, _ in bad))
    assert counts(result) == (1, 0, 0, len(bad))
    found = [(one["position"], one["errors"][0]["field"]) for one in result["rejected"]]
    assert found == [(position, field) for position, (_, field) in enumerate(bad, 1)]
    assert len(await church.facts()) == 1


async def test_halves_of_characters_are_refused_alone(church: Any) -> None:
    half = "\\ud800"
    good = (
        '{"external_id": "good", "title": "A", "first_day": "2026-03-06", "last_day": "2026-03-06", "time_zone": "UTC"}'
    )
    bad = [f'{{"external_id": "{half}", "title": "A"}}', f'{{"external_id": "b", "title": "{half}", "{half}": 1}}']
    body = f'{{"events": [{", ".join([*bad, good])}]}}'
    headers = {"Content-Type": "application/json"}
    answer = await church.http.post("/api/v1/calendar/bulk", content=body.encode(), headers=headers)
    assert answer.status_code == 200, answer.text
    assert counts(answer.json()) == (1, 0, 0, 2)


async def test_a_deleted_event_comes_back(church: Any) -> None:
    await send(church, SERVICE)
    event = await one(church, "s")
    await church.call("DELETE", f"/events/{event['id']}", status=204)
    await church.facts()
    assert counts(await send(church, SERVICE)) == (0, 1, 0, 0)
    again = await one(church, "s")
    assert (again["id"], again["version"], again["occurrences"]) == (event["id"], 3, event["occurrences"])
    assert [kind for kind, _, _ in await church.facts()] == ["EventChanged"]
    assert ("deleted", True, False) in await church.history(event)


async def test_more_than_one_transaction_takes_changes_nothing(church: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "MOST_OCCURRENCES", 4)
    problem = await church.call("POST", "/bulk", {"events": [SERVICE, retreat("r")]}, status=413)
    assert problem["limit"] == 4
    assert await church.rows(OccurrenceRow) == []
    assert await church.facts() == []


def titled(each: int, title: str, location: str) -> dict[str, Any]:
    """A series of a thousand days, of which the first have texts of their own."""
    days = [date(2026, 1, 1) + timedelta(days=n) for n in range(each)]
    moved = [{"key": f"{day:%Y%m%d}", "title": title, "location": location} for day in days]
    first = {"first_day": "2026-01-01", "last_day": "2026-01-01"}
    return retreat("long", recurrence="FREQ=DAILY;COUNT=1000", moved=moved, **first)


async def test_the_largest_event_fits_into_one_fact(church: Any) -> None:
    """JSON writes two characters for each quote."""
    longest = {"title": '"' * 255, "location": '"' * 500, "description": "\U0001f3b5" * 10_000}
    assert counts(await send(church, titled(1000, '"' * 255, '"' * 45) | longest)) == (1, 0, 0, 0)
    [(_, _, body)] = await church.facts()
    assert len(body["event"]["occurrences"]) == 1000


async def test_own_texts_that_no_fact_can_carry_are_refused(church: Any) -> None:
    result = await send(church, titled(200, "ü" * 255, "ü" * 500), retreat("good"))
    assert counts(result) == (1, 0, 0, 1)
    assert result["rejected"][0]["errors"][0]["field"] == "title"
