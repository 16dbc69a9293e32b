"""Matching of families with households, from rows."""

from collections.abc import Collection, Mapping, Sequence, Set
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import FAMILY, MEMBER
from people_sync.domain.families import Home, is_the_same, match_family
from people_sync.domain.planning_center import RemoteHousehold
from people_sync.domain.sentences import CREATED_HERE, CREATED_THERE, GONE, LATER, LEFT_OUT, LINKED
from people_sync.storage import remote
from people_sync.storage.kept_out import members_left_alone
from people_sync.storage.links import ended, has_link
from people_sync.storage.sync_tables import Change
from people_sync.storage.tables import Family, FamilyMember, Link, Member
from people_sync.usecases.record.writer import Writer
from synckit.among import among


async def still_new(
    session: AsyncSession, writer: Writer, households: Sequence[RemoteHousehold], people: dict[str, UUID]
) -> set[str]:
    """Households that still match no family here, by Planning Center's id.

    A household with an undecided person is left out, since that person's family may match.
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
                Change.outcome.in_([LATER, LEFT_OUT]),
                among(Change.pco_id, strangers),
            )
        )
    )
    families = await unlinked_families(session, writer, {people[pco_id] for pco_id in everybody if pco_id in people})
    homes = await homes_of(session, households, people)
    return {
        household.pco_id
        for household in households
        if not people.keys().isdisjoint(household.person_ids)
        and undecided.isdisjoint(household.person_ids)
        and match_family(homes[household.pco_id], families) is None
    }


async def homes_of(
    session: AsyncSession, households: Collection[RemoteHousehold], people: Mapping[str, UUID]
) -> dict[str, Home]:
    """Households in terms of our members. Members without any family count only as `others`."""
    ids = [people[pco_id] for household in households for pco_id in household.person_ids if pco_id in people]
    placed = set(
        await session.scalars(
            select(FamilyMember.member_id)
            .join(Family, Family.id == FamilyMember.family_id)
            .where(Family.deleted_at.is_(None), among(FamilyMember.member_id, ids))
        )
    )
    members = {pco_id: member_id for pco_id, member_id in people.items() if member_id in placed}
    homes: dict[str, Home] = {}
    for household in households:
        known = frozenset(members[pco_id] for pco_id in household.person_ids if pco_id in members)
        homes[household.pco_id] = Home(household.name, known, len(household.person_ids) - len(known))
    return homes


async def unlinked_families(session: AsyncSession, writer: Writer, members: set[UUID]) -> dict[UUID, Home]:
    taken = or_(
        has_link(writer.owner, FAMILY, Family, ~ended(Link)),
        _planned(writer, FAMILY, Family.id, Change.outcome != GONE),
    )
    concerned = select(FamilyMember.family_id).where(among(FamilyMember.member_id, members))
    return await _families_where(session, writer, Family.id.in_(concerned), ~taken)


async def still_matched(
    session: AsyncSession, writer: Writer, households: Mapping[UUID, RemoteHousehold], people: dict[str, UUID]
) -> set[UUID]:
    """The families that still match the households they were matched with."""
    if not households:
        return set()
    families = await _families_where(session, writer, among(Family.id, households))
    homes = await homes_of(session, households.values(), people)
    return {family_id for family_id, home in families.items() if is_the_same(homes[households[family_id].pco_id], home)}


def _planned(writer: Writer, kind: str, record_id: Any, outcome: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether this run plans a change with such an outcome for a record with a counterpart."""
    of_record = (Change.kind == kind, Change.record_id == record_id, Change.pco_id.is_not(None))
    return exists().where(Change.run_id == writer.cause.id, *of_record, outcome)


async def _families_where(session: AsyncSession, writer: Writer, *where: ColumnElement[bool]) -> dict[UUID, Home]:
    known = or_(
        has_link(writer.owner, MEMBER, Member, ~ended(Link)),
        _planned(writer, MEMBER, Member.id, Change.outcome.in_([LINKED, CREATED_THERE])),
    )
    rows = await session.execute(
        select(
            Family.id, Family.name, func.array_agg(Member.id).filter(known).label("known"), func.count().label("people")
        )
        .join(FamilyMember, FamilyMember.family_id == Family.id)
        .join(Member, Member.id == FamilyMember.member_id)
        .where(
            Family.organization_id == writer.organization_id,
            Family.deleted_at.is_(None),
            or_(Member.deleted_at.is_(None), known),
            *where,
        )
        .group_by(Family.id)
    )
    found = rows.all()
    # Members kept out of the sync count as unknown to the other side.
    alone = await members_left_alone(
        session, writer.organization_id, [str(m) for row in found for m in row.known or ()]
    )
    homes: dict[UUID, Home] = {}
    for row in found:
        members = frozenset(member for member in row.known or () if str(member) not in alone)
        homes[row.id] = Home(row.name, members, row.people - len(members))
    return homes


async def people_unmet(session: AsyncSession, writer: Writer, member_ids: Set[str]) -> Set[str]:
    """The members among these whose people this run has not read, so that they may be gone."""
    if not member_ids:
        return member_ids
    rows = await session.scalars(
        select(Link.record_id)
        .filter_by(**writer.owner, kind=MEMBER)
        .where(
            among(Link.record_id, [UUID(one) for one in member_ids]),
            remote.sighted(writer.cause.id, MEMBER, Link.pco_id),
        )
    )
    return member_ids - set(map(str, rows))


async def record_ids(session: AsyncSession, writer: Writer, pco_ids: Collection[str]) -> dict[str, UUID]:
    """Our ids of people in Planning Center who are linked, or will be by this run."""
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
