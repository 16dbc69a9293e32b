"""Runs as rows, and in the shape of messages and answers."""

from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import case, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from contracts import sync_runs
from people_sync.domain.sentences import (
    ADDED_THERE,
    CONFLICT,
    CREATED_HERE,
    LINKED,
    MADE_INACTIVE,
    NOT_DONE,
    NOT_PUT_BACK,
    PUT_BACK_HERE,
    RESTORED,
    TAKEN_BACK,
    UNDONE,
    UPDATED_BOTH,
    UPDATED_HERE,
)
from people_sync.storage.sync_tables import Change, Run
from people_sync.storage.tables import Connection, Settings

OPEN: Final = ("queued", "running", "waiting", "stopping")
SYNC: Final = "sync"
PREVIEW: Final = "preview"
PROOF: Final = "proof"
UNDO: Final = "undo"
"""Values of `Run.purpose`. The last one also names the phase in which an undo puts our side back."""
IS_SYNC: Final = or_(Run.purpose == SYNC, (Run.purpose == PREVIEW) & (Run.state == "done"))
"""Whether a run synced, or was to; a preview counts once approved."""
NOUNS: Final = {
    "pull": "people",
    "compare": "records",
    "apply": "changes",
    UNDO: "records",
    "push": "changes",
    "finish": "records",
    "prove": "records",
}


def render(run: Run) -> sync_runs.Run:
    """The full state of one run."""
    return sync_runs.Run(
        id=str(run.id),
        kind=run.kind,
        purpose=run.purpose,
        undoes=run.subject or {} if run.purpose == UNDO else {},
        state=run.state,
        trigger=run.trigger,
        started_by=run.started_by,
        started_by_name=run.started_by_name,
        progress=sync_runs.RunProgress(
            phase=run.phase,
            done=run.done,
            total=run.total,
            noun=NOUNS[run.phase],
            requests=run.requests,
            rate_per_second=run.rate_per_second,
            eta_seconds_low=run.eta_low,
            eta_seconds_high=run.eta_high,
            waiting_for=run.waiting_for,
        ),
        question=sync_runs.RunQuestion.model_validate(run.question) if run.question else None,
        answered=tuple(sync_runs.RunAnswer.model_validate(one) for one in run.answered),
        counts=run.counts,
        message=run.message,
        version=run.version,
        created_at=run.created_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
    )


async def change(session: AsyncSession, run_id: UUID, **values: Any) -> Run:
    """Change a run's row and count its version. Returns the new row."""
    statement = update(Run).where(Run.id == run_id).values(version=Run.version + 1, **values).returning(Run)
    # The returned row refreshes the session, so evaluating the new values in Python is not needed.
    options = {"populate_existing": True, "synchronize_session": False}
    return (await session.scalars(statement, execution_options=options)).one()


async def mark_not_done(session: AsyncSession, run_id: UUID) -> dict[str, int]:
    """Mark planned changes of a run that ends early as not done. Gives the numbers by outcome."""
    planned = (Change.run_id == run_id) & ((Change.here == "planned") | (Change.there == "planned"))
    # A record planned to change on both sides may be done here.
    half = (Change.here == "done") & (Change.outcome == UPDATED_BOTH)
    kept = (Change.here == "done") & Change.outcome.in_([LINKED, CREATED_HERE, CONFLICT])
    undone = (Change.here == "done") & (Change.outcome == UNDONE)
    of_undo = Change.outcome.in_([UNDONE, TAKEN_BACK, RESTORED, MADE_INACTIVE]) | (Change.sentence == ADDED_THERE)
    await session.execute(
        update(Change)
        .where(planned)
        .values(
            outcome=case((half, UPDATED_HERE), (kept | undone, Change.outcome), else_=NOT_DONE),
            sentence=case((undone, PUT_BACK_HERE), (of_undo, NOT_PUT_BACK), else_=Change.sentence),
            here=case((Change.here == "planned", "none"), else_=Change.here),
            there=case((Change.there == "planned", "none"), else_=Change.there),
        )
        .execution_options(synchronize_session=False)
    )
    counted = select(Change.outcome, func.count(Change.id)).where(Change.run_id == run_id).group_by(Change.outcome)
    return dict((await session.execute(counted)).all())


async def schedule(session: AsyncSession, connection: Connection, now: datetime) -> None:
    """When the next incremental run is due, by the organization's interval."""
    chosen = await session.get(Settings, connection.organization_id)
    connection.next_run_at = now + timedelta(hours=chosen.schedule_hours if chosen else 4)


async def open_run(session: AsyncSession, organization_id: str) -> Run | None:
    """The run in progress, if there is one."""
    statement = select(Run).where(Run.organization_id == organization_id, Run.state.in_(OPEN))
    return await session.scalar(statement)
