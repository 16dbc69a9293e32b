"""`python -m conflict_service republish`: all conflicts told again on conflicts.conflict.v1."""

from typing import Any

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from conflict_service.config import Settings
from conflict_service.storage.queries import value_of
from conflict_service.storage.tables import ConflictRow
from conflict_service.usecases.announce import fact_of
from servicekit.kafka import republish as again
from servicekit.kafka.outbox import append_all

_ID = (ConflictRow.organization_id, ConflictRow.id)


async def republish(settings: Settings) -> None:
    """Those that are over have their tombstones, so that a copy that kept one forgets it."""
    await again.republish(settings, open=_open, closed=_closed)


async def _open(session: AsyncSession, after: Any) -> tuple[int, Any]:
    return await _page(session, after, closed=False)


async def _closed(session: AsyncSession, after: Any) -> tuple[int, Any]:
    return await _page(session, after, closed=True)


async def _page(session: AsyncSession, after: Any, *, closed: bool) -> tuple[int, Any]:
    query = select(ConflictRow).where(ConflictRow.state != "open" if closed else ConflictRow.state == "open")
    if after is not None:
        query = query.where(tuple_(*_ID) > after)
    rows = (await session.scalars(query.order_by(*_ID).limit(again.BATCH).with_for_update())).all()
    facts = [fact_of(row.organization_id, row.id, value_of(row)) for row in rows]
    await append_all(session, facts, tombstone=closed)
    return len(rows), (rows[-1].organization_id, rows[-1].id) if len(rows) == again.BATCH else None
