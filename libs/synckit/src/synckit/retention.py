"""How long syncs are kept: what each did record by record, and their numbers."""

import time
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import exists, func, inspect, select, update
from sqlalchemy.orm import aliased

from servicekit.db.retention import forget
from servicekit.db.sessions import Sessions
from synckit.tables import ChangeColumns, RunColumns

_SECONDS: Final = 20.0
"""Of one round; what is left goes with the next."""


async def forget_lists(
    sessions: Sessions, runs: type[RunColumns], changes: type[ChangeColumns], before: datetime
) -> int:
    """Delete what syncs did that ended before then, run by run and in pieces. Returns how many records went.

    Their numbers stay, and so does whatever else the product keeps of its effects.
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
    """Delete the rows of syncs that ended before then; each organization's newest stays. Returns how many went."""
    table = inspect(runs).local_table
    newer = aliased(runs)
    followed = exists().where(newer.organization_id == table.c.organization_id, newer.created_at > table.c.created_at)
    long_ago = [table.c.lists_gone_at.is_not(None), table.c.finished_at < before, followed]
    return await forget(sessions, table, table.c.finished_at, long_ago)
