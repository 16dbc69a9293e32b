"""Windows whose deliveries were lost. The owner of the records reads again what may have changed in them.

A gap is stored before what caused it is mended, and published once it is, so that the window reaches to that moment. A
connection has at most one open gap: a further loss extends it.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.events.webhooks_care_v1 import GapReconciled
from contracts.events.webhooks_subscription_v1 import DeliveryGapFound
from servicekit.ids import uuid7
from webhook_gateway.storage.tables import Connection, DeliveryGap


async def _open_gap(session: AsyncSession, connection: Connection) -> DeliveryGap | None:
    found = select(DeliveryGap).where(
        DeliveryGap.organization_id == connection.organization_id,
        DeliveryGap.product == connection.product,
        DeliveryGap.generation == connection.generation,
        DeliveryGap.closed_at.is_(None),
    )
    gap: DeliveryGap | None = await session.scalar(found.with_for_update())
    return gap


async def found(session: AsyncSession, connection: Connection, since: datetime, cause: str, now: datetime) -> None:
    """Store a gap, or extend the open one. It is not published yet. The caller holds the connection's job."""
    gap = await _open_gap(session, connection)
    if gap is None:
        session.add(
            DeliveryGap(
                id=uuid7(),
                organization_id=connection.organization_id,
                product=connection.product,
                generation=connection.generation,
                since=since,
                until=max(since, now),
                cause=cause,
                found_at=now,
            )
        )
        return
    gap.since, gap.until, gap.version = min(gap.since, since), max(gap.until, now), 0
    if cause not in gap.cause:
        gap.cause = f"{gap.cause} {cause}"


async def read_until(session: AsyncSession, connection: Connection) -> datetime | None:
    """The instant whose earlier changes the owner has read again, because of a gap; None without a closed one."""
    last: datetime | None = await session.scalar(
        select(func.max(DeliveryGap.until)).where(
            DeliveryGap.organization_id == connection.organization_id,
            DeliveryGap.product == connection.product,
            DeliveryGap.closed_at.is_not(None),
        )
    )
    return last


async def redelivered(session: AsyncSession, connection: Connection, count: int) -> None:
    """Count deliveries that the vendor was asked to send again."""
    gap = await _open_gap(session, connection)
    if gap is not None:
        gap.redelivered += count


async def unpublished(session: AsyncSession, connection: Connection, now: datetime) -> list[DeliveryGapFound]:
    """The facts about open gaps that were not published since they were stored or extended; their windows end now.

    A former generation's is among them if its connection ended before it could be published.
    """
    found = select(DeliveryGap).where(
        DeliveryGap.organization_id == connection.organization_id,
        DeliveryGap.product == connection.product,
        DeliveryGap.generation <= connection.generation,
        DeliveryGap.closed_at.is_(None),
        DeliveryGap.version == 0,
    )
    facts = []
    for gap in await session.scalars(found.order_by(DeliveryGap.generation).with_for_update()):
        connection.subscriptions_version += 1
        gap.version, gap.until = connection.subscriptions_version, max(gap.until, now)
        facts.append(
            DeliveryGapFound(
                organization_id=gap.organization_id,
                version=gap.version,
                product=gap.product,
                generation=gap.generation,
                occurred_at=now,
                gap_id=str(gap.id),
                since=gap.since,
                until=gap.until,
            )
        )
    return facts


async def close(session: AsyncSession, fact: GapReconciled) -> None:
    """Note that the owner has read the window again. A gap that grew since stays open: its owner was asked again."""
    try:
        gap_id = UUID(fact.gap_id)
    except ValueError:
        return
    gap = await session.get(DeliveryGap, gap_id, with_for_update=True)
    if gap is None or gap.organization_id != fact.organization_id or gap.closed_at or gap.version != fact.version:
        return
    gap.closed_at, gap.closed_how, gap.run_id = fact.reconciled_at, fact.sentence, fact.run_id
