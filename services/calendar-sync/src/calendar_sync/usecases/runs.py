"""*Sync all linked events*: started, stopped, looked up; and the work of one."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.domain.sentences import LATER, OUTCOMES
from calendar_sync.resources import Resources
from calendar_sync.storage import links
from calendar_sync.storage.links import Owner
from calendar_sync.storage.runs import RUNS, name_the_rest
from calendar_sync.storage.tables import CalendarConnection, Change, Event, EventLink, Run
from calendar_sync.usecases.check import Check, Told, check, zone_for
from calendar_sync.usecases.history import Cause
from calendar_sync.usecases.polling import conclude
from calendar_sync.usecases.schedule import locked_connection
from contracts import sync_runs
from contracts.http.calendar import CalendarRunQuery, EventChange, EventChangeQuery
from contracts.http.common import Page
from contracts.identity import UserIdentity
from contracts.values import CALENDAR, EVENT
from pco_client.client import PlanningCenter
from pco_client.errors import Forbidden
from servicekit.jobs.queue import StopRequested
from servicekit.jobs.worker import JobContext
from synckit import runs, work
from synckit.changes import changes_of, counts, page_of
from synckit.connections import usable
from synckit.history import RUN
from synckit.progress import Ahead
from synckit.report import Report, reporting
from synckit.requests import Requests, pace_of

KIND: Final = "calendar"
_LISTS_GONE: Final = (
    "This sync was long ago: its numbers are kept, but no longer its lists. Look into the history of the event instead."
)


async def start(session: AsyncSession, organization_id: str, user: UserIdentity) -> sync_runs.Run:
    """Start a sync of all linked events, or join the one in progress. Conflict (409) without a connection."""
    connection = await runs.connected(session, RUNS, organization_id)
    run, _ = await runs.start(session, RUNS, connection, "person", user, kind=KIND, phase="pull")
    return runs.render(RUNS, run)


async def stop(session: AsyncSession, organization_id: str, run_id: str) -> sync_runs.Run:
    """*Stop safely*."""
    return runs.render(RUNS, await runs.stop(session, RUNS, organization_id, run_id))


async def get(session: AsyncSession, organization_id: str, run_id: str) -> sync_runs.Run:
    """One run. NotFound (404)."""
    return runs.render(RUNS, await runs.find(session, RUNS, organization_id, run_id))


async def past(session: AsyncSession, organization_id: str, query: CalendarRunQuery) -> Page[sync_runs.Run]:
    """Runs, newest first."""
    where = [Run.state == query.state] if query.state else []
    return await runs.history(session, RUNS, organization_id, query, *where)


async def changes(
    session: AsyncSession, organization_id: str, run_id: str, query: EventChangeQuery
) -> Page[EventChange]:
    """The events behind one number of a run."""
    run = await runs.with_lists(session, RUNS, organization_id, run_id, _LISTS_GONE)
    shown = await page_of(session, Change, run.id, changes_of(Change, run.id, query.outcome), query)
    items = tuple(
        EventChange(
            event_id=str(row.record_id),
            title=row.name,
            outcome=row.outcome,
            sentence=row.sentence or OUTCOMES.get(row.outcome, row.outcome),
        )
        for row in shown.rows
    )
    return Page[EventChange](items=items, next=shown.next, total=shown.total)


async def carry_out(job: JobContext, resources: Resources) -> None:
    """Carry out one run (`servicekit.jobs.queue.Run`). Begun again after a crash, it counts each event once."""
    requests = Requests()
    now = resources.clock.now
    async with job.sessions() as session:
        run = await session.get_one(Run, job.id)
    owner = Owner(job.organization_id, run.pco_organization_id)
    async with (
        resources.planning_center(owner.organization_id, owner.pco_organization_id, requests.observe) as pco,
        work.carrying_out(RUNS, job, requests, now),
        _noting_a_missing_role(job, owner),
    ):
        connection = await _begin(job, owner, now())
        one = Check(
            job=job,
            resources=resources,
            pco=pco,
            owner=owner,
            zone=await zone_for(resources, pco, connection, now()),
            density=connection.density,
            cause=Cause(RUN, job.id),
            told=_telling(job),
            every=True,
        )
        async with reporting(_report_of(job, pco, requests)):
            await check(one)
        await _finish(one, requests)


async def _begin(job: JobContext, owner: Owner, now: datetime) -> CalendarConnection:
    async with job.transaction() as session:
        connection = await usable(session, CalendarConnection, owner.organization_id, CALENDAR)
        if connection.pco_organization_id != owner.pco_organization_id:
            raise StopRequested
        total = len([link for link in await links.all_of(session, owner) if link.state == links.LINKED])
        await work.begun(session, RUNS, job, now)
        done = await session.scalar(select(func.count()).where(Change.run_id == job.id))
        await runs.change(session, RUNS, job.id, total=total, done=done or 0)
    return connection


def _telling(job: JobContext) -> Told:
    async def told(link: EventLink, outcome: str) -> None:
        async with job.transaction() as session:
            title = await session.scalar(select(Event.title).where(Event.id == link.event_id))
            row = {
                "organization_id": job.organization_id,
                "run_id": job.id,
                "kind": EVENT,
                "record_id": link.event_id,
                "name": title or link.title_there,
                "outcome": outcome,
                "sentence": OUTCOMES.get(outcome),
            }
            added = await session.scalar(insert(Change).values(row).on_conflict_do_nothing().returning(Change.id))
            if added is not None:
                await runs.change(session, RUNS, job.id, done=Run.done + 1)

    return told


def _report_of(job: JobContext, pco: PlanningCenter, requests: Requests) -> Report[Run, CalendarConnection]:
    async def look_ahead(_session: AsyncSession, _run: Run) -> Callable[[Run], Ahead]:
        return lambda _: Ahead()

    async def so_far(session: AsyncSession, run: Run) -> dict[str, int]:
        return await counts(session, Change, run.id)

    return Report(
        product=RUNS,
        job=job,
        requests=requests,
        pace=lambda: pace_of(pco, requests),
        requests_left=lambda _run, left, each: round(left * each) if each is not None else None,
        look_ahead=look_ahead,
        counts=so_far,
    )


async def _finish(one: Check, requests: Requests) -> None:
    job, now = one.job, one.resources.clock.now()
    async with job.transaction() as session:
        connection = await session.get_one(CalendarConnection, job.organization_id, with_for_update=True)
        await name_the_rest(session, job.id, LATER)
        if connection.pco_organization_id == one.owner.pco_organization_id:
            await conclude(session, connection, one, now)
            connection.role_missing = False
        numbers = await counts(session, Change, job.id)
        values = {
            "counts": numbers,
            "finished_at": await runs.clock(session),
            "requests": Run.requests + requests.take(),
        }
        await work.finish(session, RUNS, job, "done", None, phase="finish", **values)


@asynccontextmanager
async def _noting_a_missing_role(job: JobContext, owner: Owner) -> AsyncIterator[None]:
    try:
        yield
    except Forbidden:
        async with job.transaction() as session:
            connection = await locked_connection(session, owner)
            if connection is not None:
                connection.role_missing = True
        raise
