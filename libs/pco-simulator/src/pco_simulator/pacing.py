"""The vendor's rate limit: requests of one person, over all applications, in a sliding window.

Refused calls count as well, so a client that hammers stays refused.
"""

import math
import time
from collections import deque
from dataclasses import dataclass

from pco_simulator.settings import Settings


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on one more request of a person."""

    count: int
    limit: int
    """0: no limit."""
    period: int
    retry_after: int | None
    """Whole seconds until a request is served again if none is sent before; None when this one is served."""


class Pacer:
    """Counts requests per person. Windows live on the monotonic clock: skew and restarts do not touch them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._windows: dict[tuple[str, str], deque[float]] = {}

    def count(self, person: tuple[str, str], offset: int) -> Verdict:
        """Record a request of `person` (organization id, person id) for a page at `offset` and judge it."""
        settings = self._settings
        limit, period = settings.rate_limit, settings.rate_period_seconds
        if limit and settings.deep_offset_limit and offset > settings.deep_offset:
            limit = min(limit, settings.deep_offset_limit)
        now = time.monotonic()
        window = self._windows.get(person)
        if window is None:
            window = self._windows[person] = deque()
        while window and window[0] <= now - period:
            window.popleft()
        window.append(now)
        count = len(window)
        if not limit or count <= limit:
            return Verdict(count, limit, period, None)
        # The next request fits as soon as at most `limit - 1` of the present ones remain in the window.
        free_at = window[count - limit] + period
        return Verdict(count, limit, period, max(1, math.ceil(round(free_at - now, 6))))

    def reset(self) -> None:
        """Forget every window."""
        self._windows.clear()
