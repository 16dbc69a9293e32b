"""Two people-syncs on one database: each organization's run has one worker at a time, even if that one was paused."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from sync_harness.process import LEASE_SECONDS, Service, ports
from sync_harness.site import Site
from sync_harness.stage import Stage, Staging

from servicekit.testing import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")
NEW = 6


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(staging: Staging) -> AsyncIterator[Stage]:
    """A stage whose processes each take one run and one urgent run, so that more than two runs are spread over both."""
    async with staging("workers", RUNS_AT_ONCE=1) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def second(stage: Stage) -> AsyncIterator[Service]:
    """Another people-sync on the same database."""
    env = {**stage.service.env, **ports()}
    service = Service(env, stage.service.log.with_name("second.log"))
    yield await service.start()
    await service.stop()


async def with_work(site: Site) -> Site:
    """A site in sync, with members added here since."""
    await site.sync()
    for number in range(NEW):
        await site.add("New", f"Member{number}", email=f"new{number}@example.org")
    return site


def assert_once(site: Site) -> None:
    """Check that everybody exists once, with one e-mail each."""
    names = Counter(row["last_name"] for row in site.people("New"))
    assert names == {f"Member{number}": 1 for number in range(NEW)}
    emails = Counter(row["address"] for row in site.rows("Email") if row["address"].startswith("new"))
    assert emails == {f"new{number}@example.org": 1 for number in range(NEW)}


def claims(service: Service, run_id: str) -> int:
    """The number of claims of the run's job by a process."""
    return sum("job claimed" in line and f"job={run_id}" in line for line in service.log.read_text().splitlines())


async def test_organizations_at_the_same_time(stage: Stage, second: Service) -> None:
    sites = [await with_work(await stage.site()) for _ in range(4)]
    await asyncio.gather(*(site.sync() for site in sites))
    for site in sites:
        assert_once(site)
    organizations = [site.organization_id for site in sites]
    claims = [stage.service.log.read_text().count("job claimed"), second.log.read_text().count("job claimed")]
    assert all(claims), f"one worker did everything: {claims} for {organizations}"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("path", ["/people/v2/people$", "/emails$"])
async def test_worker_paused_past_its_lease_changes_nothing_any_more(
    stage: Stage, second: Service, when: str, path: str
) -> None:
    """SIGSTOP during a creating request, takeover by the other, SIGCONT: the fence holds."""
    site = await with_work(await stage.site())
    fault = site.fault({"kind": "hold", "when": when}, method="POST", path=path, nth=2)
    run_id = await site.start()
    await eventually(lambda: site.control.fault(fault)["holding"] == 1, every=0.02)
    owner = await site.database.value("SELECT lease_owner FROM job WHERE id = $1", UUID(run_id))
    paused = next(one for one in (stage.service, second) if f":{one.pid}:" in owner)
    awake = second if paused is stage.service else stage.service
    site.through(awake.base_url)
    paused.send(signal.SIGSTOP)
    try:
        site.control.release(fault)
        await site.until(run_id, "done", within=LEASE_SECONDS + 60)
    finally:
        paused.send(signal.SIGCONT)
    assert_once(site)
    # The successor gives the job back while reads are inconclusive, and claims it again; the other never does.
    fence = await site.database.value("SELECT fence FROM job WHERE id = $1", UUID(run_id))
    assert (claims(paused, run_id), claims(awake, run_id)) == (1, fence - 1)
    assert fence >= 2
    await eventually(lambda: "lease lost" in paused.log.read_text())
    versions = await site.database.fetch(
        "SELECT version, finished_at FROM run WHERE organization_id = $1 ORDER BY created_at", site.organization_id
    )
    again = await site.sync()
    assert again["counts"].keys() <= {"unchanged", "later"}
    assert (
        versions
        == (
            await site.database.fetch(
                "SELECT version, finished_at FROM run WHERE organization_id = $1 ORDER BY created_at",
                site.organization_id,
            )
        )[:2]
    )
    assert_once(site)


@pytest.mark.usefixtures("quiet")
async def test_a_resumed_run_does_not_restart_its_waits(stage: Stage) -> None:
    """Otherwise a run that often gives way would never postpone a record to the next run."""
    site = await stage.site()
    await site.sync()
    bruno = site.person("Bruno")["id"]
    path = f"/people/v2/people/{bruno}$"

    async def read_no_more() -> bool:
        # Every incremental run reads the newest change again, and those right before it.
        site.edit("Alan", nickname=str(uuid4())[:8])
        await site.visible()
        mark = site.control.mark()
        await site.sync("incremental")
        return not site.control.journal(after=mark, path=path)

    await eventually(read_no_more)
    incomplete = site.control.omit(
        relationship="emails", type="Person", id=bruno, organization_id=site.church.id, method="GET", path=path
    )
    await site.change("Bruno", last_name="Bakerson")

    def reads() -> int:
        return int(site.control.fault(incomplete)["acted"])

    mark = site.control.mark()
    run_id = await site.start("incremental")
    await eventually(lambda: reads() >= 4, within=90, every=0.3)
    await stage.service.kill()
    await stage.service.start()
    run = await site.until(run_id, "done", within=120)
    assert [item["name"] for item in await site.items(run_id, "later")] == ["Bruno Bakerson"]
    # After the run a refresh reads the record again; its reads do not count for the run.
    of_run = [one for one in site.control.journal(after=mark, path=path) if one["at"] < run["finished_at"]]
    assert len(of_run) <= 9, "seven times, and once or twice for the kill"
    site.control.remove_fault(incomplete)
