"""`python -m calendar_sync republish`: all events and all removals, told again on calendar.event.v1 from the tables."""

from functools import partial
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.config import Settings
from calendar_sync.storage.events import occurrences_of
from calendar_sync.storage.links import links_of
from calendar_sync.storage.tables import Event
from calendar_sync.usecases.publishing import event_changed, event_removed
from servicekit.kafka import republish as again
from servicekit.kafka.outbox import append_all

AT_ONCE: Final = 50
"""Events of one transaction, each with up to a thousand occurrences."""


async def republish(settings: Settings) -> None:
    """Removals have their tombstones, so that a copy that kept an event forgets it."""
    await again.republish(settings, events=partial(_page, False), removed_events=partial(_page, True))


async def _page(removed: bool, session: AsyncSession, after: UUID | None) -> tuple[int, UUID | None]:
    query = select(Event).where(Event.deleted_at.is_not(None) if removed else Event.deleted_at.is_(None))
    if after is not None:
        query = query.where(Event.id > after)
    rows = (await session.scalars(query.order_by(Event.id).limit(AT_ONCE).with_for_update())).all()
    if removed:
        await append_all(session, [event_removed(row, row.updated_at) for row in rows], tombstone=True)
    else:
        those = {
            event_id: found
            for organization_id in {row.organization_id for row in rows}
            for event_id, found in (
                await occurrences_of(session, [row for row in rows if row.organization_id == organization_id])
            ).items()
        }
        links = await links_of(session, rows)
        facts = [event_changed(row, those[row.id], links.get(row.id), row.updated_at) for row in rows]
        await append_all(session, facts)
    return len(rows), rows[-1].id if len(rows) == AT_ONCE else None
