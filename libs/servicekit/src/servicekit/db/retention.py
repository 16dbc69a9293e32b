"""Rows that are kept for a time: deleted in pieces, so that nobody waits for the upkeep."""

import asyncio
import time
from collections.abc import Iterable
from typing import Any, Final, cast

from sqlalchemy import ColumnElement, FromClause, Table, and_, any_, delete, func, literal_column, select, true

from servicekit.db.sessions import Sessions

PIECE: Final = 2_000
"""Rows of one transaction."""
ROUND_SECONDS: Final = 20.0
"""How long one call goes on at most: a loop that is silent for longer counts as stuck."""


async def forget(
    sessions: Sessions,
    table: FromClause,
    along: ColumnElement[Any],
    where: Iterable[ColumnElement[bool]],
    *,
    piece: int = PIECE,
    seconds: float = ROUND_SECONDS,
) -> int:
    """Delete the rows that fit, in the order of an indexed column, each piece in a transaction of its own.

    Goes on where the piece before ended, because the rows that it deleted are still in the index. Rests after each
    piece for as long as it took. Returns how many went; whatever is left after so many seconds goes with the next call.
    """
    tid: ColumnElement[Any] = literal_column("ctid")
    began = time.monotonic()
    count, last = 0, None
    while True:
        further = true() if last is None else along >= last
        of_piece = select(tid).select_from(table).where(and_(*where), further).order_by(along).limit(piece)
        # As an array: PostgreSQL goes to each row directly, whatever it thinks of the condition.
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
