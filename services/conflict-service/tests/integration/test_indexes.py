"""Indexes serve all pages, even with very many open conflicts."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from conflict_service.storage import queries
from contracts.http.conflicts import ConflictFilter, ConflictState
from servicekit.testing import Databases, statements

MANY = 20_000
_FILL = """
    INSERT INTO conflict (
        organization_id, id, record, family_ids, fields, state, source_version, version, opened_at, updated_at,
        together, placed_at
    )
    SELECT 'church', number::text, jsonb_build_object('id', 'member-' || number), '{}', '[]',
        CASE WHEN number % 3 = 0 THEN 'resolving' ELSE 'open' END, 1, 1,
        now() - number * interval '1 s', now(), 'member-' || number, now() - number * interval '1 s'
    FROM generate_series(1, :many) AS number
"""


@pytest.mark.parametrize(
    "wanted",
    [ConflictFilter(), ConflictFilter(field="phone"), ConflictFilter(child=True), ConflictFilter(older_than_days=7)],
)
async def test_open_conflicts_are_counted_in_their_index(databases: Databases, wanted: ConflictFilter) -> None:
    """A generic plan only knows a state that is a literal in the statement."""
    engine = create_async_engine(await databases.create("conflict_service"))
    async with AsyncSession(engine) as session:
        await session.execute(text(_FILL), {"many": MANY})
        await session.execute(text("ANALYZE conflict"))
        with statements(engine) as sent:
            await queries.count(session, "church", state="open", wanted=wanted)
        [(statement, values)] = sent
        connection: Any = (await (await session.connection()).get_raw_connection()).driver_connection
        await connection.execute(f"PREPARE counted AS {statement}")
        await connection.execute("SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off")
        given = ", ".join("'{phone}'" if isinstance(value, list) else f"'{value}'" for value in values)
        plan = await connection.fetch(f"EXPLAIN EXECUTE counted ({given})")
        assert any("ix_conflict_count" in line for (line,) in plan), plan
        assert not any("Filter" in line and "now()" in line for (line,) in plan), "computed for each row"
    await engine.dispose()


@pytest.mark.parametrize("state", ["open", "resolving"])
async def test_the_conflict_of_a_record(databases: Databases, state: ConflictState) -> None:
    """Most records have none, which must not need a scan, in a custom plan or a generic one."""
    engine = create_async_engine(await databases.create("conflict_service"))
    async with AsyncSession(engine) as session:
        await session.execute(text(_FILL), {"many": MANY})
        await session.execute(text("ANALYZE conflict"))
        asked: dict[str, Any] = {"state": state, "wanted": ConflictFilter(record_id="nobody")}
        with statements(engine) as sent:
            await queries.page(session, "church", **asked, by=queries.ANYBODY, after=None, limit=1)
            await queries.count(session, "church", **asked)
        assert len(sent) == 2
        connection: Any = (await (await session.connection()).get_raw_connection()).driver_connection
        for number, (statement, values) in enumerate(sent):
            await connection.execute(f"PREPARE asked_{number} AS {statement}")
            given = ", ".join(f"'{value}'" for value in values)
            for plans in ("custom", "generic"):
                await connection.execute(f"SET plan_cache_mode = force_{plans}_plan")
                plan = await connection.fetch(f"EXPLAIN EXECUTE asked_{number} ({given})")
                assert any("ix_conflict_record" in line for (line,) in plan), plan
    await engine.dispose()
