"""Changes of a connection's state, each with its fact for the other services."""

from datetime import datetime
from typing import Any, TypeVar, cast

from auth_service.storage.tables import Connection
from contracts.events.auth_connection_v1 import (
    ConnectionAuthorized,
    ConnectionClosing,
    ConnectionFact,
    ConnectionRevoked,
    ConnectionState,
    ReconnectRequired,
)

Fact = TypeVar("Fact", bound=ConnectionFact)


def move(
    connection: Connection, state: ConnectionState, fact: type[Fact], now: datetime, *, reason: str | None = None
) -> Fact:
    """Move a connection to a state; gives the fact to append. The caller holds the organization's lock."""
    connection.state = state
    connection.version += 1
    connection.reason = reason
    return _fact(fact, connection, now)


def told(connection: Connection, now: datetime) -> ConnectionFact:
    """The fact of the connection's present state, with its present version."""
    return _fact(_FACT_OF[connection.state], connection, now)


_FACT_OF: dict[str, type[ConnectionFact]] = {
    "connected": ConnectionAuthorized,
    "reconnect_required": ReconnectRequired,
    "closing": ConnectionClosing,
    "disconnected": ConnectionRevoked,
}


def _fact(fact: type[Fact], connection: Connection, now: datetime) -> Fact:
    extra: dict[str, Any] = {"reason": connection.reason} if connection.reason else {}
    return fact(
        organization_id=connection.organization_id,
        version=connection.version,
        product=connection.product,
        generation=connection.generation,
        state=cast("ConnectionState", connection.state),
        pco_organization_id=connection.pco_organization_id,
        pco_organization_name=connection.pco_organization_name,
        pco_person_id=connection.pco_person_id,
        occurred_at=now,
        **extra,
    )
