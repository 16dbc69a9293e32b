"""`webhooks.outcome.v1`: the outcome of each delivery."""

from pydantic import Field

from contracts.base import Event, Timestamp


class WebhookApplied(Event):
    """The owner has read the resource again and acted on it."""

    delivery_id: str
    """The vendor's id of the delivery."""
    outcome: str = Field(description="`changed`, `unchanged`, `conflict`, `held`, `ignored` ...")
    by: str = Field(description="The service that applied it.")
    applied_at: Timestamp
    """When it was applied."""

    @property
    def key(self) -> str:
        return self.delivery_id
