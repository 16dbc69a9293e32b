"""Time as a value that tests can set."""

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
