"""A process executes a few runs at the same time, and none blocks the others."""

from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

import pytest
import pytest_asyncio
from sync_harness.site import Site
from sync_harness.stage import Stage, Staging

from people_sync.domain.sentences import WAITING_FOR_READS, waiting_for_mergers
from servicekit.testing import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")
LONG = 240


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def one_slot(staging: Staging) -> AsyncIterator[Stage]:
    """A stage with one slot, and a staleness horizon longer than a test."""
    async with staging("one-slot", copies=4, RUNS_AT_ONCE=1, PCO_STALENESS_HORIZON_SECONDS=120) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def four_slots(staging: Staging) -> AsyncIterator[Stage]:
    """A stage with four slots, and slow pushes."""
    async with staging("four-slots", copies=5, RUNS_AT_ONCE=4, PUSH_AT_ONCE=2) as made:
        yield made


async def lose_an_answer(site: Site) -> None:
    await site.add("Nina", "New")
    site.fault({"kind": "reset", "when": "after"}, method="POST", path="/people/v2/people$", times=1)


async def miss_somebody(site: Site) -> None:
    site.delete("Lee")
    await site.visible()


# Kind: a waiting run occupies a slot.
@pytest.mark.parametrize(
    ("story", "sentence"),
    [(lose_an_answer, WAITING_FOR_READS), (miss_somebody, waiting_for_mergers(120))],
    ids=["answer lost", "somebody missing"],
)
async def test_a_run_waiting_for_reads_takes_no_slot(
    one_slot: Stage, story: Callable[[Site], Awaitable[None]], sentence: str
) -> None:
    first, second = await one_slot.site(), await one_slot.site()
    await first.sync()
    await story(first)
    run_id = await first.start()
    waiting = await first.until(run_id, "waiting")
    assert waiting["progress"]["waiting_for"] == sentence
    job = "SELECT state, lease_owner FROM job WHERE id = $1"
    assert await first.database.fetch(job, UUID(run_id)) == [{"state": "waiting", "lease_owner": None}]
    await second.add("Nils", "New")
    await second.sync()
    assert len(second.people("Nils")) == 1
    assert (await first.run(run_id))["state"] == "waiting"
    await first.call("POST", f"/runs/{run_id}/stop")
    await first.until(run_id, "stopped")


# Kind: an earlier run keeps its slot for too long.
async def test_four_long_pushes_block_no_short_run(four_slots: Stage) -> None:
    *sites, short = [await four_slots.site() for _ in range(5)]
    for site in sites:
        await site.add_many(LONG)
        site.fault({"kind": "latency", "ms": 700}, method="POST", path="/people/v2/people$")
    long = {await site.start(): site for site in sites}

    async def all_push() -> bool:
        return all([(await site.run(run_id))["progress"]["phase"] == "push" for run_id, site in long.items()])

    await eventually(all_push)
    await short.add("Nils", "New")
    await short.sync()
    assert len(short.people("Nils")) == 1
    assert {(await site.run(run_id))["state"] for run_id, site in long.items()} <= {"queued", "running"}
    for run_id, site in long.items():
        assert len(site.people("Many")) < LONG
        await site.call("POST", f"/runs/{run_id}/stop")
    for run_id, site in long.items():
        await site.until(run_id, "stopped")
