"""Walks that read whole collections while they change.

Offset pages are not a snapshot: every read sees the collection of its moment, rows shift when others vanish or
appear, a row can come twice and another be missed (planningcenter/developers#640). The walks here give a
guarantee all the same, stated for **steady rows**: rows that match the query, unchanged in their sort key, from the
first to the last request of a walk. *Every steady row is delivered.* A row may be delivered more than once (last copy
wins); rows that appear, vanish or move meanwhile may or may not be.

**Why a closed chain is complete.** Let the collection be sorted by an immutable total order. One page is a contiguous
stretch of the collection at one moment, so it holds *every* steady row that lies between its first and its last row.
Two pages are **linked** when some row is known to lie in the stretch of both: the last row of the first page is in the
second, the first row of the second is in the first, or the second begins strictly before the first ends. Then no steady
row can lie between the two stretches, whatever happened between the reads and whichever was read first. If the chain
begins at offset 0 (nothing lies before it at that moment), each page is linked to the one before, and the last says
that nothing follows it, then the stretches together cover the whole order, and every steady row is in one of them. The
order need not be known beyond the sort key: ties may break in any fixed way.

So neighbouring pages are asked for with one row in common (100 rows, steps of 99). Pages can then be read in parallel
and in any order. Where two neighbours are not linked, rows vanished between the reads; the pages between are read again
from the last confirmed row until the chain closes.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

from pco_client.client import PlanningCenter
from pco_client.errors import UnexpectedAnswer
from pco_client.jsonapi import Identifier, Included, Page, Resource, parse_instant
from pco_client.pacer import DEEP_OFFSET
from pco_client.query import Query, Where, utc_instant

PER_PAGE: Final = 100
STEP: Final = PER_PAGE - 1
SEGMENT_PAGES: Final = DEEP_OFFSET // STEP + 1
"""Pages of a segment: the last one begins at the last step below deep offsets."""
_MAX_REREADS: Final = 1_000
"""Reads spent on one gap before the collection counts as unreadable: its rows vanish faster than pages are read."""
_CONTRADICTIONS: Final = 3
"""Reads of a page that contradicts itself before it counts as an error."""
_POSITION_VERSION: Final = 1

Position = dict[str, Any]
"""The progress of a walk as plain JSON, to be stored with the rows it covers."""


@dataclass(frozen=True, slots=True)
class WalkedPage:
    """Rows of a full walk, in the order of arrival, not of the collection."""

    rows: list[Resource]
    included: Included
    position: Position
    """Covers these rows and all yielded before; `walk_all(resume=position)` continues from here."""
    total_count: int
    """The collection's size when the walk began: for progress, not for decisions."""
    complete: bool
    """True on the last page only: the chain is closed and every steady row has been delivered."""
    asked: float
    """When the page was requested, in seconds of the event loop's clock: later writes may be missing from it."""


@dataclass(frozen=True, slots=True)
class ChangedPage:
    """Rows of an incremental walk."""

    rows: list[Resource]
    included: Included
    cursor: datetime
    """The next walk may begin here; with `walk_newest_first` only after this walk has ended."""
    complete: bool
    """True on the last page only."""


def walk_all(
    client: PlanningCenter,
    path: str,
    *,
    include: Sequence[str] = (),
    where: Sequence[Where] = (),
    fields: Mapping[str, tuple[str, ...]] | None = None,
    order: str = "created_at",
    resume: Position | None = None,
    parallel: int = 16,
) -> AsyncGenerator[WalkedPage, None]:
    """Every steady row of a collection, pages of 100 read in parallel and yielded as they come.

    `order` is an attribute that never changes for a row and is sent ascending. `where` may narrow the collection, but
    not by that attribute. `fields`, when given, must name it. `parallel` bounds the pages in memory; the pacer sets the
    speed.

    `resume` is the `position` of the last page whose rows were stored. Pages yielded up to there are not read again.
    Use `contextlib.aclosing` when leaving early, so that requests in flight are cancelled at once.

    Offsets beyond 30,000 get a much smaller limit from the vendor, so the collection is read in segments: after some
    30,000 rows a new one starts at `where[<order>][gte]=<last value>` with offset 0 (rows of that one second come
    again; those of the last page are left out). Deep offsets are used only inside a single second that is longer than a
    segment, and in collections that cannot be queried by `order` (addresses).

    Requests for n unchanging rows: ⌈(n − 1)/99⌉ and one more per further segment.

    Raises `UnexpectedAnswer` when the vendor's pages contradict themselves or the order, `QueryNotSupported` when the
    vendor would ignore a part of the query, `ValueError` for an invalid position, and the errors of
    `PlanningCenter.list`.
    """
    if any(w.field == order for w in where):
        raise ValueError(f"the walk itself filters by {order}")
    query = Query(where=tuple(where), order=order, include=tuple(include), fields=fields, per_page=PER_PAGE)
    return _FullWalk(_Reader(client, path, query), parallel, resume).pages()


async def walk_since(
    client: PlanningCenter,
    path: str,
    since: datetime,
    *,
    field: str = "updated_at",
    include: Sequence[str] = (),
    where: Sequence[Where] = (),
    fields: Mapping[str, tuple[str, ...]] | None = None,
) -> AsyncGenerator[ChangedPage, None]:
    """Rows whose `field` is `since` or later, in that order.

    A keyset walk: each read starts at the last value seen, inclusive, at offset 0, where no row can shift. Rows of the
    cursor's second that were already yielded are left out. More than a page of rows with the same second is read by
    offsets inside that second, linked as described above, since an edited row leaves it. A row edited during the walk
    moves ahead of the cursor and comes (again) there, or in the next walk.

    The next walk begins at the `cursor` of the last stored page, set back by the time that the vendor's reads may be
    stale. For a long backlog use `walk_all(where=[Where("updated_at", since, "gte")])`, which reads in parallel.
    """
    base = Query(where=tuple(where), order=field, include=tuple(include), fields=fields, per_page=PER_PAGE)
    cursor = utc_instant(since)
    seen: set[str] = set()
    while True:
        reader = _Reader(client, path, base)
        reader.since = cursor
        async with aclosing(_chain(reader)) as pages:
            async for page in pages:
                last = reader.key(page.data[-1]) if page.data else cursor
                complete = not page.has_next
                rows = [row for row in page.data if row.id not in seen]
                yield ChangedPage(rows, page.included, parse_instant(last), complete)
                if complete:
                    return
                if last > cursor:
                    seen = {row.id for row in page.data if reader.key(row) == last}
                    break
                seen.update(row.id for row in page.data)
        cursor = last


async def walk_newest_first(
    client: PlanningCenter,
    path: str,
    since: datetime,
    *,
    field: str = "updated_at",
    include: Sequence[str] = (),
    where: Sequence[Where] = (),
    fields: Mapping[str, tuple[str, ...]] | None = None,
) -> AsyncGenerator[ChangedPage, None]:
    """Rows whose `field` is `since` or later, newest first, for collections that cannot be filtered by it (addresses).

    A row edited during the walk moves to the front, which this walk has already passed, so the next walk yields it.
    Therefore `cursor` is the newest value at the start of the walk, and may be stored only after the walk has ended.
    """
    order = f"-{field}"
    reader = _Reader(
        client,
        path,
        Query(where=tuple(where), order=order, include=tuple(include), fields=fields, per_page=PER_PAGE),
    )
    oldest = utc_instant(since)
    newest: str | None = None
    async with aclosing(_chain(reader)) as pages:
        async for page in pages:
            if newest is None:
                newest = max(oldest, reader.key(page.data[0])) if page.data else oldest
            rows = [row for row in page.data if reader.key(row) >= oldest]
            complete = not page.has_next or len(rows) < len(page.data)
            yield ChangedPage(rows, page.included, parse_instant(newest), complete)
            if complete:
                return


async def list_all(client: PlanningCenter, path: str, query: Query | None = None) -> Page:
    """All rows of a collection that fits in memory (the children of a record): pages linked as above, each row once.

    The order is the query's, else the vendor's default, ascending id.
    """
    reader = _Reader(client, path, replace(query or Query(), per_page=PER_PAGE, offset=None))
    rows: dict[str, Resource] = {}
    included: dict[Identifier, Resource] = {}
    meta: Mapping[str, Any] = {}
    async with aclosing(_chain(reader)) as pages:
        async for page in pages:
            rows.update((row.id, row) for row in page.data)
            included.update(page.included.index)
            meta = page.meta
    return Page(list(rows.values()), Included(included), len(rows), has_next=False, meta=meta)


@dataclass(frozen=True, slots=True)
class _Edge:
    """A row at the edge of a page: its id and its sort key in the vendor's notation (UTC instants sort as text)."""

    id: str
    key: str


@dataclass(slots=True)
class _Reader:
    """Reads pages of one query and checks them for contradictions."""

    client: PlanningCenter
    path: str
    query: Query
    since: str | None = None
    """Lower bound, inclusive, of the attribute ordered by."""

    @property
    def attribute(self) -> str | None:
        return self.query.order.removeprefix("-") if self.query.order else None

    @property
    def descending(self) -> bool:
        return (self.query.order or "").startswith("-")

    def key(self, row: Resource) -> str:
        if self.attribute is None:
            return ""
        value = row.attributes.get(self.attribute)
        if not isinstance(value, str):
            raise self.unexpected(f"a row without {self.attribute}, which the walk needs (name it in `fields`)")
        parse_instant(value)
        return value

    def edge(self, row: Resource) -> _Edge:
        return _Edge(row.id, self.key(row))

    def before(self, first: str, second: str) -> bool:
        """Whether one key lies strictly before another in the order of the walk."""
        return first > second if self.descending else first < second

    async def read(self, offset: int) -> Page:
        where = self.query.where
        if self.since is not None and self.attribute is not None:
            where = (*where, Where(self.attribute, self.since, "gte"))
        query = replace(self.query, where=where, offset=offset)
        for _ in range(_CONTRADICTIONS):
            page = await self.client.list(self.path, query)
            believable = len(page.data) == PER_PAGE if page.has_next else offset + len(page.data) >= page.total_count
            if believable:
                self._check_order(page)
                return page
            # The vendor may count the total and the rows at two moments, so only a repeated contradiction is an error.
        raise self.unexpected(
            f"a page of {len(page.data)} rows at offset {offset} of {page.total_count}"
            f" {'with' if page.has_next else 'without'} a next one"
        )

    def _check_order(self, page: Page) -> None:
        keys = [self.key(row) for row in page.data]
        if any(self.before(second, first) for first, second in pairwise(keys)):
            raise self.unexpected(f"the page is not ordered by {self.query.order}")
        if self.since is not None and keys and keys[0] < self.since:
            raise self.unexpected(f"the page holds rows from before {self.attribute} {self.since}")

    def linked(self, last: _Edge, page: Page) -> bool:
        """Whether the page's stretch shares a row with the stretch that ends with `last`."""
        if not page.data:
            return False
        edges = {self.edge(row) for row in page.data}
        return last in edges or self.before(self.key(page.data[0]), last.key)

    def linked_to(self, page: Page, first: _Edge) -> bool:
        """Whether the page's stretch shares a row with the stretch that begins with `first`."""
        if not page.data:
            return False
        edges = {self.edge(row) for row in page.data}
        return first in edges or self.before(first.key, self.key(page.data[-1]))

    def unexpected(self, message: str) -> UnexpectedAnswer:
        return UnexpectedAnswer(message, method="GET", path=self.path)


async def _chain(reader: _Reader) -> AsyncGenerator[Page, None]:
    """Pages by offset from 0, one after another, each linked to the one before.

    An unlinked page is read again further back, at worst from the beginning.
    """
    before: Page | None = None
    base = slack = rereads = 0
    while True:
        offset = max(0, base - slack)
        page = await reader.read(offset)
        if before is not None and offset > 0 and not _adjoin(reader, before, page):
            rereads += 1
            if rereads > _MAX_REREADS:
                raise reader.unexpected("rows vanish faster than they can be read")
            slack = 2 * slack + PER_PAGE // 2
            continue
        yield page
        if not page.has_next:
            return
        before, base, slack = page, offset + STEP, 0


def _adjoin(reader: _Reader, first: Page, second: Page) -> bool:
    if not first.data or not second.data:
        return False
    return reader.linked(reader.edge(first.data[-1]), second) or reader.linked_to(first, reader.edge(second.data[0]))


@dataclass(slots=True)
class _Range:
    """Neighbouring pages of a segment (by number, page i at offset 99·i), read and linked to each other."""

    start: int
    end: int
    first: _Edge | None
    last: _Edge | None
    """The edges are `None` for an empty page, which is linked to no other."""
    has_next: bool

    def to_json(self) -> list[Any]:
        edges = [None if edge is None else [edge.id, edge.key] for edge in (self.first, self.last)]
        return [self.start, self.end, *edges, self.has_next]

    @classmethod
    def from_json(cls, value: Sequence[Any]) -> "_Range":
        start, end, first, last, has_next = value
        return cls(start, end, _Edge(*first) if first else None, _Edge(*last) if last else None, has_next)


def _now() -> float:
    return asyncio.get_running_loop().time()


class _FullWalk:
    """The state of `walk_all`: the ranges read of the current segment, and the pages in flight."""

    def __init__(self, reader: _Reader, parallel: int, resume: Position | None) -> None:
        self._reader = reader
        self._parallel = parallel
        self._ranges: list[_Range] = []
        self._pages = 1
        """Pages the segment is known to need."""
        self._total: int | None = None
        self._skip: frozenset[str] = frozenset()
        self._tail: tuple[int, list[_Edge]] = (-1, [])
        self._can_segment = True
        self._complete = False
        if resume is not None:
            self._restore(resume)

    def _restore(self, position: Position) -> None:
        try:
            if position["v"] != _POSITION_VERSION:
                raise ValueError(f"position of version {position['v']}")
            self._reader.since = position["since"]
            self._pages = position["pages"]
            self._total = position["total"]
            self._skip = frozenset(position["skip"])
            self._can_segment = position["can_segment"]
            self._complete = position["complete"]
            self._ranges = [_Range.from_json(value) for value in position["ranges"]]
        except (KeyError, TypeError) as error:
            raise ValueError("this is not a position of walk_all") from error

    def _position(self) -> Position:
        return {
            "v": _POSITION_VERSION,
            "since": self._reader.since,
            "pages": self._pages,
            "total": self._total,
            "skip": sorted(self._skip),
            "can_segment": self._can_segment,
            "complete": self._complete,
            "ranges": [r.to_json() for r in self._ranges],
        }

    async def pages(self) -> AsyncGenerator[WalkedPage, None]:
        under_way: dict[asyncio.Task[tuple[Page, float]], int] = {}
        try:
            if self._complete:
                yield self._walked([], Included(), _now())
            while True:
                async for walked in self._close_gaps():
                    yield walked
                if self._complete:
                    return
                self._start_reads(under_way)
                done, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                # Pages that arrived are delivered before the failure of another ends the walk.
                for task in sorted(done, key=lambda task: (task.exception() is not None, under_way[task])):
                    (page, asked), number = task.result(), under_way.pop(task)
                    rows = self._take(number, page)
                    yield self._walked(rows, page.included, asked)
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    def _walked(self, rows: list[Resource], included: Included, asked: float) -> WalkedPage:
        return WalkedPage(rows, included, self._position(), self._total or 0, self._complete, asked)

    def _start_reads(self, under_way: dict[asyncio.Task[tuple[Page, float]], int]) -> None:
        """Start reads of the lowest unread pages, up to `parallel` at once."""
        known_end = min((r.end for r in self._ranges if not r.has_next), default=self._pages - 1)
        read = set(under_way.values())
        for r in self._ranges:
            read.update(range(r.start, r.end + 1))
        for number in range(min(self._pages, known_end + 1)):
            if len(under_way) >= self._parallel:
                return
            if number not in read:
                under_way[asyncio.create_task(self._asked(number * STEP))] = number

    async def _asked(self, offset: int) -> tuple[Page, float]:
        asked = _now()
        return await self._reader.read(offset), asked

    def _take(self, number: int, page: Page) -> list[Resource]:
        """Enter a page into the ranges; gives its rows without those that its neighbours have delivered."""
        if number == 0:
            self._learn_size(page)
        edges = [self._reader.edge(row) for row in page.data]
        new = _Range(number, number, edges[0] if edges else None, edges[-1] if edges else None, page.has_next)
        left = next((r for r in self._ranges if r.end == number - 1), None)
        right = next((r for r in self._ranges if r.start == number + 1), None)
        delivered = {edge.id for edge in (left and left.last, right and right.first) if edge} | self._skip
        if left and left.last and self._reader.linked(left.last, page):
            self._ranges.remove(left)
            new = _Range(left.start, number, left.first, new.last, new.has_next)
        if right and right.first and self._reader.linked_to(page, right.first):
            self._ranges.remove(right)
            new = _Range(new.start, right.end, new.first, right.last, right.has_next)
        self._ranges.append(new)
        self._ranges.sort(key=lambda r: r.start)
        if number > self._tail[0]:
            self._tail = (number, edges)
        self._advance()
        return [row for row in page.data if row.id not in delivered]

    def _learn_size(self, page: Page) -> None:
        if self._total is None:
            self._total = page.total_count
        self._can_segment = self._reader.attribute in (page.meta.get("can_query_by") or ())
        needed = max(1, -(-(page.total_count - 1) // STEP))
        self._pages = min(needed, SEGMENT_PAGES) if self._can_segment else needed

    def _advance(self) -> None:
        """If the chain is closed from the beginning, end the walk, begin the next segment or add a page to this one."""
        chain = self._ranges[0]
        if chain.start > 0:
            return
        if not chain.has_next:
            self._complete = True
            return
        if chain.end + 1 < self._pages:
            return
        assert chain.first is not None  # a page with a successor is full
        assert chain.last is not None
        if self._can_segment and chain.end + 1 >= SEGMENT_PAGES and chain.first.key < chain.last.key:
            self._begin_segment(chain.last.key)
        else:
            self._pages = chain.end + 2

    def _begin_segment(self, since: str) -> None:
        self._skip = frozenset(edge.id for edge in self._tail[1] if edge.key == since)
        self._tail = (-1, [])
        self._reader.since = since
        self._ranges = []
        self._pages = 1

    async def _close_gaps(self) -> AsyncGenerator[WalkedPage, None]:
        """Read again the gap between neighbouring pages that are not linked."""
        while not self._complete and (gap := self._gap()) is not None:
            async with aclosing(self._close(*gap)) as pages:
                async for walked in pages:
                    yield walked

    def _gap(self) -> tuple[_Range, _Range] | None:
        for left, right in pairwise(self._ranges):
            if left.end + 1 == right.start and left.has_next:
                return left, right
        return None

    async def _close(self, left: _Range, right: _Range) -> AsyncGenerator[WalkedPage, None]:
        """Read on from the last confirmed row until the right range, or the end of the collection."""
        reader, last = self._reader, left.last
        assert last is not None  # a page with a successor is full
        base, slack = right.start * STEP, PER_PAGE // 2
        for _ in range(_MAX_REREADS):
            offset = max(0, base - slack)
            page, asked = await self._asked(offset)
            if offset > 0 and not reader.linked(last, page):
                slack = 2 * slack + PER_PAGE // 2
                continue
            closed = right.first is not None and reader.linked_to(page, right.first)
            if closed:
                left.end, left.last, left.has_next = right.end, right.last, right.has_next
                self._ranges.remove(right)
            elif not page.has_next:
                left.has_next = False
                self._ranges = [r for r in self._ranges if r.start <= left.start]
                closed = True
            if closed:
                self._advance()
            yield self._walked(page.data, page.included, asked)
            if closed:
                return
            last, base, slack = reader.edge(page.data[-1]), offset + STEP, 0
        raise reader.unexpected("rows vanish faster than they can be read")
