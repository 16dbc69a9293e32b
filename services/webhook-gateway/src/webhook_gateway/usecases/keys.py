"""The keys of called addresses, kept in memory for some seconds."""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Iterator
from datetime import datetime
from typing import Final

import structlog
from cryptography.fernet import InvalidToken

from servicekit.db.sessions import Sessions
from servicekit.errors import TooMany
from servicekit.vault import Vault
from webhook_gateway.identity.limits import Limit
from webhook_gateway.storage import keys
from webhook_gateway.storage.keys import Key, SealedSecret

FRESH_SECONDS: Final = 10.0
"""A key that was retired, or whose secrets were changed elsewhere, is noticed after this time at the latest."""
RELOAD_SECONDS: Final = 1.0
"""After a wrong signature the secrets are read again, at most this often per key."""
REMEMBERED: Final = 20_000
"""Two for each of 10,000 churches."""

log = structlog.get_logger(__name__)


class OpenKey:
    """A key whose secrets are decrypted when they are first needed, since that costs more than a signature."""

    def __init__(self, key: Key, vault: Vault, before: "OpenKey | None" = None) -> None:
        self.key = key
        self.loaded = time.monotonic()
        self._vault = vault
        known: dict[bytes, str | None] = before.opened if before is not None else {}
        sealed = {secret.sealed for secret in key.secrets}
        self.opened: dict[bytes, str | None] = {one: known[one] for one in sealed & known.keys()}
        """Decrypted secrets; None for one that cannot be."""

    def secrets(self, name: str, now: datetime) -> Iterator[tuple[SealedSecret, str]]:
        """The secrets that are valid now, those of the event name first."""
        for secret in sorted(self.key.secrets, key=lambda secret: secret.name != name):
            if secret.until is not None and secret.until <= now:
                continue
            opened = self._open(secret)
            if opened is not None:
                yield secret, opened

    def _open(self, secret: SealedSecret) -> str | None:
        if secret.sealed not in self.opened:
            try:
                self.opened[secret.sealed] = self._vault.open(secret.sealed, row=str(secret.subscription_id))
            except InvalidToken:
                log.exception("a subscription's secret cannot be decrypted", subscription=str(secret.subscription_id))
                self.opened[secret.sealed] = None
        return self.opened[secret.sealed]


class Keys:
    """The keys that were called lately. Unknown ones are not remembered: a limit per address bounds the looks."""

    def __init__(self, sessions: Sessions, vault: Vault, guesses_per_minute: int) -> None:
        self._sessions = sessions
        self._vault = vault
        self._guesses = Limit("Your network address", guesses_per_minute)
        self._known: OrderedDict[bytes, OpenKey] = OrderedDict()
        self._loading: dict[bytes, asyncio.Task[OpenKey | None]] = {}
        self._hashes: frozenset[bytes] = frozenset()
        self._listed = -math.inf
        self._listing = asyncio.Lock()

    async def find(self, hashed: bytes, subscriber: str) -> OpenKey | None:
        """The key with this hash. TooMany once an address has guessed too often.

        SQLAlchemyError or OSError while the database is away.
        """
        known = self._known.get(hashed)
        if known is None:
            await self._admit(hashed, subscriber)
        elif time.monotonic() - known.loaded < FRESH_SECONDS:
            self._known.move_to_end(hashed)
            return known
        found = await self._load(hashed)
        if found is None:
            self._guesses.count(subscriber)
        return found

    async def _admit(self, hashed: bytes, subscriber: str) -> None:
        """TooMany if the address has guessed too often and this is one more guess."""
        try:
            self._guesses.check(subscriber)
        except TooMany:
            # Planning Center itself may be made to guess, from the addresses that it also calls churches' keys from.
            if hashed not in await self._every():
                raise

    async def _every(self) -> frozenset[bytes]:
        """The hashes of all keys, some seconds old at most."""
        async with self._listing:
            if time.monotonic() - self._listed > FRESH_SECONDS:
                async with self._sessions() as session:
                    self._hashes = await keys.hashes(session)
                self._listed = time.monotonic()
            return self._hashes

    async def again(self, hashed: bytes, before: OpenKey) -> OpenKey | None:
        """The key as the database has it now; None if it was looked up too short a time ago."""
        known = self._known.get(hashed, before)
        if known is not before:
            return known
        if time.monotonic() - before.loaded < RELOAD_SECONDS:
            return None
        return await self._load(hashed)

    async def _load(self, hashed: bytes) -> OpenKey | None:
        """Look once for all who ask at the same time."""
        task = self._loading.get(hashed)
        if task is None:
            task = self._loading[hashed] = asyncio.create_task(self._read(hashed))
            task.add_done_callback(lambda _: self._loading.pop(hashed, None))
        return await asyncio.shield(task)

    async def _read(self, hashed: bytes) -> OpenKey | None:
        async with self._sessions() as session:
            found = await keys.find(session, hashed)
        if found is None:
            self._known.pop(hashed, None)
            return None
        opened = self._known[hashed] = OpenKey(found, self._vault, self._known.get(hashed))
        self._known.move_to_end(hashed)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return opened
