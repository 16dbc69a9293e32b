"""Waiting for conditions instead of sleeping, and a clock that stands still."""

import asyncio
import inspect
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

PATIENCE_SECONDS: Final = 60.0
"""How long a test waits for a condition on a busy machine. Only a test that fails waits so long."""


async def eventually(
    predicate: Callable[[], Any], *, within: float = PATIENCE_SECONDS, every: float = 0.05, because: str = ""
) -> Any:
    """The first truthy value of `predicate`, a plain or async function.

    every: seconds before the second check; the pauses grow up to three times that, because checks cost time too.
    AssertionError with its last value after `within` seconds. An AssertionError inside the predicate counts as not yet.
    """
    deadline = time.monotonic() + within
    pause, longest = every, 3 * every
    last: object = None
    while True:
        try:
            result = predicate()
            value = await result if inspect.isawaitable(result) else result
            if value:
                return value
            last = value
        except AssertionError as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s{because and ': '}{because} (last: {last!r})")
        await asyncio.sleep(pause)
        pause = min(1.2 * pause, longest)


class FakeClock:
    """A clock that moves only when told to."""

    def __init__(self, now: datetime = datetime(2026, 1, 5, 12, tzinfo=UTC)) -> None:
        self._now = now

    def now(self) -> datetime:
        """The clock's present instant."""
        return self._now

    def advance(self, by: timedelta | float) -> None:
        """Move forward, by a timedelta or by seconds."""
        self._now += by if isinstance(by, timedelta) else timedelta(seconds=by)
