"""Takes people over here. Decides again under lock, since both sides may have changed since the plan."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import MEMBER
from people_sync.domain.matching import Candidate, Held, LeftAlone, Matched, Outcome, Unmatched
from people_sync.domain.merge import Merge, merge, takes_status, with_status
from people_sync.domain.planning_center import RemotePerson, person_from_snapshot
from people_sync.domain.plans import Fields, Status, created, of_person
from people_sync.domain.sentences import (
    CONFLICT,
    CONVERGED,
    CREATED_HERE,
    CREATED_THERE,
    DELETED_MEANWHILE,
    FIRST_SYNC_ASKS,
    HELD,
    KEPT_OUT,
    LATER,
    LEFT_OUT,
    LINKED,
    OTHERS_SYNCED,
    OUTCOMES,
    STATUS_KEPT,
    UNCHANGED,
    UNDECIDED,
    and_more,
    updated,
)
from people_sync.domain.values import ACTIVE, as_dict, to_json
from people_sync.domain.writes import confirmed, person_believable_at
from people_sync.storage.kept_out import kept_out_among
from people_sync.storage.links import (
    AT_ONCE,
    agree,
    agreed_since,
    base_of,
    deleted_here,
    forget_equal,
    in_no_household,
    tie,
    without_status,
)
from people_sync.storage.records import values_of
from people_sync.storage.sync_tables import Conflict, Creation, HeldMatch, Remote
from people_sync.storage.tables import Link, Member
from people_sync.storage.writes import writes_of
from people_sync.usecases.conflicts import converged, open_conflict, open_conflicts_of
from people_sync.usecases.held import no_longer_held
from people_sync.usecases.history import creator_there
from people_sync.usecases.record.claims import claimed_by_others
from people_sync.usecases.record.decide_people import equal_sides, lets_go, merge_person, settle_writes
from people_sync.usecases.record.effects import Effects, carried_out, change_here, noted, take_over, tied, touch
from people_sync.usecases.record.matching import (
    candidates_of,
    not_created_yet,
    said_different,
    still_the_same,
    why_left_alone,
)
from people_sync.usecases.record.planned import Planned
from people_sync.usecases.record.writer import Writer
from synckit import creations
from synckit.among import among
from synckit.staleness import CREATED, Write

_OPEN: Final = frozenset({HELD, LATER, LEFT_OUT})
"""Outcomes that leave a person's match undecided."""


@dataclass(slots=True)
class _People:
    """The present state that a batch of people works with."""

    members: dict[UUID, Member]
    links: dict[str, Link]
    writes: dict[int, list[Write]]
    conflicts: dict[UUID, Conflict]
    creations: dict[UUID, Creation]
    matches: dict[str, Outcome]
    """Present matches of people planned as new: members may have been added since, and an admin may have answered."""
    refused: dict[str, list[str]]
    effects: Effects
    settled: dict[datetime, list[int]] = field(default_factory=dict)
    tied: list[UUID] = field(default_factory=list)


async def take_people_over(session: AsyncSession, writer: Writer, planned: Sequence[Planned], effects: Effects) -> None:
    """Take over the planned changes here; afterwards the plans hold their outcomes."""
    staged = await as_read(session, writer, MEMBER, [change.pco_id for change in planned])
    members = await locked_members(session, writer, [change.record_id for change in planned if change.record_id])
    planned = not_kept_out(planned, await kept_out_among(session, writer.organization_id, MEMBER, members))
    changes = decidable(planned, staged, await claimed_by_others(session, writer, members))
    links = await locked_links(session, writer, MEMBER, [change.pco_id for change in changes])
    people = {pco_id: person_from_snapshot(row.snapshot) for pco_id, row in staged.items() if row.snapshot}
    new = [people[str(change.pco_id)] for change in changes if change.outcome == CREATED_HERE]
    matched = [str(change.pco_id) for change in changes if change.outcome == LINKED]
    batch = _People(
        members,
        links,
        await writes_of(session, [link.id for link in links.values()]),
        await open_conflicts_of(session, writer.organization_id, members),
        await unanswered(session, writer, MEMBER, [change.record_id for change in changes if change.record_id]),
        await candidates_of(session, writer, new),
        await said_different(session, writer, matched),
        effects,
    )
    for change in changes:
        change.here = "done"
        row = staged[str(change.pco_id)]
        person = people[row.pco_id]
        if change.outcome == HELD:
            await _hold(session, writer, change, person, links.get(person.pco_id))
        elif change.outcome == CREATED_HERE:
            outcome = batch.matches[person.pco_id]
            if person.pco_id not in links and isinstance(outcome, LeftAlone):
                leave_alone(change, await why_left_alone(session, outcome))
                continue
            if person.pco_id in links or not isinstance(outcome, Unmatched):
                decide_later(change)
                continue
            if change.forbids(partial(newcomer, person), writer.country):
                change.leave_out()
                continue
            member = _create(session, writer, change, person, row)
            effects.members[member.id] = member
            effects.rows.append(noted(writer, MEMBER, member.id, CREATED, None, person.pco_id))
        else:
            await _known_person(session, writer, batch, change, person, row)
    await in_no_household(session, writer.owner, batch.tied)
    await settle_writes(session, writer, batch.settled, [])
    decided = [str(change.pco_id) for change in changes if change.outcome not in _OPEN]
    await no_longer_held(session, writer.owner, decided)
    # A postponed person may be one that this run would create there.
    strangers = [people[str(change.pco_id)] for change in changes if change.outcome in {LATER, LEFT_OUT}]
    outcomes = await candidates_of(session, writer, [person for person in strangers if person.pco_id not in links])
    maybe = {UUID(member) for outcome in outcomes.values() for member in outcome.member_ids}
    await not_created_yet(session, writer, MEMBER, maybe)


def not_kept_out(planned: Sequence[Planned], kept_out: Collection[UUID]) -> list[Planned]:
    """The changes to carry out; records kept out of the sync since the plan are left alone."""
    for change in planned:
        if change.record_id in kept_out:
            leave_alone(change, OUTCOMES[KEPT_OUT])
    return [change for change in planned if change.outcome != KEPT_OUT]


def leave_alone(change: Planned, sentence: str) -> None:
    """Cancel the change on both sides."""
    change.here, change.there = "done", "none"
    change.outcome, change.sentence = KEPT_OUT, sentence


def newcomer(person: RemotePerson) -> Fields:
    """Plan fields of adding a person here."""
    return created(as_dict(person.values) | {ACTIVE: person.active}, "here")


def decidable(planned: Sequence[Planned], staged: Mapping[str, Remote], busy: Collection[UUID]) -> list[Planned]:
    """The changes that can be taken over now; the others are postponed.

    `busy`: records that another worker is writing. A missing snapshot means that another worker has done the change.
    """
    found: list[Planned] = []
    for change in planned:
        row = staged.get(str(change.pco_id))
        if row is None or row.snapshot is None or change.record_id in busy:
            change.here = "done"
            decide_later(change)
        else:
            found.append(change)
    return found


async def _known_person(
    session: AsyncSession, writer: Writer, batch: _People, change: Planned, person: RemotePerson, row: Remote
) -> None:
    """Take over a person with a member: linked, matched, or adopted from an unanswered creation."""
    member = batch.members[change.record_id]  # type: ignore[index] # planned with a record
    link = batch.links.get(person.pco_id)
    if link is None and change.outcome == CREATED_THERE:
        link = await _link(session, writer, batch, change)
    if member.deleted_at is not None:
        deleted_meanwhile(change)
        return
    if link is not None and link.record_id != member.id:
        # The link of a deleted member who was added again is moved below.
        link = None
    if link is None and change.forbids(partial(_first_match, writer, member, person), writer.country):
        change.leave_out()
        return
    if link is None:
        different = batch.refused.get(person.pco_id, ())
        if change.outcome == LINKED and not await still_the_same(session, writer, person, member, different):
            decide_later(change)
            return
        link = await _link(session, writer, batch, change)
    if link is None:
        return
    if creation := batch.creations.get(member.id):
        close_intent(creation, link, row.read_at, same=person.remote_id == creation.marker)
    writes = batch.writes.get(link.id, [])
    reading = writer.reading(row.read_at)
    stale = person_believable_at(writes, person.values, reading, writer.country, active=person.active)
    if stale or agreed_since(link, person.values, row.read_at, writer.country):
        decide_later(change)
        return
    conflict = batch.conflicts.get(member.id)
    _merge_person(session, writer, change, member, link, writes, person, row, conflict, batch.effects)
    if writes:
        mine = confirmed(writes, person.values, writer.country)
        batch.effects.rows += carried_out(writer, MEMBER, member.id, writes, mine)
        batch.settled.setdefault(row.read_at, []).append(link.id)


def _first_match(writer: Writer, member: Member, person: RemotePerson) -> Fields:
    """Plan fields of linking two records without agreed values."""
    result = merge({}, values_of(member), person.values, writer.policy)
    result = with_status(result, member.active, person.active, writer.policy)
    return _written(writer, {}, None, member, person, result)


def _written(
    writer: Writer, base: Mapping[str, Any], agreed: bool | None, member: Member, person: RemotePerson, result: Merge
) -> Fields:
    """Plan fields of a merge. `agreed`: the last agreed status."""
    taken = takes_status(result, agreed, member.active, person.active, writer.policy)
    status = Status(agreed, member.active, person.active, taken)
    return of_person(base, values_of(member), person.values, result, status)


def decide_later(change: Planned) -> None:
    """Postpone the record: the next run reads it again and decides."""
    change.outcome, change.sentence = LATER, UNDECIDED


def deleted_meanwhile(change: Planned) -> None:
    """Process a record that was deleted here since the comparison."""
    if change.plan is not None:
        change.leave_out()
        return
    change.outcome, change.sentence = LATER, DELETED_MEANWHILE


def _create(session: AsyncSession, writer: Writer, change: Planned, person: RemotePerson, row: Remote) -> Member:
    now = writer.now()
    member = Member(
        id=change.record_id,
        organization_id=writer.organization_id,
        active=person.active,
        version=1,
        created_at=now,
        updated_at=now,
    )
    take_over(member, as_dict(person.values))
    session.add(member)
    session.add(
        Link(
            **writer.owner,
            kind=MEMBER,
            record_id=member.id,
            pco_id=person.pco_id,
            state="linked",
            agreed={**to_json(person.values), ACTIVE: person.active},
            agreed_at={AT_ONCE: now.isoformat()},
            kept_different={},
            decided={},
            contacts=dict(person.contacts),
            remote_hash=row.remote_hash,
            compared_version=1,
            create_again=False,
        )
    )
    return member


async def _link(session: AsyncSession, writer: Writer, batch: _People, change: Planned) -> Link | None:
    """Create the link of a match. None if the member was linked to another person meanwhile: the next run decides."""
    created_by = None
    if change.outcome == CREATED_THERE and change.record_id is not None:
        created_by = await creator_there(session, writer.owner, change.record_id)
    made = await tie(session, writer.owner, MEMBER, change.record_id, change.pco_id)
    if made is None:
        decide_later(change)
    else:
        batch.tied.append(made.record_id)
        batch.effects.rows.append(tied(writer, MEMBER, made, created_by=created_by))
    return made


async def unanswered(
    session: AsyncSession, writer: Writer, kind: str, record_ids: Collection[UUID]
) -> dict[UUID, Creation]:
    """Unanswered intents to create these records."""
    rows = await session.scalars(
        select(Creation)
        .filter_by(**writer.owner, kind=kind, pco_id=None)
        .where(Creation.record_id.in_(record_ids))
        .order_by(Creation.id)
        .with_for_update()
    )
    return {row.record_id: row for row in rows}


def close_intent(creation: Creation, link: Link, now: datetime, *, same: bool) -> None:
    """Close an intent whose record is linked now. If to the created counterpart, the sent values are agreed."""
    if same and not link.agreed:
        content = creation.content or {}
        # New people are active.
        agree(link, {**content, ACTIVE: True} if content and link.kind == MEMBER else content, now)
    creations.close(creation, link.pco_id)


def _merge_person(
    session: AsyncSession,
    writer: Writer,
    change: Planned,
    member: Member,
    link: Link,
    writes: Sequence[Write],
    person: RemotePerson,
    row: Remote,
    conflict: Conflict | None,
    effects: Effects,
) -> None:
    first = not link.compared_version
    base = base_of(link, writes, person.values, writer.country)
    result = merge_person(writer, link, base, member, person)
    if result.first_match and not writer.chosen:
        change.outcome, change.sentence = LATER, FIRST_SYNC_ASKS
        return
    if lets_go(writer, conflict, person, result, row.read_at):
        decide_later(change)
        return
    agreed_status = link.agreed.get(ACTIVE)
    if change.forbids(partial(_written, writer, base, agreed_status, member, person, result), writer.country):
        change.leave_out()
        return
    change_here(writer, member, result, effects)
    first_status = ACTIVE in result.first_match
    other_status = takes_status(result, agreed_status, member.active, person.active, writer.policy)
    if other_status:
        rule = "first_match" if first_status else "changed"
        effects.rows.append(noted(writer, MEMBER, member.id, ACTIVE, member.active, person.active, rule=rule))
        member.active = person.active
        touch(writer, member, effects)
    if first:
        # Publishes the link even if no value changed.
        touch(writer, member, effects)
    count_outcome(change, result, conflict, ours=bool(result.to_ours or other_status), theirs=bool(result.to_theirs))
    if first_status and not other_status and not result.conflicts:
        change.sentence = f"{OUTCOMES[change.outcome]} {STATUS_KEPT}"
    agreed = to_json(base | dict(result.agreed) | dict(result.to_ours))
    if not result.conflicts or (member.active == person.active and not without_status(link)):
        agreed[ACTIVE] = person.active
    agree(link, agreed, writer.now())
    forget_equal(link, equal_sides(values_of(member), person.values, writer.country))
    link.contacts = dict(person.contacts)
    link.state, link.missing_since = "linked", None
    if result.conflicts:
        effects.conflicts += open_conflict(
            session,
            link,
            result.conflicts,
            conflict,
            updated_at=person.updated_at,
            read_at=row.read_at,
            now=writer.now(),
        )
    else:
        effects.conflicts += converged(conflict, writer.now())
    if result.to_theirs:
        change.there = "planned"
    else:
        change.there = "none"
        if not result.conflicts:
            link.remote_hash = row.remote_hash
        link.compared_version = member.version


def count_outcome(change: Planned, fields: Merge, conflict: Conflict | None, *, ours: bool, theirs: bool) -> None:
    """Replace the planned outcome by the actual one."""
    if fields.conflicts:
        change.outcome = CONFLICT
        # If a write to Planning Center follows, the push adds this sentence.
        if ours or theirs:
            change.sentence = f"{OUTCOMES[CONFLICT]} {OTHERS_SYNCED}"
    elif change.outcome not in {CREATED_HERE, CREATED_THERE}:
        otherwise = CONVERGED if conflict else LINKED if change.outcome == LINKED else UNCHANGED
        change.outcome = updated(ours=ours, theirs=theirs, otherwise=otherwise)


async def _hold(
    session: AsyncSession, writer: Writer, change: Planned, person: RemotePerson, link: Link | None
) -> None:
    """Create or update the held match. Matched again, since this run may have taken candidates."""
    added_again = link is not None and await deleted_here(session, link)
    if link is not None and not added_again:
        decide_later(change)
        return
    deleted = [person.pco_id] if added_again else []
    outcome = (await candidates_of(session, writer, [person], deleted_here=deleted))[person.pco_id]
    if isinstance(outcome, Matched):
        # This question does not concern the member's rivals.
        outcome = Held((Candidate(outcome.member_id, (change.sentence or "",)),), (change.sentence or "",))
    if isinstance(outcome, LeftAlone):
        leave_alone(change, await why_left_alone(session, outcome))
        return
    if not isinstance(outcome, Held):
        decide_later(change)
        return
    values = {
        "theirs": to_json(person.values),
        "candidates": [{"member_id": one.member_id, "reasons": list(one.reasons)} for one in outcome.candidates],
        "candidate_ids": [one.member_id for one in outcome.candidates],
        "more": outcome.more,
        "reasons": [*outcome.reasons, *([and_more(outcome.more)] if outcome.more else [])],
    }
    row = await session.scalar(select(HeldMatch).filter_by(**writer.owner, pco_id=person.pco_id).with_for_update())
    if row is None:
        session.add(
            HeldMatch(**writer.owner, pco_id=person.pco_id, state="open", different_from=[], version=1, **values)
        )
    elif any(getattr(row, name) != value for name, value in values.items()):
        for name, value in values.items():
            setattr(row, name, value)
        row.version += 1
        row.state = "later" if row.state == "later" else "open"


async def as_read(session: AsyncSession, writer: Writer, kind: str, pco_ids: Sequence[str | None]) -> dict[str, Remote]:
    """Lock the mirror's rows before the records here, in the same order as a single sync."""
    rows = await session.scalars(
        select(Remote)
        .filter_by(**writer.owner, kind=kind)
        .where(among(Remote.pco_id, [one for one in pco_ids if one]))
        .order_by(Remote.pco_id)
        .with_for_update()
    )
    return {row.pco_id: row for row in rows}


async def locked_members(session: AsyncSession, writer: Writer, ids: list[UUID]) -> dict[UUID, Member]:
    rows = await session.scalars(
        select(Member)
        .where(Member.organization_id == writer.organization_id, Member.id.in_(ids))
        .order_by(Member.id)
        .with_for_update()
    )
    return {row.id: row for row in rows}


async def locked_links(session: AsyncSession, writer: Writer, kind: str, pco_ids: list[str | None]) -> dict[str, Link]:
    rows = await session.scalars(
        select(Link)
        .filter_by(**writer.owner, kind=kind)
        .where(Link.pco_id.in_(pco_ids))
        .order_by(Link.id)
        .with_for_update()
    )
    return {row.pco_id: row for row in rows}
