"""Decisions about an event: its times, the occurrences that follow from its rule, and single ones' own values."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, TypeAlias

from calendar_sync.domain.recurrence import Rule, UnacceptableRule, read_rule, starts
from calendar_sync.domain.zones import instant, is_zone, local_time, midnight

Fault: TypeAlias = tuple[str, str]
"""A field, and what is wrong with it, to follow its name."""
MOST_OWN_BYTES: Final = 300_000
"""UTF-8 of the titles and locations that occurrences of one event have of their own: one fact carries them all."""
_KEY: Final = "%Y%m%dT%H%M%S"
_DAY_KEY: Final = "%Y%m%d"
_LONGEST: Final = timedelta(days=366)
_EARLIEST: Final = date(1900, 1, 1)
_LATEST: Final = date(2199, 12, 31)
_ONE_DAY: Final = timedelta(days=1)
_TIMES: Final = ("starts_at", "ends_at")
_DAYS: Final = ("first_day", "last_day")


class Unacceptable(ValueError):
    """An event that cannot be."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__(faults)
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Span:
    """From when to when. Of an all-day event the days count, and the instants are midnights in the event's zone."""

    starts_at: datetime
    ends_at: datetime
    first_day: date | None = None
    last_day: date | None = None


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One time at which an event takes place."""

    key: str
    """The local start that the rule gives it: iCalendar's RECURRENCE-ID. Of a listed one the local start at which
    Planning Center had it first, with a number behind it if another one had that."""
    span: Span
    title: str | None = None
    location: str | None = None
    moved: bool = False
    """Whether the span is its own."""
    cancelled: bool = False
    pco_instance_id: str | None = None
    """Its id in Planning Center, of a linked event."""

    @property
    def day(self) -> str:
        """The local day on which the rule lets it begin. No rule has two occurrences on one."""
        return self.key[:8]

    @property
    def own(self) -> bool:
        """Whether it differs from what the rule says."""
        return self.moved or self.cancelled or self.title is not None or self.location is not None


@dataclass(frozen=True, slots=True)
class Times:
    """When an event takes place: the span of the event itself, or of a series' first occurrence, and its rule."""

    span: Span
    time_zone: str
    recurrence: str | None = None

    @property
    def all_day(self) -> bool:
        """Whether the event has days, and no times."""
        return self.span.first_day is not None


def times(was: Times | None, sent: Mapping[str, Any]) -> Times:
    """The times of an event after a change, or of a new one. Unacceptable.

    sent: of `starts_at`, `ends_at`, `first_day`, `last_day`, `time_zone` and `recurrence` those that are sent. A zone
    is there if the event is new.
    """
    zone = sent.get("time_zone") or (was.time_zone if was else "")
    if not is_zone(zone):
        raise Unacceptable(("time_zone", "is no time zone: send an IANA name, such as America/New_York"))
    recurrence = sent.get("recurrence", was.recurrence if was else None)
    rule = _rule(recurrence) if recurrence else None
    found = Times(span(was.span if was else None, zone, sent), zone, rule.text if rule else None)
    if rule is not None and found.all_day and isinstance(rule.until, datetime):
        raise Unacceptable(("recurrence", "needs UNTIL as a day, such as 20261231, because the event has no times"))
    return found


def span(was: Span | None, zone: str, sent: Mapping[str, Any]) -> Span:
    """A span after a change, or a new one. Unacceptable."""
    at, on = ({name: sent[name] for name in names if sent.get(name) is not None} for names in (_TIMES, _DAYS))
    if at and on:
        raise Unacceptable(("first_day", "goes with last_day: send either days, or starts_at and ends_at"))
    if on or (not at and was is not None and was.first_day is not None):
        return _days(was, zone, on)
    return _instants(was, at)


def _instants(was: Span | None, sent: Mapping[str, datetime]) -> Span:
    known = {"starts_at": was.starts_at, "ends_at": was.ends_at} if was and was.first_day is None else {}
    given: dict[str, datetime] = known | dict(sent)
    if missing := [
        (name, "is required, unless the event has a first_day and last_day") for name in _TIMES if name not in given
    ]:
        raise Unacceptable(*missing)
    for name, value in given.items():
        # Without its offset first: an instant at the edge of what Python counts has none in UTC.
        if not _EARLIEST + _ONE_DAY <= value.date() <= _LATEST - _ONE_DAY:
            raise Unacceptable((name, "must lie between 1900 and 2199"))
    begins, ends = (given[name].astimezone(UTC).replace(microsecond=0) for name in _TIMES)
    if ends < begins:
        raise Unacceptable(("ends_at", "lies before starts_at"))
    if ends - begins > _LONGEST:
        raise Unacceptable(("ends_at", "lies more than a year after starts_at"))
    return Span(begins, ends)


def _days(was: Span | None, zone: str, sent: Mapping[str, date]) -> Span:
    known = {"first_day": was.first_day, "last_day": was.last_day} if was and was.first_day is not None else {}
    given: dict[str, Any] = known | dict(sent)
    if missing := [(name, "is required for an all-day event") for name in _DAYS if name not in given]:
        raise Unacceptable(*missing)
    for name, value in given.items():
        if not _EARLIEST + _ONE_DAY <= value <= _LATEST - _ONE_DAY:
            raise Unacceptable((name, "must lie between 1900 and 2199"))
    first, last = given["first_day"], given["last_day"]
    if last < first:
        raise Unacceptable(("last_day", "lies before first_day"))
    if last - first >= _LONGEST:
        raise Unacceptable(("last_day", "lies more than a year after first_day"))
    return all_day(first, last, zone)


def all_day(first: date, last: date, zone: str) -> Span:
    """The span of whole days."""
    return Span(midnight(first, zone), midnight(last + _ONE_DAY, zone), first, last)


def occurrences(of: Times, was: Times | None = None, before: Iterable[Occurrence] = ()) -> list[Occurrence]:
    """All occurrences, in the order of their keys. Unacceptable.

    was, before: times and occurrences before a change. One that was moved, taken out or has a text of its own keeps
    that where the series still has an occurrence on its day; times of its own only if the event has times, or days, as
    before.
    """
    own = {_day(one, was, of): one for one in before if one.own} if was and of.recurrence else {}
    found = [_keep(one, own.get(one.day), of) for one in _expanded(of)]
    if all(one.cancelled for one in found):
        raise Unacceptable(("recurrence", "would leave only occurrences that were taken out"))
    return found


def _day(one: Occurrence, was: Times, of: Times) -> str:
    """The day of an occurrence: by clocks of the new zone, if the event has another zone at the same instants."""
    same = was.time_zone == of.time_zone or was.span.starts_at != of.span.starts_at
    if same or was.all_day or of.all_day:
        return one.day
    began = instant(datetime.strptime(one.key, _KEY), was.time_zone)  # noqa: DTZ007 - a local time
    return local_time(began, of.time_zone).strftime(_DAY_KEY)


def _keep(one: Occurrence, before: Occurrence | None, of: Times) -> Occurrence:
    if before is None:
        return one
    kept = replace(one, title=before.title, location=before.location, cancelled=before.cancelled)
    own = before.span
    if not before.moved or (own.first_day is not None) != of.all_day:
        return kept
    if own.first_day is not None and own.last_day is not None:
        own = all_day(own.first_day, own.last_day, of.time_zone)
    return replace(kept, span=own, moved=True)


def _expanded(of: Times) -> list[Occurrence]:
    first, zone = of.span, of.time_zone
    if first.first_day is not None and first.last_day is not None:
        begin, length = datetime.combine(first.first_day, time()), first.last_day - first.first_day
        days = [start.date() for start in _starts(of, begin)]
        return [Occurrence(day.strftime(_DAY_KEY), all_day(day, day + length, zone)) for day in days]
    begin = local_time(first.starts_at, zone)
    found = []
    for start in _starts(of, begin):
        # An event that begins when clocks show a time for the second time begins then, whatever a rule would say.
        at = first.starts_at if start == begin else instant(start, zone)
        # The exact duration of the event (RFC 5545, 3.8.5.3).
        found.append(Occurrence(start.strftime(_KEY), Span(at, at + (first.ends_at - first.starts_at))))
    return found


def _starts(of: Times, first: datetime) -> Sequence[datetime]:
    if of.recurrence is None:
        return [first]
    try:
        return starts(read_rule(of.recurrence), first, lambda local: instant(local, of.time_zone))
    except UnacceptableRule as error:
        raise Unacceptable(("recurrence", str(error))) from error


def _rule(text: str) -> Rule:
    try:
        return read_rule(text)
    except UnacceptableRule as error:
        raise Unacceptable(("recurrence", str(error))) from error


def named(among: Iterable[Occurrence], key: str) -> Occurrence | None:
    """The occurrence with a key, or on the day that the key is (`20260405`)."""
    return next((one for one in among if key in {one.key, one.day}), None)


def changed(one: Occurrence, zone: str, ruled: Span, sent: Mapping[str, Any]) -> Occurrence:
    """One occurrence after a change of it alone. Unacceptable.

    ruled: its span by the rule. sent: those fields of it that are sent; null means the rule's times, the event's text.
    """
    one = replace(one, **{name: sent[name] for name in ("title", "location", "cancelled") if name in sent})
    right, wrong = (_DAYS, _TIMES) if ruled.first_day is not None else (_TIMES, _DAYS)
    if misplaced := [name for name in wrong if sent.get(name) is not None]:
        raise Unacceptable((misplaced[0], f"cannot be here: send {right[0]} and {right[1]}, as the event has them"))
    about = {name: sent[name] for name in right if name in sent}
    if not about:
        return one
    if all(value is None for value in about.values()):
        return replace(one, span=ruled, moved=False)
    own = span(one.span, zone, about)
    return replace(one, span=own, moved=own != ruled)


def key_of(span: Span, zone: str) -> str:
    """The key of an occurrence that begins then."""
    if span.first_day is not None:
        return span.first_day.strftime(_DAY_KEY)
    return local_time(span.starts_at, zone).strftime(_KEY)


def ruled_span(of: Times, key: str) -> Span:
    """The span that the rule gives the occurrence with a key."""
    return next(one.span for one in _expanded(of) if one.key == key)


def as_platform_says(
    of: Times,
    was: Times | None,
    before: Iterable[Occurrence],
    excluded: Sequence[str] | None,
    moved: Sequence[Mapping[str, Any]] | None,
) -> list[Occurrence]:
    """As `occurrences`, with lists of those that are taken out and of those that have something of their own.

    Either list replaces what was there of its kind; None leaves it. Unacceptable.
    """
    if of.recurrence is None:
        if excluded or moved:
            raise Unacceptable(("moved" if moved else "excluded", "belongs to a series: send its recurrence too"))
        return occurrences(of)
    if excluded is not None:
        before = [replace(one, cancelled=False) for one in before]
    if moved is not None:
        before = [replace(one, moved=False, title=None, location=None) for one in before]
    found = {one.key: one for one in occurrences(of, was, before)}
    faults: list[Fault] = []
    for place, one, sent in _each(found, "moved", [(own["key"], own) for own in moved or ()], faults):
        try:
            found[one.key] = changed(one, of.time_zone, one.span, sent)
        except Unacceptable as error:
            faults += [(f"{place}.{field}", message) for field, message in error.faults]
    for _, one, _ in _each(found, "excluded", [(key, {}) for key in excluded or ()], faults):
        found[one.key] = replace(one, cancelled=True)
    if all(one.cancelled for one in found.values()):
        faults.append(("excluded", "would leave no occurrence: delete the event instead"))
    if faults:
        raise Unacceptable(*faults)
    return list(found.values())


def _each(
    found: Mapping[str, Occurrence], name: str, keyed: Iterable[tuple[str, Mapping[str, Any]]], faults: list[Fault]
) -> Iterator[tuple[str, Occurrence, Mapping[str, Any]]]:
    """The occurrences of a list with their place in it; faults of keys are added to `faults`."""
    by_name = {key: one.key for one in found.values() for key in (one.day, one.key)}
    seen: set[str] = set()
    for position, (key, sent) in enumerate(keyed):
        place = f"{name}.{position}"
        exact = by_name.get(key)
        if exact is None or exact in seen:
            faults.append((place, "is no occurrence of this series" if exact is None else "is named twice"))
            continue
        seen.add(exact)
        yield place, found[exact], sent


def own_texts_fault(among: Iterable[Occurrence]) -> Fault | None:
    """Whether the occurrences' own titles and locations are too long for one fact."""
    size = sum(len(text.encode()) for one in among for text in (one.title, one.location) if text)
    if size <= MOST_OWN_BYTES:
        return None
    return "title", "is too long, with the titles and locations that other occurrences have: use the event's"
