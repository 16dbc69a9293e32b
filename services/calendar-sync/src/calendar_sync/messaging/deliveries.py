"""Facts of webhooks.delivery.v1: notices that an event in Planning Center may have changed."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.resources import Resources
from calendar_sync.usecases import hints
from calendar_sync.usecases.refreshes import HINTS
from contracts.base import Event
from contracts.events.webhooks_delivery_v1 import WebhookReceived
from contracts.values import CALENDAR
from servicekit.kafka.outbox import append
from servicekit.kafka.subscriptions import Fact, Together, subscribe
from synckit.hints import failed


async def on_received(facts: Sequence[Fact[WebhookReceived]], session: AsyncSession, resources: Resources) -> None:
    """Queue refreshes of the events that these notices name."""
    await hints.take(session, [fact for fact in facts if fact.event.product == CALENDAR], resources.clock.now())


async def on_rejected(event: Event | None, cause: str, session: AsyncSession, resources: Resources) -> None:
    """Tell the delivery log that a notice could not be handled."""
    if isinstance(event, WebhookReceived) and event.product == CALENDAR:
        await append(session, failed(HINTS, event, cause, resources.clock.now()))


deliveries = subscribe(
    "webhooks.delivery.v1",
    group="calendar-sync.webhooks",
    handlers={WebhookReceived: Together(on_received)},
    on_rejected=on_rejected,
    after_loss="none: a check reads all linked events every few minutes",
)
