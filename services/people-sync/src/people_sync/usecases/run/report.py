"""Progress of a run of People, for people: numbers so far, and the work ahead."""

from collections.abc import Callable
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import MEMBER
from people_sync.storage.runs import PREVIEW, PROOF, RUNS, UNDO
from people_sync.storage.sync_tables import Change, Run
from people_sync.storage.tables import Connection, Link, Member
from people_sync.usecases.run.context import RunContext
from synckit import changes
from synckit.progress import Ahead
from synckit.report import Report

_COMPARED: Final = (20_000, 2_000)
_APPLIED: Final = (4_000, 300)
"""Records a second, fast and slow: of phases that have not begun, nothing is observed yet."""
_PEOPLE_PER_REQUEST: Final = 99
_REQUESTS_PER_CHANGE: Final = 4
_WRITING: Final = frozenset({"apply", UNDO, "push"})


def report_of(context: RunContext) -> Report[Run, Connection]:
    """For `synckit.report.reporting`."""

    async def look_ahead(session: AsyncSession, run: Run) -> Callable[[Run], Ahead]:
        members = await _members(session, run) if run.phase in {"pull", "compare"} else (0, 0)
        to_push = await _planned_there(session, run) if run.phase in {"apply", UNDO} else 0
        return lambda run: ahead_of(run, *members, to_push, approved=context.approved)

    async def so_far(session: AsyncSession, run: Run) -> dict[str, int] | None:
        return await counts(session, context) if run.phase in _WRITING else None

    return Report(
        product=RUNS,
        job=context.job,
        requests=context.requests,
        pace=context.pacer_state,
        requests_left=requests_left,
        look_ahead=look_ahead,
        counts=so_far,
    )


def requests_left(run: Run, left: int, each: float | None) -> int | None:
    """Requests that a phase still needs; None for one that sends almost none. `each`: observed requests per record."""
    if run.phase == "pull":
        return -(-left // _PEOPLE_PER_REQUEST)
    if run.phase == "push":
        return round(left * (_REQUESTS_PER_CHANGE if each is None else each))
    return None


def ahead_of(run: Run, linked: int, unlinked: int, to_push: int, *, approved: bool) -> Ahead:
    """Work of the phases behind the present one. `linked` and `unlinked`: numbers of members before the comparison.

    Unlinked people there are assumed to match unlinked members; only the surplus is added.
    """
    if run.phase in {"apply", UNDO}:
        return Ahead(requests=to_push * _REQUESTS_PER_CHANGE)
    if run.phase not in {"pull", "compare"}:
        return Ahead()
    total = run.total or 0
    compared = total if run.phase == "pull" else 0
    if run.purpose == PROOF:
        return Ahead(seconds_of(compared + total))
    if run.purpose == PREVIEW and not approved:
        return Ahead(seconds_of(compared))
    strangers = max(total - linked, 0)
    requests = max(unlinked - strangers, 0) * _REQUESTS_PER_CHANGE
    return Ahead(seconds_of(compared, strangers), requests)


def seconds_of(compared: int, applied: int = 0) -> tuple[float, float]:
    """How long it takes to compare so many records, and to change so many here, at best and at worst."""
    fast, slow = (compared / one + applied / other for one, other in zip(_COMPARED, _APPLIED, strict=True))
    return (fast, slow)


async def _members(session: AsyncSession, run: Run) -> tuple[int, int]:
    """Numbers of members with and without a link."""
    of_run = {"organization_id": run.organization_id, "pco_organization_id": run.pco_organization_id}
    linked = await session.scalar(select(func.count(Link.id)).filter_by(**of_run, kind=MEMBER))
    members = await session.scalar(
        select(func.count(Member.id)).where(Member.organization_id == run.organization_id, Member.deleted_at.is_(None))
    )
    return linked or 0, max((members or 0) - (linked or 0), 0)


async def _planned_there(session: AsyncSession, run: Run) -> int:
    planned = select(func.count(Change.id)).where(Change.run_id == run.id, Change.there == "planned")
    return await session.scalar(planned) or 0


async def counts(session: AsyncSession, context: RunContext) -> dict[str, int]:
    """Numbers of completed records by outcome."""
    return await changes.counts(session, Change, context.run_id, Change.here != "planned", Change.there != "planned")
