"""Occurrences within a window of days, in the order of their starts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, literal_column, or_, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.storage.tables import Event, OccurrenceRow
from servicekit.http.paging import decode, encode, instant, string

_LONG: Final[ColumnElement[bool]] = literal_column("occurrence.ends_at - occurrence.starts_at > interval '2 days'")
"""The condition of `ix_occurrence_long`."""
_SHORT: Final = timedelta(days=2)
_LONGEST: Final = timedelta(days=368)
"""No occurrence is longer, whatever clocks do."""
_FARTHEST: Final = timedelta(hours=15)
"""No zone is farther from UTC: the midnights of a day lie within this around that of UTC."""


@dataclass(frozen=True, slots=True)
class Window:
    """Days of a zone: dates for all-day events, and the instants at which they begin and end there."""

    first_day: date
    last_day: date
    begins: datetime
    ends: datetime


async def page_of(
    session: AsyncSession, organization_id: str, window: Window, after: str | None, limit: int
) -> tuple[Sequence[Any], str | None]:
    """Rows of occurrences with what they show of their event, and the position behind them if more follow.

    Columns: `event_id`, `key`, `title`, `location`, the span, `moved`, `time_zone`, `series`.

    Two indexes are scanned in the order of the start, since a long occurrence may have begun a year before the window.
    """
    row = OccurrenceRow
    position = [row.starts_at, row.event_id, row.key]
    ahead = []
    if after:
        ahead = [func.row(*position) > func.row(*decode(after, instant, UUID, string))]
    timed = and_(row.starts_at < window.ends, or_(row.ends_at > window.begins, row.starts_at >= window.begins))
    days = and_(row.first_day <= window.last_day, row.last_day >= window.first_day)
    inside = or_(and_(row.first_day.is_(None), timed), days)
    earliest, latest = window.begins - 2 * _FARTHEST, window.ends + 2 * _FARTHEST
    branches = [
        select(*position)
        .where(
            row.organization_id == organization_id,
            ~row.cancelled,
            length,
            row.starts_at > earliest - longest,
            row.starts_at < latest,
            inside,
            *ahead,
        )
        .order_by(*position)
        .limit(limit + 1)
        for length, longest in ((~_LONG, _SHORT), (_LONG, _LONGEST))
    ]
    either = union_all(*(branch.subquery().select() for branch in branches)).subquery("either")
    page = (
        select(either).order_by(either.c.starts_at, either.c.event_id, either.c.key).limit(limit + 1).subquery("page")
    )
    shown = (
        select(
            row.event_id,
            row.key,
            func.coalesce(row.title, Event.title).label("title"),
            func.coalesce(row.location, Event.location).label("location"),
            row.starts_at,
            row.ends_at,
            row.first_day,
            row.last_day,
            row.moved,
            Event.time_zone,
            (Event.recurrence.is_not(None) | (Event.listed & (Event.occurrence_count > 1))).label("series"),
        )
        .join(page, and_(row.event_id == page.c.event_id, row.key == page.c.key))
        .join(Event, Event.id == row.event_id)
        .order_by(row.starts_at, row.event_id, row.key)
    )
    rows = (await session.execute(shown)).all()
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    return rows[:limit], encode(last.starts_at.isoformat(), str(last.event_id), last.key)
