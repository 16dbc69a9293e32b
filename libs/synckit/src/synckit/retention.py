"""Retention of syncs: first of their lists of records, later of their numbers."""

import time
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy import exists, func, inspect, select, update
from sqlalchemy.orm import aliased

from servicekit.db.retention import forget
from servicekit.db.sessions import Sessions
from synckit.settings import SyncSettings
from synckit.tables import ChangeColumns, RunColumns

_SECONDS: Final = 20.0
"""Time limit of one round; the next one deletes the rest."""

log = structlog.get_logger(__name__)


async def forget_syncs(
    sessions: Sessions, runs: type[RunColumns], changes: type[ChangeColumns], settings: SyncSettings, now: datetime
) -> None:
    """Delete the lists of old runs, and even older runs."""
    lists = await forget_lists(sessions, runs, changes, now - timedelta(days=settings.change_kept_days))
    syncs = await forget_runs(sessions, runs, now - timedelta(days=settings.run_kept_days))
    if lists or syncs:
        log.info("old runs deleted", records=lists, runs=syncs)


async def forget_lists(
    sessions: Sessions, runs: type[RunColumns], changes: type[ChangeColumns], before: datetime
) -> int:
    """Delete the changes of runs that ended before `before`, run by run and in batches. Returns the number of deleted
    rows.

    The runs' numbers stay, and so do the effects that the product stores.
    """
    began, count = time.monotonic(), 0
    table = inspect(changes).local_table
    while (left := began + _SECONDS - time.monotonic()) > 0:
        async with sessions() as session:
            oldest = select(runs.id).where(runs.lists_gone_at.is_(None), runs.finished_at < before)
            run_id: UUID | None = await session.scalar(oldest.order_by(runs.finished_at).limit(1))
        if run_id is None:
            break
        count += await forget(sessions, table, table.c.id, [table.c.run_id == run_id], seconds=left)
        async with sessions.begin() as session:
            none_left = ~exists().where(changes.run_id == run_id)
            await session.execute(update(runs).where(runs.id == run_id, none_left).values(lists_gone_at=func.now()))
    return count


async def forget_runs(sessions: Sessions, runs: type[RunColumns], before: datetime) -> int:
    """Delete runs that ended before `before`, except each organization's newest. Returns the number of deleted rows."""
    table = inspect(runs).local_table
    newer = aliased(runs)
    followed = exists().where(newer.organization_id == table.c.organization_id, newer.created_at > table.c.created_at)
    long_ago = [table.c.lists_gone_at.is_not(None), table.c.finished_at < before, followed]
    return await forget(sessions, table, table.c.finished_at, long_ago)
