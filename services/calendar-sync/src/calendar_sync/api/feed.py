"""The private iCal feed: its state, its address for administrators, its content for webhook-gateway."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse

from calendar_sync.resources import Wired
from calendar_sync.storage.feed import Window, entries
from calendar_sync.usecases import feed as feeds
from contracts.feeds import FEED_BY_KEY
from contracts.http.calendar import FeedState, NewFeed
from contracts.values import WEBHOOK_GATEWAY
from servicekit.db.sessions import Session
from servicekit.http.answers import KeyedRoute
from servicekit.http.auth import Admin, User, service_identity

CALENDAR_TYPE: Final = "text/calendar; charset=utf-8"
Gateway = Annotated[str, Depends(service_identity({WEBHOOK_GATEWAY}))]

router = APIRouter(route_class=KeyedRoute, prefix="/api/v1/calendar/feed", tags=["calendar"])
readers = APIRouter(include_in_schema=False)


@router.get("")
async def get_feed(user: User, session: Session) -> FeedState:
    """Whether there is a feed."""
    return await feeds.state(session, user.organization_id)


@router.post("", status_code=201)
async def renew_feed(user: Admin, session: Session, wired: Wired, response: Response) -> NewFeed:
    """Make an address. Its answer is kept nowhere: a repeat makes another one."""
    response.headers["cache-control"] = "no-store"
    return await feeds.renew(session, user, wired.clock.now())


@router.delete("", status_code=204)
async def revoke_feed(user: Admin, session: Session, wired: Wired) -> Response:
    """End the address."""
    await feeds.revoke(session, user.organization_id, wired.clock.now())
    return Response(status_code=204)


@readers.api_route(FEED_BY_KEY, methods=["GET", "HEAD"])
async def read_feed(key: str, request: Request, _: Gateway, session: Session, wired: Wired) -> Response:
    """The calendar, or 304 if the reader has it."""
    now = wired.clock.now()
    feed = await feeds.opened(session, key, now)
    headers = {"etag": await feeds.tag_of(session, feed, now), "cache-control": "no-store"}
    if _has(request.headers.get("if-none-match", ""), headers["etag"]):
        return Response(status_code=304, headers=headers)
    reads = request.method == "GET"
    listed = await entries(session, feed.organization_id, Window.at(now)) if reads else []
    content = feeds.content(wired.runtime.sessions, wired.written, feed, listed, now)
    headers["content-disposition"] = 'inline; filename="events.ics"'
    return StreamingResponse(content, headers=headers, media_type=CALENDAR_TYPE)


def _has(sent: str, tag: str) -> bool:
    """Whether an If-None-Match names this tag, by weak comparison (RFC 9110, 13.1.2)."""
    opaque = tag.removeprefix("W/")
    return any(one.strip().removeprefix("W/") in {opaque, "*"} for one in sent.split(","))
