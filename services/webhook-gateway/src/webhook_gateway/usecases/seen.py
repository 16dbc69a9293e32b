"""Forgetting deliveries of more than 30 days ago (docs/decisions/0035)."""

from typing import Final

import structlog
from sqlalchemy.exc import DBAPIError

from servicekit.errors import sqlstate
from servicekit.runtime import Runtime
from webhook_gateway.storage import seen

EVERY_SECONDS: Final = 600.0
_LOCKED: Final = "55P03"

log = structlog.get_logger(__name__)


async def forget_seen(runtime: Runtime, _: object) -> None:
    """Empty the slot whose turn is next. A loop's round."""
    try:
        async with runtime.sessions.begin() as session:
            emptied = await seen.empty_next_slot(session)
    except DBAPIError as error:
        if sqlstate(error) != _LOCKED:
            raise
        log.info("the next slot is in use and is emptied later")
        return
    if emptied is not None:
        log.info("a slot of seen deliveries was emptied", slot=emptied)
