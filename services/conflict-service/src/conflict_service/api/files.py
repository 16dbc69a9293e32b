"""The list of conflicts as a file: the same filters, all pages."""

from collections.abc import Awaitable, Iterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from sqlalchemy.ext.asyncio import AsyncSession

from conflict_service.usecases import read
from contracts.http.common import Page
from contracts.http.conflicts import Conflict, ConflictQuery
from servicekit.http import spreadsheets
from servicekit.http.auth import User

router = APIRouter(prefix="/api/v1", tags=["conflicts"])
COLUMNS: Final = (
    "Name",
    "Kind",
    "Field",
    "Last agreed",
    "Here",
    "Planning Center",
    "State",
    "Decided by",
    "Since",
    "Our id",
    "Planning Center id",
)


@router.get("/conflicts.csv")
async def conflicts(user: User, request: Request, query: Annotated[ConflictQuery, Query()]) -> StreamingResponse:
    """Conflicts, one line per field."""

    def page(session: AsyncSession, after: str | None) -> Awaitable[Page[Conflict]]:
        begins = {"after": query.after if after is None else after, "limit": spreadsheets.AT_ONCE}
        return read.page(session, user.organization_id, query.model_copy(update=begins))

    return await spreadsheets.answer(request.app.state.runtime.sessions, "conflicts", COLUMNS, page, _lines)


def _lines(one: Conflict) -> Iterator[tuple[Any, ...]]:
    record = one.record
    before = (record.name, "Family" if record.kind == "family" else "Person")
    by = one.decision.decided_by_name if one.decision else None
    for field in one.fields:
        base = field.base if field.base_known else "never agreed"
        values = (field.field, base, field.ours, field.theirs)
        yield (*before, *values, one.state, by, one.opened_at, record.id, record.pco_id)
