"""Queries that several use cases share."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.storage.tables import TOKEN_GENERATION, Connection, Disconnect, OAuthGrant, PcoBinding
from contracts.http.auth import Product


@dataclass(frozen=True, slots=True)
class Church:
    """All rows of one organization."""

    binding: PcoBinding | None
    connections: dict[str, Connection]
    """Connections by product, without products never connected."""


async def lock_organization(session: AsyncSession, organization_id: str) -> None:
    """Every change of an organization's rows takes this lock first, so that no two of them interleave.

    The transaction holds the lock to its end and never calls Planning Center.
    """
    await session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended('organization:' || :id, 0))"), {"id": organization_id}
    )


async def church(session: AsyncSession, organization_id: str) -> Church:
    """The binding and connections of an organization."""
    binding = await session.get(PcoBinding, organization_id, populate_existing=True)
    rows = await session.scalars(
        select(Connection)
        .where(Connection.organization_id == organization_id)
        .execution_options(populate_existing=True)
    )
    return Church(binding, {row.product: row for row in rows})


async def connections_of(session: AsyncSession, grant_id: UUID) -> list[Connection]:
    """The connections that use a grant: one or two."""
    rows = await session.scalars(
        select(Connection).where(Connection.grant_id == grant_id).execution_options(populate_existing=True)
    )
    return list(rows)


async def grant(session: AsyncSession, grant_id: UUID) -> OAuthGrant | None:
    """A grant's present row."""
    return await session.get(OAuthGrant, grant_id, populate_existing=True)


async def lock_grant(session: AsyncSession, grant_id: UUID) -> OAuthGrant | None:
    """A grant's present row under its organization's lock, so unchanged until this transaction ends."""
    found = await grant(session, grant_id)
    if found is None:
        return None
    await lock_organization(session, found.organization_id)
    return await grant(session, grant_id)


async def next_token_generation(session: AsyncSession) -> int:
    """A generation higher than all before."""
    generation: int = await session.scalar(select(TOKEN_GENERATION.next_value()))  # type: ignore[assignment]
    return generation


async def last_disconnect(session: AsyncSession, organization_id: str, product: Product) -> Disconnect | None:
    """The disconnect in progress, else the last one."""
    found: Disconnect | None = await session.scalar(
        select(Disconnect)
        .where(Disconnect.organization_id == organization_id, Disconnect.product == product)
        .order_by(Disconnect.generation.desc())
        .limit(1)
        .execution_options(populate_existing=True)
    )
    return found
