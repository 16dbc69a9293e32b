"""The story of a run: pull, compare, ask, apply, push, finish; and every way it can stop or wait.

A run is a job. When its process dies, another one resumes at the last committed phase and checkpoint.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import PEOPLE
from pco_client.client import PlanningCenter
from people_sync.domain.proof import next_night
from people_sync.domain.sentences import (
    LEFT_OUT,
    MERGED,
    NOTHING_LEFT,
    REJECTED,
    UNCHANGED,
)
from people_sync.planning_center import DEFAULT_COUNTRY, latest, newest_person, organization_of
from people_sync.resources import Resources
from people_sync.storage import remote
from people_sync.storage.runs import RUNS, UNDO
from people_sync.storage.sync_tables import Change, Remote, Run, Sighting
from people_sync.storage.tables import Connection, Settings
from people_sync.usecases import refreshes
from people_sync.usecases.record.claims import take_over_abandoned
from people_sync.usecases.record.writer import Cause, has_chosen, policy_of
from people_sync.usecases.run.apply import apply
from people_sync.usecases.run.ask import ask
from people_sync.usecases.run.checkpoint import Checkpoint, Compared, Pulled
from people_sync.usecases.run.compare import compare
from people_sync.usecases.run.context import RunContext
from people_sync.usecases.run.plan import forget_shown
from people_sync.usecases.run.prove import PROVE, conclude, is_proof, prove
from people_sync.usecases.run.pull import pull
from people_sync.usecases.run.push import push
from people_sync.usecases.run.report import counts, report_of
from people_sync.usecases.run.undo import put_back
from people_sync.usecases.run.undo_plan import ask_undo, plan_undo
from servicekit.jobs.queue import StopRequested
from servicekit.jobs.worker import JobContext
from synckit import runs, work
from synckit.connections import usable
from synckit.history import RUN
from synckit.report import reporting
from synckit.requests import Requests

PULL_LASTS: Final = timedelta(hours=1)
"""Maximum age of a pull at the answer; after that people are read again, since some may have been added there."""

Phase = Callable[[RunContext], Awaitable[bool | None]]
_WRITTEN: Final = {
    "compare": "remote, sighting, link, member, family, family_member",
    "apply": "change",
    "push": "link, member, family, family_member",
}
PHASES: Final[dict[str, Phase]] = {"pull": pull, "compare": compare, "ask": ask, "apply": apply, "push": push}
UNDO_PHASES: Final[dict[str, Phase]] = {"compare": plan_undo, "ask": ask_undo, UNDO: put_back, "push": push}
"""Phases of an undo."""


async def carry_out(job: JobContext, resources: Resources) -> None:
    """Carry out one run (`servicekit.jobs.queue.Run`)."""
    requests = Requests()
    async with job.sessions() as session:
        run = await session.get_one(Run, job.id)
    async with (
        resources.planning_center(job.organization_id, run.pco_organization_id, requests.observe) as pco,
        work.carrying_out(RUNS, job, requests, resources.clock.now),
    ):
        context = await _begin(job, resources, pco, requests)
        async with context.transaction() as session:
            await take_over_abandoned(session, context)
        async with reporting(report_of(context)):
            going_on = await _phases(context)
        if going_on:
            await _finish(context)


async def _begin(job: JobContext, resources: Resources, pco: PlanningCenter, requests: Requests) -> RunContext:
    async with job.sessions.begin() as session:
        await job.verify(session)
        run = await session.get_one(Run, job.id)
        connection = await usable(session, Connection, job.organization_id, PEOPLE)
        chosen = await session.get(Settings, job.organization_id)
        if connection.pco_organization_id != run.pco_organization_id:
            raise StopRequested
        known_country, mirrored = connection.country_code, connection.mirrored
        since = connection.cursor
        answers = run.answers
    checkpoint = Checkpoint.from_json(job.data)
    country = known_country or await _country(job, pco, run.pco_organization_id, checkpoint)
    async with job.sessions.begin() as session:
        await job.verify(session)
        await work.begun(session, RUNS, job, resources.clock.now())
    horizon = timedelta(seconds=resources.settings.pco_staleness_horizon_seconds)
    return RunContext(
        job=job,
        resources=resources,
        pco=pco,
        requests=requests,
        run_id=job.id,
        organization_id=job.organization_id,
        pco_organization_id=run.pco_organization_id,
        cause=Cause(RUN, job.id),
        kind=run.kind,
        purpose=run.purpose,
        policy=policy_of(chosen, country),
        chosen=has_chosen(chosen),
        threshold=(chosen.threshold_percent, chosen.threshold_minimum) if chosen else (25, 50),
        inactivate_since=chosen.inactivate_since if chosen and chosen.inactivate_deleted else None,
        # Rows written just before the last run's cursor may have been invisible to it.
        since=since - horizon if since else None,
        mirrored=mirrored,
        answers=answers,
        checkpoint=checkpoint,
    )


async def _country(job: JobContext, pco: PlanningCenter, pco_organization_id: str, checkpoint: Checkpoint) -> str:
    """Read the church's country from its Planning Center organization, at the first request of the pull."""
    page = await newest_person(pco, "organization")
    checkpoint.cursor = checkpoint.cursor or latest(page.data)
    organization = await organization_of(pco, page)
    country = organization.attributes.get("country_code") or DEFAULT_COUNTRY
    async with job.sessions.begin() as session:
        await job.verify(session)
        connection = await session.get_one(Connection, job.organization_id, with_for_update=True)
        if connection.pco_organization_id != pco_organization_id:
            raise StopRequested
        connection.country_code = country
        connection.time_zone = organization.attributes.get("time_zone")
    return str(country)


async def _phases(context: RunContext) -> bool:
    """Run the remaining phases. False if the run waits for a person."""
    undo = context.purpose == UNDO
    if context.checkpoint.phase == "ask" and not undo:
        await _start_over(context, read_again=await _answered_late(context))
    phases = UNDO_PHASES if undo else PHASES
    names = list(phases)
    before = context.checkpoint.phase or names[0]
    for name in [] if before == PROVE else names[names.index(before) :]:
        if name == "ask" and not undo and await is_proof(context):
            break
        await _enter(context, name)
        if await phases[name](context) is False:
            return False
    if context.checkpoint.phase == PROVE:
        await prove(context)
    return True


async def _answered_late(context: RunContext) -> bool:
    async with context.job.sessions() as session:
        oldest = await session.scalar(select(func.min(Remote.read_at)).where(Remote.run_id == context.run_id))
    return oldest is not None and context.now() - oldest > PULL_LASTS


async def _start_over(context: RunContext, *, read_again: bool) -> None:
    """Compare again after a question, since our side may have changed during the wait.

    No record is written yet, and answers stay. After an approval the changes in Planning Center are read first; with
    `read_again` everything is read again.
    """
    moved_since = context.checkpoint.cursor if context.approved else None
    read_again |= context.approved and moved_since is None
    async with context.step(phase="pull", done=0, total=None) as session:
        # A merger is reported once, and a refused read is repeated only with `read_again`.
        told = {MERGED} if read_again else {MERGED, REJECTED}
        await session.execute(delete(Change).where(Change.run_id == context.run_id, Change.outcome.not_in(told)))
        if not context.approved:
            await forget_shown(session, context)
        if read_again:
            await session.execute(delete(Sighting).where(Sighting.run_id == context.run_id))
            await session.execute(update(Remote).where(Remote.run_id == context.run_id).values(run_id=None))
            context.checkpoint = Checkpoint()
        elif moved_since is not None:
            since = datetime.fromisoformat(moved_since) - context.resources.horizon
            context.checkpoint.pulled = Pulled(since=since.isoformat())
        context.checkpoint.phase, context.checkpoint.compared = None, Compared()


async def _enter(context: RunContext, name: str) -> None:
    if context.checkpoint.phase == name:
        return
    total = await _total(context, name)
    if context.kind == "full" and total and name in _WRITTEN:
        await context.analyze(_WRITTEN[name])
    async with context.step() as session:
        context.checkpoint.phase = name
        if name != "ask":
            await runs.change(session, RUNS, context.run_id, phase=name, done=0, total=total)


async def _total(context: RunContext, name: str) -> int | None:
    """Number of records a phase will process; None if unknown."""
    planned = {"apply": Change.here, UNDO: Change.here, "push": Change.there}.get(name)
    if planned is not None:
        found = select(func.count(Change.id)).where(Change.run_id == context.run_id, planned == "planned")
    elif name == "compare" and context.purpose != UNDO:
        found = select(func.count()).where(Remote.run_id == context.run_id, Remote.snapshot.is_not(None))
    else:
        return None
    async with context.job.sessions() as session:
        return await session.scalar(found)


async def _finish(context: RunContext) -> None:
    """Close the run: numbers, cursor, time of the next run. Its staged rows are dropped."""
    if context.checkpoint.phase == PROVE:
        await _finish_proof(context)
        return
    async with context.job.sessions.begin() as session:
        await context.job.verify(session)
        connection = await session.get_one(Connection, context.organization_id, with_for_update=True)
        found = await counts(session, context)
        now = context.resources.clock.now()
        message = None
        approved = None
        if context.purpose == UNDO:
            # An undo has read no people, so the cursor stays.
            message = NOTHING_LEFT if found.keys() <= {LEFT_OUT} else None
            if connection.next_run_at is None:
                await runs.schedule(session, RUNS, connection, now)
        else:
            found[UNCHANGED] = found.get(UNCHANGED, 0) + await _untouched(session, context)
            await remote.let_go(session, context.run_id)
            if context.checkpoint.cursor:
                connection.cursor = datetime.fromisoformat(context.checkpoint.cursor)
            if context.kind == "full":
                connection.full_sync_at = now
            if connection.next_proof_at is None:
                connection.next_proof_at = next_night(now, connection.time_zone, context.organization_id)
            await runs.schedule(session, RUNS, connection, now)
            approved = context.run_id if context.approved else None
        await refreshes.after_a_run(session, context.owner, now, context.resources.horizon, approved=approved)
        await _close(session, context, message, now, found)


async def _finish_proof(context: RunContext) -> None:
    """Close a run without writes: the syncs' cursor and the next sync's time stay."""
    async with context.job.sessions.begin() as session:
        await context.job.verify(session)
        connection = await session.get_one(Connection, context.organization_id, with_for_update=True)
        found, told = await conclude(session, context, connection)
        await remote.let_go(session, context.run_id)
        now = context.resources.clock.now()
        # A sync that became due meanwhile has joined this run.
        connection.next_run_at = connection.next_run_at or now
        run = await session.get_one(Run, context.run_id)
        run.subject = told
        await _close(session, context, None, now, found)


async def _close(
    session: AsyncSession, context: RunContext, message: str | None, now: datetime, counts: dict[str, int]
) -> None:
    values = {"counts": counts, "finished_at": now, "requests": Run.requests + context.requests.take()}
    await work.finish(session, RUNS, context.job, "done", message, phase="finish", **values)


async def _untouched(session: AsyncSession, context: RunContext) -> int:
    """Number of met records without a change."""
    met = (
        select(Sighting.kind, func.unnest(Sighting.pco_ids).label("pco_id"))
        .where(Sighting.run_id == context.run_id)
        .distinct()
        .subquery()
    )
    concerned = exists().where(
        Change.run_id == context.run_id, Change.kind == met.c.kind, Change.pco_id == met.c.pco_id
    )
    return await session.scalar(select(func.count()).select_from(met).where(~concerned)) or 0
