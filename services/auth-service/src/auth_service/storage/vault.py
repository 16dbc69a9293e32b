"""Secrets at rest."""

from collections.abc import Sequence

from cryptography.fernet import Fernet, MultiFernet


class Vault:
    """Encrypts with the first key and decrypts with any, so that a new key can be put in front of the old ones.

    `open` raises `cryptography.fernet.InvalidToken` for a value whose key is no longer among them.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    def seal(self, secret: str) -> bytes:
        """Encrypt."""
        return self._fernet.encrypt(secret.encode())

    def open(self, sealed: bytes) -> str:
        """Decrypt."""
        return self._fernet.decrypt(sealed).decode()

    def reseal(self, sealed: bytes) -> bytes:
        """Re-encrypt a secret under the current key."""
        return self._fernet.rotate(sealed)
