"""Rows are locked in one order everywhere (this service's README). Each test holds the first lock of a pair.

The call waits for the first lock and must not hold the second by then. If it does, the two deadlock, and PostgreSQL
ends the one that notices.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from fastapi import FastAPI
from sqlalchemy.engine import make_url

from contracts.events.auth_connection_v1 import ConnectionAuthorized
from contracts.values import FAMILY, MEMBER
from pco_client.jsonapi import document
from people_sync.domain.values import PersonValues, to_json
from people_sync.storage.runs import RUNS
from people_sync.storage.strays import MEMBERSHIP
from people_sync.storage.sync_tables import Change, Creation, HeldMatch, Remote, Run
from people_sync.storage.tables import Effect, Link, Member
from people_sync.storage.undo import Scope
from people_sync.usecases.connections import connection_changed
from people_sync.usecases.publishing import touch_members
from people_sync.usecases.record import one as record_one
from people_sync.usecases.record.creations import create_once
from people_sync.usecases.record.effects import Effects
from people_sync.usecases.record.families_here import take_families_over
from people_sync.usecases.record.gone import end_link, lock_for_end
from people_sync.usecases.record.mergers import Followed
from people_sync.usecases.record.people_here import take_people_over
from people_sync.usecases.record.planned import Planned
from people_sync.usecases.record.reading import Read
from people_sync.usecases.record.writer import Writer
from people_sync.usecases.run import undo
from people_sync.usecases.run.context import RunContext
from people_sync.usecases.run.undo_plan import Undoing
from servicekit.db.tables import JOB
from servicekit.testing import eventually
from synckit.history import Actor
from synckit.requests import Requests
from synckit.runs import end_abandoned

NOW = datetime(2026, 11, 28, tzinfo=UTC)
THEIRS = to_json(
    PersonValues(
        first_name="Ann",
        last_name="Smith",
        birthdate=None,
        gender=None,
        child=False,
        email=None,
        phone=None,
        address=None,
    )
)


class Rival:
    """Another transaction, which detects a deadlock at once."""

    def __init__(self, connection: Any, others: Any) -> None:
        self._connection, self._others = connection, others

    async def lock(self, table: str, *ids: object, by: str = "id") -> None:
        found = await self._connection.fetch(
            f"SELECT 1 FROM {table} WHERE {by}::text = ANY($1) FOR UPDATE", [str(one) for one in ids]
        )
        assert len(found) == len(ids), table

    async def blocks_somebody(self) -> None:
        mine = await self._connection.fetchval("SELECT pg_backend_pid()")
        query = "SELECT count(*) FROM pg_stat_activity WHERE $1 = ANY(pg_blocking_pids(pid))"

        async def blocked() -> bool:
            return bool(await self._others.fetchval(query, mine))

        await eventually(blocked, every=0.02)


@pytest.fixture
def rival(database: str) -> Callable[[], Any]:
    dsn = make_url(database).set(drivername="postgresql").render_as_string(hide_password=False)

    @asynccontextmanager
    async def begin() -> AsyncIterator[Rival]:
        connection, others = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
        try:
            async with connection.transaction():
                await connection.execute("SET LOCAL deadlock_timeout = '10ms'")
                yield Rival(connection, others)
        finally:
            await connection.close()
            await others.close()

    return begin


async def in_order(
    rival: Callable[[], Any], first: tuple[Any, ...], second: tuple[Any, ...], call: Callable[[], Awaitable[Any]]
) -> Any:
    """Hold `first`, let `call` wait for it, then take `second`: both succeed. Rows: (table, id, column)."""
    async with rival() as other:
        await other.lock(*first[:2], **({"by": first[2]} if len(first) > 2 else {}))
        task = asyncio.ensure_future(call())
        await other.blocks_somebody()
        await other.lock(*second[:2], **({"by": second[2]} if len(second) > 2 else {}))
    return await task


async def family_of(church: Any, *names: str) -> tuple[str, list[str]]:
    """A family of new members; gives the ids."""
    members = [(await church.add(first_name=name))["id"] for name in names]
    family = await church.call("POST", "/families", {"name": "Smith", "member_ids": members}, status=201)
    return family["id"], sorted(members)


async def household(church: Any, family_id: str, *people: str) -> None:
    """A linked household with these people, as last read."""
    await church.link(family_id, "500", kind=FAMILY)
    snapshot = {"pco_id": "500", "name": "Smith", "person_ids": list(people), "primary_contact_id": None}
    await church.store(
        Remote,
        {"pco_organization_id": "77", "kind": FAMILY, "pco_id": "500", "snapshot": snapshot, "read_at": NOW}
        | {"email_keys": [], "name_keys": [], "keys": [], "again": False, "remote_hash": b"1"},
    )


# --- members before families ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        pytest.param("PATCH", "/families/{family}", {"member_ids": []}, 200, id="somebody leaves a family"),
        pytest.param("DELETE", "/families/{family}", None, 204, id="a family is deleted"),
        pytest.param("DELETE", "/members/{member}", None, 204, id="a member is deleted"),
    ],
)
async def test_one_change_here(church: Any, rival: Any, method: str, path: str, body: Any, status: int) -> None:
    family, (first, _) = await family_of(church, "Ann", "Bob")
    await in_order(
        rival,
        ("member", first),
        ("family", family),
        lambda: church.call(method, path.format(family=family, member=first), body, status=status),
    )


async def test_a_member_joins_while_a_family_is_changed(church: Any, rival: Any) -> None:
    """The family is locked after its people, so its members are checked again: nobody who leaves stays unlocked."""
    family, (first, second) = await family_of(church, "Ann", "Bob")
    late = (await church.add(first_name="Cid"))["id"]
    async with rival() as other:
        await other.lock("member", first)
        task = asyncio.ensure_future(church.call("PATCH", f"/families/{family}", {"member_ids": [second]}))
        await other.blocks_somebody()
        await other._connection.execute("INSERT INTO family_member VALUES ($1, $2, 'org-1')", UUID(family), UUID(late))
    assert (await task)["member_ids"] == [second]
    member = await church.call("GET", f"/members/{late}")
    assert (member["version"], member["family_ids"]) == (2, [])


async def test_a_bulk_call_takes_members_and_families(church: Any, rival: Any) -> None:
    people = [{"external_id": name, "first_name": name, "last_name": "Smith"} for name in ("a", "b")]
    home = {"external_id": "f", "name": "Smith", "member_external_ids": ["a", "b"]}
    await church.call("PUT", "/bulk", {"members": people, "families": [home]})
    (family,) = (await church.call("GET", "/families"))["items"]
    await in_order(
        rival,
        ("member", "b", "external_id"),
        ("family", family["id"]),
        lambda: church.call("PUT", "/bulk", {"families": [home | {"member_external_ids": ["a"]}]}),
    )


async def test_a_household_is_taken_over(church: Any, rival: Any, writer: Writer) -> None:
    await church.connect()
    family, (first, second) = await family_of(church, "Ann", "Bob")
    late = (await church.add(first_name="Cid"))["id"]
    for number, member in enumerate((first, second, late)):
        await church.link(member, str(101 + number))
    await household(church, family, "101", "102", "103")
    plan = Planned(FAMILY, "Smith", "updated_here", UUID(family), "500", here="planned")

    async def take_over() -> None:
        async with writer.transaction() as session:
            await take_families_over(session, writer, [plan], Effects())

    await in_order(rival, ("member", late), ("family", family), take_over)
    assert late in (await church.call("GET", f"/families/{family}"))["member_ids"]


async def merged_pair(church: Any) -> tuple[str, str, str, dict[str, Any]]:
    """Ann, who stays; Bob, whose person was merged into hers; his family; and the body that joins them."""
    await church.connect()
    ann, bob = sorted([(await church.add(first_name=name))["id"] for name in ("Ann", "Bob")])
    await church.link(ann, "101")
    await church.link(bob, "102", state="gone", merged_into="101")
    body = {"name": "Smith", "member_ids": [bob], "primary_contact_id": bob}
    family = (await church.call("POST", "/families", body, status=201))["id"]
    versions = [(await church.call("GET", f"/members/{one}"))["version"] for one in (bob, ann)]
    return ann, bob, family, {"answer": "join", "with_id": ann, "version": versions[0], "with_version": versions[1]}


@pytest.mark.parametrize(
    ("first", "second"),
    [("member stays", "member joins"), ("member joins", "family"), ("family", "link"), ("link", "held")],
)
async def test_two_are_joined(church: Any, rival: Any, first: str, second: str) -> None:
    ann, bob, family, body = await merged_pair(church)
    held = uuid4()
    await church.store(
        HeldMatch,
        {"id": held, "pco_organization_id": "77", "pco_id": "900", "theirs": THEIRS, "reasons": [], "state": "open"}
        | {"candidates": [{"member_id": bob, "reasons": []}], "candidate_ids": [bob]},
    )
    (link,) = [one for one in await church.rows(Link) if one.pco_id == "102"]
    rows = {
        "member stays": ("member", ann),
        "member joins": ("member", bob),
        "family": ("family", family),
        "link": ("link", link.id),
        "held": ("held_match", held),
    }
    await in_order(rival, rows[first], rows[second], lambda: church.call("POST", f"/merged/{bob}", body))
    assert [one.pco_id for one in await church.rows(Link)] == ["101"]


# --- members in their order, families, then links ---------------------------------------------------------------------


async def test_several_links_end(church: Any, rival: Any, writer: Writer) -> None:
    _, (first, second) = await family_of(church, "Ann", "Bob")
    plans = [
        Planned(MEMBER, "Somebody", "gone", UUID(member), pco_id, here="planned")
        for member, pco_id in ((second, "102"), (first, "101"))
    ]
    for plan in plans:
        await church.link(str(plan.record_id), plan.pco_id, missing_since=NOW)

    async def end() -> None:
        async with writer.transaction() as session:
            await lock_for_end(session, writer, plans)
            for plan in plans:
                await end_link(session, writer, plan, Effects())

    await in_order(rival, ("member", first), ("member", second), end)
    assert {link.state for link in await church.rows(Link)} == {"gone"}


@pytest.mark.parametrize("kind", [MEMBER, FAMILY])
async def test_one_link_ends(church: Any, rival: Any, writer: Writer, kind: str, monkeypatch: Any) -> None:
    """The mirror is locked before the record, as in a run."""
    await church.connect()
    family, (first, _) = await family_of(church, "Ann", "Bob")
    record, pco_id = (first, "101") if kind == MEMBER else (family, "500")
    await church.link(record, pco_id, kind=kind, missing_since=NOW)
    (link,) = await church.rows(Link)
    await church.store(
        Remote,
        {"pco_organization_id": "77", "kind": kind, "pco_id": pco_id, "snapshot": None, "read_at": NOW}
        | {"email_keys": [], "name_keys": [], "keys": [], "again": False, "remote_hash": b"1"},
    )

    async def followed(*_: Any) -> Followed:
        return Followed([], whole=True)

    monkeypatch.setattr(record_one, "follow_mergers", followed)
    await in_order(
        rival, ("remote", pco_id, "pco_id"), (kind, record), lambda: record_one._not_there(writer, kind, link)
    )
    assert [one.state for one in await church.rows(Link)] == ["gone"]


async def test_links_of_members_who_are_touched_together(church: Any, app: FastAPI, rival: Any) -> None:
    members = [(await church.add(first_name=name))["id"] for name in ("Ann", "Bob")]
    for number, member in enumerate(members):
        await church.link(member, str(101 + number))
    links = sorted(link.id for link in await church.rows(Link))

    async def touch() -> None:
        async with app.state.runtime.sessions.begin() as session:
            rows = [await session.get_one(Member, UUID(one)) for one in reversed(members)]
            await touch_members(session, rows, NOW)

    await in_order(rival, ("link", links[0]), ("link", links[1]), touch)


@pytest.mark.parametrize("kind", [MEMBER, FAMILY])
async def test_one_record_is_synced(church: Any, rival: Any, writer: Writer, kind: str, monkeypatch: Any) -> None:
    await church.connect()
    family, (first, second) = await family_of(church, "Ann", "Bob")
    await church.link(first, "101")
    await church.link(second, "102")
    await church.link(family, "500", kind=FAMILY)
    record, pco_id = (first, "101") if kind == MEMBER else (family, "500")
    (link,) = [one for one in await church.rows(Link) if one.record_id == UUID(record)]

    async def read(*_: Any) -> Read:
        return Read(kind, pco_id, datetime.now(UTC), document(_PERSON if kind == MEMBER else _HOUSEHOLD))

    async def nobody(*_: Any) -> None:
        return

    monkeypatch.setattr(record_one, "read", read)
    monkeypatch.setattr(record_one, "_read_who_left", nobody)
    if kind == FAMILY:
        await in_order(
            rival, ("member", second), ("link", link.id), lambda: record_one._take_over(writer, FAMILY, "500", link)
        )
    await in_order(rival, (kind, record), ("link", link.id), lambda: record_one._take_over(writer, kind, pco_id, link))


# --- rows locked after a record --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [MEMBER, "email", FAMILY, MEMBERSHIP])
async def test_an_intent_is_closed(church: Any, rival: Any, writer: Writer, kind: str) -> None:
    family, (first, _) = await family_of(church, "Ann", "Bob")
    table, record = ("family", family) if kind in {FAMILY, MEMBERSHIP} else ("member", first)
    await church.store(
        Creation,
        {"pco_organization_id": "77", "kind": kind, "record_id": UUID(record), "of_record": UUID(record)}
        | {"state": "sent", "content": {}},
    )
    (intent,) = await church.rows(Creation)

    async def found(_: Any) -> str:
        return "101"

    async def nothing(*_: Any) -> Any:
        return

    await in_order(
        rival,
        (table, record),
        ("creation", intent.id),
        lambda: create_once(
            writer,
            kind,
            intent.record_id,
            {},
            of_record=intent.of_record,
            look=found,
            post=nothing,
            created=nothing,
        ),
    )


async def test_a_held_match_is_answered(church: Any, rival: Any) -> None:
    await church.connect()
    ann = (await church.add())["id"]
    held = uuid4()
    await church.store(
        HeldMatch,
        {"id": held, "pco_organization_id": "77", "pco_id": "101", "theirs": THEIRS}
        | {"candidates": [{"member_id": ann, "reasons": []}], "candidate_ids": [ann], "reasons": [], "state": "open"},
    )
    answer = {"answer": "same", "member_id": ann, "version": 1}
    await in_order(
        rival,
        ("member", ann),
        ("held_match", held),
        lambda: church.call("POST", f"/held-matches/{held}/answer", answer),
    )


async def test_a_read_person_is_taken_over(church: Any, rival: Any, writer: Writer) -> None:
    """The mirror is locked before the member, because a single sync stores its read first."""
    await church.connect()
    ann = (await church.add())["id"]
    await church.link(ann, "101")
    await church.store(
        Remote,
        {"pco_organization_id": "77", "kind": MEMBER, "pco_id": "101", "snapshot": None, "read_at": NOW}
        | {"email_keys": [], "name_keys": [], "keys": [], "again": True, "unread": None},
    )
    plan = Planned(MEMBER, "Ann", "updated_here", UUID(ann), "101", here="planned")

    async def take_over() -> None:
        async with writer.transaction() as session:
            await take_people_over(session, writer, [plan], Effects())

    await in_order(rival, ("remote", "101", "pco_id"), ("member", ann), take_over)


# --- jobs, connections and runs ---------------------------------------------------------------------------------------


async def with_run(church: Any, *, job_state: str = "waiting") -> UUID:
    run_id = uuid4()
    await church.connect()
    await church.store(JOB, {"id": run_id, "kind": RUNS.job, "payload": {}, "state": job_state, "correlation_id": "c"})
    await church.store(
        Run,
        {"id": run_id, "pco_organization_id": "77", "kind": "full", "state": "waiting", "trigger": "person"}
        | {"counts": {}, "answers": {}},
    )
    return run_id


async def test_a_fact_about_the_connection(church: Any, app: FastAPI, rival: Any) -> None:
    """A run's step holds its job, and locks the connection at its end."""
    run_id = await with_run(church)
    fact = ConnectionAuthorized(
        organization_id="org-1",
        version=2,
        product="people",
        generation=2,
        state="connected",
        pco_organization_id="77",
        pco_organization_name="Church",
        pco_person_id="1",
        occurred_at=NOW,
    )

    async def arrives() -> None:
        async with app.state.runtime.sessions.begin() as session:
            await connection_changed(session, fact)

    await in_order(rival, ("job", run_id), ("connection", "org-1", "organization_id"), arrives)


@pytest.mark.parametrize(
    ("first", "second"), [("job", "connection"), ("job", "run"), ("connection", "settings"), ("connection", "run")]
)
async def test_a_run_is_stopped(church: Any, rival: Any, first: str, second: str) -> None:
    run_id = await with_run(church)
    await church.call("PATCH", "/settings", {"threshold_percent": 30})
    rows = {
        "job": ("job", run_id),
        "run": ("run", run_id),
        "connection": ("connection", "org-1", "organization_id"),
        "settings": ("settings", "org-1", "organization_id"),
    }
    await in_order(rival, rows[first], rows[second], lambda: church.call("POST", f"/runs/{run_id}/stop", status=202))


async def undo_of_a_family(church: Any, writer: Writer) -> tuple[Callable[[], Awaitable[Any]], str, str, str]:
    """The approved undo of a run that added Bob and changed the name; and the ids of Ann, the family and Bob."""
    family, (first, second) = await family_of(church, "Ann", "Bob")
    for member, pco_id in ((first, "101"), (second, "102")):
        await church.link(member, pco_id)
    await household(church, family, "101", "102")
    by_run = {"cause": "run", "cause_id": writer.cause.id, "kind": FAMILY, "record_id": UUID(family), "by": "rule"}
    await church.store(Effect, by_run | {"field": "members", "before": None, "after": second, "rule": "changed"})
    await church.store(Effect, by_run | {"field": "name", "before": "Jones", "after": "Smith"})
    shown = [
        {"does": "both", "exact": [f"member:{second}", True, False]},
        {"does": "both", "exact": ["name", "Smith", "Jones"]},
    ]
    row = {"run_id": writer.job.id, "kind": FAMILY, "record_id": UUID(family), "name": "Smith", "plan": shown}
    await church.store(Change, row | {"outcome": "undone", "here": "planned", "there": "planned"})
    own = {one.name: getattr(writer, one.name) for one in fields(Writer)}
    more: dict[str, Any] = {"requests": Requests(), "run_id": writer.job.id, "kind": "incremental"}
    more |= {"purpose": "undo", "threshold": (25, 50)}
    context = RunContext(**own, **more, inactivate_since=None, since=None, mirrored=True)
    about = Undoing(Scope("run", writer.cause.id), datetime(2020, 1, 1, tzinfo=UTC), Actor("person"), inactivate=False)

    async def put_back() -> None:
        async with writer.transaction() as session:
            changes = await undo._next(session, context, FAMILY, ())
            await undo._put_back(session, context, about, FAMILY, changes)

    return put_back, first, second, family


@pytest.mark.parametrize(
    ("first", "second"),
    [("member", "family"), ("family", "family link"), ("member", "member link"), ("family link", "change")],
)
async def test_an_undo_puts_a_family_back(church: Any, rival: Any, writer: Writer, first: str, second: str) -> None:
    put_back, _, bob, family = await undo_of_a_family(church, writer)
    rows = {
        "member": ("member", bob),
        "family": ("family", family),
        "family link": ("link", family, "record_id"),
        "member link": ("link", bob, "record_id"),
        "change": ("change", family, "record_id"),
    }
    await in_order(rival, rows[first], rows[second], put_back)
    found = await church.call("GET", f"/families/{family}")
    assert (found["name"], bob in found["member_ids"]) == ("Jones", False)


async def test_an_undo_retries_if_a_member_joins_before_the_lock(church: Any, rival: Any, writer: Writer) -> None:
    put_back, ann, bob, family = await undo_of_a_family(church, writer)
    late = (await church.add(first_name="Cid"))["id"]
    async with rival() as other:
        await other.lock("member", min(ann, bob))
        task = asyncio.ensure_future(put_back())
        await other.blocks_somebody()
        await other._connection.execute("INSERT INTO family_member VALUES ($1, $2, 'org-1')", UUID(family), UUID(late))
    await task
    assert bob in (await church.call("GET", f"/families/{family}"))["member_ids"]
    await put_back()
    assert (await church.call("GET", f"/families/{family}"))["member_ids"] == sorted([ann, late])


async def test_a_run_whose_job_has_ended_is_closed(church: Any, app: FastAPI, rival: Any) -> None:
    run_id = await with_run(church, job_state="failed")

    async def close() -> None:
        async with app.state.runtime.sessions.begin() as session:
            await end_abandoned(session, RUNS)

    await in_order(rival, ("connection", "org-1", "organization_id"), ("run", run_id), close)
    assert [run.state for run in await church.rows(Run)] == ["failed"]


_PERSON: Any = {
    "data": {
        "type": "Person",
        "id": "101",
        "attributes": {"first_name": "Ann", "last_name": "Jones", "status": "active", "child": False}
        | dict.fromkeys(("given_name", "nickname", "middle_name", "gender", "birthdate", "remote_id")),
        "relationships": {name: {"data": []} for name in ("emails", "phone_numbers", "addresses", "households")}
        | {"name_suffix": {"data": None}},
    },
    "included": [],
}
_HOUSEHOLD: Any = {
    "data": {
        "type": "Household",
        "id": "500",
        "attributes": {"name": "Jones"},
        "relationships": {
            "people": {"data": [{"type": "Person", "id": "101"}, {"type": "Person", "id": "102"}]},
            "primary_contact": {"data": {"type": "Person", "id": "101"}},
        },
    }
}
