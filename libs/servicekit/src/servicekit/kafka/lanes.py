"""Handles the messages of a group in this process: in parallel by key, in order per key.

A message only waits for earlier messages of its key. As slots get free, messages whose handler takes several
(`Together`) are handled in batches of one transaction, all others one by one. The messages of a failed batch are
handled again one by one, so the outcome of each is decided as if it had come alone (`servicekit.kafka.rejections`).

Offsets are committed up to the first message without an outcome. Later messages come again after a crash, and the inbox
skips them. `WINDOW` limits the messages begun beyond the last commit, so that after a crash the next process can handle
all messages that may have been in progress one by one, and find the one that kills it (`servicekit.kafka.attempts`).
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import structlog
from aiokafka import ConsumerRebalanceListener, ConsumerRecord, TopicPartition

from servicekit.kafka.attempts import FORGET_SECONDS, MOST_BEGUN, Attempts
from servicekit.kafka.rejections import HANDLER_SECONDS, Guard, Pending

AT_ONCE: Final = 4
"""Maximum messages handled one by one at the same time."""
BATCHES_AT_ONCE: Final = 2
BATCH: Final = 100
"""Maximum messages of one transaction."""
BATCH_SECONDS: Final = 5.0
"""A batch that takes longer is split, so that its other messages do not wait for a slow one."""
WINDOW: Final = 100
"""Number of a partition's uncommitted messages from which on no more are fetched."""
FETCHED: Final = 100
"""Maximum messages of one fetch."""
COMMIT_SECONDS: Final = 0.05
"""Pause between two commits of offsets."""
END_SECONDS: Final = 3.0
"""Time that running handlers get to end before their partition is reassigned."""
_CANCEL_SECONDS: Final = 5.0

log = structlog.get_logger(__name__)

_alone = asyncio.Lock()
"""After a crash a process handles suspects of all groups one at a time. So of two messages that were in progress at the
crash, the innocent one is done before the other one begins.
"""


class Consumer(Protocol):
    """The part of aiokafka's consumer that lanes use."""

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        """Commit offsets."""

    def highwater(self, partition: TopicPartition) -> int | None:
        """The offset after the newest message."""


class Work(Protocol):
    """Handles the messages of a subscription, one or several at a time."""

    def together(self, record: ConsumerRecord[Any, Any]) -> bool:
        """Whether its handler takes several messages."""

    async def take(self, record: ConsumerRecord[Any, Any]) -> str:
        """Handle one in a transaction. Returns the outcome for the metrics."""

    async def take_all(self, records: Sequence[ConsumerRecord[Any, Any]]) -> Sequence[str]:
        """Handle several, each of another key, in one transaction. Returns their outcomes."""


@dataclass(slots=True, eq=False, kw_only=True)
class _Message(Pending):
    partition: "_Partition"
    done: bool = False
    alone: bool = False
    """Whether the message's batch failed, so that it is handled alone."""
    known: bool = False
    """Whether `deaths` was read from PostgreSQL."""


@dataclass(slots=True, eq=False)
class _Partition:
    """The messages of a partition since the last commit."""

    at: TopicPartition
    gone: bool = False
    """Whether this process no longer has the partition."""
    opened: bool = False
    careful: bool = False
    careful_left: int = 0
    careful_until: float = 0
    """Offset of the first message that the previous process cannot have begun."""
    window: deque[_Message] = field(default_factory=deque)
    """The messages from the first one without an outcome on, by offset."""
    keys: dict[bytes | None, deque[_Message]] = field(default_factory=dict)
    """The messages without an outcome, by key."""
    fetched: int = 0
    passed: int = 0
    committed: int = 0
    """Numbers of messages fetched, with an outcome, and committed."""
    position: int = 0
    """The next offset to commit."""

    @property
    def suspects(self) -> bool:
        """Whether a message without an outcome may be the one that kills or hangs the process."""
        return (self.careful and self.careful_left > 0 and self.position < self.careful_until) or any(
            message.hung for message in self.window
        )


class Lanes(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """The messages of one group. Its consumer fetches from the free partitions and `put`s the messages here."""

    def __init__(self, guard: Guard, attempts: Attempts, work: Work) -> None:
        self._guard = guard
        self._attempts = attempts
        self._work = work
        self._consumer: Consumer | None = None
        self._partitions: dict[TopicPartition, _Partition] = {}
        self._single: deque[_Message] = deque()
        self._together: deque[_Message] = deque()
        self._careful: deque[_Message] = deque()
        self._running: dict[asyncio.Task[None], tuple[float, str, Sequence[_Message]]] = {}
        """Start (monotonic), kind and messages of each running task."""
        self._opening: set[asyncio.Task[None]] = set()
        self._opened: set[TopicPartition] = set()
        self._committing: asyncio.Task[None] | None = None
        self._moved = asyncio.Event()
        self._room = asyncio.Event()
        self._assignment = 0
        """Number of the assignment. Messages fetched in an earlier one are dropped, because they are fetched again."""
        self._fetched_in = 0
        self._ending = False

    def serve(self, consumer: Consumer) -> None:
        """Commit with this consumer from now on."""
        self._consumer = consumer

    # called by the consumer

    def free(self, assigned: Iterable[TopicPartition]) -> list[TopicPartition]:
        """The partitions from which more may be fetched."""
        known = self._partitions
        return [at for at in assigned if at not in known or known[at].fetched - known[at].committed < WINDOW]

    async def room(self, seconds: float) -> None:
        """Wait until a commit frees space in the window."""
        self._room.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._room.wait()

    def fetched(self) -> None:
        """Note that messages were fetched in the present assignment, before `put`."""
        self._fetched_in = self._assignment

    def put(self, records: Iterable[ConsumerRecord[Any, Any]]) -> None:
        """Add fetched messages, and begin those for which a slot is free."""
        if self._fetched_in != self._assignment or self._ending:
            return
        for record in records:
            at = TopicPartition(record.topic, record.partition)
            partition = self._partitions.get(at)
            if partition is None:
                partition = self._partitions[at] = _Partition(at, position=record.offset, opened=at in self._opened)
                if not partition.opened:
                    self._open_soon(partition, record.offset)
            self._add(partition, _Message(record, partition=partition))
        if self._committing is None:
            self._committing = asyncio.create_task(self._commits())
        self._begin()

    def _add(self, partition: _Partition, message: _Message) -> None:
        partition.fetched += 1
        partition.window.append(message)
        same = partition.keys.setdefault(message.record.key, deque())
        same.append(message)
        if not partition.opened:
            return
        if partition.careful:
            if len(partition.window) == 1:
                self._next_carefully(partition)
        elif len(same) == 1:
            self._offer(message)

    # beginning messages

    def _open_soon(self, partition: _Partition, offset: int) -> None:
        task = asyncio.create_task(self._open(partition, offset))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, partition: _Partition, offset: int) -> None:
        while not partition.gone:
            try:
                partition.careful = await self._attempts.open(partition.at, offset)
            except Exception as error:  # noqa: BLE001 - nothing was begun, whatever it is
                await asyncio.sleep(self._guard.wait_out(partition.window[0], error))
            else:
                break
        if partition.gone:
            return
        partition.opened = True
        self._opened.add(partition.at)
        if partition.careful:
            end = self._consumer.highwater(partition.at) if self._consumer else None
            partition.careful_left, partition.careful_until = WINDOW + FETCHED, math.inf if end is None else end
            log.warning("a process died: its suspect messages are handled one by one", group=self._guard.group)
        self._next_carefully(partition)
        self._begin()

    def _next_carefully(self, partition: _Partition) -> None:
        """Offer the first message of a partition in which a process died, or every key's first once all suspects are
        done.
        """
        if not partition.window:
            return
        if partition.careful_left > 0 and partition.position < partition.careful_until:
            partition.careful_left -= 1
            self._careful.append(partition.window[0])
            return
        partition.careful = False
        for same in partition.keys.values():
            self._offer(same[0])

    def _offer(self, message: _Message) -> None:
        together = not message.alone and self._work.together(message.record)
        (self._together if together else self._single).append(message)

    def _begin(self) -> None:
        if self._ending or self._guard.rejections.stopped:
            return
        if self._careful and not self._count("careful"):
            self._run("careful", [self._careful.popleft()])
        if len(self._together) == 1:
            self._single.append(self._together.popleft())
        while self._single and self._count("single") < AT_ONCE:
            self._run("single", [self._single.popleft()])
        while self._together and self._count("batch") < BATCHES_AT_ONCE:
            self._run("batch", [self._together.popleft() for _ in range(min(len(self._together), BATCH))])

    def _count(self, kind: str) -> int:
        return sum(kind == other for _, other, _ in self._running.values())

    def _run(self, kind: str, messages: Sequence[_Message]) -> None:
        steps = self._batch(messages) if kind == "batch" else self._one(messages[0], carefully=kind == "careful")
        task = asyncio.create_task(steps)
        self._running[task] = (time.monotonic(), kind, messages)
        self._note_busy()
        task.add_done_callback(self._ran)

    def _ran(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._note_busy()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("an unexpected error left messages unhandled", group=self._guard.group, exc_info=error)
        self._begin()

    def _note_busy(self) -> None:
        self._guard.busy_since = min((since for since, _, _ in self._running.values()), default=None)

    # outcomes

    async def _batch(self, messages: Sequence[_Message]) -> None:
        for message in messages:
            message.begun_at = message.begun_at or time.monotonic()
        try:
            async with asyncio.timeout(BATCH_SECONDS):
                outcomes = await self._work.take_all([message.record for message in messages])
        except Exception as error:
            log.info(
                "a batch failed: handling its messages singly",
                group=self._guard.group,
                messages=len(messages),
                exc_info=error,
            )
            for message in messages:
                message.alone = True
            self._single.extend(message for message in messages if not message.partition.gone)
            return
        for message, outcome in zip(messages, outcomes, strict=True):
            self._guard.taken(message, outcome)
            self._pass(message)

    async def _one(self, message: _Message, *, carefully: bool) -> None:
        try:
            if carefully:
                async with _alone:
                    delay = await self._counted(message)
            else:
                delay = await self._guard.attempt(message, lambda: self._work.take(message.record))
        except Exception as error:  # noqa: BLE001 - not the handler's, which the guard has sorted
            delay = self._guard.wait_out(message, error)
        if delay is None:
            self._pass(message)
        elif not message.partition.gone:
            asyncio.get_running_loop().call_later(delay, self._again, message)

    async def _counted(self, message: _Message) -> float | None:
        """Count the attempt before the handler runs, so that the next process knows of it if this one dies."""
        record = message.record
        if not message.known:
            message.deaths, message.known = await self._attempts.begun(record), True
        if message.deaths >= MOST_BEGUN:
            return await self._guard.reject_dead(message)
        # Commit the messages before it first: if they came again, their counts would replace this one.
        await self._commit()
        await self._attempts.count(record, message.deaths + message.hung + 1)
        delay = await self._guard.attempt(message, lambda: self._work.take(record))
        if delay is not None:  # the process survived the attempt
            with suppress(Exception):
                await self._attempts.count(record, message.deaths + message.hung)
        return delay

    def _again(self, message: _Message) -> None:
        if message.partition.gone:
            return
        if message.partition.careful:
            self._careful.append(message)
        else:
            self._offer(message)
        self._begin()

    def _pass(self, message: _Message) -> None:
        message.done = True
        partition, window = message.partition, message.partition.window
        same = partition.keys[message.record.key]
        same.popleft()
        if not same:
            del partition.keys[message.record.key]
        while window and window[0].done:
            partition.position = window.popleft().record.offset + 1
            partition.passed += 1
            self._moved.set()
        if partition.gone:
            return
        if partition.careful:
            self._next_carefully(partition)
        elif same:
            self._offer(same[0])

    # offsets and assignments

    async def _commits(self) -> None:
        while True:
            await self._moved.wait()
            self._moved.clear()
            await self._commit()
            await asyncio.sleep(COMMIT_SECONDS)

    async def _commit(self) -> None:
        moved = [(one, one.position, one.passed) for one in self._partitions.values() if one.passed > one.committed]
        if not moved or self._consumer is None:
            return
        try:
            await self._consumer.commit({one.at: position for one, position, _ in moved})
        except Exception as error:
            log.info("offsets could not be committed", group=self._guard.group, exc_info=error)
            self._moved.set()
            return
        for one, _, passed in moved:
            one.committed = passed
        self._room.set()

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:  # noqa: ARG002 - it is all
        """Give back every partition before the rebalance."""
        await self.end(END_SECONDS)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Nothing to do: fetching starts at the committed offsets."""

    def drop(self, at: TopicPartition) -> None:
        """Drop a partition's fetched messages, because its position changes."""
        if partition := self._partitions.pop(at, None):
            self._leave(partition)

    def _leave(self, partition: _Partition) -> None:
        partition.gone = True
        self._guard.forget(partition.window)
        for waiting in (self._single, self._together, self._careful):
            left = [message for message in waiting if message.partition is not partition]
            waiting.clear()
            waiting.extend(left)

    async def end(self, seconds: float) -> None:
        """Wait up to `seconds` for running handlers, cancel the rest, commit, and give back every partition."""
        self._assignment += 1
        self._ending = True
        try:
            if self._running:
                await asyncio.wait(self._running, timeout=seconds)
            for since, _, messages in self._running.values():
                for message in messages:
                    message.hung += time.monotonic() - since > HANDLER_SECONDS
            await self._cancel([*self._opening, *self._running])
            with suppress(TimeoutError):
                async with asyncio.timeout(_CANCEL_SECONDS):
                    await self._commit()
            for partition in self._partitions.values():
                self._leave(partition)
            await self._close([one for one in self._partitions.values() if one.opened])
        finally:
            self._partitions.clear()
            self._opened.clear()
            self._ending = False

    async def stop(self, seconds: float) -> None:
        """`end`, for good."""
        await self.end(seconds)
        if self._committing is not None:
            await self._cancel([self._committing])
            self._committing = None

    async def _cancel(self, tasks: Collection[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_CANCEL_SECONDS)

    async def _close(self, partitions: Sequence[_Partition]) -> None:
        """Delete the rows of partitions without suspects. The other rows make the next process handle messages one by
        one.
        """
        ended = [one for one in partitions if not one.suspects]
        if not partitions:
            return
        try:
            async with asyncio.timeout(FORGET_SECONDS):
                await self._attempts.close([one.at for one in ended])
                for one in partitions:
                    if one not in ended and one.window:
                        message = next((message for message in one.window if message.hung), one.window[0])
                        await self._attempts.count(message.record, message.deaths + message.hung)
        except Exception as error:
            log.info("attempts of released partitions could not be stored", group=self._guard.group, exc_info=error)
