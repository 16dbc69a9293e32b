"""A bearer token of any content authenticates a person or is a 401, and only access tokens authenticate."""

import base64
import json
import time
from typing import Any

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey
from pydantic import ValidationError

from servicekit.errors import Unauthorized
from servicekit.testing import KeyRing
from webhook_gateway.config import Settings
from webhook_gateway.identity.bearer import Key, TokenVerifier

KEY = ECKey.generate_key("P-256", {"kid": "one"})
CLAIMS = {"iss": "https://id.example", "aud": "api", "sub": "ada", "organization_id": "o"}


class Keys:
    async def key(self, kid: str) -> Key | None:
        return KEY if kid == "one" else None


VERIFIER = TokenVerifier(Keys(), issuer="https://id.example", audience="api", kind="at+jwt")  # type: ignore[arg-type]


def token(typ: str | None = "at+jwt", /, **claims: Any) -> str:
    header = {"alg": "ES256", "kid": "one"} | ({} if typ is None else {"typ": typ})
    return jwt.encode(header, CLAIMS | {"exp": int(time.time()) + 60} | claims, KEY)


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


names = st.sampled_from(
    ["alg", "kid", "typ", "crit", "b64", "jwk", "iss", "aud", "exp", "sub", "nbf", "organization_id"]
)
known = st.sampled_from(["ES256", "RS256", "none", "HS256", "one", "at+jwt", "api", "b64", 10**400])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | known
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=6))
parts = values.map(part) | st.text(max_size=8) | st.just(part({"alg": "ES256", "kid": "one", "typ": "at+jwt"}))


@given(st.lists(parts, max_size=5).map(".".join))
async def test_an_invalid_token_is_a_401(token: str) -> None:
    with pytest.raises(Unauthorized):
        await VERIFIER.verify(token)


@given(st.dictionaries(names, values, max_size=6))
async def test_claims_of_any_shape_are_a_person_or_a_401(claims: dict[str, Any]) -> None:
    """Tokens signed by the provider with malformed claims."""
    try:
        caller = await VERIFIER.verify(token(**claims))
    except Unauthorized:
        return
    assert caller.expires_at > 0


@pytest.mark.parametrize(
    "text", ['["alg"]', str(10**400), "NaN", "null", "[" * 11_000, '{"kid": ["one"], "alg": "ES256"}']
)
async def test_a_part_that_is_no_object_is_a_401(text: str) -> None:
    encoded = base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()
    good = token().split(".")
    for position in range(3):
        with pytest.raises(Unauthorized):
            await VERIFIER.verify(".".join([*good[:position], encoded, *good[position + 1 :]]))


async def test_only_an_access_token_authenticates() -> None:
    for typ in ("at+jwt", "AT+JWT", "application/at+jwt"):
        assert (await VERIFIER.verify(token(typ))).identity.user_id == "ada"
    for wrong in (None, "JWT", "jwt", "id+jwt", "logout+jwt", "user+jwt"):
        with pytest.raises(Unauthorized):
            await VERIFIER.verify(token(wrong))
    with pytest.raises(Unauthorized):
        await VERIFIER.verify(token(aud="console"))


def test_an_audience_that_id_tokens_have_is_refused_at_the_start() -> None:
    address = "http://localhost:1"
    names = ("auth_service_url", "people_sync_url", "conflict_service_url", "calendar_sync_url")
    addresses = dict.fromkeys((*names, "identity_issuer", "identity_jwks_url"), address)
    with pytest.raises(ValidationError, match="ID tokens"):
        KeyRing().settings(
            Settings,
            database_url="postgresql+asyncpg://none",
            kafka="none",
            identity_audience="console",
            console_client_id="console",
            webhook_encryption_keys=Fernet.generate_key().decode(),
            **addresses,
        )
