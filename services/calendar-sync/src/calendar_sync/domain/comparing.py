"""A comparison before linking: an event here and afterwards, side by side. Pure."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any, Final

from calendar_sync.domain.changes import FieldChange, Whole, changes
from calendar_sync.domain.events import Occurrence

MOST_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class Moved:
    """An occurrence before and after; None on the side that has none."""

    before: Occurrence | None
    after: Occurrence | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The differences."""

    fields: tuple[FieldChange, ...]
    added: tuple[Moved, ...]
    moved: tuple[Moved, ...]
    taken_out: tuple[Moved, ...]
    digest: str
    """Of both sides: equal as long as the same would be overwritten by the same."""


def compare(before: Whole, after: Whole) -> Comparison:
    """The differences of the event, and of its occurrences by what happens to them."""
    was = {one.key: one for one in before.occurrences if not one.cancelled}
    now = {one.key: one for one in after.occurrences if not one.cancelled}
    if len(was) == len(now) == 1:
        # The occurrence is the event: its key follows its start.
        was, now = {"": next(iter(was.values()))}, {"": next(iter(now.values()))}
    # Clocks of another zone give the same instant another key.
    same = {one.span: key for key, one in was.items() if key not in now}
    for key in [key for key in now if key not in was and now[key].span in same]:
        del was[same.pop(now[key].span)], now[key]
    fields = tuple(one for one in changes(before, after) if one.field != "occurrence")
    return Comparison(
        fields,
        added=tuple(Moved(None, one) for key, one in now.items() if key not in was),
        moved=tuple(Moved(was[key], one) for key, one in now.items() if key in was and was[key].span != one.span),
        taken_out=tuple(Moved(one, None) for key, one in was.items() if key not in now),
        digest=digest(before, after),
    )


def digest(*sides: Whole) -> str:
    """Of events as wholes."""
    text = json.dumps([list(_plain(one)) for one in sides], default=str, sort_keys=True)
    return blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def _plain(one: Whole) -> Iterator[Any]:
    yield from (one.title, one.location, one.description, one.listed, asdict(one.times))
    yield from (asdict(each) for each in sorted(one.occurrences, key=lambda each: each.key))
