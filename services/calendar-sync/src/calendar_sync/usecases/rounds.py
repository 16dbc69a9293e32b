"""Periodic work."""

from calendar_sync.resources import Resources
from calendar_sync.usecases import gaps, polling
from servicekit.runtime import Runtime
from synckit.rounds import until_none
from synckit.runs import DUE_AT_ONCE


async def start_checks(runtime: Runtime, resources: Resources) -> None:
    """Queue the due checks of linked events."""
    await until_none(runtime.sessions, DUE_AT_ONCE, lambda session: polling.start_due(session, resources.clock.now()))


async def close_gaps(runtime: Runtime, resources: Resources) -> None:
    """Check again what may have changed while notices were lost."""
    now, horizon = resources.clock.now(), resources.horizon
    await until_none(runtime.sessions, DUE_AT_ONCE, lambda session: gaps.close_due(session, now, horizon))
