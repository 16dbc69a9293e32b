"""The job that works refreshes off, beside whatever run is on: who waits at a screen goes first."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, TypeAlias
from uuid import UUID

import structlog
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from pco_client.errors import AnsweredTooLate, LeaseUnavailable, PlanningCenterError, Unauthorized, Unavailable
from servicekit.clock import Clock
from servicekit.errors import is_transient
from servicekit.jobs.queue import LeaseLost, StopRequested, TurnOver
from servicekit.jobs.worker import JobContext
from synckit.errors import NotConnected
from synckit.refreshes import GIVEN_BACK, Done, RefreshColumns, Refreshes

_RECONNECT: Final = timedelta(minutes=5)
_AWAY: Final = timedelta(seconds=10)
_WHILE_AWAY: Final = timedelta(minutes=1)
_MOST_TRIES: Final = 6
_AT_ONCE: Final = 4
"""Records that are synced at the same time: enough to use the vendor's limit up, and few, so that who waits at a screen
finds few before them. For one of those there is a place more."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Again:
    """Nothing can be decided about a record before an instant."""

    until: datetime
    sentence: str | None = None
    """As `RefreshColumns.sentence`."""
    counts: bool = True
    """Whether it is one of the tries after which a record is given up."""
    so_far: str | None = None
    """The outcome of what was done already."""


Settle: TypeAlias = Callable[[], Awaitable[Done | None]]
"""Stores what became of a row. Gives its end, or None if the record is looked at again."""


async def _settled(_session: AsyncSession, _row: RefreshColumns, settle: Settle) -> None:
    await settle()


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a product does with its rows while it is connected."""

    owner: Mapping[str, str]
    """`organization_id` and `pco_organization_id` of the rows."""
    horizon: timedelta
    """The staleness horizon."""
    sync: Callable[[RefreshColumns], Awaitable[Done | Again]]
    """Syncs one record. May raise what is not the record's own fault: no connection, Planning Center away."""
    given_up: Callable[[RefreshColumns], Awaitable[Done | None]]
    """The end of a record that shows nothing new for long. None for one that is never given up."""
    beside_others: Callable[[RefreshColumns], bool]
    """Whether a row touches its record alone, so that others can be synced at the same time."""
    storing: Callable[[AsyncSession, RefreshColumns, Settle], Awaitable[None]] = _settled
    """The product's part of the transaction that stores what became of a row. Has to call `settle`: what is locked
    before the row comes before that."""


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
        # A fact about the connection resumes it at once; one that came a moment too early must not be missed.
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
                return
            if row is None or len(flight) >= _AT_ONCE + row.urgent:
                await _landed(flight)
                continue
            if not beside_others(row):
                await _landed(flight, all_=True)
            flight[row.id] = asyncio.create_task(_guarded(worker, row))
            if not beside_others(row):
                await _landed(flight, all_=True)
    except Exception:
        # Nobody is cut off: what is on its way has an answer that only its sender can store.
        await asyncio.gather(*flight.values(), return_exceptions=True)
        raise
    finally:
        for task in flight.values():
            task.cancel()
        await asyncio.gather(*flight.values(), return_exceptions=True)


async def _landed(flight: dict[UUID, "asyncio.Task[None]"], *, all_: bool = False) -> None:
    """Wait for the first that ends, or for all. An error that is not one record's own is raised."""
    while flight:
        done, _ = await asyncio.wait(flight.values(), return_when=asyncio.FIRST_COMPLETED)
        for row_id in [row_id for row_id, task in flight.items() if task in done]:
            flight.pop(row_id).result()
        if not all_:
            return


async def _next(worker: _Worker, flight: Collection[UUID]) -> RefreshColumns | None:
    """The next that is due and not in flight. If there is none at all the job is given back until one is, or ends."""
    rows, owner = worker.refreshes.rows, worker.work.owner
    of_organization = (*(getattr(rows, name) == value for name, value in owner.items()), rows.state == "queued")
    async with worker.job.transaction() as session:
        row: RefreshColumns | None = await session.scalar(
            select(rows)
            .where(*of_organization, rows.not_before <= worker.clock.now(), rows.id.not_in(flight))
            .order_by(rows.urgent.desc(), rows.not_before, rows.id)
            .limit(1)
        )
        if row is None and not flight:
            queued = select(func.min(rows.not_before), func.bool_or(rows.urgent)).where(*of_organization)
            upcoming, urgent = (await session.execute(queued)).one()
            if upcoming is None:
                await worker.job.finish(session)
            else:
                await worker.job.wait(session, {}, until=upcoming, urgent=urgent)
    return row


async def _guarded(worker: _Worker, row: RefreshColumns) -> None:
    try:
        await _one(worker, row)
    except (LeaseLost, AnsweredTooLate, StopRequested, TurnOver, NotConnected, PlanningCenterError):
        raise
    except Exception as error:
        if is_transient(error) or isinstance(error, OSError):
            raise
        # One bad record is one line in a list, whatever the database says of it.
        log.exception("refresh broke", refresh=str(row.id))
        await _store(worker, row, Again(worker.clock.now() + _AWAY))


async def _one(worker: _Worker, row: RefreshColumns) -> None:
    try:
        end = await worker.work.sync(row)
    except Unavailable as error:
        # It may be this record's alone: the others go first next time.
        log.warning("Planning Center away", refresh=str(row.id), exc_info=error)
        until = worker.clock.now() + (worker.work.horizon if error.outcome_unknown else _AWAY)
        await _store(worker, row, Again(until))
        if not error.outcome_unknown:
            raise
    else:
        await _store(worker, row, end)


async def _store(worker: _Worker, row: RefreshColumns, end: Done | Again) -> None:
    if isinstance(end, Again) and end.counts and row.tries + 1 >= _MOST_TRIES:
        given_up = await worker.work.given_up(row)
        end = given_up or replace(end, until=max(end.until, worker.clock.now() + _WHILE_AWAY))
    async with worker.job.transaction() as session:

        async def settle() -> Done | None:
            found = await session.get_one(worker.refreshes.rows, row.id, with_for_update=True)
            if isinstance(end, Again):
                _wait(found, end)
                return None
            if found.requested_at != row.requested_at:
                # What was typed since may not be in this.
                _ask_again(found, end, worker.clock.now())
                return None
            _finish(found, end, worker.clock.now())
            return end

        await worker.work.storing(session, row, settle)


def _wait(row: RefreshColumns, again: Again) -> None:
    row.not_before, row.sentence = again.until, again.sentence
    row.tries += again.counts
    row.outcome = again.so_far or row.outcome


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
