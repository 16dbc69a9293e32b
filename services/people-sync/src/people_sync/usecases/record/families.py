"""Which family is which household, and who of it is known: as rows."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from sqlalchemy import ColumnElement, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import FAMILY, MEMBER
from people_sync.domain.families import match_family
from people_sync.domain.merge import FamilyMerge
from people_sync.domain.planning_center import RemoteHousehold
from people_sync.domain.sentences import CREATED_HERE, CREATED_THERE, GONE, LATER, LINKED
from people_sync.storage import remote
from people_sync.storage.among import among
from people_sync.storage.links import ended, has_link
from people_sync.storage.sync_tables import Change
from people_sync.storage.tables import Family, FamilyMember, Link
from people_sync.usecases.record.writer import Writer


async def still_new(
    session: AsyncSession, writer: Writer, households: Sequence[RemoteHousehold], people: dict[str, UUID]
) -> set[str]:
    """Of households without a family when they were compared, those without one now, by Planning Center's id.

    One with somebody in it about whom this run could not decide is left out: that person's family may be the one.
    """
    if not households:
        return set()
    everybody = [pco_id for household in households for pco_id in household.person_ids]
    strangers = [pco_id for pco_id in everybody if pco_id not in people]
    undecided = set(
        await session.scalars(
            select(Change.pco_id).where(
                Change.run_id == writer.cause.id,
                Change.kind == MEMBER,
                Change.outcome == LATER,
                among(Change.pco_id, strangers),
            )
        )
    )
    families = await unlinked_families(session, writer, {people[pco_id] for pco_id in everybody if pco_id in people})
    found: set[str] = set()
    for household in households:
        theirs = people_known(household, people)
        known = match_family(household.name, theirs, families)
        if theirs and known is None and undecided.isdisjoint(household.person_ids):
            found.add(household.pco_id)
    return found


async def unlinked_families(
    session: AsyncSession, writer: Writer, members: set[UUID]
) -> dict[UUID, tuple[str, frozenset[UUID]]]:
    taken = or_(
        has_link(writer.owner, FAMILY, Family, ~ended(Link)),
        exists().where(
            Change.run_id == writer.cause.id,
            Change.kind == FAMILY,
            Change.record_id == Family.id,
            Change.pco_id.is_not(None),
            Change.outcome != GONE,
        ),
    )
    concerned = select(FamilyMember.family_id).where(among(FamilyMember.member_id, members))
    return await _families_where(session, writer, Family.id.in_(concerned), ~taken)


async def still_matched(
    session: AsyncSession, writer: Writer, households: Mapping[UUID, RemoteHousehold], people: dict[str, UUID]
) -> set[UUID]:
    """Of families that were found to be these households, those of which it is true by now."""
    if not households:
        return set()
    families = await _families_where(session, writer, among(Family.id, households))
    return {
        family_id
        for family_id, family in families.items()
        if match_family(households[family_id].name, people_known(households[family_id], people), {family_id: family})
    }


async def _families_where(
    session: AsyncSession, writer: Writer, *where: ColumnElement[bool]
) -> dict[UUID, tuple[str, frozenset[UUID]]]:
    rows = await session.execute(
        select(Family.id, Family.name, func.array_agg(FamilyMember.member_id).label("members"))
        .join(FamilyMember, FamilyMember.family_id == Family.id)
        .where(Family.organization_id == writer.organization_id, Family.deleted_at.is_(None), *where)
        .group_by(Family.id)
    )
    return {row.id: (row.name, frozenset(row.members)) for row in rows}


def people_known(household: RemoteHousehold, people: dict[str, UUID]) -> frozenset[UUID]:
    return frozenset(people[pco_id] for pco_id in household.person_ids if pco_id in people)


async def people_met(session: AsyncSession, writer: Writer, member_ids: Collection[str]) -> set[str]:
    """Of these members those whose people this run has read."""
    if not member_ids:
        return set()
    rows = await session.scalars(
        select(Link.record_id)
        .filter_by(**writer.owner, kind=MEMBER)
        .where(
            among(Link.record_id, [UUID(one) for one in member_ids]),
            remote.sighted(writer.cause.id, MEMBER, Link.pco_id),
        )
    )
    return set(map(str, rows))


def without_unmet(result: FamilyMerge, met: set[str]) -> FamilyMerge:
    """Nobody leaves a family here for no longer being in Planning Center: who was not met may be gone."""
    return replace(result, remove_from_ours=result.remove_from_ours & met)


async def record_ids(session: AsyncSession, writer: Writer, pco_ids: Collection[str]) -> dict[str, UUID]:
    """Our ids of people in Planning Center: linked, or about to be by this run."""
    linked = select(Link.pco_id, Link.record_id).where(
        Link.organization_id == writer.organization_id,
        Link.pco_organization_id == writer.pco_organization_id,
        Link.kind == MEMBER,
        Link.state != "gone",
        among(Link.pco_id, pco_ids),
    )
    planned = select(Change.pco_id, Change.record_id).where(
        Change.run_id == writer.cause.id,
        Change.kind == MEMBER,
        Change.outcome.in_([LINKED, CREATED_HERE, CREATED_THERE]),
        among(Change.pco_id, pco_ids),
    )
    return {row.pco_id: row.record_id for row in await session.execute(linked.union(planned))}
