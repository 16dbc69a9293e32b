"""Puts back the values of an undo's plan, in batches, each one transaction. Values changed since stay, and are listed.

A value put back is an ordinary edit here: the push sends it to Planning Center.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Final
from uuid import UUID

from sqlalchemy import delete, func, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.base import Event
from contracts.values import FAMILY, MEMBER
from people_sync.domain.canonical import name_key
from people_sync.domain.sentences import BACK_HERE, LEFT_OUT, OUTCOMES, RESTORED, TAKEN_BACK, UNDONE
from people_sync.domain.undo import MEMBER as MEMBERSHIP
from people_sync.domain.undo import MEMBERS, PRIMARY_CONTACT, Back, Standing, Undo, in_words, moved_since, same_as_shown
from people_sync.domain.values import value_from_json
from people_sync.storage.sync_tables import Change, Conflict
from people_sync.storage.tables import Family, FamilyMember, Link, Member
from people_sync.usecases.conflicts import withdraw
from people_sync.usecases.publishing import family_removed, member_removed, touch_families, touch_members
from people_sync.usecases.record.effects import Effects, noted, publish, take_over, touch, touch_family
from people_sync.usecases.record.families_here import lock_people
from people_sync.usecases.run.context import RunContext
from people_sync.usecases.run.undo_plan import Record, Undoing, backs_of, look, undoing
from servicekit.kafka.outbox import append_all
from synckit.among import among
from synckit.history import DELETED

BATCHES: Final = {MEMBER: 500, FAMILY: 200}
"""Records in one transaction."""
_MOST_MEMBERS: Final = 1_200
"""Maximum members of the families in one transaction, since each may be published with the family."""
_MOVED: Final = "Edited since, so it stays as it is."


@dataclass(slots=True)
class _Batch:
    """The undo of one transaction."""

    about: Undoing
    people: dict[UUID, Member] = field(default_factory=dict)
    """For families: ids of all members who may join or leave, locked."""
    homes: dict[UUID, list[Family]] = field(default_factory=dict)
    """For restored members: families that have them again."""
    links: dict[UUID, Link] = field(default_factory=dict)
    joining: list[tuple[UUID, UUID]] = field(default_factory=list)
    """Memberships as (family, member)."""
    leaving: list[tuple[UUID, UUID]] = field(default_factory=list)
    removed: dict[UUID, Event] = field(default_factory=dict)
    """Facts about records deleted here."""
    effects: Effects = field(default_factory=Effects)


async def put_back(context: RunContext) -> None:
    """Put back all planned records.

    Restored members come before families, which get them back; families before members to delete, whom none may keep.
    """
    about = await undoing(context)
    for kind, where in ((MEMBER, (Change.outcome == RESTORED,)), (FAMILY, ()), (MEMBER, ())):
        while True:
            async with context.step() as session:
                changes = await _next(session, context, kind, where)
                await _put_back(session, context, about, kind, changes)
                await context.advance(session, sum(change.here != "planned" for change in changes))
            if not changes:
                break


async def _next(session: AsyncSession, context: RunContext, kind: str, where: Sequence[Any]) -> Sequence[Change]:
    changes = (
        await session.scalars(
            select(Change)
            .where(Change.run_id == context.run_id, Change.kind == kind, Change.here == "planned", *where)
            .order_by(Change.id)
            .limit(BATCHES[kind])
        )
    ).all()
    if kind == MEMBER or not changes:
        return changes
    counted = await session.execute(
        select(FamilyMember.family_id, func.count())
        .where(among(FamilyMember.family_id, [change.record_id for change in changes]))
        .group_by(FamilyMember.family_id)
    )
    sizes: dict[UUID, int] = dict(counted.all())
    people = accumulate(sizes.get(change.record_id, 0) + len(change.plan or ()) for change in changes)  # type: ignore[arg-type] # made with a record
    return changes[: max(1, sum(total <= _MOST_MEMBERS for total in people))]


async def _put_back(
    session: AsyncSession, context: RunContext, about: Undoing, kind: str, changes: Sequence[Change]
) -> None:
    batch = _Batch(about)
    records = await _locked(session, context, batch, kind, changes)
    decided = await look(session, context, about, kind, records)
    for change in changes:
        record = records.get(change.record_id)  # type: ignore[arg-type] # made with a record
        if record is None:
            _leave(change, _MOVED)
        elif not await _all_locked(session, batch, record):
            continue  # a member joined the family before it was locked, so retry
        else:
            undo, now = decided[record.id]
            await _one(session, context, batch, change, record, undo, now)
    await _move(session, context, batch)
    if batch.removed:
        about_them = among(Conflict.record_id, batch.removed)
        batch.effects.conflicts += await withdraw(session, context.organization_id, context.now(), about_them)
    await publish(session, context, batch.effects)
    await append_all(session, list(batch.removed.values()), tombstone=True)


async def _locked(
    session: AsyncSession, context: RunContext, batch: _Batch, kind: str, changes: Sequence[Change]
) -> dict[UUID, Record]:
    """Lock the records, with the people and links that may change with them: members, families, links."""
    ids = [change.record_id for change in changes if change.record_id]
    if kind == FAMILY:
        coming = {
            UUID(back.key.removeprefix(MEMBERSHIP))
            for change in changes
            for back in backs_of(change)
            if back.key.startswith(MEMBERSHIP)
        }
        held = await lock_people(session, context, ids, coming)
        batch.people = {one.id: one for one in await _members(session, context, [UUID(one) for one in held])}
    table: Any = Member if kind == MEMBER else Family
    rows = await session.scalars(
        select(table)
        .where(table.organization_id == context.organization_id, among(table.id, ids))
        .order_by(table.id)
        .with_for_update()
    )
    records: dict[UUID, Record] = {row.id: row for row in rows}
    if kind == MEMBER:
        batch.homes = await _homes(session, [change.record_id for change in changes if change.outcome == RESTORED])
    links = await session.scalars(
        select(Link)
        .filter_by(**context.owner, kind=kind)
        .where(among(Link.record_id, ids))
        .order_by(Link.id)
        .with_for_update()
    )
    batch.links = {link.record_id: link for link in links}
    return records


async def _homes(session: AsyncSession, members: Collection[UUID | None]) -> dict[UUID, list[Family]]:
    """Lock families with a membership row of a deleted member, who becomes their member again."""
    found: dict[UUID, list[Family]] = {}
    if members:
        rows = await session.execute(
            select(FamilyMember.member_id, Family)
            .join(Family, FamilyMember.family_id == Family.id)
            .where(among(FamilyMember.member_id, members), Family.deleted_at.is_(None))
            .order_by(Family.id)
            .with_for_update(of=Family)
        )
        for member_id, family in rows:
            found.setdefault(member_id, []).append(family)
    return found


async def _members(session: AsyncSession, context: RunContext, ids: Collection[UUID]) -> Sequence[Member]:
    found = select(Member).where(Member.organization_id == context.organization_id, among(Member.id, ids))
    return (await session.scalars(found)).all()


async def _all_locked(session: AsyncSession, batch: _Batch, record: Record) -> bool:
    if isinstance(record, Member):
        return True
    return set(await _in_family(session, record.id)) <= batch.people.keys()


async def _in_family(session: AsyncSession, family_id: UUID) -> Sequence[UUID]:
    found = select(FamilyMember.member_id).where(FamilyMember.family_id == family_id)
    return (await session.scalars(found.order_by(FamilyMember.member_id))).all()


async def _one(
    session: AsyncSession,
    context: RunContext,
    batch: _Batch,
    change: Change,
    record: Record,
    undo: Undo,
    now: Standing,
) -> None:
    """Put one record back as shown. Values changed since stay, and are listed."""
    shown = {TAKEN_BACK: "delete", RESTORED: "restore"}.get(change.outcome)
    if shown != undo.whole:
        _leave(change, in_words(undo.left) or _MOVED)
        return
    backs, moved = same_as_shown(backs_of(change), undo)
    if shown == "delete":
        await _delete(session, context, batch, record)
    elif shown == "restore":
        await _restore(session, context, batch, record, backs)
    elif backs:
        await _values(context, batch, record, backs)
    else:
        _leave(change, in_words({key: moved_since(key) for key in moved}) or _MOVED)
        return
    change.here = "done"
    if now.linked_to is None:
        change.there = "none"
    only_here = change.outcome == UNDONE and change.there == "none"
    done = BACK_HERE if only_here else OUTCOMES[change.outcome]
    left = [change.sentence, in_words({key: moved_since(key) for key in moved})]
    if any(left) or only_here:
        change.sentence = " ".join(filter(None, [done, *left]))


def _leave(change: Change, why: str) -> None:
    change.here = change.there = "none"
    change.outcome, change.sentence = LEFT_OUT, why


async def _values(context: RunContext, batch: _Batch, record: Record, backs: Sequence[Back]) -> None:
    if isinstance(record, Member):
        for back in backs:
            _note(context, batch, MEMBER, record.id, back.key, back.here, back.after)
        take_over(record, {back.key: value_from_json(back.key, back.after) for back in backs})
        touch(context, record, batch.effects)
        return
    leaving = set[UUID]()
    for back in backs:
        if back.key.startswith(MEMBERSHIP):
            member = UUID(back.key.removeprefix(MEMBERSHIP))
            (batch.joining if back.after else batch.leaving).append((record.id, member))
            leaving |= set() if back.after else {member}
            before, after = (None, str(member)) if back.after else (str(member), None)
            _note(context, batch, FAMILY, record.id, MEMBERS, before, after)
            continue
        _note(context, batch, FAMILY, record.id, back.key, back.here, back.after)
        if back.key == PRIMARY_CONTACT:
            record.primary_contact_id = UUID(back.after)
        else:
            record.name, record.name_key = back.after, name_key(back.after, "")
    if record.primary_contact_id in leaving:
        _note(context, batch, FAMILY, record.id, PRIMARY_CONTACT, str(record.primary_contact_id), None)
        record.primary_contact_id = None
    touch_family(context, record, batch.effects)


async def _delete(session: AsyncSession, context: RunContext, batch: _Batch, record: Record) -> None:
    """Delete a record that was added here. Planning Center stays unchanged, regardless of the settings."""
    now = context.now()
    kind = MEMBER if isinstance(record, Member) else FAMILY
    _note(context, batch, kind, record.id, DELETED, before=False, after=True)
    if isinstance(record, Family):
        for member in await _in_family(session, record.id):
            batch.leaving.append((record.id, member))
            _note(context, batch, FAMILY, record.id, MEMBERS, str(member), None)
    record.deleted_at = record.updated_at = now
    record.version += 1
    if (link := batch.links.get(record.id)) is not None:
        link.compared_version = record.version
    removed = member_removed(record, now) if isinstance(record, Member) else family_removed(record, now)
    batch.removed[record.id] = removed


async def _restore(
    session: AsyncSession, context: RunContext, batch: _Batch, record: Record, backs: Sequence[Back]
) -> None:
    """Restore a record that was deleted here. The next sync takes over changes there since."""
    kind = MEMBER if isinstance(record, Member) else FAMILY
    _note(context, batch, kind, record.id, DELETED, before=True, after=False)
    record.deleted_at = None
    if isinstance(record, Member):
        touch(context, record, batch.effects)
        homes = {one.id: one for one in batch.homes.get(record.id, ()) if one.id not in batch.effects.families}
        await touch_families(session, list(homes.values()), context.now())
        batch.effects.families |= homes
    else:
        await _values(context, batch, record, backs)
    if (link := batch.links.get(record.id)) is not None:
        link.compared_version, link.remote_hash = record.version, None
        if isinstance(record, Family):
            # A member who is not restored must not be removed from the household.
            here = {str(member) for family, member in batch.joining if family == record.id}
            link.agreed = {**link.agreed, MEMBERS: sorted(here & set(link.agreed.get(MEMBERS, ())))}


async def _move(session: AsyncSession, context: RunContext, batch: _Batch) -> None:
    """Write memberships, and publish the members again, since a member's record names its families."""
    if batch.leaving:
        pairs = tuple_(FamilyMember.family_id, FamilyMember.member_id).in_(batch.leaving)
        await session.execute(delete(FamilyMember).where(pairs))
    if batch.joining:
        rows = [
            {"family_id": family, "member_id": member, "organization_id": context.organization_id}
            for family, member in batch.joining
        ]
        await session.execute(insert(FamilyMember).on_conflict_do_nothing(), rows)
    moved = {member for _, member in (*batch.joining, *batch.leaving)}
    people = [batch.people[one] for one in sorted(moved & batch.people.keys())]
    people = [one for one in people if one.deleted_at is None]
    await touch_members(session, people, context.now())
    batch.effects.members |= {one.id: one for one in people}


def _note(context: RunContext, batch: _Batch, kind: str, record_id: UUID, name: str, before: Any, after: Any) -> None:
    actor = batch.about.approved_by
    row: Mapping[str, Any] = noted(context, kind, record_id, name, before, after, by=actor.by, rule="undone")
    batch.effects.rows.append({**row, "by_user_id": actor.user_id, "by_name": actor.name})
