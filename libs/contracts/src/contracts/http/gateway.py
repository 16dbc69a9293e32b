"""webhook-gateway: answers of its own."""

from typing import Any

from pydantic import Field

from contracts.base import Model
from contracts.identity import UserIdentity


class Me(Model):
    """The signed-in person, as read from the token."""

    user: UserIdentity
    """Who is signed in."""
    planning_center_url: str = Field(
        description="Address of Planning Center's own pages: `/people/AC<pco_id>` and `/households/<pco_id>` below it."
    )


class ConsoleSettings(Model):
    """Settings that the console needs to sign a person in. Public."""

    issuer: str
    """The identity provider."""
    client_id: str
    """The console's id at the identity provider."""
    authorization_endpoint: str
    """Address where a person signs in."""
    token_endpoint: str
    """Address that exchanges a code for a token."""
    end_session_endpoint: str | None = None
    """Address where a person signs out; null if the provider has none."""


class LiveFact(Model):
    """One server-sent event of `GET /api/v1/live`: `event:` is the topic, `data:` this document.

    A stream begins with `event: hello`, whose `reread` lists the API paths that a client must read again, since facts
    from before the connection are not repeated.
    """

    type: str = Field(description="The message's type, e.g. `SyncRunProgressed`.")
    reread: tuple[str, ...]
    """API paths whose answers the fact changes."""
    body: dict[str, Any]
    """The fact, as on Kafka."""
