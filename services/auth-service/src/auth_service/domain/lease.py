"""Decisions about leases: allowed callers, states, and renewal ahead of expiry."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from contracts.events.auth_connection_v1 import ConnectionState
from contracts.http.auth import Product
from contracts.values import CALENDAR, CALENDAR_SYNC, PEOPLE, PEOPLE_SYNC, WEBHOOK_GATEWAY

LEASE_RIGHTS: Final[Mapping[str, frozenset[str]]] = {
    PEOPLE_SYNC: frozenset({PEOPLE}),
    CALENDAR_SYNC: frozenset({CALENDAR}),
    WEBHOOK_GATEWAY: frozenset({PEOPLE, CALENDAR}),
}
"""Products for which each service may lease a token."""


class LeaseRefusal(Enum):
    """Why no token is lent; the values are problem types."""

    NOT_ALLOWED = "forbidden"
    NOT_CONNECTED = "not-connected"
    RECONNECT_REQUIRED = "reconnect-required"
    CLOSING = "closing"


def lease_refusal(caller: str, product: Product, state: ConnectionState | None) -> LeaseRefusal | None:
    """Whether `caller` may have a token now. While a connection closes, only subscriptions may still be removed."""
    if product not in LEASE_RIGHTS.get(caller, ()):
        return LeaseRefusal.NOT_ALLOWED
    match state:
        case None | "disconnected":
            return LeaseRefusal.NOT_CONNECTED
        case "reconnect_required":
            return LeaseRefusal.RECONNECT_REQUIRED
        case "closing" if caller != WEBHOOK_GATEWAY:
            return LeaseRefusal.CLOSING
    return None


def must_refresh(current_generation: int, failed_generation: int | None) -> bool:
    """Whether Planning Center refused the token we hold; an older one is already renewed."""
    return failed_generation is not None and failed_generation >= current_generation


def should_refresh(expires_at: datetime, now: datetime, margin: timedelta) -> bool:
    """Whether a token is so near its expiry that it is renewed before it is lent."""
    return expires_at - now < margin
