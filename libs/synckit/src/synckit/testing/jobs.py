"""Works jobs off within a test, whenever it says, as a process would."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from fastapi import FastAPI
from sqlalchemy import func, update

from servicekit.db.notify import Wake
from servicekit.db.tables import JOB
from servicekit.jobs.worker import Claimer, JobWorker


async def work_off(app: FastAPI, workers: Sequence[JobWorker]) -> int:
    """Run all jobs that wait or are queued, one after the other, until none is left. Returns how many were run.

    A job that gives itself back is run once. The app's lifespan is not on, and `app.state.resources` is set.
    """
    runtime = app.state.runtime
    count = 0
    async with runtime.sessions.begin() as session:
        at_rest = update(JOB).where(JOB.c.state.in_(["waiting", "queued"]))
        await session.execute(at_rest.values(state="queued", run_after=func.now()))
    for worker in workers:
        claimer = Claimer(worker, runtime.sessions, app.state.resources, Wake(), _no_beat)
        met: set[UUID] = set()
        while (job := await claimer._claim()) is not None and job.id not in met:  # noqa: SLF001 - a step would sleep
            met.add(job.id)
            count += 1
            await claimer._work(job)  # noqa: SLF001
    return count


def _no_beat(*_: Any) -> None:
    return
