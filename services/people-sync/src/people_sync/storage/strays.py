"""Rows of strays, unsettled and settled."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import FAMILY, MEMBER
from people_sync.storage.sync_tables import Remote, Stray
from synckit.among import among

MEMBERSHIP: Final = "membership"
"""Kind of an intent: a person joins a household."""
STRAY: Final = "stray"
"""Reason of a refresh."""


def record_kind(kind: str) -> str:
    """The kind of record, member or family, behind an intent of this kind."""
    return FAMILY if kind in {FAMILY, MEMBERSHIP} else MEMBER


async def of_record(session: AsyncSession, owner: Mapping[str, str], record_id: UUID) -> list[Stray]:
    """Unsettled strays of a record, oldest first."""
    statement = select(Stray).filter_by(**owner, record_id=record_id).where(_OPEN).order_by(Stray.made_at, Stray.pco_id)
    return list(await session.scalars(statement))


async def of_intent(session: AsyncSession, owner: Mapping[str, str], kind: str, intent_id: UUID) -> list[Stray]:
    """Unsettled strays of one intent, oldest first."""
    statement = select(Stray).filter_by(**owner, kind=kind, intent_id=intent_id).where(_OPEN)
    return list(await session.scalars(statement.order_by(Stray.made_at, Stray.pco_id)))


async def unsettled(
    session: AsyncSession, owner: Mapping[str, str], limit: int | None = None
) -> list[tuple[str, UUID]]:
    """Records with unsettled strays, as (kind, id)."""
    rows = await session.execute(
        select(Stray.kind, Stray.record_id)
        .filter_by(**owner)
        .where(_OPEN)
        .distinct()
        .order_by(Stray.record_id, Stray.kind)
        .limit(limit)
    )
    return list(dict.fromkeys((record_kind(kind), record_id) for kind, record_id in rows))


async def known_strays(
    session: AsyncSession, owner: Mapping[str, str], kind: str, pco_ids: Collection[str]
) -> dict[str, datetime | None]:
    """The strays among these records in Planning Center, with the time of their settlement (None: unsettled)."""
    if not pco_ids:
        return {}
    rows = await session.execute(
        select(Stray.pco_id, Stray.settled_at).filter_by(**owner, kind=kind).where(among(Stray.pco_id, pco_ids))
    )
    return dict(rows.all())


def is_stray() -> ColumnElement[bool]:
    """Whether the remote record of the enclosing statement is a stray."""
    return exists().where(
        Stray.organization_id == Remote.organization_id,
        Stray.pco_organization_id == Remote.pco_organization_id,
        Stray.kind == Remote.kind,
        Stray.pco_id == Remote.pco_id,
    )


_OPEN: ColumnElement[bool] = Stray.settled_at.is_(None)
