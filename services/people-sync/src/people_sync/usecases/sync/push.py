"""Phase 2: what changed or was added here, written to Planning Center.

The vendor has neither conditional requests nor idempotency keys, so every write is prepared for the process dying at
any instant:

- Change: read the record right before, decide again, note on the link what is about to be overwritten (a later read
  that shows it is stale, not an edit), send only the fields that differ, check the answer.
- Create: an intent (`creation` row) is committed before the request. If its answer is lost nobody repeats it before
  lease, timeout and staleness horizon are over and Planning Center has been looked through: a person by the marker in
  `remote_id`, a contact by its value, a household by its people.

Before each request the lease is checked to last longer than the request may take.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog
from sqlalchemy import select

from contracts.values import FAMILY, MEMBER
from pco_client.errors import BadRequest, Conflict, NotFound, Rejected, Unavailable
from people_sync.domain.sentences import (
    LATER,
    OUTCOMES,
    REJECTED,
    WAITING_FOR_READS,
    Refusal,
    rejection,
)
from people_sync.storage import runs
from people_sync.storage.tables import Change, Run
from people_sync.usecases.sync.context import Work
from people_sync.usecases.sync.creations import Later, NotYet, Undecidable
from people_sync.usecases.sync.push_family import push_family
from people_sync.usecases.sync.push_person import push_person
from servicekit.job_worker import JobContext

BATCH: Final = 200
_MOST_WAITS: Final = 6
"""How often a run waits for one record before it is left to the next run. A lost answer costs two."""
_WAIT_STEP: Final = 1.0

log = structlog.get_logger(__name__)

Push = Callable[[Work, Change], Awaitable[str]]


@dataclass(slots=True)
class _Wait:
    """A record about which nothing can be decided before `until`, for the `times`-th time."""

    until: datetime
    times: int = 1


Waits = dict[int, _Wait]
"""By change."""


async def push(work: Work) -> None:
    """Write what is planned for Planning Center: people with their contacts, then families."""
    work.pco = work.pco.using(timeout=work.resources.settings.pco_request_timeout_seconds, guard=_guard(work.job, work))
    await _all_of(work, MEMBER, push_person)
    await _all_of(work, FAMILY, push_family)


def _guard(job: JobContext, work: Work) -> Callable[[], Awaitable[None]]:
    seconds = work.resources.settings.pco_request_timeout_seconds

    async def guard() -> None:
        if job.lease_left() <= seconds:
            # A busy machine renews late in the background; whoever lost the job learns it here.
            await job.renew()
        job.check(seconds)

    return guard


async def _all_of(work: Work, kind: str, one: Push) -> None:
    """Until nothing is planned any more. What cannot be decided before an instant comes again after it."""
    waits: Waits = {}
    while True:
        await _round(work, kind, one, waits)
        if not waits:
            return
        await _wait_until(work, min(wait.until for wait in waits.values()))


async def _round(work: Work, kind: str, one: Push, waits: Waits) -> None:
    """Everything planned that need not wait, once, in batches."""
    after = 0
    while True:
        async with work.job.sessions() as session:
            changes = (
                await session.scalars(
                    select(Change)
                    .where(
                        Change.run_id == work.run_id,
                        Change.kind == kind,
                        Change.there == "planned",
                        Change.id > after,
                    )
                    .order_by(Change.id)
                    .limit(BATCH)
                )
            ).all()
        if not changes:
            return
        after = changes[-1].id
        now = work.resources.clock.now()
        due = [change for change in changes if change.id not in waits or waits[change.id].until <= now]
        for change, until in await _together(work, due, one):
            await _again(work, change, until, waits)
        work.job.stop_if_requested()


async def _again(work: Work, change: Change, until: datetime | None, waits: Waits) -> None:
    """Note whether, and when, the run has to come back to a record."""
    before = waits.pop(change.id, None)
    if until is None:
        return
    if before is not None and before.times == _MOST_WAITS:
        await _note(work, change, LATER, sentence=OUTCOMES[LATER])
    else:
        waits[change.id] = _Wait(until, before.times + 1 if before else 1)


async def _together(work: Work, changes: Sequence[Change], one: Push) -> list[tuple[Change, datetime | None]]:
    """Push several records at once; the pacer sets the speed. An error that is not one record's own ends all.

    Each comes back with the instant before which nothing can be decided about it, if there is one.
    """
    limit = asyncio.Semaphore(work.resources.settings.push_at_once)

    async def bounded(change: Change) -> datetime | None:
        async with limit:
            return None if work.job.stop_requested else await _push(work, change, one)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(bounded(change)) for change in changes]
    except ExceptionGroup as failed:
        # All fail for the same reason (no connection, lease lost); the first one speaks for them.
        raise failed.exceptions[0] from failed
    return [(change, task.result()) for change, task in zip(changes, tasks, strict=True)]


async def _wait_until(work: Work, until: datetime) -> None:
    async with work.job.sessions.begin() as session:
        await runs.change(session, work.run_id, waiting_for=WAITING_FOR_READS)
    while (left := (until - work.resources.clock.now()).total_seconds()) > 0:
        work.job.stop_if_requested()
        work.job.check()
        await asyncio.sleep(min(left, _WAIT_STEP))
    async with work.job.sessions.begin() as session:
        await runs.change(session, work.run_id, waiting_for=None)


async def _push(work: Work, change: Change, one: Push) -> datetime | None:
    """Push one record; the instant before which nothing can be decided about it, if there is one."""
    try:
        outcome = await one(work, change)
    except NotYet as error:
        return error.until
    except Later as error:
        await _note(work, change, LATER, sentence=str(error))
    except (Rejected, Conflict, BadRequest) as error:
        reason = rejection([Refusal(p.parameter, p.title, p.detail) for p in error.problems])
        await _note(work, change, REJECTED, cause=reason.cause, sentence=reason.sentence)
    except Undecidable as error:
        await _note(work, change, REJECTED, cause="undecidable", sentence=str(error))
    except NotFound:
        # Gone, or made so lately that it does not show yet: a complete pull decides.
        await _note(work, change, LATER, sentence=OUTCOMES[LATER])
    except Unavailable as error:
        if not error.outcome_unknown:
            raise
        # This one write's outcome is open; the run goes on, and comes back to it when reads can be believed.
        log.warning("outcome unknown", change=change.id, exc_info=error)
        return work.resources.clock.now() + work.resources.horizon
    else:
        await _note(work, change, outcome)
    return None


async def _note(
    work: Work, change: Change, outcome: str, *, cause: str | None = None, sentence: str | None = None
) -> None:
    async with work.job.sessions.begin() as session:
        await work.job.verify(session)
        row = await session.get_one(Change, change.id, with_for_update=True)
        row.there = "later" if outcome in {LATER, REJECTED} else "done"
        row.outcome, row.cause, row.sentence = outcome, cause, sentence
        run = await session.get_one(Run, work.run_id, with_for_update=True)
        run.done += 1
        run.requests += work.requests.take()
        run.version += 1
