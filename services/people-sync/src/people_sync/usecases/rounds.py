"""What comes round by itself."""

from people_sync.domain.sentences import UNDO_EXPIRED
from people_sync.resources import Resources
from people_sync.storage.runs import UNDO
from people_sync.usecases import decisions, held_bulk, refreshes, runs
from servicekit.runtime import Runtime


async def start_due(runtime: Runtime, _: Resources) -> None:
    """Start the incremental runs whose time has come."""
    async with runtime.sessions.begin() as session:
        await runs.start_due(session)


async def close_abandoned(runtime: Runtime, _: Resources) -> None:
    """End the runs whose job ended without them."""
    async with runtime.sessions.begin() as session:
        await runs.close_abandoned(session)


async def end_plans(runtime: Runtime, _: Resources) -> None:
    """End what waits for an approval that does not come."""
    async with runtime.sessions.begin() as session:
        await runs.end_unanswered(session, UNDO, UNDO_EXPIRED)


async def forget_refreshes(runtime: Runtime, resources: Resources) -> None:
    """Let go of syncs of one record whose end need not be read any more."""
    async with runtime.sessions.begin() as session:
        await refreshes.forget_old(session, resources.clock.now())


async def forget_answers(runtime: Runtime, resources: Resources) -> None:
    """Let go of answers to many held matches that were shown or given long ago."""
    async with runtime.sessions.begin() as session:
        await held_bulk.forget_old(session, resources.clock.now())


async def queue_decisions(runtime: Runtime, resources: Resources) -> None:
    """Queue decisions that nobody is at work on."""
    async with runtime.sessions.begin() as session:
        await decisions.queue_forgotten(session, resources.clock.now())


async def start_refreshes(runtime: Runtime, _: Resources) -> None:
    """Begin jobs for records to look at again whose time has come."""
    async with runtime.sessions.begin() as session:
        await refreshes.start_due(session)
