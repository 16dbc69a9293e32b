"""Links with Planning Center: compared, made, synced and taken away, against the simulator."""

from datetime import datetime, timedelta
from typing import Any

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="session")


def dates(event: dict[str, Any]) -> list[tuple[str, str]]:
    """Start and end of what takes place."""
    return [(one["starts_at"], one["ends_at"]) for one in event["occurrences"] if not one["cancelled"]]


def there(linked: Any, pco_event_id: str) -> list[tuple[str, str]]:
    return [(one["starts_at"], one["ends_at"]) for one in linked.instances(pco_event_id)]


def day(linked: Any, days: int, time: str = "09:00") -> str:
    """A local time so many days ahead."""
    return f"{(linked.clock.now() + timedelta(days=days)).date()}T{time}"


async def test_an_event_is_searched_compared_linked_synced_and_unlinked(linked: Any) -> None:
    at = day(linked, 10)
    pco = linked.create("Pumpkin Feast", at, location="Main Hall", summary="Bring a dish.")
    event = await linked.here.add(title="Supper", starts_at=f"{at}:00-05:00", ends_at=f"{at}:00-05:00", recurrence=None)

    found = await linked.here.call("GET", "/there?q=pumpkin")
    assert [(one["pco_event_id"], one["title"], one["linked_to"]) for one in found["items"]] == [
        (pco, "Pumpkin Feast", None)
    ]

    shown = await linked.here.call("GET", f"/events/{event['id']}/comparison?pco_event_id={pco}")
    assert {one["field"]: (one["here"], one["there"]) for one in shown["fields"]}.items() >= {
        "title": ("Supper", "Pumpkin Feast"),
        "location": ("Hall", "Main Hall"),
        "description": (None, "Bring a dish."),
    }.items()
    assert (await linked.event(event)) == event, "a comparison changes nothing"

    after = await linked.link(event, pco)
    assert after["link"]["state"] == "linked"
    assert after["link"]["linked_by_name"] == "Test User"
    assert (after["title"], after["location"], after["description"]) == ("Pumpkin Feast", "Main Hall", "Bring a dish.")
    assert dates(after) == there(linked, pco)
    assert [kind.rpartition(".")[2] for kind, _, _ in await linked.here.facts()] == ["EventChanged", "EventLinked"]
    status = await linked.here.call("GET", "/status")
    assert (status["linked"], status["connected"]) == (1, True)
    assert status["time_zone"]
    assert (await linked.here.call("GET", "/there?q=pumpkin"))["items"][0]["linked_to"] == event["id"]

    linked.control.edit_event(linked.there.id, pco, name="Pumpkin Dinner", location="Garden")
    done = await linked.sync(event)
    assert (done["state"], done["outcome"]) == ("done", "updated_here")
    synced = await linked.event(event)
    assert (synced["title"], synced["location"]) == ("Pumpkin Dinner", "Garden")
    assert (await linked.sync(event))["outcome"] == "unchanged"
    history = await linked.here.history(event)
    assert ("title", "Pumpkin Feast", "Pumpkin Dinner") in history

    alone = await linked.here.call("DELETE", f"/events/{event['id']}/link")
    assert (alone["link"], alone["title"]) == (None, "Pumpkin Dinner")
    assert linked.control.event(linked.there.id, pco) is not None
    facts = await linked.here.facts()
    assert facts[-1][0].endswith("EventUnlinked")
    assert facts[-1][2]["event"]["pco_event_id"] is None
    await linked.here.call("POST", f"/events/{event['id']}/sync", status=409)


async def test_a_series_becomes_the_list_of_its_occurrences_there(linked: Any) -> None:
    begin = linked.clock.now() + timedelta(days=7)
    pco = linked.series("Choir", begin.strftime("%Y-%m-%dT19:00"), count=5)
    first = datetime.fromisoformat(linked.instances(pco)[0]["starts_at"])
    event = await linked.here.add(
        title="Choir practice",
        starts_at=first.isoformat(),
        ends_at=(first + timedelta(hours=2)).isoformat(),
        recurrence="FREQ=WEEKLY;COUNT=3",
    )
    keys = [one["key"] for one in event["occurrences"]]

    after = await linked.link(event, pco)

    assert (after["listed"], after["recurrence"], after["occurrence_count"]) == (True, None, 5)
    assert [one["key"] for one in after["occurrences"]][:3] == keys, "occurrences at the same start keep their key"
    assert dates(after) == there(linked, pco)
    moved = linked.instances(pco)[1]
    linked.control.edit_instance(linked.there.id, moved["id"], name="Concert", location="Cathedral")
    linked.control.edit_instance(
        linked.there.id, moved["id"], starts_at=(first + timedelta(days=8)).strftime("%Y-%m-%dT%H:%M:%SZ")
    )
    linked.control.delete_instance(linked.there.id, linked.instances(pco)[-1]["id"])
    assert (await linked.sync(event))["outcome"] == "updated_here"
    synced = await linked.event(event)
    assert dates(synced) == there(linked, pco)
    one = next(each for each in synced["occurrences"] if each["key"] == keys[1])
    assert (one["title"], one["location"]) == ("Concert", "Cathedral")
    assert [each["cancelled"] for each in synced["occurrences"]] == [False] * 4 + [True]

    daily = {"recurrence": "FREQ=DAILY;COUNT=2"}
    problem = await linked.here.call("PATCH", f"/events/{event['id']}", daily, status=409)
    assert problem["type"].endswith("dates-from-planning-center")
    await linked.here.call("DELETE", f"/events/{event['id']}/link")
    own = await linked.here.call("PATCH", f"/events/{event['id']}", daily)
    assert (own["listed"], own["occurrence_count"]) == (False, 2)
