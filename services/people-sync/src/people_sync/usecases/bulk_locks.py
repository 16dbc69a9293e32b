"""Locks the rows that a bulk call will change before it begins, in the global order: members, then families.

The call itself would lock members, then families, then members of those families.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import CompoundSelect, Select, select, union
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.http.people import BulkFamily, BulkMember
from contracts.values import FAMILY, MEMBER
from people_sync.storage.sync_tables import Joined
from people_sync.storage.tables import Family, FamilyMember, Link, Member


async def lock_all(
    session: AsyncSession, organization_id: str, members: Iterable[BulkMember], families: Iterable[BulkFamily]
) -> None:
    """Lock the rows by two statements, whatever the size."""
    members, families = list(members), list(families)
    names = {one.external_id for one in members} | {name for one in families for name in one.member_external_ids}
    named = _named(organization_id, Member, MEMBER, names, {one.pco_id for one in members})
    homes = _named(
        organization_id, Family, FAMILY, {one.external_id for one in families}, {one.pco_id for one in families}
    )
    at_home = select(FamilyMember.member_id).where(FamilyMember.family_id.in_(homes))
    # Families of restored members change too, since they show these again.
    back = select(FamilyMember.family_id).join(Member, Member.id == FamilyMember.member_id)
    shown_again = back.where(Member.id.in_(named), Member.deleted_at.is_not(None))
    await session.execute(_locked(Member, organization_id, union(named, at_home)))
    await session.execute(_locked(Family, organization_id, union(homes, shown_again)))


def _named(
    organization_id: str,
    record: type[Member] | type[Family],
    kind: str,
    external_ids: set[str],
    pco_ids: set[str | None],
) -> CompoundSelect[Any]:
    """Ids of records, by the platform's ids and by Planning Center's."""
    known = select(record.id).where(record.organization_id == organization_id, record.external_id.in_(external_ids))
    # The id of a joined member leads to the member who stays.
    led = select(Joined.into_id).where(
        Joined.organization_id == organization_id, Joined.external_id.in_(external_ids if record is Member else ())
    )
    linked = select(Link.record_id).where(
        Link.organization_id == organization_id, Link.kind == kind, Link.pco_id.in_([one for one in pco_ids if one])
    )
    return union(known, led, linked)


def _locked(record: type[Member] | type[Family], organization_id: str, ids: CompoundSelect[Any]) -> Select[Any]:
    of_these = (record.organization_id == organization_id, record.id.in_(ids))
    return select(record.id).where(*of_these).order_by(record.id).with_for_update()
