"""The remaining time of a run, as an honest range."""

import math
from dataclasses import dataclass

_FASTER = 1.25
_SLOWER = 0.75
"""Tolerance of the observed rate: a quarter in both directions."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The vendor's limits from the last headers."""

    limit: int
    """Requests per period."""
    period_seconds: float
    wait_seconds: float = 0.0
    """Seconds until the next request may be sent."""

    @property
    def per_second(self) -> float:
        """Requests per second that the vendor allows."""
        return self.limit / self.period_seconds


def eta(requests_left: int, *, requests_done: int, elapsed_seconds: float, pace: Pace | None) -> tuple[int, int] | None:
    """Whole seconds (low, high) until `requests_left` (or records) are done; None without a rate.

    `requests_done` in `elapsed_seconds` is the observed rate, best over the last minute or so.
    """
    if requests_left <= 0:
        return (0, 0)
    wait = pace.wait_seconds if pace else 0.0
    allowed = pace.per_second if pace else math.inf
    observed = requests_done / elapsed_seconds if requests_done > 0 and elapsed_seconds > 0 else None
    if observed is None:
        if pace is None:
            return None
        # Without an observed rate: at best the allowed one, and latency often halves that.
        fast, slow = allowed, allowed / 2
    else:
        fast, slow = min(allowed, observed * _FASTER), min(allowed, observed * _SLOWER)
    return (math.floor(wait + requests_left / fast), math.ceil(wait + requests_left / slow))


@dataclass(frozen=True, slots=True)
class Ahead:
    """Known work of the phases behind the one in progress."""

    seconds: tuple[float, float] = (0.0, 0.0)
    """Of our own work, at best and at worst."""
    requests: int = 0
    """Requests to send to Planning Center."""


def of_whole(phase: tuple[int, int] | None, ahead: Ahead, pace: Pace | None) -> tuple[int, int] | None:
    """Whole seconds (low, high) until the run ends, from those of its phase; None while they are unknown."""
    requests = eta(
        ahead.requests, requests_done=0, elapsed_seconds=0, pace=pace and Pace(pace.limit, pace.period_seconds)
    )
    if phase is None or requests is None:
        return None
    low, high = ahead.seconds
    return (phase[0] + math.floor(low) + requests[0], phase[1] + math.ceil(high) + requests[1])
