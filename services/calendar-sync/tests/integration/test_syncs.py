"""*Sync all linked events*, values put back, suggestions, and many links at once."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
import stamina
from sqlalchemy import update

from calendar_sync.storage.tables import CalendarConnection
from calendar_sync.usecases import suggestions
from servicekit.testing import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


def at(linked: Any, days: int, time: str = "09:00") -> str:
    return f"{(linked.clock.now() + timedelta(days=days)).date()}T{time}"


async def pair(linked: Any, title: str, days: int, **more: Any) -> tuple[dict[str, Any], str]:
    """A linked event, and its id there."""
    pco = linked.create(title, at(linked, days), **more)
    event = await alone(linked, title, at(linked, days) + ":00Z")
    return await linked.link(event, pco), pco


async def alone(linked: Any, title: str, begins: str, **more: Any) -> dict[str, Any]:
    """An event here."""
    values = {"title": title, "starts_at": begins, "ends_at": begins, "recurrence": None} | more
    added: dict[str, Any] = await linked.here.add(**values)
    return added


async def entry(linked: Any, event: dict[str, Any], field: str) -> str:
    """Id of the newest change of a field that can be put back."""
    items = (await linked.here.call("GET", f"/events/{event['id']}/history"))["items"]
    return str(next(one["id"] for one in items if one["field"] == field and one["can_undo"]))


async def test_all_linked_events_are_synced_with_progress_and_a_list(linked: Any) -> None:
    changed, pco = await pair(linked, "Retreat", 12)
    same, _ = await pair(linked, "Picnic", 14)
    past, pco_past = await pair(linked, "Long ago", -60)
    gone, pco_gone = await pair(linked, "Cancelled", 16)
    linked.control.edit_event(linked.there.id, pco, name="Spring retreat")
    linked.control.edit_event(linked.there.id, pco_past, name="Very long ago")
    linked.control.delete_event(linked.there.id, pco_gone)
    await linked.here.facts()

    run = await linked.here.call("POST", "/runs", status=202)
    assert (run["state"], run["kind"], run["trigger"]) == ("queued", "calendar", "person")
    assert (await linked.here.call("POST", "/runs", status=202))["id"] == run["id"], "the one in progress is joined"
    await linked.work()

    done = await linked.here.call("GET", f"/runs/{run['id']}")
    assert (done["state"], done["counts"]) == ("done", {"updated_here": 2, "unchanged": 1, "missing": 1})
    assert (done["progress"]["done"], done["progress"]["total"], done["progress"]["noun"]) == (4, 4, "events")
    assert done["progress"]["requests"] > 0
    listed = (await linked.here.call("GET", f"/runs/{run['id']}/changes"))["items"]
    assert {(one["event_id"], one["outcome"]) for one in listed} == {
        (changed["id"], "updated_here"),
        (same["id"], "unchanged"),
        (past["id"], "updated_here"),
        (gone["id"], "missing"),
    }
    assert all(one["sentence"] and one["title"] for one in listed)
    only = (await linked.here.call("GET", f"/runs/{run['id']}/changes?outcome=missing"))["items"]
    assert [one["title"] for one in only] == ["Cancelled"]
    file = await linked.here.http.get(f"/api/v1/calendar/runs/{run['id']}/changes.csv")
    assert len(file.text.splitlines()) == 5
    facts = [kind.rpartition(".")[2] for kind, key, _ in await linked.here.facts() if key == run["id"] or "Run" in kind]
    assert (facts[0], facts[-1]) == ("SyncRunStarted", "SyncRunFinished")
    history = (await linked.here.call("GET", f"/events/{changed['id']}/history"))["items"]
    assert history[0]["run_id"] == run["id"]
    assert (await linked.here.call("GET", "/runs"))["items"][0]["id"] == run["id"]
    status = await linked.here.call("GET", "/status")
    assert (status["run"], status["last_run"]["id"]) == (None, run["id"])


async def test_a_sync_of_all_stops_safely_and_waits_for_planning_center(linked: Any) -> None:
    await pair(linked, "Retreat", 12)
    run = await linked.here.call("POST", "/runs", status=202)
    stopped = await linked.here.call("POST", f"/runs/{run['id']}/stop", status=202)
    assert (stopped["state"], stopped["counts"]) == ("stopped", {"not_done": 1})
    assert "Stopped safely" in stopped["message"]
    (rest,) = (await linked.here.call("GET", f"/runs/{run['id']}/changes?outcome=not_done"))["items"]
    assert rest["title"] == "Retreat"
    run = await linked.here.call("POST", "/runs", status=202)
    linked.control.set_calendar_role(linked.there.id, linked.there.admin_id, "No Access")
    await linked.work()
    failed = await linked.here.call("GET", f"/runs/{run['id']}")
    assert (failed["state"], "Calendar role" in failed["message"]) == ("failed", True)
    assert (await linked.here.call("GET", "/status"))["role_missing"] is True
    await linked.here.call("GET", "/runs/none", status=404)


@pytest.mark.parametrize(("status", "outcome"), [(503, "later"), (403, "rejected"), (422, "rejected")])
async def test_a_sync_names_an_event_that_cannot_be_read(linked: Any, status: int, outcome: str) -> None:
    stamina.set_testing(True, attempts=1)
    pco = linked.series("Choir", at(linked, 5), count=3)
    event = await alone(linked, "Choir", at(linked, 5) + ":00Z")
    await linked.link(event, pco)
    linked.control.add_fault({"kind": "respond", "status": status}, path=f"/calendar/v2/events/{pco}/")
    linked.clock.advance(timedelta(seconds=1))
    run = await linked.here.call("POST", "/runs", status=202)
    await linked.work()
    done = await linked.here.call("GET", f"/runs/{run['id']}")
    assert (done["state"], done["counts"]) == ("done", {outcome: 1})
    card = await linked.here.call("GET", "/status")
    assert (card["role_missing"], "Sync all linked events" in card["message"]) == (False, True)


async def test_a_sync_does_not_name_what_was_linked_after_it_began(linked: Any) -> None:
    await pair(linked, "Retreat", 12)
    run = await linked.here.call("POST", "/runs", status=202)
    held = linked.control.add_fault({"kind": "hold", "when": "after"}, path="/calendar/v2/event_instances$", times=1)
    syncing = asyncio.create_task(linked.work())
    await eventually(lambda: linked.control.fault(held)["holding"])
    linked.clock.advance(timedelta(seconds=1))
    await pair(linked, "Picnic", 13)
    linked.control.release(held)
    await syncing
    assert (await linked.here.call("GET", f"/runs/{run['id']}"))["counts"] == {"unchanged": 1}


async def test_what_is_put_back_stays_until_it_is_synced_by_hand(linked: Any) -> None:
    pco = linked.create("Pumpkin Feast", at(linked, 12), location="Garden", summary="Bring a dish.")
    begins = at(linked, 12, "10:00") + ":00Z"
    event = await alone(linked, "Supper", begins, location="Hall")
    await linked.link(event, pco)
    theirs = await linked.event(event)

    restored = await linked.here.call(
        "POST", f"/events/{event['id']}/restore", {"entry_id": await entry(linked, event, "title")}
    )
    assert (restored["title"], restored["link"]["differs"]) == ("Supper", ["title"])
    restored = await linked.here.call(
        "POST", f"/events/{event['id']}/restore", {"entry_id": await entry(linked, event, "starts_at")}
    )
    assert (restored["starts_at"], restored["ends_at"]) == (event["starts_at"], event["ends_at"])
    assert restored["link"]["differs"] == ["title", "times"]

    linked.control.edit_event(linked.there.id, pco, name="Pumpkin Dinner", location="Barn", starts_at=at(linked, 13))
    await linked.poll()
    checked = await linked.event(event)
    assert (checked["title"], checked["starts_at"], checked["location"]) == ("Supper", event["starts_at"], "Barn")
    run = await linked.here.call("POST", "/runs", status=202)
    await linked.work()
    assert (await linked.here.call("GET", f"/runs/{run['id']}"))["counts"] == {"differs": 1}

    # A sync that did not happen overwrites nothing, now or later.
    refused = linked.control.add_fault({"kind": "respond", "status": 422}, path="/calendar/v2/event")
    assert (await linked.sync(event))["outcome"] == "rejected"
    linked.control.remove_fault(refused)
    await linked.poll()
    kept = await linked.event(event)
    assert (kept["title"], kept["link"]["differs"]) == ("Supper", ["title", "times"])

    assert (await linked.sync(event))["outcome"] == "updated_here"
    synced = await linked.event(event)
    assert (synced["title"], synced["link"]["differs"]) == ("Pumpkin Dinner", [])
    assert synced["starts_at"] != theirs["starts_at"]
    made = await linked.here.call("GET", f"/events/{event['id']}/history")
    first = next(one["id"] for one in made["items"] if one["field"] == "created")
    await linked.here.call("POST", f"/events/{event['id']}/restore", {"entry_id": first}, status=409)


async def test_what_is_put_back_after_a_sync_was_asked_for_stays(linked: Any) -> None:
    pco = linked.create("Pumpkin Feast", at(linked, 12), location="Garden")
    event = await alone(linked, "Supper", at(linked, 12) + ":00Z", location="Hall")
    await linked.link(event, pco)
    path = f"/events/{event['id']}"
    await linked.here.call("POST", f"{path}/restore", {"entry_id": await entry(linked, event, "location")})
    linked.clock.advance(timedelta(seconds=1))
    asked = await linked.here.call("POST", f"{path}/sync", status=202)
    linked.clock.advance(timedelta(seconds=1))
    await linked.here.call("POST", f"{path}/restore", {"entry_id": await entry(linked, event, "title")})
    await linked.work()
    assert (await linked.here.call("GET", f"/syncs/{asked['id']}"))["outcome"] == "differs"
    now = await linked.event(event)
    assert (now["title"], now["location"], now["link"]["differs"]) == ("Supper", "Garden", ["title"])


async def test_a_rule_that_a_list_replaced_is_put_back(linked: Any) -> None:
    pco = linked.series("Choir", at(linked, 3, "19:00"), count=3)
    begins = at(linked, 5) + ":00Z"
    event = await alone(linked, "Choir", begins, recurrence="FREQ=WEEKLY;COUNT=4")
    key = event["occurrences"][1]["key"]
    event = await linked.here.call("PATCH", f"/events/{event['id']}/occurrences/{key}", {"title": "Concert"})
    await linked.link(event, pco)
    assert (await linked.event(event))["occurrence_count"] == 3
    body = {"entry_id": await entry(linked, event, "recurrence")}
    back = await linked.here.call("POST", f"/events/{event['id']}/restore", body)
    assert (back["recurrence"], back["listed"], back["occurrences"]) == (
        event["recurrence"],
        False,
        event["occurrences"],
    )
    assert back["link"]["differs"] == ["times"]
    linked.control.delete_instance(linked.there.id, linked.instances(pco)[0]["id"])
    await linked.poll()
    assert (await linked.event(event))["occurrences"] == event["occurrences"]
    await linked.sync(event)
    assert (await linked.event(event))["listed"]


async def test_suggestions_have_reasons_and_are_confirmed_together(linked: Any) -> None:
    names = ["Pumpkin Feast", "Lantern Walk", "Zebra Choir"]
    pcos = [linked.create(name, at(linked, 20 + day), location="Barn") for day, name in enumerate(names)]
    starts = [linked.instances(pco)[0]["starts_at"] for pco in pcos]
    here = [
        await alone(linked, "Pumpkin feast!", starts[0], location="barn"),
        await alone(linked, "The Lantern Walk", starts[1][:11] + "23:30:00Z"),
        await alone(linked, "Accounts", starts[2]),
    ]
    found = (await linked.here.call("GET", f"/events/{here[0]['id']}/suggestions"))["items"]
    assert (found[0]["pco_event_id"], found[0]["strength"]) == (pcos[0], "Very likely")
    assert found[0]["reasons"] == ["same day", "same start", "100 % same title", "same room"]

    mark = linked.mark()
    page = await linked.here.call("GET", "/suggestions")
    assert len(linked.requests(mark)) == 1, "one window is read"
    best = {one["event"]["id"]: one["suggestion"] for one in page["items"]}
    assert best[here[0]["id"]]["pco_event_id"] == pcos[0]
    assert best[here[1]["id"]]["pco_event_id"] == pcos[1]
    assert best[here[2]["id"]] is None
    first = await linked.here.call("GET", "/suggestions?limit=1")
    second = await linked.here.call("GET", f"/suggestions?limit=1&after={first['next']}")
    assert [one["event"]["id"] for one in (*first["items"], *second["items"])] == [here[0]["id"], here[1]["id"]]

    links = [
        {"event_id": here[0]["id"], "pco_event_id": pcos[0], "version": here[0]["version"]},
        {"event_id": here[1]["id"], "pco_event_id": pcos[0]},
        {"event_id": here[1]["id"], "pco_event_id": pcos[1], "version": 99},
        {"event_id": here[2]["id"], "pco_event_id": "999999999"},
        {"event_id": "nobody", "pco_event_id": pcos[2]},
        {"event_id": here[1]["id"], "pco_event_id": pcos[1]},
    ]
    outcome = (await linked.here.call("POST", "/links", {"links": links}))["items"]
    assert [one["problem"] for one in outcome] == [
        None,
        "already-linked",
        "version-conflict",
        "not-found",
        "not-found",
        None,
    ]
    assert "Pumpkin Feast" in outcome[1]["sentence"]
    assert len(await linked.links()) == 2
    assert not (await linked.here.call("GET", f"/events/{here[2]['id']}/suggestions"))["items"]
    left = [one["event"]["id"] for one in (await linked.here.call("GET", "/suggestions"))["items"]]
    assert left == [here[2]["id"]]


async def test_suggestions_of_a_dense_calendar_take_few_requests(linked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suggestions, "MOST_REQUESTS", 3)
    pcos = [linked.create(f"Feast {number}", at(linked, 10 + 30 * number)) for number in range(5)]
    begins = [linked.instances(pco)[0]["starts_at"] for pco in pcos]
    here = [await alone(linked, f"Feast {number}", at_) for number, at_ in enumerate(begins)]
    async with linked.here.app.state.runtime.sessions.begin() as session:
        await session.execute(update(CalendarConnection).values(density=60.0))
    shown, after = [], ""
    for expected in (3, 2):
        mark = linked.mark()
        page = await linked.here.call("GET", f"/suggestions?limit=5{after}")
        assert len(page["items"]) == len(linked.requests(mark)) == expected
        shown += [(one["event"]["id"], one["suggestion"]["pco_event_id"], one["complete"]) for one in page["items"]]
        after = f"&after={page['next']}"
    assert shown == [(one["id"], pco, True) for one, pco in zip(here, pcos, strict=True)]
    assert page["next"] is None

    # More on one day than the requests reach.
    new = {"op": "create", "type": "Event", "attributes": {"name": "Crowd", "starts_at": at(linked, 10)}}
    linked.control.mutate(linked.there.id, *[new] * 420)
    mark = linked.mark()
    page = await linked.here.call("GET", "/suggestions?limit=5")
    assert ([one["complete"] for one in page["items"]], page["next"] is not None) == ([False], True)
    assert len(linked.requests(mark)) <= 5, "a page more shows that there is more, and one is read ahead"
    assert (await linked.here.call("GET", f"/events/{here[0]['id']}/suggestions"))["complete"] is False
    assert (await linked.here.call("GET", f"/events/{here[1]['id']}/suggestions"))["complete"] is True


async def test_one_occurrence_is_linked_and_followed(linked: Any) -> None:
    pco = linked.series("Choir", at(linked, 3, "19:00"), count=3)
    second = linked.instances(pco)[1]
    event = await alone(linked, "Choir concert", at(linked, 10) + ":00Z")
    other = await alone(linked, "Choir evening", at(linked, 3) + ":00Z")
    one = await linked.link(event, pco, second["id"])
    assert (one["link"]["pco_event_instance_id"], one["listed"], one["occurrence_count"]) == (second["id"], False, 1)
    problem = await linked.link(other, pco, status=409)
    assert problem["event_id"] == event["id"], "a series and one of its occurrences are not linked to two events"
    await linked.link(other, pco, linked.instances(pco)[0]["id"])
    third = await alone(linked, "Again", at(linked, 10) + ":00Z")
    await linked.link(third, pco, second["id"], status=409)

    linked.control.edit_instance(linked.there.id, second["id"], name="Concert", starts_at=at(linked, 11, "18:00"))
    linked.control.edit_event(linked.there.id, pco, count=5)
    await linked.poll()
    moved = await linked.event(event)
    now = next(each for each in linked.instances(pco) if each["id"] == second["id"])
    assert (moved["title"], moved["starts_at"]) == ("Concert", now["starts_at"])
    linked.control.delete_instance(linked.there.id, second["id"])
    await linked.poll()
    await linked.poll()
    assert (await linked.event(event))["link"]["state"] == "gone"
    assert (await linked.event(other))["link"]["state"] == "linked"
