"""A linked event after a read of Planning Center. Pure, and idempotent: taking over twice is taking over once.

A series becomes a list: Planning Center shows occurrences and no rule. An occurrence keeps its key for as long as
Planning Center keeps its id, or shows another one with the same start.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from calendar_sync.domain.changes import OCCURRENCE, Whole
from calendar_sync.domain.events import MOST_OWN_BYTES, Occurrence, Span, Times, key_of, occurrences
from calendar_sync.domain.planning_center import Seen, SeenInstance, span_of
from calendar_sync.domain.sentences import MORE_THAN_A_LIST, NO_DATE, ONE_OF_A_SERIES, TEXTS_LEFT_OUT, UNREADABLE_DATES
from calendar_sync.domain.zones import local_time
from contracts.http.calendar import LARGEST_SERIES

TITLE: Final = "title"
LOCATION: Final = "location"
DESCRIPTION: Final = "description"
TIMES: Final = "times"
MOST_TAKEN_OUT: Final = 200
"""Occurrences of a list that are kept though Planning Center has them no more: the nearest to now."""
_LONGEST_OWN_BYTES: Final = 3_100
"""UTF-8 of the longest title and location of one occurrence."""
KEPT: Final = (TITLE, LOCATION, DESCRIPTION, TIMES)
"""The parts that a person can restore. A check leaves restored ones alone."""


@dataclass(frozen=True, slots=True)
class Reach:
    """The time that was read completely; the end is exclusive."""

    begins: datetime
    ends: datetime

    def has(self, span: Span) -> bool:
        """Whether an occurrence then would have been read."""
        return span.starts_at < self.ends and (span.ends_at > self.begins or span.starts_at >= self.begins)


@dataclass(frozen=True, slots=True)
class There:
    """A linked event as it was read."""

    event: Seen
    instances: tuple[SeenInstance, ...]
    one: bool = False
    """Whether the link is to the one occurrence that `instances` has."""
    reach: Reach | None = None
    """None: all occurrences were read."""

    @property
    def times(self) -> dict[tuple[str, str], datetime | None]:
        """`updated_at` of what was read, by Planning Center's type and id."""
        instances = {("EventInstance", one.id): one.updated_at for one in self.instances}
        return {("Event", self.event.id): self.event.updated_at, **instances}


@dataclass(frozen=True, slots=True)
class Taken:
    """An event after a read."""

    values: Whole
    note: str | None = None
    """The sentence that the page shows about it."""
    vanished: bool = False
    """Whether an occurrence was taken out because the read does not show it."""


@dataclass(slots=True)
class _Match:
    """An occurrence there, with the one here that it is."""

    instance: SeenInstance
    span: Span
    here: Occurrence | None = None


def after(before: Whole, there: There, zone: str, now: datetime, kept: Collection[str] = ()) -> Taken:
    """The event afterwards. `zone`: the church's; `now` chooses from more than a list holds; `kept`: see `KEPT`."""
    readable = [_Match(one, span) for one in there.instances if (span := span_of(one, zone)) is not None]
    taken = Taken(before)
    if TIMES not in kept:
        if there.one:
            taken = _single(before, readable, zone)
        elif there.instances:
            taken = _list(before, there, readable, zone, now)
        elif there.reach is None:
            taken = Taken(before, NO_DATE)
    values = _with_texts(before, taken.values, there, kept)
    held = _bounded(values.occurrences)
    note = taken.note
    if held != values.occurrences:
        note = f"{note} {TEXTS_LEFT_OUT}" if note else TEXTS_LEFT_OUT
    return replace(taken, values=replace(values, occurrences=held), note=note)


def still(note: str | None, there: There, found: Taken) -> Taken:
    """A read with those sentences of the event's note before that a read of a part of its dates does not refute."""
    if there.one and note == ONE_OF_A_SERIES and found.note is None and there.instances[0].repeats is None:
        return replace(found, note=note)
    if there.reach is None or not note or there.one:
        return found
    active = sum(not one.cancelled for one in found.values.occurrences)
    near = _own_bytes(found.values.occurrences) > MOST_OWN_BYTES - _LONGEST_OWN_BYTES
    holds = {MORE_THAN_A_LIST: active >= LARGEST_SERIES, TEXTS_LEFT_OUT: near}
    said = found.note or ""
    more = [sentence for sentence, true in holds.items() if true and sentence in note and sentence not in said]
    return replace(found, note=" ".join([*([said] if said else []), *more]) or None)


def _single(before: Whole, readable: Sequence[_Match], zone: str) -> Taken:
    if not readable:
        return Taken(before, UNREADABLE_DATES)
    times = Times(readable[0].span, zone)
    (only,) = occurrences(times)
    own = replace(only, pco_instance_id=readable[0].instance.id)
    note = ONE_OF_A_SERIES if readable[0].instance.repeats else None
    return Taken(replace(before, times=times, occurrences=(own,), listed=False), note)


def _list(before: Whole, there: There, readable: list[_Match], zone: str, now: datetime) -> Taken:
    note = UNREADABLE_DATES if len(readable) < len(there.instances) else None
    seen = {one.id for one in there.instances}
    dropped: set[str] = set()
    if len(readable) > LARGEST_SERIES:
        readable = sorted(readable, key=lambda one: (abs(one.span.starts_at - now), one.instance.id))
        dropped = {one.instance.id for one in readable[LARGEST_SERIES:]}
        readable, note = readable[:LARGEST_SERIES], MORE_THAN_A_LIST
    by_id = {one.pco_instance_id: one for one in before.occurrences if one.pco_instance_id in seen}
    for match in readable:
        match.here = by_id.get(match.instance.id)
    several = before.listed or before.times.recurrence is not None
    shown = there.reach or (_from_the_first(readable, now) if several else None)
    free = [
        one for one in before.occurrences if one.pco_instance_id not in seen and (shown is None or shown.has(one.span))
    ]
    _recognise(readable, free, zone, anew=not before.listed)
    recognised = {match.here.key for match in readable if match.here is not None}
    gone = {one.key for one in free if one.key not in recognised and not one.cancelled}
    left = [
        replace(one, cancelled=True) if one.key in gone else one
        for one in before.occurrences
        if one.key not in recognised and one.pco_instance_id not in dropped
    ]
    those = [*_keyed(readable, before, zone), *left]
    active = [one for one in those if not one.cancelled]
    if not active:
        return Taken(before, note or NO_DATE)
    if len(active) > LARGEST_SERIES:
        nearest = sorted(active, key=lambda one: (abs(one.span.starts_at - now), one.key))[:LARGEST_SERIES]
        those = [*nearest, *(one for one in those if one.cancelled)]
        active, note = nearest, f"{note} {MORE_THAN_A_LIST}" if note and note != MORE_THAN_A_LIST else MORE_THAN_A_LIST
    taken_out = sorted(
        (one for one in those if one.cancelled), key=lambda one: (abs(one.span.starts_at - now), one.key)
    )
    those = [*active, *taken_out[:MOST_TAKEN_OUT]]
    first = min(active, key=lambda one: (one.span.starts_at, one.key))
    times = Times(first.span, zone)
    values = replace(before, times=times, occurrences=tuple(sorted(those, key=_key)), listed=True)
    return Taken(values, note, vanished=bool(gone))


def _from_the_first(readable: Sequence[_Match], now: datetime) -> Reach:
    """The time that a read of all occurrences is sure to show. Whether Planning Center lists those that are over is
    unconfirmed, so what is over and lies before all that it lists is left as it is.
    """
    return Reach(min([now, *(one.span.starts_at for one in readable)]), datetime.max.replace(tzinfo=UTC))


def _recognise(matches: Sequence[_Match], free: Sequence[Occurrence], zone: str, *, anew: bool) -> None:
    """Give occurrences there that are not known by their id the one here with the same start, else on the same day.

    anew: the event was just linked; a single occurrence here is then the single one there, whenever that is.
    """
    left = {one.key: one for one in free}
    if anew and len(matches) == len(left) == 1:
        (matches[0].here,) = left.values()
    for of_span in (_start, lambda span: _day(span, zone)):
        at: dict[object, list[Occurrence]] = defaultdict(list)
        for one in sorted(left.values(), key=lambda one: (one.cancelled, one.span.starts_at, one.key)):
            at[of_span(one.span)].append(one)
        unknown = [match for match in matches if match.here is None]
        for match in sorted(unknown, key=lambda match: (match.span.starts_at, match.instance.id)):
            if those := at[of_span(match.span)]:
                match.here = those.pop(0)
                del left[match.here.key]


def differing(one: Whole, other: Whole) -> list[str]:
    """The parts in which two states of an event differ, as in `KEPT`."""
    found = [name for name in (TITLE, LOCATION, DESCRIPTION) if getattr(one, name) != getattr(other, name)]
    return found + ([TIMES] if (one.times, dates(one)) != (other.times, dates(other)) else [])


def parts_of(fields: Iterable[str]) -> list[str]:
    """The parts of an event, as in `KEPT`, that changes of these fields of its history touch."""
    changed = set(fields)
    of_times = changed & {OCCURRENCE, "starts_at", "ends_at", "first_day", "last_day", "time_zone", "recurrence"}
    return [name for name in KEPT if name in changed or (name == TIMES and of_times)]


def dates(one: Whole) -> list[Span]:
    """When an event takes place."""
    return [each.span for each in one.occurrences if not each.cancelled]


def _start(span: Span) -> object:
    return span.first_day or span.starts_at


def _day(span: Span, zone: str) -> object:
    return span.first_day or local_time(span.starts_at, zone).date()


def _keyed(matches: Sequence[_Match], before: Whole, zone: str) -> list[Occurrence]:
    taken = {one.key for one in before.occurrences}
    found = []
    for match in sorted(matches, key=lambda match: (match.span.starts_at, match.instance.id)):
        if match.here is not None:
            one = replace(match.here, span=match.span, moved=False, cancelled=False)
        else:
            one = Occurrence(_free_key(key_of(match.span, zone), taken), match.span)
            taken.add(one.key)
        found.append(replace(one, pco_instance_id=match.instance.id))
    return found


def _free_key(key: str, taken: Collection[str]) -> str:
    number, free = 1, key
    while free in taken:
        number += 1
        free = f"{key}-{number}"
    return free


def _key(one: Occurrence) -> str:
    return one.key


def _with_texts(before: Whole, values: Whole, there: There, kept: Collection[str]) -> Whole:
    seen = {one.id: one for one in there.instances}
    name = there.event.name
    if there.one and there.instances:
        name = there.instances[0].name or name
    if name and TITLE not in kept:
        values = replace(values, title=name)
    if there.event.description is not None and DESCRIPTION not in kept:
        values = replace(values, description=there.event.description or None)
    if LOCATION not in kept:
        values = _with_locations(before, values, seen, own=TIMES not in kept and (values.listed or there.one))
    if not there.one:
        of_event = name or before.title
        those = tuple(_named(one, seen.get(one.pco_instance_id or ""), of_event) for one in values.occurrences)
        values = replace(values, occurrences=those)
    return values


def _named(one: Occurrence, seen: SeenInstance | None, of_event: str) -> Occurrence:
    if seen is None or not seen.name:
        return one
    return replace(one, title=None if seen.name == of_event else seen.name)


def _with_locations(before: Whole, values: Whole, seen: dict[str, SeenInstance], *, own: bool) -> Whole:
    """The event's location is the one that all its occurrences share; else each has its own.

    own: whether the occurrences here are those there.
    """
    if not own:
        told_of = {one.location or None for one in seen.values() if one.location is not None}
        return replace(values, location=told_of.pop()) if len(told_of) == 1 else values
    known = {one.key for one in before.occurrences}
    at: dict[str, str | None] = {}
    for one in values.occurrences:
        told = seen.get(one.pco_instance_id or "")
        if told is not None and told.location is not None:
            at[one.key] = told.location or None
        else:
            at[one.key] = (one.location or before.location) if one.key in known or not values.listed else None
    shared = {at[one.key] for one in values.occurrences if not one.cancelled and one.pco_instance_id is not None}
    location = shared.pop() if len(shared) == 1 else None
    those = tuple(
        one if one.cancelled else replace(one, location=None if at[one.key] == location else at[one.key])
        for one in values.occurrences
    )
    return replace(values, location=location, occurrences=those)


def _own_bytes(those: Iterable[Occurrence]) -> int:
    return sum(len(text.encode()) for one in those for text in (one.title, one.location) if text)


def _bounded(those: tuple[Occurrence, ...]) -> tuple[Occurrence, ...]:
    """Leave out texts of single occurrences that no message could carry together."""
    left, found = MOST_OWN_BYTES, []
    for one in those:
        left -= _own_bytes((one,))
        found.append(one if left >= 0 else replace(one, title=None, location=None))
    return tuple(found)
