"""The pacer against an exact model of the vendor's sliding window, on a virtual clock."""

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pco_client.pacer import LimitClass, Pacer, Pacers, Priority
from pco_client.testing import run_in_virtual_time


@dataclass
class Vendor:
    """Requests of one user in a sliding window; refused ones count."""

    limit: int = 100
    period: float = 20.0
    deep_limit: int = 75
    period_text: str = "20 seconds"
    window: deque[float] = field(default_factory=deque)
    arrivals: list[tuple[float, str, int]] = field(default_factory=list)
    silent: bool = False

    def receive(self, who: str, *, deep: bool = False) -> tuple[int, httpx.Headers]:
        now = asyncio.get_running_loop().time()
        limit = min(self.limit, self.deep_limit) if deep else self.limit
        while self.window and self.window[0] <= now - self.period:
            self.window.popleft()
        self.window.append(now)
        count = len(self.window)
        headers = httpx.Headers(
            {
                "X-PCO-API-Request-Rate-Limit": str(limit),
                "X-PCO-API-Request-Rate-Period": self.period_text,
                "X-PCO-API-Request-Rate-Count": str(count),
            }
        )
        status = 200
        if count > limit:
            status = 429
            free_at = self.window[count - limit] + self.period
            headers["Retry-After"] = str(max(1, math.ceil(free_at - now)))
        self.arrivals.append((now, who, status))
        if self.silent and status == 200:
            headers = httpx.Headers()
        return status, headers

    def refused(self) -> int:
        return sum(status == 429 for _, _, status in self.arrivals)


async def call(
    pacer: Pacer,
    vendor: Vendor,
    latency: Callable[[], float],
    *,
    who: str = "a",
    priority: Priority = Priority.BULK,
    deep: bool = False,
) -> float:
    """One request until it is served; gives the moment of the answer."""
    ticket = pacer.ticket()
    kind = LimitClass.DEEP if deep else LimitClass.NORMAL
    while True:
        async with pacer.slot(priority, kind, ticket) as slot:
            slot.sending()
            await asyncio.sleep(latency() / 2)
            status, headers = vendor.receive(who, deep=deep)
            await asyncio.sleep(latency() / 2)
            slot.answered(status, headers)
        if status != 429:
            return asyncio.get_running_loop().time()


async def saturate(
    pacer: Pacer, vendor: Vendor, until: float, *, who: str, latency: float = 0.25, workers: int = 32
) -> None:
    async def worker() -> None:
        while asyncio.get_running_loop().time() < until:
            await call(pacer, vendor, lambda: latency, who=who)

    await asyncio.gather(*(worker() for _ in range(workers)))


def served(vendor: Vendor, who: str, start: float, end: float) -> int:
    return sum(start < at <= end and by == who and status == 200 for at, by, status in vendor.arrivals)


@pytest.mark.parametrize("requests", [303, 304, 400, 1000])
def test_bulk_is_near_the_floor_and_never_refused(requests: int) -> None:
    async def main() -> float:
        pacer = Pacer("u")
        await asyncio.gather(*(call(pacer, vendor, lambda: 0.25) for _ in range(requests)))
        return asyncio.get_running_loop().time()

    vendor = Vendor()
    wall = run_in_virtual_time(main())
    floor = 20 * (math.ceil(requests / 100) - 1) + 0.25
    assert vendor.refused() == 0
    assert wall / floor <= 1.05


def test_first_request_goes_alone() -> None:
    async def main() -> None:
        pacer = Pacer("u")
        calls = [asyncio.create_task(call(pacer, vendor, lambda: 1.0)) for _ in range(10)]
        await asyncio.sleep(0.9)
        assert pacer.state().in_flight == 1
        assert pacer.state().limit is None
        await asyncio.gather(*calls)
        assert pacer.state().limit == 100
        assert pacer.state().period == 20

    vendor = Vendor()
    run_in_virtual_time(main())


@settings(max_examples=60, deadline=None)
@given(
    limit=st.integers(1, 120),
    period=st.integers(1, 30),
    windows=st.floats(0.2, 4),
    slowest=st.floats(0.0, 3.0),
    seed=st.integers(0, 2**32),
)
def test_alone_it_never_exceeds_the_window_and_wastes_little(
    limit: int, period: int, windows: float, slowest: float, seed: int
) -> None:
    """For any latencies: no refusal, and a window loses at most the slowest round trip and the ramp."""
    rng = random.Random(seed)
    vendor = Vendor(limit=limit, period=period, period_text=str(period))
    requests = max(1, int(limit * windows))

    async def main() -> float:
        pacer = Pacer("u", max_in_flight=1000)
        await asyncio.gather(*(call(pacer, vendor, lambda: rng.uniform(0, slowest)) for _ in range(requests)))
        return asyncio.get_running_loop().time()

    wall = run_in_virtual_time(main())
    assert vendor.refused() == 0
    whole = math.ceil(requests / limit) - 1
    ramp = (math.log2(limit) + 2) * slowest
    # A burst longer than the period empties the window, and the pacer then begins with one request again.
    assert wall <= period * whole + (whole + 1) * (slowest + 0.1) + ramp * (whole + 1)


@settings(max_examples=60, deadline=None)
@given(
    changes=st.lists(st.tuples(st.floats(1, 30), st.integers(1, 120)), max_size=6),
    seed=st.integers(0, 2**32),
)
def test_a_limit_that_moves_is_obeyed(changes: list[tuple[float, int]], seed: int) -> None:
    """When a limit falls, only requests in flight or within the old limit may be refused."""
    rng = random.Random(seed)
    vendor = Vendor()
    falls = 0

    async def change() -> None:
        nonlocal falls
        for after, limit in changes:
            await asyncio.sleep(after)
            falls += limit < vendor.limit
            vendor.limit = limit

    async def main() -> None:
        pacer = Pacer("u")
        changing = asyncio.create_task(change())
        await asyncio.gather(*(call(pacer, vendor, lambda: rng.uniform(0.05, 0.5)) for _ in range(200)))
        changing.cancel()

    run_in_virtual_time(main())
    assert vendor.refused() <= 64 * falls
    assert sum(status == 200 for _, _, status in vendor.arrivals) == 200


def test_limit_falls_from_100_to_10() -> None:
    async def main() -> float:
        pacer = Pacer("u")
        calls = [asyncio.create_task(call(pacer, vendor, lambda: 0.25)) for _ in range(150)]
        await asyncio.sleep(10)
        vendor.limit = 10
        await asyncio.gather(*calls)
        return asyncio.get_running_loop().time()

    vendor = Vendor()
    wall = run_in_virtual_time(main())
    # Requests sent before the first answer that states 10 are refused, later ones never.
    assert vendor.refused() <= 5
    assert wall <= 20 * 6.5


@pytest.mark.parametrize("start", [0.0, 3.0, 30.0])
@pytest.mark.parametrize("latency", [0.02, 0.25, 1.0])
def test_two_saturating_processes_meet_near_half_each(start: float, latency: float) -> None:
    async def second() -> None:
        await asyncio.sleep(start)
        await saturate(Pacer("u"), vendor, 400, who="b", latency=latency)

    async def main() -> None:
        await asyncio.gather(saturate(Pacer("u"), vendor, 400, who="a", latency=latency), second())

    vendor = Vendor()
    run_in_virtual_time(main())
    a, b = (served(vendor, who, 200, 400) for who in "ab")
    assert 0.38 <= a / (a + b) <= 0.62, (a, b)
    assert a + b >= 0.9 * 1000, (a, b)
    assert vendor.refused() <= 0.02 * len(vendor.arrivals), vendor.refused()


def test_a_light_neighbour_costs_little() -> None:
    async def neighbour(pacer: Pacer) -> None:
        while asyncio.get_running_loop().time() < 400:
            await call(pacer, vendor, lambda: 0.25, who="b", priority=Priority.INTERACTIVE)
            await asyncio.sleep(4)

    async def main() -> None:
        await asyncio.gather(saturate(Pacer("u"), vendor, 400, who="a"), neighbour(Pacer("u")))

    vendor = Vendor()
    run_in_virtual_time(main())
    a, b = (served(vendor, who, 100, 400) for who in "ab")
    assert b >= 60
    assert a >= 0.8 * 1500
    assert vendor.refused() <= 0.02 * len(vendor.arrivals)


# Guards against a waiter for which no timer is set.
@settings(max_examples=200, deadline=None)
@given(
    limit=st.integers(1, 12) | st.just(100),
    calls=st.lists(st.tuples(st.integers(0, 30), st.floats(0.01, 60.0)), min_size=1, max_size=6),
)
def test_bulk_never_waits_for_ever(limit: int, calls: list[tuple[int, float]]) -> None:
    """An answer may take longer than the period: its process was stopped meanwhile."""

    async def main() -> None:
        pacer = Pacer("u")
        for others, latency in calls:
            for _ in range(others):
                vendor.receive("b")
            # Without further foreign requests the window is full for a period, and refused for one more.
            await asyncio.wait_for(call(pacer, vendor, lambda seconds=latency: seconds), 2 * latency + 100)  # type: ignore[misc]

    vendor = Vendor(limit=limit)
    run_in_virtual_time(main())


def test_429_waits_as_told_and_never_fails() -> None:
    async def main() -> float:
        vendor.window.extend([0.0] * 100)
        pacer = Pacer("u")
        return await call(pacer, vendor, lambda: 0.2)

    vendor = Vendor()
    answered = run_in_virtual_time(main())
    assert vendor.refused() == 1
    assert answered == pytest.approx(20.4, abs=0.5)


def test_without_rate_headers_the_last_limit_holds() -> None:
    async def main() -> None:
        pacer = Pacer("u")
        await call(pacer, vendor, lambda: 0.1)
        vendor.silent = True
        await asyncio.gather(*(call(pacer, vendor, lambda: 0.1) for _ in range(150)))

    vendor = Vendor()
    run_in_virtual_time(main())
    assert vendor.refused() == 0


def test_a_waiting_person_goes_before_bulk_and_gets_room() -> None:
    async def main() -> None:
        pacer = Pacer("u")
        bulk = asyncio.gather(*(call(pacer, vendor, lambda: 0.25) for _ in range(500)))
        await asyncio.sleep(5)
        waits = []
        for _ in range(20):
            before = asyncio.get_running_loop().time()
            waiting = asyncio.create_task(call(pacer, vendor, lambda: 0.25, priority=Priority.INTERACTIVE, who="p"))
            await asyncio.sleep(0)
            assert pacer.state().waiting_bulk > 0
            waits.append(await waiting - before)
            await asyncio.sleep(3)
        # The first person came when bulk had used every slot; from then on slots are reserved.
        assert waits[0] < 16
        assert max(waits[6:]) < 0.3, waits
        await bulk

    vendor = Vendor()
    run_in_virtual_time(main())
    assert vendor.refused() == 0


def test_a_deep_answer_does_not_throttle_normal_requests() -> None:
    async def main() -> None:
        pacer = Pacer("u")
        await asyncio.gather(*(call(pacer, vendor, lambda: 0.25, deep=True) for _ in range(8)))
        assert pacer.state().limit is None
        await call(pacer, vendor, lambda: 0.25)
        assert pacer.state().limit == 100
        before = asyncio.get_running_loop().time()
        await asyncio.gather(*(call(pacer, vendor, lambda: 0.25) for _ in range(80)))
        assert asyncio.get_running_loop().time() - before < 5

    vendor = Vendor(deep_limit=10)
    run_in_virtual_time(main())
    assert vendor.refused() == 0


def test_deep_requests_obey_their_own_limit() -> None:
    async def main() -> None:
        pacer = Pacer("u")
        await asyncio.gather(*(call(pacer, vendor, lambda: 0.25) for _ in range(5)))
        await asyncio.gather(*(call(pacer, vendor, lambda: 0.25, deep=True) for _ in range(25)))

    vendor = Vendor(deep_limit=10)
    run_in_virtual_time(main())
    # No answer stated the deep limit before the first refusal.
    assert vendor.refused() <= 64


def test_state_tells_an_honest_story() -> None:
    async def main() -> None:
        pacer = Pacer("u")
        waiting = asyncio.gather(*(call(pacer, vendor, lambda: 0.25) for _ in range(120)))
        await asyncio.sleep(8)
        state = pacer.state()
        assert (state.limit, state.period, state.used, state.foreign) == (100, 20, 100, 0)
        assert (state.waiting_bulk, state.waiting_interactive) == (20, 0)
        assert state.seconds_until_next_slot == pytest.approx(12.27, abs=0.05)
        await waiting

    vendor = Vendor()
    run_in_virtual_time(main())


def test_a_cancelled_waiter_and_an_unused_slot_leave_nothing_behind() -> None:
    async def main() -> None:
        pacer = Pacer("u")
        async with pacer.slot():
            waiter = asyncio.create_task(call(pacer, vendor, lambda: 0.1))
            await asyncio.sleep(1)
            waiter.cancel()
            await asyncio.gather(waiter, return_exceptions=True)
        state = pacer.state()
        assert (state.used, state.in_flight, state.waiting_bulk) == (0, 0, 0)
        # Granted and cancelled in the same step of the loop:
        holder = asyncio.create_task(call(pacer, vendor, lambda: 0.1))
        granted = asyncio.create_task(call(pacer, vendor, lambda: 0.1))
        await holder
        granted.cancel()
        await asyncio.gather(granted, return_exceptions=True)
        assert pacer.state().in_flight == 0

    vendor = Vendor()
    run_in_virtual_time(main())


async def test_clients_of_one_user_share_one_pacer() -> None:
    pacers = Pacers()
    assert pacers.of("7") is pacers.of("7")
    assert pacers.of("7") is not pacers.of("8")


def test_pacers_of_users_who_are_done_are_let_go() -> None:
    async def job() -> None:
        pacers = Pacers()
        for number in range(1000):
            await call(pacers.of(f"user-{number}"), Vendor(), lambda: 0.1)
        busy, paused = pacers.of("busy"), pacers.of("paused")
        async with busy.slot() as slot:
            slot.sending()
            async with paused.slot() as refused:
                refused.sending()
                refused.answered(429, httpx.Headers({"Retry-After": "600"}))
            await asyncio.sleep(200)
            kept = pacers.of("lately")
            await call(kept, Vendor(), lambda: 0.1)
            assert len(pacers) == 3
            await asyncio.sleep(50)
            pacers.of("new")
            assert pacers.of("lately") is kept
            assert pacers.of("busy") is busy
            assert pacers.of("paused") is paused
        await asyncio.sleep(1000)
        pacers.of("another")
        assert len(pacers) == 1

    run_in_virtual_time(job())
