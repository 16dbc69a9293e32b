"""auth-service: connections to Planning Center, and the access lease."""

from typing import Final, Literal

from pydantic import Field

from contracts.base import Model, Timestamp
from contracts.http.common import Intent

ATTEMPT_COOKIE: Final = "pco_attempt"
"""Binds an authorization attempt to the browser that began it."""
HOST_ATTEMPT_COOKIE: Final = f"__Host-{ATTEMPT_COOKIE}"
"""The cookie's name under https: browsers accept a `__Host-` cookie from this host alone, never from a sibling."""

Product = Literal["people", "calendar"]
CardState = Literal["not_connected", "needs_authorization", "connected", "reconnect_required", "closing"]


class ConnectionCard(Model):
    """One of the two cards of the Integrations page."""

    product: Product
    """The Planning Center product."""
    state: CardState
    """State of the connection."""
    generation: int = 0
    """Grows with every new authorization of this product."""
    pco_organization_name: str | None = None
    """Name of the church in Planning Center."""
    pco_person_name: str | None = None
    """Name of the Planning Center user who gave access."""
    connected_at: Timestamp | None = None
    """When it was connected last."""
    connected_by_name: str | None = None
    """Name of the administrator who connected it."""
    reason: str | None = Field(default=None, description="One sentence, when a reconnect is required.")
    shares_grant: bool = Field(
        default=False, description="Both products use one authorization: it ends only with the last of them."
    )


class Connections(Model):
    """Both cards."""

    people: ConnectionCard
    """The card of People."""
    calendar: ConnectionCard
    """The card of Calendar."""


class AuthorizationStarted(Model):
    """The address to send the browser to. The answer also sets a cookie that binds the attempt to this browser."""

    authorize_url: str
    """The address to send the browser to."""
    expires_at: Timestamp
    """Until when the attempt can be finished."""


class CompleteAuthorization(Intent):
    """What Planning Center sent back to the redirect address: `code` and `state`, or `error` and `state`."""

    state: str = Field(min_length=1, max_length=200)
    """The code from Planning Center's redirect."""
    code: str | None = Field(default=None, min_length=1, max_length=2000)
    """The state from Planning Center's redirect."""
    error: str | None = Field(default=None, max_length=200)
    """The error from Planning Center's redirect, if access was refused."""
    error_description: str | None = Field(default=None, max_length=2000, description="Accepted and not shown.")


class AuthorizationCompleted(Model):
    """The product is connected."""

    card: ConnectionCard
    """The card after connecting."""
    reconnected: bool = Field(description="The same Planning Center organization as before.")


class ReceiptLine(Model):
    """One step of a disconnect and its result."""

    step: str = Field(description="`subscriptions`, `refresh_token`, `access_token`, `schedules`, `records`.")
    outcome: Literal["done", "not_needed", "pending", "failed", "shared"]
    """The step's result; `shared`: the other product still needs the authorization."""
    sentence: str
    """The result in words."""


class DisconnectReceipt(Model):
    """Progress of a disconnect; complete once `finished_at` is set."""

    product: Product
    """The Planning Center product."""
    generation: int
    """Grows with every new authorization of this product."""
    pco_organization_name: str
    """Name of the church in Planning Center."""
    requested_at: Timestamp
    """When an administrator disconnected."""
    finished_at: Timestamp | None = None
    """When the last step was done; null until then."""
    lines: tuple[ReceiptLine, ...]
    """The steps."""


class ForgetOrganization(Intent):
    """Lets another Planning Center organization be connected. Links to the former one are left unused."""

    confirmation: str = Field(description="The name of the former Planning Center organization, typed.")


class LeaseRequest(Intent):
    """A service's request for an organization's token. Authenticated by the service's own signed identity."""

    organization_id: str = Field(min_length=1, max_length=200)
    """The platform's organization (church)."""
    product: Product
    """The Planning Center product."""
    failed_generation: int | None = Field(
        default=None, description="The token generation that Planning Center just refused with 401."
    )


class AccessLease(Model):
    """A token to hold in memory until it expires. Never stored, never logged."""

    access_token: str = Field(repr=False)
    """The token."""
    expires_at: Timestamp
    """When the token ends."""
    token_generation: int = Field(description="Grows with every refresh.")
    connection_generation: int
    """The connection's generation."""
    pco_organization_id: str
    """The church in Planning Center."""
    pco_person_id: str
    """The Planning Center user whose rights and rate limit apply."""


LEASE_PATH = "/internal/v1/leases"
