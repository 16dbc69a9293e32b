"""The messages of a group at work in this process: in parallel by key, in order per key.

A key's messages wait for one another and for nobody else. What may begin is begun as there is room: messages whose
handler takes several (`Together`) in batches of one transaction, all others one by one. A batch that fails is taken
one by one, so what becomes of a message is decided as if it had come alone (`servicekit.kafka.rejections`).

Offsets are committed up to the first message that has no outcome. Those behind it come again after a crash, and the
inbox knows them. So few are begun beyond the last commit (`WINDOW`) that after a crash a process can take one by one
whatever may have been at work, and find the message at which it dies (`servicekit.kafka.attempts`).
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
"""Messages that are taken one by one."""
BATCHES_AT_ONCE: Final = 2
BATCH: Final = 100
"""Messages of one transaction."""
BATCH_SECONDS: Final = 5.0
"""A batch that takes longer has a slow message in it, which the others need not wait for."""
WINDOW: Final = 100
"""A partition's messages beyond the last commit, when more of it are fetched."""
FETCHED: Final = 100
"""Messages that come with one fetch."""
COMMIT_SECONDS: Final = 0.05
"""Between two commits of offsets."""
END_SECONDS: Final = 3.0
"""In which what is at work may end before its partition goes to somebody else."""
_CANCEL_SECONDS: Final = 5.0

log = structlog.get_logger(__name__)

_alone = asyncio.Lock()
"""After a crash messages are taken one at a time in a process, whatever their group: of two that were at work when it
died, the innocent one is through before the other one is begun again."""


class Consumer(Protocol):
    """The part of aiokafka's consumer that lanes use."""

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        """Commit offsets."""

    def highwater(self, partition: TopicPartition) -> int | None:
        """The offset behind the newest message."""


class Work(Protocol):
    """Takes the messages of a subscription, alone or several at a time."""

    def together(self, record: ConsumerRecord[Any, Any]) -> bool:
        """Whether its handler takes several messages."""

    async def take(self, record: ConsumerRecord[Any, Any]) -> str:
        """Take one in a transaction. Returns the outcome for the metrics."""

    async def take_all(self, records: Sequence[ConsumerRecord[Any, Any]]) -> Sequence[str]:
        """Take several, each of another key, in one transaction. Returns their outcomes."""


@dataclass(slots=True, eq=False, kw_only=True)
class _Message(Pending):
    partition: "_Partition"
    done: bool = False
    alone: bool = False
    """In no batch any more."""
    known: bool = False
    """Whether `deaths` was looked up."""


@dataclass(slots=True, eq=False)
class _Partition:
    """The messages of a partition from the last commit on."""

    at: TopicPartition
    gone: bool = False
    """Somebody else's, or nobody's."""
    opened: bool = False
    careful: bool = False
    careful_left: int = 0
    careful_until: float = 0
    """Offset of the first message that cannot have been at work in the process before."""
    window: deque[_Message] = field(default_factory=deque)
    """From the first one without an outcome, in the order of offsets."""
    keys: dict[bytes | None, deque[_Message]] = field(default_factory=dict)
    """Those without an outcome, by key."""
    fetched: int = 0
    passed: int = 0
    committed: int = 0
    """Numbers of fetched messages, of those with an outcome, and of those committed."""
    position: int = 0
    """The next offset to commit."""

    @property
    def suspects(self) -> bool:
        """Whether one that is not through may be at fault for what comes to the process."""
        return (self.careful and self.careful_left > 0 and self.position < self.careful_until) or any(
            message.hung for message in self.window
        )


class Lanes(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """The work of one group. Its consumer fetches of the partitions that are free; what it fetches is `put` here."""

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
        """Since when, as what, and which messages."""
        self._opening: set[asyncio.Task[None]] = set()
        self._opened: set[TopicPartition] = set()
        self._committing: asyncio.Task[None] | None = None
        self._moved = asyncio.Event()
        self._room = asyncio.Event()
        self._assignment = 0
        """Counts assignments: what was fetched in another one is fetched again."""
        self._fetched_in = 0
        self._ending = False

    def serve(self, consumer: Consumer) -> None:
        """Commit with this consumer from now on."""
        self._consumer = consumer

    # what the consumer asks and tells

    def free(self, assigned: Iterable[TopicPartition]) -> list[TopicPartition]:
        """The partitions of which more may be fetched."""
        known = self._partitions
        return [at for at in assigned if at not in known or known[at].fetched - known[at].committed < WINDOW]

    async def room(self, seconds: float) -> None:
        """Wait until a commit may have made room."""
        self._room.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._room.wait()

    def fetched(self) -> None:
        """Messages were fetched in the present assignment, and `put` is next."""
        self._fetched_in = self._assignment

    def put(self, records: Iterable[ConsumerRecord[Any, Any]]) -> None:
        """Begin with these messages as there is room."""
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

    # what may begin

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
            log.warning("a process died at work: its messages are taken one by one", group=self._guard.group)
        self._next_carefully(partition)
        self._begin()

    def _next_carefully(self, partition: _Partition) -> None:
        """Offer the first message of a partition in which a process died; or all, once those are through."""
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
            log.critical("messages were left", group=self._guard.group, exc_info=error)
        self._begin()

    def _note_busy(self) -> None:
        self._guard.busy_since = min((since for since, _, _ in self._running.values()), default=None)

    # what is done

    async def _batch(self, messages: Sequence[_Message]) -> None:
        for message in messages:
            message.begun_at = message.begun_at or time.monotonic()
        try:
            async with asyncio.timeout(BATCH_SECONDS):
                outcomes = await self._work.take_all([message.record for message in messages])
        except Exception as error:
            log.info("a batch is taken one by one", group=self._guard.group, messages=len(messages), exc_info=error)
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
        """Count the message before its handler runs, for the process that comes after this one."""
        record = message.record
        if not message.known:
            message.deaths, message.known = await self._attempts.begun(record), True
        if message.deaths >= MOST_BEGUN:
            return await self._guard.reject_dead(message)
        # Those before it do not come again, or their count would take the place of this one's.
        await self._commit()
        await self._attempts.count(record, message.deaths + message.hung + 1)
        delay = await self._guard.attempt(message, lambda: self._work.take(record))
        if delay is not None:  # the process has outlived it
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
        """Give back every partition, before they are shared out anew."""
        await self.end(END_SECONDS)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Nothing to do: it begins at what is committed."""

    def drop(self, at: TopicPartition) -> None:
        """Forget what was fetched of a partition: it goes on elsewhere."""
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
        """Let what is at work end within so many seconds, commit, and give back every partition."""
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
        """Whoever has them next is careful where this process was and is not through, or where a message hung."""
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
            log.info("partitions given back still count as at work", group=self._guard.group, exc_info=error)
