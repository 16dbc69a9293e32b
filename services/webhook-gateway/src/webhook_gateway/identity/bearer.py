"""The platform's tokens: a JWT of its identity provider, verified against the provider's published keys."""

import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final

import httpx
import structlog
from fastapi import Depends, Request, Response
from joserfc import jws, jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import ECKey, JWKRegistry, RSAKey
from starlette.requests import HTTPConnection

from contracts.identity import UserIdentity
from servicekit.errors import Forbidden, Unauthorized, Unavailable
from servicekit.http.answers import Identify, KeyedRoute
from servicekit.http.auth import UNREADABLE_TOKEN, bearer
from servicekit.http.intake import ORGANIZATION
from webhook_gateway.domain.claims import identity_of
from webhook_gateway.identity.limits import Limits
from webhook_gateway.identity.reading import Reading

log = structlog.get_logger(__name__)

# A fixed list, never taken from the token: no symmetric algorithm, no "none".
ALGORITHMS = ["RS256", "ES256"]
LEEWAY_SECONDS = 5
MAX_TOKEN_CHARACTERS = 16_000
NOT_VALID = "This sign-in is not valid here: sign in again."
_CALLER: Final = "caller"
"""Key in the request's state for the caller, once the token is checked."""
Key = RSAKey | ECKey


@dataclass(frozen=True, slots=True)
class Caller:
    """The authenticated person, and the token's expiry."""

    identity: UserIdentity
    expires_at: float
    """Expiry in Unix seconds."""


class ProviderKeys:
    """The identity provider's public keys by `kid`, read again when they are old or a `kid` is unknown.

    While the provider is unreachable the last keys stay in use; without any key, callers get 503.
    """

    def __init__(self, http: httpx.AsyncClient, url: str, *, every: float = 600) -> None:
        self._http = http
        self._url = url
        self._every = every
        self._keys: dict[str, Key] = {}
        self._read_at = float("-inf")
        self._reading = Reading(self._read)

    async def key(self, kid: str) -> Key | None:
        """The key, None if the provider does not publish it. Unavailable if no key was ever read."""
        if kid not in self._keys:
            await self._reading.begin()
        elif time.monotonic() - self._read_at > self._every:
            self._reading.begin()  # not awaited: a hanging provider must not delay callers whose key is known
        if not self._keys:
            raise Unavailable(
                "Sign-ins can't be checked right now: the identity provider does not answer. "
                "Nothing was changed. Try again in a few seconds.",
                retry_after=5,
            )
        return self._keys.get(kid)

    async def _read(self) -> None:
        try:
            answer = await self._http.get(self._url, timeout=5)
            answer.raise_for_status()
            listed = answer.json()["keys"]
            keys = {key.kid: key for key in map(_public_key, listed) if key is not None and key.kid}
        except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("the identity provider's keys could not be read", error=type(error).__name__)
            return
        self._keys = keys
        self._read_at = time.monotonic()


def _public_key(listed: dict[str, Any]) -> Key | None:
    """A key that may verify signatures; None for other kinds (encryption, symmetric, unknown)."""
    if listed.get("kty") not in {"RSA", "EC"} or listed.get("use", "sig") != "sig":
        return None
    if "d" in listed or listed.get("crv", "P-256") != "P-256":
        return None
    try:
        key = JWKRegistry.import_key(listed)
    except (JoseError, ValueError):
        return None
    return key if isinstance(key, RSAKey | ECKey) else None


class TokenVerifier:
    """Authenticates a token, or raises Unauthorized without the full reason."""

    def __init__(self, keys: ProviderKeys, *, issuer: str, audience: str, kind: str) -> None:
        self._keys = keys
        self._kind = kind
        self._claims = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": audience},
            sub={"essential": True},
            exp={"essential": True},
        )

    async def verify(self, token: str) -> Caller:
        """The caller. Unauthorized if the token has expired or is no access token of this provider for this API."""
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise Unauthorized(NOT_VALID)
        try:
            header = jws.extract_compact(token.encode("ascii")).headers()
            kid = header.get("kid")
            key = await self._keys.key(kid) if isinstance(kid, str) and header.get("alg") in ALGORITHMS else None
            if key is None:
                raise Unauthorized(NOT_VALID)
            if not self._is_access_token(header.get("typ")):
                raise Unauthorized(NOT_VALID)
            claims = jwt.decode(token, key, algorithms=ALGORITHMS).claims
            self._claims.validate(claims)
            return Caller(identity_of(claims), float(claims["exp"]))
        except ExpiredTokenError as error:
            raise Unauthorized("Your session has ended: sign in again.", slug="session-ended") from error
        except UNREADABLE_TOKEN as error:
            raise Unauthorized(NOT_VALID) from error

    def _is_access_token(self, typ: Any) -> bool:
        """RFC 9068, section 4: an ID token of the same provider has the same signature, and often the same audience."""
        return isinstance(typ, str) and typ.lower().removeprefix("application/") == self._kind.lower()


async def _caller(connection: HTTPConnection) -> Caller:
    known: Caller | None = getattr(connection.state, _CALLER, None)
    if known is not None:
        return known
    limits: Limits = connection.app.state.resources.limits
    verifier: TokenVerifier = connection.app.state.resources.tokens
    limits.address(connection)  # first, since verifying a forged signature costs more than inventing it
    caller = await verifier.verify(bearer(connection))
    limits.caller(caller.identity)
    setattr(connection.state, ORGANIZATION, caller.identity.organization_id)
    setattr(connection.state, _CALLER, caller)
    return caller


async def _anyone(connection: HTTPConnection) -> None:
    limits: Limits = connection.app.state.resources.limits
    limits.address(connection)


Anyone = Depends(_anyone)
"""Dependency of public routes: no sign-in needed; 429 for an address over its limit."""


Signed = Annotated[Caller, Depends(_caller)]
"""Dependency: the signed-in person; 401 without a valid token, 429 over a limit."""


async def _staff(caller: Signed) -> UserIdentity:
    if not caller.identity.roles:
        raise Forbidden("Your sign-in has no role in this product: ask an administrator for one.")
    return caller.identity


Staff = Annotated[UserIdentity, Depends(_staff)]
"""Dependency of the gateway's own routes: a person with a role, admin or staff; 403 for others."""


async def _admin(staff: Staff) -> UserIdentity:
    if not staff.is_admin:
        raise Forbidden("Only an admin of the organization may do this: ask one of them.")
    return staff


Admin = Annotated[UserIdentity, Depends(_admin)]
"""Dependency of the gateway's own routes: an admin; 403 for staff."""


class OwnRoute(KeyedRoute):
    """The class of the gateway's own routes of the platform API: `APIRouter(route_class=OwnRoute)`."""

    identify: ClassVar[Identify] = staticmethod(_staff)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Called by FastAPI, whose handler reads the body before it solves dependencies: the caller is authenticated
        first. A body that is too large is refused even where none is expected.
        """
        handle = super().get_route_handler()

        async def of_a_known_caller(request: Request) -> Response:
            if request.method != "GET":
                await _caller(request)
                await request.body()
            return await handle(request)

        return of_a_known_caller
