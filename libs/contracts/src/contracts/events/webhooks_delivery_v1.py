"""`webhooks.delivery.v1`: accepted webhook deliveries. Each is a hint to read one resource again."""

from pydantic import Field

from contracts.base import Event, Timestamp


class WebhookReceived(Event):
    """One verified and stored delivery. `version` is its number in the delivery log; a replay repeats it."""

    delivery_id: str = Field(description="The vendor's id of the delivery, `data[].id`.")
    product: str
    """`people` or `calendar`."""
    generation: int
    """The connection's generation that the subscription belongs to."""
    name: str = Field(description="The vendor's event name.")
    resource_type: str
    """The vendor's type of the resource to read again."""
    resource_id: str
    """Id of the resource in Planning Center."""
    person_id: str | None = Field(
        default=None, description="For a person's contact: the id of that person. For a merger: the person kept."
    )
    merged_person_id: str | None = Field(default=None, description="For a merger: the person removed.")
    event_time: Timestamp | None = None
    """When the change happened at Planning Center, if the vendor says so."""
    received_at: Timestamp
    """When it arrived here."""
    replayed: bool = Field(default=False, description="An administrator sent it again.")

    @property
    def key(self) -> str:
        return f"{self.organization_id}:{self.resource_type}:{self.resource_id}"
