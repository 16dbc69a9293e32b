"""Queries of the delivery log."""

from typing import Any

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.http.webhooks import DeliveryFilter
from webhook_gateway.storage.tables import Delivery

UNREADABLE = "unreadable"
"""Outcome of a delivery that cannot be read, which is why it cannot be sent again."""
_EQUAL = {
    "product": Delivery.product,
    "name": Delivery.name,
    "state": Delivery.state,
    "outcome": Delivery.outcome,
    "cause": Delivery.sentence,
    "resource_type": Delivery.resource_type,
    "resource_id": Delivery.resource_id,
    "record_id": Delivery.record_id,
    "number": Delivery.id,
}


def fitting(organization_id: str, chosen: DeliveryFilter) -> list[ColumnElement[bool]]:
    """The conditions of a filter."""
    wanted: list[ColumnElement[bool]] = [Delivery.organization_id == organization_id]
    for name, column in _EQUAL.items():
        value = getattr(chosen, name)
        if value is not None:
            wanted.append(column == value)
    if chosen.since is not None:
        wanted.append(Delivery.received_at >= chosen.since)
    if chosen.until is not None:
        wanted.append(Delivery.received_at < chosen.until)
    return wanted


def readable() -> ColumnElement[bool]:
    """The condition of a delivery that can be sent again."""
    return Delivery.outcome.is_distinct_from(UNREADABLE)


async def find(session: AsyncSession, organization_id: str, number: int) -> Delivery | None:
    """One delivery of the organization."""
    found: Delivery | None = await session.scalar(
        select(Delivery).where(Delivery.id == number, Delivery.organization_id == organization_id)
    )
    return found


async def counted(session: AsyncSession, rows: Select[Any], most: int) -> tuple[int, bool]:
    """How many rows there are, up to `most`, and whether there are more."""
    found = await session.scalar(select(func.count()).select_from(rows.limit(most + 1).subquery())) or 0
    return min(found, most), found > most
