"""The life of runs as people see it: start, join, stop, answer, look up."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts import sync_runs
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
    WAITS_FOR_ANSWER,
)
from people_sync.storage.runs import PREVIEW, PROOF, RUNS, SYNC, UNDO
from people_sync.storage.sync_tables import Change, Run
from people_sync.storage.tables import Connection, Link, Settings
from servicekit.errors import Conflict
from synckit import runs
from synckit.changes import changes_of, groups, page_of

APPROVALS: Final = frozenset({"plan", "threshold"})
"""Questions whose answer, unless it stops the run, approves the shown plan."""
EXPIRED: Final = {PREVIEW: PLAN_EXPIRED, UNDO: UNDO_EXPIRED}
"""For purposes that always show a plan: the sentence for a plan that nobody answered."""
_LISTS_GONE: Final = (
    "This sync was long ago: its numbers are kept, but no longer its lists. Look into the history of the person or "
    "family instead."
)
ANSWERABLE: Final = timedelta(hours=24)
"""How long such a plan can be approved."""


async def start(
    session: AsyncSession,
    organization_id: str,
    kind: str,
    trigger: str,
    user: UserIdentity | None = None,
    *,
    purpose: str = SYNC,
) -> sync_runs.Run:
    """Start a run, or join the one in progress, whatever its purpose.

    Conflict (409) while Planning Center People is not connected. A sync or preview requested while a proof still reads
    turns the proof into it.
    """
    connection = await runs.connected(session, RUNS, organization_id)
    # An incremental run needs an earlier full read.
    kind = kind if connection.full_sync_at and connection.cursor else "full"
    run, new = await runs.start(session, RUNS, connection, trigger, user, kind=kind, purpose=purpose, phase="pull")
    if not new and run.purpose == PROOF != purpose and trigger == "person":
        run = await _in_place_of_a_proof(session, organization_id, str(run.id), user, purpose)
    return runs.render(RUNS, run)


async def _in_place_of_a_proof(
    session: AsyncSession, organization_id: str, run_id: str, user: UserIdentity | None, purpose: str
) -> Run:
    """Turn a proof that still reads into a sync or preview. If it is about to end, schedule a sync right after it."""
    run = await runs.locked(session, RUNS, organization_id, run_id)
    if run.purpose != PROOF:
        return run
    if run.phase not in {"pull", "compare"}:
        if purpose == PREVIEW:
            raise Conflict(
                "A comparison of everybody is about to end. Nothing was started: choose Preview again in a moment.",
                slug="busy",
            )
        connection = await session.get_one(Connection, organization_id)
        connection.next_run_at = func.now()
        return run
    by = (user.user_id, user.name) if user else (None, None)
    values = dict(zip(("started_by", "started_by_name"), by, strict=True))
    run = await runs.change(session, RUNS, run.id, purpose=purpose, trigger="person", **values)
    await runs.tell(session, RUNS, run)
    return run


async def stop(session: AsyncSession, organization_id: str, run_id: str) -> sync_runs.Run:
    """*Stop safely*."""
    return runs.render(RUNS, await runs.stop(session, RUNS, organization_id, run_id))


async def answer(
    session: AsyncSession, organization_id: str, run_id: str, body: AnswerRun, user: UserIdentity, now: datetime
) -> sync_runs.Run:
    """Answer a waiting run's question. Conflict (409) if it asks nothing or another question, or shows another plan."""
    run = await runs.asked(session, RUNS, organization_id, run_id, body.question, body.answer)
    answered = runs.answered(run, body.question, body.answer, user, now)
    if body.answer == "stop":
        discarded = PLAN_DISCARDED if body.question in {"plan", UNDO} else None
        await runs.change(session, RUNS, run.id, answered=answered)
        return runs.render(RUNS, await runs.stop(session, RUNS, organization_id, run_id, message=discarded))
    given: dict[str, Any] = {body.question: body.answer}
    if body.question in {*APPROVALS, UNDO}:
        runs.check_shown(run, body.digest)
    if body.question == "first_match":
        chosen = await session.get(Settings, organization_id)
        if chosen is None:
            chosen = Settings(organization_id=organization_id)
            session.add(chosen)
        chosen.first_match = body.answer
    if body.question == UNDO:
        given = {UNDO: {"by_user_id": user.user_id, "by_name": user.name, "inactivate": body.inactivate}}
    if body.question in APPROVALS and body.digest is None:
        given = {}  # the question comes from a version without plans, so it is asked again with a plan
    return runs.render(RUNS, await runs.go_on(session, RUNS, run, given, answered))


async def get(session: AsyncSession, organization_id: str, run_id: str) -> sync_runs.Run:
    """One run. NotFound (404)."""
    return runs.render(RUNS, await runs.find(session, RUNS, organization_id, run_id))


async def history(session: AsyncSession, organization_id: str, query: RunQuery) -> Page[sync_runs.Run]:
    """Runs, newest first."""
    where = [Run.state == query.state] if query.state else []
    if query.undoes:
        where += [Run.purpose == UNDO, Run.subject[query.undoes].astext.is_not(None)]
    return await runs.history(session, RUNS, organization_id, query, *where)


async def items(session: AsyncSession, organization_id: str, run_id: str, query: RunItemQuery) -> Page[RunItem]:
    """The list behind one number of a run."""
    run = await with_lists(session, organization_id, run_id)
    shown = await page_of(session, Change, run.id, changes_of(Change, run.id, query.outcome), query)
    added = await _added_there(session, run, shown.rows)
    found = tuple(_item(row, added.get(row.record_id) if row.record_id else None) for row in shown.rows)
    return Page[RunItem](items=found, next=shown.next, total=shown.total)


async def _added_there(session: AsyncSession, run: Run, rows: Sequence[Change]) -> dict[UUID, str]:
    """Planning Center's ids of people whom the run added there, by our id, since the plan had none."""
    ids = [row.record_id for row in rows if row.outcome == CREATED_THERE and row.record_id and not row.pco_id]
    if not ids:
        return {}
    of_run = {"organization_id": run.organization_id, "pco_organization_id": run.pco_organization_id}
    links = select(Link.record_id, Link.pco_id).filter_by(**of_run, state="linked").where(Link.record_id.in_(ids))
    return dict((await session.execute(links)).all())


async def rejections(session: AsyncSession, organization_id: str, run_id: str) -> Page[RejectionGroup]:
    """A run's refusals by Planning Center, grouped by cause, largest group first."""
    run = await with_lists(session, organization_id, run_id)
    return Page[RejectionGroup](
        items=tuple(
            RejectionGroup(
                cause=group.cause or "unknown",
                sentence=group.sentence or OUTCOMES[REJECTED],
                count=group.count,
                examples=tuple(_item(row) for row in group.examples),
            )
            for group in await groups(session, Change, run.id, REJECTED)
        )
    )


async def prove_due(session: AsyncSession, now: datetime) -> int:
    """Start the due nightly comparisons. Returns the number of due organizations."""
    due = await runs.due(session, Connection, Connection.next_proof_at, now, Connection.mirrored.is_(True))
    for connection in due:
        # A comparison that ends early is not repeated in the same night.
        connection.next_proof_at = next_night(now, connection.time_zone, connection.organization_id)
        await start(session, connection.organization_id, "full", "schedule", purpose=PROOF)
    return len(due)


async def start_due(session: AsyncSession) -> int:
    """Start the due incremental runs. Returns the number of due organizations."""
    synced = Connection.full_sync_at.is_not(None)
    due = await runs.due(session, Connection, Connection.next_run_at, func.now(), synced)
    for connection in due:
        # None until the run ends, so that no replica starts a second one.
        connection.next_run_at = None
        await start(session, connection.organization_id, "incremental", "schedule")
    return len(due)


async def end_unanswered(session: AsyncSession, now: datetime) -> int:
    """End previews and undos whose plan nobody answered within a day, so that the schedule continues.

    Returns the number of runs checked, at most `synckit.runs.DUE_AT_ONCE`.
    """
    waiting = select(Run.organization_id, Run.id).where(
        Run.state == "waiting", Run.purpose.in_(EXPIRED), Run.question.is_not(None), Run.asked_at < now - ANSWERABLE
    )
    found = (await session.execute(waiting.order_by(Run.organization_id).limit(runs.DUE_AT_ONCE))).all()
    for organization_id, run_id in found:
        run = await runs.locked(session, RUNS, organization_id, str(run_id))
        if run.state == "waiting" and run.question and run.asked_at and run.asked_at < now - ANSWERABLE:
            await runs.stop(session, RUNS, organization_id, str(run_id), message=EXPIRED[run.purpose])
    return len(found)


async def with_lists(session: AsyncSession, organization_id: str, run_id: str) -> Run:
    """One run's row, for its lists. NotFound (404), also if the lists are no longer kept."""
    return await runs.with_lists(session, RUNS, organization_id, run_id, _LISTS_GONE)


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
