"""Windows in which notices of Planning Center were lost: a check reads again what may have changed in them."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.storage import links
from calendar_sync.storage.links import Owner
from calendar_sync.storage.tables import CalendarConnection, Gap
from calendar_sync.usecases.schedule import locked_connection
from contracts.values import CALENDAR, CALENDAR_SYNC
from synckit import gaps
from synckit.gaps import GapColumns, Gaps

GAPS: Final = Gaps(rows=Gap, connections=CalendarConnection, product=CALENDAR, by=CALENDAR_SYNC)
_SOON: Final = timedelta(seconds=5)
_READ_AGAIN: Final = "A check has read all linked events again, and with that what changed in this time."
_NOTHING_LINKED: Final = "No event is linked to Planning Center, so nothing was missed."


async def close_due(session: AsyncSession, now: datetime) -> int:
    """Close gaps that were read again, and have others checked. Returns the number of organizations."""
    due = await gaps.due(session, GAPS, now)
    for organization_id in sorted(due):
        await _of_organization(session, organization_id, due[organization_id], now)
    return len(due)


async def _of_organization(session: AsyncSession, organization_id: str, those: list[GapColumns], now: datetime) -> None:
    known = await session.get_one(CalendarConnection, organization_id)
    owner = Owner(organization_id, known.pco_organization_id)
    connection = await locked_connection(session, owner)
    if connection is None:
        return
    if not await links.any_of(session, owner) and not await links.waits(session, owner):
        await gaps.close(session, GAPS, {gap.gap_id: (gap, None) for gap in those}, _NOTHING_LINKED, now)
        return
    began = connection.checked_from
    closed = [gap for gap in those if began is not None and began > max(gap.until, gap.noted_at)]
    await gaps.close(session, GAPS, {gap.gap_id: (gap, None) for gap in closed}, _READ_AGAIN, now)
    left = [gap for gap in those if gap not in closed]
    if left:
        connection.next_poll_at = now
        gaps.later(left, now + _SOON, tried_at=now)
