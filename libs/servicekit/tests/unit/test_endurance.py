"""What only long troubles show: loops that failed for hours, a handler that never comes back."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from servicekit import loops
from servicekit.db.notify import Wake
from servicekit.http.health import Health
from servicekit.kafka import consumers
from servicekit.kafka.consumers import Consumers, ConsumerStalled
from servicekit.kafka.rejections import Guard
from servicekit.kafka.subscriptions import Gap
from servicekit.testing import eventually
from servicekit.testing.time import PATIENCE_SECONDS


async def test_a_loop_outlives_any_number_of_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "FIRST_DELAY_SECONDS", 0.0)
    rounds = 0

    async def step() -> None:
        nonlocal rounds
        rounds += 1
        if rounds < 1200:  # Kafka or PostgreSQL away for five hours, at four rounds a minute
            raise ConnectionError
        await asyncio.Event().wait()

    supervisor = loops.Supervisor(Health())
    supervisor.start("loop", step)
    await eventually(lambda: rounds == 1200)
    await supervisor.stop()


async def test_a_loop_that_fails_while_stopping_is_stopped() -> None:
    async def step() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ConnectionRefusedError  # a job is given back at the shutdown, and PostgreSQL is away

    supervisor = loops.Supervisor(Health())
    supervisor.start("loop", step)
    await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await supervisor.stop()


async def test_a_loop_that_is_stopped_as_its_bell_rings_stops() -> None:
    wake = Wake()

    async def step() -> None:
        await wake.wait(60)

    supervisor = loops.Supervisor(Health())
    supervisor.start("loop", step)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    wake.set()
    stopping = asyncio.create_task(supervisor.stop())
    # Not `wait_for` or `timeout`: a stop that waits for ever would hold these up as well.
    await asyncio.wait({stopping}, timeout=2)
    assert stopping.done()


async def test_a_handler_that_never_comes_back_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    guard = Guard("people-sync.connections", "auth.connection.v1", None, cast("Any", None))
    group = Consumers(cast("Any", SimpleNamespace(dead_letters=None)), None, [])
    partition = SimpleNamespace(assignment=lambda: {0}, last_poll_timestamp=lambda _: time.time() * 1000)
    monkeypatch.setattr(group, "_running", lambda: iter([(SimpleNamespace(consumer=partition), guard)]))
    await group._watch()
    guard.busy_since = time.monotonic() - consumers.STUCK_SECONDS + 10
    await group._watch()
    guard.busy_since = time.monotonic() - consumers.STUCK_SECONDS - 1
    with pytest.raises(ConsumerStalled, match="one message"):
        await group._watch()


async def test_a_gap_is_reported_once_after_fetches_work_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka was away, and the group of the broadcast has outlived it: no partition was assigned anew."""
    told: list[object] = []
    guard = Guard("webhook-gateway.live", "people.record.v1", None, cast("Any", None))
    group = Consumers(cast("Any", SimpleNamespace(dead_letters=None)), None, [])
    group._gaps = {guard.group: Gap(told.append)}
    polled = time.time()
    partition = SimpleNamespace(assignment=lambda: {0}, last_poll_timestamp=lambda _: polled * 1000)
    monkeypatch.setattr(group, "_running", lambda: iter([(SimpleNamespace(consumer=partition), guard)]))
    await group._watch()
    assert told == []
    polled -= consumers.GAP_SECONDS + 1
    await group._watch()
    await group._watch()
    assert told == [], "not while it lasts"
    polled = time.time()
    await group._watch()
    await group._watch()
    assert told == [None]
