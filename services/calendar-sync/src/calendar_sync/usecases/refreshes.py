"""Syncs of single events: asked for at a screen, or because a message says that one may have changed."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.domain.asked import asked, newest_asked
from calendar_sync.domain.hints import OUTCOMES
from calendar_sync.domain.sentences import LOOKS_AGAIN, NOT_CONNECTED
from calendar_sync.storage import links
from calendar_sync.storage.links import Owner
from calendar_sync.storage.tables import CalendarConnection, EventLink, Hint, OccurrenceRow, Refresh
from calendar_sync.usecases import events
from calendar_sync.usecases.events import locked
from contracts.http.calendar import EventSync
from contracts.values import CALENDAR_SYNC, EVENT
from servicekit.errors import Conflict
from synckit import refreshes
from synckit.hints import Hints
from synckit.refreshes import RefreshColumns, Refreshes, request, wake

CHANGED: Final = "changed"
MISSING: Final = "missing"
PUSH: Final = "push"
"""Reasons of a sync, beside `domain.asked`."""
OF_EVENT: Final = "event"
OF_INSTANCE: Final = "instance"
OF_REQUEST: Final = "request"
"""Kinds of ids of Planning Center."""


async def _linked(session: AsyncSession, owner: Mapping[str, str], _kind: str, pco_id: str) -> UUID | None:
    """The one event that an id of Planning Center concerns; None if there are several, or it is not known here."""
    found = await concerned(session, Owner(owner["organization_id"], owner["pco_organization_id"]), pco_id)
    return found[0].event_id if len(found) == 1 else None


async def concerned(session: AsyncSession, owner: Owner, pco_id: str) -> list[EventLink]:
    """Links that may be concerned by `event:17` or `instance:18`, also those that are gone."""
    kind, _, number = pco_id.partition(":")
    query = select(EventLink).filter_by(**owner.columns)
    if kind == OF_EVENT:
        query = query.where(EventLink.pco_event_id == number)
    elif kind == OF_INSTANCE:
        listed = select(OccurrenceRow.event_id).where(
            OccurrenceRow.organization_id == owner.organization_id, OccurrenceRow.pco_instance_id == number
        )
        query = query.where((EventLink.pco_instance_id == number) | EventLink.event_id.in_(listed))
    else:
        return []
    return list(await session.scalars(query.order_by(EventLink.id)))


HINTS: Final = Hints(rows=Hint, by=CALENDAR_SYNC, outcomes=OUTCOMES)
REFRESHES: Final = Refreshes(
    rows=Refresh,
    job="calendar.refresh",
    connections=CalendarConnection,
    record_of=_linked,
    looks_again=LOOKS_AGAIN,
    hints=HINTS,
)


async def awake(session: AsyncSession, organization_id: str, event_id: str) -> Owner:
    """The connected organization, its worker woken for a person who waits. NotFound (404) for the event, Conflict (409)
    without a connection.
    """
    await events.find(session, organization_id, event_id)
    connection = await session.get(CalendarConnection, organization_id)
    if connection is None or connection.state != "connected":
        raise Conflict(NOT_CONNECTED, slug="not-connected")
    owner = Owner(organization_id, connection.pco_organization_id)
    # The job comes before the event, as in its own steps.
    await wake(session, REFRESHES, organization_id, urgent=True)
    return owner


async def sync_now(session: AsyncSession, organization_id: str, event_id: str, now: datetime) -> EventSync:
    """*Sync this event now*, also over what was put back here. Conflict (409) if that is impossible, NotFound (404)."""
    owner = await awake(session, organization_id, event_id)
    event, _ = await locked(session, organization_id, event_id, None)
    link = await links.of_event(session, owner, event.id)
    if link is None:
        raise Conflict("This event is not linked to Planning Center: link it first.", slug="not-linked")
    row = await request(
        session,
        REFRESHES,
        owner.columns,
        EVENT,
        record_id=event.id,
        reason=asked(now),
        urgent=True,
        now=now,
        woken=True,
    )
    row.reasons = newest_asked(row.reasons)
    return render(row)


async def may_have_changed(
    session: AsyncSession, owner: Owner, pco_id: str, now: datetime, *, woken: bool = False
) -> RefreshColumns:
    """*This event may have changed*: queue a sync by `event:17`, `instance:18` or `request:19`.

    `woken`: whether the worker was woken already.
    """
    return await request(
        session, REFRESHES, owner.columns, EVENT, pco_id=pco_id, reason=CHANGED, urgent=False, now=now, woken=woken
    )


async def get(session: AsyncSession, organization_id: str, sync_id: str) -> EventSync:
    """The state of one sync. NotFound (404)."""
    return render(await refreshes.find(session, REFRESHES, organization_id, sync_id))


def render(row: RefreshColumns) -> EventSync:
    """The API's form of a sync."""
    return EventSync(event_id=str(row.record_id), **refreshes.shown(REFRESHES, row))
