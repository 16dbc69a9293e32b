"""When the occurrences of a series are: the same time of day on the church's clock, across ends of DST."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from dateutil.rrule import DAILY, MONTHLY, WEEKLY, rrule, weekday

Repeats = Literal["daily", "weekly", "monthly", "monthly_by_weekday"]

MOST = 2_000
"""Bound of a series."""
_FREQUENCIES = {"daily": DAILY, "weekly": WEEKLY, "monthly": MONTHLY, "monthly_by_weekday": MONTHLY}
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_ORDINALS = ("first", "second", "third", "fourth", "last")


@dataclass(frozen=True, slots=True)
class Rule:
    """How a series repeats; `until` is the last possible day. One of `count` and `until` bounds it."""

    repeats: Repeats
    interval: int = 1
    count: int | None = None
    until: date | None = None

    def __post_init__(self) -> None:
        if self.repeats not in _FREQUENCIES:
            raise ValueError(f"a series repeats {', '.join(_FREQUENCIES)}, not {self.repeats}")
        if not 1 <= self.interval <= 366:
            raise ValueError("an interval is between 1 and 366")
        if (self.count is None) == (self.until is None):
            raise ValueError("a series needs either a count or a last day")
        if self.count is not None and not 1 <= self.count <= MOST:
            raise ValueError(f"a count is between 1 and {MOST}")

    def starts(self, first: datetime) -> Iterator[datetime]:
        """Local times without a zone, from the first on; a month that lacks the day is skipped."""
        by_weekday = None
        if self.repeats == "monthly_by_weekday":
            by_weekday = weekday(first.weekday(), _ordinal(first.date()))
        found = rrule(
            _FREQUENCIES[self.repeats],
            dtstart=first,
            interval=self.interval,
            count=self.count,
            until=None if self.until is None else datetime.combine(self.until, time.max),
            byweekday=by_weekday,
        )
        for number, start in enumerate(found):
            if number == MOST:
                return
            yield start

    def words(self, first: datetime) -> tuple[str, str, str]:
        """`recurrence`, `recurrence_description`, `compact_recurrence_description`.

        `recurrence` is coarse: every second week is `Weekly` as well (public code of a church's site); the words of
        the descriptions are unconfirmed.
        """
        unit, recurrence = {"daily": ("day", "Daily"), "weekly": ("week", "Weekly")}.get(
            self.repeats, ("month", "Monthly")
        )
        every = f"Every {unit}" if self.interval == 1 else f"Every {self.interval} {unit}s"
        match self.repeats:
            case "weekly":
                every += f" on {_DAYS[first.weekday()]}"
            case "monthly":
                every += f" on day {first.day}"
            case "monthly_by_weekday":
                nth = _ordinal(first.date())
                every += f" on the {_ORDINALS[-1 if nth < 0 else nth - 1]} {_DAYS[first.weekday()]}"
        end = f"{self.count} times" if self.count is not None else f"until {self.until:%B %-d, %Y}"
        return recurrence, f"{every}, {end}", every


def _ordinal(day: date) -> int:
    """Which weekday of its month a day is; -1 for a fifth one."""
    nth = (day.day - 1) // 7 + 1
    return -1 if nth == 5 else nth


def at(local: datetime, zone: ZoneInfo) -> datetime:
    """UTC of a local time. One that DST skips is as much later as the clock was advanced; of one that occurs twice
    the first is meant."""
    return local.replace(tzinfo=zone, fold=0).astimezone(UTC)


def local(instant: datetime, zone: ZoneInfo) -> datetime:
    """The church's clock at an instant, without its zone."""
    return instant.astimezone(zone).replace(tzinfo=None)


def day_span(first: date, last: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Whole days, the last one included: from local midnight to local midnight, in UTC."""
    return at(datetime.combine(first, time.min), zone), at(datetime.combine(last + timedelta(days=1), time.min), zone)
