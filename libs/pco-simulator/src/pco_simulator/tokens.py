"""Applications, personal access tokens, consents and tokens, persistent across restarts.

Memory is primary; every change is written through to one SQLite file, so a SIGKILL loses no answered write.
Secrets are stored in plain text: they guard no real data.
"""

import hashlib
import secrets
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson
from joserfc.jwk import RSAKey

from pco_simulator.exchange import Caller
from pco_simulator.world import Login, World

FILE = "oauth.sqlite3"
_SCOPE_NAMES = """
    api calendar check_ins giving groups home openid people publishing registrations resources services webhooks
"""
SCOPES = frozenset(_SCOPE_NAMES.split())
"""The scopes that discovery lists, and `webhooks`, which clients request although discovery omits it."""

_KEEP_DEAD_SECONDS = 86_400


@dataclass(slots=True)
class Client:
    """An OAuth application."""

    id: str
    secret: str | None
    """None: a public client, which must use PKCE."""
    redirect_uris: list[str]
    name: str


@dataclass(slots=True)
class PersonalAccessToken:
    """Credentials for HTTP Basic; they act for the person who made them, with every scope."""

    id: str
    secret: str
    organization_id: str
    person_id: str
    name: str


@dataclass(slots=True)
class Grant:
    """A person's consent to an application. It ends when both its tokens are gone, or by a later consent."""

    id: str
    client_id: str
    organization_id: str
    person_id: str
    scopes: list[str]
    created_at: float


@dataclass(slots=True)
class AuthorizationCode:
    """An authorization code: single use, short-lived."""

    id: str
    grant_id: str
    redirect_uri: str
    expires_at: float
    code_challenge: str | None
    nonce: str | None
    used: bool = False


@dataclass(slots=True)
class Token:
    """An access or a refresh token. Times are seconds since the epoch on the real clock."""

    id: str
    kind: Literal["access", "refresh"]
    grant_id: str
    pair: str
    """Shared by an access token and the refresh token issued with it."""
    created_at: float
    expires_at: float
    revoked: bool = False

    def state(self) -> Literal["live", "expired", "revoked"]:
        """State of the token; revocation wins over expiry."""
        if self.revoked:
            return "revoked"
        return "live" if time.time() < self.expires_at else "expired"


def derived(seed: int, *names: str) -> str:
    """A credential derived from the seed, so that launchers can compute it: 64 hex digits."""
    return hashlib.sha256("/".join(("pco-simulator", str(seed), *names)).encode()).hexdigest()


@dataclass(slots=True)
class _Tables:
    clients: dict[str, Client] = field(default_factory=dict)
    personal_access_tokens: dict[str, PersonalAccessToken] = field(default_factory=dict)
    grants: dict[str, Grant] = field(default_factory=dict)
    codes: dict[str, AuthorizationCode] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)


_ROW_TYPES: dict[str, type[Any]] = {
    "clients": Client,
    "personal_access_tokens": PersonalAccessToken,
    "grants": Grant,
    "codes": AuthorizationCode,
    "tokens": Token,
}


class TokenStore:
    """All credentials and consents."""

    def __init__(self, state_dir: Path | None, world: World, seed: int) -> None:
        self._world = world
        self._tables = _Tables()
        self._callers: dict[str, Caller] = {}
        database = ":memory:" if state_dir is None else str(state_dir / FILE)
        self._db = sqlite3.connect(database, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("CREATE TABLE IF NOT EXISTS rows (kind TEXT, id TEXT, value BLOB, PRIMARY KEY (kind, id))")
        for kind, id_, value in self._db.execute("SELECT kind, id, value FROM rows WHERE kind != 'key'"):
            getattr(self._tables, kind)[id_] = _ROW_TYPES[kind](**orjson.loads(value))
        self.signing_key = self._load_key()
        self._prune()
        for login in world.logins:
            self._ensure_personal_access_token(login, seed)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # -- applications ---------------------------------------------------------------------------------------

    @property
    def clients(self) -> dict[str, Client]:
        """By client id."""
        return self._tables.clients

    @property
    def personal_access_tokens(self) -> dict[str, PersonalAccessToken]:
        """By client id."""
        return self._tables.personal_access_tokens

    @property
    def grants(self) -> dict[str, Grant]:
        """By id."""
        return self._tables.grants

    def register_client(self, client: Client) -> None:
        """Add an application or replace the one with this id."""
        self._tables.clients[client.id] = client
        self._save("clients", client)

    def add_personal_access_token(self, token: PersonalAccessToken) -> None:
        """Add credentials or replace those with this id."""
        self._tables.personal_access_tokens[token.id] = token
        self._callers.clear()
        self._save("personal_access_tokens", token)

    # -- consents -------------------------------------------------------------------------------------------

    def consent(
        self,
        client: Client,
        login: Login,
        scopes: Iterable[str],
        *,
        redirect_uri: str,
        lifetime: float,
        code_challenge: str | None,
        nonce: str | None,
        ends_earlier: bool,
    ) -> AuthorizationCode:
        """A person allowed an application: a new grant and its code."""
        now = time.time()
        if ends_earlier:
            for grant in list(self._tables.grants.values()):
                if (grant.client_id, grant.organization_id, grant.person_id) == (
                    client.id,
                    login.organization_id,
                    login.person_id,
                ):
                    self.end_grant(grant.id)
        grant = Grant(secrets.token_hex(8), client.id, login.organization_id, login.person_id, sorted(scopes), now)
        self._tables.grants[grant.id] = grant
        self._save("grants", grant)
        code = AuthorizationCode(
            secrets.token_urlsafe(32), grant.id, redirect_uri, now + lifetime, code_challenge, nonce
        )
        self._tables.codes[code.id] = code
        self._save("codes", code)
        return code

    def code(self, value: str) -> AuthorizationCode | None:
        """The code as issued, used ones included."""
        return self._tables.codes.get(value)

    def use_code(self, code: AuthorizationCode) -> None:
        """Mark a code as used."""
        code.used = True
        self._save("codes", code)

    # -- tokens ---------------------------------------------------------------------------------------------

    def issue(
        self, grant: Grant, *, access_seconds: float, refresh_seconds: float, ended: Iterable[Token] = ()
    ) -> tuple[Token, Token]:
        """Issue a pair, access and refresh token; the `ended` ones die in the same transaction."""
        now, pair = time.time(), secrets.token_hex(8)
        access = Token(secrets.token_urlsafe(32), "access", grant.id, pair, now, now + access_seconds)
        refresh = Token(secrets.token_urlsafe(32), "refresh", grant.id, pair, now, now + refresh_seconds)
        with _transaction(self._db):
            self.revoke(ended)
            for token in (access, refresh):
                self._tables.tokens[token.id] = token
                self._save("tokens", token)
        return access, refresh

    def token(self, value: str) -> Token | None:
        """A token by its value; dead tokens are found for a day."""
        return self._tables.tokens.get(value)

    def tokens_of(self, grant_id: str) -> list[Token]:
        """All tokens of a grant, oldest first."""
        return [token for token in self._tables.tokens.values() if token.grant_id == grant_id]

    def pair_of(self, token: Token) -> list[Token]:
        """The access and the refresh token that were issued together."""
        return [other for other in self.tokens_of(token.grant_id) if other.pair == token.pair]

    def revoke(self, tokens: Iterable[Token]) -> None:
        """Revoke tokens now."""
        with _transaction(self._db):
            for token in tokens:
                token.revoked = True
                self._save("tokens", token)

    def expire(self, tokens: Iterable[Token]) -> None:
        """Expire tokens now."""
        with _transaction(self._db):
            for token in tokens:
                token.expires_at = min(token.expires_at, time.time())
                self._save("tokens", token)

    def end_grant(self, grant_id: str) -> None:
        """Revoke every token of a consent and use up its codes."""
        self.revoke(self.tokens_of(grant_id))
        for code in self._tables.codes.values():
            if code.grant_id == grant_id and not code.used:
                self.use_code(code)

    # -- callers --------------------------------------------------------------------------------------------

    def caller_by_basic(self, client_id: str, secret: str) -> Caller | None:
        """The caller behind a personal access token."""
        token = self._tables.personal_access_tokens.get(client_id)
        if token is None or not secrets.compare_digest(token.secret.encode(), secret.encode()):
            return None
        caller = self._callers.get(client_id)
        if caller is None:
            caller = self._callers[client_id] = Caller(
                token.organization_id, token.person_id, token.id, "HTTPBasic", SCOPES
            )
        return caller

    def caller_by_grant(self, grant_id: str) -> Caller:
        """The caller behind a consent."""
        caller = self._callers.get(grant_id)
        if caller is None:
            grant = self._tables.grants[grant_id]
            caller = self._callers[grant_id] = Caller(
                grant.organization_id, grant.person_id, grant.client_id, "OAuth2", frozenset(grant.scopes)
            )
        return caller

    # -- storage --------------------------------------------------------------------------------------------

    def _ensure_personal_access_token(self, login: Login, seed: int) -> None:
        names = (login.organization_id, login.person_id)
        id_ = derived(seed, "personal-access-token", *names)
        if id_ not in self._tables.personal_access_tokens:
            secret = f"pco_pat_{derived(seed, 'personal-access-token-secret', *names)}"
            self.add_personal_access_token(PersonalAccessToken(id_, secret, *names, login.name))

    def _load_key(self) -> RSAKey:
        row = self._db.execute("SELECT value FROM rows WHERE kind = 'key'").fetchone()
        if row is not None:
            return RSAKey.import_key(orjson.loads(row[0]))
        key = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, private=True, auto_kid=True)
        self._db.execute("INSERT INTO rows VALUES ('key', 'signing', ?)", (orjson.dumps(key.as_dict(private=True)),))
        return key

    def _save(self, kind: str, row: Any) -> None:
        self._db.execute("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", (kind, row.id, orjson.dumps(asdict(row))))

    def _prune(self) -> None:
        """Delete codes and tokens a day after their expiry."""
        cutoff = time.time() - _KEEP_DEAD_SECONDS
        with _transaction(self._db):
            for kind in ("codes", "tokens"):
                table: dict[str, Any] = getattr(self._tables, kind)
                for id_ in [id_ for id_, row in table.items() if row.expires_at < cutoff]:
                    del table[id_]
                    self._db.execute("DELETE FROM rows WHERE kind = ? AND id = ?", (kind, id_))


class _transaction:  # noqa: N801 - reads as a statement
    """A transaction around several writes; a process killed in between leaves none of them."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._outermost = not db.in_transaction

    def __enter__(self) -> None:
        if self._outermost:
            self._db.execute("BEGIN")

    def __exit__(self, kind: object, *_: object) -> None:
        if self._outermost:
            self._db.execute("COMMIT" if kind is None else "ROLLBACK")
