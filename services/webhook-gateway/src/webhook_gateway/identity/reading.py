"""Rereading of documents that another party publishes and seldom changes."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

AT_MOST_EVERY_SECONDS: Final = 5


class Reading:
    """One read at a time for all callers, and none within five seconds of the one before."""

    def __init__(self, read: Callable[[], Awaitable[None]]) -> None:
        self._read = read
        self._task: asyncio.Future[None] | None = None
        self.tried_at = float("-inf")

    def begin(self) -> asyncio.Future[None]:
        """Start a read if it is due. Await the result only if the needed value is unknown without it."""
        now = time.monotonic()
        if self._task is None or (self._task.done() and now - self.tried_at > AT_MOST_EVERY_SECONDS):
            self.tried_at = now
            self._task = asyncio.ensure_future(self._read())
        # A cancelled caller must not cancel the read for the others.
        return asyncio.shield(self._task)
