"""Decides the changes that read households need on each side."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import FAMILY
from people_sync.domain.canonical import text_key
from people_sync.domain.families import Home, household_values, is_the_same, match_families
from people_sync.domain.merge import FamilyMerge, FamilyValues, merge_family
from people_sync.domain.planning_center import RemoteHousehold, household_from_snapshot
from people_sync.domain.sentences import CONFLICT, CONVERGED, CREATED_HERE, CREATED_THERE, LINKED, updated
from people_sync.domain.strays import is_still_stray
from people_sync.domain.writes import confirmed_of_family, family_believable_at
from people_sync.storage.erased import erased_there
from people_sync.storage.families import family_values, pco_ids_of
from people_sync.storage.kept_out import kept_out_among, members_left_alone
from people_sync.storage.links import agree, decided_differences, family_base_of, forget_equal, has_link, links_to
from people_sync.storage.strays import known_strays
from people_sync.storage.sync_tables import Conflict, Creation, Remote
from people_sync.storage.tables import Family, Link
from people_sync.storage.writes import writes_of
from people_sync.usecases.conflicts import cannot_be_believed
from people_sync.usecases.record.decide_people import compared, in_conflict, later, left_alone, settle_writes, unread
from people_sync.usecases.record.effects import carried_out
from people_sync.usecases.record.families import homes_of, people_unmet, record_ids, unlinked_families
from people_sync.usecases.record.planned import Planned
from people_sync.usecases.record.writer import Writer


async def decide_households(session: AsyncSession, writer: Writer, staged: Sequence[Remote]) -> list[Planned]:
    unreadable = await unread(session, writer, [row for row in staged if row.again or row.snapshot is None])
    staged = [row for row in staged if not row.again and row.snapshot is not None]
    households = {row.pco_id: household_from_snapshot(row.snapshot or {}) for row in staged}
    hashes = {row.pco_id: row.remote_hash for row in staged}
    read_at = {row.pco_id: row.read_at for row in staged}
    people = await record_ids(session, writer, [pco_id for h in households.values() for pco_id in h.person_ids])
    found = await session.execute(
        links_to(writer.owner, FAMILY, Family)
        .where(Link.pco_id.in_(list(households)))
        .order_by(Link.id)
        .with_for_update(of=Link)
    )
    rows: list[Planned] = unreadable
    pairs = await _without_kept_out(session, writer, found.all(), households, rows)
    ours = await family_values(session, writer.owner, [family for _, family in pairs])
    conflicts = await in_conflict(session, writer, [family.id for _, family in pairs])
    written = await writes_of(session, [link.id for link, _ in pairs])
    settled: dict[datetime, list[int]] = {}
    effects: list[dict[str, Any]] = []
    shown = {link.pco_id: household_values(households[link.pco_id], people) for link, _ in pairs}
    leaving = {one for link, family in pairs for one in ours[family.id].members - shown[link.pco_id].members}
    may_be_gone = await people_unmet(session, writer, leaving)
    everybody = [*map(str, people.values()), *(one for family in ours.values() for one in concerned(family))]
    alone = await members_left_alone(session, writer.organization_id, everybody)
    erased = (await erased_there(session, writer.owner)).people
    for link, family in pairs:
        household = households.pop(link.pco_id)
        theirs = shown[link.pco_id]
        if family.deleted_at is not None:
            link.remote_hash = hashes[link.pco_id]
            continue
        writes = written.get(link.id, [])
        if family_believable_at(writes, theirs, writer.reading(read_at[link.pco_id])):
            rows.append(later(FAMILY, link.pco_id, household.name, record_id=family.id))
            continue
        base = family_base_of(link, writes, theirs)
        result = merge_family(
            base, ours[family.id], theirs, writer.policy, decided_differences(link), may_be_gone, alone
        )
        if family_lets_go(writer, conflicts.get(family.id), theirs, result, read_at[link.pco_id]):
            rows.append(later(FAMILY, link.pco_id, household.name, record_id=family.id))
            continue
        unknown = bool(set(household.person_ids) - people.keys() - erased)
        change = _family_change(result, family, household, family.id in conflicts)
        if change:
            rows.append(change)
        elif not unknown:
            members = sorted(result.agreed_members)
            agree(link, {**base, **result.fields.agreed, "members": members}, read_at[household.pco_id])
            forget_equal(link, equal_fields(ours[family.id], theirs))
            compared(link, None if result.waiting else hashes[household.pco_id], family.version)
            if writes:
                effects += carried_out(writer, FAMILY, family.id, writes, confirmed_of_family(writes, theirs))
                settled.setdefault(read_at[household.pco_id], []).append(link.id)
    await settle_writes(session, writer, settled, effects)
    others = {pco_id: member for pco_id, member in people.items() if str(member) not in alone}
    return rows + await _strange_households(session, writer, households, others)


async def _without_kept_out(
    session: AsyncSession,
    writer: Writer,
    pairs: Sequence[Any],
    households: dict[str, RemoteHousehold],
    rows: list[Planned],
) -> list[Any]:
    """The (link, family) pairs in the sync. Those kept out are planned in `rows` and removed from `households`."""
    out = await kept_out_among(session, writer.organization_id, FAMILY, [family.id for _, family in pairs])
    for link, family in pairs:
        if family.id in out:
            household = households.pop(link.pco_id)
            if family.deleted_at is None:
                rows.append(left_alone(FAMILY, link.pco_id, household.name, record_id=family.id))
    return [(link, family) for link, family in pairs if family.id not in out]


def concerned(*sides: FamilyValues) -> set[str | None]:
    """Ids of all members named by these sides of a family, as text."""
    return {one for side in sides for one in (*side.members, side.primary_contact)}


def family_lets_go(
    writer: Writer, conflict: Conflict | None, theirs: FamilyValues, result: FamilyMerge, read_at: datetime
) -> datetime | None:
    """When a read that would end a family's conflict becomes conclusive; None if it is now."""

    def equal(name: str, one: Any, other: Any) -> bool:
        return bool(text_key(one) == text_key(other) if name == "name" and one and other else one == other)

    seen = family_fields(theirs)
    return cannot_be_believed(conflict, seen, result.fields.conflicts.keys(), writer.reading(read_at), equal)


def family_fields(values: FamilyValues) -> dict[str, Any]:
    """The values of a family that can be in conflict, by field."""
    return {"name": values.name, "primary_contact": values.primary_contact}


def equal_fields(ours: FamilyValues, theirs: FamilyValues) -> Callable[[str], bool]:
    """A predicate whether a field is equal on both sides."""
    here, there = family_fields(ours), family_fields(theirs)
    return lambda name: bool(here[name] == there[name])


def _family_change(
    result: FamilyMerge, family: Family, household: RemoteHousehold, conflict_open: bool
) -> Planned | None:
    fields = result.fields
    ours = bool(fields.to_ours or result.add_to_ours or result.remove_from_ours)
    here = bool(ours or fields.conflicts or conflict_open)
    there = bool(fields.to_theirs or result.add_to_theirs or result.remove_from_theirs)
    if not here and not there:
        return None
    return Planned(
        kind=FAMILY,
        record_id=family.id,
        pco_id=household.pco_id,
        name=household.name,
        here="planned" if here else "none",
        there="planned" if there else "none",
        outcome=CONFLICT if fields.conflicts else updated(ours=ours, theirs=there, otherwise=CONVERGED),
    )


async def _strange_households(
    session: AsyncSession, writer: Writer, households: dict[str, RemoteHousehold], people: dict[str, UUID]
) -> list[Planned]:
    """Plan households without a link: adopted from an unanswered creation, matched with a family, or new."""
    for pco_id, settled_at in (await known_strays(session, writer.owner, FAMILY, households)).items():
        if is_still_stray(settled_at, used_again=bool(households[pco_id].person_ids), now=writer.now()):
            del households[pco_id]
    adopted = await _adopted_households(session, writer, list(households.values()))
    rows: list[Planned] = [_home(family, households.pop(pco_id), CREATED_THERE) for pco_id, family in adopted.items()]
    members = {people[pco_id] for household in households.values() for pco_id in household.person_ids & people.keys()}
    families = await unlinked_families(session, writer, members)
    taken = set(adopted.values())
    homes = await homes_of(session, households.values(), people)
    matches = match_families(homes, {id_: home for id_, home in families.items() if id_ not in taken})
    for pco_id in sorted(households, key=int):
        match = matches.get(pco_id)
        if not people.keys().isdisjoint(households[pco_id].person_ids):
            rows.append(_home(match or uuid4(), households[pco_id], LINKED if match else CREATED_HERE))
    kept_out = await kept_out_among(session, writer.organization_id, FAMILY, [row.record_id for row in rows])
    return [
        left_alone(FAMILY, row.pco_id, row.name, record_id=row.record_id) if row.record_id in kept_out else row
        for row in rows
    ]


def _home(family_id: UUID, household: RemoteHousehold, outcome: str) -> Planned:
    return Planned(
        kind=FAMILY,
        record_id=family_id,
        pco_id=household.pco_id,
        name=household.name,
        here="planned",
        outcome=outcome,
    )


async def _adopted_households(
    session: AsyncSession, writer: Writer, households: Sequence[RemoteHousehold]
) -> dict[str, UUID]:
    """Households created by unanswered intents of ours, by Planning Center's id."""
    creations = await session.execute(
        select(Creation.record_id, Creation.content)
        .filter_by(**writer.owner, kind=FAMILY, state="sent")
        .join(Family, Family.id == Creation.record_id)
        .where(Creation.content.is_not(None), ~has_link(writer.owner, FAMILY, Family, Link.state != "gone"))
    )
    sent = {record_id: content or {} for record_id, content in creations}
    pco_ids = await pco_ids_of(
        session, writer.owner, {member for content in sent.values() for member in content["members"]}
    )
    found: dict[str, UUID] = {}
    for record_id, content in sent.items():
        people = frozenset(pco_ids[member] for member in content["members"] if member in pco_ids)
        for household in households:
            there = Home(household.name, frozenset(household.person_ids))
            if household.pco_id not in found and is_the_same(Home(content["name"], people), there):
                found[household.pco_id] = record_id
                break
    return found
