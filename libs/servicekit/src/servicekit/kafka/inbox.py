"""The inbox: a message's id commits together with its effect, so a duplicate has no second effect.

It also stores messages of types that this version of the service does not know (`servicekit.kafka.set_aside`).
"""

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from aiokafka import ConsumerRecord
from sqlalchemy import Text, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession

from servicekit.db.retention import forget
from servicekit.db.sessions import Sessions
from servicekit.db.tables import INBOX, SET_ASIDE

KEPT = timedelta(days=30)
"""How long an id is kept: at least as long as a dead letter may wait for its replay."""


async def claim(session: AsyncSession, *, consumer: str, event_id: str) -> bool:
    """Whether this transaction is the first to take the message; False if its effect is already committed.

    Two members of a group that have the same message during a rebalance wait for each other here: the second one's
    insert blocks until the first one's transaction has ended.
    """
    statement = (
        insert(INBOX).values(consumer=consumer, event_id=event_id).on_conflict_do_nothing().returning(INBOX.c.event_id)
    )
    return await session.scalar(statement) is not None


async def claim_all(session: AsyncSession, *, consumer: str, ids: Collection[str]) -> set[str]:
    """As `claim`, for several messages: the ids of those without a committed effect."""
    rows = select(literal(consumer), func.unnest(literal(sorted(set(ids)), ARRAY(Text))))
    statement = insert(INBOX).from_select(["consumer", "event_id"], rows, include_defaults=False)
    return set(await session.scalars(statement.on_conflict_do_nothing().returning(INBOX.c.event_id)))


async def set_aside(
    session: AsyncSession, record: ConsumerRecord[Any, Any], *, consumer: str, event_id: str, event_type: str
) -> None:
    """Store a message, byte for byte, until a version of the service knows its type."""
    row = insert(SET_ASIDE).values(
        consumer=consumer,
        event_id=event_id,
        type=event_type,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key,
        value=record.value,
        headers=[(name, value.decode()) for name, value in record.headers],
    )
    await session.execute(row.on_conflict_do_nothing())


async def forget_old(sessions: Sessions) -> int:
    """Delete ids older than `KEPT`, in batches. Returns how many."""
    return await forget(sessions, INBOX, INBOX.c.received_at, [INBOX.c.received_at < func.now() - KEPT])
