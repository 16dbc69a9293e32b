"""Which events of Planning Center may be an event here, with reasons and a strength in words. Pure.

Candidates are compared only with what takes place on the same days, so a large calendar stays cheap.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import islice
from typing import Final

from rapidfuzz import fuzz

from calendar_sync.domain.events import Span
from calendar_sync.domain.zones import local_time
from synckit.text import fold

VERY_LIKELY: Final = "Very likely"
LIKELY: Final = "Likely"
POSSIBLE: Final = "Possible"
MOST: Final = 5
"""Suggestions for one event."""
MOST_COMPARED: Final = 200
"""Candidates of an event's days; further ones are not looked at."""
_FREQUENCIES: Final = {"DAILY": "daily", "WEEKLY": "weekly", "MONTHLY": "monthly", "YEARLY": "yearly"}


@dataclass(frozen=True, slots=True)
class Candidate:
    """An occurrence there."""

    event_id: str
    instance_id: str
    title: str
    span: Span
    location: str | None
    repeats: str
    """`daily`, `weekly`, `monthly`, `yearly`, another word, or empty for a single date."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A candidate, and why."""

    candidate: Candidate
    score: int
    """0 to 100."""
    strength: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Local:
    """An event here: its next occurrence, and whether it repeats."""

    title: str
    span: Span
    location: str | None
    repeats: str


def frequency(recurrence: str | None) -> str:
    """How often a rule repeats, in a word; empty for none."""
    for name, word in _FREQUENCIES.items():
        if recurrence and f"FREQ={name}" in recurrence:
            return word
    return ""


class ByDay:
    """Candidates by the days on which they begin, in the church's zone."""

    def __init__(self, candidates: Iterable[Candidate], zone: str) -> None:
        self._zone = zone
        self._days: dict[date, list[Candidate]] = defaultdict(list)
        for one in sorted(candidates, key=lambda one: (one.span.starts_at, one.event_id, one.instance_id)):
            self._days[self._day(one.span)].append(one)

    def _day(self, span: Span) -> date:
        return span.first_day or local_time(span.starts_at, self._zone).date()

    def near(self, span: Span) -> list[tuple[int, Candidate]]:
        """Candidates of the same day and of those beside it, each with its distance in days."""
        day = self._day(span)
        found = ((abs(by), one) for by in (0, -1, 1) for one in self._days.get(day + timedelta(days=by), ()))
        return list(islice(found, MOST_COMPARED))

    def has_all(self, span: Span) -> bool:
        """Whether `near` has all candidates of these days."""
        day = self._day(span)
        return sum(len(self._days.get(day + timedelta(days=by), ())) for by in (0, -1, 1)) <= MOST_COMPARED


@dataclass(slots=True)
class Stretch:
    """Days to be read together."""

    first: date
    last: date
    days: int
    """How many of the given days lie in it, each with the days beside it."""


def stretches(days: Sequence[date], density: float, worth: float, most: float) -> list[Stretch]:
    """Days and those beside them, joined in their order while the days between cost no more than another request.

    density: occurrences of a day; worth: occurrences that cost as much as another request; most: of one stretch.
    """
    found: list[Stretch] = []
    for day in days:
        first, last = day - timedelta(days=1), day + timedelta(days=1)
        if found:
            here = found[-1]
            begin, end = min(here.first, first), max(here.last, last)
            added = ((end - begin) - (here.last - here.first)).days
            if added * density <= max(worth, 3 * density) and ((end - begin).days + 1) * density <= most:
                here.first, here.last, here.days = begin, end, here.days + 1
                continue
            if added == 0:
                here.days += 1
                continue
        found.append(Stretch(first, last, 1))
    return found


def suggest(local: Local, candidates: ByDay) -> list[Suggestion]:
    """The best candidates, the best first; each event of Planning Center once."""
    best: dict[str, Suggestion] = {}
    for distance, one in candidates.near(local.span):
        found = _judged(local, one, distance)
        if found and (one.event_id not in best or found.score > best[one.event_id].score):
            best[one.event_id] = found
    return sorted(best.values(), key=lambda one: (-one.score, one.candidate.event_id))[:MOST]


def _judged(local: Local, one: Candidate, distance: int) -> Suggestion | None:
    likeness = similarity(local.title, one.title)
    same_start = distance == 0 and (local.span.first_day, local.span.starts_at) == (
        one.span.first_day,
        one.span.starts_at,
    )
    same_room = bool(local.location and one.location) and fold(local.location or "") == fold(one.location or "")
    both = bool(local.repeats) and local.repeats == one.repeats
    points = round(likeness * 50) + (20 if distance == 0 else 5) + 15 * same_start + 10 * same_room + 5 * both
    if likeness < 0.5 and not (same_start and same_room):
        return None
    reasons = [
        "same day" if distance == 0 else "a day apart",
        *(["same start"] if same_start else []),
        f"{round(likeness * 100)} % same title",
        *(["same room"] if same_room else []),
        *([f"both repeat {local.repeats}"] if both else []),
    ]
    return Suggestion(one, min(points, 100), _strength(likeness, points), tuple(reasons))


def _strength(likeness: float, points: int) -> str:
    if likeness >= 0.85 and points >= 80:
        return VERY_LIKELY
    return LIKELY if points >= 60 else POSSIBLE


def similarity(one: str, other: str) -> float:
    """0 to 1, without regard to case, accents and punctuation."""
    return fuzz.ratio(fold(one), fold(other)) / 100
