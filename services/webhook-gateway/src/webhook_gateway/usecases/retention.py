"""Retention of the delivery log, per organization."""

from datetime import timedelta
from typing import Any, Final, cast

import structlog
from sqlalchemy import Table, exists, func, not_, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.http.webhooks import LogSettings, LogSettingsInput
from servicekit.clock import elapsed
from servicekit.db.retention import ROUND_SECONDS, forget
from servicekit.db.sessions import Sessions
from servicekit.runtime import Runtime
from webhook_gateway.storage.tables import (
    Base,
    Delivery,
    DeliveryGap,
    PayloadView,
    RefusedCall,
    Replay,
    WebhookBody,
    WebhookSettings,
)

KEPT_DAYS: Final = 30
"""Of organizations that chose nothing else."""
_YEAR: Final = timedelta(days=365)
_COUNTS_KEPT: Final = timedelta(days=30)
_ROUND: Final = 240.0
"""Seconds after which a round leaves the rest to the next one."""
log = structlog.get_logger(__name__)

# Two probes of indexes per organization; only organizations with something to delete are worked on. The contents are
# asked for by themselves, since those whose rows went before a process was killed are known by nothing else.
_DUE: Final = text(
    """
    SELECT known.organization_id, known.kept FROM (
        SELECT DISTINCT webhook_key.organization_id,
            make_interval(days => coalesce(webhook_settings.kept_days, :kept_days)) AS kept
        FROM webhook_key LEFT JOIN webhook_settings USING (organization_id)
    ) AS known
    WHERE EXISTS (
        SELECT 1 FROM delivery WHERE delivery.organization_id = known.organization_id
        AND delivery.received_at < now() - known.kept AND delivery.state <> 'waiting'
    ) OR EXISTS (
        SELECT 1 FROM webhook_body WHERE webhook_body.organization_id = known.organization_id
        AND webhook_body.received_at < now() - known.kept AND NOT EXISTS (
            SELECT 1 FROM delivery WHERE delivery.body_id = webhook_body.id AND delivery.state = 'waiting'
        )
    )
    """
)


async def settings(session: AsyncSession, organization_id: str) -> LogSettings:
    """The organization's settings."""
    row = await session.get(WebhookSettings, organization_id)
    return LogSettings(kept_days=row.kept_days if row else KEPT_DAYS)


async def put_settings(session: AsyncSession, organization_id: str, body: LogSettingsInput) -> LogSettings:
    """Replace the organization's settings."""
    row = insert(WebhookSettings).values(organization_id=organization_id, kept_days=body.kept_days)
    await session.execute(
        row.on_conflict_do_update(index_elements=["organization_id"], set_={"kept_days": body.kept_days})
    )
    return LogSettings(kept_days=body.kept_days)


async def forget_old(runtime: Runtime, _: Any) -> None:
    """Delete old deliveries with their contents, except waiting ones, and what stands beside the log (a loop's round).

    Replicas that do it at once delete the same rows, each row once.
    """
    began = elapsed()
    async with runtime.sessions() as session:
        due = (await session.execute(_DUE, {"kept_days": KEPT_DAYS})).all()
    count = 0
    for organization_id, kept in due:
        if elapsed() - began > _ROUND:
            break
        count += await forget_deliveries(runtime.sessions, organization_id, kept)
    now = func.now()
    calls, looks, replays, gaps = map(_table, (RefusedCall, PayloadView, Replay, DeliveryGap))
    await forget(runtime.sessions, calls, calls.c.hour, [calls.c.hour < now - _COUNTS_KEPT])
    await forget(runtime.sessions, looks, looks.c.seen_at, [looks.c.seen_at < now - _YEAR])
    await forget(runtime.sessions, gaps, gaps.c.closed_at, [gaps.c.closed_at < now - _YEAR])
    over = [replays.c.asked_at < now - _COUNTS_KEPT]
    await forget(runtime.sessions, replays, replays.c.asked_at, over)
    if count:
        log.info("old deliveries deleted", deliveries=count)


async def forget_deliveries(sessions: Sessions, organization_id: str, kept: timedelta) -> int:
    """Delete deliveries that are older, and their contents. Returns the number of deleted deliveries."""
    rows, bodies = map(_table, (Delivery, WebhookBody))
    before = func.now() - kept
    old = [rows.c.organization_id == organization_id, rows.c.received_at < before, rows.c.state != "waiting"]
    count = await forget(sessions, rows, rows.c.received_at, old, seconds=ROUND_SECONDS)
    waiting = exists().where(
        rows.c.body_id == bodies.c.id, rows.c.organization_id == organization_id, rows.c.state == text("'waiting'")
    )
    of_old = [bodies.c.organization_id == organization_id, bodies.c.received_at < before, not_(waiting)]
    await forget(sessions, bodies, bodies.c.received_at, of_old, seconds=ROUND_SECONDS)
    return count


def _table(kind: type[Base]) -> Table:
    return cast("Table", kind.__table__)
