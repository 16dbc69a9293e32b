"""Holds off an organization's workers during a transaction."""

from sqlalchemy.ext.asyncio import AsyncSession

from people_sync.storage.runs import RUNS
from people_sync.usecases import held_bulk
from people_sync.usecases.refreshes import REFRESHES
from synckit import standstill

_KINDS = (RUNS.job, REFRESHES.job, held_bulk.KIND)


async def hold_jobs(session: AsyncSession, organization_id: str) -> None:
    """Lock the organization's jobs, as `synckit.standstill`."""
    await standstill.hold_jobs(session, organization_id, _KINDS)
