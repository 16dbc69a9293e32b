"""Every change of an event: what, by whom and when."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.domain.taking_over import parts_of
from calendar_sync.storage.tables import Effect, Event
from contracts.http.common import HistoryEntry, Page, PageQuery
from contracts.values import EVENT
from synckit.history import EDIT, Actor, Noted, edits, effects_of, entry_of

CREATED: Final = "created"
"""Field of the first change of an event."""
LINKED_TO: Final = "linked_to"
"""Field of a link that was made or taken away: what it is linked to, or null."""
LINK: Final = "link"
POLL: Final = "poll"
"""Causes of an effect, beside those of synckit: what a link took over, and what a check did."""
THEIRS: Final = Actor("planning_center")
"""The author of what Planning Center overwrites."""


@dataclass(frozen=True, slots=True)
class Cause:
    """The cause of changes."""

    name: str = EDIT
    id: UUID | None = None


EDITED: Final = Cause()


async def note(
    session: AsyncSession,
    organization_id: str,
    actor: Actor,
    changes: Iterable[Noted],
    now: datetime,
    cause: Cause = EDITED,
) -> None:
    """Write history rows, in one statement."""
    own = {"at": now, "cause": cause.name, "cause_id": cause.id}
    rows = [row | {"record_id": UUID(row["record_id"])} | own for row in edits(organization_id, actor, changes, now)]
    if rows:
        await session.execute(insert(Effect), rows)


async def edited_since(session: AsyncSession, event: Event, at: datetime) -> list[str]:
    """The parts of an event, as in `domain.taking_over.KEPT`, that were changed here since an instant."""
    edits = select(Effect.field).where(
        Effect.organization_id == event.organization_id,
        Effect.kind == EVENT,
        Effect.record_id == event.id,
        Effect.at >= at,
    )
    return parts_of(await session.scalars(edits.distinct()))


async def of_event(session: AsyncSession, event: Event, query: PageQuery) -> Page[HistoryEntry]:
    """Newest first."""
    rows, following = await effects_of(session, Effect, event.organization_id, EVENT, [event.id], query)
    items = tuple(entry_of(row, can_undo=can_restore(event, row)) for row in rows)
    return Page[HistoryEntry](items=items, next=following)


def can_restore(event: Event, row: Effect) -> bool:
    """Whether what Planning Center overwrote in this row can be put back."""
    return event.deleted_at is None and row.by == THEIRS.by and row.field != LINKED_TO
