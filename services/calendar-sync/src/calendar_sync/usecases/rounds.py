"""Periodic work."""

from calendar_sync.resources import Resources
from calendar_sync.storage.runs import RUNS
from calendar_sync.storage.tables import Change, Run
from calendar_sync.usecases import polling
from calendar_sync.usecases.refreshes import REFRESHES
from servicekit.runtime import Runtime
from synckit import refreshes, retention
from synckit.rounds import until_none
from synckit.runs import ABANDONED_AT_ONCE, DUE_AT_ONCE, end_abandoned


async def start_checks(runtime: Runtime, resources: Resources) -> None:
    """Queue the due checks of linked events."""
    await until_none(runtime.sessions, DUE_AT_ONCE, lambda session: polling.start_due(session, resources.clock.now()))


async def start_refreshes(runtime: Runtime, _: Resources) -> None:
    """Start jobs for due syncs of single events."""
    await until_none(runtime.sessions, refreshes.DUE_AT_ONCE, lambda session: refreshes.start_due(session, REFRESHES))


async def close_abandoned(runtime: Runtime, _: Resources) -> None:
    """End the runs whose job ended without ending them."""
    await until_none(runtime.sessions, ABANDONED_AT_ONCE, lambda session: end_abandoned(session, RUNS))


async def forget_refreshes(runtime: Runtime, resources: Resources) -> None:
    """Delete old syncs of single events."""
    await refreshes.forget_old(runtime.sessions, REFRESHES, resources.clock.now())


async def forget_syncs(runtime: Runtime, resources: Resources) -> None:
    """Delete the lists of old runs, and even older runs."""
    await retention.forget_syncs(runtime.sessions, Run, Change, resources.settings, resources.clock.now())
