"""A consumer that reports messages lost before it read them.

aiokafka itself would silently continue at the oldest message, or the newest.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError

from servicekit.kafka.lanes import Lanes

WAIT_SECONDS: Final = 0.5
FULL_SECONDS: Final = 0.02
"""Pause between two checks for a free partition."""
STOP_SECONDS: Final = 10.0
_NOWHERE: Final = TopicPartition("", 0)
"""A partition that does not exist, for a poll that fetches nothing."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Messages of one partition that are gone before a group read them."""

    topic: str
    partition: int
    position: int | None
    """The group's position. None if it never read the partition, or so long ago that Kafka has dropped its offsets."""
    first: int
    """The offset at which the group continues: the oldest message's, or the next one's in an empty partition."""

    @property
    def most(self) -> int:
        """The maximum number of lost messages; 0 if unknown, as after a topic was recreated."""
        return max(self.first - (self.position or 0), 0)


class Reader(AIOKafkaConsumer):  # type: ignore[misc]  # aiokafka has no types
    """Calls `lost`, then continues at the oldest message, or at "now" with `auto_offset_reset="latest"`."""

    def __init__(self, *topics: str, lost: Callable[[Loss], None], **options: Any) -> None:
        super().__init__(*topics, **(options | {"auto_offset_reset": "none"}))
        self._tell = lost
        self._from_now = options.get("auto_offset_reset") == "latest"

    async def getone(self, *partitions: TopicPartition) -> ConsumerRecord[Any, Any]:
        """As aiokafka's."""
        while True:
            try:
                return await super().getone(*partitions)
            except (NoOffsetForPartitionError, OffsetOutOfRangeError) as error:
                await self._go_on(error.args[0])

    async def getmany(self, *partitions: TopicPartition, **options: Any) -> dict[TopicPartition, Any]:
        """As aiokafka's."""
        while True:
            try:
                found: dict[TopicPartition, Any] = await super().getmany(*partitions, **options)
            except (NoOffsetForPartitionError, OffsetOutOfRangeError) as error:
                await self._go_on(error.args[0])
            else:
                return found

    async def stop(self) -> None:
        """As aiokafka's, but whole: a consumer that is half stopped stays in its group, and nobody polls it.

        aiokafka cancels a fetch and then waits for it, which raises CancelledError here. FastStream stops all consumers
        in one task group, where that error would interrupt the others.
        """
        stopping = asyncio.create_task(self._stop())
        await asyncio.wait([stopping])
        if not stopping.cancelled():
            stopping.result()

    async def _stop(self) -> None:
        try:
            await super().stop()
        except (Exception, asyncio.CancelledError) as error:
            # aiokafka leaves its further steps out, and does nothing when it is asked again.
            for step in self._rest():
                with suppress(Exception, asyncio.CancelledError):
                    await step()
            if isinstance(error, Exception):
                raise

    def _rest(self) -> Iterator[Callable[[], Awaitable[None]]]:
        if self._group_id is not None and (group := self._coordinator) is not None:
            yield from (group._stop_heartbeat_task, group._stop_commit_offsets_refresh_task, group._maybe_leave_group)  # noqa: SLF001 - nothing public ends them
        if self._fetcher is not None:
            yield self._fetcher.close
        yield self._client.close

    async def _go_on(self, at: TopicPartition | dict[TopicPartition, int]) -> None:
        for partition, position in at.items() if isinstance(at, dict) else [(at, None)]:
            offsets = self.end_offsets if self._from_now else self.beginning_offsets
            first = (await offsets([partition]))[partition]
            if position is not None or (first > 0 and not self._from_now):
                self._tell(Loss(partition.topic, partition.partition, position, first))
            if partition in self.assignment():
                self.seek(partition, first)
                if not self._from_now:
                    await self.commit({partition: first})


class LaneReader(Reader):
    """Fetches only from partitions whose lanes have room."""

    def __init__(self, *topics: str, lanes: Lanes, lost: Callable[[Loss], None], **options: Any) -> None:
        super().__init__(*topics, lost=lost, **options)
        self._lanes = lanes
        self._lanes.serve(self)

    async def getmany(self, *_: TopicPartition, **options: Any) -> dict[TopicPartition, Any]:
        """As aiokafka's, but waits for at least one message."""
        while True:
            assigned = self.assignment()
            free = self._lanes.free(assigned)
            if len(free) == len(assigned):
                asked, seconds = [], WAIT_SECONDS
            elif free:
                asked, seconds = free, FULL_SECONDS
            else:  # polled all the same, because a consumer that never polls is removed from its group
                await self._lanes.room(FULL_SECONDS)
                asked, seconds = [_NOWHERE], 0.0
            if found := await super().getmany(*asked, **(options | {"timeout_ms": seconds * 1000})):
                self._lanes.fetched()
                return found

    async def _stop(self) -> None:
        """As a reader's, after the running handlers have ended."""
        await self._lanes.stop(STOP_SECONDS)
        await super()._stop()

    async def _go_on(self, at: TopicPartition | dict[TopicPartition, int]) -> None:
        for partition in at if isinstance(at, dict) else [at]:
            self._lanes.drop(partition)
        await super()._go_on(at)
