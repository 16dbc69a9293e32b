"""Runs as people see them: started, joined, stopped, answered, looked up."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Select, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from contracts import sync_runs
from contracts.events.people_sync_run_v1 import SyncRunFinished, SyncRunProgressed, SyncRunStarted
from contracts.http.common import Page
from contracts.http.people import AnswerRun, RejectionGroup, RunItem, RunItemQuery, RunQuery
from contracts.identity import UserIdentity
from people_sync.domain.proof import next_night
from people_sync.domain.sentences import (
    CREATED_THERE,
    HELD,
    OUTCOMES,
    PLAN_DISCARDED,
    PLAN_EXPIRED,
    REJECTED,
    UNDO_EXPIRED,
    UNDO_STOPPED,
    WAITS_FOR_ANSWER,
    answered_before,
)
from people_sync.storage import changes, remote, runs
from people_sync.storage.sync_tables import Change, Run
from people_sync.storage.tables import Connection, Link, Settings
from people_sync.usecases.directory import parse_id
from servicekit.db.tables import JOB
from servicekit.errors import Conflict, NotFound
from servicekit.http import paging
from servicekit.jobs import queue as jobs
from servicekit.kafka.outbox import append

KIND: Final = "people.run"
STOPPED: Final = "Stopped safely. What was done stays, and is not done twice. The next sync begins reading again."
_EXAMPLES: Final = 5
APPROVALS: Final = frozenset({"plan", "threshold"})
"""Questions whose answer, where the run goes on after it, approves the plan that was shown."""
EXPIRED: Final = {runs.PREVIEW: PLAN_EXPIRED, runs.UNDO: UNDO_EXPIRED}
"""By purpose of the runs that show their plan in any case, what is said of one that nobody has answered."""
DUE_AT_ONCE: Final = 20
"""Organizations whose runs one transaction starts, or ends."""
ABANDONED_AT_ONCE: Final = 5
ANSWERABLE: Final = timedelta(hours=24)
"""How long a plan of theirs can be approved."""


async def start(
    session: AsyncSession,
    organization_id: str,
    kind: str,
    trigger: str,
    user: UserIdentity | None = None,
    *,
    purpose: str = runs.SYNC,
) -> sync_runs.Run:
    """Start a run, or join the one in progress, whatever it is for.

    Conflict (409) while Planning Center People is not connected. Who wants to sync, or to see a plan, while
    everybody is being compared makes that of it, as long as it reads.
    """
    connection = await session.get(Connection, organization_id)
    if connection is None or connection.state != "connected":
        raise Conflict(
            "Planning Center People is not connected. Nothing was started. "
            "Connect it on the Integrations page, then sync.",
            slug="not-connected",
        )
    urgent = trigger == "person"
    job_id, created = await jobs.enqueue(session, KIND, organization_id, urgent=urgent)
    if not created:
        if urgent:
            # Nothing is locked yet: a job that is amid a step may be waited for.
            await jobs.hurry(session, job_id)
        joined = await session.get(Run, job_id)
        if joined is None:
            raise Conflict("A sync is just being started. Read the status again in a moment.", slug="starting")
        if joined.purpose == runs.PROOF != purpose and trigger == "person":
            joined = await _in_place_of_a_proof(session, organization_id, str(job_id), user, purpose)
        return runs.render(joined)
    # What changed since can only be asked once everything was read.
    kind = kind if connection.full_sync_at and connection.cursor else "full"
    return await begin(session, connection, job_id, trigger, user, kind=kind, purpose=purpose, phase="pull")


async def begin(
    session: AsyncSession,
    connection: Connection,
    job_id: UUID,
    trigger: str,
    user: UserIdentity | None,
    **values: Any,
) -> sync_runs.Run:
    """Add the row of a run whose job was queued just now, and tell of it. `values`: further columns."""
    run = Run(
        id=job_id,
        organization_id=connection.organization_id,
        pco_organization_id=connection.pco_organization_id,
        state="queued",
        trigger=trigger,
        started_by=user.user_id if user else None,
        started_by_name=user.name if user else None,
        done=0,
        requests=0,
        counts={},
        answers={},
        version=1,
        **values,
    )
    session.add(run)
    await session.flush()
    await session.refresh(run)
    await append(session, SyncRunStarted(organization_id=run.organization_id, version=1, run=runs.render(run)))
    return runs.render(run)


async def _in_place_of_a_proof(
    session: AsyncSession, organization_id: str, run_id: str, user: UserIdentity | None, purpose: str
) -> Run:
    """Make a sync, or a preview, of a comparison that still reads; of one that is about to end a sync follows it."""
    run = await _locked(session, organization_id, run_id)
    if run.purpose != runs.PROOF:
        return run
    if run.phase not in {"pull", "compare"}:
        if purpose == runs.PREVIEW:
            raise Conflict(
                "Everybody is being compared, which is over in a moment. Nothing was started: choose Preview again.",
                slug="busy",
            )
        connection = await session.get_one(Connection, organization_id)
        connection.next_run_at = func.now()
        return run
    by = (user.user_id, user.name) if user else (None, None)
    values = dict(zip(("started_by", "started_by_name"), by, strict=True))
    run = await runs.change(session, run.id, purpose=purpose, trigger="person", **values)
    await append(session, SyncRunProgressed(organization_id=organization_id, version=run.version, run=runs.render(run)))
    return run


async def stop(
    session: AsyncSession, organization_id: str, run_id: str, *, message: str | None = None
) -> sync_runs.Run:
    """*Stop safely*: at once if nobody works on it, else at the end of the step in progress.

    `message`: what is said of a run that nobody works on, in place of what stopping one means.
    """
    run = await _locked(session, organization_id, run_id)
    if run.state not in runs.OPEN:
        return runs.render(run)
    state = await jobs.request_stop(session, run.id)
    if state == "running":
        run = await runs.change(session, run.id, state="stopping")
        fact: Any = SyncRunProgressed
    else:
        run = await close(session, run.id, "stopped", message or stopped(run))
        fact = SyncRunFinished
    await append(session, fact(organization_id=organization_id, version=run.version, run=runs.render(run)))
    return runs.render(run)


def stopped(run: Run) -> str:
    """What stopping a run means, in words."""
    return UNDO_STOPPED if run.purpose == runs.UNDO else STOPPED


async def close(session: AsyncSession, run_id: UUID, state: str, message: str) -> Run:
    """End a run that nobody works on: what it staged is let go, and the schedule goes on.

    The caller holds the run, and before it the organization's connection.
    """
    await remote.let_go(session, run_id)
    counts = await runs.mark_not_done(session, run_id)
    run = await runs.change(
        session,
        run_id,
        counts=counts,
        state=state,
        message=message,
        waiting_for=None,
        question=None,
        finished_at=func.now(),
    )
    connection = await session.get(Connection, run.organization_id)
    if connection is not None and connection.state == "connected" and connection.next_run_at is None:
        now: datetime = (await session.execute(select(func.clock_timestamp()))).scalar_one()
        await runs.schedule(session, connection, now)
    return run


async def answer(
    session: AsyncSession, organization_id: str, run_id: str, body: AnswerRun, user: UserIdentity, now: datetime
) -> sync_runs.Run:
    """Answer a waiting run's question. Conflict (409) if it asks nothing, something else, or shows another plan."""
    run = await _locked(session, organization_id, run_id)
    question = run.question
    if run.state != "waiting" or question is None or question["kind"] != body.question:
        raise _not_asked(run, body.question)
    if body.answer not in question["answers"]:
        raise Conflict(f"The answer must be one of: {', '.join(question['answers'])}.", slug="unknown-answer")
    if body.answer == "stop":
        discarded = PLAN_DISCARDED if body.question in {"plan", runs.UNDO} else None
        await runs.change(session, run.id, answered=_answered(run, body, user, now))
        return await stop(session, organization_id, run_id, message=discarded)
    shown = question.get("digest")
    if body.question in {*APPROVALS, runs.UNDO} and body.digest != shown:
        raise Conflict(
            "The plan is another one than you were shown, so nothing was started. Read the page again, look at the "
            "plan, and answer then.",
            slug="plan-moved",
        )
    if body.question == "first_match":
        chosen = await session.get(Settings, organization_id)
        if chosen is None:
            chosen = Settings(organization_id=organization_id)
            session.add(chosen)
        chosen.first_match = body.answer
    given: dict[str, Any] = {body.question: body.answer}
    if body.question == runs.UNDO:
        given = {runs.UNDO: {"by_user_id": user.user_id, "by_name": user.name, "inactivate": body.inactivate}}
    if body.question in APPROVALS and shown is None:
        given = {}  # asked by a version that showed no plan: it is asked again, with one
    run = await runs.change(
        session,
        run.id,
        state="queued",
        question=None,
        waiting_for=None,
        answers=run.answers | given,
        answered=_answered(run, body, user, now),
    )
    await jobs.resume(session, run.id, urgent=True)
    await append(session, SyncRunProgressed(organization_id=organization_id, version=run.version, run=runs.render(run)))
    return runs.render(run)


def _answered(run: Run, body: AnswerRun, user: UserIdentity, now: datetime) -> list[Any]:
    """What was answered before, and this."""
    asked_at = run.asked_at or now
    answered = sync_runs.RunAnswer(
        question=body.question, answer=body.answer, by_name=user.name, asked_at=min(asked_at, now), answered_at=now
    )
    return [*run.answered, answered.model_dump(mode="json")]


def _not_asked(run: Run, question: str) -> Conflict:
    before = next((one for one in reversed(run.answered) if one["question"] == question), None)
    if before is None:
        return Conflict(
            "This sync does not ask that (any more). Read it again to see where it stands.", slug="no-question"
        )
    return Conflict(answered_before(before["by_name"], before["answer"]), slug="answered")


async def get(session: AsyncSession, organization_id: str, run_id: str) -> sync_runs.Run:
    """One run. NotFound (404)."""
    return runs.render(await find(session, organization_id, run_id))


async def history(session: AsyncSession, organization_id: str, query: RunQuery) -> Page[sync_runs.Run]:
    """Runs, newest first."""
    statement = select(Run).where(Run.organization_id == organization_id)
    if query.state:
        statement = statement.where(Run.state == query.state)
    if query.undoes:
        statement = statement.where(Run.purpose == runs.UNDO, Run.subject[query.undoes].astext.is_not(None))
    if query.after:
        created, last = paging.decode(query.after, paging.instant, UUID)
        statement = statement.where(func.row(Run.created_at, Run.id) < func.row(created, last))
    statement = statement.order_by(Run.created_at.desc(), Run.id.desc()).limit(query.limit + 1)
    rows = (await session.scalars(statement)).all()
    shown = rows[: query.limit]
    return Page[sync_runs.Run](
        items=tuple(runs.render(row) for row in shown),
        next=paging.encode(shown[-1].created_at.isoformat(), str(shown[-1].id)) if len(rows) > query.limit else None,
    )


async def items(session: AsyncSession, organization_id: str, run_id: str, query: RunItemQuery) -> Page[RunItem]:
    """The list behind one number of a run."""
    run = await with_lists(session, organization_id, run_id)
    shown = await changes.page_of(session, run.id, _changes(run, query.outcome), query)
    added = await _added_there(session, run, shown.rows)
    found = tuple(_item(row, added.get(row.record_id) if row.record_id else None) for row in shown.rows)
    return Page[RunItem](items=found, next=shown.next, total=shown.total)


async def _added_there(session: AsyncSession, run: Run, rows: Sequence[Change]) -> dict[UUID, str]:
    """Planning Center's ids of those whom the run added there, by ours: there was none when it was decided."""
    ids = [row.record_id for row in rows if row.outcome == CREATED_THERE and row.record_id and not row.pco_id]
    if not ids:
        return {}
    of_run = {"organization_id": run.organization_id, "pco_organization_id": run.pco_organization_id}
    links = select(Link.record_id, Link.pco_id).filter_by(**of_run, state="linked").where(Link.record_id.in_(ids))
    return dict((await session.execute(links)).all())


async def rejections(session: AsyncSession, organization_id: str, run_id: str) -> Page[RejectionGroup]:
    """What Planning Center refused in a run, grouped by cause, most first."""
    run = await with_lists(session, organization_id, run_id)
    groups = await session.execute(
        select(Change.cause, func.min(Change.sentence), func.count(Change.id))
        .where(Change.run_id == run.id, Change.outcome == REJECTED)
        .group_by(Change.cause)
        .order_by(func.count(Change.id).desc(), Change.cause)
    )
    found = []
    for cause, sentence, count in groups.all():
        rows = await session.scalars(
            _changes(run, REJECTED).where(Change.cause == cause).order_by(Change.id).limit(_EXAMPLES)
        )
        found.append(
            RejectionGroup(
                cause=cause or "unknown",
                sentence=sentence or OUTCOMES[REJECTED],
                count=count,
                examples=tuple(_item(row) for row in rows),
            )
        )
    return Page[RejectionGroup](items=tuple(found))


async def close_abandoned(session: AsyncSession) -> int:
    """End runs whose job ended without them: after too many unexpected errors in a row.

    A few at a time, each with all that it staged. Returns how many were looked at; `ABANDONED_AT_ONCE` at most.
    """
    over = select(Run.organization_id, Run.id, JOB.c.error).join(JOB, JOB.c.id == Run.id)
    abandoned = await session.execute(
        over.where(Run.state.in_(runs.OPEN), JOB.c.state.in_(["failed", "cancelled", "done"]))
        .order_by(Run.organization_id)
        .limit(ABANDONED_AT_ONCE)
    )
    rows = abandoned.tuples().all()
    for organization_id, run_id, error in rows:
        found = await _locked(session, organization_id, str(run_id))
        if found.state not in runs.OPEN:
            continue  # another process was faster
        run = await close(
            session,
            run_id,
            "failed",
            f"The sync ended unexpectedly. What was done stays. Sync again; if it happens once more, tell the "
            f"operators. ({error or 'no reason was left behind'})",
        )
        await append(
            session, SyncRunFinished(organization_id=run.organization_id, version=run.version, run=runs.render(run))
        )
    return len(rows)


async def prove_due(session: AsyncSession, now: datetime) -> int:
    """Start the nightly comparisons whose time has come. Returns how many organizations were looked at."""
    due = (
        await session.scalars(
            select(Connection)
            .where(Connection.state == "connected", Connection.mirrored, Connection.next_proof_at <= now)
            .order_by(Connection.next_proof_at)
            .limit(DUE_AT_ONCE)
            .with_for_update(skip_locked=True)
        )
    ).all()
    for connection in due:
        # One that ends early is not repeated in the same night.
        connection.next_proof_at = next_night(now, connection.time_zone, connection.organization_id)
        await start(session, connection.organization_id, "full", "schedule", purpose=runs.PROOF)
    return len(due)


async def end_unanswered(session: AsyncSession, now: datetime) -> int:
    """End previews and undos whose plan nobody has answered within a day, so that the schedule goes on.

    Returns how many were looked at; `DUE_AT_ONCE` at most.
    """
    waiting = select(Run.organization_id, Run.id).where(
        Run.state == "waiting", Run.purpose.in_(EXPIRED), Run.question.is_not(None), Run.asked_at < now - ANSWERABLE
    )
    found = (await session.execute(waiting.order_by(Run.organization_id).limit(DUE_AT_ONCE))).tuples().all()
    for organization_id, run_id in found:
        run = await _locked(session, organization_id, str(run_id))
        if run.state == "waiting" and run.question and run.asked_at and run.asked_at < now - ANSWERABLE:
            await stop(session, organization_id, str(run_id), message=EXPIRED[run.purpose])
    return len(found)


async def start_due(session: AsyncSession) -> int:
    """Start the incremental runs whose time has come. Returns how many organizations were looked at."""
    due = (
        await session.scalars(
            select(Connection)
            .where(
                Connection.state == "connected",
                Connection.full_sync_at.is_not(None),
                Connection.next_run_at <= func.now(),
            )
            .order_by(Connection.next_run_at)
            .limit(DUE_AT_ONCE)
            .with_for_update(skip_locked=True)
        )
    ).all()
    for connection in due:
        # Set again when the run ends; until then nobody starts it twice.
        connection.next_run_at = None
        await start(session, connection.organization_id, "incremental", "schedule")
    return len(due)


async def resume_waiting(session: AsyncSession, organization_id: str) -> None:
    """The connection is back: a run that waited for it goes on."""
    run = await runs.open_run(session, organization_id)
    if run is not None and run.state == "waiting" and run.question is None:
        await jobs.resume(session, run.id)


async def stop_open(session: AsyncSession, organization_id: str) -> None:
    """The connection ends: no new work."""
    run = await runs.open_run(session, organization_id)
    if run is not None:
        await stop(session, organization_id, str(run.id))
    await session.execute(
        update(Connection).where(Connection.organization_id == organization_id).values(next_run_at=None)
    )


def _changes(run: Run, outcome: str | None) -> Select[Change]:
    """`run`: of the organization that asks. Its own id alone, so that an index counts them."""
    statement = select(Change).where(Change.run_id == run.id)
    return statement.where(Change.outcome == outcome) if outcome else statement


def _item(row: Change, added_as: str | None = None) -> RunItem:
    return RunItem(
        record_kind=row.kind,
        record_id=str(row.record_id) if row.record_id else None,
        pco_id=row.pco_id or added_as,
        name=row.name,
        outcome=row.outcome,
        cause=row.cause if row.outcome == REJECTED else HELD if row.sentence == WAITS_FOR_ANSWER else None,
        sentence=row.sentence or OUTCOMES.get(row.outcome),
    )


async def find(session: AsyncSession, organization_id: str, run_id: str) -> Run:
    """One run's row. NotFound (404)."""
    run = await session.scalar(_by_id(organization_id, run_id))
    if run is None:
        raise NotFound("There is no such sync.")
    return run


async def with_lists(session: AsyncSession, organization_id: str, run_id: str) -> Run:
    """One run's row, for what it did record by record. NotFound (404) also if that is no longer kept."""
    run = await find(session, organization_id, run_id)
    if run.lists_gone_at is not None:
        raise NotFound(
            "This sync was long ago: its numbers are kept, but no longer what it did record by record. Every person's "
            "and family's own history has that.",
            slug="lists-gone",
        )
    return run


async def _locked(session: AsyncSession, organization_id: str, run_id: str) -> Run:
    """The run, locked; before it, as in its own steps, its job, the connection and the settings."""
    job = select(JOB.c.id).where(JOB.c.id == parse_id(run_id, "sync"), JOB.c.organization_id == organization_id)
    await session.execute(job.with_for_update())
    await session.get(Connection, organization_id, with_for_update=True)
    await session.get(Settings, organization_id, with_for_update=True)
    run = await session.scalar(
        _by_id(organization_id, run_id).with_for_update().execution_options(populate_existing=True)
    )
    if run is None:
        raise NotFound("There is no such sync.")
    return run


def _by_id(organization_id: str, run_id: str) -> Select[Run]:
    return select(Run).where(Run.organization_id == organization_id, Run.id == parse_id(run_id, "sync"))
