"""What comes round by itself: for `servicekit.loops.Loop`."""

from collections.abc import Awaitable, Callable

from sqlalchemy.ext.asyncio import AsyncSession

from servicekit.db.sessions import Sessions


async def until_none(sessions: Sessions, at_once: int, some: Callable[[AsyncSession], Awaitable[int]]) -> None:
    """Go on until nothing is due, a few organizations in each transaction.

    `some` works off what is due, up to `at_once`, and returns how much it found.
    """
    found = at_once
    while found >= at_once:
        async with sessions.begin() as session:
            found = await some(session)
