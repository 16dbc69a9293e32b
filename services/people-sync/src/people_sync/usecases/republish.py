"""`python -m people_sync republish`: all members and families, and all removals, told again on people.record.v1."""

from collections.abc import Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.base import Event
from contracts.events.people_record_v1 import FamilyChanged, MemberChanged
from people_sync.config import Settings
from people_sync.storage.among import among
from people_sync.storage.erased_tables import ErasedRecord
from people_sync.storage.records import render_families, render_members
from people_sync.storage.sync_tables import Joined
from people_sync.storage.tables import Family, Member
from people_sync.usecases.publishing import family_removed, member_removed
from servicekit.kafka import republish as again
from servicekit.kafka.outbox import append_all


async def republish(settings: Settings) -> None:
    """Removals have their tombstones, so that a copy that kept somebody forgets them."""
    pages = {
        "members": partial(_page, Member, False),
        "families": partial(_page, Family, False),
        "removed_members": partial(_page, Member, True),
        "removed_families": partial(_page, Family, True),
    }
    await again.republish(settings, **pages)


async def _page(
    table: type[Member | Family], removed: bool, session: AsyncSession, after: UUID | None
) -> tuple[int, UUID | None]:
    query = select(table).where(table.deleted_at.is_not(None) if removed else table.deleted_at.is_(None))
    if after is not None:
        query = query.where(table.id > after)
    rows: Sequence[Any] = (await session.scalars(query.order_by(table.id).limit(again.BATCH).with_for_update())).all()
    facts: list[Event] = []
    for organization_id, group in groupby(
        sorted(rows, key=attrgetter("organization_id")), attrgetter("organization_id")
    ):
        records = list(group)
        if removed:
            facts += await _removals(session, organization_id, records)
        else:
            facts += await _states(session, organization_id, records)
    await append_all(session, facts, tombstone=removed)
    return len(rows), rows[-1].id if len(rows) == again.BATCH else None


async def _states(session: AsyncSession, organization_id: str, records: Sequence[Any]) -> list[Event]:
    if isinstance(records[0], Member):
        return [
            MemberChanged(
                organization_id=organization_id, version=member.version, member=member, changed_at=member.updated_at
            )
            for member in await render_members(session, records)
        ]
    return [
        FamilyChanged(
            organization_id=organization_id, version=family.version, family=family, changed_at=family.updated_at
        )
        for family in await render_families(session, records)
    ]


async def _removals(session: AsyncSession, organization_id: str, records: Sequence[Any]) -> list[Event]:
    if isinstance(records[0], Family):
        return [family_removed(family, family.deleted_at) for family in records]
    joined = select(Joined.member_id, Joined.into_id).where(
        Joined.organization_id == organization_id, among(Joined.member_id, [member.id for member in records])
    )
    into = {row.member_id: row.into_id for row in await session.execute(joined)}
    erased = set(
        await session.scalars(
            select(ErasedRecord.record_id).where(
                ErasedRecord.organization_id == organization_id,
                among(ErasedRecord.record_id, [member.id for member in records]),
            )
        )
    )
    return [
        member_removed(member, member.deleted_at, joined_into=into.get(member.id), erased=member.id in erased)
        for member in records
    ]
