"""Hints: Planning Center's notices of changes, each waiting for the refresh of the record that it names.

A hint is answered once, by WebhookApplied in the transaction that ends its refresh. Hints of a row with very many, and
of a row that ended otherwise (disconnected, erased, joined), are answered by further transactions, `AT_ONCE` each.
Without a working authorization a hint is answered with `LATER`, and its refresh waits alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy import BigInteger, Index, and_, func, or_, select
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from contracts.events.webhooks_delivery_v1 import WebhookReceived
from contracts.events.webhooks_outcome_v1 import WebhookApplied
from servicekit.kafka.outbox import append_all
from synckit.among import among
from synckit.connections import UNAUTHORIZED
from synckit.notices import CHANGED, CONFLICT, FAILED, HELD, IGNORED, LATER, UNCHANGED, Named
from synckit.sentences import AFTER_RECONNECT, RECORD_IS_GONE

if TYPE_CHECKING:
    from synckit.refreshes import RefreshColumns, Refreshes

AT_ONCE: Final = 500
"""Hints answered in one transaction: each is a key that it holds a lock of."""

_MOST_TELLING: Final = (FAILED, CONFLICT, HELD, CHANGED, LATER, IGNORED, UNCHANGED)
"""Of the outcomes of two records, the first of these is that of a hint about both."""


class HintColumns:
    """A hint that waits for a refresh: `class Hint(HintColumns, Base)`. A hint about two records is two rows."""

    refresh_id: Mapped[UUID] = mapped_column(primary_key=True, sort_order=-2)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False, sort_order=-1)
    """Number in the delivery log, `version` of WebhookReceived."""
    organization_id: Mapped[str]
    delivery_id: Mapped[str]
    name: Mapped[str]
    """Planning Center's name of the event."""
    resource_type: Mapped[str]
    resource_id: Mapped[str]
    event_time: Mapped[datetime | None]
    received_at: Mapped[datetime]
    so_far: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """Outcome of the other record, if its refresh ended first: fields of WebhookApplied."""


def hint_indexes(table: str = "hint") -> tuple[Index, ...]:
    """For `__table_args__` of a hint: the rows of one hint."""
    return (Index(f"ix_{table}_number", "number"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """A product's hints."""

    rows: type[HintColumns]
    by: str
    """The service, as `contracts.values`."""
    outcomes: Mapping[str, str]
    """Outcome of a hint by outcome of a refresh; the same word for one that is not named."""


def columns_of(fact: WebhookReceived, refresh_id: UUID) -> dict[str, Any]:
    """A hint's row."""
    return {
        "refresh_id": refresh_id,
        "number": fact.version,
        "organization_id": fact.organization_id,
        "delivery_id": fact.delivery_id,
        "name": fact.name,
        "resource_type": fact.resource_type,
        "resource_id": fact.resource_id,
        "event_time": fact.event_time,
        "received_at": fact.received_at,
    }


async def note(session: AsyncSession, hints: Hints, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add hints to queued refreshes that this transaction has requested. A repeated hint that still waits is one."""
    if rows:
        await session.execute(insert(hints.rows).on_conflict_do_nothing(), list(rows))


def ignored(hints: Hints, fact: WebhookReceived, sentence: str, now: datetime) -> WebhookApplied:
    """The answer to a hint that needs no refresh."""
    return _answer(hints, fact, now, {"outcome": IGNORED, "sentence": sentence})


def failed(hints: Hints, fact: WebhookReceived, cause: str, now: datetime) -> WebhookApplied:
    """The answer to a hint whose message was rejected."""
    return _answer(hints, fact, now, {"outcome": FAILED, "sentence": cause})


def _answer(hints: Hints, fact: WebhookReceived, now: datetime, said: Mapping[str, Any]) -> WebhookApplied:
    return WebhookApplied(
        organization_id=fact.organization_id,
        version=fact.version,
        delivery_id=fact.delivery_id,
        by=hints.by,
        applied_at=now,
        **said,
    )


async def answer(session: AsyncSession, refreshes: "Refreshes", row: "RefreshColumns", now: datetime) -> bool:
    """Answer hints of a row that ended in this transaction or before. True if more may be left."""
    if refreshes.hints is None:
        return False
    rows = refreshes.hints.rows
    numbers = select(rows.number).where(rows.refresh_id == row.id).order_by(rows.number).limit(AT_ONCE)
    found = list(await session.scalars(numbers))
    if found:
        await _answer_all(session, refreshes, {row.id: row}, found, now)
    return len(found) == AT_ONCE


async def answer_left(session: AsyncSession, refreshes: "Refreshes", now: datetime, horizon: timedelta) -> int:
    """Answer hints whose refresh has ended, is no more, or waits for a reconnect. Returns the number found, at most
    `AT_ONCE`.

    Those that wait for a reconnect are kept for the staleness horizon: until then a read may not show the change, and
    the hint is what has it repeated.
    """
    if refreshes.hints is None:
        return 0
    rows, of_record, connections = refreshes.hints.rows, refreshes.rows, refreshes.connections
    query = select(rows.number, rows.refresh_id).outerjoin(of_record, of_record.id == rows.refresh_id)
    unauthorized = select(connections.organization_id).where(connections.state == UNAUTHORIZED)
    waits = and_(rows.received_at <= now - horizon, rows.organization_id.in_(unauthorized))
    over = or_(of_record.id.is_(None), of_record.state == "done", waits)
    left = (await session.execute(query.where(over).order_by(rows.number).limit(AT_ONCE))).all()
    if left:
        ids = {refresh_id for _, refresh_id in left}
        known = await session.scalars(select(of_record).where(among(of_record.id, ids)))
        by_id: dict[UUID, RefreshColumns | None] = dict.fromkeys(ids)
        by_id |= {one.id: one for one in known}
        await _answer_all(session, refreshes, by_id, [number for number, _ in left], now)
    return len(left)


async def _answer_all(
    session: AsyncSession,
    refreshes: "Refreshes",
    ended: Mapping[UUID, "RefreshColumns | None"],
    numbers: Iterable[int],
    now: datetime,
) -> None:
    """Delete the hints of these rows; answer those that wait for no other row. `ended`: None for a deleted row."""
    assert refreshes.hints is not None
    rows = refreshes.hints.rows
    # All rows of a hint in one order: of two transactions that end its records, the second sees what the first said.
    every = (
        select(rows).where(among(rows.number, set(numbers))).order_by(rows.number, rows.refresh_id).with_for_update()
    )
    found = await session.scalars(every, execution_options={"populate_existing": True})
    by_number: dict[int, list[HintColumns]] = {}
    for hint in found:
        by_number.setdefault(hint.number, []).append(hint)
    said: dict[UUID, dict[str, Any]] = {}
    events = []
    for number, several in by_number.items():
        over = [hint for hint in several if hint.refresh_id in ended]
        waiting = [hint for hint in several if hint.refresh_id not in ended]
        for hint in over:
            if hint.refresh_id not in said:
                said[hint.refresh_id] = await _said(session, refreshes, ended[hint.refresh_id])
        outcome = _together(
            [one for hint in several if (one := hint.so_far)] + [said[hint.refresh_id] for hint in over]
        )
        for hint in over:
            await session.delete(hint)
        if outcome is None:
            continue
        if waiting:
            waiting[0].so_far = outcome
            continue
        first = over[0]
        events.append(
            WebhookApplied(
                organization_id=first.organization_id,
                version=number,
                delivery_id=first.delivery_id,
                by=refreshes.hints.by,
                applied_at=now,
                **outcome,
            )
        )
    await session.flush()
    await append_all(session, events)


async def _said(session: AsyncSession, refreshes: "Refreshes", row: "RefreshColumns | None") -> dict[str, Any]:
    """The outcome of an ended row, or of one that waits for a reconnect, as fields of WebhookApplied."""
    assert refreshes.hints is not None
    if row is None:
        return {"outcome": IGNORED, "sentence": RECORD_IS_GONE}
    record_id = row.record_id
    if record_id is None and row.pco_id is not None:
        owner = {"organization_id": row.organization_id, "pco_organization_id": row.pco_organization_id}
        record_id = await refreshes.record_of(session, owner, row.kind, row.pco_id)
    outcome = row.outcome or UNCHANGED
    ended = row.state == "done"
    return {
        "outcome": refreshes.hints.outcomes.get(outcome, outcome) if ended else LATER,
        "sentence": (row.sentence or "") if ended else AFTER_RECONNECT,
        "record_kind": row.kind if record_id else None,
        "record_id": str(record_id) if record_id else None,
    }


def _together(outcomes: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The most telling of several outcomes; of equal ones that of a record that is here."""
    order = {name: place for place, name in enumerate(_MOST_TELLING)}
    return min(outcomes, key=lambda one: (order.get(one["outcome"], 0), not one.get("record_id")), default=None)


async def named_by(session: AsyncSession, hints: Hints, refresh_id: UUID) -> list[Named]:
    """The resources that a row's hints name, each once."""
    rows = hints.rows
    about = (rows.resource_type, rows.resource_id, rows.name)
    newest = select(*about, func.max(rows.event_time), func.max(rows.received_at))
    newest = newest.where(rows.refresh_id == refresh_id).group_by(*about)
    return [Named(*row) for row in await session.execute(newest)]
