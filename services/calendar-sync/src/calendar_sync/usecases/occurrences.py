"""Occurrences within a window of days."""

from datetime import date, datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.domain.zones import is_zone, local_time, midnight
from calendar_sync.storage.windows import Window, page_of
from calendar_sync.usecases.events import church_zone
from contracts.calendar import ListedOccurrence
from contracts.http.calendar import LONGEST_WINDOW_DAYS, OccurrenceQuery
from contracts.http.common import Page
from servicekit.errors import Invalid

_MONTH: Final = timedelta(days=30)
_EARLIEST: Final = date(1900, 1, 1)
_LATEST: Final = date(2199, 12, 31)


async def page(
    session: AsyncSession, organization_id: str, query: OccurrenceQuery, now: datetime
) -> Page[ListedOccurrence]:
    """A page in the order of the start. Invalid (422) for days or a zone that cannot be."""
    zone = query.time_zone or await church_zone(session, organization_id) or "UTC"
    if not is_zone(zone):
        raise _invalid("time_zone", "is no time zone: send an IANA name, such as America/New_York")
    first = query.first_day or local_time(now, zone).date()
    if not _EARLIEST <= first <= _LATEST:
        raise _invalid("first_day", "must lie between 1900 and 2199")
    last = query.last_day or first + _MONTH
    if last < first:
        raise _invalid("last_day", "lies before first_day")
    if (last - first).days >= LONGEST_WINDOW_DAYS:
        raise _invalid("last_day", f"lies too far behind first_day: at most {LONGEST_WINDOW_DAYS} days can be listed")
    window = Window(first, last, midnight(first, zone), midnight(last + timedelta(days=1), zone))
    rows, following = await page_of(session, organization_id, window, query.after, query.limit)
    items = tuple(
        ListedOccurrence(
            event_id=str(row.event_id),
            key=row.key,
            title=row.title,
            location=row.location,
            starts_at=row.starts_at,
            ends_at=row.ends_at,
            all_day=row.first_day is not None,
            first_day=row.first_day,
            last_day=row.last_day,
            time_zone=row.time_zone,
            series=row.series,
            moved=row.moved,
        )
        for row in rows
    )
    return Page[ListedOccurrence](items=items, next=following)


def _invalid(field: str, message: str) -> Invalid:
    return Invalid("Correct the fields named in `errors`.", errors=[{"field": field, "message": message}])
