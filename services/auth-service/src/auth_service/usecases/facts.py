"""Changes of a connection's state, each with the fact that tells the other services."""

from datetime import datetime
from typing import Any, TypeVar

from auth_service.storage.tables import Connection
from contracts.events.auth_connection_v1 import ConnectionFact, ConnectionState

Fact = TypeVar("Fact", bound=ConnectionFact)


def move(
    connection: Connection, state: ConnectionState, fact: type[Fact], now: datetime, *, reason: str | None = None
) -> Fact:
    """Put a connection into a state and give the fact to append. The caller holds the organization's lock."""
    connection.state = state
    connection.version += 1
    connection.reason = reason
    extra: dict[str, Any] = {"reason": reason} if reason else {}
    return fact(
        organization_id=connection.organization_id,
        version=connection.version,
        product=connection.product,
        generation=connection.generation,
        state=state,
        pco_organization_id=connection.pco_organization_id,
        pco_organization_name=connection.pco_organization_name,
        pco_person_id=connection.pco_person_id,
        occurred_at=now,
        **extra,
    )
