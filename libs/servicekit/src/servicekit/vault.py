"""Secrets at rest."""

from collections.abc import Sequence
from typing import Annotated

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import AfterValidator, SecretStr

_END = "\0"


def _fernet_keys(value: SecretStr) -> SecretStr:
    keys = keys_of(value)
    if not keys:
        raise ValueError("at least one Fernet key is needed")
    for key in keys:
        Fernet(key)  # raises ValueError: 32 url-safe base64-encoded bytes
    return value


FernetKeys = Annotated[SecretStr, AfterValidator(_fernet_keys)]
"""A setting: Fernet keys with commas between them. The first one encrypts, all of them decrypt."""


def keys_of(value: SecretStr) -> list[str]:
    """The keys of a setting, the current one first."""
    return [key.strip() for key in value.get_secret_value().split(",") if key.strip()]


class Vault:
    """Encrypts with the first key and decrypts with any, so that a new key can be put in front of the old ones.

    `open` raises `cryptography.fernet.InvalidToken` for a value whose key is no longer among them, or that is bound to
    another row.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    def seal(self, secret: str, *, row: str = "") -> bytes:
        """Encrypt. row: the id of the row that the value is bound to, so that it opens in no other."""
        return self._fernet.encrypt(f"{row}{_END}{secret}".encode() if row else secret.encode())

    def open(self, sealed: bytes, *, row: str = "") -> str:
        """Decrypt a value that was sealed for the same row."""
        secret = self._fernet.decrypt(sealed).decode()
        if not row:
            return secret
        whose, _, rest = secret.partition(_END)
        if whose != row:
            raise InvalidToken
        return rest

    def reseal(self, sealed: bytes) -> bytes:
        """Re-encrypt a secret under the current key."""
        return self._fernet.rotate(sealed)
