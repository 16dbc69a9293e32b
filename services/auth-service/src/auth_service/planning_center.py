"""Planning Center's OAuth endpoints, and the reads of a person's roles.

Every call raises PlanningCenterAway for an answer that says nothing about the grant: none in time, a broken connection,
429, 5xx, HTML instead of JSON, or the refusal of our own client credentials.
"""

import ssl
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import httpx
from authlib.common.security import generate_token  # type: ignore[import-untyped]
from authlib.deprecate import AuthlibDeprecationWarning  # type: ignore[import-untyped]
from authlib.integrations.base_client import OAuthError  # type: ignore[import-untyped]

from auth_service.config import Settings
from auth_service.errors import GrantRefused, PlanningCenterAway
from pco_client.versions import VERSION_HEADER, VERSIONS
from servicekit.clock import Clock
from servicekit.http.outgoing import no_cookies

# Authlib prefers httpx2 if installed; this product's HTTP library is httpx.
warnings.filterwarnings("ignore", "The httpx module is deprecated", AuthlibDeprecationWarning)

from authlib.integrations.httpx_client import AsyncOAuth2Client  # type: ignore[import-untyped]  # noqa: E402

_CLIENT_AUTH = "client_secret_post"


@dataclass(frozen=True, slots=True)
class Tokens:
    """A pair of tokens as issued."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    scope: str
    issued_at: datetime
    """Our clock just before the request, so that lifetimes are never overestimated."""
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Identity:
    """The consenting person and their Planning Center organization."""

    person_id: str
    person_name: str
    organization_id: str
    organization_name: str


def new_code_verifier() -> str:
    """A PKCE verifier (RFC 7636)."""
    return str(generate_token(64))


class PlanningCenter:
    """A stateless client of the vendor's OAuth endpoints."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._base = settings.pco_base_url
        self._tls = ssl.create_default_context()

    def authorize_url(self, *, scope: str, state: str, code_verifier: str) -> str:
        """The consent page's address. The person chooses the account there: many have several churches."""
        url, _ = self._client().create_authorization_url(
            f"{self._settings.pco_browser_url or self._base}/oauth/authorize",
            state=state,
            code_verifier=code_verifier,
            scope=scope,
            prompt="select_account",
        )
        return str(url)

    async def exchange(self, code: str, code_verifier: str) -> Tokens:
        """Tokens for an authorization code. GrantRefused if the code is not accepted."""
        return await self._tokens(grant_type="authorization_code", code=code, code_verifier=code_verifier)

    async def refresh(self, refresh_token: str) -> Tokens:
        """A new pair; the old one dies (planningcenter/developers#1318). GrantRefused if the refresh token is dead."""
        return await self._tokens(grant_type="refresh_token", refresh_token=refresh_token)

    async def revoke(self, token: str, hint: str) -> None:
        """Revoke a token. Planning Center answers 200 for an unknown one as well."""
        response = await self._form("/oauth/revoke", token=token, token_type_hint=hint)
        if not response.is_success:
            raise PlanningCenterAway(f"/oauth/revoke answered {response.status_code}")

    async def is_active(self, token: str) -> bool:
        """Whether Planning Center would still accept a token (RFC 7662)."""
        answer = _object(await self._form("/oauth/introspect", token=token))
        return bool(answer.get("active"))

    async def identity(self, access_token: str) -> Identity:
        """The person behind a token; needs the scope `openid`."""
        response = await self._get("/oauth/userinfo", access_token)
        claims = _object(response)
        try:
            # organization_id was seen both as a number and as a string.
            return Identity(
                person_id=str(claims["sub"]),
                person_name=str(claims["name"]),
                organization_id=str(claims["organization_id"]),
                organization_name=str(claims["organization_name"]),
            )
        except KeyError as error:
            raise PlanningCenterAway(f"/oauth/userinfo answered without {error}") from error

    async def person(self, access_token: str) -> Mapping[str, Any] | None:
        """Attributes of whoever a token acts for, as People has them; None without access to People (403)."""
        response = await self._get("/people/v2/me", access_token, {VERSION_HEADER: VERSIONS["people"]})
        if response.status_code == httpx.codes.FORBIDDEN:
            return None
        data = _object(response).get("data")
        attributes = data.get("attributes") if isinstance(data, dict) else None
        if not isinstance(attributes, dict):
            raise PlanningCenterAway("/people/v2/me answered without a person")
        return attributes

    async def opens_calendar(self, access_token: str) -> bool:
        """Whether the person has any role in Calendar, without which every call to it is a 403."""
        response = await self._get("/calendar/v2", access_token, {VERSION_HEADER: VERSIONS["calendar"]})
        return response.status_code != httpx.codes.FORBIDDEN

    def _client(self) -> AsyncOAuth2Client:
        # A client per call: Authlib's client remembers its last token, and tokens of two churches must never mix.
        return AsyncOAuth2Client(
            client_id=self._settings.pco_client_id,
            client_secret=self._settings.pco_client_secret.get_secret_value(),
            token_endpoint_auth_method=_CLIENT_AUTH,
            revocation_endpoint_auth_method=_CLIENT_AUTH,
            redirect_uri=self._settings.pco_redirect_uri,
            code_challenge_method="S256",
            timeout=self._settings.pco_request_timeout_seconds,
            verify=self._tls,
            cookies=no_cookies(),
            headers={"User-Agent": self._settings.pco_user_agent},
        )

    async def _tokens(self, **grant: str) -> Tokens:
        asked_at = self._clock.now()
        try:
            async with self._client() as client:
                if grant["grant_type"] == "refresh_token":
                    answer = await client.refresh_token(
                        f"{self._base}/oauth/token", refresh_token=grant["refresh_token"]
                    )
                else:
                    answer = await client.fetch_token(f"{self._base}/oauth/token", **grant)
        except OAuthError as error:
            if _refuses_grant(error):
                raise GrantRefused(error.error) from error
            raise PlanningCenterAway(f"/oauth/token answered {error.error}") from error
        except (httpx.HTTPError, ValueError) as error:
            raise PlanningCenterAway(f"/oauth/token: {type(error).__name__}") from error
        try:
            return Tokens(
                access_token=_token(answer["access_token"]),
                refresh_token=_token(answer["refresh_token"]),
                scope=str(answer.get("scope") or ""),
                issued_at=asked_at,
                expires_at=asked_at + timedelta(seconds=int(answer["expires_in"])),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise PlanningCenterAway("/oauth/token answered without a pair of tokens") from error

    async def _form(self, path: str, **form: str) -> httpx.Response:
        credentials = {
            "client_id": self._settings.pco_client_id,
            "client_secret": self._settings.pco_client_secret.get_secret_value(),
        }
        return await self._send("POST", path, data={**form, **credentials})

    async def _get(self, path: str, access_token: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        authorization = {"Authorization": f"Bearer {access_token}", "Accept": "application/json"}
        response = await self._send("GET", path, headers={**authorization, **(headers or {})})
        if response.status_code == httpx.codes.UNAUTHORIZED:
            raise GrantRefused(f"{path} answered 401 to a token just issued")
        return response

    async def _send(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        headers = {"User-Agent": self._settings.pco_user_agent, **kwargs.pop("headers", {})}
        try:
            async with httpx.AsyncClient(
                timeout=self._settings.pco_request_timeout_seconds, verify=self._tls, cookies=no_cookies()
            ) as client:
                response = await client.request(method, f"{self._base}{path}", headers=headers, **kwargs)
        except httpx.HTTPError as error:
            raise PlanningCenterAway(f"{path}: {type(error).__name__}") from error
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS or response.is_server_error:
            raise PlanningCenterAway(f"{path} answered {response.status_code}")
        return response


def _refuses_grant(error: OAuthError) -> bool:
    """Whether the code or refresh token is dead; other errors concern our client or are temporary.

    planningcenter/developers#1318 `invalid_grant`; #1310 `invalid_request`, "The refresh token is no longer valid".
    """
    expired = error.error == "invalid_request" and "no longer valid" in (error.description or "")
    return error.error == "invalid_grant" or expired


def _token(value: Any) -> str:
    """A token of the answer; ValueError for a malformed one, which must not replace a valid one."""
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def _object(response: httpx.Response) -> dict[str, Any]:
    """The JSON object of an answer."""
    try:
        answer = response.json()
    except ValueError as error:
        raise PlanningCenterAway(f"{response.url.path} answered no JSON ({response.status_code})") from error
    if not response.is_success or not isinstance(answer, dict):
        raise PlanningCenterAway(f"{response.url.path} answered {response.status_code}")
    return answer
