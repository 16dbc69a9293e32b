"""The delivery log; see contracts.routes."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from contracts.http.webhooks import (
    Activity,
    Archived,
    ArchiveDeadLetters,
    DeadLetterPage,
    DeadLetterQuery,
    DeliveryDetails,
    DeliveryFilter,
    DeliveryPage,
    DeliveryPayload,
    DeliveryQuery,
    LogSettings,
    LogSettingsInput,
    LookAtPayload,
    Replay,
    ReplayPreview,
    StartReplay,
)
from servicekit.db.sessions import Session
from webhook_gateway.identity.bearer import Admin, OwnRoute, Staff
from webhook_gateway.resources import Wired
from webhook_gateway.usecases import dead_letters, log, payloads, replay, retention

router = APIRouter(route_class=OwnRoute, prefix="/api/v1/webhooks", include_in_schema=False)


@router.get("/activity")
async def activity(user: Staff, session: Session, wired: Wired) -> Activity:
    """Count the deliveries of the last 24 hours, hour by hour."""
    return await log.activity(session, user.organization_id, wired.clock.now())


@router.get("/deliveries")
async def deliveries(user: Staff, session: Session, query: Annotated[DeliveryQuery, Query()]) -> DeliveryPage:
    """List deliveries, the newest first."""
    return await log.deliveries(session, user.organization_id, query)


@router.get("/deliveries/{number}")
async def delivery(number: str, user: Staff, session: Session) -> DeliveryDetails:
    """Show one delivery, step by step."""
    return await log.delivery(session, user.organization_id, number)


@router.get("/deliveries/{number}/payload")
async def payload(number: str, user: Staff, session: Session, wired: Wired) -> DeliveryPayload:
    """Show the contents with all personal values hidden."""
    return await payloads.masked(session, user.organization_id, number, wired.clock.now().date())


@router.post("/deliveries/{number}/payload/look")
async def look(
    number: str, body: LookAtPayload, user: Admin, session: Session, wired: Wired, response: Response
) -> DeliveryPayload:
    """Show the contents with the values of adults, and keep who looked and why."""
    response.headers["cache-control"] = "no-store"
    return await payloads.look(session, user, number, body, wired.clock.now().date())


@router.post("/replays/preview")
async def preview(body: DeliveryFilter, user: Admin, session: Session) -> ReplayPreview:
    """Count the deliveries that would be sent again."""
    return await replay.preview(session, user.organization_id, body)


@router.post("/replays", status_code=202)
async def start_replay(body: StartReplay, user: Admin, session: Session) -> Replay:
    """Send the counted deliveries again."""
    return await replay.start(session, user, body)


@router.get("/replays/{replay_id}")
async def get_replay(replay_id: str, user: Staff, session: Session) -> Replay:
    """Show how far a replay is."""
    return await replay.get(session, user.organization_id, replay_id)


@router.get("/dead-letters")
async def failed(user: Staff, session: Session, query: Annotated[DeadLetterQuery, Query()]) -> DeadLetterPage:
    """List failed deliveries by cause."""
    return await dead_letters.by_cause(session, user.organization_id, query)


@router.post("/dead-letters/archive")
async def archive(body: ArchiveDeadLetters, user: Admin, session: Session) -> Archived:
    """Archive the failed deliveries of a cause."""
    return await dead_letters.archive(session, user, body)


@router.get("/settings")
async def settings(user: Staff, session: Session) -> LogSettings:
    """Show the settings of the delivery log."""
    return await retention.settings(session, user.organization_id)


@router.put("/settings")
async def put_settings(body: LogSettingsInput, user: Admin, session: Session) -> LogSettings:
    """Replace the settings of the delivery log."""
    return await retention.put_settings(session, user.organization_id, body)
