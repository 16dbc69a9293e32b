"""The changes of a run, one per record: the lists behind its numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.http.common import PageQuery
from servicekit.http import paging
from synckit.tables import ChangeColumns

H = TypeVar("H", bound=ChangeColumns)
_EXAMPLES: Final = 5


@dataclass(frozen=True, slots=True)
class ChangesPage(Generic[H]):
    """Changes in the order in which they were decided."""

    rows: Sequence[H]
    next: str | None
    """Place of the next page; None after the last."""
    total: int | None
    """Only on the first page."""


@dataclass(frozen=True, slots=True)
class Group(Generic[H]):
    """Changes of one outcome with the same cause."""

    cause: str | None
    sentence: str | None
    count: int
    examples: Sequence[H]


class _Place(NamedTuple):
    """A row that is unique in its run, and the number of rows after it. Not the row's `id`, which counts all churches'
    rows.

    The row of an erased person without a record here has neither id.
    """

    kind: str
    record_id: UUID | None
    pco_id: str
    """Used without a `record_id`. Empty: before the first row."""
    behind: int


_BEGIN: Final = _Place("", None, "", 0)


def changes_of(changes: type[H], run_id: UUID, outcome: str | None = None) -> Select[H]:
    """All changes of a run, or those behind one number. Filtered by the run's id alone, so that an index can count
    them.
    """
    statement = select(changes).where(changes.run_id == run_id)
    return statement.where(changes.outcome == outcome) if outcome else statement


async def page_of(
    session: AsyncSession, changes: type[H], run_id: UUID, chosen: Select[H], query: PageQuery
) -> ChangesPage[H]:
    """One page of the chosen changes. Invalid (422) for a place whose row is gone."""
    statement, place = chosen, _BEGIN
    if query.after:
        place = _Place(*paging.decode(query.after, paging.string, _id, paging.string, _behind))
        statement = statement.where(changes.id > await _row_id(session, changes, run_id, place)).offset(place.behind)
    rows = (await session.scalars(statement.order_by(changes.id).limit(query.limit + 1))).all()
    shown = rows[: query.limit]
    total = None if query.after else await session.scalar(select(func.count()).select_from(chosen.subquery()))
    return ChangesPage(shown, _encoded(_end(shown, place)) if len(rows) > query.limit else None, total)


async def groups(session: AsyncSession, changes: type[H], run_id: UUID, outcome: str) -> list[Group[H]]:
    """Changes of an outcome grouped by cause, largest group first, each with examples."""
    found = await session.execute(
        select(changes.cause, func.min(changes.sentence), func.count(changes.id))
        .where(changes.run_id == run_id, changes.outcome == outcome)
        .group_by(changes.cause)
        .order_by(func.count(changes.id).desc(), changes.cause)
    )
    of_outcome = changes_of(changes, run_id, outcome).order_by(changes.id).limit(_EXAMPLES)
    return [
        Group(cause, sentence, count, (await session.scalars(of_outcome.where(changes.cause == cause))).all())
        for cause, sentence, count in found.all()
    ]


async def counts(session: AsyncSession, changes: type[H], run_id: UUID, *where: ColumnElement[bool]) -> dict[str, int]:
    """The number of a run's changes by outcome."""
    statement = select(changes.outcome, func.count(changes.id)).where(changes.run_id == run_id, *where)
    rows = await session.execute(statement.group_by(changes.outcome))
    return dict(rows.all())


def _end(shown: Sequence[ChangeColumns], began: _Place) -> _Place:
    for behind, row in enumerate(reversed(shown)):
        if row.record_id is not None:
            return _Place(row.kind, row.record_id, "", behind)
        if row.pco_id is not None:
            return _Place(row.kind, None, row.pco_id, behind)
    return began._replace(behind=began.behind + len(shown))


async def _row_id(session: AsyncSession, changes: type[ChangeColumns], run_id: UUID, place: _Place) -> int:
    if place.record_id is None and not place.pco_id:
        return 0
    same = changes.record_id == place.record_id if place.record_id is not None else changes.pco_id == place.pco_id
    found = await session.scalar(select(changes.id).where(changes.run_id == run_id, changes.kind == place.kind, same))
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
