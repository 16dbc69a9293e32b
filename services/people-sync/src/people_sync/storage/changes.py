"""Pages of what a run does, or plans to do, record by record."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.http.common import PageQuery
from people_sync.storage.sync_tables import Change
from servicekit.http import paging


class ChangesPage(NamedTuple):
    """Changes in the order in which they were decided."""

    rows: Sequence[Change]
    next: str | None
    """Where the following page begins; None if there is none."""
    total: int | None
    """Of the first page alone."""


class _Place(NamedTuple):
    """A row, by what it is unique by in its run, and how many came behind it: `Change.id` counts those of all churches.

    A row has neither id once a person was erased who had no record here.
    """

    kind: str
    record_id: UUID | None
    pco_id: str
    """Looked at if there is no `record_id`. Empty: before the first row."""
    behind: int


_BEGIN: Final = _Place("", None, "", 0)


async def page_of(session: AsyncSession, run_id: UUID, chosen: Select[Change], query: PageQuery) -> ChangesPage:
    """One page of these changes of a run. Invalid (422) for a place whose row was erased."""
    statement, place = chosen, _BEGIN
    if query.after:
        place = _Place(*paging.decode(query.after, paging.string, _id, paging.string, _behind))
        statement = statement.where(Change.id > await _row_id(session, run_id, place)).offset(place.behind)
    rows = (await session.scalars(statement.order_by(Change.id).limit(query.limit + 1))).all()
    shown = rows[: query.limit]
    total = None if query.after else await session.scalar(select(func.count()).select_from(chosen.subquery()))
    return ChangesPage(shown, _encoded(_end(shown, place)) if len(rows) > query.limit else None, total)


def _end(shown: Sequence[Change], began: _Place) -> _Place:
    for behind, row in enumerate(reversed(shown)):
        if row.record_id is not None:
            return _Place(row.kind, row.record_id, "", behind)
        if row.pco_id is not None:
            return _Place(row.kind, None, row.pco_id, behind)
    return began._replace(behind=began.behind + len(shown))


async def _row_id(session: AsyncSession, run_id: UUID, place: _Place) -> int:
    if place.record_id is None and not place.pco_id:
        return 0
    same = Change.record_id == place.record_id if place.record_id is not None else Change.pco_id == place.pco_id
    found = await session.scalar(select(Change.id).where(Change.run_id == run_id, Change.kind == place.kind, same))
    if found is None:
        raise paging.unknown()
    return found


def _encoded(place: _Place) -> str:
    return paging.encode(place.kind, str(place.record_id or ""), place.pco_id, place.behind)


def _id(part: Any) -> UUID | None:
    return UUID(part) if part else None


def _behind(part: Any) -> int:
    found = paging.position(part)
    if found < 0:
        raise ValueError(part)
    return found
