"""`webhooks.care.v1`: reports of the services that own the records, for the delivery log."""

from pydantic import Field

from contracts.base import Event, Timestamp


class GapReconciled(Event):
    """The owner has read again what may have changed in a gap. `version` is that of DeliveryGapFound."""

    product: str
    """`people` or `calendar`."""
    gap_id: str
    """The gap's id."""
    by: str = Field(description="The service that read again.")
    sentence: str
    """How, in words."""
    run_id: str | None = Field(default=None, description="The sync that read it, if it was one.")
    reconciled_at: Timestamp
    """When it was complete."""


class PersonErased(Event):
    """A person was erased here: what deliveries say of them must go.

    `version` is that of the person's record; with `delivery_number`, that of the delivery.
    """

    pco_person_ids: tuple[str, ...]
    """The person's ids in Planning Center, former ones included."""
    erased_at: Timestamp
    """When it happened."""
    delivery_number: int | None = Field(
        default=None,
        description="Number in the delivery log of the only delivery whose contents must go, one that came after the "
        "erasure; null if those of all deliveries about the person must.",
    )
