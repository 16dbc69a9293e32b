"""Members and families as they are once they are locked."""

from collections.abc import Iterable
from typing import TypeVar
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from people_sync.storage.tables import Family, Member
from synckit.among import among

Record = TypeVar("Record", Member, Family)


async def locked(
    session: AsyncSession, record: type[Record], organization_id: str, ids: Iterable[UUID]
) -> dict[UUID, Record]:
    """Lock records of an organization in the order of their ids. Members go before families everywhere."""
    rows = await session.scalars(
        select(record)
        .where(record.organization_id == organization_id, among(record.id, ids))
        .order_by(record.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return {row.id: row for row in rows}
