"""Failed deliveries, grouped by their cause."""

from typing import Final

from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.http.webhooks import (
    MOST_COUNTED,
    Archived,
    ArchiveDeadLetters,
    DeadLetterPage,
    DeadLetterQuery,
    DeadLetters,
)
from contracts.identity import UserIdentity
from servicekit.errors import Conflict
from webhook_gateway.storage import log
from webhook_gateway.storage.tables import Delivery

_CAUSES: Final = 100
_FAILED: Final = Delivery.state == text("'failed'")
"""Word for word the condition of the partial index."""


async def by_cause(session: AsyncSession, organization_id: str, query: DeadLetterQuery) -> DeadLetterPage:
    """The causes of the newest failed deliveries, the most frequent first."""
    wanted = [Delivery.organization_id == organization_id, _FAILED]
    if query.product is not None:
        wanted.append(Delivery.product == query.product)
    cause = func.coalesce(Delivery.sentence, "").label("cause")
    newest = select(Delivery.id, cause, Delivery.received_at, Delivery.outcome).where(*wanted)
    some = newest.order_by(Delivery.id.desc()).limit(MOST_COUNTED + 1).subquery()
    groups = (
        select(
            some.c.cause,
            func.count().label("how_many"),
            func.max(some.c.id).label("newest"),
            func.max(some.c.received_at).label("newest_at"),
            func.min(some.c.received_at).label("oldest_at"),
            func.bool_or(some.c.outcome.is_distinct_from(log.UNREADABLE)).label("can_replay"),
            func.sum(func.count()).over().label("every"),
        )
        .group_by(some.c.cause)
        .order_by(func.count().desc(), func.max(some.c.id).desc())
        .limit(_CAUSES)
        .subquery()
    )
    rows = (
        await session.execute(
            select(groups, Delivery.name)
            .join(Delivery, Delivery.id == groups.c.newest)
            .order_by(groups.c.how_many.desc(), groups.c.newest.desc())
        )
    ).all()
    return DeadLetterPage(
        items=tuple(
            DeadLetters(
                cause=row.cause,
                count=row.how_many,
                newest=row.newest,
                newest_at=row.newest_at,
                oldest_at=row.oldest_at,
                name=row.name,
                can_replay=row.can_replay,
            )
            for row in rows
        ),
        more=bool(rows) and rows[0].every > MOST_COUNTED,
    )


async def archive(session: AsyncSession, user: UserIdentity, body: ArchiveDeadLetters) -> Archived:
    """Archive what was shown of a cause, 10,000 at most. Conflict (409) if nothing of it is left."""
    wanted = [
        Delivery.organization_id == user.organization_id,
        _FAILED,
        func.coalesce(Delivery.sentence, "") == body.cause,
        Delivery.id <= body.newest,
    ]
    held = select(Delivery.id).where(*wanted).order_by(Delivery.id).limit(MOST_COUNTED).with_for_update().cte("held")
    done = (
        update(Delivery)
        .where(Delivery.id.in_(select(held.c.id)))
        .values(state="archived", archived_by=user.name, archived_note=body.note)
        .execution_options(synchronize_session=False)
    )
    archived = (await session.execute(done.returning(Delivery.id))).all()
    if not archived:
        raise Conflict(
            "None of these messages is among the problems any more: they were sent again or archived. Nothing was "
            "changed. Reload the page.",
            slug="nothing-shown",
        )
    return Archived(archived=len(archived), left=len(archived) == MOST_COUNTED)
