"""Deliveries of the last 30 days, by which a repeat is recognized (docs/decisions/0035).

A slot is ten days by the database's clock, and five slots take turns: the current one, the three before it, and the one
whose turn is next, which is emptied by TRUNCATE.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, Integer, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

from webhook_gateway.storage.tables import SLOTS

SLOT_DAYS: Final = 10
_LOCK_WAIT: Final = "2s"
"""Writers queue behind a waiting TRUNCATE, so it gives up soon; the next round tries again."""

# `number` counts slots since 1970. Whatever the fifth slot still holds counts as well.
#
# A transaction that began before a change of slots writes to the slot before, where one that began after it does not
# see the row yet. So in the first hour both write there, and the unique index makes the second wait for the first.
# No transaction lasts an hour (transaction_timeout).
_CLOCK: Final = f"""
    clock AS (SELECT extract(epoch FROM coalesce(:at, now())) AS seconds),
    slot AS (
        SELECT (number % {SLOTS})::smallint AS current, ((number + {SLOTS} - 1) % {SLOTS})::smallint AS before, fresh
        FROM (
            SELECT floor(seconds / {SLOT_DAYS * 86400})::bigint AS number, seconds % {SLOT_DAYS * 86400} < 3600 AS fresh
            FROM clock
        ) AS counted
    )
"""  # noqa: S608 - numbers of ours
_NOTE: Final = text(
    f"""
    WITH {_CLOCK},
    given AS (
        SELECT key_id, delivery FROM unnest(:keys, :deliveries) AS given (key_id, delivery)
        WHERE NOT EXISTS (
            SELECT FROM seen WHERE seen.key_id = given.key_id AND seen.delivery = given.delivery
        )
    ),
    early AS (
        INSERT INTO seen (slot, key_id, delivery)
        SELECT slot.before, key_id, delivery FROM given, slot WHERE slot.fresh ORDER BY key_id, delivery
        ON CONFLICT DO NOTHING
        RETURNING key_id, delivery
    )
    INSERT INTO seen (slot, key_id, delivery)
    SELECT slot.current, key_id, delivery FROM given, slot
    WHERE NOT slot.fresh OR (key_id, delivery) IN (SELECT early.key_id, early.delivery FROM early)
    ORDER BY key_id, delivery
    ON CONFLICT DO NOTHING
    RETURNING key_id, delivery
    """  # noqa: S608 - numbers of ours
).bindparams(
    bindparam("at", type_=DateTime(timezone=True)),
    bindparam("keys", type_=ARRAY(Integer)),
    bindparam("deliveries", type_=ARRAY(Uuid)),
)
# Not in the last day of a slot, so that the slot is not in use before this transaction has ended.
_NEXT: Final = text(
    f"""
    WITH {_CLOCK}
    SELECT (current + 1) % {SLOTS} AS next FROM slot, clock
    WHERE seconds % {SLOT_DAYS * 86400} < {(SLOT_DAYS - 1) * 86400}
    """  # noqa: S608 - numbers of ours
).bindparams(bindparam("at", type_=DateTime(timezone=True)))


async def note(
    session: AsyncSession, deliveries: Collection[tuple[int, UUID]], *, at: datetime | None = None
) -> set[tuple[int, UUID]]:
    """Note (key, delivery) pairs as seen; returns those that were not. Waits for transactions that note the same.

    at: in place of the database's clock.
    """
    ordered = sorted(set(deliveries))
    given = {"keys": [key for key, _ in ordered], "deliveries": [delivery for _, delivery in ordered], "at": at}
    rows = await session.execute(_NOTE, given)
    return {(row.key_id, row.delivery) for row in rows}


async def empty_next_slot(session: AsyncSession, *, at: datetime | None = None) -> int | None:
    """Empty the slot whose turn is next, if it holds anything. Returns its number if so.

    SQLAlchemyError if writers held it for too long: try again later.
    """
    found = await _next(session, at)
    if found is None or not await session.scalar(text(f"SELECT EXISTS (SELECT FROM seen_{found})")):  # noqa: S608
        return None
    await session.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_WAIT}'"))
    await session.execute(text(f"LOCK TABLE seen_{found} IN ACCESS EXCLUSIVE MODE"))
    # now() is the transaction's beginning; the wait for the lock is short beside the day that is left.
    await session.execute(text(f"TRUNCATE seen_{found}"))
    return found


async def _next(session: AsyncSession, at: datetime | None) -> int | None:
    found: Any = await session.scalar(_NEXT, {"at": at})
    return None if found is None else int(found)
