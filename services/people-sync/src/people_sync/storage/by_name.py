"""Members and families in pages, in the order of their names."""

from collections.abc import Sequence
from typing import TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.http.common import PageQuery
from people_sync.storage.tables import Family, Member
from servicekit.paging import decode, encode, string

Record = TypeVar("Record", Member, Family)


async def page_of(
    session: AsyncSession,
    record: type[Record],
    conditions: Sequence[ColumnElement[bool]],
    query: PageQuery,
    *,
    filtered: bool,
) -> tuple[Sequence[Record], int | None]:
    """One row more than the page has, if there is one behind it (see `behind`); on the first page the total too.

    filtered: more is asked than an organization's records. All that fit are found once then, as a set: walking along
    the names until a page is full takes seconds when they are few and the church is large.
    """
    found = select(record.id, record.name_key).where(*conditions).cte("found").prefix_with("MATERIALIZED")
    rows = found.c if filtered else record
    page = select(rows.id, rows.name_key).order_by(rows.name_key, rows.id).limit(query.limit + 1)
    if not filtered:
        page = page.where(*conditions)
    if query.after:
        name, last = decode(query.after, string, UUID)
        page = page.where(func.row(rows.name_key, rows.id) > func.row(name, last))
    ids = page.subquery("page")
    wanted = select(record).join(ids, ids.c.id == record.id).order_by(record.name_key, record.id)
    if query.after:
        return (await session.scalars(wanted)).all(), None
    total = select(func.count()).select_from(found).scalar_subquery()
    counted = (await session.execute(wanted.add_columns(total.label("total")))).all()
    return [row[0] for row in counted], counted[0].total if counted else 0


def behind(rows: Sequence[Member] | Sequence[Family], query: PageQuery) -> str | None:
    """`next` of the page that `page_of` read."""
    if len(rows) <= query.limit:
        return None
    last = rows[query.limit - 1]
    return encode(last.name_key, str(last.id))
