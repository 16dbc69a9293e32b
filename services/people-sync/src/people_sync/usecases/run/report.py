"""What people see of a run while it is carried out: the row and a fact, once a second at most."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.events.people_sync_run_v1 import SyncRunProgressed
from contracts.values import MEMBER
from pco_client.errors import PlanningCenterError
from people_sync.domain.progress import Ahead, Pace, eta, of_whole
from people_sync.domain.sentences import waiting_for_limit
from people_sync.storage import runs
from people_sync.storage.sync_tables import Change, Run
from people_sync.storage.tables import Link, Member
from people_sync.usecases.run.context import RunContext
from servicekit.kafka.outbox import append
from synckit.errors import NotConnected

EVERY_SECONDS = 1.0
_PEOPLE_PER_REQUEST = 99
_REQUESTS_PER_CHANGE = 4

log = structlog.get_logger(__name__)


@asynccontextmanager
async def reporting(context: RunContext) -> AsyncIterator[None]:
    """Publish progress beside the context."""
    report = _Report(context)
    task = asyncio.create_task(_report(report))
    try:
        yield
    finally:
        report.over = True
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _report(report: "_Report") -> None:
    context = report.context
    # Not for ever: an error of the rollback can take the place of the cancellation.
    while not report.over:
        await asyncio.sleep(EVERY_SECONDS)
        try:
            await report.publish(await context.pacer_state())
        except (PlanningCenterError, NotConnected):
            continue  # the run itself meets the same, and says so
        except (SQLAlchemyError, OSError) as error:
            log.warning("progress not published", run=str(context.run_id), exc_info=error)


@dataclass(slots=True)
class _Report:
    """What was published last, and where the run stood when its phase began."""

    context: RunContext
    over: bool = False
    seen: tuple[Any, ...] | None = None
    phase: str | None = None
    began: float = 0.0
    """By the loop's clock."""
    done: int = 0
    requests: int = 0
    members: tuple[int, int] = (0, 0)
    to_push: int = 0

    async def publish(self, pace: Pace | None) -> None:
        """Write the run's progress, and a fact if there is any."""
        context = self.context
        async with context.job.sessions.begin() as session:
            run = await session.get_one(Run, context.run_id, with_for_update=True)
            if run.state not in {"running", "stopping"}:
                return
            clock = asyncio.get_running_loop().time()
            if self.phase != run.phase:
                self.phase, self.began, self.done, self.requests = run.phase, clock, run.done, run.requests
                self.members = await _members(session, run) if run.phase in {"pull", "compare"} else (0, 0)
                self.to_push = await _planned_there(session, run) if run.phase in {"apply", runs.UNDO} else 0
            run.requests += context.requests.take()
            _estimate(run, self.done, self.requests, clock - self.began, pace)
            if run.eta_low is not None and run.eta_high is not None:
                ahead = ahead_of(run, *self.members, self.to_push, approved=context.approved)
                found = of_whole((run.eta_low, run.eta_high), ahead, pace)
                run.eta_low, run.eta_high = found or (None, None)
            now = (run.phase, run.done, run.total, run.requests, run.waiting_for, run.state)
            if now == self.seen:
                return
            self.seen = now
            if run.phase in {"apply", runs.UNDO, "push"}:
                run.counts = await counts(session, context)
            run.version += 1
            await session.flush()
            fact = SyncRunProgressed(organization_id=run.organization_id, version=run.version, run=runs.render(run))
            await append(session, fact)


def _estimate(run: Run, done_before: int, requests_before: int, elapsed: float, pace: Pace | None) -> None:
    done, requests = run.done - done_before, run.requests - requests_before
    run.rate_per_second = round(done / elapsed, 1) if done > 0 and elapsed > 1 else None
    waited = pace.wait_seconds if pace else 0.0
    if waited > 1 and pace:
        run.waiting_for = waiting_for_limit(waited, pace.limit, pace.period_seconds)
    elif run.waiting_for is not None and waited <= 1 and run.waiting_for.startswith("Planning Center allows"):
        run.waiting_for = None
    if run.total is None:
        run.eta_low = run.eta_high = None
        return
    left = max(run.total - run.done, 0)
    if run.phase == "pull":
        found = eta(-(-left // _PEOPLE_PER_REQUEST), requests_done=requests, elapsed_seconds=elapsed, pace=pace)
    elif run.phase == "push":
        needed = round(left * (requests / done if done > 0 else _REQUESTS_PER_CHANGE))
        found = eta(needed, requests_done=requests, elapsed_seconds=elapsed, pace=pace)
    else:
        # Next to no requests: the records themselves set the pace, and nobody else's limit does.
        found = eta(left, requests_done=done, elapsed_seconds=elapsed, pace=None)
    run.eta_low, run.eta_high = found or (None, None)


def ahead_of(run: Run, linked: int, unlinked: int, to_push: int, *, approved: bool) -> Ahead:
    """What the phases behind the run's own have to do. `linked` and `unlinked`: members, before it compares them.

    People there without a link are taken to be members without one, as far as these go; only the others are added.
    """
    if run.phase in {"apply", runs.UNDO}:
        return Ahead(requests=to_push * _REQUESTS_PER_CHANGE)
    if run.phase not in {"pull", "compare"}:
        return Ahead()
    total = run.total or 0
    compared = total if run.phase == "pull" else 0
    if run.purpose == runs.PROOF:
        return Ahead(compared=compared + total)
    if run.purpose == runs.PREVIEW and not approved:
        return Ahead(compared=compared)
    strangers = max(total - linked, 0)
    return Ahead(compared, strangers, max(unlinked - strangers, 0) * _REQUESTS_PER_CHANGE)


async def _members(session: AsyncSession, run: Run) -> tuple[int, int]:
    """Members with a link, and without one."""
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
    """By outcome, what is done so far."""
    rows = await session.execute(
        select(Change.outcome, func.count(Change.id))
        .where(Change.run_id == context.run_id, Change.here != "planned", Change.there != "planned")
        .group_by(Change.outcome)
    )
    return dict(rows.all())
