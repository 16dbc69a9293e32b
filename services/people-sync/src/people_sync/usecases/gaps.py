"""Windows in which notices of Planning Center were lost: a run reads again what may have changed in them.

A gap is closed by a run that began after it: a full one after lost notices, because only that finds who was deleted
there; an incremental one for what changed before there were subscriptions. A full one begins a staleness horizon after
the window: a read before that may still show who was deleted in it.
"""

from datetime import datetime, timedelta
from functools import partial
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import PEOPLE, PEOPLE_SYNC
from people_sync.storage.runs import IS_SYNC, RUNS
from people_sync.storage.sync_tables import Gap, Run
from people_sync.storage.tables import Connection
from people_sync.usecases import runs
from synckit import gaps
from synckit.gaps import FIRST_SYNC, SUBSCRIBED, GapColumns, Gaps
from synckit.runs import open_run

GAPS: Final = Gaps(rows=Gap, connections=Connection, product=PEOPLE, by=PEOPLE_SYNC)
NOTICES: Final = "change_notices"
"""Trigger of such a run."""
_SOON: Final = timedelta(seconds=5)
_AGAIN: Final = timedelta(minutes=15)
"""The shortest pause between two runs for a gap, if the first did not end well."""
_SELDOM: Final = timedelta(hours=4)
"""The longest such pause."""
_READ_AGAIN: Final = "A sync has read everybody in Planning Center again, and with that what changed in this time."
_FIRST: Final = "Nobody is synced yet, so nothing was missed: the first sync reads everybody."


async def close_due(session: AsyncSession, now: datetime, horizon: timedelta) -> int:
    """Close gaps that were read again, and start runs for others. Returns the number of gaps."""
    return await gaps.look_at_due(session, GAPS, now, partial(_of_organization, now=now, horizon=horizon))


async def _of_organization(
    session: AsyncSession, organization_id: str, those: list[GapColumns], *, now: datetime, horizon: timedelta
) -> None:
    connection = await session.get_one(Connection, organization_id)
    run = await open_run(session, RUNS, organization_id)
    if not connection.mirrored and run is None:
        over = [gap for gap in those if _shown(gap, horizon) < now]
        gaps.later([gap for gap in those if gap not in over], now + _SOON)
        await gaps.close(session, GAPS, {gap.gap_id: (gap, None) for gap in over}, _FIRST, now)
        return
    left: list[GapColumns] = []
    closed: dict[str, tuple[GapColumns, str | None]] = {}
    for gap in those:
        read = await _read_by(session, gap, horizon)
        if read is None:
            left.append(gap)
        else:
            closed[gap.gap_id] = (gap, str(read.id))
    await gaps.close(session, GAPS, closed, _READ_AGAIN, now)
    shown = [gap for gap in left if now > _shown(gap, horizon)]
    untried = [gap for gap in shown if gap.tried_at is None or now >= _next_try(gap, gap.tried_at)]
    if run is None and untried and not await _stopped_last(session, organization_id):
        kind = "full" if any(_reads_everybody(gap) for gap in untried) else "incremental"
        await runs.start(session, organization_id, kind, NOTICES)
        gaps.later(untried, now + _SOON, tried_at=now)
    for gap in left:
        gaps.later([gap], max(now + _SOON, _shown(gap, horizon)))


async def _stopped_last(session: AsyncSession, organization_id: str) -> bool:
    """Whether somebody stopped the last sync. The next one then begins when they, or the schedule, say so."""
    last = select(Run.state).where(Run.organization_id == organization_id, IS_SYNC)
    return await session.scalar(last.order_by(Run.created_at.desc(), Run.id.desc()).limit(1)) == "stopped"


def _next_try(gap: GapColumns, tried_at: datetime) -> datetime:
    """When another run may start. The pauses double, because a run may wait for an answer for days."""
    return tried_at + min(max(_AGAIN, tried_at - gap.noted_at), _SELDOM)


def _reads_everybody(gap: GapColumns) -> bool:
    # Between two generations of a connection there were no notices, so somebody may have been deleted.
    return gap.gap_id != FIRST_SYNC and not (gap.gap_id == SUBSCRIBED and gap.generation == 1)


def _shown(gap: GapColumns, horizon: timedelta) -> datetime:
    """After this instant a run shows all of the window's changes."""
    # Subscriptions are often made while somebody starts a sync, before this service hears of them.
    noted = gap.until if gap.gap_id == SUBSCRIBED else max(gap.until, gap.noted_at)
    # An incremental run reads what changed in the last horizon before it, too.
    return noted + horizon if _reads_everybody(gap) else noted


async def _read_by(session: AsyncSession, gap: GapColumns, horizon: timedelta) -> Run | None:
    """A run that began after the window, and has ended well."""
    of_organization = Run.organization_id == gap.organization_id
    after = (Run.created_at > _shown(gap, horizon), Run.state == "done", IS_SYNC)
    query = select(Run).where(of_organization, *after, *((Run.kind == "full",) if _reads_everybody(gap) else ()))
    found: Run | None = await session.scalar(query.order_by(Run.created_at, Run.id).limit(1))
    return found
