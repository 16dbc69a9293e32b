"""The refresh of a member or family; `synckit.refresh_job` works refreshes off."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import MEMBER, PEOPLE
from pco_client.errors import Forbidden, LeaseUnavailable, NotFound, PlanningCenterError, Unauthorized, Unavailable
from pco_client.pacer import Priority
from people_sync.domain.hints import RESOURCES
from people_sync.domain.sentences import (
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
from people_sync.planning_center import DEFAULT_COUNTRY, times_of_read
from people_sync.resources import Resources
from people_sync.storage.sync_tables import Alias, Hint, Sighting
from people_sync.storage.tables import Connection, Settings
from people_sync.usecases.decisions import DECIDED, finish, is_decided, waiting_for
from people_sync.usecases.history import JOINED
from people_sync.usecases.record.claims import Busy, LeftAlone, take_over_abandoned
from people_sync.usecases.record.creations import Later
from people_sync.usecases.record.mergers import follow_mergers
from people_sync.usecases.record.one import (
    Synced,
    sync_family,
    sync_member,
    sync_strange_household,
    sync_stranger,
)
from people_sync.usecases.record.reading import Read
from people_sync.usecases.record.refusals import DEFINITE, PartRefused, refusal_of
from people_sync.usecases.record.writer import Cause, Writer, has_chosen, policy_of
from people_sync.usecases.refreshes import HINTED, HINTS, REFRESHES
from servicekit.jobs.worker import JobContext
from synckit import refresh_job
from synckit.connections import usable
from synckit.errors import NotYet
from synckit.guard import guarded
from synckit.hints import named_by
from synckit.history import REFRESH
from synckit.notices import Named, looks_old
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
            sync=partial(_one, writer, _Log()),
            given_up=partial(_given_up, writer),
            beside_others=_beside_others,
            storing=partial(_storing, writer),
        )


@dataclass(slots=True)
class _Log:
    """When this job read the log of mergers last."""

    read_at: datetime | None = None

    async def read(self, writer: Writer) -> None:
        at = writer.now()
        await follow_mergers(writer)
        self.read_at = at

    def covers(self, row: RefreshColumns) -> bool:
        """Whether it was read since the row was last requested."""
        return self.read_at is not None and self.read_at >= row.requested_at


def _beside_others(row: RefreshColumns) -> bool:
    """Whether a refresh concerns one member alone, so that others can be synced at the same time."""
    return row.kind == MEMBER and row.record_id is not None and (row.urgent or {*row.reasons} <= {DECIDED, HINTED})


async def _one(writer: Writer, log_: _Log, row: RefreshColumns) -> Done | Again:
    priority = Priority.INTERACTIVE if row.urgent else Priority.BULK
    writer = replace(writer, pco=writer.pco.using(priority=priority), cause=Cause(REFRESH, row.id))
    try:
        named = await _named(writer, row)
        if not await _mergers_show(writer, row):
            return Again(writer.now() + writer.resources.horizon, LOOKS_AGAIN)
        if row.record_id is None and not log_.covers(row):
            # As a run does: a person whom a member's person was merged into is not new here.
            await log_.read(writer)
        found = await _sync(writer, row)
        # A decision is answered by the end of its row, which must not wait for more.
        may_repeat = found.outcome == UNCHANGED or DECIDED not in row.reasons
        if may_repeat and (until := _until_shown(writer, named, found.read)) is not None:
            so_far = found.outcome if found.outcome in _CHANGED else None
            return Again(until, LOOKS_AGAIN, counts=False, so_far=so_far)
        end = _with_earlier_tries(row, found)
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
    record_id = row.record_id
    if record_id is None:
        # Somebody may have been linked since the row was requested, even by this row.
        async with writer.job.sessions() as session:
            record_id = await REFRESHES.record_of(session, writer.owner, row.kind, row.pco_id or "")
    if record_id is None:
        sync = sync_stranger if row.kind == MEMBER else sync_strange_household
        return await sync(writer, row.pco_id or "")
    try:
        if row.kind == MEMBER:
            return await sync_member(writer, record_id, told=HINTED in row.reasons)
        # Hints of its people come by themselves, but for those who are new in the household.
        people = not {*row.reasons} <= {DECIDED, JOINED, HINTED}
        return await sync_family(writer, record_id, people=people, strangers=people or HINTED in row.reasons)
    except LeftAlone:
        return Synced(KEPT_OUT)


async def _named(writer: Writer, row: RefreshColumns) -> list[Named]:
    """The resources that the row's hints name."""
    if HINTED not in row.reasons:
        return []
    async with writer.job.sessions() as session:
        return await named_by(session, HINTS, row.id)


async def _mergers_show(writer: Writer, row: RefreshColumns) -> bool:
    """Whether the log shows the mergers that the row's hints tell of. Until then nobody ends, and nobody is added."""
    if HINTED not in row.reasons:
        return True

    async def missing() -> bool:
        told = select(Hint.removed_id).where(Hint.refresh_id == row.id, Hint.removed_id.is_not(None))
        shown = select(Alias.removed_id).filter_by(**writer.owner).where(Alias.removed_id == Hint.removed_id)
        async with writer.job.sessions() as session:
            return await session.scalar(told.where(~shown.exists()).limit(1)) is not None

    if not await missing():
        return True
    await follow_mergers(writer)
    return not await missing()


def _until_shown(writer: Writer, named: Sequence[Named], found: Read | None) -> datetime | None:
    """When to read again, because the read does not show what the hints tell; None if it does, or was late enough."""
    if found is None:
        return None
    told = [one for one in named if one.type in RESOURCES]
    seen = times_of_read(found.document) if found.document is not None else {}
    newest = looks_old(told, seen)
    if newest is None or found.read_at >= (until := newest + writer.resources.horizon):
        return None
    return max(until, writer.now())


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
