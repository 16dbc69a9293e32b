"""`webhooks.outcome.v1`: the outcome of each delivery."""

from pydantic import Field

from contracts.base import Event, Timestamp


class WebhookApplied(Event):
    """The owner has read the resource again and acted on it, or has given up. `version` is that of WebhookReceived."""

    delivery_id: str
    """The vendor's id of the delivery."""
    outcome: str = Field(
        description="`changed`: here, there, or the link; `unchanged`; `conflict` or `held`: somebody has to decide; "
        "`later`: the next sync goes on; `checked`: all linked events, since it names none; `ignored`: not read; "
        "`failed`."
    )
    by: str = Field(description="The service that applied it.")
    applied_at: Timestamp
    """When it was applied."""
    sentence: str = Field(default="", description="The outcome in words; of a failure its cause, the same for all.")
    record_kind: str | None = Field(default=None, description="`member`, `family` or `event`: the record here.")
    record_id: str | None = None
    """Id of the record here, if there is one."""

    @property
    def key(self) -> str:
        return self.delivery_id
