"""The job that works off refreshes while runs go on. Refreshes that somebody waits for at a screen go first."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, TypeAlias
from uuid import UUID

import structlog
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from pco_client.errors import AnsweredTooLate, LeaseUnavailable, PlanningCenterError, Unauthorized, Unavailable
from servicekit.clock import Clock
from servicekit.errors import is_transient
from servicekit.jobs.queue import LeaseLost, StopRequested, TurnOver
from servicekit.jobs.worker import JobContext
from synckit import hints
from synckit.errors import NotConnected
from synckit.refreshes import GIVEN_BACK, Done, RefreshColumns, Refreshes, may_end

_RECONNECT: Final = timedelta(minutes=5)
_AWAY: Final = timedelta(seconds=10)
_WHILE_AWAY: Final = timedelta(minutes=1)
_MOST_TRIES: Final = 6
_WHILE_REQUESTED: Final = 0.02
"""Seconds between two looks for a row that is about to be committed."""
_AT_ONCE: Final = 4
"""Records synced at the same time: enough to use the vendor's limit, but few, so that an urgent record waits only for a
few. An urgent record has one place more.
"""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Again:
    """The record is postponed to an instant."""

    until: datetime
    sentence: str | None = None
    """As `RefreshColumns.sentence`."""
    counts: bool = True
    """Whether this postponement counts towards the limit of tries."""
    so_far: str | None = None
    """The outcome of the part already done."""
    firm: bool = False
    """Whether a request that came meanwhile waits as long. Otherwise it is carried out at once."""


Settle: TypeAlias = Callable[[], Awaitable[Done | None]]
"""Stores the outcome of a row. Gives its end, or None if the record is queued again."""


async def _settled(_session: AsyncSession, _row: RefreshColumns, settle: Settle) -> None:
    await settle()


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The product's part of the work on its rows, while it is connected."""

    owner: Mapping[str, str]
    """`organization_id` and `pco_organization_id` of the rows."""
    horizon: timedelta
    """The staleness horizon."""
    sync: Callable[[RefreshColumns], Awaitable[Done | Again]]
    """Syncs one record. May raise errors that the record did not cause: no connection, Planning Center away."""
    given_up: Callable[[RefreshColumns], Awaitable[Done | None]]
    """The end of a record postponed too often. None if it is never given up."""
    beside_others: Callable[[RefreshColumns], bool]
    """Whether a row touches only its own record, so that others can be synced at the same time."""
    storing: Callable[[AsyncSession, RefreshColumns, Settle], Awaitable[None]] = _settled
    """The product's part of the transaction that stores a row's outcome. It must call `settle`, after taking the locks
    that precede the row's.
    """


@dataclass(frozen=True, slots=True)
class _Worker:
    job: JobContext
    refreshes: Refreshes
    clock: Clock
    work: Work


async def work_off(
    job: JobContext, refreshes: Refreshes, clock: Clock, begun: AbstractAsyncContextManager[Work]
) -> None:
    """Work off an organization's rows, for a `servicekit.jobs.queue.Run`.

    `begun` opens what the product needs, and raises NotConnected while there is no connection.
    """
    try:
        async with begun as work:
            await _all(_Worker(job, refreshes, clock, work))
    except (NotConnected, Unauthorized):
        # A fact about the connection resumes the job at once. The retry covers a fact that came before the job waited.
        await _give_back(job, clock.now() + _RECONNECT)
    except AnsweredTooLate as error:
        raise LeaseLost(str(error)) from error
    except (Unavailable, LeaseUnavailable) as error:
        log.warning("Planning Center away", job=str(job.id), exc_info=error)
        await _give_back(job, clock.now() + _AWAY)


async def _all(worker: _Worker) -> None:
    job, beside_others = worker.job, worker.work.beside_others
    flight: dict[UUID, asyncio.Task[None]] = {}
    try:
        while True:
            if job.leaving:
                await _landed(flight, all_=True)
                job.stop_if_requested()
            row = await _next(worker, flight)
            if row is None and not flight:
                if job.over:
                    return
                await asyncio.sleep(_WHILE_REQUESTED)
                continue
            if row is None or len(flight) >= _AT_ONCE + row.urgent:
                await _landed(flight)
                continue
            if not beside_others(row):
                await _landed(flight, all_=True)
            flight[row.id] = asyncio.create_task(_guarded(worker, row))
            if not beside_others(row):
                await _landed(flight, all_=True)
    except Exception:
        # Requests under way are not cancelled, because only their sender can store the answers.
        await asyncio.gather(*flight.values(), return_exceptions=True)
        raise
    finally:
        for task in flight.values():
            task.cancel()
        await asyncio.gather(*flight.values(), return_exceptions=True)


async def _landed(flight: dict[UUID, "asyncio.Task[None]"], *, all_: bool = False) -> None:
    """Wait for the first task to end, or for all. Raises errors that no single record caused."""
    while flight:
        done, _ = await asyncio.wait(flight.values(), return_when=asyncio.FIRST_COMPLETED)
        for row_id in [row_id for row_id, task in flight.items() if task in done]:
            flight.pop(row_id).result()
        if not all_:
            return


async def _next(worker: _Worker, flight: Collection[UUID]) -> RefreshColumns | None:
    """The next due row that is not in flight. Without one, the job waits for the next due time, or ends, unless
    somebody is about to commit a request.
    """
    rows, owner = worker.refreshes.rows, worker.work.owner
    of_organization = (*(getattr(rows, name) == value for name, value in owner.items()), rows.state == "queued")
    async with worker.job.transaction() as session:
        row = await _due(session, worker, of_organization, flight)
        if row is None and not flight:
            if not await may_end(session, worker.refreshes, worker.job.organization_id):
                return None
            row = await _due(session, worker, of_organization, flight)
        if row is None and not flight:
            queued = select(func.min(rows.not_before), func.bool_or(rows.urgent)).where(*of_organization)
            upcoming, urgent = (await session.execute(queued)).one()
            if upcoming is None:
                await worker.job.finish(session)
            else:
                await worker.job.wait(session, {}, until=upcoming, urgent=urgent)
    return row


async def _due(
    session: AsyncSession, worker: _Worker, where: Collection[ColumnElement[bool]], flight: Collection[UUID]
) -> RefreshColumns | None:
    rows = worker.refreshes.rows
    row: RefreshColumns | None = await session.scalar(
        select(rows)
        .where(*where, rows.not_before <= worker.clock.now(), rows.id.not_in(flight))
        .order_by(rows.urgent.desc(), rows.not_before, rows.id)
        .limit(1)
    )
    return row


async def _guarded(worker: _Worker, row: RefreshColumns) -> None:
    try:
        await _one(worker, row)
    except (LeaseLost, AnsweredTooLate, StopRequested, TurnOver, NotConnected, PlanningCenterError):
        raise
    except Exception as error:
        if is_transient(error) or isinstance(error, OSError):
            raise
        # One bad record must not stop the others, whatever error the database raises for it.
        log.exception("refresh failed", refresh=str(row.id))
        await _store(worker, row, Again(worker.clock.now() + _AWAY))


async def _one(worker: _Worker, row: RefreshColumns) -> None:
    try:
        end = await worker.work.sync(row)
    except Unavailable as error:
        # Only this record may be affected, so the others go first next time.
        log.warning("Planning Center away", refresh=str(row.id), exc_info=error)
        until = worker.clock.now() + (worker.work.horizon if error.outcome_unknown else _AWAY)
        await _store(worker, row, Again(until, firm=True))
        if not error.outcome_unknown:
            raise
    else:
        await _store(worker, row, end)


async def _store(worker: _Worker, row: RefreshColumns, end: Done | Again) -> None:
    if isinstance(end, Again) and end.counts and row.tries + 1 >= _MOST_TRIES:
        given_up = await worker.work.given_up(row)
        end = given_up or replace(end, until=max(end.until, worker.clock.now() + _WHILE_AWAY))
    ended: RefreshColumns | None = None
    left = False
    async with worker.job.transaction() as session:

        async def settle() -> Done | None:
            nonlocal ended
            found = await session.get_one(worker.refreshes.rows, row.id, with_for_update=True)
            asked_meanwhile = found.requested_at != row.requested_at
            if isinstance(end, Again):
                _wait(found, end, asked_meanwhile=asked_meanwhile and not end.firm)
                return None
            if asked_meanwhile:
                # An edit since the request may not be included in this sync.
                _ask_again(found, end, worker.clock.now())
                return None
            _finish(found, end, worker.clock.now())
            ended = found
            return end

        await worker.work.storing(session, row, settle)
        if ended is not None:
            left = await hints.answer(session, worker.refreshes, ended, worker.clock.now())
    while left and ended is not None:
        async with worker.job.transaction() as session:
            left = await hints.answer(session, worker.refreshes, ended, worker.clock.now())


def _wait(row: RefreshColumns, again: Again, *, asked_meanwhile: bool) -> None:
    row.outcome = again.so_far or row.outcome
    if not asked_meanwhile:
        row.not_before, row.sentence = again.until, again.sentence
        row.tries += again.counts


def _ask_again(row: RefreshColumns, done: Done, now: datetime) -> None:
    row.not_before, row.tries, row.sentence = now, 0, None
    row.outcome = done.outcome if done.lasting else row.outcome


def _finish(row: RefreshColumns, done: Done, now: datetime) -> None:
    row.state, row.outcome, row.sentence = "done", done.outcome, done.sentence
    row.tries += 1
    row.finished_at = now


async def _give_back(job: JobContext, until: datetime) -> None:
    async with job.transaction() as session:
        await job.wait(session, {GIVEN_BACK: True}, until=until)
