"""Every change of an event: what, by whom and when."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.storage.tables import Effect, Event
from contracts.http.common import HistoryEntry, Page, PageQuery
from contracts.values import EVENT
from synckit.history import Actor, Noted, edits, effects_of, entry_of

CREATED: Final = "created"
"""Field of the first change of an event."""


async def note(
    session: AsyncSession, organization_id: str, actor: Actor, changes: Iterable[Noted], now: datetime
) -> None:
    """Write history rows, in one statement."""
    rows = [
        row | {"record_id": UUID(row["record_id"]), "at": now} for row in edits(organization_id, actor, changes, now)
    ]
    if rows:
        await session.execute(insert(Effect), rows)


async def of_event(session: AsyncSession, event: Event, query: PageQuery) -> Page[HistoryEntry]:
    """Newest first."""
    rows, following = await effects_of(session, Effect, event.organization_id, EVENT, [event.id], query)
    return Page[HistoryEntry](items=tuple(entry_of(row, can_undo=False) for row in rows), next=following)
