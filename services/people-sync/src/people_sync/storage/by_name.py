"""Pages of members and families in the order of their names, and search."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Subquery, false, func, literal_column, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from contracts.http.common import PageQuery
from people_sync.domain.search import Term
from people_sync.storage.tables import Family, Member
from servicekit.http.paging import contains, decode, encode, string

Record = TypeVar("Record", Member, Family)
Fits = Callable[[Any], Sequence[ColumnElement[bool]]]
"""Conditions on a member, a family, or an alias of one."""
NEAR: Final = 2_000
"""Number of records that a page scans along the names before it falls back to a set of all matches."""
MOST_COUNTED: Final = 1_000
"""Maximum total of a search; a larger one is not counted."""
_BLANK: Final[ColumnElement[str]] = literal_column("' '")
_NOTHING: Final[ColumnElement[str]] = literal_column("''")
# Formatting characters of phones, with the dashes and the no-break space of word processors.
_FORMAT: Final[ColumnElement[str]] = literal_column("'+-(). /\u2010\u2011\u2013\u00a0'")


@dataclass(frozen=True, slots=True)
class Found:
    """The records of a list, expressed in two equivalent ways."""

    fits: Fits
    """Conditions for a record met in a scan along the names."""
    every: Any
    """Select of the ids of all matching records."""
    few: bool = False
    """Whether only few records can match, so that the set is read at once."""


def in_directory(record: Any, organization_id: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Whether a member or family is an organization's and not deleted."""
    return record.organization_id == organization_id, record.deleted_at.is_(None)


def searched(member: Any) -> ColumnElement[str]:
    """Name, e-mail and the phone's digits, as in `ix_member_search`, without a parameter."""
    mail = func.coalesce(member.email_key, _NOTHING)
    phone = func.translate(func.coalesce(member.phone, _NOTHING), _FORMAT, _NOTHING)
    parts: ColumnElement[str] = member.name_key
    for part in (_BLANK, mail, _BLANK, phone):
        parts = parts.op("||")(part)
    return parts


def member_has(terms: Sequence[Term]) -> Fits:
    """Whether a member matches all terms."""

    def fits(member: Any) -> list[ColumnElement[bool]]:
        columns = {"anything": searched(member), "name": member.name_key, "email": member.email_key}
        return [_like(columns[term.within], term) for term in terms] or [false()]

    return fits


def family_has(terms: Sequence[Term]) -> Fits:
    """Whether a family's name matches all terms."""

    def fits(family: Any) -> list[ColumnElement[bool]]:
        # A text too short for the trigram index would make PostgreSQL read the whole index.
        columns = {"anything": family.name_key, "name": family.name_key.op("||")(_NOTHING), "email": _NOTHING}
        return [_like(columns[term.within], term) for term in terms] or [false()]

    return fits


def _like(column: ColumnElement[str], term: Term) -> ColumnElement[bool]:
    return or_(*(column.like(contains(text)) for text in term.texts))


async def page_of(
    session: AsyncSession, record: type[Record], organization_id: str, found: Found | None, query: PageQuery
) -> tuple[Sequence[Record], int | None]:
    """A page of these records, or of all, plus one row if another page follows (see `behind`).

    A scan along the names soon meets frequent matches. Rare matches are read once as a set, because a scan for them
    takes seconds in a large church. The first page of a set comes with the set's size, all else with None.
    """
    near: Any = aliased(record)
    along = select(near).where(*in_directory(near, organization_id), *_after(near, query))
    along = along.order_by(near.name_key, near.id)
    if found is None:
        return await _read(session, record, along.with_only_columns(near.id).limit(query.limit + 1)), None
    if not found.few:
        met: Any = aliased(record, along.limit(NEAR).subquery("near"))
        ids = select(met.id).where(*found.fits(met)).order_by(met.name_key, met.id).limit(query.limit + 1)
        rows = await _read(session, record, ids)
        if len(rows) > query.limit:
            return rows, None
    every = found.every.subquery("every")
    ids = select(record.id, func.count().over().label("size")).join(every, every.c.id == record.id)
    ids = ids.where(*_after(record, query)).order_by(record.name_key, record.id).limit(query.limit + 1)
    page = ids.subquery("page")
    met_set = (await session.execute(_in_order(record, page).add_columns(page.c.size))).all()
    size = met_set[0].size if met_set else 0
    return [one for one, _ in met_set], None if query.after else size


async def _read(session: AsyncSession, record: type[Record], ids: Select[Any]) -> Sequence[Record]:
    return (await session.scalars(_in_order(record, ids.subquery("page")))).all()


def _in_order(record: type[Record], page: Subquery) -> Select[Any]:
    return select(record).join(page, page.c.id == record.id).order_by(record.name_key, record.id)


def _after(record: Any, query: PageQuery) -> list[ColumnElement[bool]]:
    if not query.after:
        return []
    name, last = decode(query.after, string, UUID)
    return [func.row(record.name_key, record.id) > func.row(name, last)]


def behind(rows: Sequence[Member] | Sequence[Family], query: PageQuery) -> str | None:
    """`next` of the page that `page_of` read."""
    if len(rows) <= query.limit:
        return None
    last = rows[query.limit - 1]
    return encode(last.name_key, str(last.id))


async def count(session: AsyncSession, record: type[Record], organization_id: str) -> int:
    """Number of an organization's records."""
    return await session.scalar(select(func.count()).where(*in_directory(record, organization_id))) or 0


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
