"""people.conflict.v1: conflicts as people-sync finds, closes and settles them."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from conflict_service.domain.conflict import STATE_AFTER
from conflict_service.resources import Resources
from conflict_service.usecases.erase import erase
from conflict_service.usecases.record import record
from contracts.events.people_conflict_v1 import ConflictFact, RecordErased
from servicekit.kafka.subscriptions import Fact, Together, subscribe


async def on_facts(facts: Sequence[Fact[ConflictFact]], session: AsyncSession, resources: Resources) -> None:
    """Store facts about conflicts."""
    await record(session, facts, resources.clock.now())


async def on_erased(event: RecordErased, session: AsyncSession, resources: Resources) -> None:
    """Erase the record."""
    await erase(session, event, resources.clock.now())


conflicts = subscribe(
    "people.conflict.v1",
    group="conflict-service.conflicts",
    handlers={**dict.fromkeys(STATE_AFTER, Together(on_facts)), RecordErased: on_erased},
    after_loss="python -m people_sync republish",
)
