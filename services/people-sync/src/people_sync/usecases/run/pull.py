"""Phase 1: read Planning Center, page by page, into the mirror. Nothing is decided here but who is not there.

A full pull reads everybody with contacts and households in one walk; an incremental one reads who changed since the
cursor, by each of the collections, since a change of a contact or a household need not move the person's
`updated_at`. What a page lacks because `include` lags behind is read again by itself.
"""

from collections import deque
from collections.abc import Iterable
from contextlib import aclosing
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Text, Uuid, all_, any_, cast, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import FAMILY, MEMBER
from pco_client.errors import NotFound
from pco_client.jsonapi import Included, Resource
from pco_client.query import Query
from pco_client.walk import PER_PAGE, STEP, walk_all, walk_newest_first, walk_since
from people_sync.domain.planning_center import RemoteHousehold, Unread
from people_sync.domain.sentences import WAITING_FOR_MERGERS
from people_sync.planning_center import (
    FIELDS,
    HOUSEHOLDS,
    INCLUDE,
    PEOPLE,
    household_of,
    latest,
    newest_person,
    person_of,
)
from people_sync.storage import remote
from people_sync.storage.sync_tables import Conflict, HeldMatch, Remote, Run
from people_sync.storage.tables import Connection, Link, Member
from people_sync.storage.writes import written_since
from people_sync.usecases.record.mergers import follow_mergers
from people_sync.usecases.record.planned import Planned
from people_sync.usecases.record.reading import read, store
from people_sync.usecases.run.context import RunContext, add_planned

_BATCH: Final = 100
_READ_AHEAD: Final = 16
"""Pages of a full walk that are read while others are looked at."""


async def pull(context: RunContext) -> None:
    """Read what the run needs."""
    if context.kind == "full":
        await _everybody(context)
        await _missing(context)
        await _until_mergers_show(context)
    else:
        await _changed(context)

    async def merged(session: AsyncSession, plan: Planned) -> None:
        await add_planned(session, context, [plan])

    kept = await follow_mergers(context, merged)
    if context.kind == "full":
        await _note_missing(context)
    for pco_id in kept:
        if context.kind != "full":
            await read_person(context, pco_id)
    if context.kind != "full":
        for pco_id in await _left_a_household(context):
            await read_person(context, pco_id)
    await _incomplete(context)


async def _everybody(context: RunContext) -> None:
    position = context.data.get("people")
    if position and position["complete"]:
        return
    if position is None and "cursor" not in context.data:
        # The newest change before the first page, not after the last: an early page does not show later edits.
        context.data["cursor"] = latest((await newest_person(context.pco)).data)
    async with aclosing(
        walk_all(context.pco, PEOPLE, include=INCLUDE, fields=FIELDS, parallel=_READ_AHEAD, resume=position)
    ) as pages:
        # A page may have been read while as many before it were looked at.
        asked = deque([context.now()], maxlen=_READ_AHEAD + 1)
        async for page in pages:
            context.data["people"] = page.position
            await _put_page(context, page.rows, page.included, asked[0], total=page.total_count)
            asked.append(context.now())


async def _changed(context: RunContext) -> None:
    """Collect who is concerned, then read each of them; everybody, where that takes fewer requests."""
    if "concerned" not in context.data:
        people, households = await _concerned(context)
        concerned = len(people) + len(households)
        # Who else has an email is known once everybody was read.
        everybody = not context.mirrored or (concerned > PER_PAGE and concerned > await _pages(context))
        if everybody:
            people, households = set(), set()
        async with context.step(done=0, total=len(people) + len(households)):
            context.data |= {
                "everybody": everybody,
                "concerned": sorted(people, key=int),
                "households": sorted(households, key=int),
            }
    if context.data["everybody"]:
        await _everybody(context)
        async with context.step() as session:
            connection = await session.get_one(Connection, context.organization_id, with_for_update=True)
            connection.mirrored = True
    while context.data["concerned"]:
        first, *others = context.data["concerned"]
        await read_person(context, first, {"concerned": others})
    while context.data["households"]:
        first, *others = context.data["households"]
        await _read_household(context, first, {"households": others})


async def _read_household(context: RunContext, pco_id: str, data: dict[str, Any]) -> None:
    found = await read(context, FAMILY, pco_id)
    async with context.step() as session:
        context.data |= data
        if found.document is not None:  # gone is decided by full runs alone
            await store(session, context, found, run_id=context.run_id)


async def _pages(context: RunContext) -> int:
    """How many requests reading everybody would take."""
    return (await context.pco.list(PEOPLE, Query(per_page=1, fields={"Person": ("created_at",)}))).total_count // STEP


async def _left_a_household(context: RunContext) -> list[str]:
    """People of our families whom a household no longer names: read by themselves, since they may be gone."""
    async with context.job.sessions() as session:
        households = await session.execute(
            select(Remote.snapshot, Link.agreed)
            .join(Link, (Link.pco_id == Remote.pco_id) & (Link.kind == Remote.kind))
            .where(
                Link.organization_id == context.organization_id,
                Link.pco_organization_id == context.pco_organization_id,
                Remote.organization_id == context.organization_id,
                Remote.pco_organization_id == context.pco_organization_id,
                Remote.run_id == context.run_id,
                Remote.kind == FAMILY,
                Remote.snapshot.is_not(None),
            )
        )
        named: set[str] = set()
        members: set[UUID] = set()
        for snapshot, agreed in households.tuples():
            named |= set((snapshot or {})["person_ids"])
            members |= set(map(UUID, agreed.get("members", ())))
        return list(
            await session.scalars(
                select(Link.pco_id)
                .filter_by(**context.owner, kind=MEMBER)
                .where(
                    Link.record_id == any_(literal(list(members), ARRAY(Uuid))),
                    Link.state != "gone",
                    Link.pco_id != all_(literal(list(named), ARRAY(Text))),
                    ~remote.sighted(context.run_id, MEMBER, Link.pco_id),
                )
                .order_by(Link.pco_id)
            )
        )


async def _concerned(context: RunContext) -> tuple[set[str], set[str]]:
    since = context.since
    assert since is not None
    people, cursor = set(await _open_ends(context)), context.data.get("cursor")
    async for page in walk_since(context.pco, PEOPLE, since):
        people |= {row.id for row in page.rows}
        cursor = latest(page.rows, cursor)
    for path in ("/people/v2/emails", "/people/v2/phone_numbers"):
        async for page in walk_since(context.pco, path, since):
            people |= {person.id for row in page.rows if (person := row.to_one("person"))}
    async for page in walk_newest_first(context.pco, "/people/v2/addresses", since):
        people |= {person.id for row in page.rows if (person := row.to_one("person"))}
    households = set(await _open_households(context))
    async for page in walk_since(context.pco, "/people/v2/households", since):
        households |= {row.id for row in page.rows}
    context.data["cursor"] = cursor
    return people, households


async def _open_ends(context: RunContext) -> list[str]:
    """People whose state may move without a change there.

    Conflicts, links not compared yet, and held matches that are answered or have no candidate left.
    """
    async with context.job.sessions() as session:
        conflict = select(Conflict).where(
            Conflict.organization_id == context.organization_id,
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
            HeldMatch.organization_id == context.organization_id,
            HeldMatch.pco_organization_id == context.pco_organization_id,
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
            Link.organization_id == context.organization_id,
            Link.pco_organization_id == context.pco_organization_id,
            Link.kind == MEMBER,
            Link.state != "gone",
            or_(Link.remote_hash.is_(None), conflict.exists()),
        )
        missing = (
            select(Link.pco_id)
            .filter_by(**context.owner, kind=MEMBER)
            .where(Link.state != "gone", Link.missing_since.is_not(None))
        )
        again = select(Remote.pco_id).filter_by(**context.owner, kind=MEMBER).where(Remote.again)
        return list((await session.scalars(links.union(held, again, missing))).all())


async def _open_households(context: RunContext) -> list[str]:
    """Households not compared since they were written, in conflict, or with somebody in them who is not known yet."""
    async with context.job.sessions() as session:
        rows = await session.scalars(
            select(Link.pco_id)
            .filter_by(**context.owner, kind=FAMILY)
            .where(Link.state != "gone", Link.remote_hash.is_(None))
            .union(select(Remote.pco_id).filter_by(**context.owner, kind=FAMILY).where(Remote.again))
        )
        return list(rows)


async def _incomplete(context: RunContext) -> None:
    """Read again, one by one, whom a page did not carry completely."""
    while True:
        async with context.job.sessions() as session:
            pco_id = await session.scalar(
                select(Remote.pco_id)
                .filter_by(**context.owner, kind=MEMBER)
                .where(
                    Remote.run_id == context.run_id,
                    Remote.again,
                    Remote.pco_id > context.data.get("read_again", ""),
                )
                .order_by(Remote.pco_id)
                .limit(1)
            )
        if pco_id is None:
            return
        await read_person(context, pco_id, {"read_again": pco_id})


async def read_person(context: RunContext, pco_id: str, data: dict[str, Any] | None = None) -> None:
    """Read one person by a request of its own. A 404 stores nothing: gone is decided elsewhere."""
    found = await read(context, MEMBER, pco_id)
    async with context.step() as session:
        context.data |= data or {}
        if found.document is None:
            await remote.not_shown(session, context.owner, MEMBER, [pco_id])
            return
        await store(session, context, found, run_id=context.run_id)
        households = _households(found.document.included)
        rows = list(map(remote.household_row, households))
        await remote.put(session, context.owner, rows, found.read_at, context.run_id)
        await remote.met(session, context.run_id, FAMILY, [one.pco_id for one in households])


async def _put_page(
    context: RunContext, rows: list[Resource], included: Included, read_at: datetime, *, total: int | None
) -> None:
    """Store people, and the households that came with them: those that are not as they were when last compared."""
    people = {person.pco_id: person for person in (person_of(row, included) for row in rows)}
    households = {one.pco_id: one for one in _households(included)}
    progress: dict[str, Any] = {"done": Run.done + len(rows)}
    if total is not None:
        progress["total"] = total
    async with context.step(**progress) as session:
        known = await remote.compared_hashes(session, context.owner, people, households)
        changed = [
            remote.person_row(context.owner, person)
            for pco_id, person in people.items()
            if isinstance(person, Unread) or known.get((MEMBER, pco_id)) != person.hash
        ]
        changed += [
            remote.household_row(household)
            for pco_id, household in households.items()
            if isinstance(household, Unread) or known.get((FAMILY, pco_id)) != household.hash
        ]
        await remote.put(session, context.owner, changed, read_at, context.run_id)
        await remote.note_logins(session, context.owner, people.values())
        await remote.met(session, context.run_id, MEMBER, people.keys())
        await remote.met(session, context.run_id, FAMILY, households.keys())


def _households(included: Included) -> Iterable[RemoteHousehold | Unread]:
    return [household_of(row) for row in included if row.type == "Household"]


# --- who is not there -----------------------------------------------------------------------------------------------


async def _missing(context: RunContext) -> None:
    """Ask for each linked record that a complete pull did not meet: before anybody is matched.

    Whoever is gone may have been added there again as somebody new. Not those made so lately that the pull may have
    been too early to meet them.
    """
    if "missing" not in context.data:
        async with context.step() as session:
            began = (await session.get_one(Run, context.run_id)).started_at or context.now()
            await remote.forget_strangers_not_met(session, context.owner, context.run_id, began)
            connection = await session.get_one(Connection, context.organization_id, with_for_update=True)
            connection.mirrored = True
            context.data |= {"missing": ["", ""], "began": began.isoformat()}
    while batch := await _not_met(context):
        for kind, pco_id in batch:
            found = await read(context, kind, pco_id)
            there = found.document is not None
            async with context.step() as session:
                context.data["missing"] = [kind, pco_id]
                link = select(Link).filter_by(**context.owner, kind=kind, pco_id=pco_id).with_for_update()
                for row in await session.scalars(link):
                    row.missing_since = None if there else row.missing_since or context.now()
                    row.state = "linked" if there and row.state == "missing" else row.state
                if there:
                    # A walk over people never meets a household that was left empty (planningcenter/developers#1258).
                    await store(session, context, found, run_id=context.run_id)


async def _note_missing(context: RunContext) -> None:
    """The log of mergers was read late enough: who is missing and not in it is to be had by somebody else."""
    began = datetime.fromisoformat(context.data["began"])
    async with context.step() as session:
        await session.execute(
            update(Link)
            .filter_by(**context.owner, state="linked")
            .where(Link.missing_since.is_not(None), ~written_since(began - context.resources.horizon))
            .values(state="missing")
            .execution_options(synchronize_session=False)
        )


async def _not_met(context: RunContext) -> list[tuple[str, str]]:
    """The next linked records, by kind and Planning Center's id, that the run has not met or asked for."""
    began = datetime.fromisoformat(context.data["began"])
    async with context.job.sessions() as session:
        rows = await session.execute(
            select(Link.kind, Link.pco_id)
            .filter_by(**context.owner)
            .where(
                Link.state != "gone",
                func.row(Link.kind, Link.pco_id) > func.row(*context.data["missing"]),
                ~written_since(began - context.resources.horizon),
                or_(
                    (Link.kind == MEMBER) & ~remote.sighted(context.run_id, MEMBER, Link.pco_id),
                    (Link.kind == FAMILY) & ~remote.sighted(context.run_id, FAMILY, Link.pco_id),
                ),
            )
            .order_by(Link.kind, Link.pco_id)
            .limit(_BATCH)
        )
        return [(kind, pco_id) for kind, pco_id in rows.tuples()]


async def _until_mergers_show(context: RunContext) -> None:
    """Wait until the log of mergers can be believed about whoever is missing, before it is read."""
    async with context.job.sessions() as session:
        newest = await session.scalar(
            select(func.max(Link.missing_since)).filter_by(**context.owner, kind=MEMBER).where(Link.state != "gone")
        )
    if newest is not None:
        await context.wait_until(newest + context.resources.horizon, WAITING_FOR_MERGERS)


async def is_there(context: RunContext, kind: str, pco_id: str) -> bool:
    """Whether Planning Center still has a person or household."""
    try:
        await context.pco.get(f"{PEOPLE if kind == MEMBER else HOUSEHOLDS}/{pco_id}")
    except NotFound:
        return False
    return True
