"""The gateway's own answers: the signed-in person, sign-in settings, and the live stream."""

import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from sse_starlette import EventSourceResponse, ServerSentEvent

from contracts.http.gateway import ConsoleSettings, Me
from servicekit.errors import Invalid
from webhook_gateway.identity.bearer import Anyone, Caller, Signed, Staff
from webhook_gateway.resources import Wired
from webhook_gateway.usecases.live import LIVE_TOPICS, Client, greeting

SEND_TIMEOUT_SECONDS = 20

Topics = Annotated[
    str | None,
    Query(description="Topics to hear, with commas; all by default. A full sync changes records by the ten thousand."),
]

router = APIRouter(prefix="/api/v1")


@router.get("/me", summary="Who is signed in", tags=["Sign-in"])
async def me(caller: Signed, wired: Wired) -> Me:
    """The signed-in person, as read from the token."""
    return Me(user=caller.identity, planning_center_url=wired.settings.planning_center_url)


@router.get("/console-settings", summary="How the console signs in", tags=["Sign-in"], dependencies=[Anyone])
async def console_settings(wired: Wired) -> ConsoleSettings:
    """Settings that the console needs to sign a person in. Public."""
    return await wired.provider.console_settings()


async def _opened(staff: Staff, wired: Wired, topics: Topics = None) -> AsyncIterator[Client]:
    """A stream's client, registered before the greeting: facts during the client's reread are not lost."""
    wanted = frozenset(topics.split(",")) if topics else LIVE_TOPICS
    if unknown := sorted(wanted - LIVE_TOPICS):
        raise Invalid(
            f"The live stream has no such topics. It has: {', '.join(sorted(LIVE_TOPICS))}.",
            errors=[{"field": "topics", "message": f"unknown: {', '.join(unknown)}"}],
        )
    with wired.live.client(staff.organization_id, staff.user_id, wanted) as client:
        yield client


Opened = Annotated[Client, Depends(_opened)]


@router.get(
    "/live",
    summary="Changes as they happen (server-sent events)",
    tags=["Live"],
    response_class=EventSourceResponse,
    responses={
        200: {
            "description": (
                "`event: hello` first, and again whenever facts may have been missed: `data.reread` lists the paths "
                "to read again. Then one event per fact: `event:` is the topic, `data:` the fact, `data.reread` the "
                "paths whose answers it changes. "
                "`event: expired` when the token has expired. Comments keep the stream open."
            ),
        },
    },
)
async def live(caller: Signed, wired: Wired, stream: Opened) -> EventSourceResponse:
    """Facts of the caller's organization. Missed facts are not repeated: read again after `hello`."""
    return EventSourceResponse(
        _stream(stream, caller),
        ping=wired.settings.live_heartbeat_seconds,
        # A client that reads no byte for this long is gone; without the limit its stream would stay open for ever.
        send_timeout=SEND_TIMEOUT_SECONDS,
    )


async def _stream(client: Client, caller: Caller) -> AsyncIterator[ServerSentEvent]:
    yield ServerSentEvent(greeting(sorted(client.topics)), event="hello")
    while True:
        try:
            event = await client.next(within=caller.expires_at - time.time())
        except TimeoutError:
            yield ServerSentEvent("{}", event="expired")
            return
        if event is None:
            return
        name, data = event
        yield ServerSentEvent(data, event=name)
