"""Rows of our writes to Planning Center: announced before the send, answered, deleted when refused."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, delete, exists, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from people_sync.storage.tables import Link, LinkWrite
from synckit.among import among
from synckit.staleness import CREATED, Reading, Write


@dataclass(frozen=True, slots=True)
class Sent:
    """One field to be sent, values as JSON."""

    field: str
    before: Any
    after: Any


async def writes_of(session: AsyncSession, link_ids: Collection[int]) -> dict[int, list[Write]]:
    """Writes by link, in the order of announcement, without links that have none."""
    if not link_ids:
        return {}
    found: dict[int, list[Write]] = {}
    rows = await session.execute(
        select(
            LinkWrite.link_id,
            LinkWrite.field,
            LinkWrite.before,
            LinkWrite.after,
            LinkWrite.announced_at,
            LinkWrite.answered_at,
        )
        .where(among(LinkWrite.link_id, link_ids))
        .order_by(LinkWrite.id)
    )
    for link_id, *values in rows:
        found.setdefault(link_id, []).append(Write(*values))
    return found


async def announce(session: AsyncSession, link_id: int, sent: Iterable[Sent], now: datetime) -> None:
    """Note fields to be sent, in a transaction that is committed before the request."""
    rows = [
        {"link_id": link_id, "field": one.field, "before": one.before, "after": one.after, "announced_at": now}
        for one in sent
    ]
    if rows:
        await session.execute(insert(LinkWrite), rows)


async def note_created(session: AsyncSession, link_id: int, now: datetime) -> None:
    """Note that the record was just created there."""
    row = {"link_id": link_id, "field": CREATED, "before": None, "after": None}
    await session.execute(insert(LinkWrite), [row | {"announced_at": now, "answered_at": now}])


async def answered(session: AsyncSession, link_id: int, fields: Collection[str], now: datetime) -> None:
    """Note that Planning Center accepted these fields."""
    await session.execute(update(LinkWrite).where(*_open(link_id, fields)).values(answered_at=now))


async def left_again(session: AsyncSession, link_id: int, fields: Collection[str], now: datetime) -> None:
    """Note that unanswered writes may have been in flight until now."""
    await session.execute(update(LinkWrite).where(*_open(link_id, fields)).values(announced_at=now))


async def taken_back(session: AsyncSession, link_id: int, fields: Collection[str]) -> None:
    """Delete writes that Planning Center refused for good."""
    await session.execute(delete(LinkWrite).where(*_open(link_id, fields)))


async def settle(session: AsyncSession, link_ids: Collection[int], reading: Reading) -> None:
    """After a conclusive read: delete writes that it must show, and mark the rest as answered."""
    if not link_ids:
        return
    left_at = func.coalesce(LinkWrite.answered_at, LinkWrite.announced_at)
    of_links = among(LinkWrite.link_id, link_ids)
    await session.execute(delete(LinkWrite).where(of_links, left_at <= reading.read_at - reading.horizon))
    await session.execute(
        update(LinkWrite).where(of_links, LinkWrite.answered_at.is_(None)).values(answered_at=left_at)
    )


def written_since(since: datetime) -> ColumnElement[bool]:
    """Whether the link of the enclosing statement was written since then, so that a 404 may be stale."""
    written = func.coalesce(LinkWrite.answered_at, LinkWrite.announced_at)
    return exists().where(LinkWrite.link_id == Link.id, written >= since)


def _open(link_id: int, fields: Collection[str]) -> tuple[ColumnElement[bool], ...]:
    return (LinkWrite.link_id == link_id, LinkWrite.field.in_(fields), LinkWrite.answered_at.is_(None))
