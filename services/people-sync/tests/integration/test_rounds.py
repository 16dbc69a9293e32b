"""A round of the schedule starts all due runs, however many churches there are."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from fastapi import FastAPI
from sqlalchemy import func, insert, select

from people_sync.storage.runs import RUNS
from people_sync.storage.sync_tables import Change, Run
from people_sync.storage.tables import Connection
from people_sync.usecases import rounds
from people_sync.usecases.refreshes import REFRESHES
from servicekit.db.tables import JOB
from synckit.rounds import rounds_of
from synckit.runs import ABANDONED_AT_ONCE, DUE_AT_ONCE, end_abandoned

CHURCHES = 2 * DUE_AT_ONCE + 5
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


async def many(app: FastAPI, *, abandoned: bool = False) -> None:
    """Churches with a due incremental run, or with a run whose job has ended."""
    connections: list[dict[str, Any]] = []
    for number in range(CHURCHES):
        values = {"pco_organization_id": f"{number}", "generation": 1, "version": 1, "pco_person_id": "1"}
        connections.append(
            {"organization_id": f"org-{number}", "state": "connected", "mirrored": True, "country_code": "US"}
            | values
            | {"full_sync_at": LONG_AGO, "cursor": LONG_AGO, "next_run_at": None if abandoned else LONG_AGO}
        )
    async with app.state.runtime.sessions.begin() as session:
        await session.execute(insert(Connection), connections)
        if not abandoned:
            return
        for one in connections:
            job = {"id": uuid4(), "organization_id": one["organization_id"]}
            of_run = {"kind": "full", "state": "running", "trigger": "schedule", "counts": {}, "answers": {}}
            await session.execute(
                insert(JOB).values(job | {"kind": RUNS.job, "payload": {}, "state": "failed", "correlation_id": "c"})
            )
            await session.execute(
                insert(Run).values(job | {"pco_organization_id": one["pco_organization_id"]} | of_run)
            )


async def count(app: FastAPI, *where: Any) -> int:
    async with app.state.runtime.sessions() as session:
        return int(await session.scalar(select(func.count()).select_from(Run).where(*where)))


async def test_one_round_starts_all_due_runs(app: FastAPI, another: Any) -> None:
    await many(app)
    await rounds.start_due(app.state.runtime, app.state.resources)
    assert await count(app, Run.state == "queued") == CHURCHES
    async with app.state.runtime.sessions() as session:
        urgent = await session.scalar(select(func.count()).select_from(JOB).where(JOB.c.urgent))
    assert urgent == 0, "nobody waits for a scheduled run"
    # *Sync Now* of the last queued church joins its run, and makes it urgent.
    last = await another(f"org-{CHURCHES - 1}")
    await last.call("POST", "/runs", {"kind": "incremental"}, status=202)
    async with app.state.runtime.sessions() as session:
        called = (await session.scalars(select(JOB.c.organization_id).where(JOB.c.urgent))).all()
    assert called == [last.organization_id]


async def test_abandoned_runs_are_ended_a_few_at_a_time(app: FastAPI) -> None:
    await many(app, abandoned=True)
    async with app.state.runtime.sessions.begin() as session:
        assert await end_abandoned(session, RUNS) == ABANDONED_AT_ONCE
    assert await count(app, Run.state == "failed") == ABANDONED_AT_ONCE
    (close,) = (loop for loop in rounds_of(RUNS, Change, REFRESHES) if loop.name == "abandoned runs")
    await close.run(app.state.runtime, app.state.resources)
    assert await count(app, Run.state == "failed") == CHURCHES
