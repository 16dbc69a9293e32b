"""Which requests read all linked events: windows of time, series at their own address, or both. Pure.

A window costs a page for each hundred instances of the church, linked or not; a series its own pages; one occurrence a
request. Cheap in total is what counts, since the vendor's limit is on requests.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Final

HORIZON: Final = timedelta(days=366)
"""How far ahead a check looks."""
BEHIND: Final = timedelta(days=1)
"""How far back, for what is still going on."""
UNKNOWN_DENSITY: Final = 10.0
"""Instances a day of a church whose calendar was never read."""
_PER_PAGE: Final = 99
"""New rows of a page, since neighbouring pages share a row."""
_DAY: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Target:
    """A linked event, with its occurrences within the horizon."""

    id: str
    """Any id, to name it in the answer."""
    first: datetime
    """When the first of them begins."""
    last: datetime
    """When the last of them ends."""
    count: int
    one: bool
    """Whether one occurrence is linked, or the event with all of them."""


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time to read whole."""

    begins: datetime
    ends: datetime

    def has(self, one: Target) -> bool:
        """Whether it shows all that a target has within the horizon."""
        return self.begins <= one.first and one.last <= self.ends


class Windows:
    """Windows, by what they show."""

    def __init__(self, windows: Iterable[Window]) -> None:
        self._begins: list[datetime] = []
        self._widest: list[Window] = []
        """For each begin, the window that ends last among those that begin by then: if any shows a target, it does."""
        for window in sorted(windows, key=lambda one: one.begins):
            widest = self._widest[-1] if self._widest else window
            self._begins.append(window.begins)
            self._widest.append(window if window.ends > widest.ends else widest)

    def of(self, one: Target) -> Window | None:
        """A window that shows all that a target has within the horizon; None if none does."""
        place = bisect_right(self._begins, one.first)
        window = self._widest[place - 1] if place else None
        return window if window is not None and window.has(one) else None


@dataclass(frozen=True, slots=True)
class Reads:
    """All reads of a check."""

    windows: tuple[Window, ...] = ()
    alone: tuple[str, ...] = ()
    """Ids of targets that are read at their own address."""

    def requests(self, targets: Iterable[Target], density: float) -> int:
        """About how many requests that takes."""
        pages = {one.id: _own_pages(one) for one in targets}
        return sum(ceil(_pages(one, density)) for one in self.windows) + sum(pages[id_] for id_ in self.alone)


def plan_reads(targets: Sequence[Target], density: float | None, now: datetime) -> Reads:
    """The cheapest of: one window over all, everything alone, or windows over those that lie close together.

    Without targets there is nothing to read.
    """
    dense = max(density if density is not None else UNKNOWN_DENSITY, 0.01)
    if not targets:
        return Reads()
    everything = Reads(windows=(_around(targets),))
    alone = Reads(alone=tuple(one.id for one in targets))
    found = min((everything, _mixed(targets, dense), alone), key=lambda one: one.requests(targets, dense))
    earliest, latest = now - BEHIND, now + HORIZON
    cut = (Window(max(one.begins, earliest), min(one.ends, latest)) for one in found.windows)
    return Reads(tuple(one for one in cut if one.begins < one.ends), found.alone)


def _mixed(targets: Sequence[Target], density: float) -> Reads:
    """Windows grow over short targets while that is no dearer than another request; what lies in one comes with it."""
    short = sorted(
        (one for one in targets if _pages(Window(one.first, one.last), density) <= _own_pages(one)),
        key=lambda one: (one.first, one.id),
    )
    windows: list[Window] = []
    for one in short:
        last = windows[-1] if windows else None
        grown = Window(last.begins, max(last.ends, one.last)) if last else None
        if last and grown and _pages(grown, density) - _pages(last, density) <= _own_pages(one):
            windows[-1] = grown
        else:
            windows.append(Window(one.first, one.last))
    found = Windows(windows)
    saved: dict[Window, int] = defaultdict(int)
    for one in targets:
        if (window := found.of(one)) is not None:
            saved[window] += _own_pages(one)
    # A window for a single target saves nothing.
    kept = [window for window, pages in saved.items() if pages > _pages(window, density)]
    found = Windows(kept)
    return Reads(tuple(kept), tuple(one.id for one in targets if found.of(one) is None))


def _around(targets: Sequence[Target]) -> Window:
    return Window(min(one.first for one in targets), max(one.last for one in targets))


def _pages(window: Window, density: float) -> float:
    days = (window.ends - window.begins).total_seconds() / _DAY
    return max(1.0, days * density / _PER_PAGE)


def _own_pages(one: Target) -> int:
    return 1 if one.one else max(1, ceil(one.count / _PER_PAGE))
