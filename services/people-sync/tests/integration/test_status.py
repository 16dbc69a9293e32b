"""The People card's numbers, in every state of a church, and in few statements."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import count, product
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete, insert, update

from contracts.values import FAMILY, MEMBER
from people_sync.domain.sentences import REJECTED
from people_sync.storage.runs import PREVIEW, PROOF, SYNC, UNDO
from people_sync.storage.sync_tables import HeldMatch, KeptOut, Run
from people_sync.storage.tables import Connection, Family, Link, Member
from servicekit.testing import statements

pytestmark = pytest.mark.asyncio

START = datetime(2026, 11, 1, tzinfo=UTC)
OPEN = ("queued", "running", "waiting", "stopping")
PURPOSES = (SYNC, PREVIEW, PROOF, UNDO)
ENDED = ("gone", "missing")
HERE, BEFORE = "77", "66"
"""Ids of two Planning Center organizations."""
CONNECTIONS = [
    None,
    *product([HERE], ["connected", "reconnect_required", "closing", "disconnected"]),
    (BEFORE, "connected"),
]
TABLES: Any = {
    MEMBER: (Member, {"first_name": "A", "last_name": "B", "child": False}),
    FAMILY: (Family, {"name": "F"}),
}


async def fill(church: Any) -> None:
    """Records of every kind, each linked in every state to both Planning Center organizations, or to neither."""
    rows: defaultdict[Any, list[dict[str, Any]]] = defaultdict(list)
    numbers = count(1)

    def record(kind: str, *, deleted: bool, kept_out: bool) -> UUID:
        id_ = uuid4()
        table, more = TABLES[kind]
        rows[table].append({"id": id_, "name_key": "", "deleted_at": START if deleted else None, **more})
        if kept_out:
            rows[KeptOut].append({"kind": kind, "record_id": id_, "by_user_id": "u", "at": START})
        return id_

    def link(kind: str, pco: str, record_id: UUID, state: str, **more: Any) -> str:
        pco_id = str(next(numbers))
        ids = {"pco_organization_id": pco, "record_id": record_id, "pco_id": pco_id}
        rows[Link].append({**ids, "kind": kind, "state": state, "merged_into": None, "kept_two": False, **more})
        return pco_id

    states = (None, "linked", "supplied", *ENDED)
    for kind, deleted, kept_out, here, before in product(
        (MEMBER, FAMILY), (False, True), (False, True), states, (None, "linked", "gone")
    ):
        id_ = record(kind, deleted=deleted, kept_out=kept_out)
        for pco, state in ((HERE, here), (BEFORE, before)):
            if state is not None:
                link(kind, pco, id_, state)
    lives = [dict(zip(("deleted", "kept_out"), one, strict=True)) for one in product((False, True), repeat=2)]
    for pco, stays, joins, state, ended, kept_two in product(
        (HERE, BEFORE), lives, lives, ("linked", "missing", "gone"), ENDED, (False, True)
    ):
        kept = link(MEMBER, pco, record(MEMBER, **stays), state)
        link(MEMBER, pco, record(MEMBER, **joins), ended, merged_into=kept, kept_two=kept_two)
    nobody: dict[str, Any] = {"theirs": {}, "candidates": [], "candidate_ids": [], "reasons": [], "different_from": []}
    for pco, (place, state) in product((HERE, BEFORE), enumerate(("open", "later", "same", "different"))):
        for _ in range(place + 1):
            rows[HeldMatch].append(
                {"pco_organization_id": pco, "pco_id": f"h{next(numbers)}", "state": state, **nobody}
            )
    async with church.app.state.runtime.sessions.begin() as session:
        for table, values in rows.items():
            await session.execute(insert(table), [{"organization_id": church.organization_id, **one} for one in values])


async def runs(church: Any, *made: tuple[str, str, str]) -> None:
    """Replace the runs by these, from the oldest: Planning Center organization, purpose and state."""
    same = {"organization_id": church.organization_id, "kind": "full", "trigger": "person"}
    values = [
        {"id": uuid4(), "pco_organization_id": pco, "purpose": purpose, "state": state}
        | {"counts": {REJECTED: hour + 1}, "created_at": START + timedelta(hours=hour), **same}
        for hour, (pco, purpose, state) in enumerate(made)
    ]
    async with church.app.state.runtime.sessions.begin() as session:
        await session.execute(delete(Run).where(Run.organization_id == church.organization_id))
        if values:
            await session.execute(insert(Run), values)


async def expected(church: Any) -> dict[str, Any]:
    """The card, by plain rules, from all rows of the church."""
    (connection,) = await church.rows(Connection) or [None]
    pco = connection and connection.pco_organization_id
    alive = {
        kind: {one.id for one in await church.rows(table) if one.deleted_at is None}
        for kind, (table, _) in TABLES.items()
    }
    links = [one for one in await church.rows(Link) if one.pco_organization_id == pco]
    living = [one for one in links if one.record_id in alive[one.kind]]
    out = {one.record_id for one in await church.rows(KeptOut) if one.kind == MEMBER}
    not_gone = {one.pco_id: one for one in living if one.kind == MEMBER and one.state != "gone"}
    asked = [
        (one.record_id, not_gone[one.merged_into].record_id)
        for one in living
        if one.state == "gone" and not one.kept_two and one.merged_into in not_gone
    ]
    held = [one for one in await church.rows(HeldMatch) if one.pco_organization_id == pco]
    made = sorted(await church.rows(Run), key=lambda run: run.created_at, reverse=True)
    over = [
        one
        for one in made
        if one.pco_organization_id == pco
        and one.state not in OPEN
        and (one.purpose == SYNC or (one.purpose == PREVIEW and one.state == "done"))
    ]
    under_way = [one for one in made if one.state in OPEN]
    return {
        "connected": connection is not None and connection.state == "connected",
        "members": len(alive[MEMBER]),
        "families": len(alive[FAMILY]),
        "linked_members": sum(one.kind == MEMBER and one.state not in ENDED for one in living),
        "linked_families": sum(one.kind == FAMILY and one.state not in ENDED for one in living),
        "held": sum(one.state in {"open", "later"} for one in held) + sum(out.isdisjoint(pair) for pair in asked),
        "gone": sum(one.kind == MEMBER and one.state == "gone" for one in living),
        "kept_out": len(out & alive[MEMBER]),
        "rejected": over[0].counts[REJECTED] if over else 0,
        "run": str(under_way[0].id) if under_way else None,
        "last_run": str(over[0].id) if over else None,
        "next_run_at": connection.next_run_at.isoformat().replace("+00:00", "Z")
        if connection and connection.state == "connected"
        else None,
    }


async def shown(church: Any) -> dict[str, Any]:
    card: dict[str, Any] = await church.call("GET", "/status")
    return card | {name: card[name] and card[name]["id"] for name in ("run", "last_run")}


async def connect(church: Any, pco: str, state: str) -> None:
    values = {"pco_organization_id": pco, "state": state, "next_run_at": START}
    if await church.rows(Connection):
        async with church.app.state.runtime.sessions.begin() as session:
            of_church = update(Connection).where(Connection.organization_id == church.organization_id)
            await session.execute(of_church.values(values))
    else:
        await church.store(Connection, {"generation": 1, "version": 1, "pco_person_id": "1", **values})


async def test_the_numbers_are_those_of_all_rows(church: Any, another: Any) -> None:
    other = await another("org-2")
    for one in (church, other):
        await fill(one)
    await connect(other, HERE, "connected")
    seen = set()
    for connection in CONNECTIONS:
        if connection is not None:
            await connect(church, *connection)
        card = await shown(church)
        assert card == await expected(church), connection
        seen.add((card["linked_members"], card["linked_families"], card["held"], card["gone"]))
    assert len(seen) == 3, "without a connection, and of each Planning Center organization"
    assert await shown(other) == await expected(other)


async def test_the_runs_are_the_one_in_progress_and_the_last_sync(church: Any, another: Any) -> None:
    other = await another("org-2")
    for one in (church, other):
        await connect(one, HERE, "connected")
    await runs(other, (HERE, SYNC, "done"), (HERE, SYNC, "running"))
    ended = [*product((HERE, BEFORE), PURPOSES, ("done", "failed", "stopped")), (HERE, PREVIEW, "done")]
    last = set()
    for length in range(len(ended) + 1):
        await runs(church, *ended[:length])
        card = await shown(church)
        assert card == await expected(church), ended[:length]
        last.add(card["rejected"])
    assert len(last) == 6, "of none, three syncs, and a preview twice"
    for purpose, state in product(PURPOSES, OPEN):
        await runs(church, (HERE, SYNC, "done"), (HERE, purpose, state))
        card = await shown(church)
        assert card == await expected(church), (purpose, state)
        assert card["run"]


async def test_few_statements_answer(church: Any) -> None:
    """Each costs a round trip; the first one limits the time of a read."""
    await connect(church, HERE, "connected")
    await runs(church, (HERE, SYNC, "done"), (HERE, SYNC, "running"))
    with statements(church.app.state.runtime.engine) as sent:
        card = await shown(church)
    assert card["run"]
    assert card["last_run"]
    assert len(sent) == 4, sent
