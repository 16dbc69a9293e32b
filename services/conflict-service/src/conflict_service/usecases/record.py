"""Taking people-sync's facts."""

from sqlalchemy.ext.asyncio import AsyncSession

from conflict_service.domain.conflict import Conflict, take
from conflict_service.storage import queries
from contracts.events.conflicts_conflict_v1 import ConflictClosed, ConflictOpened
from contracts.events.people_conflict_v1 import ConflictFact
from servicekit import outbox


async def record(session: AsyncSession, fact: ConflictFact) -> None:
    """Store what a fact changes, and announce it if somebody who follows conflicts has to hear of it."""
    await queries.lock(session, fact.organization_id, fact.conflict_id)
    change = take(await queries.find(session, fact.organization_id, fact.conflict_id), fact)
    if change is None:
        return
    await queries.save(session, fact.organization_id, fact.conflict_id, change.after)
    if change.announce:
        await _announce(session, fact.organization_id, fact.conflict_id, change.after)


async def _announce(session: AsyncSession, organization_id: str, conflict_id: str, conflict: Conflict) -> None:
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
    # The compacted topic holds the open conflicts; closed ones are this service's history.
    await outbox.append(session, closed, tombstone=True)
