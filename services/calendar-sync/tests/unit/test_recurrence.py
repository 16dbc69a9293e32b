"""Rules of series, against their definition read day by day."""

import calendar
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

import pytest
from dateutil import rrule
from hypothesis import given, settings
from hypothesis import strategies as st

from calendar_sync.domain.recurrence import UnacceptableRule, read_rule, starts
from calendar_sync.domain.zones import instant

NAMES = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
MOST = 1000
LONGEST = timedelta(days=3660)


@dataclass(frozen=True)
class Parts:
    frequency: str
    interval: int = 1
    months: tuple[int, ...] = ()
    month_days: tuple[int, ...] = ()
    days: tuple[tuple[int, int], ...] = ()
    """Number (0 for none) and weekday."""
    positions: tuple[int, ...] = ()
    week_start: int = 0
    end: str = "COUNT=1000"
    first: date = field(default=date(2026, 3, 1))

    @property
    def text(self) -> str:
        days = ",".join(f"{number or ''}{NAMES[day]}" for number, day in self.days)
        lists = {"BYMONTH": self.months, "BYMONTHDAY": self.month_days, "BYSETPOS": self.positions}
        named = [f"{name}={','.join(map(str, values))}" for name, values in lists.items() if values]
        named += [f"BYDAY={days}"] if days else []
        return ";".join(
            [f"FREQ={self.frequency}", f"INTERVAL={self.interval}", *named, f"WKST={NAMES[self.week_start]}", self.end]
        )

    def period(self, day: date) -> int:
        if self.frequency == "DAILY":
            return day.toordinal()
        if self.frequency == "WEEKLY":
            return (day.toordinal() - 1 - self.week_start) // 7  # ordinal 1 is a Monday
        return day.year * 12 + day.month if self.frequency == "MONTHLY" else day.year

    def filtered(self, day: date) -> bool:
        length = calendar.monthrange(day.year, day.month)[1]
        months, month_days, days = self.months, self.month_days, self.days
        if not month_days and not days:
            if self.frequency == "WEEKLY":
                days = ((0, self.first.weekday()),)
            elif self.frequency in {"MONTHLY", "YEARLY"}:
                month_days = (self.first.day,)
                months = months or ((self.first.month,) if self.frequency == "YEARLY" else ())
        return (
            (not months or day.month in months)
            and (not month_days or day.day in month_days or day.day - length - 1 in month_days)
            and (not days or any(self.is_day(day, number, weekday) for number, weekday in days))
        )

    def is_day(self, day: date, number: int, weekday: int) -> bool:
        if day.weekday() != weekday:
            return False
        if not number:
            return True
        within_month = self.frequency == "MONTHLY" or bool(self.months)
        begin = day.replace(day=1) if within_month else date(day.year, 1, 1)
        length = calendar.monthrange(day.year, day.month)[1] if within_month else 365 + calendar.isleap(day.year)
        same = [one for n in range(length) if (one := begin + timedelta(days=n)).weekday() == weekday]
        at = same.index(day)
        return number in {at + 1, at - len(same)}

    def all(self) -> Iterator[date]:
        """What the words of RFC 5545 say, day after day, for as long as a series may last."""
        day = self.first - timedelta(days=370)  # positions count from the beginning of the first period
        while day <= self.first + LONGEST + timedelta(days=400):
            period = self.period(day)
            inside = []
            while self.period(day) == period:
                inside.append(day)
                day += timedelta(days=1)
            if (period - self.period(self.first)) % self.interval:
                continue
            fits = [one for one in inside if self.filtered(one)]
            if self.positions:
                fits = sorted(
                    {
                        fits[position - (position > 0)]
                        for position in self.positions
                        if -len(fits) <= position <= len(fits)
                    }
                )
            yield from (one for one in fits if one >= self.first)


@st.composite
def rules(draw: st.DrawFn) -> Parts:
    first = draw(st.dates(date(2024, 1, 1), date(2028, 12, 31)))
    frequency = draw(st.sampled_from(["DAILY", "WEEKLY", "MONTHLY", "YEARLY"]))
    length = calendar.monthrange(first.year, first.month)[1]
    months = draw(st.sampled_from([(), (first.month,), tuple({first.month, 2, 11})]))
    month_days: tuple[int, ...] = ()
    if frequency != "WEEKLY":
        month_days = draw(
            st.sampled_from([(), (first.day,), (first.day - length - 1,), tuple({first.day, 13, 31, -1})])
        )
    nth = (first.day + 6) // 7
    last = -((length - first.day) // 7 + 1)
    weekday = first.weekday()
    kinds = [(), ((0, weekday),), ((0, weekday), (0, (weekday + 2) % 7))]
    if frequency in {"MONTHLY", "YEARLY"}:
        kinds += [((nth, weekday),), ((last, weekday),), ((nth, weekday), (-1, 4))]
    if frequency == "YEARLY" and not months:
        kinds += [(((first.timetuple().tm_yday + 6) // 7, weekday),), ((20, weekday),)]
    days = draw(st.sampled_from(kinds))
    positions: tuple[int, ...] = ()
    if frequency in {"MONTHLY", "YEARLY"} and (days or month_days or months):
        positions = draw(st.sampled_from([(), (1,), (-1,), (2, -2), (366,)]))
    until = first + timedelta(days=draw(st.integers(-10, 3650)))
    end = draw(st.one_of(st.integers(1, MOST).map("COUNT={}".format), st.just(f"UNTIL={until:%Y%m%d}")))
    interval = draw(st.sampled_from([1, 1, 2, 3, 13, 1000]))
    week_start = draw(st.sampled_from([0, 6]))
    return Parts(frequency, interval, months, month_days, days, positions, week_start, end, first)


def expected(parts: Parts) -> list[date] | str:
    """The days, or a part of the refusal."""
    found = parts.all()
    inside = [day for day in found if day - parts.first <= LONGEST]
    if not inside or inside[0] != parts.first:
        return "does not begin"
    kind, _, value = parts.end.partition("=")
    if kind == "COUNT":
        return inside[: int(value)] if len(inside) >= int(value) else "ends after"
    days = [day for day in inside if f"{day:%Y%m%d}" <= value]
    if not days:
        return "ends before"
    return days if len(days) <= MOST else "has more than"


@settings(max_examples=100, deadline=None)
@given(rules(), st.times().map(lambda at: at.replace(microsecond=0)))
def test_a_series_has_the_days_that_the_definition_gives(parts: Parts, at: time) -> None:
    try:
        found: list[date] | str = [
            one.date() for one in starts(read_rule(parts.text), datetime.combine(parts.first, at), utc)
        ]
    except UnacceptableRule as refused:
        found = str(refused)
    wanted = expected(parts)
    if isinstance(wanted, str):
        assert isinstance(found, str), parts.text
        assert found.startswith(wanted), parts.text
    else:
        assert found == wanted, parts.text


def utc(local: datetime) -> datetime:
    return local.replace(tzinfo=UTC)


SUNDAY = datetime.fromisoformat("2026-03-01T09:00")
LEAP_DAY = datetime.fromisoformat("2024-02-29")


def test_an_instant_that_ends_a_series_is_compared_with_instants() -> None:
    """At 9:00 in New York it is 14:00 in UTC in winter, 13:00 in summer."""

    def dates(until: str) -> int:
        rule = read_rule(f"FREQ=WEEKLY;UNTIL={until}")
        return len(starts(rule, SUNDAY, lambda local: instant(local, "America/New_York")))

    assert [dates("20260315T125959Z"), dates("20260315T130000Z"), dates("20260315")] == [2, 3, 3]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("FREQ=WEEKLY", "never ends"),
        ("FREQ=HOURLY;COUNT=2", "needs FREQ"),
        ("COUNT=2", "needs FREQ"),
        ("FREQ=WEEKLY;COUNT=2;UNTIL=20260401", "has COUNT and UNTIL"),
        ("FREQ=WEEKLY;COUNT=0", "needs COUNT"),
        ("FREQ=WEEKLY;COUNT=1001", "needs COUNT"),
        ("FREQ=WEEKLY;COUNT=²", "needs COUNT"),
        ("FREQ=WEEKLY;COUNT=2;COUNT=3", "names COUNT twice"),
        ("FREQ=WEEKLY;COUNT=2;BYHOUR=3", "has an unknown part"),
        ("FREQ=WEEKLY;COUNT=2;BYEASTER=0", "has an unknown part"),
        ("FREQ=WEEKLY;COUNT=2;", "is no rule"),
        ("every week", "is no rule"),
        ("", "is no rule"),
        ("FREQ=WEEKLY;UNTIL=20260230", "needs UNTIL"),
        ("FREQ=WEEKLY;UNTIL=20260401T090000", "needs UNTIL"),
        ("FREQ=WEEKLY;COUNT=2;BYDAY=2SU", "has numbered days"),
        ("FREQ=MONTHLY;COUNT=2;BYDAY=SU,2MO", "has days with and without numbers"),
        ("FREQ=MONTHLY;COUNT=2;BYDAY=0SU", "needs BYDAY"),
        ("FREQ=YEARLY;COUNT=2;BYDAY=54SU", "needs BYDAY"),
        ("FREQ=MONTHLY;COUNT=2;BYDAY=6SU", "needs BYDAY"),
        ("FREQ=YEARLY;BYMONTH=3;COUNT=2;BYDAY=-6SU", "needs BYDAY"),
        ("FREQ=WEEKLY;COUNT=2;BYMONTHDAY=1", "has BYMONTHDAY"),
        ("FREQ=MONTHLY;COUNT=2;BYMONTHDAY=32", "needs BYMONTHDAY"),
        ("FREQ=YEARLY;COUNT=2;BYMONTH=-1", "needs BYMONTH"),
        ("FREQ=DAILY;COUNT=2;BYSETPOS=1", "has BYSETPOS"),
        ("FREQ=MONTHLY;COUNT=2;BYSETPOS=1", "has BYSETPOS without"),
        ("FREQ=DAILY;COUNT=2;INTERVAL=0", "needs INTERVAL"),
        ("FREQ=DAILY;COUNT=2;WKST=XX", "needs WKST"),
        ("FREQ=DAILY;UNTIL=20360301", "has more than 1000"),
        ("FREQ=WEEKLY;COUNT=1000", "ends after more than 10 years"),
        ("FREQ=YEARLY;UNTIL=99991231", "ends after more than 10 years"),
        ("FREQ=YEARLY;UNTIL=00010101", "ends before"),
        ("FREQ=WEEKLY;BYDAY=MO;COUNT=3", "does not begin"),
    ],
)
def test_what_a_rule_cannot_be_is_said(text: str, words: str) -> None:
    with pytest.raises(UnacceptableRule, match=f"^{words}"):
        starts(read_rule(text), SUNDAY, utc)


def test_a_rule_is_kept_in_one_form() -> None:
    assert read_rule("rrule:byday=su;count=3;freq=weekly").text == "FREQ=WEEKLY;COUNT=3;BYDAY=SU"


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30;COUNT=1", SUNDAY),
        ("FREQ=MONTHLY;BYDAY=5SU;BYMONTHDAY=1;COUNT=1", SUNDAY),
        ("FREQ=YEARLY;BYMONTH=3;BYSETPOS=366;COUNT=1", SUNDAY),
        ("FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30;COUNT=1", SUNDAY),
        ("FREQ=WEEKLY;BYMONTH=4;COUNT=1", SUNDAY),
        ("FREQ=DAILY;BYMONTH=2;BYMONTHDAY=29;BYDAY=TH;COUNT=2", LEAP_DAY),
        ("FREQ=DAILY;INTERVAL=281;BYMONTH=2;BYMONTHDAY=29;BYDAY=TH;COUNT=2", LEAP_DAY),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=TH;COUNT=2", LEAP_DAY),
    ],
)
def test_a_rule_that_matches_nothing_ends_soon(text: str, first: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in periods that dateutil looks at: up to the year 9999 a rule of days has almost three million."""
    looks = 0
    made = rrule._iterinfo.rebuild

    def rebuild(self: object, year: int, month: int) -> None:
        nonlocal looks
        looks += 1
        made(self, year, month)

    monkeypatch.setattr(rrule._iterinfo, "rebuild", rebuild)
    with pytest.raises(UnacceptableRule):
        starts(read_rule(text), first, utc)
    assert looks < 15_000
