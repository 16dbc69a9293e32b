"""The runs of Calendar as `synckit` takes them: syncs of all linked events."""

from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.domain.sentences import NOT_DONE, OUTCOMES, ROLE_IS_GONE, STOPPED
from calendar_sync.storage.links import LINKED
from calendar_sync.storage.tables import CalendarConnection, Change, ChurchSettings, Event, EventLink, Run
from contracts.events.calendar_sync_run_v1 import SyncRunFinished, SyncRunProgressed, SyncRunStarted
from contracts.http.calendar import CalendarSettings
from contracts.values import CALENDAR, EVENT
from synckit.changes import counts
from synckit.product import Product


async def interval_of(session: AsyncSession, organization_id: str) -> timedelta:
    """The interval between an organization's checks."""
    chosen = await session.get(ChurchSettings, organization_id, populate_existing=True)
    return timedelta(minutes=chosen.poll_minutes if chosen else CalendarSettings().poll_minutes)


async def name_the_rest(session: AsyncSession, run_id: UUID, outcome: str) -> None:
    """Add the linked events that a run has not named yet to its lists, without those that were linked after it began.

    outcome: as in `domain.sentences`.
    """
    run = await session.get_one(Run, run_id)
    values: dict[str, Any] = {
        "organization_id": literal(run.organization_id),
        "run_id": literal(run.id),
        "kind": literal(EVENT),
        "record_id": Event.id,
        "name": Event.title,
        "outcome": literal(outcome),
        "sentence": literal(OUTCOMES[outcome]),
    }
    query = select(*values.values()).join_from(EventLink, Event, Event.id == EventLink.event_id)
    query = query.where(
        EventLink.organization_id == run.organization_id,
        EventLink.pco_organization_id == run.pco_organization_id,
        EventLink.state == LINKED,
        Event.deleted_at.is_(None),
    )
    if run.started_at is not None:
        query = query.where(EventLink.linked_at <= run.started_at)
    query = query.order_by(EventLink.id)
    await session.execute(insert(Change).from_select(list(values), query).on_conflict_do_nothing())


async def _let_go(session: AsyncSession, run_id: UUID) -> dict[str, int]:
    """A run stages nothing: what it did stays, and its lists name what it did not do."""
    await name_the_rest(session, run_id, NOT_DONE)
    return await counts(session, Change, run_id)


RUNS: Final = Product(
    name=CALENDAR,
    job="calendar.run",
    runs=Run,
    connections=CalendarConnection,
    settings=ChurchSettings,
    started=SyncRunStarted,
    progressed=SyncRunProgressed,
    finished=SyncRunFinished,
    nouns={"pull": "events", "finish": "events"},
    role_is_gone=ROLE_IS_GONE,
    interval=interval_of,
    let_go=_let_go,
    stopped=lambda _: STOPPED,
)
