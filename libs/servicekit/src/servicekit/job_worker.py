"""The side of `servicekit.jobs` that does the work: claims, renews, checkpoints, ends."""

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import structlog
from sqlalchemy import Row, case, func, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from servicekit.context import flow
from servicekit.db import Sessions
from servicekit.errors import PermanentError, is_transient
from servicekit.jobs import LeaseLost, Run, State, StopRequested
from servicekit.notify import Wake
from servicekit.tables import JOB
from servicekit.telemetry import METRICS

LEASE_SECONDS = 15.0
MOST_ATTEMPTS = 5
LONGEST_DELAY_SECONDS = 300

log = structlog.get_logger(__name__)
_now = func.clock_timestamp()


def _in(seconds: float) -> Any:
    return func.clock_timestamp() + text(f"interval '{seconds:.3f} seconds'")


@dataclass(frozen=True, slots=True)
class JobWorker:
    """`run` for jobs of `kind`, up to `concurrency` at a time in each process, one per organization anywhere."""

    kind: str
    run: Run
    concurrency: int = 1
    lease_seconds: float = LEASE_SECONDS


@dataclass(slots=True)
class JobContext:
    """A claimed job, as its `run` sees it."""

    id: UUID
    kind: str
    organization_id: str
    payload: dict[str, Any]
    data: dict[str, Any] | None
    """The last checkpoint; None at the very beginning."""
    fence: int
    """Grows with every claim. Goes into rows that only this claim may write."""
    sessions: Sessions
    """`async with job.sessions.begin() as session:` is one step; end it with `await job.checkpoint(session, data)`."""
    lease_seconds: float
    stop_requested: bool = False
    """Somebody pressed *Stop safely*; at most a third of a lease old."""
    _deadline: float = field(default=0.0, repr=False)
    _over: bool = field(default=False, repr=False)

    async def checkpoint(self, session: AsyncSession, data: dict[str, Any]) -> None:
        """Store where to continue, in the transaction that did the work. LeaseLost if another has claimed the job.

        Only a checkpoint that is another than the last counts as progress: a job that breaks at one place is tried a
        few times, also if it does something again on the way there.
        """
        moved = JOB.c.checkpoint.is_distinct_from(data)
        row = await self._update(session, checkpoint=data, attempts=case((moved, 0), else_=JOB.c.attempts), error=None)
        self.data = data
        self.stop_requested = row.stop_requested

    async def verify(self, session: AsyncSession) -> None:
        """Hold the job's row for this transaction, for writes without a checkpoint. LeaseLost as there."""
        self.stop_requested = (await self._update(session)).stop_requested

    async def wait(self, session: AsyncSession, data: dict[str, Any], *, until: datetime | None = None) -> None:
        """Give the job back until `until`, or until `jobs.resume` if None; then return from `run`."""
        await self._update(
            session, state="waiting", run_after=until, checkpoint=data, lease_owner=None, lease_until=None, attempts=0
        )
        self._over = True

    async def finish(self, session: AsyncSession, state: State = "done", error: str | None = None) -> None:
        """End the job in the transaction that ends its work; then return from `run`."""
        await self._update(session, state=state, error=error, finished_at=_now, lease_owner=None, lease_until=None)
        self._over = True

    def lease_left(self) -> float:
        """Seconds for which nobody else can have this job; 0 or less when that is over. Costs nothing."""
        return self._deadline - time.monotonic()

    def check(self, seconds: float = 0.0) -> None:
        """Guard before a request to the vendor that may take `seconds`: LeaseLost unless the lease lasts longer."""
        if self.lease_left() <= seconds:
            raise LeaseLost(f"job {self.id}: the lease has {self.lease_left():.1f} s left")

    def stop_if_requested(self) -> None:
        """StopRequested if somebody pressed *Stop safely*. Call it between steps."""
        if self.stop_requested:
            raise StopRequested

    @property
    def over(self) -> bool:
        """Whether `wait` or `finish` has been called: the lease is given up."""
        return self._over

    async def _update(self, session: AsyncSession, **values: Any) -> Row[Any]:
        row: Row[Any] | None = (
            await session.execute(
                update(JOB)
                .where(JOB.c.id == self.id, JOB.c.fence == self.fence, JOB.c.state == "running")
                .values(updated_at=_now, **values)
                .returning(JOB.c.stop_requested)
            )
        ).one_or_none()
        if row is None:
            raise LeaseLost(f"job {self.id}: fence {self.fence} is not the present one")
        return row

    async def renew(self) -> None:
        """Make the lease whole again. LeaseLost if another has claimed the job."""
        asked = time.monotonic()  # before the database's clock is read: our view of the lease ends first
        async with self.sessions.begin() as session:
            row = await self._update(session, lease_until=_in(self.lease_seconds))
        self._deadline = asked + self.lease_seconds
        self.stop_requested = row.stop_requested

    async def keep(self, beat: Callable[[], None]) -> None:
        """Renew until cancelled. LeaseLost when the job is another's or the lease has run out."""
        while True:
            beat()
            await asyncio.sleep(self.lease_seconds / 3)
            try:
                await self.renew()
            except LeaseLost:
                if self.over:  # given up by the job itself, as `wait` and `finish` do
                    return
                raise
            except Exception as error:
                log.warning("lease not renewed", job=str(self.id), left=round(self.lease_left(), 1), exc_info=error)
                self.check()


class Claimer:
    """Claims and runs one job at a time; a process has `concurrency` of them per worker."""

    def __init__(
        self, worker: JobWorker, sessions: Sessions, resources: Any, wake: Wake, beat: Callable[[], None]
    ) -> None:
        self._worker = worker
        self._sessions = sessions
        self._resources = resources
        self._wake = wake
        self._beat = beat
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"

    async def step(self) -> None:
        """Run one job if there is one, else sleep until the doorbell rings or a second has passed."""
        self._wake.clear()
        job = await self._claim()
        if job is None:
            await self._wake.wait(1.0)
        else:
            await self._work(job)

    async def _claim(self) -> JobContext | None:
        """The job whose organization has waited longest: queued, due again, or left behind by a dead worker."""
        asked = time.monotonic()
        due = or_(
            (JOB.c.state.in_(["queued", "waiting"])) & (JOB.c.run_after <= _now),
            (JOB.c.state == "running") & (JOB.c.lease_until < _now),
        )
        candidate = (
            select(JOB.c.id)
            .where(JOB.c.kind == self._worker.kind, due)
            .order_by(JOB.c.updated_at)
            .limit(1)
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )
        async with self._sessions.begin() as session:
            row = (
                await session.execute(
                    update(JOB)
                    .where(JOB.c.id == candidate)
                    .values(
                        state="running",
                        lease_owner=self._owner,
                        lease_until=_in(self._worker.lease_seconds),
                        fence=JOB.c.fence + 1,
                        attempts=JOB.c.attempts + 1,
                        updated_at=_now,
                    )
                    .returning(*JOB.c)
                )
            ).one_or_none()
        if row is None:
            return None
        self._attempts, self._correlation_id = row.attempts, row.correlation_id
        return JobContext(
            id=row.id,
            kind=row.kind,
            organization_id=row.organization_id,
            payload=row.payload,
            data=row.checkpoint,
            fence=row.fence,
            sessions=self._sessions,
            lease_seconds=self._worker.lease_seconds,
            stop_requested=row.stop_requested,
            _deadline=asked + self._worker.lease_seconds,
        )

    async def _work(self, job: JobContext) -> None:
        with flow(self._correlation_id, str(job.id)):
            log.info("job claimed", job=str(job.id), kind=job.kind, fence=job.fence, attempt=self._attempts)
            outcome = await self._outcome(job)
            log.info("job left", job=str(job.id), kind=job.kind, outcome=outcome)
        METRICS.jobs_total.labels(job.kind, outcome).inc()

    async def _outcome(self, job: JobContext) -> str:
        """Run the job beside its lease; whichever ends first decides."""
        run = asyncio.ensure_future(self._worker.run(job, self._resources))
        keep = asyncio.create_task(job.keep(self._beat))
        try:
            await asyncio.wait({run, keep}, return_when=asyncio.FIRST_COMPLETED)
            if not run.done() and keep.exception():
                raise LeaseLost(f"job {job.id}") from keep.exception()
            await run
            return await self._end(job, "done")
        except LeaseLost as error:
            log.warning("lease lost", job=str(job.id), exc_info=error)
            return "lease_lost"
        except StopRequested:
            return await self._end(job, "cancelled")
        except asyncio.CancelledError:
            await _cancelled(run)
            await self._retry(job, 0)
            METRICS.jobs_total.labels(job.kind, "released").inc()
            raise
        except Exception as error:  # noqa: BLE001 - every failure of a job ends in its row
            return await self._failure(job, error)
        finally:
            await _cancelled(run)
            await _cancelled(keep)

    async def _failure(self, job: JobContext, error: Exception) -> str:
        log.error("job broke", job=str(job.id), kind=job.kind, exc_info=error)
        if isinstance(error, PermanentError):
            return await self._end(job, "failed", str(error))
        if is_transient(error) or self._attempts < MOST_ATTEMPTS:
            delay = min(2**self._attempts, LONGEST_DELAY_SECONDS)
            return await self._retry(job, delay, type(error).__name__)
        return await self._end(
            job, "failed", f"An unexpected error ({type(error).__name__}) came {self._attempts} times."
        )

    async def _end(self, job: JobContext, state: State, error: str | None = None) -> str:
        if job.over:
            return "over"
        return await self._write(lambda session: job.finish(session, state, error), state)

    async def _retry(self, job: JobContext, delay: float, error: str | None = None) -> str:
        async def give_back(session: AsyncSession) -> None:
            await job._update(  # noqa: SLF001
                session, state="queued", run_after=_in(delay), lease_owner=None, lease_until=None, error=error
            )

        return await self._write(give_back, "retried")

    async def _write(self, change: Callable[[AsyncSession], Awaitable[None]], outcome: str) -> str:
        try:
            async with self._sessions.begin() as session:
                await change(session)
        except LeaseLost as error:
            log.warning("lease lost", exc_info=error)
            return "lease_lost"
        return outcome


async def _cancelled(task: asyncio.Future[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
