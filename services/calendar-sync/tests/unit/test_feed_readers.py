"""The feed as other programs read it: the same instants and texts as the calendar's own."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from itertools import pairwise
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
import recurring_ical_events
from dateutil.tz import tzical
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from ical.calendar_stream import IcsCalendarStream
from icalendar import Calendar

from calendar_sync.domain.changes import Whole
from calendar_sync.domain.events import Occurrence, Unacceptable, as_platform_says, times
from calendar_sync.domain.feed import END, Listed, components, head, zone_definition

NEW_YORK: Final = "America/New_York"
ZONES: Final = (
    *(NEW_YORK, "Europe/Berlin", "Europe/Dublin", "Australia/Lord_Howe", "Africa/Casablanca", "America/St_Johns"),
    *("America/Sao_Paulo", "Asia/Kathmandu", "Pacific/Apia", "Asia/Tokyo", "America/Havana", "UTC", "Etc/UTC"),
)
Shown = tuple[Any, Any, str, str | None]
"""Begin, end (instants or days, the last one exclusive), title, location."""


def event(
    *,
    excluded: tuple[str, ...] = (),
    moved: tuple[dict[str, Any], ...] = (),
    title: str = "Coffee",
    description: str | None = None,
    location: str | None = "Hall",
    **when: Any,
) -> Listed:
    at = times(None, {"time_zone": NEW_YORK, **when})
    those = tuple(as_platform_says(at, None, (), excluded, moved))
    return Listed(UUID(int=7), 3, datetime(2026, 1, 2, tzinfo=UTC), Whole(title, location, description, at, those))


def written(*events: Listed, name: str = "First Church") -> bytes:
    zones = {one.values.times.time_zone for one in events}
    return head(name, zones, 2026) + b"".join(part for one in events for part in components(one)) + END


def expected(one: Listed) -> list[Shown]:
    return sorted((_shown(one, each) for each in one.values.occurrences if not each.cancelled), key=str)


def _shown(one: Listed, each: Occurrence) -> Shown:
    texts = (each.title or one.values.title, each.location or one.values.location)
    if each.span.first_day is not None and each.span.last_day is not None:
        return (each.span.first_day, each.span.last_day + timedelta(days=1), *texts)
    return (each.span.starts_at, each.span.ends_at, *texts)


def _instant(value: date) -> date:
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def by_recurring_ical_events(feed: bytes) -> list[Shown]:
    found = recurring_ical_events.of(Calendar.from_ical(feed)).between(datetime(1999, 1, 1), datetime(2060, 1, 1))  # noqa: DTZ001
    return sorted(
        (
            (_instant(each.start), _instant(each.end), str(each["SUMMARY"]), _text(each.get("LOCATION")))
            for each in found
        ),
        key=str,
    )


def by_ical(feed: bytes) -> list[Shown]:
    found = IcsCalendarStream.calendar_from_ics(feed.decode()).timeline
    return sorted(
        ((_instant(each.start), _instant(each.end), str(each.summary), _text(each.location)) for each in found), key=str
    )


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


READERS: Final = (by_recurring_ical_events, by_ical)


def assert_read(one: Listed) -> None:
    feed = written(one)
    for reader in READERS:
        if reader is by_ical and b"RECURRENCE-ID:" in feed and one.values.times.time_zone in {"UTC", "Etc/UTC"}:
            continue  # ical (14.3) finds no occurrence by a RECURRENCE-ID in UTC
        assert reader(feed) == expected(one), reader.__name__


def local(text: str, zone: str = NEW_YORK, *, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)


def span(begins: datetime, **length: float) -> dict[str, Any]:
    return {"starts_at": begins, "ends_at": begins.astimezone(UTC) + timedelta(**length)}


CASES: Final[dict[str, Listed]] = {
    "single": event(**span(local("2026-03-01T10:30"), hours=1)),
    "no time long": event(**span(local("2026-03-01T10:30"), hours=0)),
    "over midnight": event(**span(local("2026-03-01T22:00"), hours=9)),
    "over midnight, weekly, while clocks change": event(
        **span(local("2026-10-24T22:00"), hours=6), recurrence="FREQ=WEEKLY;COUNT=4"
    ),
    "first night is one of them": event(**span(local("2026-03-07T22:00"), hours=6), recurrence="FREQ=DAILY;COUNT=4"),
    "skipped by clocks": event(**span(local("2026-03-06T02:30"), hours=1), recurrence="FREQ=DAILY;COUNT=5"),
    "shown twice": event(**span(local("2026-10-30T01:30"), hours=1), recurrence="FREQ=DAILY;COUNT=5"),
    "the second of the two": event(**span(local("2026-11-01T01:30", fold=1), hours=1)),
    "a series from the second of the two": event(
        **span(local("2026-11-01T01:30", fold=1), minutes=30), recurrence="FREQ=DAILY;COUNT=3"
    ),
    "ends in the second of the two": event(**span(local("2026-11-01T00:30"), hours=2)),
    "all day": event(first_day=date(2026, 3, 8), last_day=date(2026, 3, 8)),
    "all day, over a change of clocks": event(
        first_day=date(2026, 3, 7), last_day=date(2026, 3, 9), recurrence="FREQ=WEEKLY;COUNT=3"
    ),
    "all day, until": event(
        first_day=date(2026, 3, 7), last_day=date(2026, 3, 7), recurrence="FREQ=WEEKLY;UNTIL=20260321"
    ),
    "until a day": event(**span(local("2026-03-01T22:30"), hours=1), recurrence="FREQ=WEEKLY;UNTIL=20260322"),
    "until an instant": event(
        **span(local("2026-03-01T22:30"), hours=1), recurrence="FREQ=WEEKLY;UNTIL=20260316T023000Z"
    ),
    "moved, named, taken out": event(
        **span(local("2026-03-01T10:30"), hours=1),
        recurrence="FREQ=WEEKLY;COUNT=6",
        excluded=("20260315", "20260301"),
        moved=(
            {"key": "20260308", **span(local("2026-03-09T18:00"), hours=2)},
            {"key": "20260322", "title": "Easter breakfast"},
            {"key": "20260329", "location": "Garden", **span(local("2026-11-01T01:15", fold=1), hours=1)},
        ),
    ),
    "all day, moved": event(
        first_day=date(2026, 3, 1),
        last_day=date(2026, 3, 2),
        recurrence="FREQ=WEEKLY;COUNT=4",
        excluded=("20260315",),
        moved=({"key": "20260308", "first_day": date(2026, 3, 9), "last_day": date(2026, 3, 9)},),
    ),
    "last Sunday of a month": event(
        **span(local("2026-01-25T10:30"), hours=1), recurrence="FREQ=MONTHLY;BYDAY=-1SU;COUNT=12"
    ),
    "last working day": event(
        **span(local("2026-01-30T10:30"), hours=1),
        recurrence="FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1;COUNT=12",
    ),
    "a thousand": event(**span(local("2025-03-01T23:30"), hours=1), recurrence="FREQ=DAILY;COUNT=1000"),
    "in UTC": event(
        **span(local("2026-03-01T23:30", "UTC"), hours=1), time_zone="Etc/UTC", recurrence="FREQ=DAILY;UNTIL=20260303"
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_two_other_readers_find_the_same(case: str) -> None:
    assert_read(CASES[case])


RULES: Final = (
    *("FREQ=DAILY;COUNT=12", "FREQ=DAILY;INTERVAL=3;COUNT=9", "FREQ=WEEKLY;COUNT=20", "FREQ=MONTHLY;COUNT=8"),
    *("FREQ=YEARLY;COUNT=4", "FREQ=WEEKLY;INTERVAL=2;WKST=SU;COUNT=10", "FREQ=DAILY;UNTIL={day}"),
    *("FREQ=WEEKLY;UNTIL={day}", "FREQ=DAILY;UNTIL={day}T{time}Z", "FREQ=MONTHLY;BYMONTHDAY={number};COUNT=9"),
    *("FREQ=MONTHLY;BYDAY=-1{weekday};COUNT=9", "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=1;COUNT=9"),
)


@st.composite
def events(draw: st.DrawFn) -> Listed:
    """Around the days on which clocks change, all-day or not, with single occurrences moved, named and taken out."""
    zone = draw(st.sampled_from(ZONES))
    first = date(2026, draw(st.integers(1, 12)), draw(st.integers(1, 28)))
    rule = draw(st.sampled_from((None, *RULES)))
    if rule is not None:
        last = first + timedelta(days=draw(st.integers(0, 60)))
        rule = rule.format(
            day=f"{last:%Y%m%d}",
            time=f"{draw(st.integers(0, 23)):02}3000",
            number=first.day,
            weekday=("MO", "TU", "WE", "TH", "FR", "SA", "SU")[first.weekday()],
        )
    when: dict[str, Any]
    if draw(st.booleans()):
        when = {"first_day": first, "last_day": first + timedelta(days=draw(st.integers(0, 3)))}
    else:
        clock = f"{draw(st.integers(0, 23)):02}:{draw(st.sampled_from((0, 15, 30, 59))):02}:00"
        begins = local(f"{first}T{clock}", zone, fold=draw(st.integers(0, 1)))
        when = span(begins, minutes=draw(st.sampled_from((0, 15, 60, 90, 600, 1440, 4000))))
    try:
        plain = event(time_zone=zone, recurrence=rule, **when)
        if rule is None:
            return plain
        days = [one.day for one in plain.values.occurrences]
        out = draw(st.sets(st.sampled_from(days), max_size=min(3, len(days) - 1)))
        own = draw(st.sets(st.sampled_from(days), max_size=3))
        moved = [draw(_own(plain, day)) for day in sorted(own)]
        return event(time_zone=zone, recurrence=rule, excluded=tuple(out), moved=tuple(moved), **when)
    except Unacceptable:
        assume(False)
        raise


@st.composite
def _own(draw: st.DrawFn, one: Listed, day: str) -> dict[str, Any]:
    later = timedelta(hours=draw(st.integers(-30, 30)))
    was = next(each.span for each in one.values.occurrences if each.day == day)
    own: dict[str, Any] = {"key": day, "title": draw(st.sampled_from((None, "Easter"))), "location": None}
    if was.first_day is not None and was.last_day is not None:
        return own | {"first_day": was.first_day + timedelta(days=1), "last_day": was.last_day + timedelta(days=2)}
    return own | {"starts_at": was.starts_at + later, "ends_at": was.ends_at + later + timedelta(minutes=30)}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(one=events())
def test_any_event_is_read_as_it_is(one: Listed) -> None:
    assert_read(one)


TEXTS: Final = (
    "Soup, bread; and \\more\\, please",
    "C:\\New\\names",
    "BEGIN:VEVENT\nUID:another\nEND:VEVENT",
    'It\'s "quoted": yes?',
    "☕ Kaffee & Kuchen 🎉 für äöü",
    "x" * 3000,
    "😀" * 900 + "\n" + "é, " * 500,
    " two  spaces \n\n\n last",
)


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], include_characters="\n,;\\nN"), min_size=1))
def test_any_text_comes_back_as_it_is(text: str) -> None:
    assert_comes_back(text)


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_comes_back_as_it_is(text: str) -> None:
    assert_comes_back(text)


def assert_comes_back(text: str) -> None:
    line = text.replace("\n", " ")
    feed = written(event(**span(local("2026-03-01T10:30"), hours=1), title=line, location=line, description=text))
    assert all(len(each) <= 75 for each in feed.split(b"\r\n")), "octets of a line (RFC 5545, 3.1)"
    assert b"\n" not in feed.replace(b"\r\n", b"")
    (one,) = Calendar.from_ical(feed).walk("VEVENT")
    assert (str(one["SUMMARY"]), str(one["LOCATION"]), str(one["DESCRIPTION"])) == (line, line, text)


def test_what_a_feed_says_and_what_it_does_not() -> None:
    about = "Ask Ada, ada@example.org: javascript:alert(1) http://example.org"
    one = event(**span(local("2026-03-01T10:30"), hours=1), description=about)
    feed = written(one, name="First, Church")
    for line in ("NAME:First\\, Church", "X-WR-CALNAME:First\\, Church", "REFRESH-INTERVAL;VALUE=DURATION:PT1H"):
        assert f"\r\n{line}\r\n".encode() in feed
    (shown,) = Calendar.from_ical(feed).walk("VEVENT")
    names = {"UID", "DTSTAMP", "LAST-MODIFIED", "SEQUENCE", "SUMMARY", "LOCATION", "DESCRIPTION", "DTSTART", "DTEND"}
    assert set(shown) == names, "no link, nobody invited, nobody's name"
    assert str(shown["UID"]) == "00000000-0000-0000-0000-000000000007@calendar-sync"
    assert shown["SEQUENCE"] == 3
    assert shown.decoded("DTSTAMP") == shown.decoded("LAST-MODIFIED") == one.updated_at


def test_an_event_without_a_rule_and_with_several_occurrences_is_several() -> None:
    series = event(**span(local("2026-03-01T10:30"), hours=1), recurrence="FREQ=WEEKLY;COUNT=3", excluded=("20260308",))
    values = series.values
    listed = replace(series, values=replace(values, times=replace(values.times, recurrence=None)))
    assert_read(listed)
    uids = {str(one["UID"]) for one in Calendar.from_ical(written(listed)).walk("VEVENT")}
    assert uids == {f"{day}T103000-{series.uid}" for day in ("20260301", "20260315")}


@pytest.mark.parametrize("zone", [*(zone for zone in ZONES if "UTC" not in zone), "Africa/Cairo", "Antarctica/Troll"])
def test_a_zone_is_defined_as_it_is(zone: str) -> None:
    """As python-dateutil reads it, around every change and in between."""
    theirs, ours = tzical(StringIO(zone_definition(zone, 2026).decode())).get(zone), ZoneInfo(zone)
    half = timedelta(minutes=30)
    instants = [datetime(2024, 1, 1, tzinfo=UTC) + n * 7 * half for n in range(365 * 4 * 7)]
    offsets = [at.astimezone(ours).utcoffset() for at in instants]
    changed = [at for at, (before, after) in zip(instants[1:], pairwise(offsets), strict=True) if before != after]
    for at in [*instants[::50], *(each + n * half for each in changed for n in range(-8, 5))]:
        assert at.astimezone(theirs).replace(tzinfo=None) == at.astimezone(ours).replace(tzinfo=None), at


def test_a_zone_is_defined_once_and_utc_never() -> None:
    sunday = span(local("2026-03-01T10:30"), hours=1)
    feed = Calendar.from_ical(written(event(**sunday), event(**sunday), event(**sunday, time_zone="Etc/UTC")))
    assert [str(one["TZID"]) for one in feed.walk("VTIMEZONE")] == [NEW_YORK]
