"""What every phase of a run works with."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from pco_client.client import Observation, PlanningCenter
from people_sync.domain.merge import MergePolicy
from people_sync.domain.progress import Pace
from people_sync.resources import Resources
from people_sync.storage import runs
from people_sync.storage.tables import Link, Run
from servicekit.job_worker import JobContext


@dataclass(slots=True)
class Requests:
    """Counts the requests that a run sends to Planning Center."""

    sent: int = 0
    unwritten: int = 0

    def observe(self, _: Observation) -> None:
        """For `PlanningCenter(observer=...)`."""
        self.sent += 1
        self.unwritten += 1

    def take(self) -> int:
        """How many since the last call."""
        taken, self.unwritten = self.unwritten, 0
        return taken


@dataclass(slots=True)
class Work:
    """A run being carried out by this process."""

    job: JobContext
    resources: Resources
    pco: PlanningCenter
    requests: Requests
    run_id: UUID
    organization_id: str
    pco_organization_id: str
    kind: str
    country: str
    """The church's own, for phone numbers and addresses."""
    policy: MergePolicy
    threshold: tuple[int, int]
    """Percent and minimum of the linked records."""
    inactivate_deleted: bool
    since: datetime | None
    """An incremental run reads what changed since."""
    alone_since: datetime
    """Since when nothing is under way that another process, or an earlier run, had sent."""
    data: dict[str, Any] = field(default_factory=dict)
    """The checkpoint: what the phases have behind them."""

    @asynccontextmanager
    async def step(self, **progress: Any) -> AsyncIterator[AsyncSession]:
        """One transaction of a phase: its rows, the run's progress and the checkpoint are committed together.

        Raises LeaseLost if another worker has taken over, StopRequested (after the commit) if somebody pressed
        *Stop safely*.
        """
        async with self.job.sessions.begin() as session:
            # First of all: whoever has lost the job must not even wait for the rows it would lock.
            await self.job.verify(session)
            yield session
            requests = self.requests.take()
            self.data["waits"] = 0
            await runs.change(session, self.run_id, requests=Run.requests + requests, **progress)
            await self.job.checkpoint(session, self.data)
        self.job.stop_if_requested()

    async def advance(self, session: AsyncSession, more: int) -> None:
        """Count records as done in the run's row, within the step that did them."""
        run = await session.get_one(Run, self.run_id)
        run.done += more

    async def pacer_state(self) -> Pace | None:
        """What the vendor's headers said last; None before the first answer."""
        if self.requests.sent == 0:
            return None
        state = (await self.pco.pacer()).state()
        if state.limit is None or state.period is None:
            return None
        return Pace(state.limit, state.period, state.seconds_until_next_slot)

    def written_at(self, link: Link) -> datetime | None:
        """When a write of ours to this record had left at the latest.

        One whose answer was never stored may have waited for its turn long after it was announced, until whoever sent
        it had ended.
        """
        if link.written_at is None or link.written_after is None:
            return link.written_at
        return max(link.written_at, self.alone_since)

    @property
    def owner(self) -> dict[str, str]:
        """Whose rows these are."""
        return {"organization_id": self.organization_id, "pco_organization_id": self.pco_organization_id}
