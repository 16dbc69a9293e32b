"""Rows of accepted calls, many of them in one statement."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import ARRAY, JSON, LargeBinary, bindparam, text
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


# One JSON text for all values but the bytes: as arrays each value would cost several calls in Python.
# A body of very many deliveries comes in parts.
_KEEP: Final = text(
    f"""
    WITH bodies AS (
        INSERT INTO webhook_body (id, organization_id, key_id, subscription_id, received_at, body)
        SELECT id, organization_id, key_id, subscription_id, received_at, body
        FROM ROWS FROM (
            json_to_recordset(:calls) AS (
                id uuid, organization_id text, key_id integer, subscription_id uuid, received_at timestamptz
            ),
            unnest(:bodies)
        ) AS given (id, organization_id, key_id, subscription_id, received_at, body)
        ON CONFLICT DO NOTHING
    )
    INSERT INTO delivery (
        organization_id, product, generation, body_id, position, delivery_id, name, resource_type, resource_id,
        person_id, merged_person_id, event_time, received_at, verified_at, sentence, state, outcome, outcome_by
    )
    SELECT organization_id, product, generation, body_id, position, delivery_id, name, resource_type, resource_id,
        person_id, merged_person_id, event_time, received_at, verified_at, sentence,
        CASE WHEN sentence IS NULL THEN 'waiting' ELSE 'failed' END,
        CASE WHEN sentence IS NOT NULL THEN 'unreadable' END,
        CASE WHEN sentence IS NOT NULL THEN '{WEBHOOK_GATEWAY}' END
    FROM ROWS FROM (
        json_to_recordset(:deliveries) AS (
            organization_id text, product text, generation integer, body_id uuid, position integer, delivery_id text,
            name text, resource_type text, resource_id text, person_id text, merged_person_id text,
            event_time timestamptz, received_at timestamptz, verified_at timestamptz, sentence text
        )
    ) WITH ORDINALITY
    ORDER BY ordinality
    RETURNING id, body_id, position
    """  # noqa: S608 - a name of ours
).bindparams(
    bindparam("calls", type_=JSON), bindparam("deliveries", type_=JSON), bindparam("bodies", type_=ARRAY(LargeBinary))
)


async def keep(session: AsyncSession, hints: Sequence[tuple[Body, Hint]]) -> list[Kept]:
    """Write bodies and deliveries, numbered in this order. Unreadable ones are failures from the beginning."""
    bodies = list({body.id: body for body, _ in hints}.values())
    rows = await session.execute(
        _KEEP,
        {
            "calls": [
                {
                    "id": body.id,
                    "organization_id": body.key.organization_id,
                    "key_id": body.key.id,
                    "subscription_id": str(body.subscription_id),
                    "received_at": body.received_at,
                }
                for body in bodies
            ],
            "bodies": [body.body for body in bodies],
            "deliveries": [
                {
                    "organization_id": body.key.organization_id,
                    "product": body.key.product,
                    "generation": body.key.generation,
                    "body_id": body.id,
                    "position": hint.position,
                    "delivery_id": hint.delivery_id,
                    "name": hint.name,
                    "resource_type": hint.resource_type,
                    "resource_id": hint.resource_id,
                    "person_id": hint.person_id,
                    "merged_person_id": hint.merged_person_id,
                    "event_time": hint.event_time,
                    "received_at": body.received_at,
                    "verified_at": body.verified_at,
                    "sentence": hint.unreadable,
                }
                for body, hint in hints
            ],
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
