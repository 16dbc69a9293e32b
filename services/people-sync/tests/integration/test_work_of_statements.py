"""Statements over all records read each row only a few times, as counted by PostgreSQL, not timed."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import FAMILY, MEMBER
from people_sync.storage.sync_tables import Change, Shown
from people_sync.storage.tables import Effect, FamilyMember
from people_sync.storage.undo import Scope, anything
from people_sync.usecases.run import plan
from servicekit.testing import statements

MANY = 1_000
FEW_LOOKS = 20
"""At each row."""


def dismissed(node: dict[str, Any]) -> Iterator[float]:
    """Rows and pairs of rows that this plan node and its children read and discarded."""
    for name, amount in node.items():
        if name.startswith("Rows Removed by"):
            yield amount * node["Actual Loops"]
    for one in node.get("Plans", ()):
        yield from dismissed(one)


async def work_of(app: FastAPI, session: AsyncSession, does: Any) -> int:
    """The number of rows that the statements of `does` read and discarded; its changes are rolled back."""
    with statements(app.state.runtime.engine) as sent:
        async with session.begin_nested() as attempt:
            await does()
            await attempt.rollback()
    connection = await session.connection()
    total = 0.0
    for statement, parameters in sent:
        if statement.startswith(("SELECT", "UPDATE", "INSERT")):
            found = await connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
            total += sum(dismissed(found.scalar_one()[0]["Plan"]))
    return round(total)


@pytest.mark.asyncio
async def test_changes_missing_in_an_approval_are_found_by_ids(app: FastAPI, church: Any) -> None:
    """Many shown changes became unnecessary, and as many records were touched: these are not compared pair by pair."""
    run_id = uuid4()
    context: Any = SimpleNamespace(run_id=run_id, organization_id="org-1")
    async with app.state.runtime.sessions() as session:
        for number in range(2 * MANY):
            touched = {"record_id": uuid4(), "pco_id": f"1{number}", "name": "", "outcome": "updated_there"}
            session.add(Change(organization_id="org-1", run_id=run_id, kind=MEMBER, **touched))
            shown = {"key": str(number), "outcome": "updated_there", "record_id": uuid4(), "pco_id": f"2{number}"}
            session.add(Shown(run_id=run_id, kind=MEMBER, **shown))
        await session.flush()
        await session.execute(text("ANALYZE change, shown"))
        work = await work_of(app, session, lambda: plan._vanished(session, context))
    assert work < FEW_LOOKS * 2 * MANY


@pytest.mark.asyncio
async def test_the_history_of_a_family_is_found_by_its_people(app: FastAPI, church: Any) -> None:
    family = (await church.call("POST", "/families", {"name": "Smith", "member_ids": []}, status=201))["id"]
    ann = (await church.add())["id"]
    async with app.state.runtime.sessions() as session:
        session.add(FamilyMember(family_id=UUID(family), member_id=UUID(ann), organization_id="org-1"))
        for _ in range(20 * MANY):
            values = {"cause": "run", "cause_id": uuid4(), "kind": MEMBER, "record_id": uuid4(), "field": "phone"}
            session.add(Effect(organization_id="org-1", **values, before="1", after="2", by="rule"))
        await session.flush()
        await session.execute(text("ANALYZE effect"))
        found = anything("org-1", Scope(FAMILY, UUID(family)), datetime.now(UTC) - timedelta(days=30))
        work = await work_of(app, session, lambda: session.execute(found))
    assert work < MANY
