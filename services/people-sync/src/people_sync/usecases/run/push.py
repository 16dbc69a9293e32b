"""Phase 2: writes changes and additions here to Planning Center.

The vendor has neither conditional requests nor idempotency keys, so every write must survive the process's death at any
instant:

- Change: read the record right before, decide again, note each field to be overwritten (a later read with its former
value is stale, not an edit), send only the differing fields, check the answer.
- Create: an intent (`creation` row) is committed before the request. After a lost answer the request is repeated only
once lease, timeout and staleness horizon are over and a search of Planning Center has failed: for a person by the
marker in `remote_id`, for a contact by its value, for a household by its people.

Before each request the lease is checked to last longer than the request may take.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import select

from contracts.http.plans import PlanField
from contracts.values import FAMILY, MEMBER
from pco_client.errors import NotFound, Unavailable
from people_sync.domain.sentences import (
    CONFLICT,
    CREATED_THERE,
    INACTIVATED_THERE,
    LATER,
    LEFT_OUT,
    LEFT_OUT_HALFWAY,
    LINKED,
    MADE_INACTIVE,
    OTHERS_SYNCED,
    OUTCOMES,
    PUT_BACK_IN_CONFLICT,
    REJECTED,
    STATUS_KEPT,
    UNDONE,
    UPDATED_BOTH,
    WAITING_FOR_READS,
    kept_out_halfway,
    left_of_an_undo,
    together,
)
from people_sync.storage.sync_tables import Change, Run
from people_sync.usecases.record.catch_up import catch_up
from people_sync.usecases.record.claims import Busy, LeftAlone, claimed
from people_sync.usecases.record.creations import Later
from people_sync.usecases.record.inactivate import make_inactive
from people_sync.usecases.record.planned import LeftOut, approved_fields
from people_sync.usecases.record.refusals import DEFINITE, PartRefused, refusal_of
from people_sync.usecases.record.settling import settle_strays
from people_sync.usecases.record.write_family import write_family
from people_sync.usecases.record.write_person import write_person
from people_sync.usecases.refreshes import REFRESHES, UNANSWERED
from people_sync.usecases.run.context import RunContext
from people_sync.usecases.run.undo_plan import undoing
from synckit import refreshes
from synckit.errors import NotYet
from synckit.guard import guarded

BATCH: Final = 200
_WHILE_BUSY: Final = timedelta(seconds=2)
"""Pause for a record that another worker is writing, which takes seconds."""
_MOST_WAITS: Final = 6
"""Maximum waits of a run for one record before it is postponed to the next run. A lost answer costs two."""

log = structlog.get_logger(__name__)

Push = Callable[[RunContext, Change], Awaitable[tuple[str, list[str]]]]
"""Pushes one change; gives the outcome and further sentences."""


@dataclass(slots=True)
class _Wait:
    """A record that is undecidable before `until`, for the `times`-th time."""

    until: datetime
    times: int = 1


Waits = dict[int, _Wait]
"""Waits by change id. The checkpoint keeps them, so that a resumed run continues their counts."""


async def push(context: RunContext) -> None:
    """Carry out the plans for Planning Center: people with their contacts, then families."""
    context.pco = guarded(context.pco, context.job, context.resources.settings.pco_request_timeout_seconds)
    await _all_of(context, MEMBER, _person)
    await _all_of(context, FAMILY, _family)


async def _person(context: RunContext, change: Change) -> tuple[str, list[str]]:
    assert change.record_id is not None
    async with claimed(context, MEMBER, change.record_id):
        said = await settle_strays(context, change.record_id)
        if change.outcome == MADE_INACTIVE:
            about = await undoing(context)
            return await make_inactive(context, change.record_id, change.pco_id, about.approved_by), said
        inactivate = change.outcome == INACTIVATED_THERE
        return await write_person(context, change.record_id, inactivate=inactivate, approved=_approved(change)), said


async def _family(context: RunContext, change: Change) -> tuple[str, list[str]]:
    assert change.record_id is not None
    async with claimed(context, FAMILY, change.record_id):
        said = await settle_strays(context, change.record_id)
        return await write_family(context, change.record_id, approved=_approved(change)), said


def _approved(change: Change) -> tuple[PlanField, ...] | None:
    """The approved fields of a record, None without a limit. Values put back by an undo are ordinary edits."""
    return None if change.outcome == UNDONE else approved_fields(change.plan)


async def _all_of(context: RunContext, kind: str, one: Push) -> None:
    """Push until no change is planned. Undecidable changes are retried after their time."""
    kept = context.checkpoint.put_off
    waits = {int(change): _Wait(datetime.fromisoformat(until), times) for change, (until, times) in kept.items()}
    while True:
        await _round(context, kind, one, waits)
        if not waits:
            return
        context.wait_until(min(wait.until for wait in waits.values()), WAITING_FOR_READS)


async def _round(context: RunContext, kind: str, one: Push, waits: Waits) -> None:
    """Push every due change once, in batches."""
    after, planned = 0, set[int]()
    while True:
        async with context.job.sessions() as session:
            changes = (
                await session.scalars(
                    select(Change)
                    .where(
                        Change.run_id == context.run_id,
                        Change.kind == kind,
                        Change.there == "planned",
                        Change.id > after,
                    )
                    .order_by(Change.id)
                    .limit(BATCH)
                )
            ).all()
        if not changes:
            # The change was done right before a process died with it in its checkpoint.
            for done in waits.keys() - planned:
                del waits[done]
            return
        after = changes[-1].id
        planned |= {change.id for change in changes}
        if any(change.outcome == CREATED_THERE for change in changes):
            await _look_for_newcomers(context)
        now = context.resources.clock.now()
        due = [change for change in changes if change.id not in waits or waits[change.id].until <= now]
        for change, until in await _together(context, due, one):
            await _again(context, change, until, waits)
        await _keep(context, waits)
        context.job.stop_if_requested()


async def _look_for_newcomers(context: RunContext) -> None:
    """Read newcomers before a creation: once, and again when the last look is older than the staleness horizon."""
    looked_at = context.caught_up_at
    if looked_at is None or context.now() - looked_at > context.resources.horizon:
        cursor = context.checkpoint.cursor
        now = context.now()
        await catch_up(context, datetime.fromisoformat(cursor) if cursor else None)
        context.caught_up_at = now


async def _again(context: RunContext, change: Change, until: datetime | None, waits: Waits) -> None:
    """Note whether, and when, the run must retry a change."""
    before = waits.pop(change.id, None)
    if until is None:
        return
    if before is not None and before.times == _MOST_WAITS:
        await _note(context, change, LATER, sentence=OUTCOMES[LATER])
        await _look_after_the_run(context, change, until)
    else:
        waits[change.id] = _Wait(until, before.times + 1 if before else 1)


async def _keep(context: RunContext, waits: Waits) -> None:
    """Store the waits in the checkpoint if they have changed."""
    kept = {str(change): (wait.until.isoformat(), wait.times) for change, wait in waits.items()}
    if kept != context.checkpoint.put_off:
        async with context.transaction() as session:
            context.checkpoint.put_off = kept
            await context.job.checkpoint(session, context.checkpoint.to_json())


async def _together(context: RunContext, changes: Sequence[Change], one: Push) -> list[tuple[Change, datetime | None]]:
    """Push several records at once; the pacer sets the speed. An error beyond one record ends all.

    Each change comes back with the instant before which it is undecidable, if any.
    """
    limit = asyncio.Semaphore(context.resources.settings.push_at_once)
    failed: list[BaseException] = []

    async def bounded(change: Change) -> datetime | None:
        async with limit:
            if failed or context.job.leaving:
                return None
            try:
                return await _push(context, change, one)
            except Exception as error:  # noqa: BLE001 - raised below
                failed.append(error)
                return None

    # No push is cancelled: only the sender of a request in flight can store its answer.
    found = await asyncio.gather(*(bounded(change) for change in changes))
    if failed:
        # All fail for one reason (no connection, lease lost), so the first error represents them.
        raise failed[0]
    return list(zip(changes, found, strict=True))


async def _push(context: RunContext, change: Change, one: Push) -> datetime | None:
    """Push one record; gives the instant before which it is undecidable, if any."""
    try:
        return await _attempt(context, change, one)
    except LeftAlone:
        outcome, sentence = kept_out_halfway(change.outcome, done_here=change.here == "done")
        await _note(context, change, outcome, sentence=sentence)
        return None


async def _attempt(context: RunContext, change: Change, one: Push) -> datetime | None:
    try:
        now, said = await one(context, change)
    except NotYet as error:
        return error.until
    except Busy:
        return context.now() + _WHILE_BUSY
    except (Later, LeftOut) as error:
        await _leave(context, change, error)
    except PartRefused as error:
        await _note(context, change, REJECTED, cause=error.cause, sentence=str(error))
    except DEFINITE as error:
        reason = await refusal_of(context, change.kind, error)
        await _note(context, change, REJECTED, cause=reason.cause, sentence=reason.sentence)
    except NotFound:
        # Gone, or too new to show: a complete pull decides.
        await _note(context, change, LATER, sentence=OUTCOMES[LATER])
        await _look_after_the_run(context, change, context.now() + context.resources.horizon)
    except Unavailable as error:
        if not error.outcome_unknown:
            raise
        # Only this write's outcome is unknown; the run goes on and retries once reads are conclusive.
        log.warning("outcome unknown", change=change.id, exc_info=error)
        return context.resources.clock.now() + context.resources.horizon
    else:
        outcome = together(change.outcome, now)
        said = [*_said_before(change.sentence or "", outcome), *said]
        exact = PUT_BACK_IN_CONFLICT if change.outcome == UNDONE and outcome == CONFLICT else None
        sentence = " ".join([exact or OUTCOMES[outcome], *said]) if exact or said else None
        await _note(context, change, outcome, sentence=sentence)
    return None


async def _leave(context: RunContext, change: Change, why: Later | LeftOut) -> None:
    """Postpone a record to the next run, with the reason."""
    if isinstance(why, Later):
        await _note(context, change, LATER, sentence=str(why))
        return
    halfway = change.here == "done" and change.outcome in {UPDATED_BOTH, CONFLICT, LINKED}
    await _note(context, change, LEFT_OUT, sentence=LEFT_OUT_HALFWAY if halfway else OUTCOMES[LEFT_OUT])


def _said_before(sentence: str, outcome: str) -> list[str]:
    """Parts of a change's sentence that stay true after the push."""
    if outcome == CONFLICT and OTHERS_SYNCED in sentence:
        return [OTHERS_SYNCED]
    if STATUS_KEPT in sentence:
        return [STATUS_KEPT]
    return left_of_an_undo(sentence) if outcome == UNDONE else []


async def _look_after_the_run(context: RunContext, change: Change, until: datetime) -> None:
    """Request a single sync of a postponed record, for when it becomes decidable.

    Not in an approved run, since a single sync would write unapproved changes; the next run continues.
    """
    if context.approved:
        return
    async with context.transaction() as session:
        await refreshes.request(
            session,
            REFRESHES,
            context.owner,
            change.kind,
            record_id=change.record_id,
            reason=UNANSWERED,
            urgent=False,
            not_before=until,
            now=context.now(),
        )


async def _note(
    context: RunContext, change: Change, outcome: str, *, cause: str | None = None, sentence: str | None = None
) -> None:
    async with context.transaction() as session:
        row = await session.get_one(Change, change.id, with_for_update=True)
        row.there = "later" if outcome in {LATER, REJECTED, LEFT_OUT} else "done"
        row.outcome, row.cause, row.sentence = outcome, cause, sentence
        run = await session.get_one(Run, context.run_id, with_for_update=True)
        run.done += 1
        run.requests += context.requests.take()
        run.version += 1
