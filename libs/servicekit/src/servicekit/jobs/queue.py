"""Long work as rows: claimed under a lease, guarded by a fence, continued at its checkpoint by the next worker.

A job is open (queued, running, waiting) or over (done, failed, cancelled); one open job per kind and organization.
The lease names the current worker and is renewed in the background, by the database's clock. The fence grows with every
claim, so a worker that was paused past its lease cannot commit anything.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from servicekit.context import current_flow
from servicekit.db.retention import forget
from servicekit.db.sessions import Sessions
from servicekit.db.tables import JOB, OPEN_STATES
from servicekit.errors import NotFound
from servicekit.ids import uuid7, uuid7_at

CHANNEL = "job"
KEPT = timedelta(days=30)
"""How long an ended job can be read. A service keeps in its own tables what it shows for longer."""
State = Literal["queued", "running", "waiting", "done", "failed", "cancelled"]
Run = Callable[[Any, Any], Awaitable[None]]
"""`async def run(job: JobContext, resources: Resources) -> None`; returning means done."""

_now = func.clock_timestamp()


class LeaseLost(Exception):
    """Another worker has this job now, or may have it. Stop at once, write nothing, send the vendor nothing."""


class StopRequested(Exception):
    """Raised by `JobContext.stop_if_requested`: the job ends as cancelled."""


class TurnOver(Exception):
    """Raised by `JobContext.stop_if_requested`: the job leaves its slot to another job and continues later."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job as stored."""

    id: UUID
    kind: str
    organization_id: str
    payload: dict[str, Any]
    state: State
    checkpoint: dict[str, Any] | None
    stop_requested: bool
    error: str | None
    created_at: datetime
    finished_at: datetime | None


async def enqueue(
    session: AsyncSession,
    kind: str,
    organization_id: str,
    payload: dict[str, Any] | None = None,
    *,
    urgent: bool = False,
) -> tuple[UUID, bool]:
    """Queue a job, or join the one that is open. Returns its id and whether it is new.

    urgent: somebody waits at a screen, so the job goes before jobs that are not urgent. A joined job keeps its place;
    see `hurry`.

    If two callers enqueue at once, the partial unique index decides: the later insert waits for the earlier transaction
    and then finds its row.
    """
    for _ in range(5):
        created = await session.scalar(
            insert(JOB)
            .values(
                id=uuid7(),
                kind=kind,
                organization_id=organization_id,
                payload=payload or {},
                urgent=urgent,
                correlation_id=current_flow().correlation_id,
            )
            .on_conflict_do_nothing(
                index_elements=[JOB.c.kind, JOB.c.organization_id],
                index_where=text("state IN ('queued', 'running', 'waiting')"),
            )
            .returning(JOB.c.id)
        )
        if created is not None:
            await ring(session)
            return created, True
        existing = await session.scalar(
            select(JOB.c.id).where(
                JOB.c.kind == kind, JOB.c.organization_id == organization_id, JOB.c.state.in_(OPEN_STATES)
            )
        )
        if existing is not None:
            return existing, False
        # The open job ended between the two statements, so try again.
    raise AssertionError(f"job {kind} of {organization_id}: neither created nor found")


async def hurry(session: AsyncSession, job_id: UUID, *, waits: bool = True) -> None:
    """Make an open job urgent, because somebody now waits for it at a screen.

    waits: wait for the job's current step, whose transaction holds its row. A caller that has locked rows of the
    organization must not wait; then a job in the middle of a step stays as it is.
    """
    row = select(JOB.c.id).where(JOB.c.id == job_id, JOB.c.state.in_(OPEN_STATES), ~JOB.c.urgent)
    found = await session.scalar(row.with_for_update(skip_locked=not waits))
    if found is not None:
        await session.execute(update(JOB).where(JOB.c.id == found).values(urgent=True))
        await ring(session)


async def wake(session: AsyncSession, job_id: UUID) -> None:
    """Make an open job that waits, for an instant or after a failure, due now and urgent. A running one stays as it is:
    it must look by itself for the reason before it ends.
    """
    await session.execute(
        update(JOB)
        .where(JOB.c.id == job_id, JOB.c.state.in_(("queued", "waiting")))
        .values(state="queued", run_after=_now, urgent=True, updated_at=_now)
    )
    await ring(session)


async def get(session: AsyncSession, job_id: UUID, organization_id: str) -> Job:
    """The job. NotFound if it is not this organization's."""
    row = (
        await session.execute(select(JOB).where(JOB.c.id == job_id, JOB.c.organization_id == organization_id))
    ).one_or_none()
    if row is None:
        raise NotFound("There is no such job.")
    return Job(**{name: getattr(row, name) for name in Job.__dataclass_fields__})


async def request_stop(session: AsyncSession, job_id: UUID) -> State | None:
    """*Stop safely*: cancel a job that is not running, and ask a running one to stop at its next step.

    Returns the new state; None if the job is over or does not exist.
    """
    state = await session.scalar(
        update(JOB)
        .where(JOB.c.id == job_id, JOB.c.state.in_(OPEN_STATES))
        .values(
            stop_requested=True,
            state=text("CASE state WHEN 'running' THEN 'running' ELSE 'cancelled' END"),
            finished_at=text("CASE state WHEN 'running' THEN NULL ELSE clock_timestamp() END"),
            updated_at=_now,
        )
        .returning(JOB.c.state)
    )
    await ring(session)
    return state  # type: ignore[no-any-return]


async def resume(
    session: AsyncSession, job_id: UUID, *, checkpoint: dict[str, Any] | None = None, urgent: bool = False
) -> bool:
    """Queue a waiting job again, with a new checkpoint if one is given. False if it was not waiting.

    urgent: somebody waits at a screen for its next steps.
    """
    values: dict[str, Any] = {"state": "queued", "run_after": _now, "updated_at": _now}
    if urgent:
        values["urgent"] = True
    if checkpoint is not None:
        values["checkpoint"] = checkpoint
    found = await session.scalar(
        update(JOB).where(JOB.c.id == job_id, JOB.c.state == "waiting").values(values).returning(JOB.c.id)
    )
    await ring(session)
    return found is not None


async def forget_old(sessions: Sessions) -> int:
    """Delete jobs that have been over for longer than `KEPT`, in batches. Returns how many."""
    # Ids sort by creation time, so this bound keeps the query from reading younger rows.
    oldest = uuid7_at(datetime.now(UTC) - KEPT)
    return await forget(sessions, JOB, JOB.c.id, [JOB.c.id < oldest, JOB.c.finished_at < func.now() - KEPT])


async def ring(session: AsyncSession) -> None:
    """Wake the claimers of all kinds when this transaction commits."""
    await session.execute(select(func.pg_notify(CHANNEL, "")))
