"""auth-service: connections to Planning Center, and the access lease."""

from typing import Literal

from pydantic import Field

from contracts.base import Model, Timestamp
from contracts.http.common import Intent

Product = Literal["people", "calendar"]
CardState = Literal["not_connected", "needs_authorization", "connected", "reconnect_required", "closing"]


class ConnectionCard(Model):
    """One of the two cards of the Integrations page."""

    product: Product
    state: CardState
    generation: int = 0
    pco_organization_name: str | None = None
    pco_person_name: str | None = None
    connected_at: Timestamp | None = None
    connected_by_name: str | None = None
    reason: str | None = Field(default=None, description="One sentence, when a reconnect is required.")
    shares_grant: bool = Field(
        default=False, description="Both products use one authorization: it ends only with the last of them."
    )


class Connections(Model):
    """Both cards."""

    people: ConnectionCard
    calendar: ConnectionCard


class AuthorizationStarted(Model):
    """Where to send the browser. The answer also sets a cookie that binds the attempt to this browser."""

    authorize_url: str
    expires_at: Timestamp


class CompleteAuthorization(Intent):
    """What Planning Center sent back to the redirect address: `code` and `state`, or `error` and `state`."""

    state: str = Field(min_length=1, max_length=200)
    code: str | None = Field(default=None, min_length=1, max_length=2000)
    error: str | None = Field(default=None, max_length=200)
    error_description: str | None = Field(default=None, max_length=2000, description="Taken and not shown.")


class AuthorizationCompleted(Model):
    """The product is connected."""

    card: ConnectionCard
    reconnected: bool = Field(description="The same Planning Center organization as before.")


class ReceiptLine(Model):
    """One thing done (or not) while disconnecting."""

    step: str = Field(description="`subscriptions`, `refresh_token`, `access_token`, `schedules`, `records`.")
    outcome: Literal["done", "not_needed", "pending", "failed", "shared"]
    sentence: str


class DisconnectReceipt(Model):
    """How a disconnect went; complete once `finished_at` is set."""

    product: Product
    generation: int
    pco_organization_name: str
    requested_at: Timestamp
    finished_at: Timestamp | None = None
    lines: tuple[ReceiptLine, ...]


class ForgetOrganization(Intent):
    """Lets another Planning Center organization be connected. Links to the former one are left unused."""

    confirmation: str = Field(description="The name of the former Planning Center organization, typed.")


class LeaseRequest(Intent):
    """Asked by a service for an organization's token. Authenticated by the service's own signed identity."""

    organization_id: str = Field(min_length=1, max_length=200)
    product: Product
    failed_generation: int | None = Field(
        default=None, description="The token generation that Planning Center just refused with 401."
    )


class AccessLease(Model):
    """A token to hold in memory until it expires. Never stored, never logged."""

    access_token: str = Field(repr=False)
    expires_at: Timestamp
    token_generation: int = Field(description="Grows with every refresh.")
    connection_generation: int
    pco_organization_id: str
    pco_person_id: str


LEASE_PATH = "/internal/v1/leases"
