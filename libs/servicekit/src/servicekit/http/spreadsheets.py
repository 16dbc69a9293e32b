"""Lists as files for spreadsheets: CSV in UTF-8, page by page, with formulas made harmless."""

import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from fastapi.responses import StreamingResponse
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.http.common import ListQuery, Page, PageQuery
from servicekit.db.sessions import Sessions

AT_ONCE: Final = 500
"""Items per page of a file."""
_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""The first characters of a formula."""
Q = TypeVar("Q", bound=PageQuery)
Read = Callable[[AsyncSession, str | None], Awaitable[Page[Any]]]
"""Reads the page after `after`."""


def pages(
    read: Callable[[AsyncSession, str, Q], Awaitable[Page[Any]]], organization_id: str, kind: type[Q], wanted: ListQuery
) -> Read:
    """A list's own read, in pages that are longer than a caller may have them. kind: its query, with a page."""

    def page(session: AsyncSession, after: str | None) -> Awaitable[Page[Any]]:
        query = kind(**dict(wanted)).model_copy(update={"after": after, "limit": AT_ONCE})
        return read(session, organization_id, query)

    return page


async def answer(
    sessions: Sessions,
    name: str,
    columns: Sequence[str],
    read: Read,
    lines: Callable[[Any], Iterable[Sequence[Any]]],
) -> StreamingResponse:
    """The whole list as `<name>.csv`. Errors of the first page are raised before anything is sent.

    Each page is read in a transaction of its own, so a slow reader holds none open. lines: the lines of one item, each
    with a cell per column.
    """
    async with sessions() as session:
        first = await read(session, None)

    async def rows() -> AsyncIterator[bytes]:
        yield "\ufeff".encode() + written([columns])
        page = first
        while True:
            yield written(line for item in page.items for line in lines(item))
            if page.next is None:
                return
            async with sessions() as session:
                page = await read(session, page.next)

    return file(name, rows())


def file(name: str, content: AsyncIterator[bytes]) -> StreamingResponse:
    """CSV that is sent while it is made."""
    return StreamingResponse(
        content,
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": f'attachment; filename="{name}.csv"'},
    )


def written(rows: Iterable[Sequence[Any]]) -> bytes:
    """Lines of CSV."""
    text = io.StringIO()
    csv.writer(text).writerows([[safe(cell(value)) for value in row] for row in rows])
    return text.getvalue().encode()


def cell(value: Any) -> str:
    """A value as one cell; the parts of an address and the people of a family are separated by commas."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(cell, value))
    if isinstance(value, dict):
        return str(value["name"]) if "name" in value else ", ".join(str(one) for one in value.values() if one)
    return str(value)


def safe(text: str) -> str:
    """The value with a quote before a formula, because others type names and values."""
    return f"'{text}" if text.startswith(_FORMULAS) else text
