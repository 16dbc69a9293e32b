"""Announcements on conflicts.conflict.v1."""

from sqlalchemy.ext.asyncio import AsyncSession

from conflict_service.domain.conflict import Conflict
from contracts.events.conflicts_conflict_v1 import ConflictClosed, ConflictOpened
from servicekit.kafka import outbox


async def announce(session: AsyncSession, organization_id: str, conflict_id: str, conflict: Conflict) -> None:
    """Announce that a conflict waits for a person, or no longer does."""
    await outbox.append_outgoing(session, announcement(session, organization_id, conflict_id, conflict))


def announcement(
    session: AsyncSession, organization_id: str, conflict_id: str, conflict: Conflict
) -> list[outbox.Outgoing]:
    """What `announce` tells, in the flow that is bound now."""
    # The compacted topic holds only open conflicts; closed ones are this service's history.
    fact = fact_of(organization_id, conflict_id, conflict)
    return outbox.outgoing(session, fact, tombstone=conflict.state != "open")


def fact_of(organization_id: str, conflict_id: str, conflict: Conflict) -> ConflictOpened | ConflictClosed:
    """The fact of a conflict's state; unless open, a tombstone must follow."""
    if conflict.state == "open":
        return ConflictOpened(
            organization_id=organization_id,
            version=conflict.version,
            conflict_id=conflict_id,
            record=conflict.record,
            occurred_at=conflict.updated_at,
            fields=tuple(field.field for field in conflict.fields),
        )
    return ConflictClosed(
        organization_id=organization_id,
        version=conflict.version,
        conflict_id=conflict_id,
        record=conflict.record,
        occurred_at=conflict.updated_at,
        outcome=conflict.state,
    )
