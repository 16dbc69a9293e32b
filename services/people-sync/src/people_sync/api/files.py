"""Every list as a file: the same filters, all pages."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.http.common import ListQuery, Page, PageQuery
from contracts.http.merged import MergedFilter, MergedQuery
from contracts.http.people import (
    FamilyFilter,
    FamilyQuery,
    HeldFilter,
    HeldQuery,
    MemberFilter,
    MemberQuery,
    RunFilter,
    RunItemFilter,
    RunItemQuery,
    RunQuery,
)
from people_sync.resources import Wired
from people_sync.usecases import (
    directory,
    families,
    files,
    held,
    held_bulk,
    history,
    merged_pairs,
    proof,
    receipts,
    runs,
)
from servicekit.http import spreadsheets
from servicekit.http.auth import Admin, User
from synckit import history as changes

router = APIRouter(prefix="/api/v1/people", tags=["Files"])
Whole = Annotated[ListQuery, Query()]
"""A list without filters."""


@router.get("/members.csv")
async def members(user: User, wired: Wired, query: Annotated[MemberFilter, Query()]) -> StreamingResponse:
    """Members by name."""
    read = spreadsheets.pages(directory.members, user.organization_id, MemberQuery, query)
    return await spreadsheets.answer(wired.runtime.sessions, "members", files.MEMBERS, read, files.of_member)


@router.get("/members/{member_id}/history.csv")
async def member_history(member_id: str, user: User, wired: Wired, query: Whole) -> StreamingResponse:
    """Every change of a member, newest first."""

    async def read(session: AsyncSession, organization_id: str, page: PageQuery) -> Page[Any]:
        member = await directory.find(session, organization_id, member_id, deleted=True)
        return await history.of_member(session, member, page)

    paged = spreadsheets.pages(read, user.organization_id, PageQuery, query)
    return await spreadsheets.answer(wired.runtime.sessions, "history", changes.COLUMNS, paged, changes.lines_of)


@router.get("/families.csv")
async def all_families(user: User, wired: Wired, query: Annotated[FamilyFilter, Query()]) -> StreamingResponse:
    """Families by name."""
    read = spreadsheets.pages(families.families, user.organization_id, FamilyQuery, query)
    return await spreadsheets.answer(wired.runtime.sessions, "families", files.FAMILIES, read, files.of_family)


@router.get("/families/{family_id}/history.csv")
async def family_history(family_id: str, user: User, wired: Wired, query: Whole) -> StreamingResponse:
    """Every change of a family, newest first."""

    async def read(session: AsyncSession, organization_id: str, page: PageQuery) -> Page[Any]:
        return await history.of_family(session, await families.find(session, organization_id, family_id), page)

    paged = spreadsheets.pages(read, user.organization_id, PageQuery, query)
    return await spreadsheets.answer(wired.runtime.sessions, "history", changes.COLUMNS, paged, changes.lines_of)


@router.get("/held-matches.csv")
async def held_matches(user: User, wired: Wired, query: Annotated[HeldFilter, Query()]) -> StreamingResponse:
    """Doubtful matches."""
    read = spreadsheets.pages(held.held_matches, user.organization_id, HeldQuery, query)
    return await spreadsheets.answer(wired.runtime.sessions, "held-matches", files.HELD, read, files.of_held)


@router.get("/held-matches/bulk/{bulk_id}/skipped.csv")
async def skipped(bulk_id: str, user: User, wired: Wired, query: Whole) -> StreamingResponse:
    """Doubtful matches that a bulk answer left as they are."""

    async def read(session: AsyncSession, organization_id: str, page: PageQuery) -> Page[Any]:
        return await held_bulk.skipped(session, organization_id, bulk_id, page)

    paged = spreadsheets.pages(read, user.organization_id, PageQuery, query)
    return await spreadsheets.answer(wired.runtime.sessions, "left", files.SKIPPED, paged, files.of_skipped)


@router.get("/merged.csv")
async def merged(user: User, wired: Wired, query: Annotated[MergedFilter, Query()]) -> StreamingResponse:
    """Pairs of members who are one person in Planning Center."""
    read = spreadsheets.pages(merged_pairs.merged, user.organization_id, MergedQuery, query)
    return await spreadsheets.answer(wired.runtime.sessions, "merged", files.MERGED, read, files.of_pair)


@router.get("/runs.csv")
async def all_runs(user: User, wired: Wired, query: Annotated[RunFilter, Query()]) -> StreamingResponse:
    """Run history, newest first."""
    read = spreadsheets.pages(runs.history, user.organization_id, RunQuery, query)
    return await spreadsheets.answer(wired.runtime.sessions, "syncs", files.RUNS, read, files.of_run)


@router.get("/runs/{run_id}/items.csv")
async def items(run_id: str, user: User, wired: Wired, query: Annotated[RunItemFilter, Query()]) -> StreamingResponse:
    """The list behind a number of a run."""

    async def read(session: AsyncSession, organization_id: str, page: RunItemQuery) -> Page[Any]:
        return await runs.items(session, organization_id, run_id, page)

    paged = spreadsheets.pages(read, user.organization_id, RunItemQuery, query)
    return await spreadsheets.answer(wired.runtime.sessions, "sync", files.ITEMS, paged, files.of_item)


@router.get("/statements.csv")
async def statements(user: User, wired: Wired, query: Whole) -> StreamingResponse:
    """Results of nightly comparisons, newest first."""
    read = spreadsheets.pages(proof.statements, user.organization_id, PageQuery, query)
    return await spreadsheets.answer(wired.runtime.sessions, "statements", files.STATEMENTS, read, files.of_statement)


@router.get("/erasures.csv")
async def erasures(user: Admin, wired: Wired, query: Whole) -> StreamingResponse:
    """Receipts of erased people, newest first."""
    read = spreadsheets.pages(receipts.page, user.organization_id, PageQuery, query)
    return await spreadsheets.answer(wired.runtime.sessions, "erasures", files.ERASURES, read, files.of_erasure)
