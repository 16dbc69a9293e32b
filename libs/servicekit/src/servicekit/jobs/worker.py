"""Workers for `servicekit.jobs.queue`: they claim jobs, renew leases, store checkpoints and end jobs.

Jobs take turns in the slots. A job keeps its slot while no other job waits. Once it has had the slot for `turn_seconds`
and another job of its kind is due, it leaves between two steps, goes to the end of the queue and later continues at its
checkpoint. So no short job waits for long ones to end.

Schedules can queue thousands of jobs. A job that somebody waits for at a screen (`urgent`) is claimed first and has
slots of its own, so it begins at once. Urgent jobs do not starve the others: a slot whose urgent job gave way next
takes a job that is not urgent.
"""

import asyncio
import math
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import structlog
from sqlalchemy import (
    ColumnElement,
    Row,
    ScalarSelect,
    Select,
    and_,
    bindparam,
    case,
    exists,
    func,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from servicekit.clock import elapsed
from servicekit.context import flow
from servicekit.db.notify import Wake
from servicekit.db.sessions import Sessions
from servicekit.db.tables import DUE_AT, JOB
from servicekit.errors import PermanentError, is_transient
from servicekit.jobs.queue import LeaseLost, Run, State, StopRequested, TurnOver, ring
from servicekit.telemetry import METRICS

LEASE_SECONDS = 15.0
TURN_SECONDS = 30.0
POLL_SECONDS = 1.0
SETTLE_SECONDS = 10.0
"""Time for requests that are under way when the lease is lost, before they are cancelled."""
MOST_ATTEMPTS = 5
MOST_TRANSIENT_ATTEMPTS = 20
"""Transient failures in a row without progress, over more than an hour. Attempts are counted in PostgreSQL, so none is
counted while it is away. A job that fails this often causes the error itself, such as a transaction that PostgreSQL
always ends.
"""
LONGEST_DELAY_SECONDS = 300
GAVE_WAY = "gave_way"

log = structlog.get_logger(__name__)
_now = func.clock_timestamp()
_OPEN = text("state IN ('queued', 'running', 'waiting')")
"""The exact condition of the partial index."""

_HELD = (
    select(JOB.c.stop_requested)
    .where(JOB.c.id == bindparam("held_id"), JOB.c.fence == bindparam("held_fence"), JOB.c.state == "running")
    .with_for_update()
)


def _in(seconds: float) -> Any:
    return func.clock_timestamp() + text(f"interval '{seconds:.3f} seconds'")


@dataclass(frozen=True, slots=True)
class JobWorker:
    """`run` for jobs of `kind`, up to `concurrency` at a time in each process, one per organization anywhere."""

    kind: str
    run: Run
    concurrency: int = 1
    urgent_slots: int = 0
    """Additional slots of each process that take urgent jobs only."""
    lease_seconds: float = LEASE_SECONDS
    turn_seconds: float = TURN_SECONDS
    """How long a job may keep its slot while another job of its kind is due."""

    @property
    def slots(self) -> int:
        """Slots of each process."""
        return self.concurrency + self.urgent_slots


@dataclass(slots=True)
class JobContext:
    """A claimed job, as given to `run`."""

    id: UUID
    kind: str
    organization_id: str
    payload: dict[str, Any]
    data: dict[str, Any] | None
    """The last checkpoint; None before the first."""
    fence: int
    """Grows with every claim. Store it in rows that only this claim may write."""
    sessions: Sessions
    """`async with job.sessions.begin() as session:` is one step; end it with `await job.checkpoint(session, data)`."""
    lease_seconds: float
    stop_requested: bool = False
    """Whether somebody pressed *Stop safely*; at most a third of a lease old."""
    turn_seconds: float = TURN_SECONDS
    urgent: bool = False
    """Whether somebody waited for the job at a screen when it was claimed."""
    slots: int = 1
    """How many jobs the worker runs at once in this process. Its idle slots together poll once in POLL_SECONDS."""
    turn_over: bool = False
    """Whether another job waits for this slot; at most a third of a lease old."""
    _began: float = field(default_factory=elapsed, repr=False)
    _deadline: float = field(default=0.0, repr=False)
    _over: bool = field(default=False, repr=False)

    async def checkpoint(self, session: AsyncSession, data: dict[str, Any]) -> None:
        """Store the place to continue from, in the transaction that did the work. LeaseLost if another worker has the
        job.

        Only a changed checkpoint counts as progress, so a job that always fails at one place is retried only a few
        times, even if it repeats work on the way there.
        """
        moved = JOB.c.checkpoint.is_distinct_from(data)
        row = await self._update(session, checkpoint=data, attempts=case((moved, 0), else_=JOB.c.attempts), error=None)
        self.data = data
        self.stop_requested = row.stop_requested

    async def verify(self, session: AsyncSession) -> None:
        """Lock the job's row for this transaction, for writes without a checkpoint. LeaseLost if another worker has the
        job.
        """
        held = (await session.execute(_HELD, {"held_id": self.id, "held_fence": self.fence})).one_or_none()
        self.stop_requested = self._mine(held).stop_requested

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """One transaction under the lease. LeaseLost if another worker has the job."""
        async with self.sessions.begin() as session:
            # Checked first, because a worker that lost the job must not wait for the locks of its rows.
            await self.verify(session)
            yield session

    async def wait(
        self, session: AsyncSession, data: dict[str, Any], *, until: datetime | None = None, urgent: bool | None = None
    ) -> None:
        """Postpone the job until `until`, or until `jobs.resume` if None; then return from `run`.

        urgent: whether somebody still waits for it at a screen; None leaves that unchanged.
        """
        calls = {} if urgent is None else {"urgent": urgent}
        values = {"run_after": until, "checkpoint": data, "lease_owner": None, "lease_until": None, "attempts": 0}
        await self._update(session, state="waiting", **values, **calls)
        self._over = True

    async def finish(self, session: AsyncSession, state: State = "done", error: str | None = None) -> None:
        """End the job in the transaction that ends its work; then return from `run`."""
        await self._update(session, state=state, error=error, finished_at=_now, lease_owner=None, lease_until=None)
        self._over = True

    def lease_left(self) -> float:
        """Seconds until another worker may claim this job; 0 or less once it may. Reads only the local clock."""
        return self._deadline - elapsed()

    def check(self, seconds: float = 0.0) -> None:
        """Guard a request to the vendor that may take `seconds`: LeaseLost unless the lease lasts longer.

        Call it directly before the request's bytes are sent (`pco_client`'s `check`). Its clock also counts while the
        process is stopped and while the machine sleeps.
        """
        if self.lease_left() <= seconds:
            raise LeaseLost(f"job {self.id}: the lease has {self.lease_left():.1f} s left")

    def stop_if_requested(self) -> None:
        """StopRequested if somebody pressed *Stop safely*, TurnOver if another job waits for the slot.

        Call it between steps, when all work is committed, and do not catch either. A long step checks `leaving` before
        each of its parts, and skips the rest.
        """
        if self.stop_requested:
            raise StopRequested
        if self.turn_over:
            raise TurnOver

    @property
    def leaving(self) -> bool:
        """Whether the next `stop_if_requested` raises."""
        return self.stop_requested or self.turn_over

    @property
    def over(self) -> bool:
        """Whether `wait` or `finish` was called, which gives up the lease."""
        return self._over

    async def _update(self, session: AsyncSession, *where: ColumnElement[bool], **values: Any) -> Row[Any]:
        row: Row[Any] | None = (
            await session.execute(
                update(JOB)
                .where(JOB.c.id == self.id, JOB.c.fence == self.fence, JOB.c.state == "running", *where)
                .values(updated_at=_now, **values)
                .returning(JOB.c.stop_requested)
            )
        ).one_or_none()
        return self._mine(row)

    def _mine(self, row: Row[Any] | None) -> Row[Any]:
        if row is None:
            raise LeaseLost(f"job {self.id}: fence {self.fence} is not the present one")
        return row

    async def renew(self) -> None:
        """Extend the lease. LeaseLost if another worker has the job, or if the lease has expired.

        An expired lease stays lost: another worker may have had the job since, so what was read under the lease may be
        outdated.
        """
        asked = elapsed()  # read before the database's clock, so that the lease ends earlier for us than for others
        async with self.sessions.begin() as session:
            lasts = JOB.c.lease_until > func.clock_timestamp()
            row = await self._update(session, lasts, lease_until=_in(self.lease_seconds))
            over = asked - self._began > self.turn_seconds
            # A job that is not urgent gives way to an urgent one at once.
            waiting = over or not self.urgent
            turn_over = waiting and bool(await session.scalar(_waits_for(self.kind, self.slots, urgent=not over)))
        self._deadline = asked + self.lease_seconds
        self.stop_requested = row.stop_requested
        self.turn_over = turn_over

    async def lose(self, run: asyncio.Future[None]) -> None:
        """Note that the lease is lost: `check` refuses new requests, and requests under way get time to be answered.

        A late answer still tells this worker what the vendor has created, and it stores that for the job's next worker.
        If the request were cancelled, nobody would know.
        """
        self._deadline = -math.inf
        await asyncio.wait({run}, timeout=SETTLE_SECONDS)

    async def keep(self, beat: Callable[[], None]) -> None:
        """Renew until cancelled. LeaseLost if another worker has the job, or if the lease has expired."""
        while True:
            beat()
            await asyncio.sleep(min(self.lease_seconds / 3, self.turn_seconds))
            try:
                await self.renew()
            except LeaseLost:
                if self.over:  # the job gave it up itself, by `wait` or `finish`
                    return
                raise
            except Exception as error:
                if (task := asyncio.current_task()) and task.cancelling():
                    return  # an error of the rollback replaced the cancellation
                log.warning("lease not renewed", job=str(self.id), left=round(self.lease_left(), 1), exc_info=error)
                self.check()


class Polls:
    """Spreads the polls of a worker's idle slots: together they poll once in POLL_SECONDS, whatever their number.

    A ring also wakes only one slot, which rings for the next if it finds a job.
    """

    def __init__(self) -> None:
        self._next = -math.inf

    def wait(self) -> float:
        """Seconds until a slot that found no job polls again."""
        now = elapsed()
        self._next = max(now, self._next) + POLL_SECONDS
        return self._next - now

    def rung(self) -> None:
        """Note that the doorbell woke a slot, so that its next poll need not wait for those of the others."""
        self._next = -math.inf


def _due(kind: str, *, urgent: bool, before: str = "") -> ColumnElement[bool]:
    """Jobs that are queued, due again, or left by a dead worker. The bound is a stable function, so the index can be
    used.
    """
    return and_(
        _OPEN,
        JOB.c.kind == kind,
        JOB.c.urgent if urgent else ~JOB.c.urgent,
        DUE_AT.op("<=", is_comparison=True)(text(f"statement_timestamp(){before}")),
    )


def _waits_for(kind: str, slots: int, *, urgent: bool) -> Select[bool]:
    """Whether a job has been due for longer than any free slot needs to find it. `urgent`: only urgent jobs count."""
    before = f" - interval '{(slots + 1) * POLL_SECONDS:.3f} seconds'"
    which = (True,) if urgent else (True, False)
    return select(or_(*(exists().where(_due(kind, urgent=one, before=before)) for one in which)))


def _claiming(worker: JobWorker, owner: str, *order: bool) -> Any:
    """Claims the longest due job. `order`: the urgent jobs (true) or the others (false), in the order of preference."""
    candidates = [_candidate(worker.kind, urgent=urgent) for urgent in order]
    return (
        update(JOB)
        .where(JOB.c.id == func.coalesce(*candidates))
        .values(
            state="running",
            lease_owner=owner,
            lease_until=_in(worker.lease_seconds),
            fence=JOB.c.fence + 1,
            attempts=JOB.c.attempts + 1,
            updated_at=_now,
        )
        .returning(*JOB.c)
    )


def _candidate(kind: str, *, urgent: bool) -> ScalarSelect[UUID]:
    due = select(JOB.c.id).where(_due(kind, urgent=urgent)).order_by(DUE_AT).limit(1)
    return due.with_for_update(skip_locked=True).scalar_subquery()


class Claimer:
    """Claims and runs one job at a time; a process has `worker.slots` of them per worker."""

    def __init__(
        self,
        worker: JobWorker,
        sessions: Sessions,
        resources: Any,
        wake: Wake,
        beat: Callable[[], None],
        polls: Polls | None = None,
        *,
        only_urgent: bool = False,
    ) -> None:
        """wake, polls: shared by the slots of one worker. The `urgent_slots` have a wake of their own, so that they do
        not use up a ring for a job that they may not take.
        """
        self._worker = worker
        self._sessions = sessions
        self._resources = resources
        self._wake = wake
        self._beat = beat
        self._polls = polls or Polls()
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
        # Made once, because one of them runs every second.
        self._urgent_first = _claiming(worker, self._owner, *((True,) if only_urgent else (True, False)))
        self._others_first = _claiming(worker, self._owner, *((True,) if only_urgent else (False, True)))
        self._claiming = self._urgent_first

    async def step(self) -> None:
        """Run one job if there is one, else sleep until the doorbell rings or this slot's next poll."""
        self._wake.clear()
        job = await self._claim()
        if job is None:
            if await self._wake.wait(self._polls.wait()):
                self._polls.rung()
        else:
            self._wake.set()
            await self._work(job)

    async def _claim(self) -> JobContext | None:
        """Claim the longest due job, in the order of preference."""
        asked = elapsed()
        async with self._sessions.begin() as session:
            row = (await session.execute(self._claiming)).one_or_none()
        if row is None:
            return None
        self._attempts, self._correlation_id = row.attempts, row.correlation_id
        return JobContext(
            id=row.id,
            kind=row.kind,
            organization_id=row.organization_id,
            payload=row.payload,
            data=row.checkpoint,
            urgent=row.urgent,
            fence=row.fence,
            sessions=self._sessions,
            lease_seconds=self._worker.lease_seconds,
            stop_requested=row.stop_requested,
            turn_seconds=self._worker.turn_seconds,
            slots=self._worker.slots,
            _began=asked,
            _deadline=asked + self._worker.lease_seconds,
        )

    async def _work(self, job: JobContext) -> None:
        with flow(self._correlation_id, str(job.id)):
            log.info("job claimed", job=str(job.id), kind=job.kind, fence=job.fence, attempt=self._attempts)
            outcome = await self._outcome(job)
            self._claiming = self._others_first if job.urgent and outcome == GAVE_WAY else self._urgent_first
            log.info("job left", job=str(job.id), kind=job.kind, outcome=outcome)
        METRICS.jobs_total.labels(job.kind, outcome).inc()

    async def _outcome(self, job: JobContext) -> str:
        """Run the job while its lease is renewed; whichever ends first decides the outcome."""
        run = asyncio.ensure_future(self._worker.run(job, self._resources))
        keep = asyncio.create_task(job.keep(self._beat))
        try:
            await asyncio.wait({run, keep}, return_when=asyncio.FIRST_COMPLETED)
            if not run.done() and keep.exception():
                await job.lose(run)
                raise LeaseLost(f"job {job.id}") from keep.exception()
            await run
            return await self._end(job, "done")
        except LeaseLost as error:
            log.warning("lease lost", job=str(job.id), exc_info=error)
            return "lease_lost"
        except StopRequested:
            return await self._end(job, "cancelled")
        except TurnOver:
            return await self._give_back(job, GAVE_WAY)
        except asyncio.CancelledError:
            await _cancelled(run)
            await self._give_back(job, "released")
            METRICS.jobs_total.labels(job.kind, "released").inc()
            raise
        except Exception as error:  # noqa: BLE001 - every failure of a job ends in its row
            return await self._failure(job, error)
        finally:
            await _cancelled(run)
            await _cancelled(keep)

    async def _failure(self, job: JobContext, error: Exception) -> str:
        log.error("job failed", job=str(job.id), kind=job.kind, exc_info=error)
        if isinstance(error, PermanentError):
            return await self._end(job, "failed", str(error))
        transient = is_transient(error)
        if self._attempts < (MOST_TRANSIENT_ATTEMPTS if transient else MOST_ATTEMPTS):
            delay = min(2**self._attempts, LONGEST_DELAY_SECONDS)
            return await self._retry(job, delay, type(error).__name__)
        kind = "A passing" if transient else "An unexpected"
        return await self._end(job, "failed", f"{kind} error ({type(error).__name__}) came {self._attempts} times.")

    async def _end(self, job: JobContext, state: State, error: str | None = None) -> str:
        if job.over:
            return "over"
        return await self._write(lambda session: job.finish(session, state, error), state)

    async def _retry(self, job: JobContext, delay: float, error: str) -> str:
        async def queue_again(session: AsyncSession) -> None:
            await job._update(  # noqa: SLF001
                session, state="queued", run_after=_in(delay), lease_owner=None, lease_until=None, error=error
            )

        return await self._write(queue_again, "retried")

    async def _give_back(self, job: JobContext, outcome: str) -> str:
        """Put the job at the end of the queue. Nothing failed, so the claim does not count as an attempt."""

        async def queue_again(session: AsyncSession) -> None:
            await job._update(  # noqa: SLF001
                session,
                state="queued",
                run_after=_now,
                lease_owner=None,
                lease_until=None,
                attempts=func.greatest(JOB.c.attempts - 1, 0),
            )
            await ring(session)

        return await self._write(queue_again, outcome)

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
