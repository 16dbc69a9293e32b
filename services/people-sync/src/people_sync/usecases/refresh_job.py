"""The refresh of a member or family; `synckit.refresh_job` works refreshes off."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Final

import structlog
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import MEMBER, PEOPLE
from pco_client.errors import Forbidden, LeaseUnavailable, NotFound, PlanningCenterError, Unauthorized, Unavailable
from pco_client.pacer import Priority
from people_sync.domain.sentences import (
    CREATED_HERE,
    CREATED_THERE,
    KEPT_OUT,
    LATER,
    LINKED,
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
from people_sync.storage.sync_tables import Sighting
from people_sync.storage.tables import Connection, Settings
from people_sync.usecases.decisions import DECIDED, finish, is_decided, waiting_for
from people_sync.usecases.history import JOINED
from people_sync.usecases.record.claims import Busy, LeftAlone, take_over_abandoned
from people_sync.usecases.record.creations import Later
from people_sync.usecases.record.one import Synced, sync_family, sync_member, sync_stranger
from people_sync.usecases.record.refusals import DEFINITE, PartRefused, refusal_of
from people_sync.usecases.record.writer import Cause, Writer, has_chosen, policy_of
from people_sync.usecases.refreshes import REFRESHES
from servicekit.jobs.worker import JobContext
from synckit import refresh_job
from synckit.connections import usable
from synckit.errors import NotYet
from synckit.guard import guarded
from synckit.history import REFRESH
from synckit.refresh_job import Again, Settle, Work
from synckit.refreshes import Done, RefreshColumns
from synckit.sentences import ASKING

_WHILE_BUSY: Final = timedelta(seconds=1)
_CHANGED: Final = frozenset({CREATED_HERE, CREATED_THERE, UPDATED_HERE, UPDATED_THERE, UPDATED_BOTH, LINKED})

log = structlog.get_logger(__name__)


async def work_off(job: JobContext, resources: Resources) -> None:
    """Work off an organization's refreshes (`servicekit.jobs.queue.Run`)."""
    await refresh_job.work_off(job, REFRESHES, resources.clock, _begun(job, resources))


@asynccontextmanager
async def _begun(job: JobContext, resources: Resources) -> AsyncIterator[Work]:
    async with job.sessions() as session:
        connection = await usable(session, Connection, job.organization_id, PEOPLE)
        chosen = await session.get(Settings, job.organization_id)
    async with resources.planning_center(job.organization_id, connection.pco_organization_id) as pco:
        writer = Writer(
            job=job,
            resources=resources,
            pco=guarded(pco, job, resources.settings.pco_request_timeout_seconds),
            organization_id=job.organization_id,
            pco_organization_id=connection.pco_organization_id,
            cause=Cause(REFRESH, job.id),
            policy=policy_of(chosen, connection.country_code or DEFAULT_COUNTRY),
            chosen=has_chosen(chosen),
        )
        async with writer.transaction() as session:
            await take_over_abandoned(session, writer)
        yield Work(
            owner=writer.owner,
            horizon=resources.horizon,
            sync=partial(_one, writer),
            given_up=partial(_given_up, writer),
            beside_others=_beside_others,
            storing=partial(_storing, writer),
        )


def _beside_others(row: RefreshColumns) -> bool:
    """Whether a refresh concerns one member alone, so that others can be synced at the same time."""
    return row.kind == MEMBER and row.record_id is not None and (row.urgent or row.reasons == [DECIDED])


async def _one(writer: Writer, row: RefreshColumns) -> Done | Again:
    priority = Priority.INTERACTIVE if row.urgent else Priority.BULK
    writer = replace(writer, pco=writer.pco.using(priority=priority), cause=Cause(REFRESH, row.id))
    try:
        end = _with_earlier_tries(row, await _sync(writer, row))
    except Busy:
        return Again(writer.now() + _WHILE_BUSY, ASKING, counts=False)
    except NotYet as error:
        return Again(error.until, so_far=error.so_far if error.so_far != UNCHANGED else None)
    except NotFound:
        return Again(writer.now() + writer.resources.horizon)
    except Later as error:
        return Done(LATER, str(error))
    except PartRefused as error:
        return Done(REJECTED, str(error))
    except (Unauthorized, LeaseUnavailable, Unavailable):
        # This record did not cause the error, so it comes first again once the connection works.
        raise
    except DEFINITE as error:
        return Done(REJECTED, await _refusal(writer, row, error))
    except PlanningCenterError as error:
        log.warning("answer not understood", refresh=str(row.id), exc_info=error)
        return Done(REJECTED, UNREADABLE)
    return Done(end.outcome, str(end), lasting=end.outcome in _CHANGED)


async def _sync(writer: Writer, row: RefreshColumns) -> Synced:
    if row.record_id is None:
        return Synced(await sync_stranger(writer, row.pco_id or ""))
    try:
        if row.kind == MEMBER:
            return await sync_member(writer, row.record_id)
        return await sync_family(writer, row.record_id, people=not {*row.reasons} <= {DECIDED, JOINED})
    except LeftAlone:
        return Synced(KEPT_OUT)


def _with_earlier_tries(row: RefreshColumns, end: Synced) -> Synced:
    """Keep the outcome of an earlier try if the last one found nothing left to do."""
    return replace(end, outcome=row.outcome) if row.outcome and end.outcome == UNCHANGED else end


async def _refusal(writer: Writer, row: RefreshColumns, error: PlanningCenterError) -> str:
    try:
        return (await refusal_of(writer, row.kind, error)).sentence
    except Forbidden:
        return ROLE_IS_GONE


async def _given_up(writer: Writer, row: RefreshColumns) -> Done | None:
    """Leave a record postponed too often to the next sync, unless a person's decision is pending."""
    async with writer.job.sessions() as session:
        decided = await is_decided(session, row.organization_id, row.record_id)
    return None if decided else Done(LATER, OUTCOMES[LATER])


async def _storing(writer: Writer, session: AsyncSession, row: RefreshColumns, settle: Settle) -> None:
    """Answer the decision that was carried out. Its conflict is locked before the row, as in `decisions.take`."""
    decided = await waiting_for(session, row.organization_id, row.record_id) if row.record_id else None
    done = await settle()
    if done is not None and decided is not None:
        await finish(session, decided, done.outcome, done.sentence, writer.now())
    await session.execute(delete(Sighting).where(Sighting.run_id == row.id))
