"""Reads of the delivery log."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from sqlalchemy import bindparam, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.http.webhooks import (
    MOST_COUNTED,
    Activity,
    ActivityHour,
    Delivery,
    DeliveryDetails,
    DeliveryPage,
    DeliveryQuery,
    PayloadLook,
    RefusedReason,
)
from servicekit.errors import NotFound
from servicekit.http import paging
from webhook_gateway.domain.steps import Times, steps_of
from webhook_gateway.storage import log
from webhook_gateway.storage.tables import Delivery as DeliveryRow
from webhook_gateway.storage.tables import PayloadView, RefusedCall

HOURS: Final = 24
_LOOKS_SHOWN: Final = 100
_DIGITS: Final = 19
"""Digits of the largest bigint."""
_HOUR: Final = timedelta(hours=1)

# One index-only scan per hour, ended at the limit: a storm makes the hour's numbers incomplete, not the answer slow.
_HOURLY: Final = text(
    """
    SELECT hour, found.state, found.count
    FROM generate_series(CAST(:since AS timestamptz), CAST(:until AS timestamptz), interval '1 hour') AS hour,
    LATERAL (
        SELECT state, count(*) AS count FROM (
            SELECT state FROM delivery
            WHERE organization_id = :organization_id
            AND received_at >= hour AND received_at < hour + interval '1 hour'
            LIMIT :most
        ) AS part GROUP BY state
    ) AS found
    """
).bindparams(bindparam("most", MOST_COUNTED + 1))


class _Refusal(NamedTuple):
    """Refused calls of one hour and one reason."""

    hour: datetime
    reason: str
    calls: int
    newest_at: datetime


async def activity(session: AsyncSession, organization_id: str, now: datetime) -> Activity:
    """The last 24 hours, hour by hour."""
    until = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    hours = [until - _HOUR * back for back in range(HOURS, -1, -1)]
    asked = {"organization_id": organization_id, "since": hours[0], "until": until}
    states: dict[datetime, dict[str, int]] = defaultdict(dict)
    for hour, state, count in await session.execute(_HOURLY, asked):
        states[hour][state] = count
    refused = select(RefusedCall.hour, RefusedCall.reason, RefusedCall.count, RefusedCall.newest_at).where(
        RefusedCall.hour.in_(hours), RefusedCall.organization_id == organization_id
    )
    refusals = [_Refusal(*row) for row in await session.execute(refused)]
    failed = select(DeliveryRow.id).where(
        DeliveryRow.organization_id == organization_id, DeliveryRow.state == text("'failed'")
    )
    number, more = await log.counted(session, failed, MOST_COUNTED)
    return Activity(
        hours=tuple(
            _hour(hour, states[hour], sum(one.calls for one in refusals if one.hour == hour)) for hour in hours
        ),
        refusals=_reasons(refusals),
        failed=number,
        failed_more=more,
    )


def _hour(hour: datetime, states: dict[str, int], refused: int) -> ActivityHour:
    received = sum(states.values())
    return ActivityHour(
        hour=hour,
        received=min(received, MOST_COUNTED),
        applied=states.get("applied", 0),
        waiting=states.get("waiting", 0),
        failed=states.get("failed", 0) + states.get("archived", 0),
        refused=refused,
        more=received > MOST_COUNTED,
    )


def _reasons(refusals: list[_Refusal]) -> tuple[RefusedReason, ...]:
    found: dict[str, RefusedReason] = {}
    for one in refusals:
        known = found.get(one.reason)
        last = max(one.newest_at, known.last) if known else one.newest_at
        found[one.reason] = RefusedReason(reason=one.reason, count=one.calls + (known.count if known else 0), last=last)
    return tuple(sorted(found.values(), key=lambda one: (-one.count, one.reason)))


async def deliveries(session: AsyncSession, organization_id: str, query: DeliveryQuery) -> DeliveryPage:
    """A page of the log, the newest first."""
    wanted = log.fitting(organization_id, query)
    total, more = await log.counted(session, select(DeliveryRow.id).where(*wanted), MOST_COUNTED)
    if query.after:
        last = tuple_(*paging.decode(query.after, paging.instant, paging.number))
        wanted.append(tuple_(DeliveryRow.received_at, DeliveryRow.id) < last)
    # By time, so that a window long ago is found by its index.
    newest = (DeliveryRow.received_at.desc(), DeliveryRow.id.desc())
    rows = select(DeliveryRow).where(*wanted).order_by(*newest).limit(query.limit + 1)
    found = (await session.scalars(rows)).all()
    shown = found[: query.limit]
    return DeliveryPage(
        items=tuple(map(render, shown)),
        next=paging.encode(shown[-1].received_at.isoformat(), shown[-1].id) if len(found) > query.limit else None,
        total=total,
        more=more,
    )


async def delivery(session: AsyncSession, organization_id: str, number: str) -> DeliveryDetails:
    """One delivery with its steps. NotFound (404)."""
    row = await found(session, organization_id, number)
    views = select(PayloadView).filter_by(organization_id=organization_id, delivery_number=row.id)
    looks = await session.scalars(views.order_by(PayloadView.seen_at.desc()).limit(_LOOKS_SHOWN))
    times = Times(
        row.received_at, row.verified_at, row.stored_at, row.published_at, row.applied_at, row.replays, row.product
    )
    return DeliveryDetails(
        **dict(render(row)),
        delivery_id=row.delivery_id,
        generation=row.generation,
        merged_person_id=row.merged_person_id,
        steps=steps_of(row.state, row.outcome, row.sentence, times),
        can_replay=row.outcome != log.UNREADABLE,
        archived_by=row.archived_by,
        archived_note=row.archived_note,
        looks=tuple(PayloadLook(user_name=one.user_name, reason=one.reason, seen_at=one.seen_at) for one in looks),
    )


async def found(session: AsyncSession, organization_id: str, number: str) -> DeliveryRow:
    """The delivery with the number in an address. NotFound (404)."""
    row = None
    if number.isascii() and number.isdigit() and len(number) < _DIGITS:
        row = await log.find(session, organization_id, int(number))
    if row is None:
        raise NotFound("There is no such delivery, or it is so old that it is no longer kept. Read the list again.")
    return row


def render(row: DeliveryRow) -> Delivery:
    """A delivery as it is listed. A waiting one that was sent again does not show the outcome before."""
    waits = row.state == "waiting"
    return Delivery(
        number=row.id,
        product=row.product,
        name=row.name,
        resource_type=row.resource_type,
        resource_id=row.resource_id,
        person_id=row.person_id,
        state=row.state,
        outcome=None if waits else row.outcome,
        sentence=None if waits else row.sentence,
        record_kind=row.record_kind,
        record_id=row.record_id,
        event_time=row.event_time,
        received_at=row.received_at,
        applied_at=None if waits else row.applied_at,
        replays=row.replays,
    )
