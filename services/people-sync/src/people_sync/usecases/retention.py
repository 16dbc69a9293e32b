"""How long syncs are kept: what each did record by record, and their numbers."""

import time
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import exists, func, select, update
from sqlalchemy.orm import aliased

from people_sync.storage.sync_tables import Change, Run
from servicekit.db.retention import forget
from servicekit.db.sessions import Sessions

_SECONDS: Final = 20.0
"""Of one round; what is left goes with the next."""


async def forget_lists(sessions: Sessions, before: datetime) -> int:
    """Delete what syncs did that ended before then, run by run and in pieces. Returns how many records went.

    Their numbers stay, and so do the effects: the history of every record, and what can be undone.
    """
    began, count = time.monotonic(), 0
    while (left := began + _SECONDS - time.monotonic()) > 0:
        async with sessions() as session:
            oldest = select(Run.id).where(Run.lists_gone_at.is_(None), Run.finished_at < before)
            run_id: UUID | None = await session.scalar(oldest.order_by(Run.finished_at).limit(1))
        if run_id is None:
            break
        changes = Change.__table__
        count += await forget(sessions, changes, changes.c.id, [changes.c.run_id == run_id], seconds=left)
        async with sessions.begin() as session:
            none_left = ~exists().where(Change.run_id == run_id)
            await session.execute(update(Run).where(Run.id == run_id, none_left).values(lists_gone_at=func.now()))
    return count


async def forget_runs(sessions: Sessions, before: datetime) -> int:
    """Delete the rows of syncs that ended before then; each organization's newest stays. Returns how many went."""
    runs = Run.__table__
    newer = aliased(Run)
    followed = exists().where(newer.organization_id == runs.c.organization_id, newer.created_at > runs.c.created_at)
    return await forget(
        sessions, runs, runs.c.finished_at, [runs.c.lists_gone_at.is_not(None), runs.c.finished_at < before, followed]
    )
