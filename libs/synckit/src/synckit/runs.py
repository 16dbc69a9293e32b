"""The life of runs as people see it: start, join, stop, answer, look up.

Rows are locked in one order: the job, the connection, the settings, the run.
"""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, insert, literal_column, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from contracts import sync_runs
from contracts.http.common import Page, PageQuery
from contracts.identity import UserIdentity
from servicekit.db.tables import JOB
from servicekit.errors import Conflict, NotFound
from servicekit.http import paging
from servicekit.jobs import queue as jobs
from servicekit.kafka.outbox import append
from synckit.product import C, Product, R
from synckit.sentences import NO_SUCH_SYNC, NOT_ASKED, PLAN_MOVED, STARTING, abandoned, not_connected

OPEN: Final = ("queued", "running", "waiting", "stopping")
DUE_AT_ONCE: Final = 20
"""Maximum organizations whose runs one transaction starts or ends."""
ABANDONED_AT_ONCE: Final = 5


def render(product: Product[R, C], run: R) -> sync_runs.Run:
    """The full state of one run."""
    return sync_runs.Run(
        id=str(run.id),
        kind=run.kind,
        purpose=run.purpose,
        state=run.state,
        trigger=run.trigger,
        started_by=run.started_by,
        started_by_name=run.started_by_name,
        progress=sync_runs.RunProgress(
            phase=run.phase,
            done=run.done,
            total=run.total,
            noun=product.nouns[run.phase],
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
        **product.rendered(run),
    )


async def change(session: AsyncSession, product: Product[R, C], run_id: UUID, **values: Any) -> R:
    """Change a run's row and increment its version. Returns the new row."""
    runs = product.runs
    statement = update(runs).where(runs.id == run_id).values(version=runs.version + 1, **values).returning(runs)
    # RETURNING refreshes the session's row, so evaluating the new values in Python too would be wasted.
    options = {"populate_existing": True, "synchronize_session": False}
    return (await session.scalars(statement, execution_options=options)).one()


async def tell(session: AsyncSession, product: Product[R, C], run: R) -> None:
    """Publish a run whose version was incremented."""
    fact = product.progressed if run.state in OPEN else product.finished
    await append(session, fact(organization_id=run.organization_id, version=run.version, run=render(product, run)))


async def connected(session: AsyncSession, product: Product[R, C], organization_id: str, sentence: str = "") -> C:
    """The organization's connection. Conflict (409) while it is not connected; `sentence` replaces the usual one."""
    connection = await session.get(product.connections, organization_id)
    if connection is None or connection.state != "connected":
        raise Conflict(sentence or not_connected(product.name), slug="not-connected")
    return connection


async def start(
    session: AsyncSession,
    product: Product[R, C],
    connection: C,
    trigger: str,
    user: UserIdentity | None = None,
    **values: Any,
) -> tuple[R, bool]:
    """Start a run, or join the one in progress, whatever its purpose. Returns the run, and whether it is new.

    trigger: `person` (somebody waits at a screen), `schedule` or another. values: columns of a new run.
    """
    urgent = trigger == "person"
    job_id, created = await jobs.enqueue(session, product.job, connection.organization_id, urgent=urgent)
    if created:
        return await begin(session, product, connection, job_id, trigger, user, **values), True
    if urgent:
        # Nothing is locked yet, so waiting for a job in the middle of a step is safe.
        await jobs.hurry(session, job_id)
    joined = await session.get(product.runs, job_id)
    if joined is None:
        raise Conflict(STARTING, slug="starting")
    return joined, False


async def begin(
    session: AsyncSession,
    product: Product[R, C],
    connection: C,
    job_id: UUID,
    trigger: str,
    user: UserIdentity | None,
    **values: Any,
) -> R:
    """Add the row of a run whose job was just queued, and publish it. `values`: further columns."""
    row = {
        "id": job_id,
        "organization_id": connection.organization_id,
        "pco_organization_id": connection.pco_organization_id,
        "state": "queued",
        "trigger": trigger,
        "started_by": user.user_id if user else None,
        "started_by_name": user.name if user else None,
    }
    run = (await session.scalars(insert(product.runs).values(row | values).returning(product.runs))).one()
    await append(session, product.started(organization_id=run.organization_id, version=1, run=render(product, run)))
    return run


async def stop(
    session: AsyncSession, product: Product[R, C], organization_id: str, run_id: str, *, message: str | None = None
) -> R:
    """*Stop safely*: at once if no worker has the run, else at the end of the current step. NotFound (404).

    message: replaces the product's sentence for a run stopped at once.
    """
    run = await locked(session, product, organization_id, run_id)
    if run.state not in OPEN:
        return run
    if await jobs.request_stop(session, run.id) != "running":
        return await close(session, product, run.id, "stopped", message or product.stopped(run))
    run = await change(session, product, run.id, state="stopping")
    await tell(session, product, run)
    return run


async def close(session: AsyncSession, product: Product[R, C], run_id: UUID, state: str, message: str) -> R:
    """End a run that no worker has: discard what it staged, and keep the schedule.

    The caller has locked the organization's connection, then the run.
    """
    counts = await product.let_go(session, run_id)
    run = await change(session, product, run_id, **over(state, message), counts=counts, finished_at=func.now())
    await keep_schedule(session, product, run.organization_id)
    await tell(session, product, run)
    return run


def over(state: str, message: str | None) -> dict[str, Any]:
    """The columns of a run that no longer waits for anything."""
    nothing = dict.fromkeys(("waiting_for", "question", "eta_low", "eta_high"))
    return {"state": state, "message": message, **nothing}


async def asked(
    session: AsyncSession, product: Product[R, C], organization_id: str, run_id: str, question: str, answer: str
) -> R:
    """The locked run that waits for this answer.

    NotFound (404); Conflict (409) if it asks nothing or another question, or does not take this answer.
    """
    run = await locked(session, product, organization_id, run_id)
    waits_for = run.question
    if run.state != "waiting" or waits_for is None or waits_for["kind"] != question:
        before = next((one for one in reversed(run.answered) if one["question"] == question), None)
        if before is None:
            raise Conflict(NOT_ASKED, slug="no-question")
        raise Conflict(product.answered_before(before["by_name"], before["answer"]), slug="answered")
    if answer not in waits_for["answers"]:
        raise Conflict(f"The answer must be one of: {', '.join(waits_for['answers'])}.", slug="unknown-answer")
    return run


def check_shown(run: R, digest: str | None) -> None:
    """Conflict (409) unless the answer's digest is that of the run's present question."""
    if run.question and digest != run.question.get("digest"):
        raise Conflict(PLAN_MOVED, slug="plan-moved")


def answered(run: R, question: str, answer: str, user: UserIdentity, now: datetime) -> list[Any]:
    """The new value of the column `answered`: the former answers and this one."""
    this = sync_runs.RunAnswer(
        question=question,
        answer=answer,
        by_name=user.name,
        asked_at=min(run.asked_at or now, now),
        answered_at=now,
    )
    return [*run.answered, this.model_dump(mode="json")]


async def go_on(session: AsyncSession, product: Product[R, C], run: R, given: dict[str, Any], answered: list[Any]) -> R:
    """Queue a run again whose question was answered. `given`: the answers that the run now follows, by question."""
    run = await change(
        session,
        product,
        run.id,
        state="queued",
        question=None,
        waiting_for=None,
        answers=run.answers | given,
        answered=answered,
    )
    await jobs.resume(session, run.id, urgent=True)
    await tell(session, product, run)
    return run


async def history(
    session: AsyncSession,
    product: Product[R, C],
    organization_id: str,
    query: PageQuery,
    *where: ColumnElement[bool],
) -> Page[sync_runs.Run]:
    """An organization's runs, newest first."""
    runs = product.runs
    statement = select(runs).where(runs.organization_id == organization_id, *where)
    if query.after:
        created, last = paging.decode(query.after, paging.instant, UUID)
        statement = statement.where(func.row(runs.created_at, runs.id) < func.row(created, last))
    statement = statement.order_by(runs.created_at.desc(), runs.id.desc()).limit(query.limit + 1)
    rows = (await session.scalars(statement)).all()
    page = rows[: query.limit]
    return Page[sync_runs.Run](
        items=tuple(render(product, row) for row in page),
        next=paging.encode(page[-1].created_at.isoformat(), str(page[-1].id)) if len(rows) > query.limit else None,
    )


async def find(session: AsyncSession, product: Product[R, C], organization_id: str, run_id: str) -> R:
    """One run's row. NotFound (404)."""
    return _found(await session.scalar(_by_id(product, organization_id, run_id)))


async def with_lists(session: AsyncSession, product: Product[R, C], organization_id: str, run_id: str, gone: str) -> R:
    """One run's row, for its lists. NotFound (404), also, with the sentence `gone`, if they are no longer kept."""
    run = await find(session, product, organization_id, run_id)
    if run.lists_gone_at is not None:
        raise NotFound(gone, slug="lists-gone")
    return run


async def locked(session: AsyncSession, product: Product[R, C], organization_id: str, run_id: str) -> R:
    """The run, locked after its job, the connection and the settings, as in the run's own steps. NotFound (404)."""
    job = select(JOB.c.id).where(JOB.c.id == _id(run_id), JOB.c.organization_id == organization_id)
    await session.execute(job.with_for_update())
    await session.get(product.connections, organization_id, with_for_update=True)
    await session.get(product.settings, organization_id, with_for_update=True)
    statement = _by_id(product, organization_id, run_id).with_for_update()
    return _found(await session.scalar(statement.execution_options(populate_existing=True)))


async def open_run(session: AsyncSession, product: Product[R, C], organization_id: str) -> R | None:
    """The run in progress, if any."""
    runs = product.runs
    return await session.scalar(select(runs).where(runs.organization_id == organization_id, is_open(runs)))


def is_open(runs: type[R]) -> ColumnElement[bool]:
    """The condition that a run is in progress."""
    # Literals, so that a generic plan uses the index of runs in progress.
    return runs.state.in_([literal_column(f"'{state}'") for state in OPEN])


async def resume_waiting(session: AsyncSession, product: Product[R, C], organization_id: str) -> None:
    """Resume a run that waited for the connection, after a reconnect."""
    run = await open_run(session, product, organization_id)
    if run is not None and run.state == "waiting" and run.question is None:
        await jobs.resume(session, run.id)


async def stop_open(session: AsyncSession, product: Product[R, C], organization_id: str) -> None:
    """Stop the open run and the schedule, because the connection ends."""
    run = await open_run(session, product, organization_id)
    if run is not None:
        await stop(session, product, organization_id, str(run.id))
    connections = product.connections
    of_organization = update(connections).where(connections.organization_id == organization_id)
    await session.execute(of_organization.values(next_run_at=None))


async def schedule(session: AsyncSession, product: Product[R, C], connection: C, now: datetime) -> None:
    """Set the due time of the next run, by the organization's interval."""
    connection.next_run_at = now + await product.interval(session, connection.organization_id)


async def keep_schedule(session: AsyncSession, product: Product[R, C], organization_id: str) -> None:
    """Schedule the next run if none is, because the schedule must survive a scheduled run that failed."""
    connection = await session.get(product.connections, organization_id)
    if connection is not None and connection.state == "connected" and connection.next_run_at is None:
        await schedule(session, product, connection, await clock(session))


async def clock(session: AsyncSession) -> datetime:
    """PostgreSQL's present time."""
    now: datetime = (await session.execute(select(func.clock_timestamp()))).scalar_one()
    return now


async def due(
    session: AsyncSession,
    connections: type[C],
    at: InstrumentedAttribute[datetime | None],
    now: Any,
    *where: ColumnElement[bool],
) -> list[C]:
    """Connected connections that are due by the column `at`, oldest first and locked; `DUE_AT_ONCE` at most.

    now: an instant, or `func.now()`. Rows locked by another process are skipped.
    """
    found = select(connections).where(connections.state == "connected", at <= now, *where)
    found = found.order_by(at).limit(DUE_AT_ONCE).with_for_update(skip_locked=True)
    return list(await session.scalars(found))


async def end_abandoned(session: AsyncSession, product: Product[R, C]) -> int:
    """End runs whose job ended without ending them, after too many unexpected errors in a row.

    Only a few per transaction, because each discards all that it staged. Returns the number of runs checked, at most
    `ABANDONED_AT_ONCE`.
    """
    runs = product.runs
    ended = select(runs.organization_id, runs.id, JOB.c.error).join(JOB, JOB.c.id == runs.id)
    ended = ended.where(runs.state.in_(OPEN), JOB.c.state.in_(["failed", "cancelled", "done"]))
    found = await session.execute(ended.order_by(runs.organization_id).limit(ABANDONED_AT_ONCE))
    rows = found.all()
    for organization_id, run_id, error in rows:
        run = await locked(session, product, organization_id, str(run_id))
        if run.state in OPEN:  # otherwise another process has ended it
            await close(session, product, run_id, "failed", abandoned(error))
    return len(rows)


def _by_id(product: Product[R, C], organization_id: str, run_id: str) -> Select[R]:
    runs = product.runs
    return select(runs).where(runs.organization_id == organization_id, runs.id == _id(run_id))


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise NotFound(NO_SUCH_SYNC) from error


def _found(run: R | None) -> R:
    if run is None:
        raise NotFound(NO_SUCH_SYNC)
    return run
