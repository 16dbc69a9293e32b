"""Phase 1: reads Planning Center, page by page, into the mirror. It only decides which records are missing.

A full pull reads all people with contacts and households in one walk. An incremental one, and each after an approval,
reads the changes since the cursor in each of the collections, since a change of a contact or a household need not move
the person's `updated_at`. People with parts missing from a page, because `include` lags, are read again by themselves.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Text, Uuid, all_, any_, cast, literal, or_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import FAMILY, MEMBER
from pco_client.jsonapi import Included, Resource
from pco_client.query import Query
from pco_client.walk import PER_PAGE, STEP, WalkedPage, walk_all, walk_newest_first, walk_since
from people_sync.domain.planning_center import RemoteHousehold, RemotePerson, Unread
from people_sync.planning_center import (
    FIELDS,
    INCLUDE,
    NUMBER,
    PEOPLE,
    fingerprint_of,
    household_of,
    is_id,
    latest,
    newest_person,
    person_of,
    stored_id,
)
from people_sync.storage import remote, runs
from people_sync.storage.kept_out import holds_its_place, is_kept_out
from people_sync.storage.sync_tables import Conflict, HeldMatch, Remote, Run
from people_sync.storage.tables import Link, Member
from people_sync.usecases.proof import not_as_here
from people_sync.usecases.record.mergers import follow_after_deletions, follow_mergers
from people_sync.usecases.record.planned import Planned
from people_sync.usecases.record.reading import store
from people_sync.usecases.run.context import RunContext, add_planned
from people_sync.usecases.run.missing import (
    ask_for_missing,
    ask_for_replaced,
    note_missing,
    until_mergers_show,
)
from people_sync.usecases.run.reads import note_whether_there, read_or_list
from synckit.among import among

_BATCH: Final = 100
_READ_AHEAD: Final = 16
"""Pages of a full walk that are read ahead."""
_TOGETHER: Final = 5
"""Maximum pages in one transaction."""


async def pull(context: RunContext) -> None:
    """Read the people and households that the run needs."""
    await follow_after_deletions(context)
    if context.reads_everybody:
        await _everybody(context)
    else:
        await _changed(context)
    if context.reads_everybody or context.checkpoint.pulled.everybody:
        await ask_for_missing(context)
    else:
        await ask_for_replaced(context)
    await until_mergers_show(context)

    async def merged(session: AsyncSession, plan: Planned) -> None:
        await add_planned(session, context, [plan])

    # These runs must not write unapproved changes: the next sync merges duplicates again.
    may_delete = context.purpose not in {runs.PREVIEW, runs.PROOF} and not context.approved
    followed = await follow_mergers(context, merged, may_delete=may_delete)
    if followed.whole:
        await note_missing(context, but=followed.put_off)
    for pco_id in followed.kept:
        if not context.reads_everybody:
            await read_person(context, pco_id)
    if not context.reads_everybody:
        for pco_id in await _left_a_household(context):
            await read_person(context, pco_id)
    await _incomplete(context)


async def _everybody(context: RunContext) -> None:
    checkpoint = context.checkpoint
    position = checkpoint.pulled.position
    if position and position["complete"]:
        return
    if position is None and checkpoint.cursor is None:
        # Taken before the first page, not after the last, since early pages miss later edits.
        checkpoint.cursor = latest((await newest_person(context.pco)).data)
    walk = walk_all(context.pco, PEOPLE, include=INCLUDE, fields=FIELDS, parallel=_READ_AHEAD, resume=position)
    # The groups are closed first, because a walk cannot be closed during the wait for its next page.
    async with aclosing(walk) as pages, aclosing(_together(pages)) as groups:
        async for group in groups:
            checkpoint.pulled.position = group[-1].position
            ago = asyncio.get_running_loop().time() - min(page.asked for page in group)
            await _put_pages(context, group, context.now() - timedelta(seconds=ago))


async def _together(pages: AsyncIterator[WalkedPage]) -> AsyncGenerator[list[WalkedPage], None]:
    """Pages in groups: all pages that arrived while the last group was processed make one transaction."""
    coming = asyncio.ensure_future(anext(pages, None))
    try:
        while (page := await coming) is not None:
            group = [page]
            coming = asyncio.ensure_future(anext(pages, None))
            await asyncio.sleep(0)  # one turn of the loop, in which an available page is handed over
            while len(group) < _TOGETHER and coming.done() and not coming.exception() and (more := coming.result()):
                group.append(more)
                coming = asyncio.ensure_future(anext(pages, None))
                await asyncio.sleep(0)
            yield group
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)


async def _changed(context: RunContext) -> None:
    """Collect the concerned people, then read each of them, or all people if that takes fewer requests."""
    pulled = context.checkpoint.pulled
    if pulled.concerned is None:
        people, households = await _concerned(context)
        concerned = len(people) + len(households)
        # The sharers of an email are known only after a complete read.
        everybody = not context.mirrored or (concerned > PER_PAGE and concerned > await _pages(context))
        if everybody:
            people, households = set(), set()
        async with context.step(done=0, total=len(people) + len(households)):
            pulled.everybody = everybody
            pulled.concerned, pulled.households = sorted(people, key=int), sorted(households, key=int)
    if pulled.everybody:
        await _everybody(context)
    while pulled.concerned:
        await read_person(context, pulled.concerned[0])
    while pulled.households:
        await _read_household(context, pulled.households[0])


async def _read_household(context: RunContext, pco_id: str) -> None:
    found = await read_or_list(context, FAMILY, pco_id)
    async with context.step() as session:
        context.checkpoint.pulled.households.remove(pco_id)
        if found is not None and found.document is not None:  # only full runs decide that a record is gone
            await store(session, context, found, run_id=context.run_id)


async def _pages(context: RunContext) -> int:
    """Number of requests for reading all people."""
    return (await context.pco.list(PEOPLE, Query(per_page=1, fields={"Person": ("created_at",)}))).total_count // STEP


async def _left_a_household(context: RunContext) -> list[str]:
    """Read people of our families whom a household no longer names by themselves, since they may be gone."""
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
        for snapshot, agreed in households:
            named |= set((snapshot or {})["person_ids"])
            members |= set(map(UUID, agreed.get("members", ())))
        return list(
            await session.scalars(
                select(Link.pco_id)
                .filter_by(**context.owner, kind=MEMBER)
                .where(
                    among(Link.record_id, members),
                    Link.state != "gone",
                    Link.pco_id != all_(literal(list(named), ARRAY(Text))),
                    ~remote.sighted(context.run_id, MEMBER, Link.pco_id),
                )
                .order_by(Link.pco_id)
            )
        )


async def _concerned(context: RunContext) -> tuple[set[str], set[str]]:
    pulled = context.checkpoint.pulled
    since = datetime.fromisoformat(pulled.since) if pulled.since else context.since
    assert since is not None
    people, cursor = set(await _open_ends(context)), context.checkpoint.cursor
    async for page in walk_since(context.pco, PEOPLE, since):
        people |= {row.id for row in page.rows}
        cursor = latest(page.rows, cursor)
    unsaid = False
    for path in ("/people/v2/emails", "/people/v2/phone_numbers"):
        async for page in walk_since(context.pco, path, since):
            people |= _people_of(page.rows)
            unsaid |= _leaves_unsaid(page.rows)
    async for page in walk_newest_first(context.pco, "/people/v2/addresses", since):
        people |= _people_of(page.rows)
        unsaid |= _leaves_unsaid(page.rows)
    households = set(await _open_households(context))
    async for page in walk_since(context.pco, "/people/v2/households", since):
        households |= {row.id for row in page.rows}
    # A contact without its person must come again with the next run.
    context.checkpoint.cursor = None if unsaid else cursor
    # A record with an invalid id cannot be read by itself; a full pull lists it.
    return set(filter(is_id, people)), set(filter(is_id, households))


def _people_of(contacts: Sequence[Resource]) -> set[str]:
    return {person.id for row in contacts if (person := row.to_one("person"))}


def _leaves_unsaid(contacts: Sequence[Resource]) -> bool:
    """Whether a contact lacks its person relationship; an orphan has an empty one."""
    return not all(row.has_relationship("person") for row in contacts)


async def _open_ends(context: RunContext) -> list[str]:
    """People whose outcome may change without an edit there.

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
        synced = ~holds_its_place(context.organization_id, MEMBER, Link.record_id)
        links = select(Link.pco_id).where(
            Link.organization_id == context.organization_id,
            Link.pco_organization_id == context.pco_organization_id,
            Link.kind == MEMBER,
            Link.state != "gone",
            or_(Link.remote_hash.is_(None), conflict.exists()),
            synced,
        )
        missing = (
            select(Link.pco_id)
            .filter_by(**context.owner, kind=MEMBER)
            .where(Link.state != "gone", Link.missing_since.is_not(None), synced)
        )
        again = select(Remote.pco_id).filter_by(**context.owner, kind=MEMBER).where(Remote.again)
        return list((await session.scalars(links.union(held, again, missing))).all())


async def _open_households(context: RunContext) -> list[str]:
    """Households not compared since they were written, in conflict, or with an unknown person."""
    async with context.job.sessions() as session:
        rows = await session.scalars(
            select(Link.pco_id)
            .filter_by(**context.owner, kind=FAMILY)
            .where(
                Link.state != "gone",
                Link.remote_hash.is_(None),
                ~is_kept_out(context.organization_id, FAMILY, Link.record_id),
            )
            .union(select(Remote.pco_id).filter_by(**context.owner, kind=FAMILY).where(Remote.again))
        )
        return list(rows)


async def _incomplete(context: RunContext) -> None:
    """Read people with incomplete pages again, one by one."""
    while True:
        async with context.job.sessions() as session:
            pco_id = await session.scalar(
                select(Remote.pco_id)
                .filter_by(**context.owner, kind=MEMBER)
                .where(
                    Remote.run_id == context.run_id,
                    Remote.again,
                    Remote.pco_id.regexp_match(f"^{NUMBER}$"),
                    Remote.pco_id > context.checkpoint.pulled.read_again,
                )
                .order_by(Remote.pco_id)
                .limit(1)
            )
        if pco_id is None:
            return
        await read_person(context, pco_id, again=True)


async def read_person(context: RunContext, pco_id: str, *, again: bool = False) -> None:
    """Read one person by a separate request. A 404 is not stored: gone is decided elsewhere."""
    found = await read_or_list(context, MEMBER, pco_id)
    async with context.step() as session:
        if again:
            context.checkpoint.pulled.read_again = pco_id
        elif pco_id in (concerned := context.checkpoint.pulled.concerned or []):
            concerned.remove(pco_id)
        if found is None:
            return
        if found.document is None:
            long_ago = found.read_at - context.resources.horizon
            await remote.not_shown(session, context.owner, MEMBER, pco_id, long_ago)
            return
        await store(session, context, found, run_id=context.run_id)
        await note_whether_there(session, context, MEMBER, pco_id, there=True)
        households = _households(found.document.included)
        rows = [remote.row_of(context.owner, FAMILY, one) for one in households]
        await remote.put(session, context.owner, rows, context.reading(found.read_at), context.run_id)
        await remote.met(session, context.run_id, FAMILY, [one.pco_id for one in households])


async def _put_pages(context: RunContext, pages: Sequence[WalkedPage], read_at: datetime) -> None:
    """Store people, and their included households, that changed since the last comparison.

    For a proof also unchanged ones that differ from our side.
    """
    came: dict[tuple[str, str], tuple[Resource, Included]] = {}
    for page in pages:
        came |= {(MEMBER, stored_id(row)): (row, page.included) for row in page.rows}
        households = (row for row in page.included if row.type == "Household")
        came |= {(FAMILY, stored_id(row)): (row, page.included) for row in households}
    ids = {kind: [pco_id for one, pco_id in came if one == kind] for kind in (MEMBER, FAMILY)}
    proof = context.purpose == runs.PROOF
    progress = {"done": Run.done + sum(len(page.rows) for page in pages), "total": pages[-1].total_count}
    async with context.step(**progress) as session:
        known = await remote.compared(session, context.owner, ids[MEMBER], ids[FAMILY])
        changed: list[dict[str, Any]] = []
        same: list[tuple[RemotePerson | RemoteHousehold, bytes | None]] = []
        unmoved: dict[tuple[str, str], RemotePerson | RemoteHousehold] = {}
        for key, (row, included) in sorted(came.items(), key=itemgetter(0)):
            fingerprint, before = fingerprint_of(row, included), known.get(key)
            read_before = before is not None and before.was_read_from(fingerprint)
            if read_before and not proof:
                continue
            one = person_of(row, included) if key[0] == MEMBER else household_of(row)
            if before is None or isinstance(one, Unread) or before.remote_hash != one.hash:
                changed.append(remote.row_of(context.owner, key[0], one, fingerprint))
                continue
            unmoved[key] = one
            if not read_before:
                same.append((one, fingerprint))
        if proof:
            # An unchanged read since the last comparison proves nothing about our side.
            apart = await not_as_here(session, context.owner, context.country, unmoved)
            rows = [remote.row_of(context.owner, key[0], unmoved[key], fingerprint_of(*came[key])) for key in apart]
            changed = sorted(changed + rows, key=itemgetter("kind", "pco_id"))
        await remote.put(session, context.owner, changed, context.reading(read_at), context.run_id)
        await remote.note_same(session, context.owner, same)
        for kind in (MEMBER, FAMILY):
            await remote.met(session, context.run_id, kind, ids[kind])


def _households(included: Included) -> Iterable[RemoteHousehold | Unread]:
    return [household_of(row) for row in included if row.type == "Household"]
