"""`python -m <service> republish`: a service tells its state again, from its tables.

For a new major version of a topic, for one that was lost or kept what was deleted, and for a group that lost facts. The
facts have the versions that the records have, so whoever knows them ignores them. It goes through the outbox, which the
running service empties.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from sqlalchemy import func, literal, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from servicekit.db.sessions import make_engine, make_sessions
from servicekit.db.tables import OUTBOX
from servicekit.settings import ServiceSettings

log = structlog.get_logger(__name__)

BATCH: Final = 200
"""Records a transaction: their rows are locked until it commits, so that no newer fact comes before this one."""
WAITING: Final = 1000
"""Rows of the outbox beyond which the command waits: facts of the day stand behind what it adds."""

Page = Callable[[AsyncSession, Any], Awaitable[tuple[int, Any]]]
"""Lock the records behind a position (None: the first ones), append their facts, and return how many they were and
where they ended (None: that was the last page)."""


async def republish(settings: ServiceSettings, **kinds: Page) -> None:
    """Tell all records of each of `kinds`, one after the other. Safe to end and to repeat at any time."""
    engine = make_engine(settings)
    sessions = make_sessions(engine, settings.service_name)
    try:
        for kind, page in kinds.items():
            told, position = 0, None
            while True:
                await _room(engine)
                async with sessions.begin() as session:
                    count, position = await page(session, position)
                told += count
                if position is None:
                    break
            log.info("all are told again", kind=kind, records=told)
    finally:
        await engine.dispose()


async def _room(engine: AsyncEngine) -> None:
    waiting = select(func.count()).select_from(select(literal(1)).select_from(OUTBOX).limit(WAITING + 1).subquery())
    rounds = 0
    while True:
        async with engine.connect() as connection:
            if (await connection.scalar(waiting) or 0) <= WAITING:
                return
        if rounds % 100 == 99:
            log.warning("the outbox does not empty: is the service running, and Kafka there?")
        rounds += 1
        await asyncio.sleep(0.1)
