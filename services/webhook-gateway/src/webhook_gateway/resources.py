"""The resources that live as long as the process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, cast

import httpx
from fastapi import Depends

from servicekit.db.sessions import resources
from servicekit.runtime import Runtime
from webhook_gateway.config import Settings
from webhook_gateway.identity.bearer import ProviderKeys, TokenVerifier
from webhook_gateway.identity.limits import Limits
from webhook_gateway.identity.provider import Provider
from webhook_gateway.usecases.live import Hub


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
    )


Wired = Annotated[Resources, Depends(resources)]
