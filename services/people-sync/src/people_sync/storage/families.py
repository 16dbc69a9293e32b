"""Families as the sync reads them: with the members known in Planning Center."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from sqlalchemy import Text, cast, exists, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from contracts.values import FAMILY, MEMBER
from people_sync.domain.merge import FamilyValues
from people_sync.storage.tables import Family, FamilyMember, Link, Member
from synckit.among import among


async def family_values(
    session: AsyncSession, owner: Mapping[str, str], families: Sequence[Family]
) -> dict[UUID, FamilyValues]:
    """Our side of families: the linked members only, since the other side cannot know others.

    A member deleted here still counts in a family whose household has them, since a deletion here removes no membership
    there. A deleted member joins no household. A primary contact may be unlinked.
    """
    of_family = aliased(Link)
    joined = exists().where(
        of_family.organization_id == owner["organization_id"],
        of_family.pco_organization_id == owner["pco_organization_id"],
        of_family.kind == FAMILY,
        of_family.record_id == FamilyMember.family_id,
        of_family.agreed["members"].has_key(cast(FamilyMember.member_id, Text)),
    )
    linked = exists().where(
        Link.record_id == FamilyMember.member_id,
        Link.kind == MEMBER,
        Link.organization_id == owner["organization_id"],
        Link.pco_organization_id == owner["pco_organization_id"],
        Link.state != "gone",
    )
    rows = await session.execute(
        select(FamilyMember.family_id, FamilyMember.member_id, linked)
        .join(Member, Member.id == FamilyMember.member_id)
        .where(
            or_(Member.deleted_at.is_(None), joined),
            among(FamilyMember.family_id, [family.id for family in families]),
        )
    )
    members: dict[UUID, dict[UUID, bool]] = defaultdict(dict)
    for family_id, member_id, is_linked in rows:
        members[family_id][member_id] = is_linked
    return {
        family.id: FamilyValues(
            name=family.name,
            members=frozenset(str(one) for one, is_linked in members[family.id].items() if is_linked),
            primary_contact=str(family.primary_contact_id) if family.primary_contact_id in members[family.id] else None,
        )
        for family in families
    }


async def people_of(session: AsyncSession, owner: Mapping[str, str], family: Family) -> dict[str, str]:
    """Planning Center's ids by our members' ids, for the family's linked members who are not deleted here."""
    rows = await session.execute(
        select(Link.record_id, Link.pco_id)
        .join(FamilyMember, FamilyMember.member_id == Link.record_id)
        .join(Member, Member.id == Link.record_id)
        .filter(
            Link.organization_id == owner["organization_id"],
            Link.pco_organization_id == owner["pco_organization_id"],
            Link.kind == MEMBER,
            Link.state != "gone",
            FamilyMember.family_id == family.id,
            Member.deleted_at.is_(None),
        )
        .order_by(Link.pco_id)
    )
    return {str(row.record_id): row.pco_id for row in rows}


async def linked_records(session: AsyncSession, owner: Mapping[str, str], pco_ids: Collection[str]) -> dict[str, UUID]:
    """Our members' ids by Planning Center's ids, for linked people."""
    rows = await session.execute(
        select(Link.pco_id, Link.record_id)
        .filter_by(**owner, kind=MEMBER)
        .where(Link.state != "gone", among(Link.pco_id, pco_ids))
    )
    return {row.pco_id: row.record_id for row in rows}


async def pco_ids_of(session: AsyncSession, owner: Mapping[str, str], member_ids: Collection[str]) -> dict[str, str]:
    """Planning Center's ids by our members' ids, for members who ever had one."""
    if not member_ids:
        return {}
    rows = await session.execute(
        select(Link.record_id, Link.pco_id)
        .filter_by(**owner, kind=MEMBER)
        .where(among(Link.record_id, [UUID(member_id) for member_id in member_ids]))
    )
    return {str(row.record_id): row.pco_id for row in rows}
