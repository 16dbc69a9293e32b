"""Facts of conflicts.resolution.v1: decisions about conflicts, and erasures of conflicts."""

from sqlalchemy.ext.asyncio import AsyncSession

from contracts.events.conflicts_resolution_v1 import ConflictResolved, ConflictsErased
from people_sync.resources import Resources
from people_sync.usecases import receipts
from people_sync.usecases.decisions import take
from servicekit.kafka.subscriptions import subscribe


async def on_resolved(event: ConflictResolved, session: AsyncSession, resources: Resources) -> None:
    """Queue the decision for the record engine."""
    await take(session, event, resources.clock.now())


async def on_erased(event: ConflictsErased, session: AsyncSession, _: Resources) -> None:
    """Store the erasure in the receipt."""
    await receipts.told(session, event)


resolutions = subscribe(
    "conflicts.resolution.v1",
    group="people-sync.resolutions",
    handlers={ConflictResolved: on_resolved, ConflictsErased: on_erased},
    after_loss="python -m conflict_service republish, then python -m people_sync republish",
)
