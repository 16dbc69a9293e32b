"""Whatever an Authorization header holds, it proves who asks or is a 401."""

import base64
import json
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import HTTPConnection

from servicekit.errors import Unauthorized
from servicekit.http.auth import Verifier, internal_identity, service_identity
from servicekit.settings import ServiceSettings
from servicekit.testing import KeyRing


class Settings(ServiceSettings):
    service_name = "people-sync"


KEYS = KeyRing()
APP = FastAPI()
APP.state.verifier = Verifier(KEYS.settings(Settings, database_url="postgresql+asyncpg://none", kafka="none"))
SIGNATURE = KEYS.user_token("people-sync").rpartition(".")[2]


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


names = st.sampled_from(
    ["alg", "kid", "typ", "crit", "b64", "jwk", "jku", "x5c", "iss", "aud", "exp", "iat", "sub", "nbf"]
)
known = st.sampled_from(
    ["EdDSA", "Ed25519", "none", "HS256", "webhook-gateway", "auth-service", "user+jwt", "b64", 10**400]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | known
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=6))
parts = (
    values.map(part)
    | st.text(max_size=8)
    | st.just(SIGNATURE)
    | st.just(part({"alg": "EdDSA", "kid": "webhook-gateway"}))
)
tokens = st.lists(parts, max_size=5).map(".".join)
headers = st.builds("{} {}".format, st.sampled_from(["Bearer", "bearer", "Basic", ""]), tokens) | st.text(max_size=20)


def refuses(header: bytes) -> None:
    connection = HTTPConnection({"type": "http", "headers": [(b"authorization", header)], "app": APP})
    for who in (internal_identity, service_identity({"auth-service"})):
        with pytest.raises(Unauthorized):
            next(who(connection).__await__())  # up to its first wait: all is judged before


@given(headers)
def test_a_header_that_proves_nothing_is_a_401(header: str) -> None:
    refuses(header.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    "text",
    [
        '["alg"]',
        str(10**400),
        "1e999",
        "NaN",
        '"alg"',
        "null",
        "[" * 40_000,
        '{"alg":' * 10_000,
        '{"kid": ["webhook-gateway"]}',
    ],
)
def test_a_part_that_is_no_object_is_a_401(text: str) -> None:
    encoded = base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()
    good = KEYS.user_token("people-sync").split(".")
    for position in range(3):
        refuses(f"Bearer {'.'.join([*good[:position], encoded, *good[position + 1 :]])}".encode())
