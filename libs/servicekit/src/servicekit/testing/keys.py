"""Keys for all services, and tokens as the gateway and the services sign them."""

import json
import time
from typing import Any, TypeVar

from joserfc import jwt
from joserfc.jwk import OKPKey

from contracts.identity import IDENTITY_ALGORITHM, IDENTITY_LIFETIME_SECONDS, Role, UserIdentity
from contracts.values import AUTH_SERVICE, CALENDAR_SYNC, CONFLICT_SERVICE, PEOPLE_SYNC, WEBHOOK_GATEWAY
from servicekit.settings import ServiceSettings

SERVICES = (AUTH_SERVICE, CALENDAR_SYNC, CONFLICT_SERVICE, PEOPLE_SYNC, WEBHOOK_GATEWAY)
S = TypeVar("S", bound=ServiceSettings)


class KeyRing:
    """One Ed25519 key per service; makes settings, and signs as any service."""

    def __init__(self) -> None:
        self._keys = {name: OKPKey.generate_key("Ed25519", {"kid": name}) for name in SERVICES}

    def signing_key(self, service: str) -> str:
        """The private JWK of a service, for SIGNING_KEY."""
        return json.dumps(self._keys[service].as_dict(private=True))

    @property
    def trusted_keys(self) -> str:
        """The JWKS of all public keys, for TRUSTED_KEYS."""
        return json.dumps({"keys": [key.as_dict(private=False) for key in self._keys.values()]})

    def settings(self, settings_class: type[S], *, database_url: str, kafka: str, **more: Any) -> S:
        """Settings of a service without an environment. `more`: its own fields, or further ones of ServiceSettings."""
        return settings_class(
            **{
                "database_url": database_url,
                "kafka_bootstrap_servers": kafka,
                "signing_key": self.signing_key(settings_class.service_name),
                "trusted_keys": self.trusted_keys,
                "log_format": "console",
                "operator_port": 0,
                **more,
            }
        )

    def user_token(
        self,
        audience: str,
        *,
        organization_id: str = "org-1",
        user_id: str = "user-1",
        roles: tuple[Role, ...] = ("admin",),
        kind: str = "user+jwt",
        **claims: Any,
    ) -> str:
        """The token that the gateway would send to `audience` for this user. `claims` override the token's own."""
        identity = UserIdentity(
            user_id=user_id,
            name="Test User",
            organization_id=organization_id,
            organization_name="Test Church",
            roles=roles,
        )
        own = {"sub": user_id, **identity.model_dump(mode="json")}
        return self._sign(WEBHOOK_GATEWAY, audience, kind, own, claims)

    def service_token(self, service: str, audience: str, *, kind: str = "service+jwt", **claims: Any) -> str:
        """The token that `service` would send to `audience` in its own name."""
        return self._sign(service, audience, kind, {"sub": service}, claims)

    def user_headers(self, audience: str, **identity: Any) -> dict[str, str]:
        """`user_token` as a request header."""
        return {"Authorization": f"Bearer {self.user_token(audience, **identity)}"}

    def _sign(self, service: str, audience: str, kind: str, claims: dict[str, Any], replaced: dict[str, Any]) -> str:
        now = int(time.time())
        registered = {"iss": service, "aud": audience, "iat": now, "nbf": now, "exp": now + IDENTITY_LIFETIME_SECONDS}
        header = {"alg": IDENTITY_ALGORITHM, "typ": kind, "kid": service}
        return jwt.encode(header, claims | registered | replaced, self._keys[service], algorithms=[IDENTITY_ALGORITHM])
