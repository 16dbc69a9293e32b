"""Faults of links and checks: two people at once, changes meanwhile, other churches, replicas, and killed processes."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import stamina
from sqlalchemy import func, select, text, update

from calendar_sync.main import create_app, workers
from calendar_sync.resources import open_resources
from calendar_sync.storage.tables import EventLink
from calendar_sync.usecases import polling
from servicekit.db.tables import JOB
from servicekit.testing import KeyRing, eventually
from synckit.testing.jobs import work_off

pytestmark = pytest.mark.asyncio(loop_scope="session")


def at(linked: Any, days: int, time: str = "09:00") -> str:
    return f"{(linked.clock.now() + timedelta(days=days)).date()}T{time}"


def dates(event: dict[str, Any]) -> list[tuple[str, str]]:
    return sorted((one["starts_at"], one["ends_at"]) for one in event["occurrences"] if not one["cancelled"])


def there(linked: Any, pco_event_id: str) -> list[tuple[str, str]]:
    return sorted((one["starts_at"], one["ends_at"]) for one in linked.instances(pco_event_id))


async def alone(linked: Any, title: str, days: int = 12) -> dict[str, Any]:
    begins = at(linked, days) + ":00Z"
    added: dict[str, Any] = await linked.here.add(title=title, starts_at=begins, ends_at=begins, recurrence=None)
    return added


def post(linked: Any, event: dict[str, Any], pco: str, **more: Any) -> Any:
    path = f"/api/v1/calendar/events/{event['id']}/link"
    return linked.here.http.post(path, json={"pco_event_id": pco} | more)


async def test_linked_from_two_tabs_at_once(linked: Any) -> None:
    one, other = linked.create("Retreat", at(linked, 12)), linked.create("Picnic", at(linked, 13))
    event = await alone(linked, "Retreat")
    answers = await asyncio.gather(*(post(linked, event, pco) for pco in (one, other, one)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
    assert len(await linked.links()) == 1
    rivals = [await alone(linked, f"Rival {number}") for number in range(3)]
    free = linked.create("Concert", at(linked, 14))
    answers = await asyncio.gather(*(post(linked, rival, free) for rival in rivals))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
    refused = next(answer.json() for answer in answers if answer.status_code == 409)
    assert refused["type"].endswith("already-linked")
    assert refused["detail"].startswith("This is already linked to “Concert”.")


async def test_either_side_changes_between_the_warning_and_the_link(linked: Any) -> None:
    pco = linked.create("Retreat", at(linked, 12))
    event = await alone(linked, "Retreat here")

    async def shown() -> str:
        found = await linked.here.call("GET", f"/events/{event['id']}/comparison?pco_event_id={pco}")
        return str(found["digest"])

    edit, add = linked.control.edit_event, linked.control.create_instance
    for change in (
        partial(edit, linked.there.id, pco, name="Retreat there"),
        partial(edit, linked.there.id, pco, starts_at=at(linked, 13)),
        partial(add, linked.there.id, pco, at(linked, 20)),
    ):
        digest = await shown()
        change()
        answer = await post(linked, event, pco, digest=digest)
        assert answer.json()["type"].endswith("comparison-moved")
    digest = await shown()
    await linked.here.call("PATCH", f"/events/{event['id']}", {"location": "Lake"})
    assert (await post(linked, event, pco, digest=digest)).json()["type"].endswith("comparison-moved")
    answer = await post(linked, event, pco, version=event["version"])
    assert answer.json()["type"].endswith("version-conflict")
    assert await linked.links() == []
    assert (await post(linked, event, pco, digest=await shown())).status_code == 200


async def test_a_target_that_is_deleted_or_of_another_church_is_not_there(linked: Any) -> None:
    event = await alone(linked, "Retreat")
    pco = linked.create("Retreat", at(linked, 12))
    foreign = next(one["id"] for one in linked.control.organizations() if one["id"] != linked.there.id)
    stranger = linked.control.create_event(foreign, "Theirs", at(linked, 12))
    answer = await post(linked, event, stranger)
    assert answer.status_code == 404, answer.text
    instance = linked.instances(pco)[0]["id"]
    mine = linked.create("Other", at(linked, 12))
    assert (await post(linked, event, mine, pco_event_instance_id=instance)).status_code == 404, "of another event"
    path = f"/events/{event['id']}/comparison?pco_event_id={pco}"
    digest = (await linked.here.call("GET", path))["digest"]
    linked.control.delete_event(linked.there.id, pco)
    assert (await post(linked, event, pco, digest=digest)).status_code == 404
    await linked.here.call("GET", path, status=404)
    others = type(linked.here)(linked.here.app, KEYS[0], "org-2")
    await others.call("POST", f"/events/{event['id']}/link", {"pco_event_id": mine}, status=404)
    staff = type(linked.here)(linked.here.app, KEYS[0], "org-1", "staff")
    await staff.call("POST", f"/events/{event['id']}/link", {"pco_event_id": mine}, status=403)
    await staff.call("POST", "/runs", status=403)
    await staff.call("GET", "/status")
    assert await linked.links() == []


KEYS: list[KeyRing] = []


@pytest.fixture(autouse=True)
def _keys(keys: KeyRing) -> None:
    KEYS[:] = [keys]


async def test_planning_center_is_away_while_a_person_waits(linked: Any) -> None:
    event = await alone(linked, "Retreat")
    pco = linked.create("Retreat", at(linked, 12))
    stamina.set_testing(True)
    linked.control.add_fault({"kind": "respond", "status": 503}, path="/calendar/v2")
    answer = await post(linked, event, pco)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60")
    assert "Try again in a minute" in answer.json()["detail"]
    linked.control.clear_faults()
    key = {"Idempotency-Key": "one-link"}
    path = f"/api/v1/calendar/events/{event['id']}/link"
    first = await linked.here.http.post(path, json={"pco_event_id": pco}, headers=key)
    again = await linked.here.http.post(path, json={"pco_event_id": pco}, headers=key)
    assert (first.status_code, again.json()) == (200, first.json()), "a repeat gets the same answer"


async def test_an_event_is_deleted_here_while_it_is_checked(linked: Any) -> None:
    event, pco = await alone(linked, "Retreat"), linked.create("Retreat", at(linked, 12))
    await linked.link(event, pco)
    other = await alone(linked, "Picnic")
    held = linked.control.add_fault({"kind": "hold"}, path="/calendar/v2/event", times=1)
    checking = asyncio.create_task(linked.poll())
    await eventually(lambda: linked.control.fault(held)["holding"])
    await linked.here.call("DELETE", f"/events/{event['id']}", status=204)
    linked.control.edit_event(linked.there.id, pco, name="Renamed")
    linked.control.release(held)
    await checking
    await linked.here.call("GET", f"/events/{event['id']}", status=404)
    await linked.link(other, pco)


@asynccontextmanager
async def replica(linked: Any) -> AsyncIterator[Any]:
    """Another process of the service on the same database, within this one."""
    settings = linked.here.app.state.resources.settings
    app = create_app(settings, clock=linked.clock)
    async with open_resources(app.state.runtime) as own:
        app.state.resources = own
        yield app
    await app.state.runtime.engine.dispose()
    await app.state.runtime.http.aclose()


async def test_two_replicas_check_once(linked: Any) -> None:
    for number in range(3):
        event, pco = await alone(linked, f"Event {number}"), linked.create(f"Event {number}", at(linked, 12 + number))
        await linked.link(event, pco)
        linked.control.edit_event(linked.there.id, pco, name=f"Renamed {number}")
    await linked.here.facts()
    mark = linked.mark()
    linked.clock.advance(timedelta(minutes=5))
    async with replica(linked) as second:
        apps = (linked.here.app, second)

        async def poll(app: Any) -> int:
            async with app.state.runtime.sessions.begin() as session:
                await polling.start_due(session, linked.clock.now())
            return await work_off(app, workers(app.state.resources.settings))

        counts = await asyncio.gather(*(poll(app) for app in apps))
    assert sum(counts) == 1
    assert len(linked.requests(mark)) == 1
    assert len(await linked.here.facts()) == 3


async def test_a_worker_that_lost_its_lease_takes_nothing_over(linked: Any) -> None:
    event, pco = await alone(linked, "Retreat"), linked.create("Retreat", at(linked, 12))
    await linked.link(event, pco)
    linked.control.edit_event(linked.there.id, pco, name="Renamed")
    await linked.here.facts()
    held = linked.control.add_fault({"kind": "hold"}, path="/calendar/v2/event", times=1)
    frozen = asyncio.create_task(linked.poll())
    await eventually(lambda: linked.control.fault(held)["holding"])
    async with linked.here.app.state.runtime.sessions.begin() as session:
        await session.execute(update(JOB).where(JOB.c.state == "running").values(lease_until=func.now()))
    async with replica(linked) as second:
        assert await work_off(second, workers(second.state.resources.settings)) == 1
    assert (await linked.event(event))["title"] == "Renamed"
    facts = await linked.here.facts()
    linked.control.edit_event(linked.there.id, pco, name="Renamed again")
    linked.control.release(held)
    await frozen
    assert len(facts) == 1
    assert await linked.here.facts() == [], "the one that lost it stores nothing"


Step = Callable[[random.Random, Any, str], None]


def _move(chance: random.Random, linked: Any, pco: str) -> None:
    one = chance.choice(linked.instances(pco))
    linked.control.edit_instance(linked.there.id, one["id"], starts_at=at(linked, chance.randint(1, 300)))


def _vanish(chance: random.Random, linked: Any, pco: str) -> None:
    those = linked.instances(pco)
    if len(those) > 1:
        linked.control.delete_instance(linked.there.id, chance.choice(those)["id"])


def _rename(chance: random.Random, linked: Any, pco: str) -> None:
    linked.control.edit_event(linked.there.id, pco, name=f"Name {chance.randint(1, 9)}")


def _add(chance: random.Random, linked: Any, pco: str) -> None:
    linked.control.create_instance(linked.there.id, pco, at(linked, chance.randint(1, 300), "18:30"))


def _whole_days(chance: random.Random, linked: Any, pco: str) -> None:
    one = chance.choice(linked.instances(pco))
    day = at(linked, chance.randint(1, 300))[:10]
    linked.control.edit_instance(linked.there.id, one["id"], starts_at=day, all_day_event=True)


def _reissue(_: random.Random, linked: Any, pco: str) -> None:
    linked.control.edit_event(linked.there.id, pco, reissue=True)


def _fail(chance: random.Random, linked: Any, _: str) -> None:
    action = chance.choice([{"kind": "truncate"}, {"kind": "respond", "status": 500}])
    linked.control.add_fault(action, path="/calendar/v2/event", nth=chance.randint(1, 3), times=1)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_any_history_ends_with_what_planning_center_has(linked: Any, seed: int) -> None:
    chance = random.Random(seed)
    stamina.set_testing(True)
    linked.control.change_settings(all_day_times=chance.choice(["local_midnight", "last_second", "utc_midnight"]))
    pcos = [linked.create("Single", at(linked, 30)), linked.series("Series", at(linked, 2, "23:30"), count=6)]
    pcos.append(linked.series("Other", at(linked, 5, "01:30"), "daily", count=4))
    events = [await alone(linked, f"Event {number}", 30) for number in range(3)]
    for event, pco in zip(events, pcos, strict=True):
        await linked.link(event, pco)
    steps: list[Step] = [_move, _move, _vanish, _rename, _add, _whole_days, _reissue, _fail]
    for _ in range(8):
        for _ in range(chance.randint(1, 3)):
            chance.choice(steps)(chance, linked, chance.choice(pcos))
        await linked.poll()
        async with linked.here.app.state.runtime.sessions() as session:
            states = list(await session.scalars(select(EventLink.state)))
        assert states == ["linked"] * 3
    linked.control.clear_faults()
    await linked.poll()
    for event, pco in zip(events, pcos, strict=True):
        now = await linked.event(event)
        here = sorted(
            (one["starts_at"], one["ends_at"]) if one["first_day"] is None else (one["first_day"], one["last_day"])
            for one in now["occurrences"]
            if not one["cancelled"]
        )
        assert here == sorted(
            (one["starts_at"], one["ends_at"]) if not one.get("all_day_event") else (one["first_day"], one["last_day"])
            for one in linked.instances(pco)
        )
        assert now["title"] == linked.control.event(linked.there.id, pco)["name"]
    linked.control.change_settings(all_day_times="local_midnight")


@pytest.mark.parametrize("many", [False, True])
async def test_no_transaction_is_open_while_planning_center_is_read(linked: Any, many: bool) -> None:
    event, pco = await alone(linked, "Retreat"), linked.create("Retreat", at(linked, 12))
    held = linked.control.add_fault({"kind": "hold"}, path="/calendar/v2/event", times=1)
    path = "/links" if many else f"/events/{event['id']}/link"
    body = {"links": [{"event_id": event["id"], "pco_event_id": pco}]} if many else {"pco_event_id": pco}
    send = partial(linked.here.call, "POST", path, body, headers={"Idempotency-Key": "one"})
    linking = asyncio.create_task(send())
    await eventually(lambda: linked.control.fault(held)["holding"])
    async with linked.here.app.state.runtime.sessions() as session:
        idle = select(func.count()).select_from(text("pg_stat_activity"))
        idle = idle.where(text("state = 'idle in transaction' AND datname = current_database()"))
        assert await session.scalar(idle) == 0
    linked.control.release(held)
    answer = await linking
    linked.control.delete_event(linked.there.id, pco)
    assert await send() == answer, "kept"
