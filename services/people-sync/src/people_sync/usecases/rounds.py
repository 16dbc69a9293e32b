"""What comes round by itself. A round goes on until nothing is due, a few organizations in each transaction."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from people_sync.resources import Resources
from people_sync.usecases import decisions, held_bulk, retention, runs
from people_sync.usecases.refreshes import REFRESHES
from servicekit.runtime import Runtime
from synckit import refreshes

log = structlog.get_logger(__name__)


async def start_due(runtime: Runtime, _: Resources) -> None:
    """Start the incremental runs whose time has come."""
    await _all(runtime, runs.DUE_AT_ONCE, runs.start_due)


async def prove_due(runtime: Runtime, resources: Resources) -> None:
    """Start the nightly comparisons whose time has come."""
    await _all(runtime, runs.DUE_AT_ONCE, lambda session: runs.prove_due(session, resources.clock.now()))


async def close_abandoned(runtime: Runtime, _: Resources) -> None:
    """End the runs whose job ended without them."""
    await _all(runtime, runs.ABANDONED_AT_ONCE, runs.close_abandoned)


async def end_unanswered(runtime: Runtime, resources: Resources) -> None:
    """End plans that nobody has answered for a day."""
    await _all(runtime, runs.DUE_AT_ONCE, lambda session: runs.end_unanswered(session, resources.clock.now()))


async def forget_refreshes(runtime: Runtime, resources: Resources) -> None:
    """Let go of syncs of one record whose end need not be read any more."""
    await refreshes.forget_old(runtime.sessions, REFRESHES, resources.clock.now())


async def forget_answers(runtime: Runtime, resources: Resources) -> None:
    """Let go of answers to many held matches that were shown or given long ago."""
    await held_bulk.forget_old(runtime.sessions, resources.clock.now())


async def forget_syncs(runtime: Runtime, resources: Resources) -> None:
    """Let go of what syncs of long ago did, and of those of longer ago altogether."""
    now, settings = resources.clock.now(), resources.settings
    lists = await retention.forget_lists(runtime.sessions, now - timedelta(days=settings.change_kept_days))
    syncs = await retention.forget_runs(runtime.sessions, now - timedelta(days=settings.run_kept_days))
    if lists or syncs:
        log.info("old syncs forgotten", records=lists, runs=syncs)


async def queue_decisions(runtime: Runtime, resources: Resources) -> None:
    """Queue decisions that nobody is at work on."""
    async with runtime.sessions.begin() as session:
        await decisions.queue_forgotten(session, resources.clock.now())


async def start_refreshes(runtime: Runtime, _: Resources) -> None:
    """Begin jobs for records to look at again whose time has come."""
    await _all(runtime, refreshes.DUE_AT_ONCE, lambda session: refreshes.start_due(session, REFRESHES))


async def _all(runtime: Runtime, at_once: int, some: Callable[[AsyncSession], Awaitable[int]]) -> None:
    """`some` works off what is due, up to `at_once`, and returns how much it found."""
    found = at_once
    while found >= at_once:
        async with runtime.sessions.begin() as session:
            found = await some(session)
