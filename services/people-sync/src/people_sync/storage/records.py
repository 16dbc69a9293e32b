"""Members and families in the shape of messages and answers."""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from contracts import people
from contracts.values import FAMILY, MEMBER
from people_sync.domain.values import PersonValues
from people_sync.storage.kept_out import kept_out_among
from people_sync.storage.tables import Connection, Family, FamilyMember, Link, Member


def values_of(member: Member) -> PersonValues:
    """The synced values of a member."""
    return PersonValues(
        first_name=member.first_name,
        last_name=member.last_name,
        birthdate=member.birthdate,
        gender=member.gender,
        child=member.child,
        email=member.email,
        phone=member.phone,
        address=people.Address(**member.address) if member.address else None,
    )


def full_name(member: Member) -> str:
    """The display name of a member."""
    return f"{member.first_name} {member.last_name}".strip()


async def render_members(session: AsyncSession, rows: Sequence[Member]) -> list[people.Member]:
    """The full records of one organization, in the order given. Three queries for all."""
    ids = [row.id for row in rows]
    families: dict[UUID, list[str]] = {}
    memberships = select(FamilyMember.member_id, FamilyMember.family_id).where(FamilyMember.member_id.in_(ids))
    for member_id, family_id in await session.execute(memberships.order_by(FamilyMember.family_id)):
        families.setdefault(member_id, []).append(str(family_id))
    links = await _links(session, MEMBER, ids)
    kept_out = await _kept_out(session, MEMBER, rows)
    return [
        people.Member(
            id=str(row.id),
            external_id=row.external_id,
            first_name=row.first_name,
            last_name=row.last_name,
            birthdate=row.birthdate,
            gender=row.gender,
            child=row.child,
            email=row.email,
            phone=row.phone,
            address=people.Address(**row.address) if row.address else None,
            active=row.active,
            family_ids=tuple(families.get(row.id, ())),
            link=links.get(row.id),
            kept_out=row.id in kept_out,
            version=row.version,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )
        for row in rows
    ]


async def render_families(session: AsyncSession, rows: Sequence[Family]) -> list[people.Family]:
    """The full records of one organization, in the order given. Three queries for all.

    A deleted member is not shown but keeps the membership row, without which the sync would remove them from the
    household.
    """
    ids = [row.id for row in rows]
    members: dict[UUID, list[str]] = {}
    memberships = (
        select(FamilyMember.family_id, FamilyMember.member_id)
        .join(Member, Member.id == FamilyMember.member_id)
        .where(FamilyMember.family_id.in_(ids), Member.deleted_at.is_(None))
    )
    for family_id, member_id in await session.execute(memberships.order_by(FamilyMember.member_id)):
        members.setdefault(family_id, []).append(str(member_id))
    links = await _links(session, FAMILY, ids)
    kept_out = await _kept_out(session, FAMILY, rows)
    return [
        people.Family(
            id=str(row.id),
            external_id=row.external_id,
            name=row.name,
            member_ids=tuple(members.get(row.id, ())),
            primary_contact_id=_among(row.primary_contact_id, members.get(row.id, ())),
            link=links.get(row.id),
            kept_out=row.id in kept_out,
            version=row.version,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )
        for row in rows
    ]


async def _kept_out(session: AsyncSession, kind: str, rows: Sequence[Member] | Sequence[Family]) -> Collection[UUID]:
    if not rows:
        return ()
    return await kept_out_among(session, rows[0].organization_id, kind, [row.id for row in rows])


def _among(primary: UUID | None, members: Collection[str]) -> str | None:
    return str(primary) if str(primary) in members else None


async def _links(session: AsyncSession, kind: str, ids: Collection[UUID]) -> dict[UUID, people.PlanningCenterLink]:
    """Links to the currently or last connected Planning Center organization."""
    kept = aliased(Link)
    # A subquery per row, because a join may read all links of the organization.
    merged_with = (
        select(kept.record_id)
        .join(Member, (Member.id == kept.record_id) & Member.deleted_at.is_(None))
        .where(
            kept.organization_id == Link.organization_id,
            kept.pco_organization_id == Link.pco_organization_id,
            kept.kind == Link.kind,
            kept.pco_id == Link.merged_into,
            kept.state != "gone",
        )
        .correlate(Link)
        .scalar_subquery()
    )
    rows = await session.execute(
        select(Link.record_id, Link.pco_id, Link.state, Link.gone_at, Link.create_again, merged_with)
        .join(
            Connection,
            (Connection.organization_id == Link.organization_id)
            & (Connection.pco_organization_id == Link.pco_organization_id),
        )
        .where(Link.record_id.in_(ids), Link.kind == kind)
    )
    return {
        record_id: people.PlanningCenterLink(
            pco_id=pco_id,
            state="gone" if state == "gone" else "linked",
            gone_at=gone_at,
            create_again=create_again,
            merged_with=str(other) if other else None,
        )
        for record_id, pco_id, state, gone_at, create_again, other in rows
    }
