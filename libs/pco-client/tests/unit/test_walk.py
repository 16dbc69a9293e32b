"""The walks over a collection that changes between any two reads, on a virtual clock."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pco_client import (
    Pacers,
    PlanningCenter,
    Position,
    Query,
    QueryNotSupported,
    UnexpectedAnswer,
    WalkedPage,
    Where,
    list_all,
    walk_all,
    walk_newest_first,
    walk_since,
)
from pco_client import walk as walk_module
from pco_client.testing import FixedLeases, run_in_virtual_time

PATH = "/people/v2/people"
EPOCH = datetime(2020, 1, 1, tzinfo=UTC)


@cache
def stamp(second: int) -> str:
    return (EPOCH + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%SZ")


def at(second: int) -> datetime:
    return EPOCH + timedelta(seconds=second)


@dataclass
class Row:
    id: int
    created: int
    updated: int
    tie: float
    """Rank among rows of the same second: any fixed order other than that of ids."""


@dataclass
class Collection:
    """A vendor's collection; `weather` changes it before each read is served."""

    rows: list[Row] = field(default_factory=list)
    weather: Callable[["Collection"], None] = lambda _: None
    can_query_by: tuple[str, ...] = ("created_at", "updated_at")
    latency: Callable[[], float] = lambda: 0.1
    offsets: list[int] = field(default_factory=list)
    queries: list[dict[str, str]] = field(default_factory=list)
    spoil: Callable[[dict[str, Any]], None] = lambda _: None

    async def answer(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(self.latency() / 2)
        self.weather(self)
        response = self.serve(dict(request.url.params))
        await asyncio.sleep(self.latency() / 2)
        return response

    def serve(self, params: dict[str, str]) -> httpx.Response:
        self.queries.append(params)
        offset, per_page = int(params.get("offset", 0)), int(params["per_page"])
        self.offsets.append(offset)
        order = params.get("order")
        rows = self.rows
        for name in ("created_at", "updated_at"):
            bound = params.get(f"where[{name}][gte]")
            if bound and name in self.can_query_by:
                rows = [row for row in rows if stamp(getattr(row, name[:7])) >= bound]
        if order is None or order.removeprefix("-") not in {"created_at", "updated_at"}:
            rows = sorted(rows, key=lambda row: row.id)
        else:
            key = order.removeprefix("-")[:7]
            rows = sorted(rows, key=lambda row: (getattr(row, key), row.tie), reverse=order.startswith("-"))
        page = rows[offset : offset + per_page]
        meta: dict[str, Any] = {
            "total_count": len(rows),
            "count": len(page),
            "can_query_by": list(self.can_query_by),
            "can_order_by": ["created_at", "updated_at"],
            "can_include": ["emails"],
        }
        if offset + per_page < len(rows):
            meta["next"] = {"offset": offset + per_page}
        body = {"links": {}, "data": [self.document(row) for row in page], "included": [], "meta": meta}
        self.spoil(body)
        return httpx.Response(200, content=json.dumps(body))

    @staticmethod
    def document(row: Row) -> dict[str, Any]:
        attributes = {"created_at": stamp(row.created), "updated_at": stamp(row.updated)}
        return {"type": "Person", "id": str(row.id), "attributes": attributes}


def collection(seconds: list[int], **options: Any) -> Collection:
    """Rows created at these seconds, their order within a second shuffled but fixed."""
    rng = random.Random(len(seconds))
    return Collection([Row(i + 1, s, s, rng.random()) for i, s in enumerate(seconds)], **options)


@asynccontextmanager
async def connected(vendor: Collection) -> AsyncIterator[PlanningCenter]:
    async with PlanningCenter(
        base_url="https://vendor.example",
        user_agent="tests (tests@example.org)",
        lease=FixedLeases(),
        pacers=Pacers(),
        transport=httpx.MockTransport(vendor.answer),
    ) as client:
        yield client


def walk(vendor: Collection, **options: Any) -> tuple[set[int], list[WalkedPage]]:
    async def main() -> list[WalkedPage]:
        async with connected(vendor) as client:
            return [page async for page in walk_all(client, PATH, **options)]

    pages = run_in_virtual_time(main())
    return {int(row.id) for page in pages for row in page.rows}, pages


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 199, 200, 1000])
def test_a_quiet_collection_comes_once_with_the_fewest_requests(count: int) -> None:
    vendor = collection(list(range(count)))
    seen, pages = walk(vendor)
    assert seen == set(range(1, count + 1))
    assert sum(len(page.rows) for page in pages) == count
    assert [page.complete for page in pages] == [False] * (len(pages) - 1) + [True]
    assert len(vendor.offsets) == max(1, -(-(count - 1) // 99))
    assert pages[0].total_count == count


def test_a_page_tells_when_it_was_asked_for_however_late_it_comes() -> None:
    """Other pages are requested and arrive during a slow read: its rows are as old as its own request."""
    vendor = collection(list(range(3_000)))
    sent: dict[int, float] = {}
    answer = vendor.answer

    async def slow(request: httpx.Request) -> httpx.Response:
        offset = int(request.url.params.get("offset", 0))
        sent[offset] = asyncio.get_running_loop().time()
        answered = await answer(request)
        await asyncio.sleep(50 if offset == 99 else 1)
        return answered

    vendor.answer = slow  # type: ignore[method-assign]
    _, pages = walk(vendor, parallel=4)
    assert len(pages) == len(sent) == 31
    late = next(page for page in pages if page.rows and page.rows[0].id == "101")
    assert late is pages[-1]
    assert late.asked <= sent[99]
    assert max(page.asked for page in pages) > sent[99] + 5


def test_thirty_thousand_in_no_more_than_two_percent_above_the_fewest() -> None:
    vendor = collection(list(range(30_000)))
    seen, _ = walk(vendor)
    assert len(seen) == 30_000
    assert len(vendor.offsets) / 300 <= 1.02
    assert max(vendor.offsets) <= 30_000


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten pages to a segment, so that the edge is at offset 891."""
    monkeypatch.setattr(walk_module, "SEGMENT_PAGES", 10)


def test_segments_keep_clear_of_deep_offsets(small_segments: None) -> None:
    vendor = collection([i // 3 for i in range(4_500)])
    seen, pages = walk(vendor)
    assert len(seen) == 4_500
    assert sum(len(page.rows) for page in pages) == 4_500
    assert max(vendor.offsets) <= 891
    assert len(vendor.offsets) <= 45 + 6


def test_one_second_longer_than_a_segment_goes_deep_only_inside_it(small_segments: None) -> None:
    vendor = collection([0] * 10 + [5] * 2_100 + list(range(6, 506)))
    seen, _ = walk(vendor)
    assert len(seen) == len(vendor.rows)
    assert max(vendor.offsets) < 2_200
    assert vendor.queries[-1]["where[created_at][gte]"] > stamp(5)


def test_a_collection_that_cannot_be_queried_is_read_by_offsets_alone(small_segments: None) -> None:
    vendor = collection(list(range(2_000)), can_query_by=())
    seen, _ = walk(vendor)
    assert len(seen) == 2_000
    assert all("where[created_at][gte]" not in query for query in vendor.queries)


def test_the_segment_edge_is_the_last_offset_that_is_not_deep() -> None:
    assert (walk_module.SEGMENT_PAGES - 1) * walk_module.STEP <= 30_000 < walk_module.SEGMENT_PAGES * walk_module.STEP


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[int], int, float, float, float]:
    """Seconds of creation (many equal), and the probabilities of deletions, births and edits before each read."""
    runs = draw(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 220)), min_size=1, max_size=8))
    seconds = sorted(second for second, length in runs for _ in range(length))
    chance = st.sampled_from([0.0, 0.1, 0.5])
    return seconds, draw(st.integers(0, 2**32)), draw(chance), draw(chance), draw(chance)


class Weather:
    """Deletions (single, blocks, from the front), births at the end or in the past, and edits."""

    def __init__(self, seed: int, deaths: float, births: float, edits: float, clock: int) -> None:
        self.rng = random.Random(seed)
        self.chances = (deaths, births, edits)
        self.clock = clock
        self.touched: set[int] = set()
        self.reads = 0

    def __call__(self, vendor: Collection) -> None:
        self.reads += 1
        if self.reads > 60:
            return  # bounded: a collection that vanishes faster than it is read cannot be walked
        deaths, births, edits = self.chances
        self.clock += 1
        if vendor.rows and self.rng.random() < deaths:
            ordered = sorted(vendor.rows, key=lambda row: (row.created, row.tie))
            start = self.rng.choice([0, self.rng.randrange(len(ordered))])
            gone = {row.id for row in ordered[start : start + self.rng.choice([1, 2, 60, 150])]}
            vendor.rows = [row for row in vendor.rows if row.id not in gone]
        if self.rng.random() < births:
            newest = max((row.id for row in vendor.rows), default=0) + 10_000
            past = self.rng.random() < 0.3
            for i in range(self.rng.choice([1, 3, 110])):
                second = self.rng.randrange(self.clock) if past else self.clock
                vendor.rows.append(Row(newest + i, second, self.clock, self.rng.random()))
                self.touched.add(newest + i)
        if vendor.rows and self.rng.random() < edits:
            for row in self.rng.choices(vendor.rows, k=self.rng.choice([1, 5, 120])):
                row.updated = self.clock
                self.touched.add(row.id)


@settings(max_examples=50, deadline=None)
@given(histories(), st.integers(1, 16))
def test_every_steady_row_is_delivered(history: tuple[list[int], int, float, float, float], parallel: int) -> None:
    seconds, seed, deaths, births, _ = history
    rng = random.Random(seed)
    vendor = collection(seconds, latency=lambda: rng.uniform(0.01, 2))
    before = {row.id for row in vendor.rows}
    vendor.weather = Weather(seed, deaths, births, 0, clock=31)
    seen, pages = walk(vendor, parallel=parallel)
    steady = before & {row.id for row in vendor.rows}
    assert steady <= seen
    assert pages[-1].complete


@settings(max_examples=40, deadline=None)
@given(histories(), st.integers(1, 16), st.lists(st.integers(0, 6), max_size=5))
def test_a_walk_continues_after_the_last_stored_page(
    history: tuple[list[int], int, float, float, float], parallel: int, stops: list[int]
) -> None:
    """The consumer dies after some pages, one of them received but not kept; segments are small."""
    seconds, seed, deaths, births, _ = history
    rng = random.Random(seed)
    vendor = collection(seconds, latency=lambda: rng.uniform(0.01, 2))
    before = {row.id for row in vendor.rows}
    vendor.weather = Weather(seed, deaths, births, 0, clock=31)
    kept: set[int] = set()

    async def run(resume: Position | None, stop: int | None) -> tuple[Position | None, bool]:
        async with (
            connected(vendor) as client,
            aclosing(walk_all(client, PATH, resume=resume, parallel=parallel)) as pages,
        ):
            received = 0
            async for page in pages:
                if received == stop:
                    return resume, False
                received += 1
                kept.update(int(row.id) for row in page.rows)
                resume = json.loads(json.dumps(page.position))
                if page.complete:
                    return resume, True
        raise AssertionError("a walk ends with its complete page")

    position: Position | None = None
    complete = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk_module, "SEGMENT_PAGES", 3)
        for stop in (*stops, None):
            position, complete = run_in_virtual_time(run(position, stop))
            if complete:
                break
    assert complete
    assert before & {row.id for row in vendor.rows} <= kept


def test_stored_pages_are_not_read_again() -> None:
    async def first() -> Position:
        async with connected(vendor) as client, aclosing(walk_all(client, PATH, parallel=1)) as pages:
            positions = [(await anext(pages)).position for _ in range(5)]
        return positions[-1]

    async def rest(position: Position) -> list[WalkedPage]:
        async with connected(vendor) as client:
            return [page async for page in walk_all(client, PATH, resume=position, parallel=4)]

    vendor = collection(list(range(1000)))
    position = run_in_virtual_time(first())
    vendor.offsets.clear()
    pages = run_in_virtual_time(rest(position))
    assert sorted(vendor.offsets) == [5 * 99, 6 * 99, 7 * 99, 8 * 99, 9 * 99, 10 * 99]
    assert pages[-1].complete
    again = run_in_virtual_time(rest(pages[-1].position))
    assert [(page.rows, page.complete) for page in again] == [([], True)]


@settings(max_examples=40, deadline=None)
@given(histories(), st.integers(0, 31))
def test_incremental_walk_delivers_every_steady_row_since(
    history: tuple[list[int], int, float, float, float], since: int
) -> None:
    seconds, seed, deaths, births, edits = history
    vendor = collection(seconds)
    wanted = {row.id for row in vendor.rows if row.updated >= since}
    weather = vendor.weather = Weather(seed, deaths, births, edits, clock=31)

    async def main() -> tuple[set[int], datetime]:
        seen: set[int] = set()
        cursor = at(since)
        async with connected(vendor) as client:
            async for page in walk_since(client, PATH, at(since)):
                assert page.cursor >= cursor
                cursor = page.cursor
                seen.update(int(row.id) for row in page.rows)
        return seen, cursor

    seen, cursor = run_in_virtual_time(main())
    still = {row.id for row in vendor.rows}
    assert (wanted & still) - weather.touched <= seen
    # An edited row is either seen now or found by the next walk.
    assert {row.id for row in vendor.rows if row.id in wanted and at(row.updated) < cursor} <= seen


def test_incremental_walk_leaves_out_yielded_rows_and_moves_its_cursor() -> None:
    async def main() -> list[tuple[int, datetime]]:
        async with connected(vendor) as client:
            return [(len(page.rows), page.cursor) async for page in walk_since(client, PATH, at(0))]

    vendor = collection([0] * 50 + [1] * 250 + [2] * 20)
    pages = run_in_virtual_time(main())
    assert sum(rows for rows, _ in pages) == 320
    assert pages[-1][1] == at(2)
    assert [query["where[updated_at][gte]"] for query in vendor.queries] == [stamp(0), *[stamp(1)] * 3]


@settings(max_examples=40, deadline=None)
@given(histories(), st.integers(0, 31))
def test_newest_first_delivers_every_steady_row_since(
    history: tuple[list[int], int, float, float, float], since: int
) -> None:
    seconds, seed, deaths, births, edits = history
    vendor = collection(seconds, can_query_by=())
    wanted = {row.id for row in vendor.rows if row.updated >= since}
    weather = vendor.weather = Weather(seed, deaths, births, edits, clock=31)

    async def main() -> tuple[set[int], datetime]:
        async with connected(vendor) as client:
            pages = [page async for page in walk_newest_first(client, PATH, at(since))]
        assert [page.complete for page in pages] == [False] * (len(pages) - 1) + [True]
        return {int(row.id) for page in pages for row in page.rows}, pages[-1].cursor

    seen, cursor = run_in_virtual_time(main())
    assert (wanted & {row.id for row in vendor.rows}) - weather.touched <= seen
    assert {row.id for row in vendor.rows if row.id in weather.touched and at(row.updated) < cursor} <= seen


@settings(max_examples=25, deadline=None)
@given(histories())
def test_a_small_collection_is_listed_whole(history: tuple[list[int], int, float, float, float]) -> None:
    seconds, seed, deaths, births, _ = history
    vendor = collection(seconds)
    before = {row.id for row in vendor.rows}
    vendor.weather = Weather(seed, deaths, births, 0, clock=31)

    async def main() -> list[int]:
        async with connected(vendor) as client:
            return [int(row.id) for row in (await list_all(client, PATH)).data]

    listed = run_in_virtual_time(main())
    assert len(listed) == len(set(listed))
    assert before & {row.id for row in vendor.rows} <= set(listed)


def cut_rows(body: dict[str, Any]) -> None:
    body["data"] = body["data"][:50]
    body["meta"]["count"] = 50


def drop_next(body: dict[str, Any]) -> None:
    body["meta"].pop("next", None)


def shuffle(body: dict[str, Any]) -> None:
    body["data"].reverse()


def endless(body: dict[str, Any]) -> None:
    body["data"] = []
    body["meta"].update(count=0, next={"offset": 0})


def miscounted(body: dict[str, Any]) -> None:
    body["data"] = body["data"][:50]


@pytest.mark.parametrize("spoil", [cut_rows, drop_next, shuffle, endless, miscounted])
def test_pages_that_contradict_themselves_end_the_walk(spoil: Callable[[dict[str, Any]], None]) -> None:
    with pytest.raises(UnexpectedAnswer):
        walk(collection(list(range(350)), spoil=spoil))


def test_ignored_filters_are_caught() -> None:
    async def main(job: Callable[[PlanningCenter], Any]) -> None:
        async with connected(vendor) as client:
            await job(client)

    async def since(client: PlanningCenter) -> None:
        async for _ in walk_since(client, PATH, at(0)):
            pass

    vendor = collection(list(range(10)), can_query_by=("created_at",))
    for job in (
        since,
        lambda client: client.list(PATH, Query(where=(Where("first_nam", "Tim"),), per_page=10)),
        lambda client: client.list(PATH, Query(order="last_nam", per_page=10)),
        lambda client: client.list(PATH, Query(include=("email",), per_page=10)),
        lambda client: client.list(PATH, Query(filter=("admin",), per_page=10)),
    ):
        with pytest.raises(QueryNotSupported):
            run_in_virtual_time(main(job))


def test_a_foreign_position_is_refused() -> None:
    for position in ({}, {"v": 0}, {"v": 1, "since": None}):
        with pytest.raises(ValueError, match="position"):
            walk(collection([]), resume=position)


def test_a_failed_page_lets_the_others_through_first() -> None:
    """And the walk goes on where it was: the failed page is the only one missing."""

    class Broken(Collection):
        broken = True

        def serve(self, params: dict[str, str]) -> httpx.Response:
            if params["offset"] == "495" and self.broken:
                return httpx.Response(400, content=b"{}")
            return super().serve(params)

    vendor = Broken([Row(i, i, i, 0) for i in range(1, 501)])
    kept: set[str] = set()

    async def main(resume: Position | None) -> Position | None:
        async with connected(vendor) as client, aclosing(walk_all(client, PATH, resume=resume)) as pages:
            try:
                async for page in pages:
                    kept.update(row.id for row in page.rows)
                    resume = page.position
            except Exception:
                if not vendor.broken:
                    raise
        return resume

    position = run_in_virtual_time(main(None))
    assert len(kept) == 496
    vendor.broken = False
    vendor.offsets.clear()
    run_in_virtual_time(main(position))
    assert vendor.offsets == [495]
    assert len(kept) == 500
