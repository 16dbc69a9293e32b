"""Time as a value that tests can set."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """The wall clock. Leases use the database's own clock instead, never this one."""

    def now(self) -> datetime:
        """The present instant, aware, in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The present instant, aware, in UTC."""
        return datetime.now(UTC)


def elapsed() -> float:
    """Seconds since some fixed instant, for leases. It also counts while the process or the machine is suspended.

    `time.monotonic` stands still on Linux while the machine sleeps, so an expired lease would still look valid.
    """
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
