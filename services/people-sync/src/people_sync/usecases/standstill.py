"""Holds off an organization's workers during a transaction."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from people_sync.storage.runs import RUNS
from people_sync.usecases import held_bulk
from people_sync.usecases.refreshes import REFRESHES
from servicekit.db.tables import JOB

_KINDS = (RUNS.job, REFRESHES.job, held_bulk.KIND)


async def hold_jobs(session: AsyncSession, organization_id: str) -> None:
    """Lock the organization's jobs, so that no worker commits a step. Locked before the connection, as in a job's
    steps.
    """
    jobs_of = select(JOB.c.id).where(
        JOB.c.organization_id == organization_id, JOB.c.kind.in_(_KINDS), JOB.c.finished_at.is_(None)
    )
    await session.execute(jobs_of.order_by(JOB.c.id).with_for_update())
