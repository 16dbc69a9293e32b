"""Phase 1's writing half: what Planning Center has, taken over here. Batches, each one transaction.

Nothing staged is trusted blindly: the record is locked and the decision made again with the values of this moment.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Text, any_, delete, literal, select, tuple_
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import FAMILY, MEMBER
from people_sync.domain.canonical import name_key
from people_sync.domain.families import household_values
from people_sync.domain.matching import Candidate, Held, Matched, Outcome, Unmatched, still_matches
from people_sync.domain.merge import FamilyMerge, Merge, merge, merge_family
from people_sync.domain.planning_center import (
    RemoteHousehold,
    RemotePerson,
    household_from_snapshot,
    person_from_snapshot,
    to_match,
)
from people_sync.domain.sentences import (
    CONFLICT,
    CONVERGED,
    CREATED_HERE,
    CREATED_THERE,
    DELETED_MEANWHILE,
    GONE,
    HELD,
    LATER,
    LINKED,
    OUTCOMES,
    UNCHANGED,
    UNDECIDED,
    updated,
)
from people_sync.domain.values import as_dict, to_json
from people_sync.domain.writes import (
    Write,
    confirmed,
    confirmed_of_family,
    family_believable_at,
    person_believable_at,
)
from people_sync.storage import remote
from people_sync.storage.families import family_values
from people_sync.storage.links import (
    AT_ONCE,
    NOTHING_AGREED,
    agree,
    base_of,
    family_base_of,
    in_no_household,
    kept_different,
    tie,
    tie_again,
)
from people_sync.storage.records import values_of
from people_sync.storage.tables import (
    Change,
    Conflict,
    Creation,
    Family,
    FamilyMember,
    HeldMatch,
    Link,
    Member,
    Remote,
)
from people_sync.storage.writes import writes_of
from people_sync.usecases.conflicts import close, open_conflict, open_conflicts_of, withdraw
from people_sync.usecases.held import no_longer_held
from people_sync.usecases.publishing import touch_members
from people_sync.usecases.record.effects import (
    Effects,
    carried_out,
    change_here,
    noted,
    publish,
    take_over,
    touch,
    touch_family,
)
from people_sync.usecases.run.compare import (
    candidates_of,
    local_of,
    not_created_yet,
    people_met,
    record_ids,
    said_different,
    settle_writes,
    still_matched,
    still_new,
    unlinked_families,
    without_unmet,
)
from people_sync.usecases.run.context import RunContext
from people_sync.usecases.run.pull import is_there

BATCHES: Final = {MEMBER: 100, FAMILY: 50}
"""Records in one transaction. With a family its members are published, and their open conflicts."""
_OPEN: Final = frozenset({HELD, LATER})
"""Outcomes after which it is not decided who a person is."""


async def apply(context: RunContext) -> None:
    """Take over what is planned for this side: people, then families, then who is gone."""
    await _batches(context, MEMBER)
    await _batches(context, FAMILY)
    await _gone(context)
    await _held_and_gone(context)


async def _batches(context: RunContext, kind: str) -> None:
    while True:
        async with context.step() as session:
            changes = (
                await session.scalars(
                    select(Change)
                    .where(
                        Change.run_id == context.run_id,
                        Change.kind == kind,
                        Change.here == "planned",
                        Change.outcome != GONE,
                    )
                    .order_by(Change.id)
                    .limit(BATCHES[kind])
                )
            ).all()
            effects = Effects()
            if kind == MEMBER:
                await _people(session, context, changes, effects)
            else:
                await _families(session, context, changes, effects)
            await publish(session, context, effects)
            later = [change.pco_id for change in changes if change.outcome == LATER and change.pco_id]
            await remote.look_again(session, context.owner, kind, later)
            await context.advance(session, len(changes))
        if len(changes) < BATCHES[kind]:
            return


# --- people ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _People:
    """What a batch of people knows of this moment."""

    members: dict[UUID, Member]
    links: dict[str, Link]
    writes: dict[int, list[Write]]
    conflicts: dict[UUID, Conflict]
    creations: dict[UUID, Creation]
    matches: dict[str, Outcome]
    """Of those planned as new: members can have been added since the comparison, and an admin may have answered."""
    refused: dict[str, list[str]]
    effects: Effects
    settled: dict[datetime, list[int]] = field(default_factory=dict)


async def _people(session: AsyncSession, context: RunContext, changes: Sequence[Change], effects: Effects) -> None:
    staged = await _staged(session, context, MEMBER, [change.pco_id for change in changes])
    members = await _locked(session, context, [change.record_id for change in changes if change.record_id])
    links = await _links(session, context, MEMBER, [change.pco_id for change in changes])
    people = {pco_id: person_from_snapshot(row.snapshot or {}) for pco_id, row in staged.items()}
    new = [people[str(change.pco_id)] for change in changes if change.outcome == CREATED_HERE]
    matched = [str(change.pco_id) for change in changes if change.outcome == LINKED]
    batch = _People(
        members,
        links,
        await writes_of(session, [link.id for link in links.values()]),
        await open_conflicts_of(session, context.organization_id, members),
        await _unanswered(session, context, MEMBER, members),
        await candidates_of(session, context, new),
        await said_different(session, context, matched),
        effects,
    )
    for change in changes:
        change.here = "done"
        row = staged[str(change.pco_id)]
        person = people[row.pco_id]
        if change.outcome == HELD:
            await _hold(session, context, change, person, links.get(person.pco_id))
        elif change.outcome == CREATED_HERE:
            if person.pco_id in links or not isinstance(batch.matches[person.pco_id], Unmatched):
                _decide_later(change)
                continue
            member = _create(session, context, change, person, row)
            effects.members[member.id] = member
        else:
            await _known_person(session, context, batch, change, person, row)
    await settle_writes(session, context, batch.settled, [])
    decided = [str(change.pco_id) for change in changes if change.outcome not in _OPEN]
    await no_longer_held(session, context.owner, decided)
    # Who was put off may be somebody whom this run would create there.
    strangers = [people[str(change.pco_id)] for change in changes if change.outcome == LATER]
    outcomes = await candidates_of(session, context, [person for person in strangers if person.pco_id not in links])
    maybe = {UUID(member) for outcome in outcomes.values() for member in outcome.member_ids}
    await not_created_yet(session, context, MEMBER, maybe)


async def _known_person(
    session: AsyncSession, context: RunContext, batch: _People, change: Change, person: RemotePerson, row: Remote
) -> None:
    """Somebody who was found to be a member: linked, matched, or made by us without an answer."""
    member = batch.members[change.record_id]  # type: ignore[index] # planned with a record
    link = batch.links.get(person.pco_id)
    if link is None and change.outcome == CREATED_THERE:
        link = await _link(session, context, change)
    if member.deleted_at is not None:
        _deleted_meanwhile(change)
        return
    if link is not None and link.record_id != member.id:
        _decide_later(change)
        return
    if link is None:
        different = batch.refused.get(person.pco_id, ())
        if change.outcome == LINKED and not still_matches(to_match(person), local_of(member), different):
            _decide_later(change)
            return
        link = await _link(session, context, change)
    if link is None:
        return
    if creation := batch.creations.get(member.id):
        _answered(creation, link, row.read_at, same=person.remote_id == creation.marker)
    writes = batch.writes.get(link.id, [])
    if person_believable_at(writes, person.values, context.reading(row.read_at), context.country):
        _decide_later(change)
        return
    conflict = batch.conflicts.get(member.id)
    _merge_person(session, context, change, member, link, writes, person, row, conflict, batch.effects)
    if writes:
        mine = confirmed(writes, person.values, context.country)
        batch.effects.rows += carried_out(context, MEMBER, member.id, writes, mine)
        batch.settled.setdefault(row.read_at, []).append(link.id)


def _decide_later(change: Change) -> None:
    """The next run reads the record again and decides."""
    change.outcome, change.sentence = LATER, UNDECIDED


def _deleted_meanwhile(change: Change) -> None:
    """A record that was deleted here since the comparison."""
    change.outcome, change.sentence = LATER, DELETED_MEANWHILE


def _create(session: AsyncSession, context: RunContext, change: Change, person: RemotePerson, row: Remote) -> Member:
    now = context.resources.clock.now()
    member = Member(
        id=change.record_id,
        organization_id=context.organization_id,
        active=person.active,
        version=1,
        created_at=now,
        updated_at=now,
    )
    take_over(member, as_dict(person.values))
    session.add(member)
    session.add(
        Link(
            **context.owner,
            kind=MEMBER,
            record_id=member.id,
            pco_id=person.pco_id,
            state="linked",
            agreed=to_json(person.values),
            agreed_at={AT_ONCE: now.isoformat()},
            kept_different={},
            contacts=dict(person.contacts),
            remote_hash=row.remote_hash,
            compared_version=1,
            create_again=False,
        )
    )
    return member


async def _link(session: AsyncSession, context: RunContext, change: Change) -> Link | None:
    """A link for a match. None if the member was linked to somebody else meanwhile: the next run decides again."""
    made = await tie(session, context.owner, MEMBER, change.record_id, change.pco_id)
    if made is None:
        _decide_later(change)
    return made


async def _unanswered(
    session: AsyncSession, context: RunContext, kind: str, record_ids: Collection[UUID]
) -> dict[UUID, Creation]:
    """Intents to create these records that have no answer."""
    rows = await session.scalars(
        select(Creation)
        .filter_by(**context.owner, kind=kind, pco_id=None)
        .where(Creation.record_id.in_(record_ids))
        .order_by(Creation.id)
        .with_for_update()
    )
    return {row.record_id: row for row in rows}


def _answered(creation: Creation, link: Link, now: datetime, *, same: bool) -> None:
    """Close an intent whose record is linked now. If it was this very counterpart, what was sent is agreed."""
    if same and not link.agreed:
        agree(link, creation.content or {}, now)
    creation.pco_id, creation.state, creation.content = link.pco_id, "created", None


def _merge_person(
    session: AsyncSession,
    context: RunContext,
    change: Change,
    member: Member,
    link: Link,
    writes: Sequence[Write],
    person: RemotePerson,
    row: Remote,
    conflict: Conflict | None,
    effects: Effects,
) -> None:
    first = not link.compared_version
    base = base_of(link, writes, person.values, context.country)
    result = merge(base, values_of(member), person.values, context.policy, kept_different(link))
    change_here(context, member, result, effects)
    other_status = member.active != person.active and not result.conflicts
    if other_status:
        effects.rows.append(noted(context, MEMBER, member.id, "active", member.active, person.active, rule="changed"))
        member.active = person.active
        touch(context, member, effects)
    if first:
        # So that the platform learns of the link, also where no value moved.
        touch(context, member, effects)
    _count(change, result, conflict, ours=bool(result.to_ours or other_status), theirs=bool(result.to_theirs))
    agree(link, to_json(base | dict(result.agreed) | dict(result.to_ours)), context.resources.clock.now())
    link.contacts = dict(person.contacts)
    link.state, link.missing_since = "linked", None
    if result.conflicts:
        effects.conflicts += open_conflict(session, link, result.conflicts, conflict, context.resources.clock.now())
    elif conflict:
        effects.conflicts.append(close(conflict, "converged", context.resources.clock.now()))
    if result.to_theirs:
        change.there = "planned"
    else:
        change.there = "none"
        if not result.conflicts:
            link.remote_hash = row.remote_hash
        link.compared_version = member.version


def _count(change: Change, fields: Merge, conflict: Conflict | None, *, ours: bool, theirs: bool) -> None:
    """The outcome by what is done, where it was staged by what seemed to be needed."""
    if fields.conflicts:
        change.outcome = CONFLICT
    elif change.outcome not in {CREATED_HERE, CREATED_THERE}:
        otherwise = CONVERGED if conflict else LINKED if change.outcome == LINKED else UNCHANGED
        change.outcome = updated(ours=ours, theirs=theirs, otherwise=otherwise)


async def _hold(
    session: AsyncSession, context: RunContext, change: Change, person: RemotePerson, link: Link | None
) -> None:
    """Ask a person. Matched anew: candidates may have been taken by others in this very run."""
    if link is not None:
        _decide_later(change)
        return
    outcome = (await candidates_of(session, context, [person]))[person.pco_id]
    if isinstance(outcome, Matched):
        # The rival for the member is not asked about here.
        outcome = Held((Candidate(outcome.member_id, (change.sentence or "",)),), (change.sentence or "",))
    if not isinstance(outcome, Held):
        _decide_later(change)
        return
    values = {
        "theirs": to_json(person.values),
        "candidates": [{"member_id": one.member_id, "reasons": list(one.reasons)} for one in outcome.candidates],
        "candidate_ids": [one.member_id for one in outcome.candidates],
        "reasons": list(outcome.reasons),
    }
    row = await session.scalar(select(HeldMatch).filter_by(**context.owner, pco_id=person.pco_id).with_for_update())
    if row is None:
        session.add(
            HeldMatch(**context.owner, pco_id=person.pco_id, state="open", different_from=[], version=1, **values)
        )
    elif any(getattr(row, name) != value for name, value in values.items()):
        for name, value in values.items():
            setattr(row, name, value)
        row.version += 1
        row.state = "later" if row.state == "later" else "open"


# --- families -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Memberships:
    """Who joins and leaves which family here in one batch."""

    joining: list[dict[str, Any]] = field(default_factory=list)
    leaving: list[tuple[UUID, UUID]] = field(default_factory=list)


async def _families(session: AsyncSession, context: RunContext, changes: Sequence[Change], effects: Effects) -> None:
    pco_ids = [change.pco_id for change in changes]
    staged = await _staged(session, context, FAMILY, pco_ids)
    households = {pco_id: household_from_snapshot(row.snapshot or {}) for pco_id, row in staged.items()}
    people = await record_ids(session, context, [one for h in households.values() for one in h.person_ids])
    families = await _locked_families(session, context, [change.record_id for change in changes if change.record_id])
    links = await _links(session, context, FAMILY, pco_ids)
    strange = [change for change in changes if change.pco_id not in links]
    links |= await _homes(session, context, strange, households, people, families, effects)
    ours = await family_values(session, context.owner, list(families.values()))
    conflicts = await open_conflicts_of(session, context.organization_id, families)
    written = await writes_of(session, [link.id for link in links.values()])
    settled: dict[datetime, list[int]] = {}
    moves = _Memberships()
    now = context.resources.clock.now()
    for change in changes:
        change.here = "done"
        pco_id = str(change.pco_id)
        family, link = families.get(change.record_id), links.get(pco_id)  # type: ignore[arg-type] # planned with a record
        if family is not None and family.deleted_at is not None:
            _deleted_meanwhile(change)
            continue
        if family is None or link is None or link.record_id != family.id:
            _decide_later(change)
            continue
        theirs = household_values(households[pco_id], people)
        writes = written.get(link.id, [])
        if family_believable_at(writes, theirs, context.reading(staged[pco_id].read_at)):
            _decide_later(change)
            continue
        base = family_base_of(link, writes, theirs)
        if writes:
            effects.rows += carried_out(context, FAMILY, family.id, writes, confirmed_of_family(writes, theirs))
            settled.setdefault(staged[pco_id].read_at, []).append(link.id)
        result = merge_family(base, ours[family.id], theirs, context.policy, kept_different(link))
        result = without_unmet(result, await people_met(session, context, result.remove_from_ours))
        _take_family_over(context, family, result, moves, effects)
        if not link.compared_version:
            # So that the platform learns of the link, also where no value moved.
            touch_family(context, family, effects)
        conflict = conflicts.get(family.id)
        ours_moves = bool(result.fields.to_ours or result.add_to_ours or result.remove_from_ours)
        _count(change, result.fields, conflict, ours=ours_moves, theirs=_goes_there(result))
        if result.fields.conflicts:
            effects.conflicts += open_conflict(session, link, result.fields.conflicts, conflict, now)
        elif conflict:
            effects.conflicts.append(close(conflict, "converged", now))
        _agree_family(change, link, family, households[pco_id], base, result, staged[pco_id], people, now)
    await settle_writes(session, context, settled, [])
    await _move(session, context, moves, effects)


async def _homes(
    session: AsyncSession,
    context: RunContext,
    changes: Sequence[Change],
    households: Mapping[str, RemoteHousehold],
    people: dict[str, UUID],
    families: dict[UUID, Family],
    effects: Effects,
) -> dict[str, Link]:
    """Links for households that had none, with the new ones among `families`: these can have changed since."""
    of_change = {change: households[str(change.pco_id)] for change in changes}
    new = await still_new(
        session, context, [one for c, one in of_change.items() if c.record_id not in families], people
    )
    matched = {c.record_id: one for c, one in of_change.items() if c.record_id and c.outcome == LINKED}
    homes = await still_matched(session, context, matched, people)
    adopted = [change for change in changes if change.outcome == CREATED_THERE]
    known = [change for change in changes if change.pco_id in new or change.record_id in homes]
    links = await _family_links(session, context, known + adopted)
    creations = await _unanswered(session, context, FAMILY, [link.record_id for link in links.values()])
    now = context.resources.clock.now()
    for link in links.values():
        if link.record_id in creations:
            _answered(creations[link.record_id], link, now, same=link.pco_id in {change.pco_id for change in adopted})
    for change in known:
        if change.pco_id in new and change.pco_id in links:
            made = _new_family(session, context, change, of_change[change], effects)
            families[made.id] = made
    # Which was put off may be a family that this run would create there.
    strangers = [household for change, household in of_change.items() if change.pco_id not in links]
    members = {people[pco_id] for household in strangers for pco_id in household.person_ids if pco_id in people}
    maybe = await unlinked_families(session, context, members) if members else {}
    await not_created_yet(session, context, FAMILY, maybe)
    await session.flush()
    return links


def _new_family(
    session: AsyncSession, context: RunContext, change: Change, household: RemoteHousehold, effects: Effects
) -> Family:
    now = context.resources.clock.now()
    family = Family(
        id=change.record_id,
        organization_id=context.organization_id,
        name=household.name,
        name_key=name_key(household.name, ""),
        version=1,
        created_at=now,
        updated_at=now,
    )
    session.add(family)
    effects.families[family.id] = family
    return family


async def _family_links(session: AsyncSession, context: RunContext, changes: Sequence[Change]) -> dict[str, Link]:
    """Links for households that had none; not for one whose family was linked to another meanwhile."""
    if not changes:
        return {}
    rows: list[dict[str, Any]] = [
        {**context.owner, "kind": FAMILY, "record_id": change.record_id, "pco_id": change.pco_id, **NOTHING_AGREED}
        for change in changes
    ]
    made = {
        link.pco_id: link for link in await session.scalars(insert(Link).on_conflict_do_nothing().returning(Link), rows)
    }
    for change in changes:
        if change.pco_id not in made:
            again = await tie_again(session, context.owner, FAMILY, change.record_id, change.pco_id)
            made |= {again.pco_id: again} if again else {}
    return made


def _take_family_over(
    context: RunContext, family: Family, result: FamilyMerge, moves: _Memberships, effects: Effects
) -> None:
    fields = result.fields

    def note(name: str, old: Any, new: Any, rule: str) -> None:
        effects.rows.append(noted(context, FAMILY, family.id, name, old, new, rule=rule))

    if not (fields.to_ours or result.add_to_ours or result.remove_from_ours):
        return
    for name, value in fields.to_ours.items():
        note(name, fields.replaced[name], value, fields.reasons[name])
    if "name" in fields.to_ours:
        family.name = fields.to_ours["name"]
        family.name_key = name_key(family.name, "")
    if "primary_contact" in fields.to_ours:
        primary = fields.to_ours["primary_contact"]
        family.primary_contact_id = UUID(primary) if primary else None
    for member in sorted(result.add_to_ours):
        moves.joining.append(
            {"family_id": family.id, "member_id": UUID(member), "organization_id": context.organization_id}
        )
        note("members", None, member, "changed")
    for member in sorted(result.remove_from_ours):
        moves.leaving.append((family.id, UUID(member)))
        note("members", member, None, "changed")
    touch_family(context, family, effects)


async def _move(session: AsyncSession, context: RunContext, moves: _Memberships, effects: Effects) -> None:
    """Write memberships, and publish the members again: a member's record names its families."""
    if moves.joining:
        await session.execute(insert(FamilyMember).on_conflict_do_nothing(), moves.joining)
    if moves.leaving:
        await session.execute(
            delete(FamilyMember).where(tuple_(FamilyMember.family_id, FamilyMember.member_id).in_(moves.leaving))
        )
    concerned = {row["member_id"] for row in moves.joining} | {member for _, member in moves.leaving}
    members = await _locked(session, context, sorted(concerned - effects.members.keys()))
    await touch_members(session, list(members.values()), context.resources.clock.now())
    effects.members |= members


def _goes_there(result: FamilyMerge) -> bool:
    return bool(result.fields.to_theirs or result.add_to_theirs or result.remove_from_theirs)


def _agree_family(
    change: Change,
    link: Link,
    family: Family,
    household: RemoteHousehold,
    base: Mapping[str, Any],
    result: FamilyMerge,
    row: Remote,
    people: dict[str, UUID],
    now: datetime,
) -> None:
    fields = result.fields
    members = (result.agreed_members - result.remove_from_ours) | result.add_to_ours
    agree(link, {**base, **fields.agreed, **fields.to_ours, "members": sorted(members)}, now)
    link.state, link.missing_since = "linked", None
    if _goes_there(result):
        change.there = "planned"
    else:
        # While somebody in it is not known here, or it is in conflict, the household is compared on every run.
        complete = not set(household.person_ids) - people.keys()
        link.remote_hash = row.remote_hash if complete and not fields.conflicts else None
        link.compared_version = family.version


# --- gone -----------------------------------------------------------------------------------------------------------


async def _gone(context: RunContext) -> None:
    """End the links of those who are not there: asked for one by one, and not in the log of mergers."""
    while True:
        async with context.step() as session:
            changes = (
                await session.scalars(
                    select(Change)
                    .where(Change.run_id == context.run_id, Change.here == "planned", Change.outcome == GONE)
                    .order_by(Change.id)
                    .limit(BATCHES[FAMILY])
                )
            ).all()
            effects = Effects()
            for change in changes:
                await _settle_gone(session, context, change, effects)
            await publish(session, context, effects)
            await context.advance(session, len(changes))
        if len(changes) < BATCHES[FAMILY]:
            return


async def _held_and_gone(context: RunContext) -> None:
    """Close the questions about people whom a complete pull did not meet, each asked for by itself."""
    if context.kind != "full":
        return
    async with context.job.sessions() as session:
        missing = (
            await session.scalars(
                select(HeldMatch.pco_id)
                .filter_by(**context.owner)
                .where(
                    HeldMatch.state.in_(["open", "later"]),
                    ~remote.sighted(context.run_id, MEMBER, HeldMatch.pco_id),
                )
                .order_by(HeldMatch.pco_id)
            )
        ).all()
    for pco_id in missing:
        if not await is_there(context, MEMBER, pco_id):
            async with context.step() as session:
                await no_longer_held(session, context.owner, [pco_id])


async def _settle_gone(session: AsyncSession, context: RunContext, change: Change, effects: Effects) -> None:
    change.here = "done"
    record: Member | Family = await session.get_one(
        Member if change.kind == MEMBER else Family, change.record_id, with_for_update=True
    )
    link = await session.scalar(
        select(Link).filter_by(**context.owner, kind=change.kind, pco_id=change.pco_id).with_for_update()
    )
    now = context.now()
    if link is None or link.missing_since is None or link.state == "gone":
        change.outcome = LATER  # tied to somebody else, or read again, since
    else:
        link.state, link.gone_at, link.missing_since, link.create_again = "gone", now, None, False
        await remote.forget(session, context.owner, change.kind, [link.pco_id])
    change.sentence = OUTCOMES[change.outcome]
    if change.outcome != GONE:
        return
    effects.rows.append(noted(context, change.kind, record.id, "planning_center_id", change.pco_id, None, rule="gone"))
    if isinstance(record, Member):
        await in_no_household(session, context.owner, record.id)
        touch(context, record, effects)
    else:
        touch_family(context, record, effects)
    effects.conflicts += await withdraw(session, context.organization_id, now, Conflict.record_id == change.record_id)


# --- reading --------------------------------------------------------------------------------------------------------


async def _staged(
    session: AsyncSession, context: RunContext, kind: str, pco_ids: Sequence[str | None]
) -> dict[str, Remote]:
    rows = await session.scalars(
        select(Remote)
        .filter_by(**context.owner, kind=kind)
        .where(Remote.pco_id == any_(literal([one for one in pco_ids if one], ARRAY(Text))))
    )
    return {row.pco_id: row for row in rows}


async def _locked(session: AsyncSession, context: RunContext, ids: list[UUID]) -> dict[UUID, Member]:
    rows = await session.scalars(
        select(Member)
        .where(Member.organization_id == context.organization_id, Member.id.in_(ids))
        .order_by(Member.id)
        .with_for_update()
    )
    return {row.id: row for row in rows}


async def _locked_families(session: AsyncSession, context: RunContext, ids: list[UUID]) -> dict[UUID, Family]:
    rows = await session.scalars(
        select(Family)
        .where(Family.organization_id == context.organization_id, Family.id.in_(ids))
        .order_by(Family.id)
        .with_for_update()
    )
    return {row.id: row for row in rows}


async def _links(session: AsyncSession, context: RunContext, kind: str, pco_ids: list[str | None]) -> dict[str, Link]:
    rows = await session.scalars(
        select(Link).filter_by(**context.owner, kind=kind).where(Link.pco_id.in_(pco_ids)).with_for_update()
    )
    return {row.pco_id: row for row in rows}
