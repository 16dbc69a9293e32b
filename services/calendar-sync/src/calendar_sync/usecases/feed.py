"""The private iCal feed of a church: its address, and its content."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from secrets import token_urlsafe
from typing import Final
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.domain import feed as calendar
from calendar_sync.storage import feed as storage
from calendar_sync.storage.feed import Entry, Window
from calendar_sync.storage.tables import Feed
from contracts.feeds import FEEDS, feed_key
from contracts.http.calendar import FeedState, NewFeed
from contracts.identity import UserIdentity
from servicekit.db.sessions import Sessions
from servicekit.errors import NotFound

_SECRET_BYTES: Final = 32
_READ_NOTED_EVERY: Final = timedelta(minutes=5)
_FORM: Final = 1
"""Counts changes of what is written for the same events."""
_MOST_EVENTS: Final = 100
_MOST_OCCURRENCES: Final = 1_000
_REMEMBERED_BYTES: Final = 32 * 1024 * 1024
_CHUNK_BYTES: Final = 256 * 1024
_SLICE_SECONDS: Final = 0.005


@dataclass(slots=True)
class Written:
    """Events as they were last written, by version. The least recently read ones are forgotten first."""

    limit: int = _REMEMBERED_BYTES
    size: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while events are written, so that many readers of one feed have each written once."""
    _parts: OrderedDict[tuple[UUID, int], bytes] = field(default_factory=OrderedDict)

    def get(self, event_id: UUID, version: int) -> bytes | None:
        """The VEVENTs of an event, None if they are to be written."""
        key = (event_id, version)
        if key in self._parts:
            self._parts.move_to_end(key)
        return self._parts.get(key)

    def keep(self, event_id: UUID, version: int, content: bytes) -> None:
        """Remember them."""
        before = self._parts.pop((event_id, version), b"")
        self._parts[event_id, version] = content
        self.size += len(content) - len(before)
        while self.size > self.limit:
            self.size -= len(self._parts.popitem(last=False)[1])


async def state(session: AsyncSession, organization_id: str) -> FeedState:
    """Whether there is a feed, and who made it."""
    row = await session.get(Feed, organization_id, populate_existing=True)
    return FeedState(**_state(row))


async def renew(session: AsyncSession, user: UserIdentity, now: datetime) -> NewFeed:
    """Make an address; the one before is unknown from then on."""
    name = f"{token_urlsafe(_SECRET_BYTES)}.ics"
    values = {
        "key": feed_key(name),
        "name": user.organization_name,
        "created_at": now,
        "created_by_name": user.name,
        "last_read_at": None,
        "revoked_at": None,
    }
    row = await session.scalar(
        insert(Feed)
        .values(organization_id=user.organization_id, **values)
        .on_conflict_do_update(index_elements=[Feed.organization_id], set_=values)
        .returning(Feed)
        .execution_options(populate_existing=True)
    )
    return NewFeed(**_state(row), path=f"{FEEDS}/{name}")


async def revoke(session: AsyncSession, organization_id: str, now: datetime) -> None:
    """End the address, if there is one."""
    mine = (Feed.organization_id == organization_id, Feed.revoked_at.is_(None))
    await session.execute(update(Feed).where(*mine).values(revoked_at=now))


def _state(row: Feed | None) -> dict[str, object]:
    return {
        "active": row is not None and row.revoked_at is None,
        "created_at": row and row.created_at,
        "created_by_name": row and row.created_by_name,
        "last_read_at": row and row.last_read_at,
        "revoked_at": row and row.revoked_at,
    }


async def opened(session: AsyncSession, key: str, now: datetime) -> Feed:
    """The feed with a key, noted as read. NotFound (404), the same for an address that never was and one that ended."""
    wanted = bytes.fromhex(key) if _is_key(key) else b""
    row = await session.scalar(select(Feed).where(Feed.key == wanted, Feed.revoked_at.is_(None)))
    if row is None:
        raise NotFound("There is nothing at this address.")
    if row.last_read_at is None or not timedelta() <= now - row.last_read_at < _READ_NOTED_EVERY:
        row.last_read_at = now
    return row


def _is_key(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


async def tag_of(session: AsyncSession, feed: Feed, now: datetime) -> str:
    """The ETag of a feed, a weak one: what is read while events change may be newer than its tag."""
    events = await storage.state_of(session, feed.organization_id, Window.at(now))
    told = "\n".join((str(_FORM), str(now.year), feed.name, events))
    return f'W/"{sha256(told.encode()).hexdigest()[:32]}"'


async def content(
    sessions: Sessions, written: Written, feed: Feed, entries: Sequence[Entry], now: datetime
) -> AsyncIterator[bytes]:
    """The calendar in chunks. Each part is read in a transaction of its own, so a slow reader holds none open."""
    zones = {one.time_zone for one in entries}
    chunk = bytearray(calendar.head(feed.name, zones, now.year))
    for batch in _batches(entries):
        for zone, part in await _written(sessions, written, feed.organization_id, batch, now):
            if zone not in zones:  # changed since the entries were read
                zones.add(zone)
                chunk += calendar.zone_definition(zone, now.year)
            chunk += part
            if len(chunk) >= _CHUNK_BYTES:
                yield bytes(chunk)
                chunk.clear()
    yield bytes(chunk) + calendar.END


def _batches(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    size = 0
    for one in entries:
        if batch and (len(batch) >= _MOST_EVENTS or size + one.size > _MOST_OCCURRENCES):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += one.size
    if batch:
        yield batch


async def _written(
    sessions: Sessions, written: Written, organization_id: str, batch: Sequence[Entry], now: datetime
) -> list[tuple[str, bytes]]:
    """Zone and VEVENTs of each event that is still in the feed."""
    found = {one.id: (one.time_zone, written.get(one.id, one.version)) for one in batch}
    if any(part is None for _, part in found.values()):
        async with written.lock:
            found = {one.id: (one.time_zone, written.get(one.id, one.version)) for one in batch}
            missing = [one for one in batch if found[one.id][1] is None]
            async with sessions() as session:
                events = await storage.read(session, organization_id, Window.at(now), missing)
            async for event, part in _write(events, written):
                found[event.id] = (event.values.times.time_zone, part)
    return [(zone, part) for zone, part in found.values() if part is not None]


async def _write(events: Sequence[calendar.Listed], written: Written) -> AsyncIterator[tuple[calendar.Listed, bytes]]:
    """The VEVENTs of each event. Others get their turn in between: a series may have a thousand."""
    began = time.monotonic()
    for event in events:
        parts = []
        for part in calendar.components(event):
            parts.append(part)
            if time.monotonic() - began > _SLICE_SECONDS:
                await asyncio.sleep(0)
                began = time.monotonic()
        whole = b"".join(parts)
        written.keep(event.id, event.version, whole)
        yield event, whole
