"""A stand-in for auth-service that lends the simulator's tokens over HTTP, or refuses to."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Protocol

from fastapi import Depends, FastAPI

from contracts.http.auth import LEASE_PATH, AccessLease, LeaseRequest
from contracts.values import AUTH_SERVICE, CALENDAR_SYNC, PEOPLE_SYNC, WEBHOOK_GATEWAY
from servicekit.errors import Conflict
from servicekit.http.auth import Verifier, service_identity
from servicekit.http.edge import add_error_handlers
from servicekit.settings import ServiceSettings
from servicekit.testing import KeyRing, serve


class _AuthSettings(ServiceSettings):
    service_name = AUTH_SERVICE


class Church(Protocol):
    """A church in the simulator."""

    @property
    def id(self) -> str:
        """Id of the organization."""
        ...

    @property
    def admin_id(self) -> str:
        """Id of the person who connected it."""
        ...


@dataclass(slots=True)
class Grant:
    """The grant of an organization."""

    church: Church
    token: str
    generation: int = 1
    usable: bool = True
    connection_generation: int = 1


Caller = Annotated[str, Depends(service_identity({PEOPLE_SYNC, CALENDAR_SYNC, WEBHOOK_GATEWAY}))]


@dataclass(slots=True)
class Lender:
    """The stand-in. Grants are stored by `scope/organization`; the scope is the first part of the service's URL."""

    url: str = ""
    grants: dict[str, Grant] = field(default_factory=dict)
    asked: int = 0

    def url_of(self, scope: str) -> str:
        """AUTH_SERVICE_URL of a process."""
        return f"{self.url}/{scope}"

    def lease(self, key: str, request: LeaseRequest) -> AccessLease:
        """Lend a token. 409 without a usable grant, and if Planning Center refused the present token."""
        self.asked += 1
        grant = self.grants.get(key)
        if grant is None or not grant.usable or request.failed_generation == grant.generation:
            raise Conflict("Nothing to lend: connect again.", slug="not-connected")
        return AccessLease(
            access_token=grant.token,
            expires_at=datetime.now(UTC) + timedelta(hours=1),
            token_generation=grant.generation,
            connection_generation=grant.connection_generation,
            pco_organization_id=grant.church.id,
            pco_person_id=grant.church.admin_id,
        )


@asynccontextmanager
async def lending(keys: KeyRing) -> AsyncIterator[Lender]:
    """A lender on a real socket that authenticates callers as auth-service does."""
    app, lender = FastAPI(), Lender()
    app.state.verifier = Verifier(keys.settings(_AuthSettings, database_url="postgresql+asyncpg://none", kafka="none"))
    add_error_handlers(app)

    @app.post("/{scope}" + LEASE_PATH)
    async def lease(scope: str, body: LeaseRequest, _: Caller) -> dict[str, Any]:
        # The model's representations omit the token, so it is added by hand.
        return lender.lease(f"{scope}/{body.organization_id}", body).model_dump(mode="json")

    async with serve(app, ready=False) as client:
        lender.url = str(client.base_url).rstrip("/")
        yield lender
