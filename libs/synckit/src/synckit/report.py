"""Publishes the progress of a run: its row and a fact, at most once a second."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Generic

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from pco_client.errors import PlanningCenterError
from servicekit.jobs.worker import JobContext
from synckit import runs
from synckit.errors import NotConnected
from synckit.product import C, Product, R
from synckit.progress import Ahead, Pace, eta, of_whole
from synckit.requests import Requests
from synckit.sentences import is_of_limit, waiting_for_limit

EVERY_SECONDS = 1.0

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Report(Generic[R, C]):
    """The computation of a run's progress, with the last published state and the state at the phase's start."""

    product: Product[R, C]
    job: JobContext
    requests: Requests
    pace: Callable[[], Awaitable[Pace | None]]
    requests_left: Callable[[R, int, float | None], int | None]
    """Requests left in the run's phase, from the run, the number of records left, and the requests per record so far
    (None before the first). None for a phase whose pace does not depend on the vendor's limit.
    """
    look_ahead: Callable[[AsyncSession, R], Awaitable[Callable[[R], Ahead]]]
    """At the start of a phase: gives the known work of later phases, by the run's row."""
    counts: Callable[[AsyncSession, R], Awaitable[dict[str, int] | None]]
    """The counts by outcome so far; None in a phase without outcomes."""
    over: bool = field(default=False, init=False)
    seen: tuple[Any, ...] | None = field(default=None, init=False)
    phase: str | None = field(default=None, init=False)
    began: float = field(default=0.0, init=False)
    """The start of the phase, by the loop's clock."""
    done: int = field(default=0, init=False)
    sent: int = field(default=0, init=False)
    ahead: Callable[[R], Ahead] = field(default=lambda _: Ahead(), init=False)


@asynccontextmanager
async def reporting(report: Report[R, C]) -> AsyncIterator[None]:
    """Publish progress while the block runs."""
    task = asyncio.create_task(_report(report))
    try:
        yield
    finally:
        report.over = True
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _report(report: Report[R, C]) -> None:
    # `over` ends the loop, because an error of the rollback can replace the cancellation.
    while not report.over:
        await asyncio.sleep(EVERY_SECONDS)
        try:
            await publish(report, await report.pace())
        except (PlanningCenterError, NotConnected):
            continue  # the run itself gets the same error, and reports it
        except (SQLAlchemyError, OSError) as error:
            log.warning("progress not published", run=str(report.job.id), exc_info=error)


async def publish(report: Report[R, C], pace: Pace | None) -> None:
    """Store the run's progress, and publish a fact if it changed."""
    async with report.job.sessions.begin() as session:
        run = await session.get_one(report.product.runs, report.job.id, with_for_update=True)
        if run.state not in {"running", "stopping"}:
            return
        clock = asyncio.get_running_loop().time()
        if report.phase != run.phase:
            report.phase, report.began, report.done, report.sent = run.phase, clock, run.done, run.requests
            report.ahead = await report.look_ahead(session, run)
        run.requests += report.requests.take()
        _estimate(report, run, clock - report.began, pace)
        now = (run.phase, run.done, run.total, run.requests, run.waiting_for, run.state)
        if now == report.seen:
            return
        report.seen = now
        counts = await report.counts(session, run)
        if counts is not None:
            run.counts = counts
        run.version += 1
        await session.flush()
        await runs.tell(session, report.product, run)


def _estimate(report: Report[R, C], run: R, elapsed: float, pace: Pace | None) -> None:
    done, requests = run.done - report.done, run.requests - report.sent
    run.rate_per_second = round(done / elapsed, 1) if done > 0 and elapsed > 1 else None
    waited = pace.wait_seconds if pace else 0.0
    if waited > 1 and pace:
        run.waiting_for = waiting_for_limit(waited, pace.limit, pace.period_seconds)
    elif waited <= 1 and is_of_limit(run.waiting_for):
        run.waiting_for = None
    if run.total is None:
        run.eta_low = run.eta_high = None
        return
    left = max(run.total - run.done, 0)
    needed = report.requests_left(run, left, requests / done if done > 0 else None)
    if needed is None:
        of_phase = eta(left, requests_done=done, elapsed_seconds=elapsed, pace=None)
    else:
        of_phase = eta(needed, requests_done=requests, elapsed_seconds=elapsed, pace=pace)
    run.eta_low, run.eta_high = of_whole(of_phase, report.ahead(run), pace) or (None, None)
