"""webhook-gateway: the state of the subscriptions at Planning Center, by which changes come at once."""

from typing import Literal

from pydantic import Field

from contracts.base import Model, Timestamp
from contracts.http.auth import Product

StatementState = Literal["live", "partly", "waiting", "off"]
SubscriptionState = Literal["active", "waiting", "refused"]


class SubscribedName(Model):
    """One kind of change that Planning Center is asked to tell at once."""

    name: str
    """Planning Center's name of the event."""
    subject: str
    """The subject of the change, in words."""
    state: SubscriptionState
    """State of the subscription; `waiting`: it is not made yet, or was lost and not mended yet."""
    since: Timestamp | None = None
    """Since when it is active without a break; null if it is not."""
    last_delivery_at: Timestamp | None = None
    """When something was last received for it; null if nothing ever was."""
    refusal: str | None = None
    """Planning Center's refusal in words, and what helps."""


class Gap(Model):
    """A window in which messages of Planning Center were lost, and how it was closed."""

    id: str
    """Id of the gap."""
    since: Timestamp
    """Where the window begins."""
    until: Timestamp
    """Where the window ends."""
    cause: str
    """The cause in words."""
    found_at: Timestamp
    """When it was found."""
    redelivered: int
    """Messages that Planning Center was asked to send again."""
    closed_at: Timestamp | None = None
    """When what may have changed was read again; null while it is not."""
    closed_how: str | None = None
    """How, in words."""
    run_id: str | None = Field(default=None, description="The sync that read it again, if it was one.")


class SubscriptionStatement(Model):
    """Whether changes of one product come at once."""

    product: Product
    """The Planning Center product."""
    state: StatementState = Field(
        description="`live`: every wanted subscription is active, was compared within the last two intervals, and "
        "nothing was lost that is not read again; `partly`: not all of that; `waiting`: nothing is known yet, or a "
        "reconnect is needed; `off`: not connected, or Planning Center refuses all of them."
    )
    sentence: str
    """The state in words, for an administrator."""
    names: tuple[SubscribedName, ...]
    """The wanted subscriptions."""
    verified_at: Timestamp | None = None
    """When they were last compared with Planning Center's own list."""
    verified_every_seconds: int
    """How often they are compared."""
    last_delivery_at: Timestamp | None = None
    """When anything was last received for this product."""
    gaps: tuple[Gap, ...]
    """The newest 50 gaps, newest first."""


class SubscriptionStatements(Model):
    """The statements of both products."""

    people: SubscriptionStatement
    """The statement of People."""
    calendar: SubscriptionStatement
    """The statement of Calendar."""
