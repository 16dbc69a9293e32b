"""Keys of addresses that Planning Center calls, with the secrets that sign its calls."""

from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from uuid import UUID

from sqlalchemy import and_, select
from sqlalchemy.ext.asyncio import AsyncSession

from webhook_gateway.storage.tables import WebhookKey, WebhookSubscription


def key_hash(key: str) -> bytes:
    """The only form in which a key is kept or looked for."""
    return sha256(key.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """One secret of one subscription."""

    subscription_id: UUID
    name: str
    """The vendor's event name."""
    sealed: bytes
    until: datetime | None = None
    """Of a secret before a rotation: when it ends to be valid."""


@dataclass(frozen=True, slots=True)
class Key:
    """One address: a connection's generation."""

    id: int
    organization_id: str
    product: str
    generation: int
    pco_organization_id: str
    retired: bool
    secrets: tuple[SealedSecret, ...] = field(repr=False)


async def find(session: AsyncSession, hashed: bytes) -> Key | None:
    """The key with this hash."""
    rows = (
        await session.execute(
            select(WebhookKey, WebhookSubscription)
            .outerjoin(
                WebhookSubscription,
                and_(WebhookSubscription.key_id == WebhookKey.id, WebhookSubscription.state != "removed"),
            )
            .where(WebhookKey.key_hash == hashed)
        )
    ).all()
    if not rows:
        return None
    key = rows[0].WebhookKey
    return Key(
        id=key.id,
        organization_id=key.organization_id,
        product=key.product,
        generation=key.generation,
        pco_organization_id=key.pco_organization_id,
        retired=key.retired_at is not None,
        secrets=tuple(
            secret
            for row in rows
            if row.WebhookSubscription is not None
            for secret in _secrets(row.WebhookSubscription)
        ),
    )


async def hashes(session: AsyncSession) -> frozenset[bytes]:
    """All keys' hashes."""
    return frozenset(await session.scalars(select(WebhookKey.key_hash)))


def _secrets(subscription: WebhookSubscription) -> list[SealedSecret]:
    found = []
    if subscription.sealed_secret is not None:
        found.append(SealedSecret(subscription.id, subscription.name, subscription.sealed_secret))
    if subscription.sealed_previous is not None and subscription.previous_until is not None:
        previous = subscription.sealed_previous
        found.append(SealedSecret(subscription.id, subscription.name, previous, subscription.previous_until))
    return found
