"""webhook-gateway: what it answers by itself."""

from typing import Any

from pydantic import Field

from contracts.base import Model
from contracts.identity import UserIdentity


class Me(Model):
    """The signed-in person, as the gateway understood the token."""

    user: UserIdentity


class ConsoleSettings(Model):
    """What the console needs to sign a person in. Public."""

    issuer: str
    client_id: str
    authorization_endpoint: str
    token_endpoint: str
    end_session_endpoint: str | None = None


class LiveFact(Model):
    """One server-sent event of `GET /api/v1/live`: `event:` is the topic, `data:` this document.

    A stream begins with `event: hello`, whose `reread` lists the API paths that a client must read again, since facts
    from before the connection are not repeated.
    """

    type: str = Field(description="The message's type, e.g. `SyncRunProgressed`.")
    body: dict[str, Any]
