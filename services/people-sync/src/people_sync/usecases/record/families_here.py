"""Takes households over here: names, primary contacts and memberships."""

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import delete, or_, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import FAMILY
from people_sync.domain.canonical import name_key
from people_sync.domain.families import household_values
from people_sync.domain.merge import FamilyMerge, FamilyValues, merge_family
from people_sync.domain.planning_center import RemoteHousehold, household_from_snapshot
from people_sync.domain.plans import Fields, family_created, of_family
from people_sync.domain.sentences import CREATED_HERE, CREATED_THERE, FIRST_SYNC_ASKS, LATER, LEFT_OUT, LINKED
from people_sync.domain.writes import confirmed_of_family, family_believable_at
from people_sync.storage.erased import erased_there
from people_sync.storage.families import family_values
from people_sync.storage.kept_out import kept_out_among, members_left_alone
from people_sync.storage.links import (
    NOTHING_AGREED,
    agree,
    decided_differences,
    family_base_of,
    forget_equal,
    tie_again,
)
from people_sync.storage.sync_tables import Conflict, Remote
from people_sync.storage.tables import Family, FamilyMember, Link, Member
from people_sync.storage.writes import writes_of
from people_sync.usecases.conflicts import converged, open_conflict, open_conflicts_of
from people_sync.usecases.publishing import touch_members
from people_sync.usecases.record.claims import claimed_by_others
from people_sync.usecases.record.decide_families import equal_fields, family_lets_go
from people_sync.usecases.record.decide_people import settle_writes
from people_sync.usecases.record.effects import Effects, carried_out, noted, tied, touch_family
from people_sync.usecases.record.families import (
    people_unmet,
    record_ids,
    still_matched,
    still_new,
    unlinked_families,
)
from people_sync.usecases.record.matching import not_created_yet
from people_sync.usecases.record.people_here import (
    as_read,
    close_intent,
    count_outcome,
    decidable,
    decide_later,
    deleted_meanwhile,
    locked_links,
    locked_members,
    not_kept_out,
    unanswered,
)
from people_sync.usecases.record.planned import Planned
from people_sync.usecases.record.writer import Writer
from synckit.among import among
from synckit.history import Actor
from synckit.staleness import CREATED


@dataclass(slots=True)
class _Memberships:
    """Joins and leaves of one batch here, by family."""

    joining: list[dict[str, Any]] = field(default_factory=list)
    leaving: list[tuple[UUID, UUID]] = field(default_factory=list)


async def take_families_over(
    session: AsyncSession, writer: Writer, planned: Sequence[Planned], effects: Effects
) -> None:
    """Take over the planned changes here; afterwards the plans hold their outcomes."""
    staged = await as_read(session, writer, FAMILY, [change.pco_id for change in planned])
    households = {pco_id: household_from_snapshot(row.snapshot) for pco_id, row in staged.items() if row.snapshot}
    people = await record_ids(session, writer, [one for h in households.values() for one in h.person_ids])
    families, held, alone = await _locked_families(
        session, writer, [change.record_id for change in planned if change.record_id], people.values()
    )
    changes = decidable(
        not_kept_out(planned, await kept_out_among(session, writer.organization_id, FAMILY, families)),
        staged,
        await claimed_by_others(session, writer, families),
    )
    links = await locked_links(session, writer, FAMILY, [change.pco_id for change in changes])
    strange = [change for change in changes if change.pco_id not in links]
    synced = _synced(people, alone)
    strange = await _as_approved(session, writer, strange, households, synced, families, alone)
    changes = [change for change in changes if change.outcome != LEFT_OUT]
    links |= await _homes(session, writer, strange, households, synced, families, effects)
    ours = await family_values(session, writer.owner, list(families.values()))
    conflicts = await open_conflicts_of(session, writer.organization_id, families)
    written = await writes_of(session, [link.id for link in links.values()])
    settled: dict[datetime, list[int]] = {}
    moves = _Memberships()
    now = writer.now()
    known = people.keys() | (await erased_there(session, writer.owner)).people
    shown = {pco_id: household_values(household, people) for pco_id, household in households.items()}
    may_be_gone = await people_unmet(session, writer, _missed(links, ours, shown))
    for change in changes:
        change.here = "done"
        pco_id = str(change.pco_id)
        family, link = families.get(change.record_id), links.get(pco_id)  # type: ignore[arg-type] # planned with a record
        if family is not None and family.deleted_at is not None:
            deleted_meanwhile(change)
            continue
        if family is None or link is None or link.record_id != family.id or not ours[family.id].members <= held:
            decide_later(change)
            continue
        theirs, read_at = shown[pco_id], staged[pco_id].read_at
        writes, conflict = written.get(link.id, []), conflicts.get(family.id)
        if family_believable_at(writes, theirs, writer.reading(read_at)):
            decide_later(change)
            continue
        base = family_base_of(link, writes, theirs)
        result = merge_family(
            base, ours[family.id], theirs, writer.policy, decided_differences(link), may_be_gone, alone
        )
        if _put_off(writer, change, base, ours[family.id], theirs, result, conflict, read_at):
            continue
        if writes:
            effects.rows += carried_out(writer, FAMILY, family.id, writes, confirmed_of_family(writes, theirs))
            settled.setdefault(read_at, []).append(link.id)
        _take_family_over(writer, family, link, result, moves, effects)
        ours_moves = bool(result.fields.to_ours or result.add_to_ours or result.remove_from_ours)
        count_outcome(change, result.fields, conflict, ours=ours_moves, theirs=_goes_there(result))
        effects.conflicts += _conflict(session, link, result, conflict, households[pco_id], read_at, now)
        forget_equal(link, equal_fields(ours[family.id], theirs))
        _agree_family(change, link, family, households[pco_id], base, result, staged[pco_id], known, now)
    await settle_writes(session, writer, settled, [])
    await _move(session, writer, moves, effects)


def _synced(people: Mapping[str, UUID], alone: Set[str]) -> dict[str, UUID]:
    """The people without those kept out of the sync, who must not influence family matching."""
    return {pco_id: member for pco_id, member in people.items() if str(member) not in alone}


def _put_off(
    writer: Writer,
    change: Planned,
    base: Mapping[str, Any],
    ours: FamilyValues,
    theirs: FamilyValues,
    result: FamilyMerge,
    conflict: Conflict | None,
    read_at: datetime,
) -> bool:
    """Whether a family is postponed, with the reason in its plan."""
    if result.fields.first_match and not writer.chosen:
        change.outcome, change.sentence = LATER, FIRST_SYNC_ASKS
        return True
    if family_lets_go(writer, conflict, theirs, result, read_at):
        decide_later(change)
        return True
    if change.forbids(partial(of_family, base, ours, theirs, result), writer.country):
        change.leave_out()
        return True
    return False


async def _as_approved(
    session: AsyncSession,
    writer: Writer,
    strange: Sequence[Planned],
    households: Mapping[str, RemoteHousehold],
    people: Mapping[str, UUID],
    families: Mapping[UUID, Family],
    alone: Set[str],
) -> list[Planned]:
    """Unlinked households that are still as approved, checked before any family is created."""
    asked = [change for change in strange if change.plan is not None and change.outcome in {CREATED_HERE, LINKED}]
    matched = [family for change in asked if (family := families.get(change.record_id))]  # type: ignore[arg-type] # a plan has one
    ours = await family_values(session, writer.owner, matched) if matched else {}
    for change in asked:
        theirs = household_values(households[str(change.pco_id)], people)
        mine = ours.get(change.record_id)  # type: ignore[arg-type] # a plan has one
        if change.outcome == CREATED_HERE or mine is None:
            now = partial(_newcomer, theirs)
        else:
            merged = merge_family({}, mine, theirs, writer.policy, left_alone=alone)
            now = partial(of_family, {}, mine, theirs, merged)
        if change.forbids(now, writer.country):
            change.here = "done"
            change.leave_out()
    return [change for change in strange if change.outcome != LEFT_OUT]


def _newcomer(theirs: FamilyValues) -> Fields:
    """Plan fields of adding a household here."""
    shown = {one: {"id": one, "pco_id": None, "name": ""} for one in theirs.members}
    return family_created(theirs.name, shown, theirs.primary_contact, "here", shown)


def _conflict(
    session: AsyncSession,
    link: Link,
    result: FamilyMerge,
    conflict: Conflict | None,
    household: RemoteHousehold,
    read_at: datetime,
    now: datetime,
) -> list[Conflict]:
    if not result.fields.conflicts:
        return converged(conflict, now)
    return open_conflict(
        session,
        link,
        result.fields.conflicts,
        conflict,
        updated_at=household.updated_at,
        read_at=read_at,
        now=now,
    )


async def lock_people(
    session: AsyncSession, writer: Writer, family_ids: Collection[UUID], others: Collection[UUID] = ()
) -> set[str]:
    """Lock the members of these families, and `others` who may join, before the families; gives their ids as text."""
    of_families = select(FamilyMember.member_id).where(among(FamilyMember.family_id, family_ids))
    rows = await session.scalars(
        select(Member.id)
        .where(
            Member.organization_id == writer.organization_id,
            or_(Member.id.in_(of_families), among(Member.id, others)),
        )
        .order_by(Member.id)
        .with_for_update()
    )
    return {str(member_id) for member_id in rows}


def _missed(
    links: Mapping[str, Link], ours: Mapping[UUID, FamilyValues], shown: Mapping[str, FamilyValues]
) -> set[str]:
    """Members of our families whom the households do not name."""
    return {
        one
        for pco_id, link in links.items()
        if link.record_id in ours and pco_id in shown
        for one in ours[link.record_id].members - shown[pco_id].members
    }


async def _homes(
    session: AsyncSession,
    writer: Writer,
    changes: Sequence[Planned],
    households: Mapping[str, RemoteHousehold],
    people: dict[str, UUID],
    families: dict[UUID, Family],
    effects: Effects,
) -> dict[str, Link]:
    """Create links for households without one, adding new families to `families`, which may have changed since."""
    of_change = {change: households[str(change.pco_id)] for change in changes}
    new = await still_new(session, writer, [one for c, one in of_change.items() if c.record_id not in families], people)
    matched = {c.record_id: one for c, one in of_change.items() if c.record_id and c.outcome == LINKED}
    homes = await still_matched(session, writer, matched, people)
    adopted = [change for change in changes if change.outcome == CREATED_THERE]
    known = [change for change in changes if change.pco_id in new or change.record_id in homes]
    links = await _family_links(session, writer, known + adopted)
    creations = await unanswered(session, writer, FAMILY, [link.record_id for link in links.values()])
    now = writer.now()
    for link in links.values():
        if link.record_id in creations:
            close_intent(
                creations[link.record_id], link, now, same=link.pco_id in {change.pco_id for change in adopted}
            )
    for change in [one for one in known + adopted if one.pco_id in links]:
        if change.pco_id in new:
            made = _new_family(session, writer, change, of_change[change], effects)
            families[made.id] = made
        else:
            created_by = Actor("platform") if change.outcome == CREATED_THERE else None
            effects.rows.append(tied(writer, FAMILY, links[str(change.pco_id)], created_by=created_by))
    # A postponed household may be a family that this run would create there.
    strangers = [household for change, household in of_change.items() if change.pco_id not in links]
    members = {people[pco_id] for household in strangers for pco_id in household.person_ids if pco_id in people}
    maybe = await unlinked_families(session, writer, members) if members else {}
    await not_created_yet(session, writer, FAMILY, maybe)
    await session.flush()
    return links


def _new_family(
    session: AsyncSession, writer: Writer, change: Planned, household: RemoteHousehold, effects: Effects
) -> Family:
    now = writer.now()
    family = Family(
        id=change.record_id,
        organization_id=writer.organization_id,
        name=household.name,
        name_key=name_key(household.name, ""),
        version=1,
        created_at=now,
        updated_at=now,
    )
    session.add(family)
    effects.families[family.id] = family
    effects.rows.append(noted(writer, FAMILY, family.id, CREATED, None, household.pco_id))
    return family


async def _family_links(session: AsyncSession, writer: Writer, changes: Sequence[Planned]) -> dict[str, Link]:
    """Create links for households without one, except when their family was linked to another meanwhile."""
    if not changes:
        return {}
    rows: list[dict[str, Any]] = [
        {**writer.owner, "kind": FAMILY, "record_id": change.record_id, "pco_id": change.pco_id, **NOTHING_AGREED}
        for change in changes
    ]
    made = {
        link.pco_id: link for link in await session.scalars(insert(Link).on_conflict_do_nothing().returning(Link), rows)
    }
    for change in changes:
        if change.pco_id not in made:
            again = await tie_again(session, writer.owner, FAMILY, change.record_id, change.pco_id)
            made |= {again.pco_id: again} if again else {}
    return made


def _take_family_over(
    writer: Writer, family: Family, link: Link, result: FamilyMerge, moves: _Memberships, effects: Effects
) -> None:
    fields = result.fields
    if not link.compared_version:
        # Publishes the link even if no value changed.
        touch_family(writer, family, effects)

    def note(name: str, old: Any, new: Any, rule: str) -> None:
        effects.rows.append(noted(writer, FAMILY, family.id, name, old, new, rule=rule))

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
            {"family_id": family.id, "member_id": UUID(member), "organization_id": writer.organization_id}
        )
        note("members", None, member, "changed")
    for member in sorted(result.remove_from_ours):
        moves.leaving.append((family.id, UUID(member)))
        note("members", member, None, "changed")
    touch_family(writer, family, effects)


async def _move(session: AsyncSession, writer: Writer, moves: _Memberships, effects: Effects) -> None:
    """Write memberships, and publish the members again, since a member's record names its families."""
    if moves.joining:
        await session.execute(insert(FamilyMember).on_conflict_do_nothing(), moves.joining)
    if moves.leaving:
        await session.execute(
            delete(FamilyMember).where(tuple_(FamilyMember.family_id, FamilyMember.member_id).in_(moves.leaving))
        )
    concerned = {row["member_id"] for row in moves.joining} | {member for _, member in moves.leaving}
    members = await locked_members(session, writer, sorted(concerned - effects.members.keys()))
    await touch_members(session, list(members.values()), writer.now())
    effects.members |= members


def _goes_there(result: FamilyMerge) -> bool:
    return bool(result.fields.to_theirs or result.add_to_theirs or result.remove_from_theirs)


def _agree_family(
    change: Planned,
    link: Link,
    family: Family,
    household: RemoteHousehold,
    base: Mapping[str, Any],
    result: FamilyMerge,
    row: Remote,
    known: Set[str],
    now: datetime,
) -> None:
    """`known`: Planning Center's ids of people with a member here, and of erased people."""
    fields = result.fields
    members = (result.agreed_members - result.remove_from_ours) | result.add_to_ours
    agree(link, {**base, **fields.agreed, **fields.to_ours, "members": sorted(members)}, now)
    link.state, link.missing_since = "linked", None
    if _goes_there(result):
        change.there = "planned"
    else:
        # A household with an unknown person or a conflict is compared on every run.
        complete = not (set(household.person_ids) - known or result.waiting)
        link.remote_hash = row.remote_hash if complete and not fields.conflicts else None
        link.compared_version = family.version


async def _locked_families(
    session: AsyncSession, writer: Writer, ids: list[UUID], others: Collection[UUID]
) -> tuple[dict[UUID, Family], set[str], Set[str]]:
    """Lock families and their members.

    Gives the families, the locked members (without those who joined in between), and those of them kept out of the
    sync.
    """
    held = await lock_people(session, writer, ids, others)
    rows = await session.scalars(
        select(Family)
        .where(Family.organization_id == writer.organization_id, Family.id.in_(ids))
        .order_by(Family.id)
        .with_for_update()
    )
    alone = await members_left_alone(session, writer.organization_id, held)
    return {row.id: row for row in rows}, held, alone
