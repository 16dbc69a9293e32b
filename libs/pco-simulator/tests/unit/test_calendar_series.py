"""Occurrences of series keep the time on the church's clock, whatever DST does."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pco_simulator.calendar.rules import Span
from pco_simulator.calendar.series import MOST, Repeats, Rule, at, day_span, local

clock = datetime.fromisoformat

ZONES = ("America/New_York", "America/Los_Angeles", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC")

zones = st.sampled_from(ZONES).map(ZoneInfo)
starts = st.datetimes(clock("2024-01-01"), clock("2028-01-01")).map(lambda at: at.replace(second=0, microsecond=0))
repeats: st.SearchStrategy[Repeats] = st.sampled_from(("daily", "weekly", "monthly", "monthly_by_weekday"))


def exists(wall: datetime, zone: ZoneInfo) -> bool:
    """Whether a time of the clock is not skipped."""
    return local(wall.replace(tzinfo=zone).astimezone(UTC), zone) == wall


@given(starts, repeats, st.integers(1, 5), st.integers(1, 40), zones)
def test_occurrences_stand_at_the_same_time_of_day(
    first: datetime, kind: Repeats, interval: int, count: int, zone: ZoneInfo
) -> None:
    found = list(Rule(kind, interval, count=count).starts(first))
    assert len(found) == count
    assert found[0] == first
    assert found == sorted(set(found))
    for before, after in pairwise(found):
        assert after.time() == first.time()
        match kind:
            case "daily":
                assert after - before == timedelta(days=interval)
            case "weekly":
                assert after - before == timedelta(weeks=interval)
            case "monthly":
                assert after.day == first.day
                assert (after.year * 12 + after.month - first.year * 12 - first.month) % interval == 0
            case "monthly_by_weekday":
                assert after.weekday() == first.weekday()
                assert after.year * 12 + after.month - before.year * 12 - before.month == interval
                last = first.day > 28
                assert (
                    (after + timedelta(days=7)).month != after.month
                    if last
                    else (after.day - 1) // 7 == (first.day - 1) // 7
                )
    for wall in found:
        instant = at(wall, zone)
        # A time that DST skips is as much later as the clock was advanced.
        assert local(instant, zone) == wall if exists(wall, zone) else local(instant, zone) > wall
        assert abs(local(instant, zone) - wall) <= timedelta(hours=1)


@given(starts, zones, st.integers(1, 30 * 60), st.integers(0, 400))
def test_an_occurrence_lasts_as_long_by_the_clock(first: datetime, zone: ZoneInfo, minutes: int, later: int) -> None:
    ends = first + timedelta(minutes=minutes)
    span = Span(at(first, zone), at(ends, zone), all_day=False)
    moved = span.moved(first + timedelta(days=later), zone)
    if all(exists(wall + timedelta(days=days), zone) for wall in (first, ends) for days in (0, later)):
        assert local(moved.starts, zone) == first + timedelta(days=later)
        assert local(moved.ends, zone) == ends + timedelta(days=later)


@given(st.dates(date(2024, 1, 1), date(2028, 1, 1)), st.integers(0, 40), zones)
def test_whole_days_stay_those_days(first: date, more: int, zone: ZoneInfo) -> None:
    last = first + timedelta(days=more)
    begins, ends = day_span(first, last, zone)
    assert local(begins, zone).date() == first
    assert local(ends - timedelta(seconds=1), zone).date() == last
    assert local(ends, zone).date() == last + timedelta(days=1)


def test_the_last_day_is_within_the_series_and_months_without_the_day_are_skipped() -> None:
    weekly = list(Rule("weekly", until=date(2026, 1, 25)).starts(clock("2026-01-04T23:30")))
    assert [day.day for day in weekly] == [4, 11, 18, 25]
    monthly = list(Rule("monthly", count=4).starts(clock("2026-01-31T09:00")))
    assert [day.month for day in monthly] == [1, 3, 5, 7]
    saturdays = list(Rule("monthly_by_weekday", count=4).starts(clock("2026-01-31T09:00")))
    assert [(day.month, day.day) for day in saturdays] == [(1, 31), (2, 28), (3, 28), (4, 25)]
    assert len(list(Rule("daily", until=date(2099, 1, 1)).starts(clock("2026-01-01")))) == MOST


@pytest.mark.parametrize(
    "rule",
    [
        {"repeats": "yearly", "count": 2},
        {"repeats": "daily"},
        {"repeats": "daily", "count": 2, "until": date(2026, 1, 1)},
        {"repeats": "daily", "count": 0},
        {"repeats": "daily", "count": MOST + 1},
        {"repeats": "daily", "count": 2, "interval": 0},
    ],
)
def test_rules_that_are_none(rule: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"series|interval|count"):
        Rule(**rule)  # type: ignore[arg-type]
