"""An event as a whole, and what a change of it is in its history."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from calendar_sync.domain.events import Occurrence, Span, Times
from synckit.text import fold

OCCURRENCE: Final = "occurrence"
"""Field of a change of what one occurrence has of its own."""
_LONGEST_KEY_BYTES: Final = 2_000
"""An index takes no longer text; some characters become many when they are folded."""


@dataclass(frozen=True, slots=True)
class Whole:
    """All that a person can change of an event."""

    title: str
    location: str | None
    description: str | None
    times: Times
    occurrences: tuple[Occurrence, ...]
    listed: bool = False
    """Whether its occurrences are listed one by one, as Planning Center has them, and follow from no rule."""


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field before and after, as JSON."""

    field: str
    before: Any
    after: Any


def title_key(title: str) -> str:
    """The key by which a title is searched and lists are ordered."""
    return fold(title).encode()[:_LONGEST_KEY_BYTES].decode(errors="ignore")


def changes(before: Whole, after: Whole) -> list[FieldChange]:
    """The differences: fields of the event, and what single occurrences have of their own."""
    was, now = _fields(before), _fields(after)
    found = [FieldChange(name, was[name], now[name]) for name in now if was[name] != now[name]]
    both = before.listed and after.listed
    was, now = _own(before, both_listed=both), _own(after, both_listed=both)
    # The key moves with the rule: it names the occurrence, and is no value of it.
    return found + [
        FieldChange(OCCURRENCE, was.get(day), now.get(day))
        for day in sorted(was.keys() | now.keys())
        if _values(was.get(day)) != _values(now.get(day)) and not (both and _is_forgotten(was, now, day))
    ]


def _is_forgotten(was: Mapping[str, Any], now: Mapping[str, Any], key: str) -> bool:
    """Whether a list forgot an occurrence that was taken out before: its history has that already."""
    return key not in now and bool(was[key].get("cancelled"))


def _fields(one: Whole) -> dict[str, Any]:
    times = one.times
    return {
        "title": one.title,
        "location": one.location,
        "description": one.description,
        **_span(times.span),
        "time_zone": times.time_zone,
        "recurrence": times.recurrence,
    }


def _span(span: Span) -> dict[str, Any]:
    if span.first_day is not None and span.last_day is not None:
        days = (span.first_day.isoformat(), span.last_day.isoformat())
        return {"starts_at": None, "ends_at": None, "first_day": days[0], "last_day": days[1]}
    return {
        "starts_at": span.starts_at.isoformat(),
        "ends_at": span.ends_at.isoformat(),
        "first_day": None,
        "last_day": None,
    }


def _own(one: Whole, *, both_listed: bool) -> dict[str, dict[str, Any]]:
    """What single occurrences have of their own, by day; of lists all there is, by key.

    Between a list and a rule the change of the rule says enough: a list has a thousand occurrences.
    """
    if not one.listed:
        return {each.day: dict(_own_values(each)) for each in one.occurrences if each.own}
    if not both_listed:
        return {}
    times = len(one.occurrences) > 1
    return {each.key: dict(_own_values(each, times=times)) for each in one.occurrences if times or each.own}


def _own_values(one: Occurrence, *, times: bool = False) -> Iterator[tuple[str, Any]]:
    yield "key", one.key
    if one.cancelled:
        yield "cancelled", True
    if one.moved or times:
        yield from ((name, value) for name, value in _span(one.span).items() if value is not None)
    if one.title is not None:
        yield "title", one.title
    if one.location is not None:
        yield "location", one.location


def _values(own: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (own or {}).items() if name != "key"}
