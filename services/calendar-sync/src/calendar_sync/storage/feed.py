"""Which events are in a church's feed, and what they have become since it was last read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final, Self
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.domain.feed import Listed
from calendar_sync.storage.events import occurrences_of, whole
from calendar_sync.storage.tables import Event
from synckit.among import among

_PAST: Final = timedelta(days=90)
_AHEAD: Final = timedelta(days=2 * 366)


@dataclass(frozen=True, slots=True)
class Window:
    """The time that a feed covers. An event whose first or last occurrence reaches into it is listed whole."""

    begins: datetime
    ends: datetime

    @classmethod
    def at(cls, now: datetime) -> Self:
        """The window of a day, so that a feed does not change by itself within one."""
        midnight = datetime.combine(now.astimezone(UTC).date(), time(), UTC)
        return cls(midnight - _PAST, midnight + _AHEAD)


@dataclass(frozen=True, slots=True)
class Entry:
    """An event of the feed, as the index has it."""

    id: UUID
    version: int
    time_zone: str
    size: int
    """Number of occurrences that take place."""


def listed_in_feed(organization_id: str, window: Window) -> ColumnElement[bool]:
    """Which events are in the feed: one condition for all of its statements.

    Those that were handed off: a feed of all events would double what Planning Center has already.
    """
    return and_(
        Event.organization_id == organization_id,
        Event.deleted_at.is_(None),
        Event.last_ends_at >= window.begins,
        Event.first_starts_at < window.ends,
        Event.handed_off,
    )


async def state_of(session: AsyncSession, organization_id: str, window: Window) -> str:
    """Text that differs whenever one of the feed's events differs, or another set is listed. Reads an index alone."""
    versions = func.sum(func.uuid_hash_extended(Event.id, Event.version))
    found = await session.execute(select(func.count(), versions).where(listed_in_feed(organization_id, window)))
    return "{}:{}".format(*found.one())


async def entries(session: AsyncSession, organization_id: str, window: Window) -> list[Entry]:
    """All events of the feed, in no order. Reads an index alone."""
    rows = await session.execute(
        select(Event.id, Event.version, Event.time_zone, Event.occurrence_count).where(
            listed_in_feed(organization_id, window)
        )
    )
    return [Entry(*row) for row in rows]


async def read(
    session: AsyncSession, organization_id: str, window: Window, wanted: Iterable[Entry]
) -> Sequence[Listed]:
    """Those of some events that are still in the feed."""
    chosen = among(Event.id, [one.id for one in wanted])
    events: Sequence[Any] = (
        await session.scalars(select(Event).where(listed_in_feed(organization_id, window), chosen))
    ).all()
    those = await occurrences_of(session, events)
    return [Listed(one.id, one.version, one.updated_at, whole(one, those[one.id])) for one in events]
