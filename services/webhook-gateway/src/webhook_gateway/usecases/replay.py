"""Deliveries sent again: counted first, bound to what was counted, carried out by a job in pages."""

from hashlib import blake2b
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.events.webhooks_delivery_v1 import WebhookReceived
from contracts.http import webhooks
from contracts.http.webhooks import MOST_COUNTED, DeliveryFilter, ReplayPreview, StartReplay
from contracts.identity import UserIdentity
from servicekit.db.tables import JOB, OPEN_STATES
from servicekit.errors import Conflict, NotFound
from servicekit.ids import uuid7
from servicekit.jobs import queue as jobs
from servicekit.jobs.worker import JobContext
from servicekit.kafka import outbox
from webhook_gateway.resources import Resources
from webhook_gateway.storage import log
from webhook_gateway.storage.tables import Delivery, Replay

KIND: Final = "webhooks.replay"
"""Kind of the job that sends deliveries again."""
MOST: Final = 100_000
"""Maximum deliveries of one replay."""
BATCH: Final = 500
"""Deliveries of one transaction."""


async def preview(session: AsyncSession, organization_id: str, chosen: DeliveryFilter) -> ReplayPreview:
    """Count what would be sent again. Conflict (409) for more than `MOST`."""
    return await _counted(session, organization_id, chosen, newest=None)


async def _counted(
    session: AsyncSession, organization_id: str, chosen: DeliveryFilter, *, newest: int | None
) -> ReplayPreview:
    """newest: count up to this number only; None for all."""
    wanted = log.fitting(organization_id, chosen)
    if newest is not None:
        wanted.append(Delivery.id <= newest)
    fit = select(Delivery.id.label("id"), log.readable().label("readable")).where(*wanted).limit(MOST + 1).subquery()
    row = (
        await session.execute(
            select(
                func.count(),
                func.count().filter(fit.c.readable),
                func.coalesce(func.max(fit.c.id).filter(fit.c.readable), 0),
            )
        )
    ).one()
    every, count, last = row
    if every > MOST:
        raise Conflict(
            f"More than {MOST:,} messages fit. Nothing was sent again: choose a shorter time or other filters.",
            slug="too-many-chosen",
        )
    newest = last if newest is None else newest
    content = [chosen.model_dump(mode="json"), newest, count]
    digest = blake2b(orjson.dumps(content, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()
    return ReplayPreview(count=count, newest=newest, left_out=every - count, digest=digest)


async def start(session: AsyncSession, user: UserIdentity, body: StartReplay) -> webhooks.Replay:
    """Send what was counted again. Conflict (409) if another number fits now, or another replay is at work."""
    filters = body.model_dump(mode="json", exclude={"newest", "digest"})
    chosen = DeliveryFilter.model_validate(filters)
    now = await _counted(session, user.organization_id, chosen, newest=body.newest)
    if now.digest != body.digest:
        raise Conflict(
            f"The list has changed since it was shown to you: {now.count:,} of these messages can be sent again now. "
            "Nothing was sent: look at it and answer again.",
            slug="not-shown",
        )
    if not now.count:
        raise Conflict("There is nothing to send again. Choose other filters.", slug="nothing-shown")
    row = Replay(
        id=uuid7(),
        organization_id=user.organization_id,
        chosen={"filter": filters, "newest": body.newest},
        state="queued",
        total=now.count,
        done=0,
        asked_by_id=user.user_id,
        asked_by=user.name,
        asked_at=func.clock_timestamp(),
    )
    session.add(row)
    await session.flush()
    await session.refresh(row)
    payload = {"replay_id": str(row.id)}
    _, created = await jobs.enqueue(session, KIND, user.organization_id, payload, urgent=True)
    if not created:
        raise Conflict(
            "Other messages are still being sent again. Nothing was done: wait until they are sent, then answer again.",
            slug="at-work",
        )
    return await _render(session, row)


async def get(session: AsyncSession, organization_id: str, replay_id: str) -> webhooks.Replay:
    """How far a replay is. NotFound (404)."""
    try:
        row = await session.get(Replay, UUID(replay_id))
    except ValueError:
        row = None
    if row is None or row.organization_id != organization_id:
        raise NotFound("There is no such replay, or it is so old that it is no longer kept.")
    return await _render(session, row)


async def _render(session: AsyncSession, row: Replay) -> webhooks.Replay:
    state = row.state
    if state in {"queued", "running"} and not await _is_open(session, row):
        state = "stopped"
    waiting = 0
    if row.done:
        # What fits the filters otherwise: those sent again are waiting now, whatever state was asked for.
        fits = _wanted(row, by_state=False)
        sent = select(Delivery.id).where(*fits, Delivery.state == "waiting", Delivery.waiting_since >= row.asked_at)
        waiting, _ = await log.counted(session, sent, MOST_COUNTED)
    return webhooks.Replay(
        id=str(row.id),
        state=state,
        total=row.total,
        done=row.done,
        waiting=waiting,
        asked_by_name=row.asked_by,
        asked_at=row.asked_at,
        finished_at=row.finished_at,
    )


async def _is_open(session: AsyncSession, row: Replay) -> bool:
    this = select(JOB.c.id).where(
        JOB.c.kind == KIND,
        JOB.c.organization_id == row.organization_id,
        JOB.c.state.in_(OPEN_STATES),
        JOB.c.payload["replay_id"].astext == str(row.id),
    )
    return await session.scalar(this) is not None


def _wanted(row: Replay, *, by_state: bool = True) -> list[ColumnElement[bool]]:
    filters: dict[str, Any] = row.chosen["filter"]
    if not by_state:
        filters = filters | {"state": None, "outcome": None, "cause": None}
    chosen = DeliveryFilter.model_validate(filters)
    return [*log.fitting(row.organization_id, chosen), Delivery.id <= row.chosen["newest"]]


async def carry_out(job: JobContext, _: Resources) -> None:
    """Send the counted deliveries again, one transaction per page (`servicekit.jobs.queue.Run`)."""
    while not job.over:
        async with job.transaction() as session:
            row = await session.get(Replay, UUID(job.payload["replay_id"]), with_for_update=True)
            last = (job.data or {}).get("last", 0)
            page = await _page(session, row, last) if row is not None else []
            if row is not None and page:
                row.state, row.done = "running", row.done + len(page)
                await outbox.append_all(session, [_hint(one) for one in page])
                await job.checkpoint(session, {"last": page[-1].id})
            else:
                if row is not None:
                    row.state, row.finished_at = "done", func.clock_timestamp()
                await job.finish(session)
        if not job.over:
            job.stop_if_requested()


async def _page(session: AsyncSession, row: Replay, last: int) -> list[Delivery]:
    """The next deliveries, now waiting. The order of locks is that of the numbers, as everywhere in the log."""
    ids = select(Delivery.id).where(*_wanted(row), log.readable(), Delivery.id > last)
    # No more than were counted: others may fit the filters since.
    most = max(min(BATCH, row.total - row.done), 0)
    held = ids.order_by(Delivery.id).limit(most).with_for_update().cte("held")
    sent = (
        update(Delivery)
        .where(Delivery.id.in_(select(held.c.id)))
        .values(
            state="waiting",
            replays=Delivery.replays + 1,
            waiting_since=func.clock_timestamp(),
            # Of the fact that waits in the outbox now, not of the one before it.
            published_at=None,
            archived_by=None,
            archived_note=None,
        )
        .returning(Delivery)
        .execution_options(synchronize_session=False)
    )
    return sorted(await session.scalars(sent), key=lambda one: one.id)


def _hint(row: Delivery) -> WebhookReceived:
    return WebhookReceived(
        organization_id=row.organization_id,
        version=row.id,
        delivery_id=row.delivery_id,
        product=row.product,
        generation=row.generation,
        name=row.name,
        resource_type=row.resource_type or "",
        resource_id=row.resource_id or "",
        person_id=row.person_id,
        merged_person_id=row.merged_person_id,
        event_time=row.event_time,
        received_at=row.received_at,
        replayed=True,
    )
