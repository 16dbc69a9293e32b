"""Windows in which notices of Planning Center were lost: a check reads again what may have changed in them."""

from datetime import datetime, timedelta
from functools import partial
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
_AGAIN: Final = timedelta(minutes=1)
"""From asking for a check to asking again."""
_READ_AGAIN: Final = "A check has read the linked events again, and with that what changed in this time."
_READ_ALL_BUT_SOME: Final = (
    "A check has read the linked events again, and with that what changed in this time, except for some that could not "
    "be read. Each check tries those again."
)
_NOTHING_LINKED: Final = "No event is linked to Planning Center, so nothing was missed."


async def close_due(session: AsyncSession, now: datetime, horizon: timedelta) -> int:
    """Close gaps that were read again, and have others checked. Returns the number of gaps."""
    return await gaps.look_at_due(session, GAPS, now, partial(_of_organization, now=now, horizon=horizon))


async def _of_organization(
    session: AsyncSession, organization_id: str, those: list[GapColumns], *, now: datetime, horizon: timedelta
) -> None:
    known = await session.get_one(CalendarConnection, organization_id)
    owner = Owner(organization_id, known.pco_organization_id)
    connection = await locked_connection(session, owner)
    if connection is None:
        return
    if not await links.any_of(session, owner) and not await links.waits(session, owner):
        await gaps.close(session, GAPS, {gap.gap_id: (gap, None) for gap in those}, _NOTHING_LINKED, now)
        return
    began = connection.checked_from
    # A read within the horizon may still show the state before the window's end.
    shown = {gap.gap_id: max(gap.until, gap.noted_at) + horizon for gap in those}
    closed = [gap for gap in those if began is not None and began > shown[gap.gap_id]]
    sentence = _READ_ALL_BUT_SOME if connection.left_unread else _READ_AGAIN
    await gaps.close(session, GAPS, {gap.gap_id: (gap, None) for gap in closed}, sentence, now)
    left = [gap for gap in those if gap not in closed]
    gaps.later(left, now + _SOON)
    shown_now = [gap for gap in left if shown[gap.gap_id] <= now]
    asking = [gap for gap in shown_now if gap.tried_at is None or gap.tried_at <= now - _AGAIN]
    if asking:
        connection.next_poll_at = now
        gaps.later(asking, now + _SOON, tried_at=now)
