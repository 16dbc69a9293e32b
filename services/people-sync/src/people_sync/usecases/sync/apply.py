"""Phase 1's writing half: what Planning Center has, taken over here. Batches, each one transaction.

Nothing staged is trusted blindly: the record is locked and the decision made again with the values of this moment.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from sqlalchemy import delete, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import FAMILY, MEMBER
from pco_client.errors import NotFound
from people_sync.domain.canonical import name_key
from people_sync.domain.matching import Candidate, Held, Matched, Unmatched, still_matches
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
from people_sync.domain.values import as_dict, to_json, value_to_json
from people_sync.storage.links import (
    NOTHING_AGREED,
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
    Staged,
)
from people_sync.usecases.conflicts import close, open_conflict, open_conflicts_of, withdraw
from people_sync.usecases.held import no_longer_held
from people_sync.usecases.publishing import touch_members
from people_sync.usecases.sync.compare import (
    candidates_of,
    family_values,
    household_values,
    local_of,
    not_created_yet,
    people_met,
    record_ids,
    said_different,
    still_matched,
    still_new,
    unlinked_families,
    without_unmet,
)
from people_sync.usecases.sync.context import Work
from people_sync.usecases.sync.effects import Effects, noted, publish, take_over, touch, touch_family

BATCHES: Final = {MEMBER: 100, FAMILY: 50}
"""Records in one transaction. With a family its members are published, and their open conflicts."""
_OPEN: Final = frozenset({HELD, LATER})
"""Outcomes after which it is not decided who a person is."""


async def apply(work: Work) -> None:
    """Take over what is planned for this side: people, then families, then who is gone."""
    await _batches(work, MEMBER)
    await _batches(work, FAMILY)
    await _gone(work)
    await _held_and_gone(work)


async def _batches(work: Work, kind: str) -> None:
    while True:
        async with work.step() as session:
            changes = (
                await session.scalars(
                    select(Change)
                    .where(
                        Change.run_id == work.run_id,
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
                await _people(session, work, changes, effects)
            else:
                await _families(session, work, changes, effects)
            await publish(session, work, effects)
            await work.advance(session, len(changes))
        if len(changes) < BATCHES[kind]:
            return


# --- people ---------------------------------------------------------------------------------------------------------


async def _people(session: AsyncSession, work: Work, changes: Sequence[Change], effects: Effects) -> None:
    staged = await _staged(session, work, MEMBER, [change.pco_id for change in changes])
    members = await _locked(session, work, [change.record_id for change in changes if change.record_id])
    links = await _links(session, work, MEMBER, [change.pco_id for change in changes])
    conflicts = await open_conflicts_of(session, work.organization_id, members)
    people = {pco_id: person_from_snapshot(row.snapshot or {}) for pco_id, row in staged.items()}
    new = [people[str(change.pco_id)] for change in changes if change.outcome == CREATED_HERE]
    # Members can have been added since the comparison, or corrected; and an admin may have answered.
    matches = await candidates_of(session, work, new)
    refused = await said_different(
        session, work, [str(change.pco_id) for change in changes if change.outcome == LINKED]
    )
    creations = await _unanswered(session, work, MEMBER, members)
    for change in changes:
        change.here = "done"
        row = staged[str(change.pco_id)]
        person = people[row.pco_id]
        link = links.get(person.pco_id)
        if change.outcome == HELD:
            await _hold(session, work, change, person, link)
        elif change.outcome == CREATED_HERE:
            if link is not None or not isinstance(matches[person.pco_id], Unmatched):
                _decide_later(work, change)
                continue
            member = _create(session, work, change, person, row)
            effects.members[member.id] = member
        else:
            member = members[change.record_id]  # type: ignore[index] # planned with a record
            if link is None and change.outcome == CREATED_THERE:
                link = await _link(session, work, change)
            if member.deleted_at is not None:
                _deleted_meanwhile(work, change, link)
                continue
            if link is not None and link.record_id != member.id:
                _decide_later(work, change)
                continue
            if link is None:
                different = refused.get(person.pco_id, ())
                if change.outcome == LINKED and not still_matches(to_match(person), local_of(member), different):
                    _decide_later(work, change)
                    continue
                link = await _link(session, work, change)
            if link is not None:
                if member.id in creations:
                    _answered(creations[member.id], link, same=person.remote_id == creations[member.id].marker)
                _merge_person(session, work, change, member, link, person, row, conflicts.get(member.id), effects)
    await no_longer_held(session, work.owner, [str(change.pco_id) for change in changes if change.outcome not in _OPEN])
    # Who was put off may be somebody whom this run would create there.
    strangers = [people[str(change.pco_id)] for change in changes if change.outcome == LATER]
    outcomes = await candidates_of(session, work, [person for person in strangers if person.pco_id not in links])
    maybe = {UUID(member) for outcome in outcomes.values() for member in outcome.member_ids}
    await not_created_yet(session, work, MEMBER, maybe)


def _decide_later(work: Work, change: Change) -> None:
    """The next run decides, and begins where this one did, so that it meets the record again."""
    change.outcome, change.sentence = LATER, UNDECIDED
    work.data.pop("cursor", None)


def _deleted_meanwhile(work: Work, change: Change, link: Link | None) -> None:
    """A record that was deleted here since the comparison. Without a link, the next run meets its match again."""
    if link is None:
        _decide_later(work, change)
    change.outcome, change.sentence = LATER, DELETED_MEANWHILE


def _create(session: AsyncSession, work: Work, change: Change, person: RemotePerson, row: Staged) -> Member:
    now = work.resources.clock.now()
    member = Member(
        id=change.record_id,
        organization_id=work.organization_id,
        active=person.active,
        version=1,
        created_at=now,
        updated_at=now,
    )
    take_over(member, as_dict(person.values))
    session.add(member)
    session.add(
        Link(
            **work.owner,
            kind=MEMBER,
            record_id=member.id,
            pco_id=person.pco_id,
            state="linked",
            agreed=to_json(person.values),
            kept_different={},
            contacts=dict(person.contacts),
            remote_hash=row.remote_hash,
            compared_version=1,
            create_again=False,
        )
    )
    return member


async def _link(session: AsyncSession, work: Work, change: Change) -> Link | None:
    """A link for a match. None if the member was linked to somebody else meanwhile: the next run decides again."""
    made = await tie(session, work.owner, MEMBER, change.record_id, change.pco_id)
    if made is None:
        _decide_later(work, change)
    return made


async def _unanswered(
    session: AsyncSession, work: Work, kind: str, record_ids: Collection[UUID]
) -> dict[UUID, Creation]:
    """Intents to create these records that have no answer."""
    rows = await session.scalars(
        select(Creation)
        .filter_by(**work.owner, kind=kind, pco_id=None)
        .where(Creation.record_id.in_(record_ids))
        .order_by(Creation.id)
        .with_for_update()
    )
    return {row.record_id: row for row in rows}


def _answered(creation: Creation, link: Link, *, same: bool) -> None:
    """Close an intent whose record is linked now. If it was this very counterpart, what was sent is agreed."""
    if same and not link.agreed:
        link.agreed = creation.content or {}
    creation.pco_id, creation.state, creation.content = link.pco_id, "created", None


def _merge_person(
    session: AsyncSession,
    work: Work,
    change: Change,
    member: Member,
    link: Link,
    person: RemotePerson,
    row: Staged,
    conflict: Conflict | None,
    effects: Effects,
) -> None:
    first = not link.compared_version
    base = base_of(link, person.values, work.country)
    result = merge(base, values_of(member), person.values, work.policy, kept_different(link))
    change_here(work, member, result, effects)
    other_status = member.active != person.active and not result.conflicts
    if other_status:
        effects.history.append(noted(work, MEMBER, member.id, "active", member.active, person.active, "changed"))
        member.active = person.active
        touch(work, member, effects)
    if first:
        # So that the platform learns of the link, also where no value moved.
        touch(work, member, effects)
    _count(change, result, conflict, ours=bool(result.to_ours or other_status), theirs=bool(result.to_theirs))
    link.agreed = to_json(base | dict(result.agreed) | dict(result.to_ours))
    link.written_after = None
    link.contacts = dict(person.contacts)
    link.state = "linked"
    if result.conflicts:
        effects.conflicts += open_conflict(session, link, result.conflicts, conflict, work.resources.clock.now())
    elif conflict:
        effects.conflicts.append(close(conflict, "converged", work.resources.clock.now()))
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


def change_here(work: Work, member: Member, result: Merge, effects: Effects) -> None:
    """Take Planning Center's values over, with what they replace in the history."""
    if not result.to_ours:
        return
    for name, value in result.to_ours.items():
        old, new = value_to_json(result.replaced[name]), value_to_json(value)
        effects.history.append(noted(work, MEMBER, member.id, name, old, new, result.reasons[name]))
    take_over(member, result.to_ours)
    touch(work, member, effects)


async def _hold(session: AsyncSession, work: Work, change: Change, person: RemotePerson, link: Link | None) -> None:
    """Ask a person. Matched anew: candidates may have been taken by others in this very run."""
    if link is not None:
        _decide_later(work, change)
        return
    outcome = (await candidates_of(session, work, [person]))[person.pco_id]
    if isinstance(outcome, Matched):
        # The rival for the member is not asked about here.
        outcome = Held((Candidate(outcome.member_id, (change.sentence or "",)),), (change.sentence or "",))
    if not isinstance(outcome, Held):
        _decide_later(work, change)
        return
    values = {
        "theirs": to_json(person.values),
        "candidates": [{"member_id": one.member_id, "reasons": list(one.reasons)} for one in outcome.candidates],
        "candidate_ids": [one.member_id for one in outcome.candidates],
        "reasons": list(outcome.reasons),
    }
    row = await session.scalar(select(HeldMatch).filter_by(**work.owner, pco_id=person.pco_id).with_for_update())
    if row is None:
        session.add(HeldMatch(**work.owner, pco_id=person.pco_id, state="open", different_from=[], version=1, **values))
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


async def _families(session: AsyncSession, work: Work, changes: Sequence[Change], effects: Effects) -> None:
    pco_ids = [change.pco_id for change in changes]
    staged = await _staged(session, work, FAMILY, pco_ids)
    households = {pco_id: household_from_snapshot(row.snapshot or {}) for pco_id, row in staged.items()}
    people = await record_ids(session, work, [one for h in households.values() for one in h.person_ids])
    families = await _locked_families(session, work, [change.record_id for change in changes if change.record_id])
    links = await _links(session, work, FAMILY, pco_ids)
    strange = [change for change in changes if change.pco_id not in links]
    links |= await _homes(session, work, strange, households, people, families, effects)
    ours = await family_values(session, work, list(families.values()))
    met = await people_met(session, work, list(families))
    conflicts = await open_conflicts_of(session, work.organization_id, families)
    moves = _Memberships()
    now = work.resources.clock.now()
    for change in changes:
        change.here = "done"
        pco_id = str(change.pco_id)
        family, link = families.get(change.record_id), links.get(pco_id)  # type: ignore[arg-type] # planned with a record
        if family is not None and family.deleted_at is not None:
            _deleted_meanwhile(work, change, link)
            continue
        if family is None or link is None or link.record_id != family.id:
            _decide_later(work, change)
            continue
        theirs = household_values(households[pco_id], people)
        base = family_base_of(link, theirs)
        result = merge_family(base, ours[family.id], theirs, work.policy, kept_different(link))
        result = without_unmet(result, met)
        _take_family_over(work, family, result, moves, effects)
        if not link.compared_version:
            # So that the platform learns of the link, also where no value moved.
            touch_family(work, family, effects)
        conflict = conflicts.get(family.id)
        ours_moves = bool(result.fields.to_ours or result.add_to_ours or result.remove_from_ours)
        _count(change, result.fields, conflict, ours=ours_moves, theirs=_goes_there(result))
        if result.fields.conflicts:
            effects.conflicts += open_conflict(session, link, result.fields.conflicts, conflict, now)
        elif conflict:
            effects.conflicts.append(close(conflict, "converged", now))
        _agree_family(change, link, family, households[pco_id], base, result, staged[pco_id], people)
    await _move(session, work, moves, effects)


async def _homes(
    session: AsyncSession,
    work: Work,
    changes: Sequence[Change],
    households: Mapping[str, RemoteHousehold],
    people: dict[str, UUID],
    families: dict[UUID, Family],
    effects: Effects,
) -> dict[str, Link]:
    """Links for households that had none, with the new ones among `families`: these can have changed since."""
    of_change = {change: households[str(change.pco_id)] for change in changes}
    new = await still_new(session, work, [one for c, one in of_change.items() if c.record_id not in families], people)
    matched = {c.record_id: one for c, one in of_change.items() if c.record_id and c.outcome == LINKED}
    homes = await still_matched(session, work, matched, people)
    adopted = [change for change in changes if change.outcome == CREATED_THERE]
    known = [change for change in changes if change.pco_id in new or change.record_id in homes]
    links = await _family_links(session, work, known + adopted)
    creations = await _unanswered(session, work, FAMILY, [link.record_id for link in links.values()])
    for link in links.values():
        if link.record_id in creations:
            _answered(creations[link.record_id], link, same=link.pco_id in {change.pco_id for change in adopted})
    for change in known:
        if change.pco_id in new and change.pco_id in links:
            made = _new_family(session, work, change, of_change[change], effects)
            families[made.id] = made
    # Which was put off may be a family that this run would create there.
    strangers = [household for change, household in of_change.items() if change.pco_id not in links]
    members = {people[pco_id] for household in strangers for pco_id in household.person_ids if pco_id in people}
    maybe = await unlinked_families(session, work, members) if members else {}
    await not_created_yet(session, work, FAMILY, maybe)
    await session.flush()
    return links


def _new_family(
    session: AsyncSession, work: Work, change: Change, household: RemoteHousehold, effects: Effects
) -> Family:
    now = work.resources.clock.now()
    family = Family(
        id=change.record_id,
        organization_id=work.organization_id,
        name=household.name,
        name_key=name_key(household.name, ""),
        version=1,
        created_at=now,
        updated_at=now,
    )
    session.add(family)
    effects.families[family.id] = family
    return family


async def _family_links(session: AsyncSession, work: Work, changes: Sequence[Change]) -> dict[str, Link]:
    """Links for households that had none; not for one whose family was linked to another meanwhile."""
    if not changes:
        return {}
    rows: list[dict[str, Any]] = [
        {**work.owner, "kind": FAMILY, "record_id": change.record_id, "pco_id": change.pco_id, **NOTHING_AGREED}
        for change in changes
    ]
    made = {
        link.pco_id: link for link in await session.scalars(insert(Link).on_conflict_do_nothing().returning(Link), rows)
    }
    for change in changes:
        if change.pco_id not in made:
            again = await tie_again(session, work.owner, FAMILY, change.record_id, change.pco_id)
            made |= {again.pco_id: again} if again else {}
    return made


def _take_family_over(work: Work, family: Family, result: FamilyMerge, moves: _Memberships, effects: Effects) -> None:
    fields = result.fields

    def note(name: str, old: Any, new: Any, rule: str) -> None:
        effects.history.append(noted(work, FAMILY, family.id, name, old, new, rule))

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
            {"family_id": family.id, "member_id": UUID(member), "organization_id": work.organization_id}
        )
        note("members", None, member, "changed")
    for member in sorted(result.remove_from_ours):
        moves.leaving.append((family.id, UUID(member)))
        note("members", member, None, "changed")
    touch_family(work, family, effects)


async def _move(session: AsyncSession, work: Work, moves: _Memberships, effects: Effects) -> None:
    """Write memberships, and publish the members again: a member's record names its families."""
    if moves.joining:
        await session.execute(insert(FamilyMember).on_conflict_do_nothing(), moves.joining)
    if moves.leaving:
        await session.execute(
            delete(FamilyMember).where(tuple_(FamilyMember.family_id, FamilyMember.member_id).in_(moves.leaving))
        )
    concerned = {row["member_id"] for row in moves.joining} | {member for _, member in moves.leaving}
    members = await _locked(session, work, sorted(concerned - effects.members.keys()))
    await touch_members(session, list(members.values()), work.resources.clock.now())
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
    row: Staged,
    people: dict[str, UUID],
) -> None:
    fields = result.fields
    members = (result.agreed_members - result.remove_from_ours) | result.add_to_ours
    link.agreed = {**base, **fields.agreed, **fields.to_ours, "members": sorted(members)}
    link.written_after = None
    link.state = "linked"
    if _goes_there(result):
        change.there = "planned"
    else:
        # While somebody in it is not known here, or it is in conflict, the household is compared on every run.
        complete = not set(household.person_ids) - people.keys()
        link.remote_hash = row.remote_hash if complete and not fields.conflicts else None
        link.compared_version = family.version


# --- gone -----------------------------------------------------------------------------------------------------------


async def _gone(work: Work) -> None:
    """Whom a complete pull did not meet: still there after all, or gone, each asked for by itself."""
    while True:
        async with work.job.sessions() as session:
            change = await session.scalar(
                select(Change)
                .where(Change.run_id == work.run_id, Change.here == "planned", Change.outcome == GONE)
                .order_by(Change.id)
                .limit(1)
            )
        if change is None:
            return
        there = await _is_there(work, change.kind, str(change.pco_id))
        async with work.step() as session:
            await _settle_gone(session, work, change.id, there=there)
            await work.advance(session, 1)


async def _is_there(work: Work, kind: str, pco_id: str) -> bool:
    path = "people" if kind == MEMBER else "households"
    try:
        await work.pco.get(f"/people/v2/{path}/{pco_id}")
    except NotFound:
        return False
    return True


async def _held_and_gone(work: Work) -> None:
    """Close the questions about people whom a complete pull did not meet, each asked for by itself."""
    if work.kind != "full":
        return
    async with work.job.sessions() as session:
        met = select(Staged).where(
            Staged.run_id == work.run_id, Staged.kind == MEMBER, Staged.pco_id == HeldMatch.pco_id
        )
        missing = (
            await session.scalars(
                select(HeldMatch.pco_id)
                .filter_by(**work.owner)
                .where(HeldMatch.state.in_(["open", "later"]), ~met.exists())
                .order_by(HeldMatch.pco_id)
            )
        ).all()
    for pco_id in missing:
        if not await _is_there(work, MEMBER, pco_id):
            async with work.step() as session:
                await no_longer_held(session, work.owner, [pco_id])


async def _settle_gone(session: AsyncSession, work: Work, change_id: int, *, there: bool) -> None:
    change = await session.get_one(Change, change_id)
    change.here = "done"
    record: Member | Family = await session.get_one(
        Member if change.kind == MEMBER else Family, change.record_id, with_for_update=True
    )
    link = await session.scalar(
        select(Link).filter_by(**work.owner, kind=change.kind, pco_id=change.pco_id).with_for_update()
    )
    now = work.resources.clock.now()
    if link is None:
        change.outcome = LATER
    elif there or (link.written_at and now - link.written_at < work.resources.horizon):
        # It exists, or was made so lately that a 404 proves nothing.
        change.outcome = LATER
    else:
        link.state, link.gone_at, link.create_again = "gone", now, False
    change.sentence = OUTCOMES[change.outcome]
    if change.outcome != GONE:
        return
    effects = Effects()
    if isinstance(record, Member):
        await in_no_household(session, work.owner, record.id)
        touch(work, record, effects)
    else:
        touch_family(work, record, effects)
    effects.conflicts += await withdraw(session, work.organization_id, now, Conflict.record_id == change.record_id)
    await publish(session, work, effects)


# --- reading --------------------------------------------------------------------------------------------------------


async def _staged(session: AsyncSession, work: Work, kind: str, pco_ids: list[str | None]) -> dict[str, Staged]:
    rows = await session.scalars(
        select(Staged).where(Staged.run_id == work.run_id, Staged.kind == kind, Staged.pco_id.in_(pco_ids))
    )
    return {row.pco_id: row for row in rows}


async def _locked(session: AsyncSession, work: Work, ids: list[UUID]) -> dict[UUID, Member]:
    rows = await session.scalars(
        select(Member)
        .where(Member.organization_id == work.organization_id, Member.id.in_(ids))
        .order_by(Member.id)
        .with_for_update()
    )
    return {row.id: row for row in rows}


async def _locked_families(session: AsyncSession, work: Work, ids: list[UUID]) -> dict[UUID, Family]:
    rows = await session.scalars(
        select(Family)
        .where(Family.organization_id == work.organization_id, Family.id.in_(ids))
        .order_by(Family.id)
        .with_for_update()
    )
    return {row.id: row for row in rows}


async def _links(session: AsyncSession, work: Work, kind: str, pco_ids: list[str | None]) -> dict[str, Link]:
    rows = await session.scalars(
        select(Link).filter_by(**work.owner, kind=kind).where(Link.pco_id.in_(pco_ids)).with_for_update()
    )
    return {row.pco_id: row for row in rows}
