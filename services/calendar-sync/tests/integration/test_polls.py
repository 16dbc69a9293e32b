"""The regular check of linked events: what it costs, what it finds, and what it does not conclude."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
import stamina
from sqlalchemy import func, select, text, update

from calendar_sync.domain.schedule import next_check
from calendar_sync.storage.links import Owner
from calendar_sync.storage.tables import CalendarConnection, Refresh
from calendar_sync.usecases import polling
from calendar_sync.usecases.refreshes import may_have_changed
from servicekit.testing import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


def dates(event: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["starts_at"], one["ends_at"]) for one in event["occurrences"] if not one["cancelled"]]


def there(linked: Any, pco_event_id: str) -> list[tuple[str, str]]:
    return [(one["starts_at"], one["ends_at"]) for one in linked.instances(pco_event_id)]


def at(linked: Any, days: int, time: str = "09:00") -> str:
    return f"{(linked.clock.now() + timedelta(days=days)).date()}T{time}"


async def pair(linked: Any, title: str, days: int, **more: Any) -> tuple[dict[str, Any], str]:
    """A linked event, and its id there."""
    pco = linked.create(title, at(linked, days), **more)
    begins = at(linked, days) + ":00Z"
    event = await linked.here.add(title=title, starts_at=begins, ends_at=begins, recurrence=None)
    return await linked.link(event, pco), pco


async def test_a_church_without_links_costs_nothing(linked: Any) -> None:
    mark = linked.mark()
    await linked.poll()
    await linked.poll(60 * 24)
    assert linked.requests(mark) == []
    status = await linked.here.call("GET", "/status")
    assert (status["linked"], status["next_check_at"]) == (0, None)


async def test_ten_thousand_churches_without_links_cost_nothing(linked: Any) -> None:
    fill = text(
        "INSERT INTO calendar_connection (organization_id, pco_organization_id, pco_organization_name, state, "
        "generation, version, occurred_at, time_zone, checked_at, next_poll_at) SELECT 'idle-' || number, number, "
        "'Church', 'connected', 1, 1, now(), 'UTC', now(), :due FROM generate_series(1, 10000) AS number"
    )
    sessions, now = linked.here.app.state.runtime.sessions, linked.clock.now()
    await linked.connected()  # again: it has no link either
    async with sessions.begin() as session:
        await session.execute(fill, {"due": now - timedelta(minutes=1)})
    mark = linked.mark()
    assert await linked.poll() == 0
    assert linked.requests(mark) == []
    due = select(func.count()).where(CalendarConnection.next_poll_at.is_not(None))
    for _ in range(10):
        async with sessions.begin() as session:
            assert await polling.start_due(session, linked.clock.now()) == 0
    async with sessions() as session:
        assert await session.scalar(due) == 0, "no round looks at them again"
    event, _ = await pair(linked, "Retreat", 12)
    assert await linked.poll() == 1, "the first link begins the checks"
    await linked.here.call("DELETE", f"/events/{event['id']}/link")
    assert await linked.poll() == 0
    async with sessions() as session:
        assert await session.scalar(due) == 0


async def test_one_date_of_a_series_costs_no_request_of_its_own(linked: Any) -> None:
    pco = linked.series("Choir", at(linked, 5), count=3)
    first = linked.instances(pco)[0]
    begins = at(linked, 5) + ":00Z"
    event = await linked.here.add(title="Choir", starts_at=begins, ends_at=begins, recurrence=None)
    await linked.link(event, pco, first["id"])
    linked.control.edit_event(linked.there.id, pco, name="Choir practice")
    mark = linked.mark()
    await linked.poll()
    assert [one["path"] for one in linked.requests(mark)] == ["/calendar/v2/event_instances"]
    assert (await linked.event(event))["title"] == "Choir practice"


async def test_a_check_takes_over_what_changed_and_nothing_else(linked: Any) -> None:
    one, pco = await pair(linked, "Retreat", 12, location="Lake")
    other, _ = await pair(linked, "Picnic", 14)
    pco_series = linked.series("Choir", at(linked, 3, "19:00"), count=4)
    series = await linked.here.add(title="Choir", starts_at=at(linked, 3) + ":00Z", ends_at=at(linked, 3) + ":00Z")
    await linked.link(series, pco_series)
    await linked.here.facts()
    await linked.poll()
    assert await linked.here.facts() == [], "nothing changed"

    linked.control.edit_event(linked.there.id, pco, name="Spring retreat", location="Hills", starts_at=at(linked, 20))
    linked.control.create_instance(linked.there.id, pco_series, at(linked, 50, "19:00"))
    linked.control.delete_instance(linked.there.id, linked.instances(pco_series)[0]["id"])
    assert linked.control.settings()["content_touches_updated_at"] is False
    mark = linked.mark()
    await linked.poll()

    changed = await linked.event(one)
    assert (changed["title"], changed["location"]) == ("Spring retreat", "Hills")
    assert dates(changed) == there(linked, pco)
    assert dates(await linked.event(series)) == there(linked, pco_series)
    assert sorted(body["event"]["id"] for _, _, body in await linked.here.facts()) == sorted([one["id"], series["id"]])
    assert (await linked.event(other))["version"] == other["version"]
    assert len(linked.requests(mark)) <= 5
    status = await linked.here.call("GET", "/status")
    assert datetime.fromisoformat(status["checked_at"]) == linked.clock.now()


async def test_deleted_there_it_is_unlinked_only_when_that_is_certain_and_linked_again_when_it_returns(
    linked: Any,
) -> None:
    event, pco = await pair(linked, "Retreat", 12)
    kept = linked.control.event(linked.there.id, pco)
    assert kept
    await linked.poll()
    linked.control.set_lag()
    linked.control.delete_event(linked.there.id, pco)

    await linked.poll()
    missing = (await linked.event(event))["link"]
    assert (missing["state"], missing["missing_since"] is not None) == ("linked", True)
    await linked.poll(1)
    assert (await linked.event(event))["link"]["state"] == "linked", "the horizon is not over"
    await linked.poll()
    gone = await linked.event(event)
    assert gone["link"]["state"] == "gone"
    assert gone["link"]["note"].startswith("Deleted in Planning Center on ")
    assert gone["title"] == "Retreat"
    assert [one["id"] for one in (await linked.here.call("GET", "/events?state=gone"))["items"]] == [event["id"]]
    facts = [kind.rpartition(".")[2] for kind, _, _ in await linked.here.facts()]
    assert facts[-1] == "EventUnlinked"

    mark = linked.mark()
    await linked.poll()
    assert linked.requests(mark) == [], "it is looked for once a day"
    await linked.poll(60 * 24)
    assert len(linked.requests(mark)) == 2, "its own address, and the church's zone"


async def test_an_event_that_returns_is_linked_again_by_itself(linked: Any) -> None:
    event, pco = await pair(linked, "Retreat", 12)
    linked.control.edit_event(linked.there.id, pco, starts_at=at(linked, 40), name="Spring retreat")
    hidden = linked.control.add_fault({"kind": "respond", "status": 404}, path=f"/calendar/v2/events/{pco}/")
    await linked.poll()
    await linked.poll()
    assert (await linked.event(event))["link"]["state"] == "gone"
    await linked.here.facts()
    linked.control.remove_fault(hidden)
    await linked.poll(60 * 24)
    back = await linked.event(event)
    assert (back["link"]["state"], back["link"]["linked_by_name"], back["link"]["note"]) == ("linked", None, None)
    assert (back["title"], dates(back)) == ("Spring retreat", there(linked, pco))
    assert [kind.rpartition(".")[2] for kind, _, _ in await linked.here.facts()] == ["EventLinked"]
    links = [new for field, _, new in await linked.here.history(event) if field == "linked_to"]
    assert [link is not None for link in links] == [True, False, True]


async def test_an_event_that_returns_after_a_month_is_checked_again(linked: Any) -> None:
    event, pco = await pair(linked, "Retreat", 60)
    linked.control.edit_event(linked.there.id, pco, starts_at=at(linked, 90))
    hidden = linked.control.add_fault({"kind": "respond", "status": 404}, path=f"/calendar/v2/events/{pco}/")
    for days in (0, 0, 31, 1):
        await linked.poll(60 * 24 * days + 5)
    (row,) = await linked.here.rows(CalendarConnection)
    assert row.next_poll_at is None, "it is looked for no longer"
    linked.control.remove_fault(hidden)
    assert (await linked.sync(event))["outcome"] == "linked"
    linked.control.edit_event(linked.there.id, pco, name="Spring retreat")
    await linked.poll()
    assert (await linked.event(event))["title"] == "Spring retreat"


async def test_an_event_that_is_gone_can_be_kept(linked: Any) -> None:
    event, pco = await pair(linked, "Retreat", 12)
    await linked.here.call("POST", f"/events/{event['id']}/link/keep", status=409)
    linked.control.delete_event(linked.there.id, pco)
    await linked.poll()
    await linked.poll()
    kept = await linked.here.call("POST", f"/events/{event['id']}/link/keep")
    assert (kept["link"], kept["title"]) == (None, "Retreat")
    assert (await linked.here.call("GET", "/status"))["gone"] == 0


async def test_a_missing_event_that_is_there_after_all_stays_linked(linked: Any) -> None:
    event, pco = await pair(linked, "Retreat", 12)
    linked.control.edit_event(linked.there.id, pco, starts_at=at(linked, 40))
    path = f"/calendar/v2/events/{pco}/event_instances$"
    linked.control.add_fault({"kind": "respond", "status": 404}, path=path, times=1)
    await linked.poll()
    assert (await linked.event(event))["link"]["missing_since"]
    await linked.poll()
    assert dates(await linked.event(event)) == there(linked, pco), "moved out of the window that was read"
    link = (await linked.event(event))["link"]
    assert (link["state"], link["missing_since"]) == ("linked", None)


@pytest.mark.parametrize(
    "action",
    [
        {"kind": "respond", "status": 500},
        {"kind": "respond", "status": 404, "body": "html"},
        {"kind": "respond", "status": 200, "body": "empty"},
        {"kind": "truncate"},
        {"kind": "reset", "when": "before"},
        {"kind": "omit", "attribute": "created_at", "type": "EventInstance"},
    ],
    ids=lambda one: "-".join(str(part) for part in one.values()),
)
async def test_a_failed_read_concludes_nothing(linked: Any, action: dict[str, Any]) -> None:
    event, pco = await pair(linked, "Retreat", 12)
    other, _ = await pair(linked, "Picnic", 13)
    before = (await linked.here.call("GET", "/status"))["checked_at"]
    linked.control.delete_event(linked.there.id, pco)
    linked.control.add_fault(action, path="/calendar/v2/event")
    stamina.set_testing(True)

    for _ in range(3):
        await linked.poll()

    assert (await linked.event(event))["link"] == event["link"]
    assert (await linked.event(other))["link"] == other["link"]
    status = await linked.here.call("GET", "/status")
    assert status["checked_at"] == before
    stamina.set_testing(False)
    linked.control.clear_faults()
    await linked.poll()
    await linked.poll()
    assert (await linked.event(event))["link"]["state"] == "gone", "the check goes on by itself"


async def test_the_role_is_gone_and_comes_back(linked: Any) -> None:
    event, pco = await pair(linked, "Retreat", 12)
    linked.control.set_calendar_role(linked.there.id, linked.there.admin_id, "No Access")
    await linked.poll()
    status = await linked.here.call("GET", "/status")
    assert status["role_missing"]
    assert "Calendar role" in status["message"]
    assert (await linked.event(event))["link"]["state"] == "linked"
    problem = await linked.here.call("GET", "/there?q=x", status=409)
    assert problem["type"].endswith("role-missing")
    linked.control.set_calendar_role(linked.there.id, linked.there.admin_id, "Administrator")
    linked.control.edit_event(linked.there.id, pco, name="Spring retreat")
    await linked.poll()
    assert not (await linked.here.call("GET", "/status"))["role_missing"]
    assert (await linked.event(event))["title"] == "Spring retreat"


async def test_links_outlive_a_disconnect_and_are_found_again(linked: Any) -> None:
    event, pco = await pair(linked, "Retreat", 12)
    await linked.disconnected()
    linked.control.edit_event(linked.there.id, pco, name="Spring retreat")
    mark = linked.mark()
    await linked.poll()
    assert linked.requests(mark) == []
    assert (await linked.event(event))["link"]["state"] == "linked"
    await linked.here.call("POST", f"/events/{event['id']}/sync", status=409)
    await linked.connected()
    await linked.poll(0)
    assert (await linked.event(event))["title"] == "Spring retreat"


async def test_what_lies_beyond_the_window_is_read_once_a_day_a_few_in_each_check(linked: Any) -> None:
    pairs = [await pair(linked, f"Retreat {number}", 400 if number % 2 else -20) for number in range(7)]
    near, _ = await pair(linked, "Picnic", 12)
    old = await pair(linked, "Reunion", -40)
    for event, pco in [*pairs, old]:
        linked.control.edit_event(linked.there.id, pco, name=f"{event['title']} renamed")

    async def renamed() -> int:
        return sum([(await linked.event(event))["title"].endswith("renamed") for event, _ in pairs])

    await linked.poll()
    assert await renamed() == 0, "the links have just been read"
    linked.clock.advance(timedelta(days=1))
    mark = linked.mark()
    await linked.poll()
    assert await renamed() == 5
    assert len(linked.requests(mark)) == 7, "five, one window, and the church's zone"
    await linked.poll()
    assert await renamed() == 7
    mark = linked.mark()
    await linked.poll()
    assert len(linked.requests(mark)) == 1, "not again today"
    far = (await linked.event(pairs[0][0]))["link"]
    assert datetime.fromisoformat(far["read_at"]) > linked.clock.now() - timedelta(minutes=11)
    assert (await linked.event(near))["link"]["read_at"] == near["link"]["read_at"]
    assert (await linked.event(old[0]))["title"] == "Reunion", "over for a month"
    assert (await linked.sync(old[0]))["outcome"] == "updated_here"


async def test_a_window_that_was_read_before_a_sync_is_not_taken_over(linked: Any) -> None:
    event, pco = await pair(linked, "Retreat", 12)
    linked.control.edit_event(linked.there.id, pco, name="Older", location="Lake")
    held = linked.control.add_fault({"kind": "hold", "when": "after"}, path="/calendar/v2/event_instances$", times=1)
    checking = asyncio.create_task(linked.poll())
    await eventually(lambda: linked.control.fault(held)["holding"])
    linked.clock.advance(timedelta(seconds=1))
    linked.control.edit_event(linked.there.id, pco, name="Newer", location="Hills")
    assert (await linked.sync(event))["outcome"] == "updated_here"
    linked.control.release(held)
    await checking
    now = await linked.event(event)
    assert (now["title"], now["location"]) == ("Newer", "Hills")
    assert [new for field, _, new in await linked.here.history(event) if field == "title"] == ["Newer"]


async def test_an_answer_about_one_event_is_not_taken_over_after_a_newer_one(linked: Any) -> None:
    event, pco = await pair(linked, "Retreat", 400)
    linked.clock.advance(timedelta(days=1))
    linked.control.edit_event(linked.there.id, pco, name="Older")
    path = f"/calendar/v2/events/{pco}/event_instances$"
    held = linked.control.add_fault({"kind": "hold", "when": "after"}, path=path, times=1)
    checking = asyncio.create_task(linked.poll())
    await eventually(lambda: linked.control.fault(held)["holding"])
    linked.clock.advance(timedelta(seconds=1))
    linked.control.edit_event(linked.there.id, pco, name="Newer")
    assert (await linked.sync(event))["outcome"] == "updated_here"
    linked.control.release(held)
    await checking
    assert (await linked.event(event))["title"] == "Newer"
    assert [new for field, _, new in await linked.here.history(event) if field == "title"] == ["Newer"]


async def test_one_bad_event_does_not_stop_the_others(linked: Any) -> None:
    bad, bad_pco = await pair(linked, "Retreat", 12)
    good, good_pco = await pair(linked, "Picnic", 13)
    none, none_pco = await pair(linked, "Nothing", 14)
    linked.control.set_raw(linked.there.id, "Event", bad_pco, name=None)
    one = linked.instances(bad_pco)[0]
    linked.control.set_raw(linked.there.id, "EventInstance", one["id"], ends_at="2020-01-01T00:00:00Z")
    linked.control.edit_event(linked.there.id, good_pco, name="Summer picnic")
    linked.control.delete_instance(linked.there.id, linked.instances(none_pco)[0]["id"])
    await linked.poll()
    assert (await linked.event(good))["title"] == "Summer picnic"
    kept = await linked.event(bad)
    assert (kept["title"], dates(kept)) == ("Retreat", dates(bad))
    assert "end before the start" in kept["link"]["note"]
    assert "no date" in (await linked.event(none))["link"]["note"]
    assert dates(await linked.event(none)) == dates(none)


async def test_this_event_may_have_changed(linked: Any) -> None:
    event, pco = await pair(linked, "Retreat", 12)
    owner = Owner("org-1", linked.there.id)
    for number, pco_id in enumerate((f"event:{pco}", f"instance:{linked.instances(pco)[0]['id']}"), start=1):
        linked.control.edit_event(linked.there.id, pco, name=f"Retreat {number}")
        async with linked.here.app.state.runtime.sessions.begin() as session:
            first = await may_have_changed(session, owner, pco_id, linked.clock.now())
            again = await may_have_changed(session, owner, f"event:{pco}", linked.clock.now())
            assert first.id == again.id, "requests for one event are one sync"
        await linked.work()
        assert (await linked.event(event))["title"] == f"Retreat {number}"
    async with linked.here.app.state.runtime.sessions.begin() as session:
        await may_have_changed(session, owner, "request:5", linked.clock.now())
        await may_have_changed(session, owner, "instance:999999999", linked.clock.now())
    await linked.work()
    rows = await linked.here.rows(Refresh)
    assert [row.pco_id for row in rows if row.state != "done"] == ["request:5"]
    connections = await linked.here.rows(CalendarConnection)
    assert connections[0].next_poll_at <= linked.clock.now(), "a request for an event leads to a check"
    for _ in range(4):
        await linked.poll(1)
    (row,) = [row for row in await linked.here.rows(Refresh) if row.pco_id == "request:5"]
    assert (row.state, row.outcome) == ("done", "checked")


async def test_a_check_is_due_once_an_interval_and_once_after_an_outage(linked: Any) -> None:
    await pair(linked, "Retreat", 12)
    await linked.here.call("PATCH", "/settings", {"poll_minutes": 10})
    mark = linked.mark()
    jobs = [await linked.poll(1) for _ in range(20)]
    assert sum(jobs) == 2
    assert len(linked.requests(mark)) == 2
    assert await linked.poll(60 * 24 * 3) == 1
    async with linked.here.app.state.runtime.sessions.begin() as session:
        await session.execute(update(CalendarConnection).values(next_poll_at=None))
    assert await linked.poll() == 0


async def test_a_clock_that_jumps_ahead_and_back_does_not_end_checks(linked: Any) -> None:
    event, pco = await pair(linked, "Retreat", 12)
    await linked.poll(60 * 24 * 200)
    linked.clock.advance(-timedelta(days=200))
    linked.control.edit_event(linked.there.id, pco, name="Spring retreat")
    await linked.poll()
    assert (await linked.event(event))["title"] == "Spring retreat"
    assert (await linked.event(event))["link"]["state"] == "linked"
    assert await linked.poll(1) + await linked.poll(4) == 1, "and then as before"


async def test_a_zone_that_is_not_sent_changes_nothing(linked: Any) -> None:
    event, _ = await pair(linked, "Retreat", 30, all_day_event=True)
    before = await linked.event(event)
    assert before["time_zone"] != "UTC"
    linked.control.omit(attribute="time_zone", type="Organization")
    for _ in range(2):
        await linked.poll(24 * 60)
    now = await linked.event(event)
    for name in ("first_day", "last_day", "starts_at", "time_zone", "version"):
        assert now[name] == before[name]


async def test_a_zone_that_nobody_knows_is_said(linked: Any) -> None:
    await pair(linked, "Retreat", 30)
    assert (await linked.here.call("GET", "/status"))["message"] is None
    async with linked.here.app.state.runtime.sessions.begin() as session:
        await session.execute(update(CalendarConnection).values(time_zone=None))
    linked.control.omit(attribute="time_zone", type="Organization")
    await linked.poll()
    status = await linked.here.call("GET", "/status")
    assert status["time_zone"] is None
    assert "time zone" in status["message"]


@pytest.mark.parametrize("name", ["all_day_event", "published_starts_at", "published_ends_at"])
async def test_a_field_of_times_that_is_not_sent_changes_nothing(linked: Any, name: str) -> None:
    days, _ = await pair(linked, "Retreat", 30, all_day_event=True)
    public, _ = await pair(linked, "Supper", 31, visible_in_church_center=True, setup_minutes=45)
    linked.control.omit(attribute=name, type="EventInstance")
    await linked.poll()
    for event in (days, public):
        now = await linked.event(event)
        assert (now["version"], dates(now)) == (event["version"], dates(event))


@pytest.mark.parametrize("status", [403, 422, 503])
async def test_an_event_that_cannot_be_read_ends_no_check(linked: Any, status: int) -> None:
    stamina.set_testing(True, attempts=1)
    pairs = []
    for number in range(8):
        pco = linked.series(f"Choir {number}", at(linked, 5), count=3)
        pairs.append((await linked.link(await linked.here.add(title=f"Choir {number}"), pco), pco))
    (row,) = await linked.here.rows(CalendarConnection)
    checked = row.checked_at
    linked.control.add_fault({"kind": "respond", "status": status}, path=f"/calendar/v2/events/{pairs[0][1]}/")
    for _, pco in pairs:
        linked.control.edit_event(linked.there.id, pco, name=f"Renamed {pco}")
    async with linked.here.app.state.runtime.sessions.begin() as session:
        # A busy calendar, so that each is read at its own address.
        await session.execute(update(CalendarConnection).values(density=5000.0))
    assert await linked.poll() == 1
    titles = [(await linked.event(event))["title"] for event, _ in pairs]
    assert [title for title in titles if title.startswith("Choir")] == ["Choir 0"]
    (row,) = await linked.here.rows(CalendarConnection)
    assert row.checked_at == checked, "it was not complete"
    assert row.next_poll_at == next_check("org-1", timedelta(minutes=5), linked.clock.now()), "tried again in time"


async def test_a_church_none_of_whose_events_is_answered_costs_few_requests(linked: Any) -> None:
    stamina.set_testing(True, attempts=1)
    for number in range(20):
        pco = linked.series(f"Choir {number}", at(linked, 5), count=3)
        await linked.link(await linked.here.add(title=f"Choir {number}"), pco)
    await linked.poll()
    (row,) = await linked.here.rows(CalendarConnection)
    before = row.checked_at
    linked.control.add_fault({"kind": "respond", "status": 503}, path="/calendar/v2/events/")
    async with linked.here.app.state.runtime.sessions.begin() as session:
        # A busy calendar, so that each is read at its own address.
        await session.execute(update(CalendarConnection).values(density=5000.0))
    mark = linked.mark()
    await linked.poll()
    (row,) = await linked.here.rows(CalendarConnection)
    assert (row.checked_at, row.checked_from) == (before, linked.clock.now())
    assert len(linked.requests(mark)) == 21, (
        "not each of many, one after the other, and a read of any other date between"
    )


@pytest.mark.parametrize("status", [422, 503])
async def test_an_event_beyond_the_window_that_cannot_be_read_holds_up_nothing(linked: Any, status: int) -> None:
    stamina.set_testing(True, attempts=1)
    _, far = await pair(linked, "Retreat", 400)
    near, pco = await pair(linked, "Picnic", 12)
    linked.clock.advance(timedelta(days=1))
    linked.control.add_fault({"kind": "respond", "status": status}, path=f"/calendar/v2/events/{far}/")
    linked.control.edit_event(linked.there.id, pco, name="Spring picnic")
    assert await linked.poll() == 1
    assert (await linked.event(near))["title"] == "Spring picnic"
    (row,) = await linked.here.rows(CalendarConnection)
    assert row.checked_at == linked.clock.now(), "all that takes place within a year was read"
