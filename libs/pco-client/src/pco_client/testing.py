"""For tests: an event loop with a virtual clock, and a lease source without auth-service."""

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from pco_client.client import Lease, Secret

_T = TypeVar("_T")


class FixedLeases:
    """A `LeaseSource` that hands out given tokens in turn, one per generation; the last one stays."""

    def __init__(self, *tokens: str, pco_user_id: str = "1", life: timedelta = timedelta(hours=2)) -> None:
        self.tokens = list(tokens or ("token",))
        self.pco_user_id = pco_user_id
        self.life = life
        self.asked: list[int | None] = []
        """The `failed_generation` of every call."""

    async def lease(self, failed_generation: int | None) -> Lease:
        self.asked.append(failed_generation)
        generation = min((failed_generation or 0) + 1, len(self.tokens))
        return Lease(
            token=Secret(self.tokens[generation - 1]),
            expires_at=datetime.now(UTC) + self.life,
            generation=generation,
            pco_user_id=self.pco_user_id,
        )


class _Selector(selectors.SelectSelector):
    """A selector that never waits: it adds the timeout to the virtual clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events:
            if timeout is None:
                raise RuntimeError("nothing will ever happen: every task waits for another")
            self.now += max(timeout, 0.0)
        return events


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock starts at 0 and jumps to the next timer. Not for real sockets or threads."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def run_in_virtual_time(main: Coroutine[Any, Any, _T]) -> _T:
    """`asyncio.run` on a `VirtualTimeLoop`: minutes of waiting take milliseconds."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
