"""Links with Planning Center: compared, made, taken away, and what they overwrote put back."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from calendar_sync.resources import Wired
from calendar_sync.usecases import linking, restoring
from contracts.calendar import EventDetails
from contracts.http.calendar import Comparison, ComparisonQuery, LinkedMany, LinkInput, LinksInput, RestoreInput
from servicekit.db.sessions import Session
from servicekit.errors import ServiceError
from servicekit.http.answers import KeyedRoute
from servicekit.http.auth import Admin, User
from synckit.history import Actor

router = APIRouter(route_class=KeyedRoute, prefix="/api/v1/calendar", tags=["links"])


# Dependencies, because the look for a kept answer, behind them, opens the request's transaction.
async def _read(event_id: str, body: LinkInput, user: Admin, wired: Wired) -> linking.Read | ServiceError:
    return await linking.read_or_error(wired, user.organization_id, event_id, body)


async def _read_many(body: LinksInput, user: Admin, wired: Wired) -> list[linking.Read | ServiceError] | ServiceError:
    return await linking.read_many(wired, user.organization_id, body)


OneRead = Annotated[linking.Read | ServiceError, Depends(_read, scope="function")]
ManyRead = Annotated[list[linking.Read | ServiceError] | ServiceError, Depends(_read_many, scope="function")]


@router.get("/events/{event_id}/comparison")
async def compare(event_id: str, query: Annotated[ComparisonQuery, Query()], user: User, wired: Wired) -> Comparison:
    """The values here that a link would overwrite."""
    return await linking.comparison(wired, user.organization_id, event_id, query)


@router.post("/events/{event_id}/link")
async def link(
    event_id: str, body: LinkInput, read: OneRead, user: Admin, session: Session, wired: Wired
) -> EventDetails:
    """Link an event, and take over what Planning Center has."""
    now = wired.clock.now()
    return await linking.link(session, user.organization_id, event_id, body, read, user, now)


@router.delete("/events/{event_id}/link")
async def unlink(event_id: str, user: Admin, session: Session, wired: Wired) -> EventDetails:
    """Unlink an event."""
    return await linking.unlink(session, user.organization_id, event_id, user, wired.clock.now())


@router.post("/events/{event_id}/link/keep")
async def keep(event_id: str, user: Admin, session: Session, wired: Wired) -> EventDetails:
    """Keep an event that was deleted in Planning Center."""
    return await linking.keep(session, user.organization_id, event_id, user, wired.clock.now())


@router.post("/links")
async def link_many(body: LinksInput, reads: ManyRead, user: Admin, wired: Wired) -> LinkedMany:
    """Link many events."""
    return await linking.link_many(wired, user.organization_id, body, reads, user)


@router.post("/events/{event_id}/restore")
async def restore(event_id: str, body: RestoreInput, user: Admin, session: Session, wired: Wired) -> EventDetails:
    """Put back what Planning Center overwrote."""
    now, actor = wired.clock.now(), Actor.person(user)
    return await restoring.restore(session, user.organization_id, event_id, body, actor, now)
