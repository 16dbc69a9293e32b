"""The worker's side of a run: begin, keep, ask, wait, end. Each is a step of the run's job."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.sync_runs import RunQuestion
from pco_client.errors import (
    AnsweredTooLate,
    Forbidden,
    LeaseUnavailable,
    PlanningCenterError,
    Unauthorized,
    Unavailable,
)
from servicekit.jobs.queue import LeaseLost, State, StopRequested
from servicekit.jobs.worker import JobContext
from synckit import runs
from synckit.errors import NotConnected, Wait
from synckit.product import C, Product, R
from synckit.requests import Requests
from synckit.sentences import NOT_UNDERSTOOD, WAITING_FOR_RECONNECT, WAITING_FOR_VENDOR

_FIRST_DELAY: Final = timedelta(seconds=5)
_LONGEST_DELAY: Final = timedelta(minutes=5)
_WAITS: Final = "waits"
"""Key in the checkpoint: consecutive waits for Planning Center. The product's steps reset it to 0."""
_ENDS: Final[dict[str, State]] = {"done": "done", "stopped": "cancelled", "failed": "failed"}
"""State of the job by state of the run."""

log = structlog.get_logger(__name__)


@asynccontextmanager
async def carrying_out(
    product: Product[R, C], job: JobContext, requests: Requests, now: Callable[[], datetime]
) -> AsyncIterator[None]:
    """Wraps a worker's whole work for a run: an error ends the run, or postpones the job."""
    try:
        yield
    except StopRequested:
        await end(product, job, requests, "stopped")
    except Wait as error:
        await wait(product, job, requests, error.sentence, until=error.until, away=False)
    except (NotConnected, Unauthorized):
        # A fact about the connection resumes the run at once. The retry covers a fact that came before the run waited.
        await wait(product, job, requests, WAITING_FOR_RECONNECT, until=now() + _LONGEST_DELAY)
    except AnsweredTooLate as error:
        raise LeaseLost(str(error)) from error
    except (Unavailable, LeaseUnavailable) as error:
        log.warning("Planning Center away", run=str(job.id), exc_info=error)
        # The delay grows with every consecutive wait for the vendor.
        delay = min(_FIRST_DELAY * 2.0 ** min(_waits(job), 10), _LONGEST_DELAY)
        await wait(product, job, requests, WAITING_FOR_VENDOR, until=now() + delay)
    except Forbidden:
        await end(product, job, requests, "failed", product.role_is_gone)
    except PlanningCenterError as error:
        log.exception("run failed", run=str(job.id), exc_info=error)
        await end(product, job, requests, "failed", NOT_UNDERSTOOD)


async def begun(session: AsyncSession, product: Product[R, C], job: JobContext, now: datetime) -> R:
    """Note that a worker has the run. The first progress publishes it."""
    started_at = func.coalesce(product.runs.started_at, now)
    values = {"state": "running", "waiting_for": None, "question": None, "started_at": started_at}
    return await runs.change(session, product, job.id, **values)


async def keep(
    session: AsyncSession,
    product: Product[R, C],
    job: JobContext,
    requests: Requests,
    checkpoint: dict[str, Any],
    **progress: Any,
) -> None:
    """End a step: commit the run's progress, its requests and the checkpoint with the step's rows."""
    sent = product.runs.requests + requests.take()
    await runs.change(session, product, job.id, requests=sent, **progress)
    await job.checkpoint(session, checkpoint)


async def ask(
    session: AsyncSession,
    product: Product[R, C],
    job: JobContext,
    question: RunQuestion,
    checkpoint: dict[str, Any],
    now: datetime,
    *,
    waiting_for: str,
) -> None:
    """Make the run wait for an administrator, and give the job back. `waiting_for`: the question in a sentence."""
    run = await runs.change(
        session,
        product,
        job.id,
        state="waiting",
        question=question.model_dump(mode="json"),
        asked_at=now,
        waiting_for=waiting_for,
    )
    await runs.tell(session, product, run)
    await job.wait(session, checkpoint)


async def wait(
    product: Product[R, C],
    job: JobContext,
    requests: Requests,
    sentence: str,
    *,
    until: datetime,
    away: bool = True,
) -> None:
    """Postpone the run. `away`: Planning Center did not answer, so the next such wait is longer."""
    async with job.transaction() as session:
        if not job.stop_requested:
            run = await session.get_one(product.runs, job.id, with_for_update=True)
            run.requests += requests.take()
            if (run.state, run.waiting_for) != ("waiting", sentence):
                values = {"state": "waiting", "waiting_for": sentence, "eta_low": None, "eta_high": None}
                run = await runs.change(session, product, job.id, **values)
                await runs.tell(session, product, run)
            await job.wait(session, {**(job.data or {}), _WAITS: _waits(job) + away}, until=until)
            return
    await end(product, job, requests, "stopped")


async def end(product: Product[R, C], job: JobContext, requests: Requests, state: str, message: str = "") -> None:
    """End the run before its last phase is done. `message`: replaces the product's sentence for a stopped run."""
    async with job.transaction() as session:
        connection = await session.get_one(product.connections, job.organization_id, with_for_update=True)
        counts = await product.let_go(session, job.id)
        if state == "stopped":
            message = product.stopped(await session.get_one(product.runs, job.id))
        now = await runs.clock(session)
        if connection.state == "connected" and connection.next_run_at is None:
            # The schedule must survive a scheduled run that failed.
            await runs.schedule(session, product, connection, now)
        sent = product.runs.requests + requests.take()
        await finish(session, product, job, state, message, counts=counts, finished_at=now, requests=sent)


async def finish(
    session: AsyncSession, product: Product[R, C], job: JobContext, state: str, message: str | None, **values: Any
) -> None:
    """Store and publish the end of the run, and end its job. `values`: `counts`, `finished_at` and further columns."""
    run = await runs.change(session, product, job.id, **runs.over(state, message), **values)
    await runs.tell(session, product, run)
    await job.finish(session, _ENDS[state], message)


def _waits(job: JobContext) -> int:
    return int((job.data or {}).get(_WAITS, 0))
