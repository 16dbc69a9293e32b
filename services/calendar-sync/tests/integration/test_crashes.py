"""calendar-sync dies at every kind of instant of its work, and another process goes on.

Whenever it dies, the story ends as undisturbed: a pushed event is there once and linked, or handed off; a check misses
nothing that changed there, also if two processes go on.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from difflib import unified_diff
from typing import Any, Final

import pytest
import pytest_asyncio
from calendar_harness.churches import NOBODY, PLATFORM, REDIRECT, Church, token_of
from calendar_harness.copies import LAG, ORGANIZATION, SUPPORT, Copy, Ground, State, copied

from calendar_sync.config import Settings
from calendar_sync.main import create_app
from calendar_sync.resources import open_resources
from calendar_sync.storage.tables import CalendarConnection, EventLink, Push
from calendar_sync.usecases.connections import connection_changed
from contracts.events.auth_connection_v1 import ConnectionAuthorized
from pco_simulator.testing import SimulatorProcess
from servicekit.testing import Databases, KeyRing, unstarted
from servicekit.testing.databases import copy_database
from synckit.testing.crashing import Kill, all_of, die, drawn, kills_around
from synckit.testing.lender import Lender
from synckit.testing.nursery import nursery

SOAK_SECONDS: Final = float(os.environ.get("SOAK_SECONDS", "0"))
SEED: Final = int(os.environ.get("SOAK_SEED", "10"))
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600 + SOAK_SECONDS)]
MOST: Final = 4
"""Kills of a story beside those around what writes there, unless all are asked for."""
COPIES: Final = 300 if SOAK_SECONDS else 34
INTERVAL_SECONDS: Final = 60.0
"""The shortest interval between checks that an administrator can choose."""
SUPPER: Final = {"title": "Supper", "starts_at": "2027-03-06T23:00:00Z", "ends_at": "2027-03-07T01:00:00Z"}
NAMES: Final = frozenset({"Supper", "Choir", "Autumn picnic"})


@dataclass(frozen=True, slots=True)
class Story:
    """Work that is left to a process."""

    name: str
    template: str
    there: Callable[[Copy], Awaitable[None]]
    """What is in Planning Center before."""
    replicas: int = 1
    """Processes that go on after the death."""


@dataclass(slots=True)
class Prepared:
    """The stories, by whether Planning Center lets events be created."""

    ground: Ground
    writable: list[Story]
    refused: list[Story]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def prepared(
    tmp_path_factory: pytest.TempPathFactory, databases: Databases, kafka_server: str, keys: KeyRing, lender: Lender
) -> AsyncIterator[Prepared]:
    """Databases with work to do, and churches."""
    folder = tmp_path_factory.mktemp("crashes")
    client = ":".join((*PLATFORM, REDIRECT))
    with SimulatorProcess(
        people=4, churches=COPIES, oauth_clients=[client], settings={"rate_limit": 0, **LAG}
    ) as simulator:
        rows = simulator.control.organizations()
        churches = [(one, one.token) for one in (token_of(simulator, row) for row in rows)]
        push, waiting, poll = [await _left_behind(databases, keys, work) for work in (_asked, _waiting, _linked)]
        async with nursery("calendar_harness.nursery", SUPPORT) as started:
            ground = Ground(
                started, simulator.control, simulator.base_url, lender, keys, kafka_server, folder, list(churches)
            )
            push_story = Story("push", push, _nothing, replicas=2)
            yield Prepared(
                ground,
                [push_story, Story("found", waiting, _created_by_staff), Story("check", poll, _changed, replicas=2)],
                [Story("refused", push, _nothing)],
            )


async def _left_behind(databases: Databases, keys: KeyRing, work: Callable[[Church, Any], Awaitable[None]]) -> str:
    """A database in which somebody asked for work, while no process runs."""
    url = await databases.create("calendar_sync")
    settings = keys.settings(
        Settings, database_url=url, kafka=NOBODY.removeprefix("http://"), log_level="WARNING", auth_service_url=NOBODY
    )
    async with unstarted(create_app(settings), open_resources) as app:
        here = Church(app, keys, ORGANIZATION)
        now = app.state.resources.clock.now()
        async with app.state.runtime.sessions.begin() as session:
            fact = ConnectionAuthorized(
                organization_id=ORGANIZATION,
                version=1,
                product="calendar",
                generation=1,
                state="connected",
                pco_organization_id="1",
                pco_organization_name="Church",
                pco_person_id="1",
                occurred_at=now,
            )
            await connection_changed(session, fact)
        await work(here, now)
        await here.facts()
        await here.http.aclose()
    return await copy_database(url)


async def _asked(here: Church, _: Any) -> None:
    choir = await here.add(title="Choir", starts_at="2027-03-04T23:00:00Z", ends_at="2027-03-05T00:30:00Z", **_TWICE)
    for event in (choir, await here.add(**SUPPER, recurrence=None)):
        await here.call("POST", f"/events/{event['id']}/push", status=202)
    await _ready(here, poll=False)


_TWICE: Final = {"recurrence": "FREQ=WEEKLY;COUNT=2"}


async def _waiting(here: Church, now: Any) -> None:
    event = await here.add(**SUPPER, recurrence=None)
    values = {"organization_id": ORGANIZATION, "pco_organization_id": "1", "by_user_id": "u1", "by_name": "Ada"}
    async with here.app.state.runtime.sessions.begin() as session:
        session.add(Push(event_id=event["id"], state="waiting", asked_at=now, looked_at=now, **values))
    await _ready(here, poll=True)


async def _linked(here: Church, now: Any) -> None:
    for title in ("Picnic", "Choir", "Retreat"):
        event = await here.add(**SUPPER | {"title": title}, recurrence=None)
        owner = {"organization_id": ORGANIZATION, "pco_organization_id": "1"}
        async with here.app.state.runtime.sessions.begin() as session:
            link = EventLink(**owner, event_id=event["id"], pco_event_id=title, title_there=title, state="linked")
            link.linked_at, link.kept = now, []
            session.add(link)
    await _ready(here, poll=True)


async def _ready(here: Church, *, poll: bool) -> None:
    """The zone is known, so that all copies' checks begin alike. `poll`: whether one is due."""
    async with here.app.state.runtime.sessions.begin() as session:
        connection = await session.get_one(CalendarConnection, ORGANIZATION)
        connection.time_zone = "America/New_York"
        connection.checked_at = connection.checked_from = connection.occurred_at
        connection.next_poll_at = connection.occurred_at if poll else None


async def _nothing(_: Copy) -> None:
    return


async def _created_by_staff(copy: Copy) -> None:
    copy.control.create_event(copy.church.id, **_named(SUPPER))
    await copy.visible()


async def _changed(copy: Copy) -> None:
    church, control = copy.church.id, copy.control
    picnic = control.create_event(church, **_named(SUPPER | {"title": "Autumn picnic"}), location="Lake")
    choir = control.create_series(church, "Choir", "2027-03-04T23:00:00Z", "weekly", count=3)
    retreat = control.create_event(church, **_named(SUPPER | {"title": "Retreat"}))
    control.delete_event(church, retreat)
    for title, pco in (("Picnic", picnic), ("Choir", choir), ("Retreat", retreat)):
        await copy.database.fetch("UPDATE event_link SET pco_event_id = $1 WHERE pco_event_id = $2", pco, title)
    await copy.visible()


def _named(values: dict[str, str]) -> dict[str, str]:
    return {"name": values["title"], "starts_at": values["starts_at"], "ends_at": values["ends_at"]}


async def test_killed_around_every_kind_of_call_and_commit(prepared: Prepared) -> None:
    prepared.ground.control.change_settings(calendar_writes="writable")
    await _all_killed(prepared.ground, prepared.writable)


async def test_killed_while_planning_center_refuses_what_is_pushed(prepared: Prepared) -> None:
    prepared.ground.control.change_settings(calendar_writes="read-only")
    await _all_killed(prepared.ground, prepared.refused)


async def _all_killed(ground: Ground, stories: list[Story]) -> None:
    work: list[tuple[str, Kill]] = []
    expected: dict[str, State] = {}
    for story in stories:
        expected[story.name], kinds = await _undisturbed(ground, story)
        kills = kills_around(kinds, thorough=bool(SOAK_SECONDS))
        creations = [kill for kill in kills if kill.kind.startswith("POST ")]
        if story.name == "push":
            creations += [Kill(what, _DATES, 2) for what in ("before call", "during call")]
            creations += [Kill("late call", kind) for kind in (_EVENTS, _DATES)]
        others = [kill for kill in kills if kill not in creations]
        work += [(story.name, kill) for kill in creations]
        work += [
            (story.name, kill) for kill in (others if SOAK_SECONDS else drawn(others, "creation", most=MOST, seed=SEED))
        ]
    by_name = {story.name: story for story in stories}
    failures = await all_of(work, lambda name, kill: _killed(ground, by_name[name], kill, expected[name]))
    assert not failures, "\n".join(failures)


_EVENTS: Final = "POST /calendar/v2/events"
_DATES: Final = "POST /calendar/v2/events/{id}/event_instances"


async def _undisturbed(ground: Ground, story: Story) -> tuple[State, set[tuple[str, str]]]:
    async with copied(ground, story.template) as copy:
        await story.there(copy)
        record = copy.log.with_suffix(".instants")
        await copy.process(record=str(record))
        await copy.over()
        instants = {(what, kind) for what, kind in (line.split("\t") for line in record.read_text().splitlines())}
        # What the relay and the loops commit by themselves comes at any time.
        return await copy.ends(NAMES), {one for one in instants if one[1] not in {"outbox", "job", "set_aside"}}


async def _killed(ground: Ground, story: Story, kill: Kill, expected: State) -> str | None:
    async with copied(ground, story.template) as copy:
        await story.there(copy)
        if not await die(copy, kill):
            return f"{story.name}: {kill}: survived"
        for _ in range(story.replicas):
            await copy.process()
        try:
            await copy.over(within=INTERVAL_SECONDS)
        except AssertionError as error:
            return f"{story.name}: {kill}: {error}\n{copy.log.read_text()[-3000:]}"
        found = await copy.ends(NAMES)
    lines = unified_diff(expected, found, "undisturbed", "found", lineterm="", n=0)
    return f"{story.name}: {kill}:\n" + "\n".join(lines) if found != expected else None
