"""Times of events: zones, days, and what single occurrences keep when a series changes."""

from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import icalendar
import pytest
import recurring_ical_events
from hypothesis import given, settings
from hypothesis import strategies as st

from calendar_sync.domain.events import (
    Occurrence,
    Span,
    Times,
    Unacceptable,
    as_platform_says,
    changed,
    named,
    occurrences,
    own_texts_fault,
    ruled_span,
    times,
)
from calendar_sync.domain.zones import instant, is_zone, local_time

NEW_YORK = "America/New_York"
ZONES = [NEW_YORK, "Europe/Berlin", "Australia/Lord_Howe", "America/Havana", "Africa/Cairo", "Asia/Kathmandu", "UTC"]
SUNDAY = {"starts_at": "2026-03-01T14:00:00+00:00", "ends_at": "2026-03-01T15:30:00+00:00", "time_zone": NEW_YORK}
RETREAT = {"first_day": date(2026, 3, 6), "last_day": date(2026, 3, 8), "time_zone": NEW_YORK}


def sent(**values: Any) -> dict[str, Any]:
    instants = ("starts_at", "ends_at")
    return {
        name: datetime.fromisoformat(value) if name in instants and value else value for name, value in values.items()
    }


def series(rule: str = "FREQ=WEEKLY;COUNT=4", **values: Any) -> Times:
    return times(None, sent(**{**SUNDAY, "recurrence": rule, **values}))


def keys(found: list[Occurrence]) -> list[str]:
    return [one.key for one in found]


def refused(*call: Any) -> list[str]:
    with pytest.raises(Unacceptable) as caught:
        call[0](*call[1:])
    return [f"{name}: {message}" for name, message in caught.value.faults]


@cache
def changes(zone: str) -> list[datetime]:
    """The hours from 2024 to 2027 in which clocks change."""
    hours = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=n) for n in range(24 * 365 * 4)]
    offsets = [hour.astimezone(ZoneInfo(zone)).utcoffset() for hour in hours]
    return [hour for hour, (one, other) in zip(hours, pairwise(offsets), strict=False) if one != other]


@st.composite
def local_times(draw: st.DrawFn) -> tuple[datetime, str]:
    zone = draw(st.sampled_from(ZONES))
    near = draw(st.sampled_from(changes(zone) or [datetime(2024, 5, 1, tzinfo=UTC)]))
    return local_time(near, zone) + timedelta(minutes=15 * draw(st.integers(-12, 12))), zone


@settings(max_examples=200, deadline=None)
@given(local_times())
def test_a_local_time_is_the_instant_at_which_clocks_show_it(at: tuple[datetime, str]) -> None:
    """RFC 5545, 3.3.5, by asking the clock of every quarter of an hour."""
    local, zone = at
    quarters = [local.replace(tzinfo=UTC) + timedelta(minutes=15 * n) for n in range(-64, 65)]
    shown = {one: one.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0) for one in quarters}
    matching = [one for one, clock in shown.items() if clock == local]
    if matching:
        assert instant(local, zone) == min(matching)
    else:  # skipped: with the offset that held before
        before = max(one for one, clock in shown.items() if clock < local)
        assert instant(local, zone) == before + (local - shown[before])


def test_a_series_stays_at_its_local_time() -> None:
    found = occurrences(series())
    assert [f"{one.span.starts_at:%d %H}" for one in found] == ["01 14", "08 13", "15 13", "22 13"]
    assert keys(found) == ["20260301T090000", "20260308T090000", "20260315T090000", "20260322T090000"]
    assert {one.span.ends_at - one.span.starts_at for one in found} == {timedelta(hours=1.5)}


def test_an_occurrence_at_a_time_that_clocks_skip_or_show_twice() -> None:
    skipped = series("FREQ=DAILY;COUNT=3", starts_at="2026-03-07T07:30:00+00:00", ends_at="2026-03-07T07:45:00+00:00")
    assert [f"{one.key[6:]} {one.span.starts_at:%H:%M}" for one in occurrences(skipped)] == [
        "07T023000 07:30",
        "08T023000 07:30",
        "09T023000 06:30",
    ]
    twice = series("FREQ=DAILY;COUNT=2", starts_at="2026-11-01T06:30:00+00:00", ends_at="2026-11-01T07:00:00+00:00")
    first = occurrences(twice)[0]
    assert first.key == "20261101T013000"
    assert first.span == twice.span, "the second 1:30 of that night, as it was sent"


@pytest.mark.parametrize(
    ("zone", "first", "rule"),
    [
        (NEW_YORK, "2026-03-01T09:00", "FREQ=WEEKLY;COUNT=40"),
        (NEW_YORK, "2026-02-28T02:30", "FREQ=DAILY;COUNT=30"),
        (NEW_YORK, "2026-10-28T01:30", "FREQ=DAILY;UNTIL=20261110T063000Z"),
        ("Europe/Berlin", "2026-01-31T23:30", "FREQ=MONTHLY;BYMONTHDAY=-1;COUNT=24"),
        ("Australia/Lord_Howe", "2026-04-03T01:45", "FREQ=DAILY;COUNT=5"),
        ("Africa/Cairo", "2026-04-22T00:00", "FREQ=DAILY;COUNT=5"),
        ("Asia/Kathmandu", "2026-03-08T10:00", "FREQ=MONTHLY;BYDAY=2SU;COUNT=12"),
        ("UTC", "2026-11-26T18:00", "FREQ=YEARLY;BYMONTH=11;BYDAY=4TH;COUNT=5"),
    ],
)
def test_another_reader_of_calendars_finds_the_same_instants(zone: str, first: str, rule: str) -> None:
    local = datetime.fromisoformat(first)
    text = "\r\n".join(
        [
            "BEGIN:VCALENDAR",
            "BEGIN:VEVENT",
            "UID:1",
            "DTSTAMP:20260101T000000Z",
            f"DTSTART;TZID={zone}:{local:%Y%m%dT%H%M%S}" if zone != "UTC" else f"DTSTART:{local:%Y%m%dT%H%M%S}Z",
            "DURATION:PT10M",
            f"RRULE:{rule}",
            "END:VEVENT",
            "END:VCALENDAR",
            "",
        ]
    )
    read = recurring_ical_events.of(icalendar.Calendar.from_ical(text)).between((2025, 1, 1), (2032, 1, 1))
    begins = instant(local, zone)
    event = times(
        None,
        {"starts_at": begins, "ends_at": begins + timedelta(minutes=10), "time_zone": zone, "recurrence": rule},
    )
    found = [one.span.starts_at for one in occurrences(event)]
    assert found == sorted(one.start.astimezone(UTC) for one in read)


def test_the_days_of_an_all_day_event_hold_in_every_zone() -> None:
    retreat = times(None, RETREAT | {"recurrence": "FREQ=WEEKLY;COUNT=2"})
    moved = times(retreat, {"time_zone": "Asia/Tokyo"})
    assert [(one.span.first_day, one.span.last_day) for one in occurrences(moved)] == [
        (date(2026, 3, 6), date(2026, 3, 8)),
        (date(2026, 3, 13), date(2026, 3, 15)),
    ]
    assert retreat.span.starts_at == datetime(2026, 3, 6, 5, tzinfo=UTC)
    assert retreat.span.ends_at == datetime(2026, 3, 9, 4, tzinfo=UTC), "the clocks change on its last day"
    assert moved.span.starts_at == datetime(2026, 3, 5, 15, tzinfo=UTC)
    assert keys(occurrences(moved)) == ["20260306", "20260313"]


def test_what_single_occurrences_have_stays_where_their_day_does() -> None:
    before = series()
    was = occurrences(before)
    own = Span(datetime(2026, 3, 9, 20, tzinfo=UTC), datetime(2026, 3, 9, 21, tzinfo=UTC))
    was[1] = Occurrence(was[1].key, own, title="Family service", moved=True)
    was[2] = Occurrence(was[2].key, was[2].span, cancelled=True)
    was[3] = Occurrence(was[3].key, was[3].span, location="Garden")
    later = times(before, sent(starts_at="2026-03-01T15:00:00+00:00", recurrence="FREQ=WEEKLY;COUNT=3"))
    found = occurrences(later, before, was)
    assert keys(found) == ["20260301T100000", "20260308T100000", "20260315T100000"]
    assert (found[1].span, found[1].title, found[1].moved) == (own, "Family service", True)
    assert found[2].cancelled
    days = times(before, {"first_day": date(2026, 3, 1), "last_day": date(2026, 3, 1)})
    found = occurrences(days, before, was)
    assert (found[1].moved, found[1].title, found[2].cancelled, found[3].location) == (
        False,
        "Family service",
        True,
        "Garden",
    )
    single = times(before, {"recurrence": None})
    assert occurrences(single, before, was) == occurrences(single)


def test_in_another_zone_at_the_same_instants_an_occurrence_is_found_by_its_instant() -> None:
    before = series("FREQ=DAILY;COUNT=4", starts_at="2026-03-02T02:00:00+00:00", ends_at="2026-03-02T03:00:00+00:00")
    was = occurrences(before)
    assert keys(was)[2] == "20260303T210000"
    was[2] = Occurrence(was[2].key, was[2].span, cancelled=True)
    found = occurrences(times(before, {"time_zone": "Europe/London"}), before, was)
    assert [one.key for one in found if one.cancelled] == ["20260304T020000"]
    wall = times(before, sent(time_zone="Europe/London", starts_at="2026-03-01T21:00:00+00:00"))
    assert [one.key for one in occurrences(wall, before, was) if one.cancelled] == ["20260303T210000"]


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({}, "time_zone: is no time zone"),
        ({"time_zone": "America/Gotham"}, "time_zone: is no time zone"),
        ({"time_zone": "../../etc/passwd"}, "time_zone: is no time zone"),
        ({"time_zone": NEW_YORK}, "starts_at: is required"),
        ({**SUNDAY, "ends_at": None}, "ends_at: is required"),
        ({**SUNDAY, "ends_at": "2026-03-01T13:59:59+00:00"}, "ends_at: lies before starts_at"),
        ({**SUNDAY, "ends_at": "2027-03-03T13:59:59+00:00"}, "ends_at: lies more than a year"),
        ({**SUNDAY, "starts_at": "0001-01-01T00:00:00+14:00"}, "starts_at: must lie between"),
        ({**SUNDAY, "ends_at": "9999-12-31T23:59:59-14:00"}, "ends_at: must lie between"),
        ({**SUNDAY, **RETREAT}, "first_day: goes with last_day"),
        ({**RETREAT, "last_day": None}, "last_day: is required"),
        ({**RETREAT, "last_day": date(2026, 3, 5)}, "last_day: lies before"),
        ({**RETREAT, "last_day": date(2027, 3, 8)}, "last_day: lies more than a year"),
        ({**RETREAT, "last_day": date(9999, 12, 31)}, "last_day: must lie between"),
        ({**RETREAT, "recurrence": "FREQ=DAILY;UNTIL=20260401T000000Z"}, "recurrence: needs UNTIL as a day"),
        ({**SUNDAY, "recurrence": "FREQ=WEEKLY"}, "recurrence: never ends"),
    ],
)
def test_what_an_event_cannot_be_is_said_field_by_field(values: dict[str, Any], fault: str) -> None:
    assert refused(times, None, sent(**values))[0].startswith(fault)


def test_a_change_keeps_what_is_not_sent() -> None:
    before = series()
    assert times(before, {}) == before
    shorter = times(before, sent(ends_at="2026-03-01T14:30:00+00:00"))
    assert shorter.span == Span(before.span.starts_at, datetime(2026, 3, 1, 14, 30, tzinfo=UTC))
    assert shorter.recurrence == "FREQ=WEEKLY;COUNT=4"
    days = times(before, {"first_day": date(2026, 3, 1), "last_day": date(2026, 3, 1), "starts_at": None})
    assert days.all_day
    assert refused(times, days, sent(starts_at="2026-03-01T14:00:00+00:00"))[0].startswith("ends_at: is required")
    assert times(days, sent(**SUNDAY)) == before


def test_one_occurrence_is_moved_and_put_back() -> None:
    weekly = series()
    ruled = ruled_span(weekly, "20260308T090000")
    one = Occurrence("20260308T090000", ruled)
    moved = changed(one, NEW_YORK, ruled, sent(starts_at="2026-03-08T12:00:00+00:00", title="Early"))
    assert (moved.moved, moved.title, moved.span.ends_at) == (True, "Early", ruled.ends_at)
    assert changed(moved, NEW_YORK, ruled, {"starts_at": None, "title": None}) == one
    assert changed(moved, NEW_YORK, ruled, {"starts_at": ruled.starts_at, "first_day": None}).moved is False
    assert refused(changed, one, NEW_YORK, ruled, {"first_day": date(2026, 3, 8)})[0].startswith("first_day: cannot be")
    fault = refused(changed, one, NEW_YORK, ruled, sent(ends_at="2026-03-08T12:00:00+00:00"))
    assert fault == ["ends_at: lies before starts_at"]


def test_lists_of_the_platform_replace_what_was_there_of_their_kind() -> None:
    weekly = series()
    found = as_platform_says(weekly, None, [], ["20260308"], [{"key": "20260315T090000", "title": "Harvest"}])
    assert [(one.cancelled, one.title) for one in found] == [
        (False, None),
        (True, None),
        (False, "Harvest"),
        (False, None),
    ]
    assert as_platform_says(weekly, weekly, found, None, None) == found
    only_moved = as_platform_says(weekly, weekly, found, None, [])
    assert [(one.cancelled, one.title) for one in only_moved][1:3] == [(True, None), (False, None)]
    assert as_platform_says(weekly, weekly, found, [], []) == occurrences(weekly)
    everything = keys(found)
    assert refused(as_platform_says, weekly, None, [], everything, None) == [
        "excluded: would leave no occurrence: delete the event instead"
    ]
    assert as_platform_says(
        weekly, weekly, [Occurrence(k, found[0].span, cancelled=True) for k in everything], [], None
    )
    wrong = refused(as_platform_says, weekly, None, [], ["20260309"], [{"key": "x"}, {"key": "20260308", **RETREAT}])
    assert [fault.partition(":")[0] for fault in wrong] == ["moved.0", "moved.1.first_day", "excluded.0"]
    single = times(None, sent(**SUNDAY))
    assert refused(as_platform_says, single, None, [], ["20260301"], None)[0].startswith(
        "excluded: belongs to a series"
    )


def test_taking_out_all_by_a_change_of_the_rule_is_refused() -> None:
    weekly = series()
    was = [Occurrence(one.key, one.span, cancelled=one.key < "20260322") for one in occurrences(weekly)]
    fewer = times(weekly, {"recurrence": "FREQ=WEEKLY;COUNT=3"})
    assert refused(occurrences, fewer, weekly, was) == ["recurrence: would leave only occurrences that were taken out"]


def test_an_occurrence_is_named_by_its_key_or_its_day() -> None:
    found = occurrences(series())
    assert named(found, "20260308") == named(found, "20260308T090000") == found[1]
    assert named(found, "20260309") is None
    assert named(found, "20260308T100000") is None


def test_own_texts_fit_into_one_fact() -> None:
    found = [Occurrence(str(n), series().span, title="ü" * 255, location="ü" * 45) for n in range(500)]
    assert own_texts_fault(found) is None
    assert own_texts_fault([*found, Occurrence("x", series().span, title="x")]) is not None


def test_names_of_zones() -> None:
    assert [is_zone(name) for name in (NEW_YORK, "UTC", "localtime", "", "america/new_york", "/etc/localtime")] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]
    assert local_time(datetime(2026, 7, 1, tzinfo=UTC), NEW_YORK) == datetime.fromisoformat("2026-06-30T20:00")
