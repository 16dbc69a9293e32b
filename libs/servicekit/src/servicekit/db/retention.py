"""Deletion of old rows in batches, so that no other work waits for it."""

import asyncio
import time
from collections.abc import Iterable
from typing import Any, Final, cast

from sqlalchemy import ColumnElement, FromClause, Table, and_, any_, delete, func, literal_column, select, true

from servicekit.db.sessions import Sessions

PIECE: Final = 2_000
"""Maximum rows of one transaction."""
ROUND_SECONDS: Final = 20.0
"""Maximum seconds of one call: a loop that is silent for longer counts as stuck."""


async def forget(
    sessions: Sessions,
    table: FromClause,
    along: ColumnElement[Any],
    where: Iterable[ColumnElement[bool]],
    *,
    piece: int = PIECE,
    seconds: float = ROUND_SECONDS,
) -> int:
    """Delete the matching rows, in the order of an indexed column, each batch in a transaction of its own.

    Each batch starts where the previous one ended, because deleted rows stay in the index until vacuum. After each
    batch it pauses for as long as the batch took. Returns the number of deleted rows; the next call deletes what is
    left after the time limit.
    """
    tid: ColumnElement[Any] = literal_column("ctid")
    began = time.monotonic()
    count, last = 0, None
    while True:
        further = true() if last is None else along >= last
        of_piece = select(tid).select_from(table).where(and_(*where), further).order_by(along).limit(piece)
        # With an array, PostgreSQL looks each row up directly, whatever it estimates for the condition.
        gone = (
            delete(cast("Table", table))
            .where(tid == any_(func.array(of_piece.scalar_subquery())))
            .returning(along.label("at"))
        )
        deleted = gone.cte("deleted")
        at = time.monotonic()
        async with sessions.begin() as session:
            newest = select(func.count().over(), deleted.c.at).order_by(deleted.c.at.desc()).limit(1)
            found, last = (await session.execute(newest)).one_or_none() or (0, last)
        count += found
        now = time.monotonic()
        if found < piece or now - began > seconds:
            return count
        await asyncio.sleep(now - at)
