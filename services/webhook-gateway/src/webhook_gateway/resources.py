"""What lives as long as the process does, made once and visible here."""

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
    """Pooled: to the owners and to the identity provider."""
    tokens: TokenVerifier
    """The platform's tokens."""
    limits: Limits
    """How often each caller may ask this process."""
    provider: Provider
    """The identity provider, as the console needs to know it."""
    live: Hub
    """The live streams of this process."""


@asynccontextmanager
async def open_resources(runtime: Runtime) -> AsyncIterator[Resources]:
    """Nothing here waits for anything: the door opens while its surroundings are away."""
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
