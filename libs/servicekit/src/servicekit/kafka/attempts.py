"""A group's attempts in PostgreSQL: the message at which a process died, and the rejected messages.

A process that starts the first message of a partition after an assignment inserts a row, and deletes it when it gives
the partition back with no message in progress. A row found at an assignment shows that a process died while it handled
one of the uncommitted messages. These are then handled one at a time, and each attempt is counted before its handler
runs, so counts that remain are deaths. All other messages cost nothing.
"""

from collections.abc import Sequence
from typing import Any, Final

from aiokafka import ConsumerRecord, TopicPartition
from sqlalchemy import ColumnElement, and_, delete, exists, select
from sqlalchemy.dialects.postgresql import insert

from servicekit.db.sessions import Sessions
from servicekit.db.tables import INBOX, MESSAGE_ATTEMPT
from servicekit.kafka.inbox import claim

MOST_BEGUN: Final = 3
"""Attempts of one message without a known end."""
FORGET_SECONDS: Final = 5.0


class Attempts:
    """The rows of one group. All methods raise PostgreSQL's errors."""

    def __init__(self, sessions: Sessions, group: str) -> None:
        self._sessions = sessions
        self._group = group

    async def open(self, at: TopicPartition, offset: int) -> bool:
        """Note that this process handles messages of a partition. Returns whether the previous process died while doing
        so.
        """
        row = insert(MESSAGE_ATTEMPT).values(**self._key(at), offset=offset, attempts=0).on_conflict_do_nothing()
        async with self._sessions.begin() as session:
            return await session.scalar(row.returning(MESSAGE_ATTEMPT.c.partition)) is None

    async def begun(self, record: ConsumerRecord[Any, Any]) -> int:
        """How often the message was begun without a known end."""
        statement = select(MESSAGE_ATTEMPT.c.attempts).where(
            self._where(_of(record)), MESSAGE_ATTEMPT.c.offset == record.offset
        )
        async with self._sessions.begin() as session:
            return await session.scalar(statement) or 0

    async def count(self, record: ConsumerRecord[Any, Any], attempts: int) -> None:
        """Store the number of times the message was begun; replaces the count of the partition's previous message."""
        row = insert(MESSAGE_ATTEMPT).values(**self._key(_of(record)), offset=record.offset, attempts=attempts)
        async with self._sessions.begin() as session:
            await session.execute(
                row.on_conflict_do_update(
                    index_elements=MESSAGE_ATTEMPT.primary_key.columns,
                    set_={"offset": row.excluded.offset, "attempts": row.excluded.attempts},
                )
            )

    async def close(self, ats: Sequence[TopicPartition]) -> None:
        """Note that no message of these partitions is in progress."""
        async with self._sessions.begin() as session:
            for at in ats:
                await session.execute(delete(MESSAGE_ATTEMPT).where(self._where(at)))

    async def reject(self, record: ConsumerRecord[Any, Any]) -> None:
        """Note that the message's dead letter was sent."""
        async with self._sessions.begin() as session:
            await claim(session, consumer=self._group, event_id=_letter(record))

    async def is_rejected(self, record: ConsumerRecord[Any, Any]) -> bool:
        """Whether the message's dead letter was sent, although its offset was not committed."""
        noted = exists().where(INBOX.c.consumer == self._group, INBOX.c.event_id == _letter(record))
        async with self._sessions.begin() as session:
            return bool(await session.scalar(select(noted)))

    def _key(self, at: TopicPartition) -> dict[str, Any]:
        return {"consumer": self._group, "topic": at.topic, "partition": at.partition}

    def _where(self, at: TopicPartition) -> ColumnElement[bool]:
        return and_(*(MESSAGE_ATTEMPT.c[name] == value for name, value in self._key(at).items()))


def _of(record: ConsumerRecord[Any, Any]) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)


def _letter(record: ConsumerRecord[Any, Any]) -> str:
    # The timestamp tells messages of a recreated topic apart, whose offsets begin again.
    return f"dead letter of {record.topic} {record.partition} {record.offset} {record.timestamp}"
