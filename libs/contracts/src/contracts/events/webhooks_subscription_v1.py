"""`webhooks.subscription.v1`: the care of webhook subscriptions at Planning Center."""

from pydantic import Field

from contracts.base import Event, Timestamp


class SubscriptionFact(Event):
    """State of the subscriptions of one connection generation; `version` counts its states."""

    product: str
    """`people` or `calendar`."""
    generation: int = Field(ge=1, description="The connection's generation these subscriptions belong to.")
    occurred_at: Timestamp
    """When it happened."""


class SubscriptionsActive(SubscriptionFact):
    """All subscriptions that exist for this connection are in place."""

    names: tuple[str, ...] = Field(description="Event names subscribed, e.g. `people.v2.events.person.updated`.")
    missing: tuple[str, ...] = Field(default=(), description="Wanted, but refused by Planning Center.")


class SubscriptionsRemoved(SubscriptionFact):
    """The subscriptions of a closing connection were removed as far as possible."""

    removed: int = Field(ge=0)
    """How many subscriptions were removed."""
    left_behind: tuple[str, ...] = Field(default=(), description="Names that could not be removed.")


class DeliveryGapFound(SubscriptionFact):
    """Deliveries of this window were lost: changes within it must be read again."""

    gap_id: str = Field(default="", description="The gap's id, which GapReconciled names.")
    since: Timestamp
    """Where the window begins."""
    until: Timestamp
    """Where the window ends."""
