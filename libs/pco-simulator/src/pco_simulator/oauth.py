"""OAuth 2 and OpenID Connect as Planning Center serves them (Doorkeeper's texts).

Bodies of errors: planningcenter/developers#667 (`invalid_client`), #1318 (`invalid_grant`), #1310 (a refresh
token past its time). The status 400 of the last two is assumed; the threads do not give it.
"""

import base64
import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus, urlencode, urlsplit, urlunsplit

import orjson
from joserfc import jwt
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from pco_simulator.forms import form_of
from pco_simulator.pages import templates
from pco_simulator.settings import Settings
from pco_simulator.tokens import SCOPES, AuthorizationCode, Client, Grant, Token, TokenStore
from pco_simulator.world import CALENDAR_ROLES, Login, World

_LOGIN_COOKIE = "pco_simulator_login"
_IN_WORDS = {
    "openid": "See your name, your email address and the name of your church",
    "people": "See and change people and households in Planning Center People",
    "calendar": "See and change events in Planning Center Calendar",
    "check_ins": "See and change what is in Planning Center Check-Ins",
    "webhooks": "Be told of changes in Planning Center",
}
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}

_INVALID_CLIENT = (
    "Client authentication failed due to unknown client, no client authentication included, or unsupported"
    " authentication method."
)
_INVALID_GRANT = (
    "The provided authorization grant is invalid, expired, revoked, does not match the redirection URI used in"
    " the authorization request, or was issued to another client."
)


class OAuthError(Exception):
    """An error of RFC 6749 for the body of an answer or the query of a redirect."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.status = status


def _json(body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        orjson.dumps(body),
        status,
        {**_NO_STORE, **(headers or {})},
        media_type="application/json; charset=utf-8",
    )


def _error(error: OAuthError) -> Response:
    headers = {}
    if error.status == 401:
        headers["WWW-Authenticate"] = (
            f'Bearer realm="Doorkeeper", error="{error.error}", error_description="{error.description}"'
        )
    return _json({"error": error.error, "error_description": error.description}, error.status, headers)


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A valid request for consent."""

    client: Client
    redirect_uri: str
    scopes: tuple[str, ...]
    state: str | None
    code_challenge: str | None
    nonce: str | None
    prompt: str

    def back(self, **answer: str) -> Response:
        """The redirect to the application; `state` is echoed."""
        if self.state is not None:
            answer["state"] = self.state
        return RedirectResponse(_with_query(self.redirect_uri, answer), 302)


def _in_words(scope: str) -> str:
    return _IN_WORDS.get(scope, f"See and change what is in Planning Center {scope.title()}")


def _roles(login: Login, scopes: Collection[str]) -> list[str]:
    """A person's role in each requested product."""
    roles = {
        "people": login.people_permissions if "people" in login.products else None,
        "calendar": None if login.calendar_role == CALENDAR_ROLES[0] else login.calendar_role,
    }
    return [f"{product.title()}: {role or 'no access'}" for product, role in roles.items() if product in scopes]


def _with_query(uri: str, values: Mapping[str, str]) -> str:
    parts = urlsplit(uri)
    query = "&".join(filter(None, (parts.query, urlencode(values))))
    return urlunsplit(parts._replace(query=query))


class OAuth:
    """The endpoints; `route` finds the one for a path."""

    def __init__(self, world: World, store: TokenStore, settings: Settings, public_url: str | None) -> None:
        self._world = world
        self._store = store
        self._settings = settings
        self._public_url = public_url
        self._routes: dict[tuple[str, str], Callable[[Request], Awaitable[Response]]] = {
            ("GET", "/oauth/authorize"): self.authorize,
            ("POST", "/oauth/authorize"): self.decide,
            ("POST", "/oauth/token"): self.token,
            ("POST", "/oauth/revoke"): self.revoke,
            ("POST", "/oauth/introspect"): self.introspect,
            ("GET", "/oauth/userinfo"): self.userinfo,
            ("POST", "/oauth/userinfo"): self.userinfo,
            ("GET", "/oauth/discovery/keys"): self.keys,
            ("GET", "/.well-known/openid-configuration"): self.discovery,
        }

    def route(self, method: str, path: str) -> Callable[[Request], Awaitable[Response]] | None:
        """The endpoint of a path, or None for a 404."""
        return self._routes.get((method, path))

    # -- in the browser -------------------------------------------------------------------------------------

    async def authorize(self, request: Request) -> Response:
        """Show the consent page: the people who can log in and the requested scopes."""
        try:
            asked = self._authorization_request(dict(request.query_params))
        except _PageError as error:
            return _error_page(request, error)
        except _RedirectError as error:
            return error.response
        current = self._current_login(request)
        prompts = set(asked.prompt.split())
        if "none" in prompts:
            error_code = "consent_required" if current else "login_required"
            return asked.back(error=error_code, error_description="The user has to be asked.")
        choose = bool(prompts & {"select_account", "login"}) or current is None
        logins = self._world.logins if choose else [login for login in (current,) if login]
        churches = [
            (organization, [login for login in logins if login.organization_id == organization.id])
            for organization in self._world.organizations.values()
        ]
        return templates.TemplateResponse(
            request,
            "consent.html",
            {
                "asked": asked,
                "churches": [(church, people) for church, people in churches if people],
                "current": current,
                "roles": lambda login: _roles(login, asked.scopes),
                "asked_for": [(_in_words(scope), scope) for scope in asked.scopes],
                "home": urlsplit(asked.redirect_uri).netloc,
                "parameters": dict(request.query_params),
                "switch": None if choose else f"?{urlencode({**request.query_params, 'prompt': 'select_account'})}",
            },
            headers=_NO_STORE,
        )

    async def decide(self, request: Request) -> Response:
        """Handle the consent page's Allow or Deny."""
        form = {key: str(value) for key, value in (await form_of(request) or {}).items()}
        try:
            asked = self._authorization_request(form)
        except _PageError as error:
            return _error_page(request, error)
        except _RedirectError as error:
            return error.response
        if form.get("decision") != "allow":
            return asked.back(
                error="access_denied",
                error_description="The resource owner or authorization server denied the request.",
            )
        organization_id, _, person_id = form.get("login", "").partition(":")
        login = self._world.login(organization_id, person_id)
        if login is None:
            return _error_page(request, _PageError("Choose the person who signs in, then press Allow."))
        code = self._store.consent(
            asked.client,
            login,
            asked.scopes,
            redirect_uri=asked.redirect_uri,
            lifetime=self._settings.authorization_code_seconds,
            code_challenge=asked.code_challenge,
            nonce=asked.nonce,
            ends_earlier=self._settings.second_consent_ends_first_grant,
        )
        response = asked.back(code=code.id)
        response.set_cookie(_LOGIN_COOKIE, f"{organization_id}:{person_id}", httponly=True, samesite="lax")
        return response

    def _current_login(self, request: Request) -> Login | None:
        organization_id, _, person_id = request.cookies.get(_LOGIN_COOKIE, "").partition(":")
        return self._world.login(organization_id, person_id)

    def _authorization_request(self, values: Mapping[str, str]) -> AuthorizationRequest:
        """Errors of client or redirect URI are shown, never redirected; all others go back to the application."""
        client = self._store.clients.get(values.get("client_id", ""))
        if client is None:
            raise _PageError("Client authentication failed due to unknown client.")
        redirect_uri = values.get("redirect_uri", "")
        if redirect_uri not in client.redirect_uris:
            raise _PageError("The requested redirect uri is malformed or doesn't match client redirect URI.")
        asked = AuthorizationRequest(
            client=client,
            redirect_uri=redirect_uri,
            scopes=tuple(dict.fromkeys(values.get("scope", "").split())),
            state=values.get("state"),
            code_challenge=values.get("code_challenge") or None,
            nonce=values.get("nonce") or None,
            prompt=values.get("prompt", ""),
        )
        problem = _problem(asked, values)
        if problem is not None:
            raise _RedirectError(asked.back(error=problem[0], error_description=problem[1]))
        return asked

    # -- between servers ------------------------------------------------------------------------------------

    async def token(self, request: Request) -> Response:
        """Exchange a code or refresh token for a new pair."""
        try:
            values = await _parameters(request)
            client = self._authenticated_client(request, values)
            match values.get("grant_type"):
                case "authorization_code":
                    return self._exchange_code(client, values, _base_url(request, self._public_url))
                case "refresh_token":
                    return self._refresh(client, values, _base_url(request, self._public_url))
                case None | "":
                    raise OAuthError("invalid_request", "Missing required parameter: grant_type.")
                case "client_credentials":
                    raise OAuthError(
                        "unauthorized_client",
                        "The client is not authorized to perform this request using this method.",
                    )
                case _:
                    raise OAuthError(
                        "unsupported_grant_type",
                        "The authorization grant type is not supported by the authorization server.",
                    )
        except OAuthError as error:
            return _error(error)

    async def revoke(self, request: Request) -> Response:
        """Revoke (RFC 7009): always 200; only the owning application can end a token."""
        try:
            values = await _parameters(request)
            client = self._authenticated_client(request, values)
        except OAuthError:
            return _json({})
        token = self._own_token(client, values)
        if token is not None:
            both = self._settings.revoke_ends_both_tokens
            self._store.revoke(self._store.pair_of(token) if both else [token])
        return _json({})

    async def introspect(self, request: Request) -> Response:
        """Introspect a token (RFC 7662)."""
        try:
            values = await _parameters(request)
            client = self._authenticated_client(request, values)
        except OAuthError as error:
            return _error(error)
        token = self._own_token(client, values)
        if token is None or token.state() != "live":
            return _json({"active": False})
        return _json(
            {
                "active": True,
                "scope": " ".join(self._store.grants[token.grant_id].scopes),
                "client_id": client.id,
                "token_type": "Bearer",
                "exp": self._stamp(token.expires_at),
                "iat": self._stamp(token.created_at),
            }
        )

    async def userinfo(self, request: Request) -> Response:
        """Userinfo: claims about the person; needs the scope `openid`."""
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        token = self._store.token(value.strip()) if scheme.lower() == "bearer" else None
        if token is None or token.kind != "access" or token.state() != "live":
            return _error(OAuthError("invalid_token", "The access token is invalid", 401))
        grant = self._store.grants[token.grant_id]
        if "openid" not in grant.scopes:
            return _error(OAuthError("insufficient_scope", 'Access to this resource requires scope "openid".', 403))
        try:
            return _json(self._claims(grant))
        except OAuthError as error:
            return _error(error)

    async def keys(self, request: Request) -> Response:  # noqa: ARG002 - a route
        """JWKS."""
        return _json({"keys": [self._store.signing_key.as_dict(private=False)]})

    async def discovery(self, request: Request) -> Response:
        """OpenID Connect discovery document."""
        base = _base_url(request, self._public_url)
        return _json(
            {
                "issuer": base,
                "authorization_endpoint": f"{base}/oauth/authorize",
                "token_endpoint": f"{base}/oauth/token",
                "revocation_endpoint": f"{base}/oauth/revoke",
                "introspection_endpoint": f"{base}/oauth/introspect",
                "userinfo_endpoint": f"{base}/oauth/userinfo",
                "jwks_uri": f"{base}/oauth/discovery/keys",
                "scopes_supported": sorted(SCOPES - {"webhooks"}),
                "response_types_supported": ["code"],
                "response_modes_supported": ["query"],
                "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "claim_types_supported": ["normal"],
                "claims_supported": [
                    "iss",
                    "sub",
                    "aud",
                    "exp",
                    "iat",
                    "name",
                    "email",
                    "organization_id",
                    "organization_name",
                ],
                "code_challenge_methods_supported": ["S256"],
            }
        )

    def _exchange_code(self, client: Client, values: Mapping[str, str], issuer: str) -> Response:
        for name in ("code", "redirect_uri"):
            if not values.get(name):
                raise OAuthError("invalid_request", f"Missing required parameter: {name}.")
        code = self._store.code(values["code"])
        if code is None or code.used or code.expires_at <= time.time():
            raise OAuthError("invalid_grant", _INVALID_GRANT)
        grant = self._store.grants[code.grant_id]
        if grant.client_id != client.id or code.redirect_uri != values["redirect_uri"]:
            raise OAuthError("invalid_grant", _INVALID_GRANT)
        if not _verifies(code, values.get("code_verifier")):
            raise OAuthError("invalid_grant", _INVALID_GRANT)
        self._store.use_code(code)
        return self._pair(grant, issuer, nonce=code.nonce)

    def _refresh(self, client: Client, values: Mapping[str, str], issuer: str) -> Response:
        if not values.get("refresh_token"):
            raise OAuthError("invalid_request", "Missing required parameter: refresh_token.")
        token = self._store.token(values["refresh_token"])
        if token is None or token.kind != "refresh" or token.state() == "revoked":
            raise OAuthError("invalid_grant", _INVALID_GRANT)
        grant = self._store.grants[token.grant_id]
        if grant.client_id != client.id:
            raise OAuthError("invalid_grant", _INVALID_GRANT)
        if token.state() == "expired":
            raise OAuthError("invalid_request", "The refresh token is no longer valid")
        ended = self._store.pair_of(token) if self._settings.refresh_ends_access_token else [token]
        return self._pair(grant, issuer, ended=ended)

    def _pair(
        self, grant: Grant, issuer: str, *, nonce: str | None = None, ended: list[Token] | None = None
    ) -> Response:
        access, refresh = self._store.issue(
            grant,
            access_seconds=self._settings.access_token_seconds,
            refresh_seconds=self._settings.refresh_token_seconds,
            ended=ended or [],
        )
        created_at = self._stamp(access.created_at)
        body: dict[str, Any] = {
            "access_token": access.id,
            "token_type": "Bearer",
            "expires_in": int(self._settings.access_token_seconds),
            "refresh_token": refresh.id,
            "scope": " ".join(grant.scopes),
            "created_at": created_at,
        }
        if "openid" in grant.scopes:
            claims = {
                "iss": issuer,
                "aud": grant.client_id,
                "exp": created_at + 3600,
                "iat": created_at,
                **self._claims(grant),
            }
            if nonce is not None:
                claims["nonce"] = nonce
            key = self._store.signing_key
            body["id_token"] = jwt.encode({"alg": "RS256", "typ": "JWT", "kid": key.kid}, claims, key)
        return _json(body)

    def _authenticated_client(self, request: Request, values: Mapping[str, str]) -> Client:
        """By `client_secret_basic` or `client_secret_post`; a public client only names itself."""
        client_id, secret = values.get("client_id"), values.get("client_secret")
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                basic_id, _, basic_secret = base64.b64decode(encoded).decode().partition(":")
            except ValueError as error:
                raise OAuthError("invalid_client", _INVALID_CLIENT, 401) from error
            client_id, secret = unquote_plus(basic_id), unquote_plus(basic_secret)
        client = self._store.clients.get(client_id or "")
        if client is None:
            raise OAuthError("invalid_client", _INVALID_CLIENT, 401)
        if client.secret is not None and not secrets.compare_digest(client.secret.encode(), (secret or "").encode()):
            raise OAuthError("invalid_client", _INVALID_CLIENT, 401)
        return client

    def _own_token(self, client: Client, values: Mapping[str, str]) -> Token | None:
        token = self._store.token(values.get("token", ""))
        if token is None or self._store.grants[token.grant_id].client_id != client.id:
            return None
        return token

    def _claims(self, grant: Grant) -> dict[str, Any]:
        login = self._world.login(grant.organization_id, grant.person_id)
        if login is None:
            raise OAuthError("invalid_token", "The user of this token is gone", 401)
        organization_id = grant.organization_id
        return {
            "sub": grant.person_id,
            "name": login.name,
            "email": login.email,
            "organization_id": int(organization_id) if self._settings.numeric_organization_id else organization_id,
            "organization_name": self._world.organizations[grant.organization_id].name,
        }

    def _stamp(self, at: float) -> int:
        """An instant of the real clock, shifted to the vendor's clock."""
        return int(at + self._world.clock.offset.total_seconds())


class _PageError(Exception):
    """An error page, never a redirect: the application or its redirect URI is wrong."""


class _RedirectError(Exception):
    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


def _problem(asked: AuthorizationRequest, values: Mapping[str, str]) -> tuple[str, str] | None:
    """The fault of a known application's request as `error` and `error_description`; None when it is valid."""
    if values.get("response_type") != "code":
        return (
            "unsupported_response_type",
            "The authorization server does not support this response type.",
        )
    if not asked.scopes or not SCOPES.issuperset(asked.scopes):
        return "invalid_scope", "The requested scope is invalid, unknown, or malformed."
    if asked.code_challenge is None:
        if asked.client.secret is None:
            return "invalid_request", "Code challenge is required."
    elif values.get("code_challenge_method") != "S256":
        return "invalid_code_challenge_method", "The code challenge method must be S256."
    return None


def _verifies(code: AuthorizationCode, verifier: str | None) -> bool:
    if code.code_challenge is None or not verifier:
        # Doorkeeper refuses a verifier without an earlier challenge (unconfirmed for the vendor).
        return code.code_challenge is None and not verifier
    digest = hashlib.sha256(verifier.encode()).digest()
    computed = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return secrets.compare_digest(computed, code.code_challenge.rstrip("="))


async def _parameters(request: Request) -> dict[str, str]:
    """Form or JSON body (planningcenter/developers#1318 sends JSON)."""
    if request.headers.get("content-type", "").partition(";")[0].strip().endswith("json"):
        try:
            body = orjson.loads(await request.body())
        except orjson.JSONDecodeError as error:
            raise OAuthError("invalid_request", "The body is not valid JSON.") from error
        if not isinstance(body, dict):
            raise OAuthError("invalid_request", "The body is not a JSON object.")
        return {key: str(value) for key, value in body.items() if value is not None}
    form = await form_of(request)
    if form is None:
        raise OAuthError("invalid_request", "The body is not a valid form.")
    return {key: str(value) for key, value in form.items()}


def _base_url(request: Request, public_url: str | None) -> str:
    return public_url or f"{request.url.scheme}://{request.url.netloc}"


def _error_page(request: Request, error: _PageError) -> HTMLResponse:
    return templates.TemplateResponse(
        request, "oauth_error.html", {"message": str(error)}, status_code=400, headers=_NO_STORE
    )
