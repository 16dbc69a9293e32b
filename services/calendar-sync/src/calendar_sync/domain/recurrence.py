"""Rules of series: iCalendar's RRULE (RFC 5545, 3.3.10), as far as a church calendar needs it.

One rule has at most `LARGEST_SERIES` occurrences and ends within `LONGEST_YEARS`. It begins with the event itself: what
a rule means that leaves out its own start, RFC 5545 does not say, and programs differ.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from dateutil import rrule

from contracts.http.calendar import LARGEST_SERIES

LONGEST_YEARS: Final = 10
_LONGEST: Final = timedelta(days=366 * LONGEST_YEARS)
_TOO_LONG: Final = f"ends after more than {LONGEST_YEARS} years: end it earlier"
_FREQUENCIES: Final[Mapping[str, int]] = {
    "DAILY": rrule.DAILY,
    "WEEKLY": rrule.WEEKLY,
    "MONTHLY": rrule.MONTHLY,
    "YEARLY": rrule.YEARLY,
}
_DAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_DAY: Final = re.compile(r"([+-]?[0-9]{1,2})?(MO|TU|WE|TH|FR|SA|SU)")
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,3}")
_UNTIL_DAY: Final = re.compile(r"[0-9]{8}")
_UNTIL_INSTANT: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_ONE_PERIOD: Final = {rrule.MONTHLY: 12 * 9999, rrule.YEARLY: 9999}
"""Intervals so long that only the first period lies before the year 10000, where dateutil ends."""


class UnacceptableRule(ValueError):
    """A rule that cannot be taken; the text says why, to follow the field's name."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that is read. Its text is as stored and published."""

    text: str
    frequency: int
    interval: int
    count: int | None
    until: date | datetime | None
    """The last day, or the last instant (UTC) at which an occurrence may begin."""
    filters: Mapping[str, Any]
    """As dateutil names them."""


def read_rule(text: str) -> Rule:
    """Read a rule, with or without `RRULE:`. UnacceptableRule."""
    given: dict[str, str] = {}
    for part in text.upper().removeprefix("RRULE:").split(";"):
        name, equals, value = part.partition("=")
        if not equals or not value:
            raise UnacceptableRule("is no rule: write it as FREQ=WEEKLY;COUNT=10")
        if name in given:
            raise UnacceptableRule(f"names {name} twice")
        if name not in _PARTS:
            raise UnacceptableRule(f"has an unknown part: leave it to {', '.join(_PARTS)}")
        given[name] = value
    if "FREQ" not in given:
        raise UnacceptableRule("needs FREQ: DAILY, WEEKLY, MONTHLY or YEARLY")
    if "COUNT" in given and "UNTIL" in given:
        raise UnacceptableRule("has COUNT and UNTIL: send one of them")
    if "COUNT" not in given and "UNTIL" not in given:
        raise UnacceptableRule("never ends: add COUNT, the number of occurrences, or UNTIL, the last day")
    values = {name: _PARTS[name](given[name]) for name in _PARTS if name in given}
    frequency = values["FREQ"]
    _check(frequency, values)
    names = {"BYMONTH": "bymonth", "BYMONTHDAY": "bymonthday", "BYDAY": "byweekday", "BYSETPOS": "bysetpos"}
    filters = {keyword: values[name] for name, keyword in names.items() if name in values}
    return Rule(
        text=";".join(f"{name}={given[name]}" for name in _PARTS if name in given),
        frequency=frequency,
        interval=values.get("INTERVAL", 1),
        count=values.get("COUNT"),
        until=values.get("UNTIL"),
        filters=filters | {"wkst": values.get("WKST", 0)},
    )


def starts(rule: Rule, first: datetime, at: Callable[[datetime], datetime]) -> list[datetime]:
    """The local starts of all occurrences, the first one included. UnacceptableRule.

    first: naive, in whole seconds. at: gives the instant (UTC) of a local time, for an `UNTIL` that is an instant.
    """
    if not _begins_with(rule, first):
        raise UnacceptableRule("does not begin with the event: let the event begin on the first day of the rule")
    if rule.until is not None and _day(rule.until) > (first + _LONGEST).date():
        raise UnacceptableRule(_TOO_LONG)
    found = []
    for start in _all(rule, first):
        if rule.until is not None and (at(start) if isinstance(rule.until, datetime) else start.date()) > rule.until:
            break
        if start - first > _LONGEST:
            raise UnacceptableRule(_TOO_LONG)
        found.append(start)
        if len(found) > LARGEST_SERIES:
            raise UnacceptableRule(f"has more than {LARGEST_SERIES} occurrences: end it earlier")
    if len(found) < (rule.count or 0):
        raise UnacceptableRule(_TOO_LONG)  # the others lie where dateutil ends
    if not found:
        raise UnacceptableRule("ends before the event begins")
    return found


def _all(rule: Rule, first: datetime) -> Iterator[datetime]:
    end: dict[str, Any] = {"count": rule.count}
    if rule.until is not None:
        # Days more than any zone is ahead: `starts` compares exactly.
        end = {"until": datetime.combine(_day(rule.until) + timedelta(days=2), time())}
    return iter(rrule.rrule(rule.frequency, dtstart=first, interval=rule.interval, **end, **rule.filters))


def _day(until: date | datetime) -> date:
    return until.date() if isinstance(until, datetime) else until


def _begins_with(rule: Rule, first: datetime) -> bool:
    """Whether the rule has its own start, in the time of one period.

    dateutil looks for the first occurrence up to the year 9999, for seconds if there is none. A rule that has its start
    has another one within the 28 years after which the calendar repeats, or none at all.
    """
    if rule.frequency not in _ONE_PERIOD and rule.filters.keys() == {"wkst"}:
        return True
    # Of a rule of days or weeks all filters are about single days, as they are within a year.
    frequency = rule.frequency if rule.frequency in _ONE_PERIOD else rrule.YEARLY
    one = rrule.rrule(frequency, dtstart=first, interval=_ONE_PERIOD[frequency], **rule.filters)
    return next(iter(one), None) == first


def _check(frequency: int, values: Mapping[str, Any]) -> None:
    by_month = frequency in _ONE_PERIOD
    if not by_month and any(day.n for day in values.get("BYDAY", ())):
        raise UnacceptableRule("has numbered days, such as 2SU, which only MONTHLY and YEARLY can have")
    in_month = frequency == rrule.MONTHLY or "BYMONTH" in values
    if in_month and any(abs(day.n or 0) > 5 for day in values.get("BYDAY", ())):
        raise UnacceptableRule("needs BYDAY with numbers from 1 to 5 or -1 to -5: no month has more")
    if len({bool(day.n) for day in values.get("BYDAY", ())}) > 1:
        # dateutil takes both as conditions for the same day, the RFC either.
        raise UnacceptableRule("has days with and without numbers in BYDAY: leave it to one kind")
    if not by_month and "BYSETPOS" in values:
        raise UnacceptableRule("has BYSETPOS, which only MONTHLY and YEARLY can have")
    if frequency == rrule.WEEKLY and "BYMONTHDAY" in values:
        raise UnacceptableRule("has BYMONTHDAY, which WEEKLY cannot have")
    if "BYSETPOS" in values and not {"BYDAY", "BYMONTHDAY", "BYMONTH"} & values.keys():
        raise UnacceptableRule("has BYSETPOS without BYDAY, BYMONTHDAY or BYMONTH")


def _frequency(value: str) -> int:
    if value not in _FREQUENCIES:
        raise UnacceptableRule("needs FREQ: DAILY, WEEKLY, MONTHLY or YEARLY")
    return _FREQUENCIES[value]


def _until(value: str) -> date | datetime:
    try:
        if _UNTIL_DAY.fullmatch(value):
            return datetime.strptime(value, "%Y%m%d").replace(tzinfo=UTC).date()
        if _UNTIL_INSTANT.fullmatch(value):
            return datetime.strptime(value, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        pass
    raise UnacceptableRule("needs UNTIL as a day, such as 20261231, or in UTC, such as 20261231T235959Z")


def _weekday(value: str) -> int:
    if value not in _DAYS:
        raise UnacceptableRule("needs WKST as one of MO, TU, WE, TH, FR, SA, SU")
    return _DAYS.index(value)


def _days(value: str) -> list[Any]:
    found = [_DAY.fullmatch(part) for part in value.split(",")]
    if not all(found) or any(day and day[1] and not 1 <= abs(int(day[1])) <= 53 for day in found):
        raise UnacceptableRule("needs BYDAY as days, such as SU,TU, or numbered ones, such as 2SU or -1FR")
    return [rrule.weekday(_DAYS.index(day[2]), int(day[1]) if day[1] else None) for day in found if day]


def _number(name: str, most: int) -> Callable[[str], int]:
    def read(value: str) -> int:
        if not value.isascii() or not value.isdecimal() or len(value) > 4 or not 1 <= int(value) <= most:
            raise UnacceptableRule(f"needs {name} as a number from 1 to {most}")
        return int(value)

    return read


def _numbers(name: str, most: int, *, negative: bool = True) -> Callable[[str], list[int]]:
    def read(value: str) -> list[int]:
        parts = value.split(",")
        if all(map(_NUMBER.fullmatch, parts)):
            numbers = [int(part) for part in parts]
            if all(1 <= abs(number) <= most and (negative or number > 0) for number in numbers):
                return numbers
        from_ = f"from 1 to {most}" + (f" or -1 to -{most}" if negative else "")
        raise UnacceptableRule(f"needs {name} as numbers {from_}")

    return read


_PARTS: Final[Mapping[str, Callable[[str], Any]]] = {
    "FREQ": _frequency,
    "INTERVAL": _number("INTERVAL", 1000),
    "COUNT": _number("COUNT", LARGEST_SERIES),
    "UNTIL": _until,
    "BYMONTH": _numbers("BYMONTH", 12, negative=False),
    "BYMONTHDAY": _numbers("BYMONTHDAY", 31),
    "BYDAY": _days,
    "BYSETPOS": _numbers("BYSETPOS", 366),
    "WKST": _weekday,
}
