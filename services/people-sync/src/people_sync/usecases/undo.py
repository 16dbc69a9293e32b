"""Undo: a run that shows what it would put back, and does so once approved (`usecases/run/undo.py`)."""

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts import sync_runs
from contracts.http.plans import UndoInput
from contracts.identity import UserIdentity
from contracts.values import FAMILY, MEMBER
from people_sync.storage.runs import RUNS, UNDO
from people_sync.storage.sync_tables import Conflict as Conflicts
from people_sync.storage.sync_tables import Run
from people_sync.storage.tables import Effect, Family, Member
from people_sync.storage.undo import KEPT, Scope, anything
from people_sync.usecases.run.undo_plan import scope_of
from servicekit.errors import Conflict, Invalid, NotFound
from servicekit.jobs import queue as jobs
from synckit import runs

_EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
_WORDS: Final = {
    "run": "There is no such sync.",
    "decision": "There is no such decision, or it changed nothing.",
    "rule": "There is no such rule, or it changed nothing.",
    MEMBER: "There is no such member.",
    FAMILY: "There is no such family.",
}

_NOT_CONNECTED: Final = (
    "Planning Center People is not connected, and an undo changes both sides. Nothing was started. "
    "Connect it on the Integrations page, then undo."
)
_AT_WORK: Final = {
    "decision": "This decision is still being carried out. Nothing was started: undo it once that is done.",
    "rule": "Decisions of this rule are still being carried out. Nothing was started: revert them once that is done.",
}


async def start(session: AsyncSession, user: UserIdentity, body: UndoInput, now: datetime) -> sync_runs.Run:
    """Queue the run that plans an undo, on behalf of `user`.

    Invalid (422) unless exactly one scope is given, NotFound (404). Conflict (409) during a sync, while Planning Center
    is not connected, and if nothing can be put back.
    """
    organization_id = user.organization_id
    scope = _scope(body)
    await _exists(session, organization_id, scope)
    if await session.scalar(anything(organization_id, scope, now - KEPT)) is None:
        raise Conflict(await _why_nothing(session, organization_id, scope), slug="nothing-to-undo")
    connection = await runs.connected(session, RUNS, organization_id, _NOT_CONNECTED)
    job_id, created = await jobs.enqueue(session, RUNS.job, organization_id, urgent=True)
    if not created:
        raise _busy()
    subject = body.model_dump(mode="json", exclude_none=True)
    of_undo: dict[str, Any] = {"kind": "incremental", "phase": "compare", "purpose": UNDO, "subject": subject}
    return runs.render(RUNS, await runs.begin(session, RUNS, connection, job_id, "person", user, **of_undo))


def _scope(body: UndoInput) -> Scope:
    try:
        scope = scope_of(body)
    except ValueError as error:
        raise NotFound("There is nothing with this id.") from error
    if scope is None:
        raise Invalid(
            "Say exactly one thing to undo: a sync, a decision, a rule, a member or a family. Nothing was started.",
            errors=[
                {"field": "", "message": "needs exactly one of run_id, decision_id, rule_id, member_id, family_id"}
            ],
        )
    return scope


async def _exists(session: AsyncSession, organization_id: str, scope: Scope) -> None:
    """NotFound (404), also for another organization's scope; Conflict (409) while it is still being carried out."""
    if scope.what == "run":
        state = await _value(session, select(Run.state).filter_by(organization_id=organization_id, id=scope.id))
        if state in runs.OPEN:
            raise _busy()
        found: Any = state
    elif scope.what in {MEMBER, FAMILY}:
        record: type[Member] | type[Family] = Member if scope.what == MEMBER else Family
        found = await _value(
            session,
            select(record.id).where(
                record.organization_id == organization_id, record.id == scope.id, record.deleted_at.is_(None)
            ),
        )
    else:
        of_cause = {"organization_id": organization_id, "cause": scope.what, "cause_id": scope.id}
        found = await _value(session, select(Effect.id).filter_by(**of_cause).limit(1))
        if await _is_waiting(session, organization_id, scope):
            raise Conflict(_AT_WORK[scope.what], slug="at-work")
    if found is None:
        raise NotFound(_WORDS[scope.what])


async def _is_waiting(session: AsyncSession, organization_id: str, scope: Scope) -> bool:
    name = "id" if scope.what == "decision" else "rule_id"
    waiting = select(Conflicts.id).where(
        Conflicts.organization_id == organization_id,
        Conflicts.decision.is_not(None),
        Conflicts.decision[name].astext == str(scope.id),
    )
    return await session.scalar(waiting.limit(1)) is not None


async def _value(session: AsyncSession, statement: Any) -> Any:
    return await session.scalar(statement)


async def _why_nothing(session: AsyncSession, organization_id: str, scope: Scope) -> str:
    if await session.scalar(anything(organization_id, scope, _EVER)) is not None:
        return "This was more than 30 days ago, so it can no longer be undone. Edit the records instead."
    return (
        "No sync changed its values here or in Planning Center, so there is nothing to put back. To end what is kept "
        "different, open the record's page."
    )


def _busy() -> Conflict:
    return Conflict("A sync is running. Nothing was started: wait until it ends or stop it, then undo.", slug="busy")
