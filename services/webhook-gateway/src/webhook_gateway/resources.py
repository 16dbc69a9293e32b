"""The resources that live as long as the process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Annotated, cast

import httpx
from fastapi import Depends
from sqlalchemy.exc import SQLAlchemyError

from pco_client.client import PlanningCenter, Timeouts
from pco_client.pacer import Pacers
from servicekit.clock import Clock
from servicekit.db.sessions import resources
from servicekit.runtime import Runtime
from servicekit.vault import Vault
from synckit.leases import Leases
from webhook_gateway.config import Settings
from webhook_gateway.identity.bearer import ProviderKeys, TokenVerifier
from webhook_gateway.identity.limits import Limits
from webhook_gateway.identity.provider import Provider
from webhook_gateway.usecases.intake import Intake
from webhook_gateway.usecases.keys import Keys
from webhook_gateway.usecases.live import Hub
from webhook_gateway.usecases.refused import Refused
from webhook_gateway.usecases.writer import Writer


@dataclass(frozen=True, slots=True)
class Resources:
    """The gateway's own singletons."""

    settings: Settings
    http: httpx.AsyncClient
    """Pooled client for the owners and the identity provider."""
    tokens: TokenVerifier
    """Authenticates the platform's tokens."""
    limits: Limits
    """Rate limits of this process."""
    provider: Provider
    """The identity provider's addresses for the console."""
    live: Hub
    """The live streams of this process."""
    vault: Vault
    """Encrypts the keys and secrets of subscriptions."""
    clock: Clock
    """The wall clock."""
    pacers: Pacers
    """One pace per Planning Center user, for the care of subscriptions in this process."""

    def planning_center(
        self, organization_id: str, product: str, generation: int, pco_organization_id: str
    ) -> PlanningCenter:
        """A client for one generation of a connection; an async context manager. NotConnected once it is another's."""
        return PlanningCenter(
            base_url=self.settings.pco_base_url,
            user_agent=self.settings.pco_user_agent,
            lease=Leases(self.http, self.settings, product, organization_id, pco_organization_id, generation),
            pacers=self.pacers,
            timeouts=Timeouts(exchange=self.settings.pco_request_timeout_seconds),
            pool_size=4,
        )


@asynccontextmanager
async def open_resources(runtime: Runtime) -> AsyncIterator[Resources]:
    """Open the resources without waiting for any other system, so that the gateway starts while they are down."""
    settings = cast("Settings", runtime.settings)
    keys = ProviderKeys(runtime.http, settings.identity_jwks_url)
    yield Resources(
        settings=settings,
        http=runtime.http,
        tokens=TokenVerifier(
            keys,
            issuer=settings.identity_issuer,
            audience=settings.identity_audience,
            kind=settings.identity_typ,
        ),
        limits=Limits(settings),
        provider=Provider(runtime.http, settings),
        live=Hub(settings.live_queue, settings.live_streams_per_user, settings.live_facts_per_second),
        vault=Vault(settings.encryption_keys),
        clock=runtime.clock,
        pacers=Pacers(),
    )


Wired = Annotated[Resources, Depends(resources)]


@dataclass(frozen=True, slots=True)
class IntakeResources:
    """The singletons of the intake's process."""

    intake: Intake
    writer: Writer
    """Stores what the intake has accepted."""
    refused: Refused
    """Counts what it has not."""


@asynccontextmanager
async def open_intake(runtime: Runtime) -> AsyncIterator[IntakeResources]:
    """Open the resources without waiting for the database."""
    settings = cast("Settings", runtime.settings)
    keys = Keys(runtime.sessions, Vault(settings.encryption_keys), settings.limit_webhook_guesses_per_minute)
    writer, refused = Writer(runtime.sessions), Refused(runtime.sessions)
    yield IntakeResources(
        intake=Intake(keys, writer, refused, runtime.clock, settings.limit_webhooks_per_minute),
        writer=writer,
        refused=refused,
    )
    with suppress(SQLAlchemyError, OSError):
        await refused.flush()
