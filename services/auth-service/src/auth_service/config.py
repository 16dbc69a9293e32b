"""Settings of auth-service, from environment variables."""

from datetime import timedelta
from typing import ClassVar

from pydantic import Field, SecretStr, field_validator

from contracts.http.auth import ATTEMPT_COOKIE, HOST_ATTEMPT_COOKIE
from contracts.values import AUTH_SERVICE
from servicekit.settings import ServiceSettings
from servicekit.vault import FernetKeys, keys_of


class Settings(ServiceSettings):
    """Settings beside those of `ServiceSettings`."""

    service_name: ClassVar[str] = AUTH_SERVICE

    pco_base_url: str = "https://api.planningcenteronline.com"
    """Planning Center's address for this service, without a trailing slash."""
    pco_browser_url: str = ""
    """Planning Center's address for browsers, if it differs (containers)."""
    pco_client_id: str
    pco_client_secret: SecretStr
    pco_redirect_uri: str
    """Redirect URI registered at Planning Center; its page posts `code` and `state` to /api/v1/connections/complete."""
    pco_webhooks_scope: str = "webhooks"
    """Asked for with every consent, so that Planning Center accepts subscriptions to changes. The vendor's discovery
    document does not list it, and it is unconfirmed whether it is needed beside the product's own scope
    (planningcenter/developers#617). Empty: not asked for, should the vendor refuse the consent because of it.
    """
    pco_user_agent: str = "church-platform-sync (operations@example.org)"
    """Must have a name and a contact: Planning Center answers a generic User-Agent with a bare 403."""
    pco_request_timeout_seconds: float = Field(default=10.0, gt=0, le=60)
    """Timeout of one request to Planning Center."""

    token_encryption_keys: FernetKeys
    """Fernet keys with commas between them. The first one encrypts, all of them decrypt."""

    refresh_margin_seconds: int = Field(default=300, ge=0)
    """Minimum remaining life of a lease, as long as Planning Center answers."""
    refresh_token_lifetime_days: int = Field(default=90, ge=1)
    """Counted from the issue of the access token in the same pair, not from the last use
    (planningcenter/developers#879)."""
    refresh_token_margin_days: int = Field(default=60, ge=1)
    """A grant whose refresh token has less than this left is refreshed, even without a request for a lease."""
    grant_care_every_seconds: float = Field(default=300, gt=0)
    """Interval of the round that refreshes idle grants and ends unused ones."""
    attempt_lifetime_seconds: int = Field(default=600, ge=1)
    """Time within which a consent must be finished."""
    subscriptions_removed_within_seconds: float = Field(default=60, ge=0)
    """Time that a disconnect waits for webhook-gateway."""
    disconnect_poll_seconds: float = Field(default=1.0, gt=0)

    @field_validator("pco_base_url", "pco_browser_url")
    @classmethod
    def _no_slash(cls, value: str) -> str:
        return value.rstrip("/")

    @property
    def encryption_keys(self) -> list[str]:
        """Fernet keys, the current one first."""
        return keys_of(self.token_encryption_keys)

    @property
    def secure_cookie(self) -> bool:
        """Whether browsers reach us over TLS."""
        return self.pco_redirect_uri.startswith("https:")

    @property
    def attempt_cookie(self) -> str:
        """The name of the cookie that binds an attempt to a browser."""
        return HOST_ATTEMPT_COOKIE if self.secure_cookie else ATTEMPT_COOKIE

    @property
    def attempt_lifetime(self) -> timedelta:
        """Time within which a consent must be finished."""
        return timedelta(seconds=self.attempt_lifetime_seconds)

    @property
    def refresh_margin(self) -> timedelta:
        """Minimum remaining life of a lease."""
        return timedelta(seconds=self.refresh_margin_seconds)

    @property
    def refresh_token_lifetime(self) -> timedelta:
        """Time from the issue of a pair of tokens to the expiry of its refresh token."""
        return timedelta(days=self.refresh_token_lifetime_days)

    @property
    def refresh_token_margin(self) -> timedelta:
        """Minimum remaining life of a refresh token."""
        return timedelta(days=self.refresh_token_margin_days)
