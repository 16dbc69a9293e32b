"""Facts of webhooks.subscription.v1: when Planning Center began to send notices, and when some were lost."""

from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.resources import Resources
from calendar_sync.usecases.gaps import GAPS
from contracts.events.webhooks_subscription_v1 import DeliveryGapFound, SubscriptionsActive
from servicekit.kafka.subscriptions import subscribe
from synckit import gaps


async def on_gap(event: DeliveryGapFound, session: AsyncSession, resources: Resources) -> None:
    """Note the window, to be read again."""
    await gaps.found(session, GAPS, event, resources.clock.now())


async def on_active(event: SubscriptionsActive, session: AsyncSession, resources: Resources) -> None:
    """Note that changes until now came without notices."""
    await gaps.subscribed(session, GAPS, event, resources.clock.now())


subscriptions = subscribe(
    "webhooks.subscription.v1",
    group="calendar-sync.subscriptions",
    handlers={DeliveryGapFound: on_gap, SubscriptionsActive: on_active},
    after_loss="none: the next check reads what has changed",
)
