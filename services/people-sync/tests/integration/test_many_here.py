"""Many members who are only here are planned in batches, each in its own transaction."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from sync_harness.site import Site
from sync_harness.stage import Stage, Staging

from servicekit.testing import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")
MANY = 5_000
BATCH = 2_000


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(staging: Staging) -> AsyncIterator[Stage]:
    """A stage of its own, because a test leaves thousands of members."""
    async with staging("many", copies=1) as made:
        yield made


# Kind: one transaction grows with the church.
async def test_a_process_killed_while_planning_leaves_a_part(site: Site, stage: Stage) -> None:
    """A14: the next process continues after it, and plans everybody exactly once."""
    await site.add("Alan", "Abbot", email="alan@example.org", phone="(212) 555-0199")  # the first match is asked about
    await site.add_many(MANY)
    unplanned = "SELECT id FROM member WHERE organization_id = $1 AND first_name = 'Many' ORDER BY id"
    everybody = [row["id"] for row in await site.database.fetch(unplanned, site.organization_id)]
    planned = "SELECT id, record_id FROM change WHERE run_id = $1 AND outcome = 'created_there' ORDER BY id"
    of_third = (
        "INSERT INTO change (organization_id, run_id, kind, record_id, name, here, there, outcome)"
        " VALUES ($1, $2, 'member', $3, 'Many', 'none', 'none', 'later')"
    )

    async def in_the_pull(connection: Any) -> UUID:
        await connection.execute("SELECT 1 FROM connection WHERE organization_id = $1 FOR UPDATE", site.organization_id)
        run_id = await site.start()
        await site.waits()
        return UUID(run_id)

    async with site.database.connection() as holder, site.database.connection() as planner, planner.transaction():
        async with holder.transaction():
            run_id = await in_the_pull(holder)
            await planner.execute(of_third, site.organization_id, run_id, everybody[-1])

        async def begun() -> list[dict[str, Any]] | None:
            found = await site.database.fetch(planned, run_id)
            return found if len(found) >= 2 * BATCH - 1 else None  # Alan is planned already, and may be among them

        before = await eventually(begun, within=60)
        await site.waits()
        await stage.service.kill()
        await planner.execute("DELETE FROM change WHERE run_id = $1 AND record_id = $2", run_id, everybody[-1])
    await stage.service.start()
    run = await site.until(str(run_id), "waiting")
    assert run["question"]["kind"] == "first_match"
    after = await site.database.fetch(planned, run_id)
    assert after[: len(before)] == before
    assert sorted(row["record_id"] for row in after) == everybody
    await site.call("POST", f"/runs/{run_id}/stop")
