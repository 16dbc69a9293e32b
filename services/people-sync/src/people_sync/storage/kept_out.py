"""Rows of records kept out of the sync."""

from collections.abc import Collection, Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Exists, Text, cast, exists, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from contracts.values import FAMILY, MEMBER
from people_sync.storage.sync_tables import KeptOut
from people_sync.storage.tables import FamilyMember, Link, Member
from synckit.among import among


async def kept_out_among(
    session: AsyncSession, organization_id: str, kind: str, record_ids: Collection[UUID | None]
) -> set[UUID]:
    """The members or families among these that are kept out."""
    ids = [one for one in record_ids if one is not None]
    if not ids:
        return set()
    rows = await session.scalars(
        select(KeptOut.record_id).where(
            KeptOut.organization_id == organization_id, KeptOut.kind == kind, among(KeptOut.record_id, ids)
        )
    )
    return set(rows)


async def anybody_kept_out(session: AsyncSession, organization_id: str) -> bool:
    """Whether the organization keeps any member out. Few do, and the others need no further query."""
    found = select(KeptOut.record_id).where(KeptOut.organization_id == organization_id, KeptOut.kind == MEMBER)
    return await session.scalar(found.limit(1)) is not None


async def members_left_alone(
    session: AsyncSession, organization_id: str, member_ids: Iterable[str | None]
) -> frozenset[str]:
    """Members among these ids (text) that are kept out; a malformed id matches none."""
    if not await anybody_kept_out(session, organization_id):
        return frozenset()
    ids = {found for one in member_ids if one is not None and (found := _id_of(one)) is not None}
    return frozenset(map(str, await kept_out_among(session, organization_id, MEMBER, ids)))


def _id_of(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def is_kept_out(organization_id: str, kind: Any, record_id: Any) -> Exists:
    """Whether a record of the enclosing statement is kept out."""
    return exists().where(
        KeptOut.organization_id == organization_id, KeptOut.kind == kind, KeptOut.record_id == record_id
    )


def holds_its_place(organization_id: str, kind: Any, record_id: Any) -> Exists:
    """`is_kept_out`, except for members deleted here: a member added again takes their place there."""
    deleted = aliased(Member)
    gone_here = exists().where(deleted.id == KeptOut.record_id, deleted.deleted_at.is_not(None))
    return is_kept_out(organization_id, kind, record_id).where(~gone_here)


async def families_with(session: AsyncSession, organization_id: str, member_ids: Collection[UUID]) -> set[UUID]:
    """Families that have one of these members here, or had them at the last comparison."""
    here = select(FamilyMember.family_id).where(
        FamilyMember.organization_id == organization_id, among(FamilyMember.member_id, member_ids)
    )
    agreed = select(Link.record_id).where(
        Link.organization_id == organization_id,
        Link.kind == FAMILY,
        Link.agreed["members"].has_any(cast(sorted(map(str, member_ids)), ARRAY(Text))),
    )
    return set(await session.scalars(here.union(agreed)))


async def links_of(
    session: AsyncSession, organization_id: str, members: Collection[UUID], families: Collection[UUID]
) -> list[Link]:
    """All links of these records, to any Planning Center organization, locked in the order of their ids."""
    rows = await session.scalars(
        select(Link)
        .where(
            Link.organization_id == organization_id,
            or_(
                (Link.kind == MEMBER) & among(Link.record_id, members),
                (Link.kind == FAMILY) & among(Link.record_id, families),
            ),
        )
        .order_by(Link.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return list(rows)
