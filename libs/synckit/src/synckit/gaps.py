"""Gaps: windows in which notices of changes were lost, or not subscribed to, until the product has read again.

A gap is kept from the transaction that takes its fact to the one that tells that it is reconciled.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

from sqlalchemy import Index, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from contracts.events.webhooks_care_v1 import GapReconciled
from contracts.events.webhooks_subscription_v1 import DeliveryGapFound, SubscriptionsActive
from servicekit.kafka.outbox import append_all
from synckit.connections import ConnectionColumns

DUE_AT_ONCE: Final = 20
"""Gaps of one transaction."""
SUBSCRIBED: Final = "subscribed"
FIRST_SYNC: Final = "first sync"
FIRST_SYNC_GONE: Final = "first sync, gone"
"""Ids of gaps that nobody is told about: before the subscriptions of a generation; notices that came during the first
sync, of changes or of records that are gone."""
UNTOLD: Final = frozenset({SUBSCRIBED, FIRST_SYNC, FIRST_SYNC_GONE})


class GapColumns:
    """A window to read again: `class Gap(GapColumns, Base)`. Closed ones are kept only for `SUBSCRIBED`."""

    organization_id: Mapped[str] = mapped_column(primary_key=True, sort_order=-2)
    gap_id: Mapped[str] = mapped_column(primary_key=True, sort_order=-1)
    version: Mapped[int]
    """That of its fact."""
    generation: Mapped[int]
    """The connection's."""
    since: Mapped[datetime]
    until: Mapped[datetime]
    """What is read after this instant shows all of the window's changes."""
    noted_at: Mapped[datetime]
    tried_at: Mapped[datetime | None]
    """When a read was last started for it."""
    look_at: Mapped[datetime]
    """When it is looked at next."""
    closed_at: Mapped[datetime | None]


def gap_indexes(table: str = "gap") -> tuple[Index, ...]:
    """For `__table_args__` of a gap: those that are open."""
    return (Index(f"ix_{table}_open", "look_at", postgresql_where=text("closed_at IS NULL")),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaps:
    """A product's gaps."""

    rows: type[GapColumns]
    connections: type[ConnectionColumns]
    product: str
    by: str
    """The service. Both as `contracts.values`."""


async def found(session: AsyncSession, gaps: Gaps, fact: DeliveryGapFound, now: datetime) -> None:
    """Note a gap of deliveries, once. One that grew, which is told again, has to be read once more."""
    if fact.product != gaps.product:
        return
    row = _row(fact.organization_id, fact.gap_id, fact.version, fact.generation, fact.since, fact.until, now)
    await _note_newer(session, gaps, row, gaps.rows.version < fact.version)


async def subscribed(session: AsyncSession, gaps: Gaps, fact: SubscriptionsActive, now: datetime) -> None:
    """Note, once for each generation of the connection, that changes before its subscriptions came without notices."""
    if fact.product != gaps.product:
        return
    at = fact.occurred_at
    row = _row(fact.organization_id, SUBSCRIBED, fact.version, fact.generation, at, at, now)
    await _note_newer(session, gaps, row, gaps.rows.generation < fact.generation)


async def during_first_sync(
    session: AsyncSession, gaps: Gaps, organization_id: str, generation: int, now: datetime, *, gone: bool
) -> None:
    """Note that notices came while the first sync may have read their records already. `gone`: some told that a record
    is no more.
    """
    row = _row(organization_id, FIRST_SYNC_GONE if gone else FIRST_SYNC, 1, generation, now, now, now)
    await _note_newer(session, gaps, row, gaps.rows.noted_at < now)


async def _note_newer(session: AsyncSession, gaps: Gaps, row: dict[str, Any], newer: Any) -> None:
    statement = insert(gaps.rows).values(row)
    key = ["organization_id", "gap_id"]
    await session.execute(statement.on_conflict_do_update(index_elements=key, set_=row, where=newer))


def _row(
    organization_id: str, gap_id: str, version: int, generation: int, since: datetime, until: datetime, now: datetime
) -> dict[str, Any]:
    return {
        "organization_id": organization_id,
        "gap_id": gap_id,
        "version": version,
        "generation": generation,
        "since": since,
        "until": until,
        "noted_at": now,
        "tried_at": None,
        "look_at": now,
        "closed_at": None,
    }


Look: TypeAlias = Callable[[AsyncSession, str, list[GapColumns]], Awaitable[None]]
"""Looks at due gaps of one organization: closes those that were read again, and has others read."""


async def look_at_due(session: AsyncSession, gaps: Gaps, now: datetime, look: Look) -> int:
    """Look at open gaps, organization by organization: of connected ones only, `DUE_AT_ONCE` gaps at most.

    Returns the number of gaps.
    """
    rows, connections = gaps.rows, gaps.connections
    query = (
        select(rows)
        .join(connections, connections.organization_id == rows.organization_id)
        .where(rows.closed_at.is_(None), rows.look_at <= now, connections.state == "connected")
        .order_by(rows.look_at)
        .limit(DUE_AT_ONCE)
        .with_for_update(of=rows, skip_locked=True)
    )
    by_organization: dict[str, list[GapColumns]] = {}
    for gap in await session.scalars(query):
        by_organization.setdefault(gap.organization_id, []).append(gap)
    for organization_id in sorted(by_organization):
        await look(session, organization_id, by_organization[organization_id])
    return sum(map(len, by_organization.values()))


def later(gaps: list[GapColumns], at: datetime, *, tried_at: datetime | None = None) -> None:
    """Look at these again at an instant. `tried_at`: set if a read was started for them."""
    for gap in gaps:
        gap.look_at = at
        gap.tried_at = tried_at or gap.tried_at


async def close(
    session: AsyncSession, gaps: Gaps, those: Mapping[str, tuple[GapColumns, str | None]], sentence: str, now: datetime
) -> None:
    """Close gaps and tell so. `those`: by id, with the id of the run that read again, if it was one."""
    events = []
    for gap, run_id in those.values():
        if gap.gap_id in UNTOLD:
            gap.closed_at = now
            continue
        events.append(
            GapReconciled(
                organization_id=gap.organization_id,
                version=gap.version,
                product=gaps.product,
                gap_id=gap.gap_id,
                by=gaps.by,
                sentence=sentence,
                run_id=run_id,
                reconciled_at=now,
            )
        )
        await session.delete(gap)
    await session.flush()
    await append_all(session, events)
