"""`webhooks.delivery.v1`: webhooks taken in. Each is a hint of what to read again."""

from pydantic import Field

from contracts.base import Event, Timestamp


class WebhookReceived(Event):
    """One verified and stored delivery. `version` is its number in the delivery log."""

    delivery_id: str = Field(description="The vendor's id of the delivery, `data[].id`.")
    product: str
    generation: int
    name: str = Field(description="The vendor's event name.")
    resource_type: str
    resource_id: str
    person_id: str | None = Field(default=None, description="For a person's contact: whose it is.")
    event_time: Timestamp | None = None
    received_at: Timestamp

    @property
    def key(self) -> str:
        return f"{self.organization_id}:{self.resource_type}:{self.resource_id}"
