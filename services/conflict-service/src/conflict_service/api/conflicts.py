"""The platform API's calls about conflicts; see contracts.routes."""

import base64
import binascii
from datetime import UTC, datetime
from typing import Annotated

import orjson
from fastapi import APIRouter, Query

from conflict_service.domain import conflict as domain
from conflict_service.storage import queries
from conflict_service.storage.queries import Position
from contracts.http.common import Page
from contracts.http.conflicts import Conflict, ConflictCount, ConflictQuery
from servicekit.auth import User
from servicekit.db import Session
from servicekit.errors import Invalid, NotFound

router = APIRouter(prefix="/api/v1/conflicts", tags=["conflicts"])


@router.get("")
async def list_conflicts(query: Annotated[ConflictQuery, Query()], user: User, session: Session) -> Page[Conflict]:
    """Conflicts, newest first."""
    rows, following = await queries.page(
        session,
        user.organization_id,
        state=query.state,
        family_id=query.family_id,
        record_id=query.record_id,
        after=_position(query.after) if query.after else None,
        limit=query.limit,
    )
    return Page(
        items=tuple(_render(conflict_id, conflict) for conflict_id, conflict in rows),
        next=_cursor(following) if following else None,
        total=await queries.count(
            session, user.organization_id, state=query.state, family_id=query.family_id, record_id=query.record_id
        ),
    )


@router.get("/count")
async def count(user: User, session: Session) -> ConflictCount:
    """How many are open."""
    return ConflictCount(open=await queries.count(session, user.organization_id, state="open"))


@router.get("/{conflict_id}")
async def get_conflict(conflict_id: str, user: User, session: Session) -> Conflict:
    """One conflict."""
    conflict = await queries.find(session, user.organization_id, conflict_id)
    if conflict is None:
        raise NotFound("There is no such conflict.")
    return _render(conflict_id, conflict)


def _render(conflict_id: str, conflict: domain.Conflict) -> Conflict:
    return Conflict(
        id=conflict_id,
        record=conflict.record,
        fields=conflict.fields,
        state=conflict.state,
        version=conflict.version,
        values_version=conflict.values_version,
        opened_at=conflict.opened_at,
        updated_at=conflict.updated_at,
    )


def _cursor(position: Position) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([position.opened_at.isoformat(), position.id])).decode()


def _position(cursor: str) -> Position:
    try:
        opened_at, conflict_id = orjson.loads(base64.urlsafe_b64decode(cursor))
        opened = datetime.fromisoformat(opened_at)
        if opened.tzinfo is None:
            raise ValueError(opened_at)
        return Position(opened.astimezone(UTC), str(conflict_id))
    except (ValueError, TypeError, OverflowError, binascii.Error) as error:
        raise Invalid(
            "Take `after` from `next` of the page before, unchanged.",
            errors=[{"field": "query.after", "message": "is not a place in this list"}],
        ) from error
