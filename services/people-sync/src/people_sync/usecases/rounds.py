"""Periodic work."""

from people_sync.resources import Resources
from people_sync.usecases import decisions, gaps, held_bulk, runs
from servicekit.runtime import Runtime
from synckit.rounds import until_none
from synckit.runs import DUE_AT_ONCE


async def start_due(runtime: Runtime, _: Resources) -> None:
    """Start the due incremental runs."""
    await until_none(runtime.sessions, DUE_AT_ONCE, runs.start_due)


async def prove_due(runtime: Runtime, resources: Resources) -> None:
    """Start the due nightly comparisons."""
    await until_none(runtime.sessions, DUE_AT_ONCE, lambda session: runs.prove_due(session, resources.clock.now()))


async def close_gaps(runtime: Runtime, resources: Resources) -> None:
    """Read again what may have changed while notices were lost."""
    now, horizon = resources.clock.now(), resources.horizon
    await until_none(runtime.sessions, DUE_AT_ONCE, lambda session: gaps.close_due(session, now, horizon))


async def end_unanswered(runtime: Runtime, resources: Resources) -> None:
    """End plans that nobody answered within a day."""
    await until_none(runtime.sessions, DUE_AT_ONCE, lambda session: runs.end_unanswered(session, resources.clock.now()))


async def forget_answers(runtime: Runtime, resources: Resources) -> None:
    """Delete old bulk answers to held matches."""
    await held_bulk.forget_old(runtime.sessions, resources.clock.now())


async def queue_decisions(runtime: Runtime, resources: Resources) -> None:
    """Queue pending decisions without a refresh."""
    async with runtime.sessions.begin() as session:
        await decisions.queue_forgotten(session, resources.clock.now())
