"""The runs of Calendar as `synckit` takes them: syncs of all linked events."""

from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.domain.sentences import ROLE_IS_GONE
from calendar_sync.storage.tables import CalendarConnection, Change, ChurchSettings, Run
from contracts.events.calendar_sync_run_v1 import SyncRunFinished, SyncRunProgressed, SyncRunStarted
from contracts.http.calendar import CalendarSettings
from contracts.values import CALENDAR
from synckit.changes import counts
from synckit.product import Product


async def interval_of(session: AsyncSession, organization_id: str) -> timedelta:
    """The interval between an organization's checks."""
    chosen = await session.get(ChurchSettings, organization_id, populate_existing=True)
    return timedelta(minutes=chosen.poll_minutes if chosen else CalendarSettings().poll_minutes)


async def _let_go(session: AsyncSession, run_id: UUID) -> dict[str, int]:
    """A run stages nothing: what it did stays, and its numbers count that."""
    return await counts(session, Change, run_id)


RUNS: Final = Product(
    name=CALENDAR,
    job="calendar.run",
    runs=Run,
    connections=CalendarConnection,
    settings=ChurchSettings,
    started=SyncRunStarted,
    progressed=SyncRunProgressed,
    finished=SyncRunFinished,
    nouns={"pull": "events", "finish": "events"},
    role_is_gone=ROLE_IS_GONE,
    interval=interval_of,
    let_go=_let_go,
)
