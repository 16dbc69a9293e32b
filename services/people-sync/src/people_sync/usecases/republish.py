"""`python -m people_sync republish`: publishes the state again from the tables.

On people.record.v1 all members, families and removals; on people.conflict.v1 all conflicts, outcomes of decisions, and
erasures that conflict-service has not answered.
"""

from collections.abc import Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.base import Event
from contracts.events.people_conflict_v1 import RecordErased
from contracts.events.people_record_v1 import FamilyChanged, MemberChanged
from contracts.values import MEMBER
from people_sync.config import Settings
from people_sync.storage.erased_tables import ErasedRecord, Erasure
from people_sync.storage.records import render_families, render_members
from people_sync.storage.sync_tables import Conflict, Joined
from people_sync.storage.tables import Family, Member
from people_sync.usecases.conflicts import told_again
from people_sync.usecases.publishing import family_removed, member_removed
from servicekit.kafka import republish as again
from servicekit.kafka.outbox import append_all
from synckit.among import among


async def republish(settings: Settings) -> None:
    """Publish all records. Removals include their tombstones, so that outdated copies delete the record."""
    pages: dict[str, again.Page] = {
        "members": partial(_page, Member, False),
        "families": partial(_page, Family, False),
        "removed_members": partial(_page, Member, True),
        "removed_families": partial(_page, Family, True),
        "conflicts": _conflicts,
        "erased_records": _erased,
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


async def _conflicts(session: AsyncSession, after: UUID | None) -> tuple[int, UUID | None]:
    query = select(Conflict)
    if after is not None:
        query = query.where(Conflict.id > after)
    rows = (await session.scalars(query.order_by(Conflict.id).limit(again.BATCH).with_for_update())).all()
    await append_all(session, [fact for row in rows for fact in told_again(row)])
    return len(rows), rows[-1].id if len(rows) == again.BATCH else None


async def _erased(session: AsyncSession, after: Any) -> tuple[int, Any]:
    position = (ErasedRecord.organization_id, ErasedRecord.record_id)
    query = select(ErasedRecord).where(ErasedRecord.told.is_(None))
    if after is not None:
        query = query.where(tuple_(*position) > after)
    rows = (await session.scalars(query.order_by(*position).limit(again.BATCH).with_for_update())).all()
    facts = []
    for row in rows:
        table: type[Member | Family] = Member if row.kind == MEMBER else Family
        record: Member | Family = await session.get_one(table, row.record_id)
        erasure = await session.get_one(Erasure, row.erasure_id)
        facts.append(
            RecordErased(
                organization_id=row.organization_id,
                version=record.version,
                record_id=str(row.record_id),
                record_kind=row.kind,
                erasure_id=str(row.erasure_id),
                erased_at=erasure.at,
            )
        )
    await append_all(session, facts)
    return len(rows), (rows[-1].organization_id, rows[-1].record_id) if len(rows) == again.BATCH else None


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
