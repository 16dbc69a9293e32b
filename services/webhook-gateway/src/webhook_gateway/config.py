"""Settings of webhook-gateway, from environment variables."""

from datetime import timedelta
from typing import ClassVar, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from contracts.values import AUTH_SERVICE, CALENDAR_SYNC, CONFLICT_SERVICE, PEOPLE_SYNC, WEBHOOK_GATEWAY
from servicekit.vault import FernetKeys, keys_of
from synckit.settings import SyncSettings


class Settings(SyncSettings):
    """The owners behind the gateway, the identity provider, and webhooks."""

    service_name: ClassVar[str] = WEBHOOK_GATEWAY

    public_url: str = "http://localhost:8000"
    """The address that browsers see. Its scheme turns HSTS on, since TLS may end in front of this process."""

    webhook_url: str = "http://localhost:8001"
    """The address that Planning Center calls: `<webhook_url>/webhooks/pco/<key>`."""
    webhook_encryption_keys: FernetKeys
    """Fernet keys with commas between them, for the keys and secrets of subscriptions. The first one encrypts."""
    subscriptions_verified_every_seconds: float = Field(default=3_600, ge=60)
    """How often a connection's subscriptions are compared with Planning Center's list."""

    people_sync_url: str
    conflict_service_url: str
    calendar_sync_url: str
    owner_timeout_seconds: float = Field(default=10, gt=0, le=120)
    """Timeout of a read; writes may take three times as long."""

    identity_issuer: str
    """`iss` of the platform's tokens, and the address that browsers sign in at."""
    identity_jwks_url: str
    identity_audience: str
    """`aud` of the platform's access tokens: this API. Never a client's id, which is the audience of ID tokens."""
    identity_typ: str = "at+jwt"
    """`typ` in the header of access tokens (RFC 9068), which keeps ID tokens out; `JWT` for providers without one."""
    identity_discovery_url: str = ""
    """Where this process reads the issuer's discovery document; by default below the issuer's own address."""
    console_client_id: str
    """The console as a public client (authorization code with PKCE) at the identity provider."""

    planning_center_url: str = "https://people.planningcenteronline.com"
    """Base of Planning Center's own pages about people and households, for *Open in Planning Center*."""

    live_queue: int = Field(default=500, ge=1)
    """Queue length of one live client; a slower client is disconnected and reads again."""
    live_facts_per_second: int = Field(default=50, ge=1)
    """Facts per topic and church sent one by one; above this rate clients are told to read again."""
    live_heartbeat_seconds: float = Field(default=15, gt=0)
    live_streams_per_user: int = Field(default=20, ge=1)
    """Streams of one user open at once at this process; each tab of the console holds one."""

    limit_user_per_minute: int = Field(default=6_000, ge=1)
    limit_organization_per_minute: int = Field(default=12_000, ge=1)
    limit_address_per_minute: int = Field(default=12_000, ge=1)
    """Requests to the API that this process answers before 429. One address may serve a whole church."""
    limit_feed_per_minute: int = Field(default=60, ge=1)
    limit_feed_address_per_minute: int = Field(default=600, ge=1)
    """The same for reads of one iCal feed, and for reads of any from one address: a calendar program reads the feeds of
    many churches."""

    limit_webhooks_per_minute: int = Field(default=60_000, ge=1)
    """Deliveries of one connection that an intake process takes before 429. Planning Center sends without a limit."""
    limit_webhook_guesses_per_minute: int = Field(default=300, ge=1)
    """Calls of one network address to addresses that do not exist, each of which costs a look at the database."""

    @field_validator(
        "public_url",
        "webhook_url",
        "auth_service_url",
        "people_sync_url",
        "conflict_service_url",
        "calendar_sync_url",
        "identity_issuer",
        "identity_jwks_url",
        "planning_center_url",
    )
    @classmethod
    def _address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("must be an address that begins with http:// or https://")
        return value.rstrip("/") if parts.path in {"", "/"} else value

    @model_validator(mode="after")
    def _no_id_tokens(self) -> Self:
        if self.identity_audience == self.console_client_id:
            raise ValueError("identity_audience must not be console_client_id: ID tokens have that audience")
        return self

    @property
    def verified_every(self) -> timedelta:
        """Time between two comparisons of a connection's subscriptions."""
        return timedelta(seconds=self.subscriptions_verified_every_seconds)

    @property
    def encryption_keys(self) -> list[str]:
        """Fernet keys, the current one first."""
        return keys_of(self.webhook_encryption_keys)

    @property
    def owner_urls(self) -> dict[str, str]:
        """Base address by owner, as `contracts.routes` names them."""
        return {
            AUTH_SERVICE: self.auth_service_url,
            PEOPLE_SYNC: self.people_sync_url,
            CONFLICT_SERVICE: self.conflict_service_url,
            CALENDAR_SYNC: self.calendar_sync_url,
        }

    @property
    def discovery_url(self) -> str:
        """The issuer's discovery document (OpenID Connect Discovery 1.0, section 4)."""
        return self.identity_discovery_url or f"{self.identity_issuer.rstrip('/')}/.well-known/openid-configuration"
