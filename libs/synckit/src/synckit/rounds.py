"""Periodic work, for `servicekit.loops.Loop`."""

from collections.abc import Awaitable, Callable

from sqlalchemy.ext.asyncio import AsyncSession

from servicekit.db.sessions import Sessions


async def until_none(sessions: Sessions, at_once: int, some: Callable[[AsyncSession], Awaitable[int]]) -> None:
    """Repeat until nothing is due, with a few organizations per transaction.

    `some` works off at most `at_once` due items, and returns how many it found.
    """
    found = at_once
    while found >= at_once:
        async with sessions.begin() as session:
            found = await some(session)
