"""Telling those who follow conflicts."""

from sqlalchemy.ext.asyncio import AsyncSession

from conflict_service.domain.conflict import Conflict
from contracts.events.conflicts_conflict_v1 import ConflictClosed, ConflictOpened
from servicekit import outbox


async def announce(session: AsyncSession, organization_id: str, conflict_id: str, conflict: Conflict) -> None:
    """Tell that a conflict waits for a person, or no longer does."""
    if conflict.state == "open":
        opened = ConflictOpened(
            organization_id=organization_id,
            version=conflict.version,
            conflict_id=conflict_id,
            record=conflict.record,
            occurred_at=conflict.updated_at,
            fields=tuple(field.field for field in conflict.fields),
        )
        await outbox.append(session, opened)
        return
    closed = ConflictClosed(
        organization_id=organization_id,
        version=conflict.version,
        conflict_id=conflict_id,
        record=conflict.record,
        occurred_at=conflict.updated_at,
        outcome=conflict.state,
    )
    # The compacted topic holds the open conflicts; the others are this service's history.
    await outbox.append(session, closed, tombstone=True)
