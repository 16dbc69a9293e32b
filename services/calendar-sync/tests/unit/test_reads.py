"""Which requests a check sends, when it is due, what zones are called, and what is suggested."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import islice
from math import ceil
from typing import Final
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calendar_sync.domain.events import Span
from calendar_sync.domain.schedule import next_check
from calendar_sync.domain.suggest import ByDay, Candidate, Local, frequency, similarity, stretches, suggest
from calendar_sync.domain.window import BEHIND, HORIZON, Reads, Target, Window, Windows, plan_reads
from calendar_sync.domain.zone_names import iana_name

NOW: Final = datetime(2026, 3, 1, tzinfo=UTC)
HOUR: Final = timedelta(hours=1)


def single(number: int, day: float) -> Target:
    return Target(str(number), NOW + timedelta(days=day), NOW + timedelta(days=day) + HOUR, 1, True)


def series(number: int, count: int) -> Target:
    return Target(str(number), NOW - BEHIND, NOW + HORIZON, count, False)


targets = st.lists(st.integers(0, 365) | st.integers(-300, -1), max_size=60).map(
    lambda days: [single(n, day) if day >= 0 else series(n, -day) for n, day in enumerate(days)]
)


@given(targets, st.floats(0.01, 300))
def test_every_target_is_read_once_within_the_horizon_and_never_dearer_than_one_way(
    those: list[Target], density: float
) -> None:
    reads = plan_reads(those, density, NOW)
    alone = set(reads.alone)
    assert len(alone) == len(reads.alone)
    for one in those:
        assert one.id in alone or any(window.has(one) for window in reads.windows), one
    assert all(NOW - BEHIND <= window.begins < window.ends <= NOW + HORIZON for window in reads.windows)
    if those:
        by_address = sum(ceil(one.count / 99) for one in those)
        assert reads.requests(those, density) <= by_address


windows_ = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 40)), max_size=12).map(
    lambda those: [Window(NOW + begins * HOUR, NOW + (begins + length) * HOUR) for begins, length in those]
)


@given(windows_, st.integers(0, 60), st.integers(1, 30))
def test_a_window_of_many_is_found_if_any_shows_a_target(windows: list[Window], begins: int, length: int) -> None:
    one = Target("1", NOW + begins * HOUR, NOW + (begins + length) * HOUR, 1, True)
    found = Windows(windows).of(one)
    if any(window.has(one) for window in windows):
        assert found in windows
        assert found is not None
        assert found.has(one)
    else:
        assert found is None


def test_without_links_nothing_is_read() -> None:
    assert plan_reads([], None, NOW) == Reads()


def test_what_lies_together_is_read_together() -> None:
    close = [single(number, 10 + number / 10) for number in range(20)]
    far = single(99, 300)
    reads = plan_reads([*close, far], 20.0, NOW)
    assert (len(reads.windows), reads.alone) == (1, ("99",))
    assert plan_reads([series(1, 52)], 20.0, NOW).alone == ("1",)
    many = [series(number, 52) for number in range(100)]
    assert (len(plan_reads(many, 20.0, NOW).windows), plan_reads(many, 20.0, NOW).alone) == (1, ())


def test_churches_are_checked_at_instants_of_their_own() -> None:
    interval = timedelta(minutes=5)
    at = [next_check(f"church-{number}", interval, NOW) for number in range(3000)]
    assert all(NOW < one <= NOW + interval for one in at)
    spread = Counter((one - NOW) // timedelta(minutes=1) for one in at)
    assert all(400 < count < 800 for count in spread.values()), spread
    first = next_check("church", interval, NOW)
    assert next_check("church", interval, first) == first + interval
    late = first + timedelta(hours=7, seconds=3)
    assert next_check("church", interval, late) - late < interval


@pytest.mark.parametrize(
    ("name", "zone"),
    [
        ("Pacific Time (US & Canada)", "America/Los_Angeles"),
        ("Central Time (US & Canada)", "America/Chicago"),
        ("Hawaii", "Pacific/Honolulu"),
        ("Arizona", "America/Phoenix"),
        ("London", "Europe/London"),
        ("Buenos Aires", "America/Argentina/Buenos_Aires"),
        ("Kuala Lumpur", "Asia/Kuala_Lumpur"),
        ("Samoa", "Pacific/Apia"),
        ("UTC", "UTC"),
        ("America/New_York", "America/New_York"),
        ("Nowhere", None),
        ("", None),
    ],
)
def test_zones_are_named_as_rails_or_iana_does(name: str, zone: str | None) -> None:
    assert iana_name(name) == zone
    assert zone is None or ZoneInfo(zone)


_NAMES: Final = """
Alaska, Tijuana, Chihuahua, Indiana (East), Newfoundland, Greenland, Azores, Cape Verde Is., Casablanca, Edinburgh,
Kyiv, West Central Africa, Pretoria, St. Petersburg, Abu Dhabi, Mumbai, Sri Jayawardenepura, Rangoon, Chongqing,
Ulaanbaatar, Canberra, Port Moresby, Nuku'alofa, Marshall Is., Chatham Is., Puerto Rico, Mexico City, Monterrey, La Paz,
Istanbul, Singapore
"""
"""Every kind of name that Rails lists: cities, countries, parts of the world, and those of several words."""


@pytest.mark.parametrize("name", [name.strip() for name in _NAMES.split(",")])
def test_a_name_of_rails_is_a_zone(name: str) -> None:
    zone = iana_name(name)
    assert zone is not None
    assert ZoneInfo(zone)


def at(day: int, hour: int = 9) -> Span:
    begins = NOW + timedelta(days=day, hours=hour)
    return Span(begins, begins + HOUR)


def candidate(title: str, span: Span, number: int = 1, **more: str) -> Candidate:
    about = {"location": None, "repeats": ""} | more
    return Candidate(str(number), str(number * 10), title, span, **about)  # type: ignore[arg-type]


def test_suggestions_say_why_and_how_likely() -> None:
    local = Local("Harvest Supper", at(10), "Hall", "weekly")
    those = [
        candidate("Harvest supper", at(10), 1, location="hall", repeats="weekly"),
        candidate("Harvest Suppers", at(10, 12), 2),
        candidate("Harvest Dinner", at(11), 3),
        candidate("Board meeting", at(10), 4),
        candidate("Harvest Supper", at(30), 5),
    ]
    found = suggest(local, ByDay(those, "UTC"))
    assert [(one.candidate.event_id, one.strength) for one in found] == [
        ("1", "Very likely"),
        ("2", "Likely"),
        ("3", "Possible"),
    ]
    assert found[0].reasons == ("same day", "same start", "100 % same title", "same room", "both repeat weekly")
    assert found[2].reasons[0] == "a day apart"


def test_a_series_is_suggested_once_and_large_days_are_bounded() -> None:
    local = Local("Choir", at(10), None, "")
    those = [candidate("Choir", at(10, hour), 1) for hour in range(9, 20)]
    assert len(suggest(local, ByDay(those, "UTC"))) == 1
    many = [candidate("Choir", at(10), number) for number in range(5000)]
    assert len(suggest(local, ByDay(many, "UTC"))) == 5


@given(st.text(max_size=20), st.text(max_size=20))
def test_likeness_is_the_same_both_ways(one: str, other: str) -> None:
    assert similarity(one, other) == similarity(other, one)
    assert 0 <= similarity(one, other) <= 1 == similarity(one, one)


@given(st.lists(st.integers(0, 365), max_size=40), st.floats(0, 500))
def test_days_are_read_with_those_beside_them_in_few_stretches(numbers: list[int], density: float) -> None:
    days = sorted(NOW.date() + timedelta(days=number) for number in numbers)
    found = stretches(days, density, 99, 396)
    assert sum(one.days for one in found) == len(days)
    left = iter(days)
    for one in found:
        for day in islice(left, one.days):
            assert one.first < day < one.last, "the days beside it too"
        long = (one.last - one.first).days + 1
        assert long * density <= 396 or long == 3
    assert sum((one.last - one.first).days + 1 for one in found) <= 3 * len(days) + (0 if density > 99 else 366)


def test_rules_have_words() -> None:
    assert [frequency(rule) for rule in ("FREQ=WEEKLY;COUNT=2", None, "FREQ=DAILY")] == ["weekly", "", "daily"]
