"""The worker of a bulk answer may die before or after any commit; another replica continues."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio
from conflict_church import Church
from conflict_support import fact, told_decisions
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from conflict_service.config import Settings
from conflict_service.main import create_app
from conflict_service.usecases import bulk
from contracts.events.people_conflict_v1 import ConflictConverged
from servicekit.db.sessions import Sessions
from servicekit.jobs.queue import LeaseLost, ring
from servicekit.jobs.worker import JobContext
from servicekit.testing import KeyRing, serve

CONFLICTS = 7
BATCH = 2
COMMITS = 5
"""Four batches, and the end."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def second(app: FastAPI, client: httpx.AsyncClient, keys: KeyRing, kafka_server: str) -> AsyncIterator[None]:
    """Another process on the same database; the first to claim a job gets it."""
    url = app.state.runtime.settings.database_url.get_secret_value()
    async with serve(create_app(keys.settings(Settings, database_url=url, kafka=kafka_server))):
        yield


class Died(LeaseLost):
    """Simulates a dead process, which writes nothing more and whose lease expires."""


class Killer:
    """Sessions of one organization's job that lose one commit, or its confirmation."""

    def __init__(self, organization_id: str, at: int, *, behind: bool) -> None:
        self.organization_id = organization_id
        self.died = False
        self._commits = 0
        self._at, self._behind = at, behind

    @asynccontextmanager
    async def begin(self, sessions: Sessions) -> AsyncIterator[AsyncSession]:
        try:
            async with sessions.begin() as session:
                yield session
                self._commits += 1
                dies = self._commits == self._at
                if dies and not self._behind:
                    raise Died
            if dies:
                raise Died
        except Died:
            self.died = True
            async with sessions.begin() as session:
                lapse = "UPDATE job SET lease_until = clock_timestamp() WHERE organization_id = :church"
                await session.execute(text(lapse), {"church": self.organization_id})
                await ring(session)
            raise


class Watched:
    """A stand-in for a job's sessions."""

    def __init__(self, sessions: Sessions, killer: Killer) -> None:
        self._sessions, self._killer = sessions, killer

    def begin(self) -> Any:
        return self._killer.begin(self._sessions)


@pytest.mark.usefixtures("second")
@pytest.mark.parametrize("behind", [False, True], ids=["before", "behind"])
@pytest.mark.parametrize("at", range(1, COMMITS + 1))
async def test_killed_at_a_commit(
    ada: Church, app: FastAPI, kafka_server: str, monkeypatch: pytest.MonkeyPatch, at: int, behind: bool
) -> None:
    """Each conflict is decided and published once; a changed one is named once."""
    killer = Killer(ada.id, at, behind=behind)
    monkeypatch.setattr(bulk, "BATCH", BATCH)
    init = JobContext.__init__

    def with_killer(self: JobContext, **values: Any) -> None:
        init(self, **values)
        if self.organization_id == ada.id and not killer.died:
            self.sessions = Watched(self.sessions, killer)  # type: ignore[assignment]

    monkeypatch.setattr(JobContext, "__init__", with_killer)
    ids = await ada.conflicts(CONFLICTS)
    shown = await ada.show("theirs")
    await ada.tell(fact(ConflictConverged, 2, organization_id=ada.id, conflict_id=ids[3]))
    ended = await ada.agree(shown)
    assert killer.died
    assert (ended["done"], ended["skipped"], ended["waiting"]) == (CONFLICTS, 1, CONFLICTS - 1)
    [skipped] = (await ada.call("GET", f"/bulk/{shown['id']}/skipped"))["items"]
    assert skipped["conflict_id"] == ids[3]
    async with app.state.runtime.sessions() as session:
        found = text("SELECT conflict_id, id FROM decision WHERE organization_id = :church ORDER BY conflict_id")
        rows = (await session.execute(found, {"church": ada.id})).all()
    assert [row.conflict_id for row in rows] == [one for one in ids if one != ids[3]]
    told = await told_decisions(kafka_server, ada.id, len(rows))
    assert sorted(one["decision_id"] for one in told) == sorted(row.id for row in rows)
