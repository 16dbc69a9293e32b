"""Planning Center's signature of a delivery: lower-case hex HMAC-SHA256 over the bytes of the body (pco-api.md 6.3)."""

import hmac
from collections.abc import Iterable
from typing import Final, TypeVar

HEADER: Final = "x-pco-webhooks-authenticity"
NAME_HEADER: Final = "x-pco-webhooks-name"
"""The event name, which tells the subscription. Not covered by the signature."""

S = TypeVar("S")


def sign(body: bytes, secret: str) -> bytes:
    """The signature of a body."""
    return hmac.digest(secret.encode(), body, "sha256").hex().encode()


def signer(body: bytes, signature: bytes, secrets: Iterable[tuple[S, str]]) -> S | None:
    """Whose secret signed the body; None if nobody's. Each comparison takes the same time, however much is right."""
    for whose, secret in secrets:
        if hmac.compare_digest(sign(body, secret), signature):
            return whose
    return None
