"""webhooks.subscription.v1: a disconnect continues when webhook-gateway has removed the subscriptions."""

from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.resources import Resources
from auth_service.usecases import disconnect
from contracts.events.webhooks_subscription_v1 import SubscriptionsRemoved
from servicekit.kafka.subscriptions import subscribe


async def on_removed(event: SubscriptionsRemoved, session: AsyncSession, _: Resources) -> None:
    """Enter the report into the receipt."""
    await disconnect.subscriptions_removed(session, event)


subscriptions = subscribe(
    "webhooks.subscription.v1",
    group="auth-service.subscriptions",
    handlers={SubscriptionsRemoved: on_removed},
    after_loss="nothing is needed: a disconnect waits SUBSCRIPTIONS_REMOVED_WITHIN_SECONDS for it, and goes on without",
)
