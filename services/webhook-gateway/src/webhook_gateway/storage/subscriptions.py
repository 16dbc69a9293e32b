"""Keys and subscriptions of connections."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import ARRAY, Text, func, literal, select, true, update
from sqlalchemy.ext.asyncio import AsyncSession

from synckit.among import among
from webhook_gateway.storage.tables import Connection, Delivery, WebhookKey, WebhookSubscription


async def connection_of(
    session: AsyncSession, organization_id: str, product: str, *, held: bool = False
) -> Connection | None:
    """The connection. held: locked, so that no fact about it is stored until this transaction ends."""
    found = select(Connection).filter_by(organization_id=organization_id, product=product)
    if held:
        found = found.with_for_update()
    connection: Connection | None = await session.scalar(found, execution_options={"populate_existing": True})
    return connection


async def key_of(session: AsyncSession, connection: Connection, *, locked: bool = False) -> WebhookKey | None:
    """The key of the connection's present generation."""
    found = select(WebhookKey).filter_by(
        organization_id=connection.organization_id, product=connection.product, generation=connection.generation
    )
    if locked:
        found = found.with_for_update()
    key: WebhookKey | None = await session.scalar(found, execution_options={"populate_existing": True})
    return key


async def rows_of(session: AsyncSession, key_id: int) -> dict[str, WebhookSubscription]:
    """A key's subscriptions by name."""
    found = select(WebhookSubscription).filter_by(key_id=key_id).order_by(WebhookSubscription.name)
    return {row.name: row for row in await session.scalars(found)}


async def unretired(session: AsyncSession, organization_id: str, product: str, generation: int) -> list[WebhookKey]:
    """Keys of a connection up to a generation that are not retired."""
    found = select(WebhookKey).where(
        WebhookKey.organization_id == organization_id,
        WebhookKey.product == product,
        WebhookKey.generation <= generation,
        WebhookKey.retired_at.is_(None),
    )
    return list(await session.scalars(found.order_by(WebhookKey.generation)))


async def living(
    session: AsyncSession, hashes: Collection[bytes], organization_id: str, product: str, generation: int
) -> set[bytes]:
    """Those of these hashes whose key is in use by another connection, or by a later generation of this one."""
    own = (
        (WebhookKey.organization_id == organization_id)
        & (WebhookKey.product == product)
        & (WebhookKey.generation <= generation)
    )
    found = select(WebhookKey.key_hash).where(WebhookKey.key_hash.in_(hashes), WebhookKey.retired_at.is_(None), ~own)
    return set(await session.scalars(found))


async def retire(session: AsyncSession, organization_id: str, product: str, *, up_to: int, now: datetime) -> None:
    """Retire a connection's keys up to a generation: their addresses answer 410 from now on."""
    keys = await session.scalars(
        update(WebhookKey)
        .where(
            WebhookKey.organization_id == organization_id,
            WebhookKey.product == product,
            WebhookKey.generation <= up_to,
            WebhookKey.retired_at.is_(None),
        )
        .values(retired_at=now, due_at=None, rotate_asked_at=None)
        .returning(WebhookKey.id),
        execution_options={"synchronize_session": False},
    )
    if ids := list(keys):
        await session.execute(
            update(WebhookSubscription)
            .where(among(WebhookSubscription.key_id, ids), WebhookSubscription.state != "removed")
            .values(
                state="removed",
                sealed_secret=None,
                sealed_previous=None,
                previous_until=None,
                refusal=None,
                changed_at=now,
            ),
            execution_options={"synchronize_session": False},
        )


async def last_received(session: AsyncSession, organization_id: str, names: Collection[str]) -> dict[str, datetime]:
    """When the newest delivery of each name came in; names without one are left out."""
    if not names:
        return {}
    name = func.unnest(literal(list(names), ARRAY(Text))).table_valued("name").alias("wanted")
    newest = (
        select(Delivery.received_at)
        .where(Delivery.organization_id == organization_id, Delivery.name == name.c.name)
        .order_by(Delivery.id.desc())
        .limit(1)
        .lateral("newest")
    )
    rows = await session.execute(select(name.c.name, newest.c.received_at).join(newest, true()))
    return {found.name: found.received_at for found in rows}
