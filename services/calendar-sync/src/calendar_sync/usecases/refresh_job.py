"""The sync of single events; `synckit.refresh_job` works them off."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog

from calendar_sync.domain.asked import asked_at
from calendar_sync.domain.hints import SHOWN, Checked, checked
from calendar_sync.domain.sentences import (
    CHECKED,
    CHECKED_ALL_BUT_SOME,
    LATER,
    LOOKS_AGAIN,
    MISSING,
    NOT_ANSWERED,
    NOT_CHECKED,
    NOT_CREATED,
    NOT_LINKED,
    OUTCOMES,
    PUSH_ENDED,
    REFUSED,
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
from calendar_sync.usecases.check import Check, answers_others, look, zone_for
from calendar_sync.usecases.history import Cause
from calendar_sync.usecases.refreshes import HINTS, OF_EVENT, OF_INSTANCE, OF_REQUEST, PUSH, REFRESHES, concerned
from calendar_sync.usecases.schedule import locked_connection
from contracts.values import CALENDAR
from pco_client.errors import Forbidden, LeaseUnavailable, NotFound, PlanningCenterError, Unauthorized, Unavailable
from pco_client.pacer import Priority
from servicekit.jobs.worker import JobContext
from synckit import refresh_job
from synckit.connections import usable
from synckit.errors import NotYet
from synckit.hints import named_by
from synckit.history import REFRESH
from synckit.notices import looks_old
from synckit.refresh_job import Again, Work
from synckit.refreshes import Done, RefreshColumns

_SOON: Final = timedelta(seconds=5)
_AGAIN: Final = timedelta(minutes=1)
"""From having a check made for a request to having another one made."""
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
    one = replace(one, cause=Cause(REFRESH, row.id), pco=pco, asked_at=asked_at(row.reasons))
    try:
        if PUSH in row.reasons and row.record_id is not None:
            outcome = await push.push(one, row.record_id)
            return Done(outcome, PUSH_ENDED[outcome], lasting=True)
        those = await _links(one, row)
        if not those and await _by_a_check(one, row):
            return await _by_the_next(one, row)
        if those is None and (until := await _until_shown(one, row)) is not None:
            return Again(until, LOOKS_AGAIN, counts=False)
        outcomes = [await look(one, link) for link in those or ()]
    except NotYet as error:
        return Again(error.until, LOOKS_AGAIN)
    except (Unauthorized, LeaseUnavailable, Unavailable):
        # This event did not cause the error, so it comes first again once the connection works.
        raise
    except Forbidden:
        return await _refused(one, row, await _why_forbidden(one, row))
    except PlanningCenterError as error:
        log.warning("answer not understood", refresh=str(row.id), exc_info=error)
        return await _refused(one, row, NOT_CREATED if PUSH in row.reasons else OUTCOMES[REJECTED])
    if MISSING in outcomes:
        return Again(one.resources.clock.now() + one.resources.horizon, OUTCOMES[MISSING])
    outcome = next((each for each in outcomes if each != UNCHANGED), UNCHANGED) if outcomes else NOT_LINKED
    if outcome != NOT_LINKED and (until := await _until_shown(one, row)) is not None:
        return Again(until, LOOKS_AGAIN, counts=False, so_far=outcome if outcome in _CHANGED else None)
    if outcome == UNCHANGED and row.outcome:
        outcome = row.outcome
    return Done(outcome, OUTCOMES[outcome], lasting=outcome in _CHANGED)


async def _refused(one: Check, row: RefreshColumns, sentence: str) -> Done:
    if PUSH in row.reasons and row.record_id is not None:
        await push.refused(one, row.record_id, sentence)
    return Done(REJECTED, sentence)


async def _why_forbidden(one: Check, row: RefreshColumns) -> str:
    """The sentence about an answer that Planning Center refused. Unavailable."""
    if PUSH in row.reasons:
        return ROLE_IS_GONE
    try:
        return REFUSED if await answers_others(one) else OUTCOMES[REJECTED]
    except Forbidden:
        return ROLE_IS_GONE


async def _links(one: Check, row: RefreshColumns) -> list[EventLink] | None:
    """The links that a row concerns; None if Planning Center does not show the date that it names."""
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
            return None
        async with one.job.sessions() as session:
            return await concerned(session, one.owner, f"{OF_EVENT}:{event_id}")
    return []


async def _by_a_check(one: Check, row: RefreshColumns) -> bool:
    """Whether only a check shows the change: no address of the API leads from a request for an event to the event, and
    an event that is not linked may be one that is waited for.
    """
    if row.record_id is not None:
        return False
    async with one.job.sessions() as session:
        waits = await links.waits(session, one.owner)
        return waits or ((row.pco_id or "").startswith(f"{OF_REQUEST}:") and await links.any_of(session, one.owner))


async def _by_the_next(one: Check, row: RefreshColumns) -> Done | Again:
    """Answer by the check that shows the change for certain. Checks that come to no end are not made back to back: as
    long as Planning Center is away, they show nothing.
    """
    now, horizon = one.resources.clock.now(), one.resources.horizon
    async with one.job.transaction() as session:
        connection = await locked_connection(session, one.owner)
        if connection is None:
            return Again(now + _SOON, counts=False)
        state = checked(row.requested_at, connection.checked_from, horizon, now)
        if state is Checked.ANSWERED:
            return Done(CHECKED, CHECKED_ALL_BUT_SOME if connection.left_unread else OUTCOMES[CHECKED])
        if connection.role_missing:
            return Done(REJECTED, ROLE_IS_GONE)
        if state is Checked.GIVEN_UP:
            return Done(LATER, NOT_CHECKED)
        if state is Checked.TIME:
            return Again(row.requested_at + horizon, counts=False)
        connection.next_poll_at = now
    return Again(now + _AGAIN, counts=False)


async def _until_shown(one: Check, row: RefreshColumns) -> datetime | None:
    """When to read again, because the read does not show what the hints tell; None if it does, or was late enough."""
    async with one.job.sessions() as session:
        named = await named_by(session, HINTS, row.id)
    newest = looks_old((each for each in named if each.type in SHOWN), one.seen)
    now = one.resources.clock.now()
    if newest is None or now >= (until := newest + one.resources.horizon):
        return None
    return until
