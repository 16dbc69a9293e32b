"""Holds off an organization's workers during a transaction."""

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from servicekit.db.tables import JOB


async def hold_jobs(session: AsyncSession, organization_id: str, kinds: Collection[str]) -> None:
    """Lock the organization's jobs of these kinds, so that no worker commits a step. Locked before the connection, as
    in a job's steps.
    """
    jobs_of = select(JOB.c.id).where(
        JOB.c.organization_id == organization_id, JOB.c.kind.in_(kinds), JOB.c.finished_at.is_(None)
    )
    await session.execute(jobs_of.order_by(JOB.c.id).with_for_update())
