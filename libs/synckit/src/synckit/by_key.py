"""Pages of records in the order of a text, such as a name or title, and of those that a search finds.

`key` names the column with the text.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Subquery, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from contracts.http.common import PageQuery
from servicekit.http.paging import decode, encode, string

R = TypeVar("R")
"""A table with `id`, `organization_id` and `deleted_at`."""
Fits = Callable[[Any], Sequence[ColumnElement[bool]]]
"""Conditions on a record, or an alias of one."""
NEAR: Final = 2_000
"""Number of records that a page scans along the names before it falls back to a set of all matches."""
MOST_COUNTED: Final = 1_000
"""Maximum total of a search; a larger one is not counted."""


@dataclass(frozen=True, slots=True)
class Found:
    """The records of a list, expressed in two equivalent ways."""

    fits: Fits
    """Conditions for a record met in a scan along the names."""
    every: Any
    """Select of the ids of all matching records."""
    few: bool = False
    """Whether only few records can match, so that the set is read at once."""


def here(record: Any, organization_id: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Whether a record is an organization's and not deleted."""
    return record.organization_id == organization_id, record.deleted_at.is_(None)


async def page_of(
    session: AsyncSession, record: type[R], organization_id: str, key: str, found: Found | None, query: PageQuery
) -> tuple[Sequence[R], int | None]:
    """A page of these records, or of all, by a key, plus one row if another page follows (see `behind`).

    A scan along the names soon meets frequent matches. Rare matches are read once as a set, because a scan for them
    takes seconds in a large church. The first page of a set comes with the set's size, all else with None.
    """
    near: Any = aliased(record)
    along = select(near).where(*here(near, organization_id), *_after(near, key, query))
    along = along.order_by(getattr(near, key), near.id)
    if found is None:
        return await _read(session, record, key, along.with_only_columns(near.id).limit(query.limit + 1)), None
    if not found.few:
        met: Any = aliased(record, along.limit(NEAR).subquery("near"))
        ids = select(met.id).where(*found.fits(met)).order_by(getattr(met, key), met.id).limit(query.limit + 1)
        rows = await _read(session, record, key, ids)
        if len(rows) > query.limit:
            return rows, None
    one: Any = record
    every = found.every.subquery("every")
    ids = select(one.id, func.count().over().label("size")).join(every, every.c.id == one.id)
    ids = ids.where(*_after(one, key, query)).order_by(getattr(one, key), one.id).limit(query.limit + 1)
    page = ids.subquery("page")
    met_set = (await session.execute(_in_order(record, key, page).add_columns(page.c.size))).all()
    size = met_set[0].size if met_set else 0
    return [row for row, _ in met_set], None if query.after else size


async def list_of(
    session: AsyncSession, record: type[R], organization_id: str, key: str, found: Found | None, query: PageQuery
) -> tuple[Sequence[R], int | None]:
    """As `page_of`, with the total of a first page also if that scanned; None if a search finds very many."""
    rows, total = await page_of(session, record, organization_id, key, found, query)
    if total is not None or query.after:
        return rows, total
    if found is None:
        return rows, await count(session, record, organization_id)
    return rows, await count_searched(session, found.every, found.every)


async def _read(session: AsyncSession, record: type[R], key: str, ids: Select[Any]) -> Sequence[R]:
    return (await session.scalars(_in_order(record, key, ids.subquery("page")))).all()


def _in_order(record: Any, key: str, page: Subquery) -> Select[Any]:
    return select(record).join(page, page.c.id == record.id).order_by(getattr(record, key), record.id)


def _after(record: Any, key: str, query: PageQuery) -> list[ColumnElement[bool]]:
    if not query.after:
        return []
    name, last = decode(query.after, string, UUID)
    return [func.row(getattr(record, key), record.id) > func.row(name, last)]


def behind(rows: Sequence[Any], key: str, query: PageQuery) -> str | None:
    """`next` of the page that `page_of` read."""
    if len(rows) <= query.limit:
        return None
    last = rows[query.limit - 1]
    return encode(getattr(last, key), str(last.id))


async def count(session: AsyncSession, record: type[R], organization_id: str) -> int:
    """Number of an organization's records."""
    return await session.scalar(select(func.count()).where(*here(record, organization_id))) or 0


async def count_found(session: AsyncSession, ids: Any) -> int:
    """Number of ids of a statement."""
    return await session.scalar(select(func.count()).select_from(ids.subquery())) or 0


async def count_searched(session: AsyncSession, typed: Select[Any], every: Any) -> int | None:
    """Number of search results that fit all filters. None if the search finds more than `MOST_COUNTED`.

    `typed`: ids found by the search alone; `every`: ids that fit all filters.
    """
    if await count_found(session, typed.limit(MOST_COUNTED + 1)) > MOST_COUNTED:
        return None
    return await count_found(session, every)
