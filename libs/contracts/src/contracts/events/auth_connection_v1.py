"""`auth.connection.v1`: the state of each church's connections to Planning Center."""

from typing import Literal

from pydantic import Field

from contracts.base import Event, Timestamp

ConnectionState = Literal["connected", "reconnect_required", "closing", "disconnected"]


class ConnectionFact(Event):
    """The full state of one connection: an organization's authorization of one product.

    `version` counts the states of this connection (organization + product) and never restarts.
    """

    product: str = Field(description="`people` or `calendar`.")
    generation: int = Field(ge=1, description="Grows with every new authorization of this product.")
    state: ConnectionState
    """State of the connection."""
    pco_organization_id: str
    """The church in Planning Center."""
    pco_organization_name: str
    """Name of the church in Planning Center."""
    pco_person_id: str = Field(description="The Planning Center user whose rights and rate limit apply.")
    occurred_at: Timestamp
    """When it happened."""


class ConnectionAuthorized(ConnectionFact):
    """A church connected or reconnected this product; access leases are available."""


class ConnectionClosing(ConnectionFact):
    """An administrator disconnects: no new work may begin; only webhook subscriptions may still be removed."""


class ConnectionRevoked(ConnectionFact):
    """Disconnected. Links and data stay."""


class ReconnectRequired(ConnectionFact):
    """Planning Center no longer accepts the grant. Work waits until an administrator reconnects."""

    reason: str = Field(description="A slug: `refused`, `lost`, `role_lost` ...")
