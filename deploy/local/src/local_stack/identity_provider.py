"""Identity provider for development: OpenID Connect with a few invented people and no passwords.

Never expose it to a network: anyone who can open its page can sign in as any person. Like the platform's real
provider it issues tokens to the console (authorization code with PKCE, public client) and,
for scripts and tests only, tokens by ``grant_type=password`` for which any password will do:

    curl -d grant_type=password -d username=ada http://localhost:8091/token
"""

import argparse
import base64
import hashlib
import html
import json
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlencode, urlsplit

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Form, Header, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

AUDIENCE: Final = "church-platform"
CONSOLE_CLIENT: Final = "console"
ALGORITHM: Final = "ES256"
TOKEN_SECONDS: Final = 3600
CODE_SECONDS: Final = 120
REDIRECT_PATHS: Final = ("/", "/signed-in")
"""Redirect paths of the console, below its origin."""


@dataclass(frozen=True, slots=True)
class Person:
    """A person who can sign in; ``username`` is also the ``sub`` of the tokens."""

    username: str
    name: str
    email: str
    organization_id: str
    organization_name: str
    role: str


PEOPLE: Final = {
    person.username: person
    for person in (
        Person("ada", "Ada Moreno", "ada@riverbend.example", "riverbend", "Riverbend Community Church", "admin"),
        Person("sam", "Sam Whitfield", "sam@riverbend.example", "riverbend", "Riverbend Community Church", "staff"),
        Person("olga", "Olga Brandt", "olga@hillside.example", "hillside", "Hillside Chapel", "admin"),
    )
}


def people_of(churches: int) -> dict[str, Person]:
    """People by username: those of the two churches, ``ada3`` and ``sam3`` of a third, ``ada4`` of a fourth."""
    further = [
        replace(
            person,
            username=f"{person.username}{number}",
            email=f"{person.username}@church{number}.example",
            organization_id=f"church{number}",
            organization_name=f"Church {number}",
        )
        for number in range(3, churches + 1)
        for person in (PEOPLE["ada"], PEOPLE["sam"])
    ]
    return PEOPLE | {person.username: person for person in further}


_ROLE_IN_WORDS = {"admin": "Administrator", "staff": "Staff"}


@dataclass(frozen=True, slots=True)
class _Code:
    person: Person
    redirect_uri: str
    challenge: str
    nonce: str | None
    scope: str
    expires_at: float


class Refused(Exception):
    """An error of RFC 6749: ``code`` is its name there, ``description`` says what to do."""

    def __init__(self, code: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.status = status


class IdentityProvider:
    """Key, codes and tokens of one provider. ``issuer`` has no trailing slash."""

    def __init__(
        self, *, issuer: str, key: ECKey, console_origins: Sequence[str], people: Mapping[str, Person] = PEOPLE
    ) -> None:
        self.issuer = issuer
        self.people = people
        self.console_origins = tuple(origin.rstrip("/") for origin in console_origins)
        self.redirect_uris = frozenset(origin + path for origin in self.console_origins for path in REDIRECT_PATHS)
        self._key = key
        self._codes: dict[str, _Code] = {}

    def metadata(self) -> dict[str, Any]:
        """OpenID Connect Discovery 1.0."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "end_session_endpoint": f"{self.issuer}/end-session",
            "jwks_uri": f"{self.issuer}/jwks.json",
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "password"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
            "scopes_supported": ["openid", "profile", "email"],
            "claims_supported": ["sub", "name", "email", "organization_id", "organization_name", "roles"],
            "authorization_response_iss_parameter_supported": True,
        }

    def jwks(self) -> dict[str, Any]:
        """The public key."""
        return {"keys": [{**self._key.as_dict(private=False), "use": "sig", "alg": ALGORITHM}]}

    def check_client(self, asked: Mapping[str, str]) -> None:
        """Check client and redirect URI, which must match exactly; a failure is shown, never redirected."""
        if asked.get("client_id") != CONSOLE_CLIENT:
            raise Refused("invalid_client", f"The only client here is {CONSOLE_CLIENT!r}.")
        if asked.get("redirect_uri") not in self.redirect_uris:
            known = ", ".join(sorted(self.redirect_uris))
            raise Refused("invalid_request", f"redirect_uri must be one of: {known}.")

    @staticmethod
    def check_request(asked: Mapping[str, str]) -> None:
        """Check the rest of an authorization request; a failure is redirected to the console."""
        if asked.get("response_type") != "code":
            raise Refused("unsupported_response_type", "response_type must be code.")
        if asked.get("code_challenge_method") != "S256" or len(asked.get("code_challenge", "")) != 43:
            raise Refused("invalid_request", "A code_challenge with code_challenge_method S256 is needed.")
        if asked.get("prompt") == "none":
            raise Refused("login_required", "Nobody stays signed in here: ask without prompt=none.")

    def issue_code(self, person: Person, asked: Mapping[str, str]) -> str:
        """A code for one use within two minutes."""
        now = time.time()
        self._codes = {code: kept for code, kept in self._codes.items() if kept.expires_at > now}
        code = secrets.token_urlsafe(32)
        self._codes[code] = _Code(
            person=person,
            redirect_uri=asked["redirect_uri"],
            challenge=asked["code_challenge"],
            nonce=asked.get("nonce") or None,
            scope=asked.get("scope") or "openid",
            expires_at=now + CODE_SECONDS,
        )
        return code

    def redeem(self, form: Mapping[str, str]) -> dict[str, Any]:
        """The token response for a code; the code is spent even if the request fails."""
        if form.get("client_id") != CONSOLE_CLIENT:
            raise Refused("invalid_client", f"The only client here is {CONSOLE_CLIENT!r}.", 401)
        kept = self._codes.pop(form.get("code", ""), None)
        if kept is None or kept.expires_at < time.time():
            raise Refused("invalid_grant", "The code is unknown, used or expired: sign in again.")
        if form.get("redirect_uri") != kept.redirect_uri:
            raise Refused("invalid_grant", "redirect_uri must be the one the code was asked for with.")
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if not secrets.compare_digest(challenge, kept.challenge):
            raise Refused("invalid_grant", "code_verifier does not match the code_challenge.")
        return self.tokens(kept.person, client=CONSOLE_CLIENT, scope=kept.scope, nonce=kept.nonce)

    def direct(self, form: Mapping[str, str]) -> dict[str, Any]:
        """The token response for a username; a negative ``lifetime`` (seconds) gives expired tokens."""
        person = self.people.get(form.get("username", ""))
        if person is None:
            raise Refused("invalid_grant", f"username must be one of: {', '.join(self.people)}.")
        try:
            lifetime = int(form.get("lifetime") or TOKEN_SECONDS)
        except ValueError:
            raise Refused("invalid_request", "lifetime must be a whole number of seconds.") from None
        client = form.get("client_id") or "scripts"
        return self.tokens(person, client=client, scope=form.get("scope") or "openid", lifetime=lifetime)

    def tokens(
        self,
        person: Person,
        *,
        client: str,
        scope: str,
        nonce: str | None = None,
        lifetime: int = TOKEN_SECONDS,
    ) -> dict[str, Any]:
        """A token response: an access token for the platform's API and an id token for the client."""
        now = int(time.time())
        about = {
            "name": person.name,
            "email": person.email,
            "organization_id": person.organization_id,
            "organization_name": person.organization_name,
            "roles": [person.role],
        }
        issued = {"iss": self.issuer, "sub": person.username, "iat": now, "exp": now + lifetime}
        access = {**about, **issued, "aud": AUDIENCE, "client_id": client, "scope": scope, "jti": secrets.token_hex(16)}
        identity = {**about, **issued, "aud": client, "auth_time": now}
        if nonce is not None:
            identity["nonce"] = nonce
        return {
            "access_token": self._sign(access, "at+jwt"),
            "id_token": self._sign(identity, "JWT"),
            "token_type": "Bearer",
            "expires_in": lifetime,
            "scope": scope,
        }

    def user_info(self, token: str) -> dict[str, Any]:
        """Verified claims of an access token issued here."""
        try:
            decoded = jwt.decode(token, self._key, algorithms=[ALGORITHM])
            expected = {"aud": {"essential": True, "value": AUDIENCE}, "exp": {"essential": True}}
            jwt.JWTClaimsRegistry(**expected).validate(decoded.claims)  # type: ignore[arg-type]
        except (JoseError, ValueError):
            raise Refused("invalid_token", "The access token is missing, wrong or expired.", 401) from None
        kept = self.metadata()["claims_supported"]
        return {name: value for name, value in decoded.claims.items() if name in kept}

    def _sign(self, claims: dict[str, Any], kind: str) -> str:
        return jwt.encode({"alg": ALGORITHM, "kid": self._key.kid, "typ": kind}, claims, self._key)


router = APIRouter()


def _provider(request: Request) -> IdentityProvider:
    provider: IdentityProvider = request.app.state.provider
    return provider


Provider = Annotated[IdentityProvider, Depends(_provider)]


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)
    body = {"error": error.code, "error_description": error.description}
    return JSONResponse(body, error.status, {"cache-control": "no-store"})


@router.get("/livez")
async def _livez() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/.well-known/openid-configuration")
async def _metadata(provider: Provider) -> dict[str, Any]:
    return provider.metadata()


@router.get("/jwks.json")
async def _jwks(provider: Provider) -> dict[str, Any]:
    return provider.jwks()


@router.get("/authorize")
async def _ask(request: Request, provider: Provider) -> Response:
    asked = dict(request.query_params)
    try:
        provider.check_client(asked)
    except Refused as error:
        return _page("Sign-in cannot start", f"<p>{html.escape(error.description)}</p>", 400)
    try:
        provider.check_request(asked)
    except Refused as error:
        return _back(provider, asked, {"error": error.code, "error_description": error.description})
    return _page("Sign in", _choices(provider.people.values(), asked))


@router.post("/authorize")
async def _chosen(request: Request, provider: Provider) -> Response:
    asked = {name: value for name, value in (await request.form()).items() if isinstance(value, str)}
    person = provider.people.get(asked.get("username", ""))
    try:
        provider.check_client(asked)
        provider.check_request(asked)
    except Refused as error:
        return _page("Sign-in cannot start", f"<p>{html.escape(error.description)}</p>", 400)
    if person is None:
        return _back(provider, asked, {"error": "access_denied", "error_description": "Nobody was chosen."})
    return _back(provider, asked, {"code": provider.issue_code(person, asked)})


@router.post("/token")
async def _token(request: Request, provider: Provider, grant_type: Annotated[str, Form()] = "") -> JSONResponse:
    form = {name: value for name, value in (await request.form()).items() if isinstance(value, str)}
    if grant_type == "authorization_code":
        answer = provider.redeem(form)
    elif grant_type == "password":
        answer = provider.direct(form)
    else:
        raise Refused("unsupported_grant_type", "grant_type must be authorization_code or password.")
    return JSONResponse(answer, headers={"cache-control": "no-store"})


@router.get("/userinfo")
async def _user_info(provider: Provider, authorization: Annotated[str, Header()] = "") -> dict[str, Any]:
    return provider.user_info(authorization.removeprefix("Bearer "))


@router.get("/end-session")
async def _end_session(provider: Provider, post_logout_redirect_uri: str = "", state: str = "") -> Response:
    if not post_logout_redirect_uri:
        return _page("Signed out", "<p>You can close this page.</p>")
    if post_logout_redirect_uri not in provider.redirect_uris:
        return _page("Signed out", "<p>The page to go back to is not one of the console's.</p>", 400)
    query = "?" + urlencode({"state": state}) if state else ""
    return RedirectResponse(post_logout_redirect_uri + query, 303)


def create_app(provider: IdentityProvider) -> FastAPI:
    """The provider over HTTP."""
    app = FastAPI(title="Identity provider for development", docs_url=None, redoc_url=None)
    app.state.provider = provider
    app.include_router(router)
    app.add_exception_handler(Refused, _refused)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(provider.console_origins),
        allow_methods=["GET", "POST"],
        allow_headers=["authorization", "content-type"],
    )
    return app


def _back(provider: IdentityProvider, asked: Mapping[str, str], answer: dict[str, str]) -> RedirectResponse:
    answer["iss"] = provider.issuer
    if "state" in asked:
        answer["state"] = asked["state"]
    return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(answer)}", 303)


def _choices(people: Iterable[Person], asked: Mapping[str, str]) -> str:
    carried = "".join(
        f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
        for name, value in asked.items()
        if name != "username"
    )
    buttons = "".join(
        f'<li><button name="username" value="{person.username}"{_focus(person, asked)}>'
        f"<strong>{html.escape(person.name)}</strong> "
        f"<span>{_ROLE_IN_WORDS[person.role]}, {html.escape(person.organization_name)}</span></button></li>"
        for person in people
    )
    return (
        "<p>These people are invented, and nobody needs a password. Whom do you want to be?</p>"
        f'<form method="post" action="/authorize">{carried}<ul>{buttons}</ul></form>'
    )


def _focus(person: Person, asked: Mapping[str, str]) -> str:
    return " autofocus" if asked.get("login_hint") in {person.username, person.email} else ""


_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 0; display: grid; min-height: 100vh; place-items: center; background: Canvas; color: CanvasText; }
main { width: min(26rem, 100% - 2rem); }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; }
ul { list-style: none; padding: 0; display: grid; gap: .5rem; }
button { width: 100%; font: inherit; text-align: start; padding: .75rem 1rem; cursor: pointer; border-radius: 8px;
         border: 1px solid GrayText; background: ButtonFace; color: ButtonText; }
button span { display: block; }
button:hover { border-color: AccentColor; }
button:focus-visible { outline: 3px solid Highlight; outline-offset: 2px; }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()


def _page(title: str, content: str, status: int = 200) -> HTMLResponse:
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title} · Identity provider for development</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{title}</h1>{content}</main></body></html>"
    )
    # No form-action, which browsers would also apply to the following redirect.
    policy = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'none'; base-uri 'none'"
    return HTMLResponse(page, status, {"content-security-policy": policy, "cache-control": "no-store"})


def load_key(state: Path) -> ECKey:
    """The signing key of this state directory, created at the first start and readable only by its owner."""
    path = state / "identity-provider-key.json"
    if path.exists():
        return ECKey.import_key(json.loads(path.read_text()))
    state.mkdir(parents=True, exist_ok=True)
    made = ECKey.generate_key("P-256", private=True, auto_kid=True)
    fresh = path.with_suffix(".new")
    fresh.touch(0o600)
    fresh.write_text(json.dumps(made.as_dict(private=True)))
    fresh.replace(path)
    return made


def _origin(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path not in {"", "/"}:
        raise argparse.ArgumentTypeError("expected an origin such as http://localhost:8080")
    return text.rstrip("/")


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser("python -m local_stack.identity_provider", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8091)
    parser.add_argument("--state", type=Path, required=True, help="folder that keeps the signing key")
    parser.add_argument("--issuer", help="address that browsers see (default: http://localhost:PORT)")
    parser.add_argument(
        "--console-origin", type=_origin, action="append", required=True, help="origin of the console (repeatable)"
    )
    parser.add_argument("--churches", type=int, default=2, help="churches whose people can sign in (default: 2)")
    options = parser.parse_args()
    provider = IdentityProvider(
        issuer=(options.issuer or f"http://localhost:{options.port}").rstrip("/"),
        key=load_key(options.state),
        console_origins=options.console_origin,
        people=people_of(options.churches),
    )
    uvicorn.run(
        create_app(provider),
        host=options.host,
        port=options.port,
        log_level="warning",
        timeout_graceful_shutdown=2,
    )


if __name__ == "__main__":
    main()
