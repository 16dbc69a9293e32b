"""The sync of single events; `synckit.refresh_job` works them off."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import structlog

from calendar_sync.domain.sentences import (
    LATER,
    LOOKS_AGAIN,
    MISSING,
    NOT_ANSWERED,
    NOT_CREATED,
    NOT_LINKED,
    OUTCOMES,
    PUSH_ENDED,
    REJECTED,
    ROLE_IS_GONE,
    UNCHANGED,
    UPDATED_HERE,
)
from calendar_sync.planning_center import event_of_instance
from calendar_sync.resources import Resources
from calendar_sync.storage import links
from calendar_sync.storage.links import Owner
from calendar_sync.storage.tables import CalendarConnection, EventLink
from calendar_sync.usecases import push
from calendar_sync.usecases.check import Check, look, zone_for
from calendar_sync.usecases.history import Cause
from calendar_sync.usecases.refreshes import ASKED, OF_EVENT, OF_INSTANCE, OF_REQUEST, PUSH, REFRESHES, concerned
from calendar_sync.usecases.schedule import locked_connection
from contracts.values import CALENDAR
from pco_client.errors import Forbidden, LeaseUnavailable, NotFound, PlanningCenterError, Unauthorized, Unavailable
from pco_client.pacer import Priority
from servicekit.jobs.worker import JobContext
from synckit import refresh_job
from synckit.connections import usable
from synckit.errors import NotYet
from synckit.history import REFRESH
from synckit.refresh_job import Again, Work
from synckit.refreshes import Done, RefreshColumns

_CHANGED = frozenset({UPDATED_HERE, "linked", "gone"})

log = structlog.get_logger(__name__)


async def work_off(job: JobContext, resources: Resources) -> None:
    """Work off an organization's syncs of single events (`servicekit.jobs.queue.Run`)."""
    await refresh_job.work_off(job, REFRESHES, resources.clock, _begun(job, resources))


@asynccontextmanager
async def _begun(job: JobContext, resources: Resources) -> AsyncIterator[Work]:
    async with job.sessions() as session:
        connection = await usable(session, CalendarConnection, job.organization_id, CALENDAR)
    owner = Owner(connection.organization_id, connection.pco_organization_id)
    async with resources.planning_center(job.organization_id, owner.pco_organization_id) as pco:
        if connection.time_zone is None:
            zone = await zone_for(resources, pco, connection, resources.clock.now())
        else:
            zone = connection.time_zone
        one = Check(
            job=job,
            resources=resources,
            pco=pco,
            owner=owner,
            zone=zone,
            density=None,
            cause=Cause(REFRESH, job.id),
            told=_nobody,
            every=False,
        )
        yield Work(
            owner=owner.columns,
            horizon=resources.horizon,
            sync=partial(_one, one),
            given_up=partial(_given_up, one),
            beside_others=lambda row: row.record_id is not None,
        )


async def _nobody(_link: EventLink, _outcome: str) -> None:
    return


async def _given_up(one: Check, row: RefreshColumns) -> Done | None:
    if PUSH in row.reasons and row.record_id is not None:
        await push.refused(one, row.record_id, NOT_ANSWERED)
        return Done(LATER, NOT_ANSWERED)
    return Done(LATER, OUTCOMES[LATER])


async def _one(one: Check, row: RefreshColumns) -> Done | Again:
    pco = one.pco.using(priority=Priority.INTERACTIVE if row.urgent else Priority.BULK)
    asked_at = row.requested_at if ASKED in row.reasons else None
    one = replace(one, cause=Cause(REFRESH, row.id), pco=pco, asked_at=asked_at)
    try:
        if PUSH in row.reasons and row.record_id is not None:
            outcome = await push.push(one, row.record_id)
            return Done(outcome, PUSH_ENDED[outcome], lasting=True)
        outcomes = [await look(one, link) for link in await _links(one, row)]
    except NotYet as error:
        return Again(error.until, LOOKS_AGAIN)
    except (Unauthorized, LeaseUnavailable, Unavailable):
        # This event did not cause the error, so it comes first again once the connection works.
        raise
    except Forbidden:
        return await _refused(one, row, ROLE_IS_GONE)
    except PlanningCenterError as error:
        log.warning("answer not understood", refresh=str(row.id), exc_info=error)
        return await _refused(one, row, NOT_CREATED if PUSH in row.reasons else OUTCOMES[REJECTED])
    if MISSING in outcomes:
        return Again(one.resources.clock.now() + one.resources.horizon, OUTCOMES[MISSING])
    outcome = next((each for each in outcomes if each != UNCHANGED), UNCHANGED) if outcomes else NOT_LINKED
    if outcome == UNCHANGED and row.outcome:
        outcome = row.outcome
    return Done(outcome, OUTCOMES[outcome], lasting=outcome in _CHANGED)


async def _refused(one: Check, row: RefreshColumns, sentence: str) -> Done:
    if PUSH in row.reasons and row.record_id is not None:
        await push.refused(one, row.record_id, sentence)
    return Done(REJECTED, sentence)


async def _links(one: Check, row: RefreshColumns) -> list[EventLink]:
    """The links that a row concerns."""
    async with one.job.sessions() as session:
        if row.record_id is not None:
            link = await links.of_event(session, one.owner, row.record_id)
            return [link] if link is not None else []
        found = await concerned(session, one.owner, row.pco_id or "")
    kind, _, number = (row.pco_id or "").partition(":")
    if found or kind == OF_EVENT:
        return found
    if kind == OF_INSTANCE:
        try:
            event_id = await event_of_instance(one.pco, number)
        except NotFound:
            return []
        async with one.job.sessions() as session:
            return await concerned(session, one.owner, f"{OF_EVENT}:{event_id}")
    if kind == OF_REQUEST:
        await _check_soon(one)
    return []


async def _check_soon(one: Check) -> None:
    """Make the check due: no address of the API leads from a request for an event to the event."""
    async with one.job.transaction() as session:
        connection = await locked_connection(session, one.owner)
        if connection is not None and connection.next_poll_at is not None:
            connection.next_poll_at = one.resources.clock.now()
