"""The statement: which subscriptions there are, since when, and how each gap was closed."""

from datetime import datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.http.auth import Product
from contracts.http.subscriptions import (
    Gap,
    SubscribedName,
    SubscriptionState,
    SubscriptionStatement,
    SubscriptionStatements,
)
from webhook_gateway.config import Settings
from webhook_gateway.domain.statement import Known, state_of
from webhook_gateway.domain.subscriptions import subject
from webhook_gateway.storage import subscriptions as stored
from webhook_gateway.storage.tables import DeliveryGap

GAPS_SHOWN: Final = 50
_STATES: Final[dict[str, SubscriptionState]] = {"active": "active", "wanted": "waiting", "refused": "refused"}


async def statements(
    session: AsyncSession, organization_id: str, settings: Settings, now: datetime
) -> SubscriptionStatements:
    """Both products' statements."""
    return SubscriptionStatements(
        people=await statement(session, organization_id, "people", settings, now),
        calendar=await statement(session, organization_id, "calendar", settings, now),
    )


async def statement(
    session: AsyncSession, organization_id: str, product: Product, settings: Settings, now: datetime
) -> SubscriptionStatement:
    """One product's statement."""
    connection = await stored.connection_of(session, organization_id, product)
    key = await stored.key_of(session, connection) if connection else None
    rows = (await stored.rows_of(session, key.id)).values() if key else ()
    last = await stored.last_received(session, organization_id, [row.name for row in rows])
    names = tuple(
        SubscribedName(
            name=row.name,
            subject=subject(row.name),
            state=_STATES[row.state],
            since=row.active_since,
            last_delivery_at=last.get(row.name),
            refusal=row.refusal,
        )
        for row in rows
        if row.state in _STATES
    )
    gaps = await _gaps(session, organization_id, product)
    known = Known(
        product,
        connection.state if connection else None,
        [(name.state, name.refusal) for name in names],
        key.verified_at if key else None,
        open_gap=any(gap.closed_at is None for gap in gaps),
    )
    state, sentence = state_of(known, settings.verified_every, now)
    return SubscriptionStatement(
        product=product,
        state=state,
        sentence=sentence,
        names=names,
        verified_at=known.verified_at,
        verified_every_seconds=round(settings.subscriptions_verified_every_seconds),
        last_delivery_at=max(last.values(), default=None),
        gaps=tuple(gaps),
    )


async def _gaps(session: AsyncSession, organization_id: str, product: str) -> list[Gap]:
    newest = (
        select(DeliveryGap)
        .filter_by(organization_id=organization_id, product=product)
        .order_by(DeliveryGap.found_at.desc(), DeliveryGap.id)
        .limit(GAPS_SHOWN)
    )
    return [
        Gap(
            id=str(gap.id),
            since=gap.since,
            until=gap.until,
            cause=gap.cause,
            found_at=gap.found_at,
            redelivered=gap.redelivered,
            closed_at=gap.closed_at,
            closed_how=gap.closed_how,
            run_id=gap.run_id,
        )
        for gap in await session.scalars(newest)
    ]
