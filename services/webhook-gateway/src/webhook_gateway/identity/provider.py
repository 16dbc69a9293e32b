"""The console's sign-in addresses, from the identity provider's discovery document."""

import time

import httpx
import structlog
from pydantic import BaseModel, ValidationError

from contracts.http.gateway import ConsoleSettings
from servicekit.errors import Unavailable
from webhook_gateway.config import Settings
from webhook_gateway.identity.reading import Reading

log = structlog.get_logger(__name__)


class _Discovery(BaseModel):
    """OpenID Connect Discovery 1.0, section 3: the part that a public client needs."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    end_session_endpoint: str | None = None


class Provider:
    """Reads the document at the first call, and again after ten minutes."""

    def __init__(self, http: httpx.AsyncClient, settings: Settings, *, every: float = 600) -> None:
        self._http = http
        self._settings = settings
        self._every = every
        self._known: ConsoleSettings | None = None
        self._read_at = float("-inf")
        self._reading = Reading(self._read)

    async def console_settings(self) -> ConsoleSettings:
        """Unavailable while the provider has never answered."""
        if self._known is None:
            await self._reading.begin()
        elif time.monotonic() - self._read_at > self._every:
            self._reading.begin()
        if self._known is None:
            raise Unavailable(
                "Nobody can sign in right now: the identity provider does not answer. Nothing was lost. "
                "Try again in a few seconds.",
                retry_after=5,
            )
        return self._known

    async def _read(self) -> None:
        issuer = self._settings.identity_issuer
        try:
            answer = await self._http.get(self._settings.discovery_url, timeout=5)
            answer.raise_for_status()
            found = _Discovery.model_validate_json(answer.content)
        except (httpx.HTTPError, ValidationError) as error:
            log.warning("the identity provider's discovery document could not be read", error=type(error).__name__)
            return
        if found.issuer.rstrip("/") != issuer.rstrip("/"):
            log.error("the discovery document speaks of another issuer", found=found.issuer, wanted=issuer)
            return
        self._known = ConsoleSettings(client_id=self._settings.console_client_id, **found.model_dump())
        self._read_at = time.monotonic()
