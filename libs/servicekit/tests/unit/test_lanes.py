"""Messages at work, without Kafka and PostgreSQL: keys, batches, deaths and commits, in any order of events."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeAlias, cast

import pytest
from aiokafka import ConsumerRecord, TopicPartition

from servicekit.errors import TransientError
from servicekit.kafka import lanes as lanes_module
from servicekit.kafka import rejections
from servicekit.kafka.attempts import MOST_BEGUN, Attempts
from servicekit.kafka.lanes import BATCH, FETCHED, WINDOW, Lanes
from servicekit.kafka.producer import Producer, Record
from servicekit.kafka.rejections import Guard
from servicekit.testing import eventually

TOPIC = "people.conflict.v1"
Message: TypeAlias = ConsumerRecord[Any, Any]


class World:
    """What outlives a process: the log, the committed offsets, the database, and the dead letters."""

    def __init__(self) -> None:
        self.log: defaultdict[int, list[Message]] = defaultdict(list)
        self.committed: defaultdict[int, int] = defaultdict(int)
        self.effects: list[Message] = []
        self.rows: dict[int, tuple[int, int]] = {}
        """By partition: offset and attempts of `message_attempt`."""
        self.letters: list[tuple[bytes, str]] = []
        self.noted: set[tuple[int, int]] = set()

    def send(self, key: str, partition: int = 0, value: str = "good") -> None:
        log = self.log[partition]
        log.append(ConsumerRecord(TOPIC, partition, len(log), 0, 0, key.encode(), value.encode(), None, 0, 0, ()))

    def is_through(self) -> bool:
        return all(self.committed[partition] == len(log) for partition, log in self.log.items())


class Died(BaseException):
    """What `kill -9` is to a process."""


class Process:
    """A member of the group that has all partitions: fetches, and dies when told to."""

    def __init__(self, world: World, *, seed: int = 0, together: bool = False) -> None:
        self.world = world
        self.random = random.Random(seed)
        self.together_ = together
        self.dead = False
        self.at_work: set[tuple[int, int]] = set()
        self.most = 0
        self.batches: list[int] = []
        self.held = asyncio.Event()
        self.positions = dict(world.committed)
        guard = Guard(
            "conflict-service.conflicts",
            TOPIC,
            "letters",
            cast("Producer", self),
            attempts=cast("Attempts", self),
        )
        self.lanes = Lanes(guard, cast("Attempts", self), self)
        self.lanes.serve(self)

    # fetching

    def fetch(self, most: int = FETCHED) -> None:
        free = self.lanes.free([TopicPartition(TOPIC, partition) for partition in self.world.log])
        found: list[Message] = []
        for at in free:
            position = self.positions.setdefault(at.partition, self.world.committed[at.partition])
            some = self.world.log[at.partition][position : position + most]
            self.positions[at.partition] = position + len(some)
            found += some
        self.lanes.fetched()
        self.lanes.put(found)

    async def run(self) -> None:
        """Until all is through, or the process dies."""
        while not self.dead and not self.world.is_through():
            self.fetch(self.random.randint(1, 30))
            await asyncio.sleep(0)

    async def rebalance(self) -> None:
        with suppress(Died):
            await self.lanes.end(0)
        self.positions.clear()

    async def die(self) -> None:
        """As `kill -9`: nothing that it would have done after this is done."""
        self.dead = True
        tasks = [*self.lanes._running, *self.lanes._opening]
        tasks += [self.lanes._committing] if self.lanes._committing else []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _alive(self) -> None:
        if self.dead:
            raise Died

    # the consumer

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        self._alive()
        for at, offset in offsets.items():
            assert offset >= self.world.committed[at.partition]
            done = {(one.partition, one.offset) for one in self.world.effects} | self.world.noted
            assert all((at.partition, each) in done for each in range(offset)), "nothing is passed over"
            self.world.committed[at.partition] = offset

    def highwater(self, partition: TopicPartition) -> int | None:
        return len(self.world.log[partition.partition])

    # the database

    async def open(self, at: TopicPartition, offset: int) -> bool:
        await asyncio.sleep(0)
        self._alive()
        known = at.partition in self.world.rows
        self.world.rows.setdefault(at.partition, (offset, 0))
        return known

    async def begun(self, record: Message) -> int:
        offset, attempts = self.world.rows.get(record.partition, (-1, 0))
        return attempts if offset == record.offset else 0

    async def count(self, record: Message, attempts: int) -> None:
        await asyncio.sleep(0)
        self._alive()
        self.world.rows[record.partition] = (record.offset, attempts)

    async def close(self, ats: Sequence[TopicPartition]) -> None:
        self._alive()
        for at in ats:
            self.world.rows.pop(at.partition, None)

    async def reject(self, record: Message) -> None:
        self._alive()
        self.world.noted.add((record.partition, record.offset))

    async def is_rejected(self, record: Message) -> bool:
        return (record.partition, record.offset) in self.world.noted

    async def send(self, records: Sequence[Record]) -> None:
        self._alive()
        for record in records:
            self.world.letters.append((record.value or b"", dict(record.headers)["dlq_error"].decode()))  # type: ignore[union-attr]

    # the handlers

    def together(self, record: Message) -> bool:
        return self.together_

    async def take(self, record: Message) -> str:
        (outcome,) = await self._take([record])
        return outcome

    async def take_all(self, records: Sequence[Message]) -> Sequence[str]:
        assert len({(record.partition, record.key) for record in records}) == len(records)
        self.batches.append(len(records))
        return await self._take(records)

    async def _take(self, records: Sequence[Message]) -> list[str]:
        self._alive()
        ids = {(record.partition, record.offset) for record in records}
        assert not ids & self.at_work
        self.at_work |= ids
        self.most = max(self.most, *(offset - self.world.committed[partition] for partition, offset in ids))
        try:
            return await self._in_transaction(records)
        finally:
            self.at_work -= ids

    async def _in_transaction(self, records: Sequence[Message]) -> list[str]:
        had = {(one.partition, one.offset) for one in self.world.effects}
        new = [record for record in records if (record.partition, record.offset) not in had]
        for record in new:
            if record.value == b"kills":
                self.dead = True
                raise Died
            if record.value == b"hangs":
                await self.held.wait()
            for _ in range(self.random.randint(0, 3)):
                await asyncio.sleep(0)
            self._alive()
            if record.value == b"poison":
                raise ValueError
            if record.value == b"flaky" and self.random.random() < 0.02:
                raise TransientError
            if record.value == b"flaky" and self.random.random() < 0.3:
                raise ConnectionRefusedError
        self.world.effects += new
        return ["handled" if record in new else "duplicate" for record in records]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejections, "FIRST_DELAY_SECONDS", 0.0)
    monkeypatch.setattr(rejections, "OUTAGE_DELAY_SECONDS", 0.0)
    monkeypatch.setattr(rejections, "MOST_IN_A_ROW", 10_000)
    monkeypatch.setattr(rejections, "MOST_OF_THE_LAST", (10_000, 10_000))
    monkeypatch.setattr(lanes_module, "COMMIT_SECONDS", 0.0)


async def until(process: Process, true: Callable[[], bool]) -> None:
    async def done() -> bool:
        process.fetch()
        return true()

    await eventually(done)


async def test_a_slow_key_holds_itself_alone() -> None:
    world = World()
    for number in range(60):
        world.send("slow" if number % 10 == 5 else f"key-{number}", value="hangs" if number == 5 else "good")
    process = Process(world)
    await until(process, lambda: len(world.effects) == 54)
    assert world.committed[0] == 5, "those behind it are done, and not committed"
    process.held.set()
    await until(process, world.is_through)
    assert [one.offset for one in world.effects if one.key == b"slow"] == [5, 15, 25, 35, 45, 55]
    await process.lanes.stop(1)
    assert world.rows == {}


async def test_a_slow_key_holds_no_more_than_its_window() -> None:
    world = World()
    for number in range(3 * WINDOW):
        world.send(f"key-{number}", value="good" if number else "hangs")
    process = Process(world)
    await until(process, lambda: len(world.effects) == WINDOW - 1)
    for _ in range(20):
        process.fetch()
        await asyncio.sleep(0)
    assert len(world.effects) == WINDOW - 1, "nothing of the partition is begun beyond"
    process.held.set()
    await until(process, world.is_through)
    assert process.most < WINDOW + FETCHED
    await process.lanes.stop(1)


async def test_one_bad_message_of_a_batch_is_rejected_alone() -> None:
    world = World()
    for number in range(50):
        world.send(f"key-{number}", value="poison" if number == 20 else "good")
    process = Process(world, together=True)
    await until(process, world.is_through)
    assert max(process.batches) > 10
    assert max(process.batches) <= BATCH
    assert len(world.effects) == 49
    assert world.letters == [(b"poison", "ValueError")]
    await process.lanes.stop(1)


async def test_the_messages_of_a_slow_batch_are_handled_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes_module, "BATCH_SECONDS", 0.01)
    world = World()
    for number in range(20):
        world.send(f"key-{number}", value="hangs" if number == 7 else "good")
    process = Process(world, together=True)
    await until(process, lambda: len(world.effects) == 19)
    process.held.set()
    await until(process, world.is_through)
    await process.lanes.stop(1)


@pytest.mark.parametrize("together", [False, True])
async def test_the_deadly_message_among_several_is_found(together: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes_module, "COMMIT_SECONDS", 0.05)  # it dies before those in front of it are committed
    world = World()
    for number in range(40):
        world.send(f"key-{number}", partition=number % 2, value="kills" if number == 21 else "good")
    deaths = 0
    while not world.is_through():
        process = Process(world, seed=deaths, together=together)
        process.fetch()
        for _ in range(12):
            await asyncio.sleep(0)
        await process.rebalance()  # it gives the partitions back and gets them again: that is no end of its suspicion
        await process.run()
        if process.dead:
            await process.die()
            deaths += 1
        else:
            await process.lanes.stop(1)
    assert deaths == 1 + MOST_BEGUN
    assert world.letters == [(b"kills", "ProcessDied")]
    assert len(world.effects) == 39


@pytest.mark.parametrize("seed", range(10))
async def test_storm(seed: int) -> None:
    """Shuffled keys, failures, rebalances and deaths at any step: each effect once, in the order of its key."""
    chosen = random.Random(seed)
    world = World()
    for _ in range(10):
        value = chosen.choice(["good"] * 12 + ["flaky"] * 3 + ["poison"])
        world.send(f"key-{chosen.randrange(12)}", chosen.randrange(3), value)
    if chosen.random() < 0.5:
        world.send("killer", chosen.randrange(3), "kills")
    for number in range(10):
        await _life(world, chosen, to_the_end=number > 50)
        if world.is_through():
            break
    assert world.is_through()
    seen = [(one.partition, one.offset) for one in world.effects]
    assert len(seen) == len(set(seen)), "each effect once"
    every = [one for log in world.log.values() for one in log]
    assert len(set(seen) | world.noted) == len(every), "nothing is lost"
    assert {value for value, _ in world.letters} <= {b"poison", b"kills", b"flaky"}
    by_key: defaultdict[tuple[int, bytes], list[int]] = defaultdict(list)
    for one in world.effects:
        by_key[one.partition, cast("bytes", one.key)].append(one.offset)
    assert all(offsets == sorted(offsets) for offsets in by_key.values())


async def _life(world: World, chosen: random.Random, *, to_the_end: bool) -> None:
    """One process after another: it dies, is stopped, or is through."""
    process = Process(world, seed=chosen.randrange(1000), together=chosen.random() < 0.5)
    running = asyncio.create_task(process.run())
    steps = chosen.randint(0, 400)
    while not (process.dead or running.done()) and (steps or to_the_end):
        steps -= 1
        await asyncio.sleep(0)
        if not to_the_end and chosen.random() < 0.01:
            await process.rebalance()
    process.dead = process.dead or (not running.done() and chosen.random() < 0.5)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    with suppress(Died):
        if not process.dead:
            await process.lanes.stop(0)
    if process.dead:
        await process.die()
