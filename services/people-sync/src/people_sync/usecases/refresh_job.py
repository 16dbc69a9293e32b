"""The job that works refreshes off, beside whatever run is on: who waits at a screen goes first."""

import asyncio
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy import delete, func, select

from contracts.values import MEMBER
from pco_client.client import Observation, PlanningCenter
from pco_client.errors import (
    AnsweredTooLate,
    Forbidden,
    LeaseUnavailable,
    NotFound,
    PlanningCenterError,
    Unauthorized,
    Unavailable,
)
from pco_client.pacer import Priority
from people_sync.domain.sentences import (
    ASKING,
    CREATED_HERE,
    CREATED_THERE,
    KEPT_OUT,
    LATER,
    LINKED,
    LOOKS_AGAIN,
    OUTCOMES,
    REJECTED,
    ROLE_IS_GONE,
    UNCHANGED,
    UNREADABLE,
    UPDATED_BOTH,
    UPDATED_HERE,
    UPDATED_THERE,
)
from people_sync.planning_center import DEFAULT_COUNTRY
from people_sync.resources import Resources
from people_sync.storage.sync_tables import Refresh, Sighting
from people_sync.storage.tables import Connection, Settings
from people_sync.usecases.decisions import DECIDED, finish, is_decided, waiting_for
from people_sync.usecases.history import JOINED, REFRESH
from people_sync.usecases.record.claims import Busy, LeftAlone, take_over_abandoned
from people_sync.usecases.record.creations import Later, NotYet
from people_sync.usecases.record.one import Synced, sync_family, sync_member, sync_stranger
from people_sync.usecases.record.refusals import DEFINITE, PartRefused, refusal_of
from people_sync.usecases.record.writer import Cause, Writer, guarded, has_chosen, policy_of
from servicekit.errors import is_transient
from servicekit.jobs.queue import LeaseLost, StopRequested, TurnOver
from servicekit.jobs.worker import JobContext
from synckit.errors import NotConnected

_RECONNECT: Final = timedelta(minutes=5)
_AWAY: Final = timedelta(seconds=10)
_WHILE_BUSY: Final = timedelta(seconds=1)
_WHILE_AWAY: Final = timedelta(minutes=1)
_MOST_TRIES: Final = 6
_AT_ONCE: Final = 4
"""Members that are synced at the same time: enough to use the vendor's limit up, and few, so that who waits at a screen
finds few before them. For one of those there is a place more."""

_CHANGED: Final = frozenset({CREATED_HERE, CREATED_THERE, UPDATED_HERE, UPDATED_THERE, UPDATED_BOTH, LINKED})
"""Outcomes that stay true if the record is looked at once more and nothing is left to do."""

GIVEN_BACK: Final = "given_back"
"""In the checkpoint of a job that waits for Planning Center, or for the connection, and not for a row's time."""

log = structlog.get_logger(__name__)


async def work_off(job: JobContext, resources: Resources) -> None:
    """Work off an organization's refreshes (`servicekit.jobs.queue.Run`)."""
    try:
        async with job.sessions() as session:
            connection = await session.get(Connection, job.organization_id)
            chosen = await session.get(Settings, job.organization_id)
        if connection is None or connection.state != "connected":
            # A fact about the connection resumes it at once; one that came a moment too early must not be missed.
            await _give_back(job, resources.clock.now() + _RECONNECT)
            return
        async with resources.planning_center(job.organization_id, connection.pco_organization_id, _unobserved) as pco:
            await _all(_writer(job, resources, pco, connection, chosen))
    except (NotConnected, Unauthorized):
        await _give_back(job, resources.clock.now() + _RECONNECT)
    except AnsweredTooLate as error:
        raise LeaseLost(str(error)) from error
    except (Unavailable, LeaseUnavailable) as error:
        log.warning("Planning Center away", job=str(job.id), exc_info=error)
        await _give_back(job, resources.clock.now() + _AWAY)


def _unobserved(_: Observation) -> None:
    return


def _writer(
    job: JobContext, resources: Resources, pco: PlanningCenter, connection: Connection, chosen: Settings | None
) -> Writer:
    return Writer(
        job=job,
        resources=resources,
        pco=guarded(pco, job, resources.settings.pco_request_timeout_seconds),
        organization_id=job.organization_id,
        pco_organization_id=connection.pco_organization_id,
        cause=Cause(REFRESH, job.id),
        policy=policy_of(chosen, connection.country_code or DEFAULT_COUNTRY),
        chosen=has_chosen(chosen),
    )


async def _all(writer: Writer) -> None:
    async with writer.transaction() as session:
        await take_over_abandoned(session, writer)
    flight: dict[UUID, asyncio.Task[None]] = {}
    try:
        while True:
            if writer.job.leaving:
                await _landed(flight, all_=True)
                writer.job.stop_if_requested()
            row = await _next(writer, flight)
            if row is None and not flight:
                return
            if row is None or len(flight) >= _AT_ONCE + row.urgent:
                await _landed(flight)
                continue
            if not _beside_others(row):
                await _landed(flight, all_=True)
            flight[row.id] = asyncio.create_task(_guarded(writer, row))
            if not _beside_others(row):
                await _landed(flight, all_=True)
    except Exception:
        # Nobody is cut off: what is on its way has an answer that only its sender can store.
        await asyncio.gather(*flight.values(), return_exceptions=True)
        raise
    finally:
        for task in flight.values():
            task.cancel()
        await asyncio.gather(*flight.values(), return_exceptions=True)


def _beside_others(row: Refresh) -> bool:
    """Whether it is about one member alone, so that others can be synced at the same time: the vendor sets the pace."""
    return row.kind == MEMBER and row.record_id is not None and (row.urgent or row.reasons == [DECIDED])


async def _landed(flight: dict[UUID, "asyncio.Task[None]"], *, all_: bool = False) -> None:
    """Wait for the first that ends, or for all. An error that is not one record's own is raised."""
    while flight:
        done, _ = await asyncio.wait(flight.values(), return_when=asyncio.FIRST_COMPLETED)
        for row_id in [row_id for row_id, task in flight.items() if task in done]:
            flight.pop(row_id).result()
        if not all_:
            return


async def _guarded(writer: Writer, row: Refresh) -> None:
    priority = Priority.INTERACTIVE if row.urgent else Priority.BULK
    one = replace(writer, pco=writer.pco.using(priority=priority), cause=Cause(REFRESH, row.id))
    try:
        await _one(one, row)
    except (LeaseLost, AnsweredTooLate, StopRequested, TurnOver, NotConnected, PlanningCenterError):
        raise
    except Exception as error:
        if is_transient(error) or isinstance(error, OSError):
            raise
        # One bad record is one line in a list, whatever the database says of it.
        log.exception("refresh broke", refresh=str(row.id))
        await _again(one, row, one.now() + _AWAY, LOOKS_AGAIN)


async def _next(writer: Writer, flight: Collection[UUID]) -> Refresh | None:
    """The next that is due and not in flight. If there is none at all the job is given back until one is, or ends."""
    of_organization = (
        Refresh.organization_id == writer.organization_id,
        Refresh.pco_organization_id == writer.pco_organization_id,
        Refresh.state == "queued",
    )
    async with writer.transaction() as session:
        row: Refresh | None = await session.scalar(
            select(Refresh)
            .where(*of_organization, Refresh.not_before <= writer.now(), Refresh.id.not_in(flight))
            .order_by(Refresh.urgent.desc(), Refresh.not_before, Refresh.id)
            .limit(1)
        )
        if row is None and not flight:
            queued = select(func.min(Refresh.not_before), func.bool_or(Refresh.urgent)).where(*of_organization)
            upcoming, urgent = (await session.execute(queued)).one()
            if upcoming is None:
                await writer.job.finish(session)
            else:
                await writer.job.wait(session, {}, until=upcoming, urgent=urgent)
    return row


async def _one(writer: Writer, row: Refresh) -> None:
    """One record; whatever is wrong with it is its own end, and not the others'."""
    try:
        end = await _sync(writer, row)
    except Busy:
        await _again(writer, row, writer.now() + _WHILE_BUSY, ASKING, counts=False)
    except NotYet as error:
        await _again(writer, row, error.until, LOOKS_AGAIN, so_far=error.so_far)
    except Later as error:
        await _done(writer, row, LATER, str(error))
    except PartRefused as error:
        await _done(writer, row, REJECTED, str(error))
    except NotFound:
        await _again(writer, row, writer.now() + writer.resources.horizon, LOOKS_AGAIN)
    except (Unauthorized, LeaseUnavailable):
        # Not this record's: it is the first again once the connection answers.
        raise
    except DEFINITE as error:
        await _refused(writer, row, error)
    except Unavailable as error:
        # It may be this record's alone: the others go first next time.
        log.warning("Planning Center away", refresh=str(row.id), exc_info=error)
        until = writer.now() + (writer.resources.horizon if error.outcome_unknown else _AWAY)
        await _again(writer, row, until, LOOKS_AGAIN)
        if not error.outcome_unknown:
            raise
    except PlanningCenterError as error:
        log.warning("answer not understood", refresh=str(row.id), exc_info=error)
        await _done(writer, row, REJECTED, UNREADABLE)
    else:
        end = _with_earlier_tries(row, end)
        await _done(writer, row, end.outcome, str(end))


def _with_earlier_tries(row: Refresh, end: Synced) -> Synced:
    """The last try may find nothing left to do: then the outcome is that of the try before it."""
    return replace(end, outcome=row.outcome) if row.outcome and end.outcome == UNCHANGED else end


async def _refused(writer: Writer, row: Refresh, error: PlanningCenterError) -> None:
    try:
        sentence = (await refusal_of(writer, row.kind, error)).sentence
    except Forbidden:
        sentence = ROLE_IS_GONE
    await _done(writer, row, REJECTED, sentence)


async def _sync(writer: Writer, row: Refresh) -> Synced:
    if row.record_id is None:
        return Synced(await sync_stranger(writer, row.pco_id or ""))
    try:
        if row.kind == MEMBER:
            return await sync_member(writer, row.record_id)
        return await sync_family(writer, row.record_id, people=not {*row.reasons} <= {DECIDED, JOINED})
    except LeftAlone:
        return Synced(KEPT_OUT)


async def _again(
    writer: Writer, row: Refresh, until: datetime, sentence: str, *, counts: bool = True, so_far: str | None = None
) -> None:
    """Look at it again at an instant; a record that shows nothing new for long is left to the next sync."""
    if counts and row.tries + 1 >= _MOST_TRIES:
        async with writer.job.sessions() as session:
            decided = await is_decided(session, row.organization_id, row.record_id)
        if not decided:
            await _done(writer, row, LATER, OUTCOMES[LATER])
            return
        # What a person decided is not given up on.
        until = max(until, writer.now() + _WHILE_AWAY)
    async with writer.transaction() as session:
        found = await session.get_one(Refresh, row.id, with_for_update=True)
        found.not_before, found.sentence = until, sentence
        found.tries += counts
        if so_far is not None and so_far != UNCHANGED:
            found.outcome = so_far
        await session.execute(delete(Sighting).where(Sighting.run_id == row.id))


async def _done(writer: Writer, row: Refresh, outcome: str, sentence: str) -> None:
    async with writer.transaction() as session:
        decided = await waiting_for(session, row.organization_id, row.record_id) if row.record_id else None
        found = await session.get_one(Refresh, row.id, with_for_update=True)
        if found.requested_at != row.requested_at:
            # Asked for again meanwhile: what was typed since may not be in this.
            found.not_before, found.tries, found.sentence = writer.now(), 0, None
            found.outcome = outcome if outcome in _CHANGED else found.outcome
        else:
            found.state, found.outcome, found.sentence = "done", outcome, sentence
            found.tries += 1
            found.finished_at = writer.now()
            if decided is not None:
                await finish(session, decided, outcome, sentence, writer.now())
        await session.execute(delete(Sighting).where(Sighting.run_id == row.id))


async def _give_back(job: JobContext, until: datetime) -> None:
    async with job.sessions.begin() as session:
        await job.verify(session)
        await job.wait(session, {GIVEN_BACK: True}, until=until)
