"""The lists as files: the same filters, all pages."""

from collections.abc import Awaitable, Iterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from sqlalchemy.ext.asyncio import AsyncSession

from conflict_service.usecases import bulk, read, rules
from contracts.http.common import ListQuery, Page, PageQuery
from contracts.http.conflicts import BulkSkipped, Conflict, ConflictListFilter, ConflictQuery
from contracts.http.rules import Rule
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


RULES: Final = ("Rule", "On", "By", "Made", "Changed", "Applied", "Being applied", "Overtaken", "Not needed", "Id")
SKIPPED: Final = ("Name", "Why", "Id")
Whole = Annotated[ListQuery, Query()]
"""A list without filters."""


@router.get("/conflicts.csv")
async def conflicts(user: User, request: Request, query: Annotated[ConflictListFilter, Query()]) -> StreamingResponse:
    """Conflicts, one line per field."""

    def page(session: AsyncSession, after: str | None) -> Awaitable[Page[Conflict]]:
        wanted = ConflictQuery.model_construct(**dict(query), after=after, limit=spreadsheets.AT_ONCE)
        return read.page(session, user.organization_id, wanted)

    return await spreadsheets.answer(request.app.state.runtime.sessions, "conflicts", COLUMNS, page, _lines)


@router.get("/conflicts/rules.csv")
async def all_rules(user: User, request: Request, _: Whole) -> StreamingResponse:
    """Rules, with how many conflicts each decided."""

    def page(session: AsyncSession, after: str | None) -> Awaitable[Page[Rule]]:  # noqa: ARG001 - there is one page
        return rules.every(session, user.organization_id)

    return await spreadsheets.answer(request.app.state.runtime.sessions, "rules", RULES, page, _rule)


@router.get("/conflicts/bulk/{bulk_id}/skipped.csv")
async def skipped(bulk_id: str, user: User, request: Request, _: Whole) -> StreamingResponse:
    """Conflicts that a bulk answer left as they are."""

    def page(session: AsyncSession, after: str | None) -> Awaitable[Page[BulkSkipped]]:
        query = PageQuery.model_construct(after=after, limit=spreadsheets.AT_ONCE)
        return bulk.skipped(session, user.organization_id, bulk_id, query)

    return await spreadsheets.answer(request.app.state.runtime.sessions, "left", SKIPPED, page, _skipped)


def _rule(one: Rule) -> Iterator[tuple[Any, ...]]:
    numbers = (one.applied, one.waiting, one.overtaken, one.not_needed)
    yield (one.name, one.on, one.made_by_name, one.made_at, one.changed_at, *numbers, one.id)


def _skipped(one: BulkSkipped) -> Iterator[tuple[Any, ...]]:
    yield (one.name, one.sentence, one.conflict_id)


def _lines(one: Conflict) -> Iterator[tuple[Any, ...]]:
    record = one.record
    before = (record.name, "Family" if record.kind == "family" else "Person")
    by = one.decision.decided_by_name if one.decision else None
    for field in one.fields:
        base = field.base if field.base_known else "never agreed"
        values = (field.field, base, field.ours, field.theirs)
        yield (*before, *values, one.state, by, one.opened_at, record.id, record.pco_id)
