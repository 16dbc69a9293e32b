"""Holds off an organization's workers, or its other bulk calls, during a transaction."""

from collections.abc import Collection
from typing import Final

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from servicekit.db.tables import JOB

_ONE_AT_A_TIME: Final = text("SELECT pg_advisory_xact_lock(hashtextextended(:organization, 7))")


async def one_at_a_time(session: AsyncSession, organization_id: str) -> None:
    """Hold off an organization's other bulk calls, and what else calls this, until the transaction ends.

    Otherwise each of two calls would not see the other's records.
    """
    await session.execute(_ONE_AT_A_TIME, {"organization": organization_id})


async def hold_jobs(session: AsyncSession, organization_id: str, kinds: Collection[str]) -> None:
    """Lock the organization's jobs of these kinds, so that no worker commits a step. Locked before the connection, as
    in a job's steps.
    """
    jobs_of = select(JOB.c.id).where(
        JOB.c.organization_id == organization_id, JOB.c.kind.in_(kinds), JOB.c.finished_at.is_(None)
    )
    await session.execute(jobs_of.order_by(JOB.c.id).with_for_update())
