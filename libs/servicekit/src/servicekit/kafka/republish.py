"""`python -m <service> republish`: publishes a service's state again, from its tables.

For a new major version of a topic, for a topic that was lost or kept deleted records, and for a group that lost facts.
The facts carry the records' versions, so consumers that know them ignore them. They go through the outbox, which the
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
"""Records per transaction. Their rows stay locked until it commits, so that no newer fact precedes this one."""
WAITING: Final = 1000
"""The command waits while the outbox has more rows, because current facts queue behind those it adds."""

Page = Callable[[AsyncSession, Any], Awaitable[tuple[int, Any]]]
"""Locks the records after a position (None: from the start), appends their facts, and returns their number and the last
position (None after the last page).
"""


async def republish(settings: ServiceSettings, **kinds: Page) -> None:
    """Publish all records of each of `kinds`, in turn. Safe to stop and to repeat at any time."""
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
            log.info("all records are republished", kind=kind, records=told)
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
            log.warning("the outbox does not empty: check that the service runs and that Kafka answers")
        rounds += 1
        await asyncio.sleep(0.1)
