"""Periodic work."""

from people_sync.resources import Resources
from people_sync.storage.runs import RUNS
from people_sync.storage.sync_tables import Change, Run
from people_sync.usecases import decisions, held_bulk, runs
from people_sync.usecases.refreshes import REFRESHES
from servicekit.runtime import Runtime
from synckit import refreshes, retention
from synckit.rounds import until_none
from synckit.runs import ABANDONED_AT_ONCE, DUE_AT_ONCE, end_abandoned


async def start_due(runtime: Runtime, _: Resources) -> None:
    """Start the due incremental runs."""
    await until_none(runtime.sessions, DUE_AT_ONCE, runs.start_due)


async def prove_due(runtime: Runtime, resources: Resources) -> None:
    """Start the due nightly comparisons."""
    await until_none(runtime.sessions, DUE_AT_ONCE, lambda session: runs.prove_due(session, resources.clock.now()))


async def close_abandoned(runtime: Runtime, _: Resources) -> None:
    """End the runs whose job ended without ending them."""
    await until_none(runtime.sessions, ABANDONED_AT_ONCE, lambda session: end_abandoned(session, RUNS))


async def end_unanswered(runtime: Runtime, resources: Resources) -> None:
    """End plans that nobody answered within a day."""
    await until_none(runtime.sessions, DUE_AT_ONCE, lambda session: runs.end_unanswered(session, resources.clock.now()))


async def forget_refreshes(runtime: Runtime, resources: Resources) -> None:
    """Delete old refreshes."""
    await refreshes.forget_old(runtime.sessions, REFRESHES, resources.clock.now())


async def forget_answers(runtime: Runtime, resources: Resources) -> None:
    """Delete old bulk answers to held matches."""
    await held_bulk.forget_old(runtime.sessions, resources.clock.now())


async def forget_syncs(runtime: Runtime, resources: Resources) -> None:
    """Delete the lists of old runs, and even older runs."""
    await retention.forget_syncs(runtime.sessions, Run, Change, resources.settings, resources.clock.now())


async def queue_decisions(runtime: Runtime, resources: Resources) -> None:
    """Queue pending decisions without a refresh."""
    async with runtime.sessions.begin() as session:
        await decisions.queue_forgotten(session, resources.clock.now())


async def start_refreshes(runtime: Runtime, _: Resources) -> None:
    """Start jobs for due refreshes."""
    await until_none(runtime.sessions, refreshes.DUE_AT_ONCE, lambda session: refreshes.start_due(session, REFRESHES))
