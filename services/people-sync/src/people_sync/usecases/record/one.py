"""Syncs a single record as a run would: reads there, decides, takes over here, writes there, agrees."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import FAMILY, MEMBER
from pco_client.errors import NotFound
from people_sync.domain.planning_center import Unread, household_from_snapshot
from people_sync.domain.sentences import (
    CONFLICT,
    FIRST_SYNC_ASKS,
    GONE,
    KEPT_OUT,
    LATER,
    LINKED,
    MERGED,
    NEITHER_THERE_NOR_HERE,
    OTHERS_SYNCED,
    OUTCOMES,
    UNCHANGED,
    together,
)
from people_sync.planning_center import household_of
from people_sync.storage import remote
from people_sync.storage.erased import erased_there
from people_sync.storage.families import linked_records, pco_ids_of
from people_sync.storage.kept_out import kept_out_among
from people_sync.storage.records import full_name
from people_sync.storage.sync_tables import Remote
from people_sync.storage.tables import Family, FamilyMember, Link, Member
from people_sync.storage.writes import writes_of
from people_sync.usecases.record.catch_up import catch_up
from people_sync.usecases.record.claims import Busy, LeftAlone, claimed
from people_sync.usecases.record.creations import Later
from people_sync.usecases.record.decide_families import decide_households
from people_sync.usecases.record.decide_people import DIFFERS, DOUBTFUL, decide_people
from people_sync.usecases.record.decided import carry_out
from people_sync.usecases.record.effects import Effects, publish
from people_sync.usecases.record.families_here import lock_people, take_families_over
from people_sync.usecases.record.gone import end_link, lock_for_end, why_gone
from people_sync.usecases.record.mergers import follow_mergers
from people_sync.usecases.record.people_here import take_people_over
from people_sync.usecases.record.planned import Planned
from people_sync.usecases.record.reading import Read, raise_unread, read, store
from people_sync.usecases.record.refusals import DEFINITE, PartRefused, refusal_of
from people_sync.usecases.record.settling import settle_strays
from people_sync.usecases.record.write_family import write_family
from people_sync.usecases.record.write_person import write_person
from people_sync.usecases.record.writer import Writer
from synckit.errors import NotYet
from synckit.staleness import made_lately

_WHILE_BUSY: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Synced:
    """The outcome of one record."""

    outcome: str
    more: list[str] = field(default_factory=list)
    """Further sentences for the reader."""
    exact: str | None = None
    """Replaces the outcome's default sentence."""
    read: Read | None = None
    """The read that the outcome rests on, if it was one of the record itself."""

    def __str__(self) -> str:
        """The outcome in words."""
        return " ".join([self.exact or OUTCOMES[self.outcome], *self.more])


async def sync_member(writer: Writer, member_id: UUID, *, told: bool = False) -> Synced:
    """Sync one member on both sides. `told`: Planning Center tells of a change, so a person who was gone may be back.

    Raises Busy, LeftAlone, NotYet, Later, PartRefused, and the client's errors that do not concern this record.
    """
    async with claimed(writer, MEMBER, member_id):
        said = await settle_strays(writer, member_id)
        end = await _sync(writer, MEMBER, member_id, told=told)
        return replace(end, more=[*said, *end.more])


async def sync_family(writer: Writer, family_id: UUID, *, people: bool = True, strangers: bool | None = None) -> Synced:
    """Sync one family: first its people on both sides, then the family itself.

    A failure of one person becomes a sentence and does not stop the others. `people`: whether to sync people too.
    `strangers`: whether to sync those of the household whom no member here is linked to; as `people` by default.
    Raises as `sync_member` does for the family itself, and NotYet if one of its people must be synced again.
    """
    async with writer.job.sessions() as session:
        if await kept_out_among(session, writer.organization_id, FAMILY, [family_id]):
            raise LeftAlone
        link = await _link(session, writer, FAMILY, family_id)
        members = list(await _members(session, writer, family_id)) if people else []
    problems: list[str] = []
    again: list[datetime] = []
    for member_id, name in members:
        async with _of_family(writer, name, problems, again):
            one = await sync_member(writer, member_id)
            if one.outcome == GONE:
                problems.append(f"{name}: {one}")
            else:
                problems += [str(one)] if one.outcome == MERGED else one.more
    async with claimed(writer, FAMILY, family_id):
        problems += await settle_strays(writer, family_id)
        found = None
        if link is not None and link.state != "gone":
            found = await read(writer, FAMILY, link.pco_id)
            if (people if strangers is None else strangers) and not again:
                # Linked people come first: a stranger may be one of them, added there again after being deleted.
                for pco_id in await _strangers_of(writer, found):
                    async with _of_family(writer, f"Person {pco_id}", problems, again):
                        await sync_stranger(writer, pco_id)
        end = await _sync(writer, FAMILY, family_id, found)
    if again:
        raise NotYet(max(again), so_far=end.outcome)
    return replace(end, more=[*problems, *end.more])


@asynccontextmanager
async def _of_family(writer: Writer, name: str, problems: list[str], again: list[datetime]) -> AsyncIterator[None]:
    """Sync one person of a family. A failure becomes a sentence, or the time of the next attempt."""
    try:
        yield
    except NotYet as error:
        again.append(error.until)
    except Busy:
        again.append(writer.now() + _WHILE_BUSY)
    except LeftAlone:
        problems.append(f"{name}: {OUTCOMES[KEPT_OUT]}")
    except (Later, PartRefused) as error:
        problems.append(f"{name}: {error}")
    except DEFINITE as error:
        problems.append(f"{name}: {(await refusal_of(writer, MEMBER, error)).sentence}")
    except NotFound:
        problems.append(f"{name}: {OUTCOMES[LATER]}")


async def sync_stranger(writer: Writer, pco_id: str) -> Synced:
    """Match, hold or add an unlinked person in Planning Center."""
    return await _sync_stranger(writer, await read(writer, MEMBER, pco_id))


async def sync_strange_household(writer: Writer, pco_id: str) -> Synced:
    """Match or add an unlinked household in Planning Center, after those of its people whom no member is linked to.

    A failure of one person becomes a sentence. Raises as `sync_family` does.
    """
    found = await read(writer, FAMILY, pco_id)
    problems: list[str] = []
    again: list[datetime] = []
    for person_id in await _strangers_of(writer, found):
        async with _of_family(writer, f"Person {person_id}", problems, again):
            await sync_stranger(writer, person_id)
    end = await _sync_stranger(writer, found)
    if again:
        raise NotYet(max(again), so_far=end.outcome)
    return replace(end, more=problems)


async def _sync_stranger(writer: Writer, found: Read) -> Synced:
    if found.document is None:
        async with writer.transaction() as session:
            # As in a run: the mirror must not show for ever who was never linked and is gone.
            long_ago = found.read_at - writer.resources.horizon
            await remote.not_shown(session, writer.owner, found.kind, found.pco_id, long_ago)
        return Synced(UNCHANGED, exact=NEITHER_THERE_NOR_HERE, read=found)
    plan = await _take_over(writer, found.kind, found.pco_id, None, found)
    if plan is None:
        return Synced(UNCHANGED, read=found)
    return Synced(plan.outcome, exact=plan.sentence or None, read=found)


async def _sync(writer: Writer, kind: str, record_id: UUID, found: Read | None = None, *, told: bool = False) -> Synced:
    """`found`: a fresh read of the counterpart, if any. `told`: as `sync_member`."""
    async with writer.job.sessions() as session:
        link = await _link(session, writer, kind, record_id)
    outcome, plan = UNCHANGED, None
    if told and link is not None and link.state == "gone" and link.merged_into is None:
        found = await read(writer, kind, link.pco_id)
    back = found is not None and found.document is not None
    if link is not None and (link.state != "gone" or back):
        if found is None or found.pco_id != link.pco_id:
            found = await read(writer, kind, link.pco_id)
        plan = await _take_over(writer, kind, link.pco_id, link, found)
        outcome = UNCHANGED if plan is None else plan.outcome
        if plan is not None and outcome in {GONE, MERGED}:
            return Synced(outcome, exact=plan.sentence)
    elif link is not None and (end := await _ended(writer, link)) is not None:
        return replace(end, read=found)
    else:
        await catch_up(writer, None)
    if kind == MEMBER:
        written = await write_person(writer, record_id, found=found)
    else:
        written = await write_family(writer, record_id)
    outcome = together(outcome, written)
    told = plan is not None and OTHERS_SYNCED in (plan.sentence or "")
    return Synced(outcome, [OTHERS_SYNCED] if told and outcome == CONFLICT else [], read=found)


async def _ended(writer: Writer, link: Link) -> Synced | None:
    """The outcome for a member whose counterpart is gone; None if an administrator asked to create it again."""
    if link.kind != MEMBER or link.create_again:
        return None
    async with writer.job.sessions() as session:
        if (await session.get_one(Member, link.record_id)).deleted_at is not None:
            return None
        outcome, sentence = await why_gone(session, link)
    return Synced(outcome, exact=sentence)


async def _take_over(
    writer: Writer, kind: str, pco_id: str, link: Link | None = None, found: Read | None = None
) -> Planned | None:
    """Read a record there, unless `found` is fresh, and take its changes over here. None without a plan."""
    found = found or await read(writer, kind, pco_id)
    if found.document is None:
        if link is None:
            return None
        return await _not_there(writer, kind, link)
    if kind == FAMILY and link is not None:
        await _read_who_left(writer, link, found)
    async with writer.transaction() as session:
        unread = await store(session, writer, found)
        if kind == MEMBER and pco_id in (await erased_there(session, writer.owner)).people:
            return None
        plan = None if unread else await _decide(session, writer, kind, pco_id)
    if unread:
        raise_unread(writer, unread, found.read_at)
    return plan


async def _decide(session: AsyncSession, writer: Writer, kind: str, pco_id: str) -> Planned | None:
    """Decide about the mirror's read of a record and take its changes over here."""
    await _lock_record(session, writer, kind, pco_id)
    row = await session.get(
        Remote, (writer.organization_id, writer.pco_organization_id, kind, pco_id), populate_existing=True
    )
    if row is None:
        return None  # of a household of erased people alone nothing is kept
    await carry_out(session, writer, row)
    decide, take_over = (decide_people, take_people_over) if kind == MEMBER else (decide_households, take_families_over)
    plan = next(iter(await decide(session, writer, [row])), None)
    if plan is not None:
        if plan.cause == DOUBTFUL:
            raise Later(plan.sentence)
        _check(writer, plan)
        if plan.here == "planned":
            effects = Effects()
            await take_over(session, writer, [plan], effects)
            await publish(session, writer, effects)
        if plan.outcome == LATER and plan.sentence == FIRST_SYNC_ASKS:
            raise Later(FIRST_SYNC_ASKS)
        if plan.outcome == LATER:
            raise NotYet(writer.now() + writer.resources.horizon)
    await remote.settled(session, writer.owner, kind, pco_id)
    return plan


async def _lock_record(session: AsyncSession, writer: Writer, kind: str, pco_id: str) -> None:
    """Lock the record before its link, in the global order: members, families, links."""
    record_id = await session.scalar(select(Link.record_id).filter_by(**writer.owner, kind=kind, pco_id=pco_id))
    if record_id is None:
        return
    record: type[Member] | type[Family] = Member if kind == MEMBER else Family
    if kind == FAMILY:
        snapshot = await session.scalar(select(Remote.snapshot).filter_by(**writer.owner, kind=FAMILY, pco_id=pco_id))
        people = household_from_snapshot(snapshot).person_ids if snapshot else ()
        known = await linked_records(session, writer.owner, people)
        await lock_people(session, writer, [record_id], known.values())
    await session.execute(select(record.id).where(record.id == record_id).with_for_update())


def _check(writer: Writer, plan: Planned) -> None:
    if plan.outcome == LATER:
        raise NotYet(writer.now() + writer.resources.horizon)
    # Only the church can choose between values of two records that were never compared.
    if not writer.chosen and (plan.cause == DIFFERS or plan.outcome == LINKED):
        raise Later(FIRST_SYNC_ASKS)


async def _not_there(writer: Writer, kind: str, link: Link) -> Planned:
    """Process a 404: inconclusive after a recent write, merged, or gone once the log of mergers is conclusive."""
    async with writer.job.sessions() as session:
        writes = (await writes_of(session, [link.id])).get(link.id, [])
    if until := made_lately(writes, writer.reading(writer.now())):
        raise NotYet(until)
    missing_since = link.missing_since
    if kind == MEMBER:
        followed = await follow_mergers(writer)
        if not followed.whole:
            raise NotYet(writer.now() + writer.resources.horizon)
    async with writer.transaction() as session:
        row = await session.get_one(Link, link.id, with_for_update=True, populate_existing=True)
        if row.pco_id != link.pco_id or row.state == "gone":
            raise NotYet(writer.now())  # the link followed a merger: read its new counterpart
        row.missing_since = missing_since or writer.now()
        believable_at = row.missing_since + writer.resources.horizon
    if missing_since is None or believable_at > writer.now():
        raise NotYet(believable_at)
    async with writer.transaction() as session:
        if kind == MEMBER:
            name = full_name(await session.get_one(Member, link.record_id))
        else:
            name = (await session.get_one(Family, link.record_id)).name
        plan = Planned(kind, name, GONE, link.record_id, link.pco_id, here="planned")
        effects = Effects()
        await lock_for_end(session, writer, [plan])
        await end_link(session, writer, plan, effects)
        await publish(session, writer, effects)
    return plan


async def _read_who_left(writer: Writer, link: Link, household: Read) -> None:
    """Read people that the household no longer names, because a person who is gone must not leave the family here."""
    named = set(_people_of(writer, household))
    async with writer.job.sessions() as session:
        agreed = await pco_ids_of(session, writer.owner, link.agreed.get("members", ()))
    for person_id in sorted(set(agreed.values()) - named):
        try:
            found = await read(writer, MEMBER, person_id)
        except PartRefused:
            continue  # a refusal does not show whether the person left
        if found.document is not None:
            async with writer.transaction() as session:
                await remote.met(session, writer.cause.id, MEMBER, [person_id])


async def _strangers_of(writer: Writer, household: Read) -> list[str]:
    """Planning Center's ids of a household's unlinked people."""
    people = _people_of(writer, household)
    async with writer.job.sessions() as session:
        known = await linked_records(session, writer.owner, people)
        erased = (await erased_there(session, writer.owner)).people
    return [pco_id for pco_id in people if pco_id not in known and pco_id not in erased]


def _people_of(writer: Writer, found: Read) -> list[str]:
    """Planning Center's ids of a household's people, empty if it is gone. Raises if the read is incomplete."""
    if found.document is None:
        return []
    household = household_of(found.document.data)
    if isinstance(household, Unread):
        raise_unread(writer, household, found.read_at)
    return list(household.person_ids)


async def _link(session: AsyncSession, writer: Writer, kind: str, record_id: UUID) -> Link | None:
    link: Link | None = await session.scalar(select(Link).filter_by(**writer.owner, kind=kind, record_id=record_id))
    return link


async def _members(session: AsyncSession, writer: Writer, family_id: UUID) -> Sequence[tuple[UUID, str]]:
    rows = await session.scalars(
        select(Member)
        .join(FamilyMember, Member.id == FamilyMember.member_id)
        .where(
            FamilyMember.family_id == family_id,
            FamilyMember.organization_id == writer.organization_id,
            Member.deleted_at.is_(None),
        )
        .order_by(Member.id)
    )
    return [(member.id, full_name(member)) for member in rows]
