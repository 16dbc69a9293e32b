"""Events as Planning Center has them, and when they take place.

Absent is not empty: a value that an answer does not say is None, and changes nothing. An empty text is no text.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from html.parser import HTMLParser
from typing import Final

from calendar_sync.domain.events import Span, all_day
from calendar_sync.domain.zones import local_time

_CONTROLS: Final = re.compile(
    "[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_BLANKS: Final = re.compile(r"[^\S\n]+")
_EMPTY_LINES: Final = re.compile(r"\n{3,}")
_BLOCKS: Final = frozenset({"br", "p", "div", "li", "ul", "ol", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote"})
_UNSHOWN: Final = frozenset({"script", "style"})
_SECOND: Final = timedelta(seconds=1)
_LONGEST: Final = timedelta(days=366)
_EARLIEST: Final = datetime(1900, 1, 3, tzinfo=UTC)
_LATEST: Final = datetime(2199, 12, 29, tzinfo=UTC)
_ENDS_OF_DAYS: Final = frozenset({time(), time(23, 59, 59)})


@dataclass(frozen=True, slots=True)
class Seen:
    """An event, which has no dates of its own."""

    id: str
    name: str | None
    description: str | None
    updated_at: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class SeenInstance:
    """One occurrence of an event."""

    id: str
    event_id: str
    name: str | None
    """Its own, or the event's."""
    starts_at: datetime | None
    """The public time if there is one, else the booked one; None if it cannot be read."""
    ends_at: datetime | None
    all_day: bool
    location: str | None
    repeats: str | None = ""
    """Such as `Weekly`; empty for a single date, None if the answer does not say."""
    updated_at: datetime | None = field(default=None, compare=False)


def span_of(one: SeenInstance, zone: str) -> Span | None:
    """When an occurrence takes place; None for times that cannot be. `zone`: the church's."""
    starts, ends = one.starts_at, one.ends_at
    if starts is None or ends is None or ends < starts or ends - starts > _LONGEST:
        return None
    if not (starts >= _EARLIEST and ends <= _LATEST):
        return None
    return all_day(*_days(starts, ends, zone), zone) if one.all_day else Span(starts, ends)


def _days(starts: datetime, ends: datetime, zone: str) -> tuple[date, date]:
    """First and last day. Public sources do not say whether days are local or in UTC, and where the last one ends."""
    last = max(ends - _SECOND, starts)
    # On the day of a clock change one of the two may be a midnight here and in UTC.
    if _are_days(starts, ends) and not _are_days(local_time(starts, zone), local_time(ends, zone)):
        return starts.date(), last.date()
    return local_time(starts, zone).date(), local_time(last, zone).date()


def _are_days(starts: datetime, ends: datetime) -> bool:
    """Whether these begin and end with days."""
    return starts.time() == time() and ends.time() in _ENDS_OF_DAYS


def one_line(text: str, longest: int) -> str:
    """A text as the calendar can hold it, on one line."""
    return _CONTROLS.sub(" ", text).replace("\n", " ").strip()[:longest].strip()


def plain(text: str, longest: int) -> str:
    """A text of several lines, without control characters."""
    lines = _CONTROLS.sub(" ", text.replace("\r\n", "\n").replace("\r", "\n"))
    return _EMPTY_LINES.sub("\n\n", "\n".join(line.strip() for line in lines.split("\n"))).strip()[:longest].strip()


def without_markup(text: str) -> str:
    """The text of HTML, with its lines."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    return _BLANKS.sub(" ", "".join(reader.found))


class _Reader(HTMLParser):
    """Collects text; blocks begin lines."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self._unshown = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - HTMLParser's
        self._unshown += tag in _UNSHOWN
        if tag in _BLOCKS:
            self.found.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._unshown -= tag in _UNSHOWN and self._unshown > 0
        if tag in _BLOCKS and tag != "br":
            self.found.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._unshown:
            self.found.append(data.replace("\n", " "))
