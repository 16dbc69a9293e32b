"""Rows of accepted calls, many of them in one statement."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, Integer, LargeBinary, Text, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.events.webhooks_delivery_v1 import WebhookReceived
from contracts.values import WEBHOOK_GATEWAY
from webhook_gateway.domain.envelope import Hint
from webhook_gateway.storage.keys import Key
from webhook_gateway.storage.tables import Delivery


@dataclass(frozen=True, slots=True)
class Body:
    """A verified body."""

    id: UUID
    key: Key
    subscription_id: UUID
    body: bytes
    received_at: datetime
    verified_at: datetime


@dataclass(frozen=True, slots=True)
class Kept:
    """A row of the delivery log that was just written."""

    id: int
    organization_id: str
    product: str
    generation: int
    delivery_id: str
    name: str
    resource_type: str | None
    resource_id: str | None
    person_id: str | None
    merged_person_id: str | None
    event_time: datetime | None
    received_at: datetime


# A body of very many deliveries comes in parts.
_KEEP: Final = text(
    f"""
    WITH bodies AS (
        INSERT INTO webhook_body (id, organization_id, key_id, subscription_id, body, received_at)
        SELECT * FROM unnest(:body_ids, :body_organizations, :body_keys, :body_subscriptions, :bodies, :body_times)
        ON CONFLICT DO NOTHING
    )
    INSERT INTO delivery (
        organization_id, product, generation, body_id, position, delivery_id, name, resource_type, resource_id,
        person_id, merged_person_id, event_time, sentence, received_at, verified_at, state, outcome, outcome_by
    )
    SELECT organization_id, product, generation, body_id, position, delivery_id, name, resource_type, resource_id,
        person_id, merged_person_id, event_time, sentence, received_at, verified_at,
        CASE WHEN sentence IS NULL THEN 'waiting' ELSE 'failed' END,
        CASE WHEN sentence IS NOT NULL THEN 'unreadable' END,
        CASE WHEN sentence IS NOT NULL THEN '{WEBHOOK_GATEWAY}' END
    FROM unnest(
        :organizations, :products, :generations, :of_bodies, :positions, :delivery_ids, :names, :resource_types,
        :resource_ids, :person_ids, :merged_person_ids, :event_times, :sentences, :received, :verified
    ) WITH ORDINALITY AS given (
        organization_id, product, generation, body_id, position, delivery_id, name, resource_type, resource_id,
        person_id, merged_person_id, event_time, sentence, received_at, verified_at, nth
    )
    ORDER BY nth
    RETURNING id, body_id, position
    """  # noqa: S608 - a name of ours
).bindparams(
    *(bindparam(name, type_=ARRAY(Uuid)) for name in ("body_ids", "body_subscriptions", "of_bodies")),
    *(bindparam(name, type_=ARRAY(Integer)) for name in ("body_keys", "generations", "positions")),
    *(bindparam(name, type_=ARRAY(DateTime(timezone=True))) for name in ("body_times", "event_times", "received")),
    bindparam("verified", type_=ARRAY(DateTime(timezone=True))),
    bindparam("bodies", type_=ARRAY(LargeBinary)),
    *(
        bindparam(name, type_=ARRAY(Text))
        for name in (
            *("body_organizations", "organizations", "products", "delivery_ids", "names", "resource_types"),
            *("resource_ids", "person_ids", "merged_person_ids", "sentences"),
        )
    ),
)


async def keep(session: AsyncSession, hints: Sequence[tuple[Body, Hint]]) -> list[Kept]:
    """Write bodies and deliveries, numbered in this order. Unreadable ones are failures from the beginning."""
    bodies = list({body.id: body for body, _ in hints}.values())
    rows = await session.execute(
        _KEEP,
        {
            "body_ids": [body.id for body in bodies],
            "body_organizations": [body.key.organization_id for body in bodies],
            "body_keys": [body.key.id for body in bodies],
            "body_subscriptions": [body.subscription_id for body in bodies],
            "bodies": [body.body for body in bodies],
            "body_times": [body.received_at for body in bodies],
            "organizations": [body.key.organization_id for body, _ in hints],
            "products": [body.key.product for body, _ in hints],
            "generations": [body.key.generation for body, _ in hints],
            "of_bodies": [body.id for body, _ in hints],
            "positions": [hint.position for _, hint in hints],
            "delivery_ids": [hint.delivery_id for _, hint in hints],
            "names": [hint.name for _, hint in hints],
            "resource_types": [hint.resource_type for _, hint in hints],
            "resource_ids": [hint.resource_id for _, hint in hints],
            "person_ids": [hint.person_id for _, hint in hints],
            "merged_person_ids": [hint.merged_person_id for _, hint in hints],
            "event_times": [hint.event_time for _, hint in hints],
            "sentences": [hint.unreadable for _, hint in hints],
            "received": [body.received_at for body, _ in hints],
            "verified": [body.verified_at for body, _ in hints],
        },
    )
    numbers = {(row.body_id, row.position): row.id for row in rows}
    return [
        Kept(
            id=numbers[body.id, hint.position],
            organization_id=body.key.organization_id,
            product=body.key.product,
            generation=body.key.generation,
            delivery_id=hint.delivery_id,
            name=hint.name,
            resource_type=hint.resource_type,
            resource_id=hint.resource_id,
            person_id=hint.person_id,
            merged_person_id=hint.merged_person_id,
            event_time=hint.event_time,
            received_at=body.received_at,
        )
        for body, hint in hints
    ]


def fact(row: Kept | Delivery, *, replayed: bool = False) -> WebhookReceived:
    """The fact of a readable delivery. ValueError for one without a resource."""
    if row.resource_type is None or row.resource_id is None:
        raise ValueError("an unreadable delivery is not published")
    return WebhookReceived(
        organization_id=row.organization_id,
        version=row.id,
        delivery_id=row.delivery_id,
        product=row.product,
        generation=row.generation,
        name=row.name,
        resource_type=row.resource_type,
        resource_id=row.resource_id,
        person_id=row.person_id,
        merged_person_id=row.merged_person_id,
        event_time=row.event_time,
        received_at=row.received_at,
        replayed=replayed,
    )
