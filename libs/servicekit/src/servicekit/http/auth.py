"""Authentication between services by short-lived signed tokens (JWT, Ed25519). See contracts.identity for the claims.

Every service has the public keys of all services; `kid` is the service's name. A user's identity is accepted only from
webhook-gateway, a service's identity only from that service, and both only if the token is addressed to this service
and of the kind that the route requires.
"""

import time
import warnings
from collections.abc import Awaitable, Callable, Collection
from functools import lru_cache
from typing import Annotated, Any, Final

import orjson
from fastapi import Depends
from joserfc import jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import KeySet, OKPKey
from pydantic import ValidationError
from starlette.requests import HTTPConnection

from contracts.identity import IDENTITY_ALGORITHM, IDENTITY_LIFETIME_SECONDS, IdentityType, UserIdentity
from contracts.values import WEBHOOK_GATEWAY
from servicekit.errors import Forbidden, Unauthorized
from servicekit.settings import ServiceSettings

LEEWAY_SECONDS = 5
"""Maximum difference between the clocks of two of our machines."""

UNREADABLE_TOKEN: Final = (
    *(JoseError, ValueError, TypeError, LookupError, AttributeError),
    *(ArithmeticError, RecursionError),
)
"""Errors of reading a token. Its parts may be JSON of any shape, such as `["alg"]`, `10**400` or a thousand nested
lists, and much of it is parsed before the signature is checked.
"""

# RFC 9864 prefers the name "Ed25519", but the contract uses the older name of the same signature.
warnings.filterwarnings("ignore", message="EdDSA is deprecated", category=SecurityWarning)


def sign(
    settings: ServiceSettings,
    audience: str,
    kind: IdentityType,
    claims: dict[str, Any],
    *,
    lifetime: int = IDENTITY_LIFETIME_SECONDS,
) -> str:
    """A token signed by this service for the service `audience`, valid for `lifetime` seconds.

    `claims` are added to iss, aud, iat, nbf and exp.
    """
    key = _signing_key(settings.signing_key.get_secret_value())
    now = int(time.time())
    header = {"alg": IDENTITY_ALGORITHM, "typ": kind, "kid": settings.service_name}
    issued = {"iss": settings.service_name, "aud": audience, "iat": now, "nbf": now, "exp": now + lifetime}
    return jwt.encode(header, claims | issued, key, algorithms=[IDENTITY_ALGORITHM])


@lru_cache(maxsize=8)
def _signing_key(jwk: str) -> OKPKey:
    return OKPKey.import_key(orjson.loads(jwk))


def sign_user(settings: ServiceSettings, audience: str, identity: UserIdentity) -> str:
    """The token that webhook-gateway sends for a signed-in user: `Authorization: Bearer <this>`."""
    return sign(settings, audience, "user+jwt", {"sub": identity.user_id, **identity.model_dump(mode="json")})


def sign_service(settings: ServiceSettings, audience: str) -> str:
    """The token that a service sends in its own name: `Authorization: Bearer <this>`."""
    return sign(settings, audience, "service+jwt", {"sub": settings.service_name})


class Verifier:
    """Checks tokens addressed to one service."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._audience = settings.service_name
        keys = KeySet.import_key_set(orjson.loads(settings.trusted_keys)).keys
        self._keys = {key.kid: key for key in keys if key.kid}

    @property
    def services(self) -> Collection[str]:
        """The services whose keys are known."""
        return self._keys.keys()

    def verify(self, token: str, *kinds: IdentityType, signers: Collection[str]) -> dict[str, Any]:
        """The claims. Unauthorized if anything is not as agreed; only the log gets the reason."""

        def key_of(guest: Any) -> Any:
            kid = guest.headers().get("kid")
            if kid not in signers or kid not in self._keys:
                raise Unauthorized("The token is not signed by a service that may ask here.")
            return self._keys[kid]

        try:
            decoded = jwt.decode(token, key_of, algorithms=[IDENTITY_ALGORITHM])
            if decoded.header.get("typ") not in kinds:
                raise Unauthorized("The token is of another kind than the one that may ask here.")
            signer = decoded.header["kid"]
            registry = jwt.JWTClaimsRegistry(
                leeway=LEEWAY_SECONDS,
                iss={"essential": True, "value": signer},
                aud={"essential": True, "value": self._audience},
                sub={"essential": True},
                iat={"essential": True},
                exp={"essential": True},
            )
            registry.validate(decoded.claims)
            if decoded.claims["exp"] - decoded.claims["iat"] > IDENTITY_LIFETIME_SECONDS:
                raise Unauthorized(f"The token lives longer than {IDENTITY_LIFETIME_SECONDS} seconds.")
        except UNREADABLE_TOKEN as error:
            raise Unauthorized("The token is missing, expired or not for this service: sign in again.") from error
        return dict(decoded.claims)


def bearer(connection: HTTPConnection) -> str:
    """The token of the Authorization header. Unauthorized without one."""
    scheme, _, token = connection.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized("Send an `Authorization: Bearer` header.")
    return token.strip()


async def known_service(connection: HTTPConnection) -> None:
    """Unauthorized unless one of our services signed the token, for any identity. Called before the body is read."""
    verifier: Verifier = connection.app.state.verifier
    verifier.verify(bearer(connection), "user+jwt", "service+jwt", signers=verifier.services)


async def internal_identity(connection: HTTPConnection) -> UserIdentity:
    """The user that webhook-gateway signed for. This is the only source of the organization.

    Forbidden for a user without a role in this product, because the platform's identity provider signs in others too.
    """
    verifier: Verifier = connection.app.state.verifier
    claims = verifier.verify(bearer(connection), "user+jwt", signers={WEBHOOK_GATEWAY})
    try:
        identity = UserIdentity.model_validate(claims)
    except ValidationError as error:
        raise Unauthorized("The token does not say who is asking.") from error
    if not identity.roles:
        raise Forbidden("Your sign-in has no role in this product: ask an administrator for one.")
    return identity


User = Annotated[UserIdentity, Depends(internal_identity)]
"""A signed-in user, admin or staff."""


async def _admin(user: User) -> UserIdentity:
    if not user.is_admin:
        raise Forbidden("Only an admin of the organization may do this: ask one of them.")
    return user


Admin = Annotated[UserIdentity, Depends(_admin)]
"""A signed-in admin; 403 for staff."""


def service_identity(allowed: Collection[str]) -> Callable[[HTTPConnection], Awaitable[str]]:
    """A dependency for calls between services: the name of the calling service, which must be one of `allowed`.

    Caller = Annotated[str, Depends(service_identity({PEOPLE_SYNC, CALENDAR_SYNC}))]
    """

    async def dependency(connection: HTTPConnection) -> str:
        verifier: Verifier = connection.app.state.verifier
        claims = verifier.verify(bearer(connection), "service+jwt", signers=allowed)
        if claims["sub"] != claims["iss"]:
            raise Unauthorized("A service can ask in its own name only.")
        return str(claims["iss"])

    return dependency
