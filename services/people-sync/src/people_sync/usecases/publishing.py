"""Publishes the changes of one call together at its end."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Integer, Uuid, any_, func, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.base import Event
from contracts.events.people_record_v1 import FamilyChanged, FamilyRemoved, MemberChanged, MemberRemoved
from contracts.values import FAMILY, MEMBER
from people_sync.storage.records import render_families, render_members
from people_sync.storage.tables import Family, Link, Member
from people_sync.usecases import conflicts
from servicekit.errors import TooLarge
from servicekit.kafka.outbox import MAX_EVENTS, append_all


async def publish(
    session: AsyncSession, organization_id: str, now: datetime, members: Iterable[Member], families: Iterable[Family]
) -> None:
    """Append MemberChanged and FamilyChanged for records whose version was incremented."""
    members, families = list(members), list(families)
    await session.flush()
    changed = [*(member.id for member in members), *(family.id for family in families)]
    told = await conflicts.renamed(session, organization_id, changed, now)
    if len(changed) + len(told) > MAX_EVENTS:
        raise TooLarge(
            f"This would change {len(changed)} records and {len(told)} open conflicts at once, and {MAX_EVENTS} are "
            "possible: send it in smaller parts. Nothing was changed.",
            limit=MAX_EVENTS,
        )
    facts: list[Event] = [
        MemberChanged(organization_id=organization_id, version=member.version, member=member, changed_at=now)
        for member in await render_members(session, members)
    ]
    facts += [
        FamilyChanged(organization_id=organization_id, version=family.version, family=family, changed_at=now)
        for family in await render_families(session, families)
    ]
    await append_all(session, facts + await conflicts.facts(session, told, now))


def member_removed(
    member: Member, now: datetime, *, joined_into: UUID | None = None, erased: bool = False
) -> MemberRemoved:
    """To be followed by a tombstone."""
    return MemberRemoved(
        organization_id=member.organization_id,
        version=member.version,
        member_id=str(member.id),
        joined_into=str(joined_into) if joined_into else None,
        erased=erased,
        removed_at=now,
    )


def family_removed(family: Family, now: datetime) -> FamilyRemoved:
    """To be followed by a tombstone."""
    return FamilyRemoved(
        organization_id=family.organization_id, version=family.version, family_id=str(family.id), removed_at=now
    )


async def touch_members(session: AsyncSession, members: Sequence[Member], now: datetime) -> None:
    """Increment the versions of locked members whose families changed, since their record names them."""
    await _touch(session, MEMBER, members, now)


async def touch_families(session: AsyncSession, families: Sequence[Family], now: datetime) -> None:
    """Increment the versions of locked families that lost a member by deletion here."""
    await _touch(session, FAMILY, families, now)


async def _touch(session: AsyncSession, kind: str, records: Sequence[Member] | Sequence[Family], now: datetime) -> None:
    """Increment versions, and keep links that were up to date so, because no value known to Planning Center changed."""
    if not records:
        return
    # Arrays, because each connection would cache a separate statement for every number of records.
    ids = literal([record.id for record in records], ARRAY(Uuid))
    versions = literal([record.version for record in records], ARRAY(Integer))
    touched = func.unnest(ids, versions).table_valued("id", "version").render_derived(name="touched")
    # Locked first, because an update locks rows in any order.
    links = select(Link.id).where(Link.kind == kind, Link.record_id == any_(ids))
    await session.execute(links.order_by(Link.id).with_for_update())
    await session.execute(
        update(Link)
        .where(Link.kind == kind, Link.record_id == touched.c.id, Link.compared_version == touched.c.version)
        .values(compared_version=Link.compared_version + 1)
        .execution_options(synchronize_session=False)
    )
    for record in records:
        record.version += 1
        record.updated_at = now
