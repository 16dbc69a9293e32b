"""What comes round by itself."""

from datetime import timedelta

import structlog

from people_sync.resources import Resources
from people_sync.storage.runs import RUNS
from people_sync.storage.sync_tables import Change, Run
from people_sync.usecases import decisions, held_bulk, runs
from people_sync.usecases.refreshes import REFRESHES
from servicekit.runtime import Runtime
from synckit import refreshes
from synckit.retention import forget_lists, forget_runs
from synckit.rounds import until_none
from synckit.runs import ABANDONED_AT_ONCE, DUE_AT_ONCE, end_abandoned

log = structlog.get_logger(__name__)


async def start_due(runtime: Runtime, _: Resources) -> None:
    """Start the incremental runs whose time has come."""
    await until_none(runtime.sessions, DUE_AT_ONCE, runs.start_due)


async def prove_due(runtime: Runtime, resources: Resources) -> None:
    """Start the nightly comparisons whose time has come."""
    await until_none(runtime.sessions, DUE_AT_ONCE, lambda session: runs.prove_due(session, resources.clock.now()))


async def close_abandoned(runtime: Runtime, _: Resources) -> None:
    """End the runs whose job ended without them."""
    await until_none(runtime.sessions, ABANDONED_AT_ONCE, lambda session: end_abandoned(session, RUNS))


async def end_unanswered(runtime: Runtime, resources: Resources) -> None:
    """End plans that nobody has answered for a day."""
    await until_none(runtime.sessions, DUE_AT_ONCE, lambda session: runs.end_unanswered(session, resources.clock.now()))


async def forget_refreshes(runtime: Runtime, resources: Resources) -> None:
    """Let go of syncs of one record whose end need not be read any more."""
    await refreshes.forget_old(runtime.sessions, REFRESHES, resources.clock.now())


async def forget_answers(runtime: Runtime, resources: Resources) -> None:
    """Let go of bulk answers to held matches that were shown or given long ago."""
    await held_bulk.forget_old(runtime.sessions, resources.clock.now())


async def forget_syncs(runtime: Runtime, resources: Resources) -> None:
    """Let go of what syncs of long ago did, and of those of longer ago altogether."""
    now, settings = resources.clock.now(), resources.settings
    lists = await forget_lists(runtime.sessions, Run, Change, now - timedelta(days=settings.change_kept_days))
    syncs = await forget_runs(runtime.sessions, Run, now - timedelta(days=settings.run_kept_days))
    if lists or syncs:
        log.info("old syncs forgotten", records=lists, runs=syncs)


async def queue_decisions(runtime: Runtime, resources: Resources) -> None:
    """Queue decisions that nobody is at work on."""
    async with runtime.sessions.begin() as session:
        await decisions.queue_forgotten(session, resources.clock.now())


async def start_refreshes(runtime: Runtime, _: Resources) -> None:
    """Begin jobs for records to look at again whose time has come."""
    await until_none(runtime.sessions, refreshes.DUE_AT_ONCE, lambda session: refreshes.start_due(session, REFRESHES))
