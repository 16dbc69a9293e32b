"""Every list as a file: the same filters, all pages."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.resources import Wired
from calendar_sync.usecases import events, files, history, occurrences, runs
from contracts.http.calendar import (
    EventChangeFilter,
    EventChangeQuery,
    EventFilter,
    EventQuery,
    OccurrenceFilter,
    OccurrenceQuery,
)
from contracts.http.common import ListQuery, Page, PageQuery
from servicekit.http import spreadsheets
from servicekit.http.auth import User
from synckit import history as changes

router = APIRouter(prefix="/api/v1/calendar", tags=["calendar"])


@router.get("/events.csv")
async def all_events(user: User, wired: Wired, query: Annotated[EventFilter, Query()]) -> StreamingResponse:
    """Events by title."""
    read = spreadsheets.pages(events.events, user.organization_id, EventQuery, query)
    return await spreadsheets.answer(wired.runtime.sessions, "events", files.EVENTS, read, files.of_event)


@router.get("/occurrences.csv")
async def all_occurrences(user: User, wired: Wired, query: Annotated[OccurrenceFilter, Query()]) -> StreamingResponse:
    """Occurrences within a window of days, in the order of their starts."""
    now = wired.clock.now()

    async def read(session: AsyncSession, organization_id: str, page: OccurrenceQuery) -> Page[Any]:
        return await occurrences.page(session, organization_id, page, now)

    paged = spreadsheets.pages(read, user.organization_id, OccurrenceQuery, query)
    return await spreadsheets.answer(
        wired.runtime.sessions, "occurrences", files.OCCURRENCES, paged, files.of_occurrence
    )


@router.get("/runs/{run_id}/changes.csv")
async def run_changes(
    run_id: str, user: User, wired: Wired, query: Annotated[EventChangeFilter, Query()]
) -> StreamingResponse:
    """The events of a sync."""

    async def read(session: AsyncSession, organization_id: str, page: EventChangeQuery) -> Page[Any]:
        return await runs.changes(session, organization_id, run_id, page)

    paged = spreadsheets.pages(read, user.organization_id, EventChangeQuery, query)
    return await spreadsheets.answer(wired.runtime.sessions, "sync", files.CHANGES, paged, files.of_change)


@router.get("/events/{event_id}/history.csv")
async def event_history(
    event_id: str, user: User, wired: Wired, query: Annotated[ListQuery, Query()]
) -> StreamingResponse:
    """Every change of an event, newest first."""

    async def read(session: AsyncSession, organization_id: str, page: PageQuery) -> Page[Any]:
        event = await events.find(session, organization_id, event_id, deleted=True)
        return await history.of_event(session, event, page)

    paged = spreadsheets.pages(read, user.organization_id, PageQuery, query)
    return await spreadsheets.answer(wired.runtime.sessions, "history", changes.COLUMNS, paged, changes.lines_of)
