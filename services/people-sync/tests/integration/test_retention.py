"""Retention: a run's lists are deleted before its numbers, and a church's newest run is never deleted."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import create_async_engine

from contracts.http.people import RunItemQuery
from people_sync.storage.sync_tables import Change, Run
from people_sync.usecases import runs
from servicekit.db.sessions import Sessions, make_sessions
from servicekit.errors import NotFound
from servicekit.testing import Databases
from synckit import retention

pytestmark = pytest.mark.asyncio(loop_scope="session")
NOW = datetime.now(UTC)


@pytest_asyncio.fixture(loop_scope="session")
async def sessions(databases: Databases) -> AsyncIterator[Sessions]:
    engine = create_async_engine(await databases.create("people_sync"))
    yield make_sessions(engine, "people-sync")
    await engine.dispose()


async def ran(sessions: Sessions, days: int, *, organization: str = "church", over: bool = True) -> UUID:
    """A run from so many days ago with three records."""
    run_id = uuid4()
    at = NOW - timedelta(days=days)
    async with sessions.begin() as session:
        session.add(
            Run(
                id=run_id,
                organization_id=organization,
                pco_organization_id="p",
                kind="full",
                state="done" if over else "running",
                trigger="person",
                counts={"linked": 3},
                created_at=at,
                finished_at=at if over else None,
            )
        )
        for number in range(3):
            session.add(
                Change(
                    organization_id=organization,
                    run_id=run_id,
                    kind="member",
                    pco_id=str(number),
                    name="A",
                    outcome="linked",
                )
            )
    return run_id


async def test_lists_are_deleted_before_numbers_and_the_newest_run_stays(sessions: Sessions) -> None:
    ancient, old, young = [await ran(sessions, days) for days in (500, 100, 10)]
    only = await ran(sessions, 500, organization="quiet")
    endless = await ran(sessions, 600, organization="endless", over=False)
    assert await retention.forget_lists(sessions, Run, Change, NOW - timedelta(days=90)) == 9
    assert await retention.forget_runs(sessions, Run, NOW - timedelta(days=400)) == 1
    async with sessions() as session:
        assert set(await session.scalars(select(Change.run_id))) == {young, endless}
        assert set(await session.scalars(select(Run.id))) == {old, young, only, endless} - {ancient}
        assert (await runs.get(session, "church", str(old))).counts == {"linked": 3}
        assert (await runs.items(session, "church", str(young), RunItemQuery())).total == 3
        for read in (
            runs.items(session, "church", str(old), RunItemQuery()),
            runs.rejections(session, "church", str(old)),
        ):
            with pytest.raises(NotFound, match="no longer its lists"):
                await read
    assert await retention.forget_lists(sessions, Run, Change, NOW - timedelta(days=90)) == 0


async def test_a_half_deleted_list_is_deleted_by_the_next_round(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ran(sessions, 100)
    async with sessions.begin() as session:
        further = text(
            "INSERT INTO change (organization_id, run_id, kind, pco_id, name, here, there, outcome) "
            "SELECT organization_id, run_id, kind, 'x' || n || pco_id, name, here, there, outcome "
            "FROM change, generate_series(1, 1500) AS n"
        )
        await session.execute(further)
    monkeypatch.setattr(retention, "_SECONDS", 0.001)
    first = await retention.forget_lists(sessions, Run, Change, NOW)
    assert 0 < first < 4503
    async with sessions() as session:
        assert await session.scalar(select(Run.lists_gone_at)) is None
    monkeypatch.undo()
    assert first + await retention.forget_lists(sessions, Run, Change, NOW) == 4503
    async with sessions() as session:
        assert await session.scalar(select(Run.lists_gone_at)) is not None
