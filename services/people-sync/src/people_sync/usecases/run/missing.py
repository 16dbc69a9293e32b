"""Missing records: a run reads each linked record that it did not meet, before it matches people."""

from collections.abc import Collection
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, func, or_, select

from contracts.values import FAMILY, MEMBER
from people_sync.domain.sentences import waiting_for_mergers
from people_sync.storage import remote
from people_sync.storage.candidates import maybe_replaced
from people_sync.storage.kept_out import holds_its_place
from people_sync.storage.sync_tables import Run
from people_sync.storage.tables import Connection, Link
from people_sync.storage.writes import written_since
from people_sync.usecases.record.reading import store
from people_sync.usecases.run.context import RunContext
from people_sync.usecases.run.reads import note_whether_there, read_or_list
from synckit.among import among

_BATCH: Final = 100


async def ask_for_missing(context: RunContext) -> None:
    """Read each linked record that a complete pull did not meet, before people are matched.

    A gone person may have been added there again as a new one. Records created too recently for the pull are excluded.
    """
    pulled = context.checkpoint.pulled
    if pulled.missing is None:
        async with context.step() as session:
            began = (await session.get_one(Run, context.run_id)).started_at or context.now()
            connection = await session.get_one(Connection, context.organization_id, with_for_update=True)
            connection.mirrored = True
            await remote.forget_strangers_not_met(session, context.owner, context.run_id, began)
            pulled.missing, pulled.began = ("", ""), began.isoformat()
    while batch := await _not_met(context):
        for kind, pco_id in batch:
            await _ask_for(context, kind, pco_id)


async def ask_for_replaced(context: RunContext) -> None:
    """In an incremental run, read each linked record that a new person on either side may replace."""
    pulled = context.checkpoint.pulled
    if pulled.began is None:
        async with context.step():
            pulled.began = context.now().isoformat()
    async with context.job.sessions() as session:
        replaced = await maybe_replaced(session, context.owner, context.run_id)
    while batch := await _not_met(context, among(Link.id, replaced)):
        for kind, pco_id in batch:
            await _ask_for(context, kind, pco_id)


async def _ask_for(context: RunContext, kind: str, pco_id: str) -> None:
    """Read a linked record by itself, and note whether it exists."""
    found = await read_or_list(context, kind, pco_id)
    async with context.step() as session:
        context.checkpoint.pulled.missing = (kind, pco_id)
        if found is None:
            return
        there = found.document is not None
        if there:
            # A walk over people never meets a household that was left empty (planningcenter/developers#1258).
            await store(session, context, found, run_id=context.run_id)
        await note_whether_there(session, context, kind, pco_id, there=there)


async def note_missing(context: RunContext, *, but: Collection[str] = ()) -> None:
    """Mark records as missing, once the log of mergers is conclusive, so that their members can be matched again.

    `but`: Planning Center's ids of people whose absence the log explains.
    """
    lately = _began(context) - context.resources.horizon
    # A refresh may have found a person missing after this run's wait for the log. The log has no households.
    waited = or_(Link.kind == FAMILY, Link.missing_since <= context.now() - context.resources.horizon)
    async with context.step() as session:
        missing = [Link.missing_since.is_not(None), waited, ~written_since(lately), _unmet(context), _synced(context)]
        if but:
            missing.append(or_(Link.kind != MEMBER, ~among(Link.pco_id, but)))
        found = select(Link).filter_by(**context.owner).where(Link.state.in_(("linked", "supplied")), *missing)
        found = found.order_by(Link.id)
        links = (await session.scalars(found)).all()
        for kind in (MEMBER, FAMILY):
            # A missing person must not count as a second one with the name or email of the new one.
            await remote.forget(session, context.owner, kind, [link.pco_id for link in links if link.kind == kind])
        for link in await session.scalars(found.with_for_update()):
            link.state = "missing"


async def _not_met(context: RunContext, *among_them: ColumnElement[bool]) -> list[tuple[str, str]]:
    """The next linked records, by kind and Planning Center's id, that the run has neither met nor read."""
    began, missing = _began(context), context.checkpoint.pulled.missing or ("", "")
    async with context.job.sessions() as session:
        rows = await session.execute(
            select(Link.kind, Link.pco_id)
            .filter_by(**context.owner)
            .where(
                *among_them,
                Link.state != "gone",
                func.row(Link.kind, Link.pco_id) > func.row(*missing),
                ~written_since(began - context.resources.horizon),
                _unmet(context),
                _synced(context),
            )
            .order_by(Link.kind, Link.pco_id)
            .limit(_BATCH)
        )
        return [(kind, pco_id) for kind, pco_id in rows]


def _synced(context: RunContext) -> ColumnElement[bool]:
    """Whether the link's record is in the sync. A record kept out stays linked even to a gone counterpart."""
    return ~holds_its_place(context.organization_id, Link.kind, Link.record_id)


def _unmet(context: RunContext) -> ColumnElement[bool]:
    """Whether the run has not met the link's counterpart."""
    return or_(
        (Link.kind == MEMBER) & ~remote.sighted(context.run_id, MEMBER, Link.pco_id),
        (Link.kind == FAMILY) & ~remote.sighted(context.run_id, FAMILY, Link.pco_id),
    )


def _began(context: RunContext) -> datetime:
    began = context.checkpoint.pulled.began
    assert began is not None  # set before the first read
    return datetime.fromisoformat(began)


async def until_mergers_show(context: RunContext) -> None:
    """Wait, before reading the log of mergers, until it is conclusive about missing people."""
    async with context.job.sessions() as session:
        newest = await session.scalar(
            select(func.max(Link.missing_since)).filter_by(**context.owner, kind=MEMBER).where(Link.state != "gone")
        )
    if newest is not None:
        horizon = context.resources.horizon
        context.wait_until(newest + horizon, waiting_for_mergers(horizon.total_seconds()))
