"""Events as iCalendar (RFC 5545, RFC 7986).

Readers of calendars differ where clocks change: whether the second 01:30 of a night exists, what 02:30 means when it
does not, and whether a series keeps the exact duration or the one by the clock. An occurrence that they could read
differently is written out like one that was moved, in UTC where the zone has no words for it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from icalendar import Calendar, Event, Timezone, TimezoneDaylight, TimezoneStandard, vRecur, vText

from calendar_sync.domain.changes import Whole
from calendar_sync.domain.events import Occurrence, Span
from calendar_sync.domain.recurrence import read_rule
from calendar_sync.domain.zones import instant, local_time

REFRESH: Final = timedelta(hours=1)
"""How often readers are asked to look."""
END: Final = b"END:VCALENDAR\r\n"
_PRODUCT: Final = "-//Planning Center integration//calendar-sync//EN"
_ONE_DAY: Final = timedelta(days=1)
_ONE_SECOND: Final = timedelta(seconds=1)
_LAST_SECOND: Final = time(23, 59, 59)
_OF_UTC: Final = frozenset({"UTC", "Etc/UTC", "UCT", "Etc/UCT", "Zulu", "Etc/Zulu", "Universal", "Etc/Universal"})
_YEARS_BEFORE: Final = 12
_YEARS_AFTER: Final = 14
"""A series lasts ten years, and the feed begins two years ahead at most."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An event of the feed."""

    id: UUID
    version: int
    updated_at: datetime
    values: Whole

    @property
    def uid(self) -> str:
        """The same for every version; it names no church."""
        return f"{self.id}@calendar-sync"


class _Text(vText):
    r"""Text whose `\N` stays what it is: icalendar (7.3) takes it for a line break before it escapes the backslash."""

    def to_ical(self) -> bytes:
        escaped = self.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,")
        return escaped.replace("\r\n", "\\n").replace("\r", "\\n").replace("\n", "\\n").encode()


def head(name: str, zones: Iterable[str], year: int) -> bytes:
    """The calendar up to its first event. zones: IANA names of events' zones."""
    calendar = Calendar()
    calendar.add("prodid", _PRODUCT)
    calendar.add("version", "2.0")
    calendar.add("name", _Text(name))
    calendar.add("x-wr-calname", _Text(name))
    calendar.add("refresh-interval", REFRESH, parameters={"VALUE": "DURATION"})
    calendar.add("x-published-ttl", "PT1H")
    parts = [calendar.to_ical().removesuffix(END), *(zone_definition(zone, year) for zone in sorted(zones))]
    return b"".join(parts)


@lru_cache(maxsize=600)
def zone_definition(zone: str, year: int) -> bytes:
    """The VTIMEZONE of a zone, for the years around this one; empty for UTC, which needs none.

    icalendar's own (7.3) misses changes that are undone within two months, and begins the others by the clock that they
    set instead of the one before (RFC 5545, 3.6.5).
    """
    if zone in _OF_UTC:
        return b""
    first, last = (datetime(year + years, 1, 1, tzinfo=UTC) for years in (-_YEARS_BEFORE, _YEARS_AFTER))
    onsets: dict[tuple[timedelta, timedelta, str], list[datetime]] = {}
    for at, before, after, name in _changes(ZoneInfo(zone), first, last):
        onsets.setdefault((before, after, name), []).append((at + before).replace(tzinfo=None))
    definition = Timezone()
    definition.add("tzid", zone)
    for (before, after, name), (onset, *later) in onsets.items():
        part = TimezoneDaylight() if after > before else TimezoneStandard()
        part.DTSTART = onset
        part.TZOFFSETFROM, part.TZOFFSETTO = before, after
        part.add("tzname", name)
        if later:
            part.add("rdate", later)
        definition.add_component(part)
    return bytes(definition.to_ical())


def _changes(zone: ZoneInfo, first: datetime, last: datetime) -> Iterator[tuple[datetime, timedelta, timedelta, str]]:
    """The instants (UTC) at which clocks change, with the offsets before and after and the name after. The first
    instant is one of them.
    """
    before = _offset(first, zone)
    yield first, before, before, _name(first, zone)
    day = first
    while day < last:
        following = day + _ONE_DAY
        if (after := _offset(following, zone)) != before:
            begins, ends = day, following
            while ends - begins > _ONE_SECOND:
                middle = begins + (ends - begins) // 2
                begins, ends = (middle, ends) if _offset(middle, zone) == before else (begins, middle)
            at = ends.replace(microsecond=0)
            yield at, before, after, _name(at, zone)
            before = after
        day = following


def _offset(at: datetime, zone: ZoneInfo) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta()


def _name(at: datetime, zone: ZoneInfo) -> str:
    return at.astimezone(zone).tzname() or ""


def components(event: Listed) -> Iterator[bytes]:
    """The VEVENTs of an event, one by one: a long series has a thousand."""
    values = event.values
    held = [one for one in values.occurrences if not one.cancelled]
    if values.times.recurrence is not None:
        yield _series(event, values.times.recurrence)
        yield from (_alone(event, one, recurrence_id=_start_of(event, one)) for one in held if _own(event, one))
        return
    for one in held:
        yield _alone(event, one, uid=event.uid if len(held) == 1 else f"{one.key}-{event.uid}")


def _series(event: Listed, recurrence: str) -> bytes:
    values = event.values
    times, span = values.times, values.times.span
    component = _component(event, event.uid, values.title, values.location)
    if span.first_day is not None and span.last_day is not None:
        _put_days(component, span.first_day, span.last_day)
    else:
        component.add("dtstart", _in_zone(local_time(span.starts_at, times.time_zone), times.time_zone))
        if span.ends_at > span.starts_at:
            component.add("duration", span.ends_at - span.starts_at)
    component.add("rrule", _rule(recurrence, times.time_zone, all_day=times.all_day))
    taken_out = [_start_of(event, one) for one in values.occurrences if one.cancelled]
    if taken_out:
        component.add("exdate", taken_out, parameters={"VALUE": "DATE"} if times.all_day else {})
    return bytes(component.to_ical())


def _rule(text: str, zone: str, *, all_day: bool) -> vRecur:
    rule: vRecur = vRecur.from_ical(text)
    until = read_rule(text).until
    if until is not None and not isinstance(until, datetime) and not all_day:
        rule["UNTIL"] = [instant(datetime.combine(until, _LAST_SECOND), zone)]
    return rule


def _alone(event: Listed, one: Occurrence, *, uid: str = "", recurrence_id: date | None = None) -> bytes:
    values, span, zone = event.values, one.span, event.values.times.time_zone
    component = _component(event, uid or event.uid, one.title or values.title, one.location or values.location)
    if recurrence_id is not None:
        component.add("recurrence-id", recurrence_id)
    if span.first_day is not None and span.last_day is not None:
        _put_days(component, span.first_day, span.last_day)
    else:
        begins, ends = _moments(span, zone)
        component.add("dtstart", begins)
        if span.ends_at > span.starts_at:
            component.add("dtend", ends)
    return bytes(component.to_ical())


def _component(event: Listed, uid: str, title: str, location: str | None) -> Event:
    component = Event()
    component.add("uid", uid)
    component.add("dtstamp", event.updated_at.astimezone(UTC))
    component.add("last-modified", event.updated_at.astimezone(UTC))
    component.add("sequence", event.version)
    component.add("summary", _Text(title))
    if location is not None:
        component.add("location", _Text(location))
    if event.values.description is not None:
        component.add("description", _Text(event.values.description))
    return component


def _put_days(component: Event, first: date, last: date) -> None:
    component.add("dtstart", first)
    component.add("dtend", last + _ONE_DAY)


def _start_of(event: Listed, one: Occurrence) -> date:
    """The start that the rule gives an occurrence: a date, or a time in the event's zone."""
    times = event.values.times
    if times.all_day:
        return date.fromisoformat(one.key)
    return _in_zone(_local_start(one), times.time_zone)


def _local_start(one: Occurrence) -> datetime:
    return datetime.fromisoformat(one.key)


def _own(event: Listed, one: Occurrence) -> bool:
    """Whether an occurrence needs words of its own."""
    if one.own or event.values.times.all_day:
        return one.own
    span, zone = event.values.times.span, event.values.times.time_zone
    start = _local_start(one)
    return _by_clock(one.span, zone) != (start, start + (span.ends_at - span.starts_at))


def _by_clock(span: Span, zone: str) -> tuple[datetime, datetime] | None:
    """Begin and end as clocks show them; None if one of these times means another instant."""
    begins, ends = (local_time(at, zone) for at in (span.starts_at, span.ends_at))
    exact = instant(begins, zone) == span.starts_at and instant(ends, zone) == span.ends_at
    return (begins, ends) if exact else None


def _moments(span: Span, zone: str) -> tuple[datetime, datetime]:
    """Both in the event's zone or both in UTC: some readers take the difference of one of each for a time by the
    clock.
    """
    shown = _by_clock(span, zone)
    if shown is None:
        return span.starts_at.astimezone(UTC), span.ends_at.astimezone(UTC)
    return _in_zone(shown[0], zone), _in_zone(shown[1], zone)


def _in_zone(local: datetime, zone: str) -> datetime:
    return local.replace(tzinfo=UTC if zone in _OF_UTC else ZoneInfo(zone))
