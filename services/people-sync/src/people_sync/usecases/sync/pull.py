"""Phase 1: read Planning Center, page by page, into `staged`. Nothing is decided here.

A full pull reads everybody with contacts and households in one walk; an incremental one reads who changed since the
cursor, by each of the collections, since a change of a contact or a household need not move the person's
`updated_at`. What a page lacks because `include` lags behind is read again by itself.
"""

from collections.abc import Iterable, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Text, Uuid, all_, and_, any_, bindparam, cast, literal, or_, select, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import FAMILY, MEMBER
from pco_client.errors import NotFound
from pco_client.jsonapi import Included, Resource
from pco_client.query import Query
from pco_client.walk import PER_PAGE, STEP, walk_all, walk_newest_first, walk_since
from people_sync.domain.planning_center import RemoteHousehold, RemotePerson, Unread, email_keys, to_match
from people_sync.planning_center import (
    FIELDS,
    INCLUDE,
    PEOPLE,
    household_of,
    latest,
    newest_person,
    person_of,
)
from people_sync.storage.tables import Conflict, HeldMatch, Link, Member, Run, Staged
from people_sync.usecases.sync.context import Work
from people_sync.usecases.sync.mergers import follow_mergers

INCOMPLETE: Final = {"incomplete": True}
"""The snapshot of a person of whom a read did not carry everything."""


async def pull(work: Work) -> None:
    """Stage what the run needs."""
    if work.kind == "full":
        await _everybody(work)
    else:
        await _changed(work)
    for pco_id in await follow_mergers(work):
        if work.kind != "full":
            await read_person(work, pco_id, {})
    if work.kind != "full":
        for pco_id in await _left_a_household(work):
            await read_person(work, pco_id, {})
    await _incomplete(work)


async def _everybody(work: Work) -> None:
    position = work.data.get("people")
    if position and position["complete"]:
        return
    if position is None and "cursor" not in work.data:
        # The newest change before the first page, not after the last: an early page does not show later edits.
        work.data["cursor"] = latest((await newest_person(work.pco)).data)
    async with aclosing(walk_all(work.pco, PEOPLE, include=INCLUDE, fields=FIELDS, resume=position)) as pages:
        async for page in pages:
            work.data["people"] = page.position
            await stage(work, page.rows, page.included, total=page.total_count)


async def _changed(work: Work) -> None:
    """Collect who is concerned, then read each of them; everybody, where that takes fewer requests."""
    if "concerned" not in work.data:
        people, households = await _concerned(work)
        concerned = len(people) + len(households)
        everybody = concerned > PER_PAGE and concerned > await _pages(work)
        if everybody:
            people, households = set(), set()
        async with work.step(done=0, total=len(people) + len(households)):
            work.data |= {
                "everybody": everybody,
                "concerned": sorted(people, key=int),
                "households": sorted(households, key=int),
            }
    if work.data["everybody"]:
        await _everybody(work)
    while work.data["concerned"]:
        await read_person(work, work.data["concerned"][0], {"concerned": work.data["concerned"][1:]})
    while work.data["households"]:
        household, *others = work.data["households"]
        try:
            rows = [(await work.pco.get(f"/people/v2/households/{household}")).data]
        except NotFound:
            rows = []  # gone is decided by full runs alone
        work.data["households"] = others
        await _stage_households(work, rows)


async def _pages(work: Work) -> int:
    """How many requests reading everybody would take."""
    return (await work.pco.list(PEOPLE, Query(per_page=1, fields={"Person": ("created_at",)}))).total_count // STEP


async def _left_a_household(work: Work) -> list[str]:
    """People of our families whom a household no longer names: read by themselves, since they may be gone."""
    async with work.job.sessions() as session:
        households = await session.execute(
            select(Staged.snapshot, Link.agreed)
            .join(Link, (Link.pco_id == Staged.pco_id) & (Link.kind == Staged.kind))
            .where(
                Link.organization_id == work.organization_id,
                Link.pco_organization_id == work.pco_organization_id,
                Staged.run_id == work.run_id,
                Staged.kind == FAMILY,
                Staged.snapshot.is_not(None),
            )
        )
        named: set[str] = set()
        members: set[UUID] = set()
        for snapshot, agreed in households.tuples():
            named |= set((snapshot or {})["person_ids"])
            members |= set(map(UUID, agreed.get("members", ())))
        met = select(Staged.pco_id).where(Staged.run_id == work.run_id, Staged.kind == MEMBER)
        return list(
            await session.scalars(
                select(Link.pco_id)
                .filter_by(**work.owner, kind=MEMBER)
                .where(
                    Link.record_id == any_(literal(list(members), ARRAY(Uuid))),
                    Link.state != "gone",
                    Link.pco_id != all_(literal(list(named), ARRAY(Text))),
                    Link.pco_id.not_in(met),
                )
                .order_by(Link.pco_id)
            )
        )


async def _concerned(work: Work) -> tuple[set[str], set[str]]:
    since = work.since
    assert since is not None
    people, cursor = set(await _open_ends(work)), work.data.get("cursor")
    async for page in walk_since(work.pco, PEOPLE, since):
        people |= {row.id for row in page.rows}
        cursor = latest(page.rows, cursor)
    for path in ("/people/v2/emails", "/people/v2/phone_numbers"):
        async for page in walk_since(work.pco, path, since):
            people |= {person.id for row in page.rows if (person := row.to_one("person"))}
    async for page in walk_newest_first(work.pco, "/people/v2/addresses", since):
        people |= {person.id for row in page.rows if (person := row.to_one("person"))}
    households = set(await _open_households(work))
    async for page in walk_since(work.pco, "/people/v2/households", since):
        households |= {row.id for row in page.rows}
    work.data["cursor"] = cursor
    return people, households


async def _open_ends(work: Work) -> list[str]:
    """People whose state may move without a change there.

    Conflicts, links not compared yet, and held matches that are answered or have no candidate left.
    """
    async with work.job.sessions() as session:
        conflict = select(Conflict).where(
            Conflict.organization_id == work.organization_id,
            Conflict.record_id == Link.record_id,
            Conflict.state == "open",
        )
        candidate = select(Member.id).where(
            Member.id == any_(cast(HeldMatch.candidate_ids, ARRAY(Uuid))),
            Member.deleted_at.is_(None),
            ~select(Link.id)
            .where(
                Link.organization_id == HeldMatch.organization_id,
                Link.pco_organization_id == HeldMatch.pco_organization_id,
                Link.record_id == Member.id,
                Link.kind == MEMBER,
                Link.state != "gone",
            )
            .exists(),
        )
        held = select(HeldMatch.pco_id).where(
            HeldMatch.organization_id == work.organization_id,
            HeldMatch.pco_organization_id == work.pco_organization_id,
            or_(HeldMatch.state == "different", HeldMatch.state.in_(["open", "later"]) & ~candidate.exists()),
            ~select(Link.id)
            .where(
                Link.organization_id == HeldMatch.organization_id,
                Link.pco_organization_id == HeldMatch.pco_organization_id,
                Link.pco_id == HeldMatch.pco_id,
                Link.kind == MEMBER,
            )
            .exists(),
        )
        links = select(Link.pco_id).where(
            Link.organization_id == work.organization_id,
            Link.pco_organization_id == work.pco_organization_id,
            Link.kind == MEMBER,
            Link.state != "gone",
            or_(Link.remote_hash.is_(None), conflict.exists()),
        )
        return list((await session.scalars(links.union(held))).all())


async def _open_households(work: Work) -> list[str]:
    """Households not compared since they were written, in conflict, or with somebody in them who is not known yet."""
    async with work.job.sessions() as session:
        rows = await session.scalars(
            select(Link.pco_id)
            .filter_by(**work.owner, kind=FAMILY)
            .where(Link.state != "gone", Link.remote_hash.is_(None))
        )
        return list(rows)


async def _incomplete(work: Work) -> None:
    """Read again, one by one, whom a page did not carry completely."""
    while True:
        async with work.job.sessions() as session:
            pco_id = await session.scalar(
                select(Staged.pco_id)
                .where(Staged.run_id == work.run_id, Staged.snapshot == INCOMPLETE, Staged.remote_hash.is_(None))
                .limit(1)
            )
        if pco_id is None:
            return
        await read_person(work, pco_id, {})


async def read_person(work: Work, pco_id: str, data: dict[str, Any]) -> None:
    """Stage one person by a read of its own. A 404 stages nothing: gone is decided elsewhere."""
    try:
        document = await work.pco.get(f"{PEOPLE}/{pco_id}", Query(include=INCLUDE))
    except NotFound:
        async with work.step() as session:
            work.data |= data
            row = await session.get(Staged, (work.run_id, MEMBER, pco_id))
            if row:
                await session.delete(row)
        return
    work.data |= data
    await stage(work, [document.data], document.included, again=True)


async def stage(
    work: Work, rows: list[Resource], included: Included, *, total: int | None = None, again: bool = False
) -> None:
    """Store people, and the households that came with them, as they were read just now."""
    read_at = work.resources.clock.now()
    people = {person.pco_id: person for person in (person_of(row, included) for row in rows)}
    households = _by_id(household_of(row) for row in included if row.type == "Household")
    progress: dict[str, Any] = {} if again else {"done": Run.done + len(rows)}
    if total is not None:
        progress["total"] = total
    async with work.step(**progress) as session:
        known = await _hashes(session, work, people, households)
        staged = [
            _staged_person(pco_id, person, known.get((MEMBER, pco_id)), again=again)
            for pco_id, person in people.items()
        ]
        await _put(session, work, staged + _staged_households(households, known), read_at)


async def _stage_households(work: Work, rows: list[Resource]) -> None:
    read_at = work.resources.clock.now()
    households = _by_id(map(household_of, rows))
    async with work.step() as session:
        known = await _hashes(session, work, (), households)
        await _put(session, work, _staged_households(households, known), read_at)


def _by_id(households: Iterable[RemoteHousehold | Unread]) -> dict[str, RemoteHousehold]:
    """Those that can be read: of the others nothing is known."""
    return {one.pco_id: one for one in households if isinstance(one, RemoteHousehold)}


def _staged_person(pco_id: str, person: RemotePerson | Unread, known: bytes | None, *, again: bool) -> dict[str, Any]:
    if isinstance(person, Unread):
        # Still not complete after a read of its own: a hash that fits nothing marks it as read, and as undecided.
        return _staged(MEMBER, pco_id, INCOMPLETE, b"" if again else None)
    found = person.hash
    return _staged(MEMBER, pco_id, None if known == found else person.to_json(), found) | {
        "email_keys": email_keys(person),
        "name_keys": sorted(to_match(person).name_keys()),
    }


def _staged_households(
    households: Mapping[str, RemoteHousehold], known: Mapping[tuple[str, str], bytes | None]
) -> list[dict[str, Any]]:
    return [
        _staged(
            FAMILY,
            pco_id,
            None if known.get((FAMILY, pco_id)) == household.hash else household.to_json(),
            household.hash,
        )
        for pco_id, household in households.items()
    ]


def _staged(kind: str, pco_id: str, snapshot: dict[str, Any] | None, remote_hash: bytes | None) -> dict[str, Any]:
    return {
        "kind": kind,
        "pco_id": pco_id,
        "snapshot": snapshot,
        "remote_hash": None if remote_hash is None else f"\\x{remote_hash.hex()}",
        "email_keys": (),
        "name_keys": (),
    }


async def _hashes(
    session: AsyncSession, work: Work, people: Iterable[str], households: Iterable[str]
) -> dict[tuple[str, str], bytes | None]:
    """Of the records as they were when last compared, by kind and id."""
    found = await session.execute(
        select(Link.kind, Link.pco_id, Link.remote_hash).where(
            Link.organization_id == work.organization_id,
            Link.pco_organization_id == work.pco_organization_id,
            Link.state == "linked",
            or_(
                and_(Link.kind == MEMBER, Link.pco_id == any_(literal(list(people), ARRAY(Text)))),
                and_(Link.kind == FAMILY, Link.pco_id == any_(literal(list(households), ARRAY(Text)))),
            ),
        )
    )
    return {(kind, pco_id): remote_hash for kind, pco_id, remote_hash in found.tuples()}


_PUT: Final = text(
    """
    INSERT INTO staged (run_id, kind, pco_id, snapshot, remote_hash, email_keys, name_keys, read_at)
    SELECT :run_id, kind, pco_id, snapshot, remote_hash, email_keys, name_keys, :read_at
    FROM jsonb_to_recordset(:rows) AS page (
        kind text, pco_id text, snapshot jsonb, remote_hash bytea, email_keys text[], name_keys text[]
    )
    ON CONFLICT (run_id, kind, pco_id) DO UPDATE SET
        snapshot = excluded.snapshot, remote_hash = excluded.remote_hash, email_keys = excluded.email_keys,
        name_keys = excluded.name_keys, read_at = excluded.read_at
    """
).bindparams(bindparam("run_id", type_=Uuid), bindparam("rows", type_=JSONB))
"""A page in one statement: a row each costs more than reading it."""


async def _put(session: AsyncSession, work: Work, rows: list[dict[str, Any]], read_at: datetime) -> None:
    """Insert, last copy wins: offset pages can carry the same row twice."""
    if rows:
        await session.execute(_PUT, {"run_id": work.run_id, "read_at": read_at, "rows": rows})
