"""At which message did a process die? Counted in PostgreSQL before the handler runs, and only where it may matter.

A group goes on at its committed offset, so the message at which a process died is the first that is taken of its
partition after the next assignment. Only there a row says that the message is begun, and it goes when the message
ends in whatever way a living process sees: handled, rejected, given back. What is left of it are deaths. All others
of the partition cost nothing. A message that ran into its time limit is counted likewise, so that time-outs and
deaths of one message come to one sum.
"""

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Any, Final

import structlog
from aiokafka import ConsumerRebalanceListener, ConsumerRecord
from sqlalchemy import ColumnElement, and_, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from servicekit.db.sessions import Sessions
from servicekit.db.tables import MESSAGE_ATTEMPT

MOST_BEGUN: Final = 3
"""Of one message, without an end that anybody knows of."""
FORGET_SECONDS: Final = 5.0

log = structlog.get_logger(__name__)

_alone = asyncio.Lock()
"""Messages that were begun before and never ended are taken one at a time in a process: of two that were in work when
it died, the innocent one is through before the other one is begun again."""


class Attempts(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """The count of one group in this process. `begin` and `end` belong around every message."""

    def __init__(self, sessions: Sessions, group: str) -> None:
        self._sessions = sessions
        self._group = group
        self._counts: set[int] = set()
        """Partitions whose next message is counted."""
        self._begun: dict[int, int] = {}
        """Partitions with a row that this process has written, and its count."""
        self._ended: set[int] = set()
        """Partitions with a row that could not be deleted, though the message had ended."""
        self._held: dict[int, AsyncExitStack] = {}

    def on_partitions_revoked(self, revoked: Any) -> None:
        """Nothing to do: whoever is assigned them next counts."""

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """The next message of each partition may be the one at which the previous owner died."""
        self._counts = {partition.partition for partition in assigned}

    async def begin(self, record: ConsumerRecord[Any, Any]) -> int:
        """How often the message was begun and never ended, this time included; 0 if that is not counted.

        Raises what PostgreSQL raises: then nothing was begun.
        """
        if record.partition not in self._counts:
            return 0
        async with AsyncExitStack() as stack:
            if await self._known(record):
                await stack.enter_async_context(_alone)
            begun = await self.count(record)
            self._held[record.partition] = stack.pop_all()
        return begun

    async def count(self, record: ConsumerRecord[Any, Any]) -> int:
        """Count the message as begun, unless this process has. Returns how often it was."""
        if (begun := self._begun.get(record.partition)) is not None:
            return begun
        async with self._sessions.begin() as session:
            before = 0 if record.partition in self._ended else await _attempts(session, self._where(record), record)
            begun = before + 1
            row = insert(MESSAGE_ATTEMPT).values(
                consumer=self._group, topic=record.topic, partition=record.partition, offset=record.offset,
                attempts=begun,
            )  # fmt: skip
            await session.execute(
                row.on_conflict_do_update(
                    index_elements=MESSAGE_ATTEMPT.primary_key.columns,
                    set_={"offset": row.excluded.offset, "attempts": row.excluded.attempts},
                )
            )
        self._begun[record.partition] = begun
        self._counts.add(record.partition)
        self._ended.discard(record.partition)
        return begun

    async def end(self, record: ConsumerRecord[Any, Any], *, passed: bool, known: bool) -> None:
        """The process has outlived the message.

        passed: it is dealt with; otherwise it comes again, and is counted again.
        known: how it ended is known; otherwise what was counted stays.
        """
        if stack := self._held.pop(record.partition, None):
            await stack.aclose()
        if passed:
            self._counts.discard(record.partition)
        if self._begun.pop(record.partition, None) is None or not known:
            return
        try:
            async with asyncio.timeout(FORGET_SECONDS), self._sessions.begin() as session:
                await session.execute(delete(MESSAGE_ATTEMPT).where(self._where(record)))
        except Exception as error:
            self._ended.add(record.partition)
            log.info("an attempt that ended is still counted", group=self._group, exc_info=error)

    async def _known(self, record: ConsumerRecord[Any, Any]) -> bool:
        if record.partition in self._ended:
            return False
        async with self._sessions.begin() as session:
            return await _attempts(session, self._where(record), record) > 0

    def _where(self, record: ConsumerRecord[Any, Any]) -> ColumnElement[bool]:
        columns = MESSAGE_ATTEMPT.c
        return and_(
            columns.consumer == self._group, columns.topic == record.topic, columns.partition == record.partition
        )


async def _attempts(session: AsyncSession, where: ColumnElement[bool], record: ConsumerRecord[Any, Any]) -> int:
    statement = select(MESSAGE_ATTEMPT.c.attempts).where(where, MESSAGE_ATTEMPT.c.offset == record.offset)
    return await session.scalar(statement) or 0
