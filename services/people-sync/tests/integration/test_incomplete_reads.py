"""An incomplete pull decides nothing about the missing data.

Every page fails in every way: once, so that the client retries at once, and for longer than the client retries, so that
the run waits or ends. Nobody is unlinked, deleted or made inactive, on either side.
"""

import asyncio
import random
import re
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import pytest_asyncio
from sync_harness.church import rows_of_many
from sync_harness.site import Site
from sync_harness.stage import Stage, Staging

from pco_client.walk import STEP
from servicekit.testing import eventually
from synckit.sentences import WAITING_FOR_VENDOR

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]
PAGES: Final = (0, 99, 198, 297)
"""Offsets of a church of 350."""
OUTAGES: Final[dict[str, dict[str, Any]]] = {
    "500": {"kind": "respond", "status": 500},
    "html": {"kind": "respond", "status": 502, "body": "html"},
    "html with 200": {"kind": "respond", "status": 200, "body": "html"},
    "cut off": {"kind": "truncate", "keep": 0.6},
    "cut json": {"kind": "truncate", "keep": 0.6, "mode": "length"},
    "reset": {"kind": "reset", "when": "after"},
    "timeout": {"kind": "hold", "when": "before"},
}
"""What the client repeats, and the run waits for when it lasts."""
NONSENSE: Final[dict[str, dict[str, Any]]] = {
    "empty body": {"kind": "respond", "status": 200, "body": "empty"},
    "errors with 200": {"kind": "respond", "status": 200, "body": "errors"},
}
"""Answers that look like success."""
PATIENCE_SECONDS: Final = 200.0
"""A busy machine may take this long; an idle one takes seconds."""
ATTEMPTS: Final = 5
"""Of the client, for a read."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(staging: Staging) -> AsyncIterator[Stage]:
    """A stage with churches of four pages."""
    async with staging("pages", rows=rows_of_many(350), copies=12) as made:
        yield made


def page(offset: int) -> dict[str, Any]:
    """Matches the reads of one page."""
    return {"method": "GET", "path": "^/people/v2/people$", "query": rf"(^|&)offset={offset}(&|$)"}


async def untouched(site: Site) -> list[Any]:
    """The data that no read may change: links, records, active status, effects; and Planning Center's side."""
    ours = await site.database.fetch(
        "SELECT (SELECT count(*) FROM link WHERE organization_id = $1 AND state = 'linked') AS linked,"
        "(SELECT count(*) FROM member WHERE organization_id = $1 AND deleted_at IS NULL AND active) AS members,"
        "(SELECT count(*) FROM family WHERE organization_id = $1 AND deleted_at IS NULL) AS families,"
        "(SELECT count(*) FROM family_member WHERE organization_id = $1) AS memberships,"
        "(SELECT count(*) FROM effect WHERE organization_id = $1) AS changes",
        site.organization_id,
    )
    return [*ours, site.control.truth(site.church.id)]


async def test_every_page_fails_once_in_every_way(site: Site) -> None:
    await site.sync()
    before = await untouched(site)
    ways = OUTAGES | NONSENSE | {"429": {"kind": "too_many_requests"}}
    for way, action in ways.items():
        mark = site.mark()
        faults = [site.fault(action, **page(offset), times=1) for offset in PAGES]
        run_id = await site.start()
        run = await site.until(run_id, "done", "failed")
        assert way in NONSENSE or run["state"] == "done", (way, run)
        assert run["counts"].keys() <= {"unchanged"}, (way, run)
        acted = [site.control.fault(fault)["acted"] for fault in faults]
        assert all(acted) or run["state"] == "failed", (way, acted)
        for fault in faults:
            site.control.remove_fault(fault)
        assert await untouched(site) == before, way
        assert site.journal(mark, writes=True) == [], way


async def test_every_page_fails_for_long_in_every_way(stage: Stage) -> None:
    """The run says that it waits, and continues from there: finished pages are not read again."""
    work = [(offset, way) for offset in PAGES for way in (*OUTAGES, *NONSENSE)]
    random.Random(1).shuffle(work)
    sites = [await stage.site() for _ in range(9)]
    await asyncio.gather(*(site.sync(within=200) for site in sites))

    async def one_after_the_other(site: Site, part: list[tuple[int, str]]) -> None:
        before = await untouched(site)
        for offset, way in part:
            await _fails_for_long(site, offset, way)
            assert await untouched(site) == before, (offset, way)

    await asyncio.gather(*(one_after_the_other(site, work[number::9]) for number, site in enumerate(sites)))


async def stored_pages(site: Site, run_id: str) -> set[int]:
    """Offsets of the stored pages, without one that was under way when the wait began."""
    query = "SELECT checkpoint -> 'pulled' -> 'position' -> 'ranges' FROM job WHERE id::text = $1"
    ranges = await site.database.value(query, run_id) or []
    return {STEP * number for start, end, *_ in ranges for number in range(start, end + 1)}


async def _fails_for_long(site: Site, offset: int, way: str) -> None:
    mark = site.mark()
    fault = site.fault((OUTAGES | NONSENSE)[way], **page(offset), times=ATTEMPTS)
    run_id = await site.start()
    stored: set[int] = set()
    if way in NONSENSE:
        run = await site.until(run_id, "failed", "done", "waiting")
        assert run["state"] != "done", (offset, way, run)
        site.control.remove_fault(fault)
        if run["state"] == "failed":
            assert "nothing more was decided" in run["message"]
            run_id = await site.start()
    else:

        async def says_so() -> bool:
            run = await site.run(run_id)
            assert run["state"] not in {"done", "failed"}, (offset, way, run)
            return bool(run["progress"]["waiting_for"] == WAITING_FOR_VENDOR)

        await eventually(says_so, within=PATIENCE_SECONDS, every=0.2)
        paused, stored = site.mark(), await stored_pages(site, run_id)
        site.control.remove_fault(fault)
    run = await site.until(run_id, "done", within=PATIENCE_SECONDS)
    assert run["counts"].keys() <= {"unchanged"}, (offset, way, run)
    if way in OUTAGES:
        served = {
            int(found[1])
            for entry in site.journal(paused)
            if entry["path"] == "/people/v2/people" and entry["status"] == 200 and not entry["faults"]
            if (found := re.search(r"(?:^|&)offset=(\d+)", entry["query"]))
        }
        assert offset not in stored
        assert served == set(PAGES) - stored, (offset, way, served, stored)
    assert site.journal(mark, writes=True) == []


async def test_a_large_church_read_over_a_bad_connection(staging: Staging) -> None:
    """Every fourth page fails, in a way drawn by seed."""
    async with staging("large", rows=rows_of_many(3000), copies=1) as stage:
        site = await stage.site()
        await site.sync(within=200)
        before = await untouched(site)
        draw = random.Random(5)
        faults = [
            site.fault(draw.choice(list(OUTAGES.values())), method="GET", path="^/people/v2/people$", nth=number)
            for number in draw.sample(range(1, 31), 8)
        ]
        run = await site.sync(within=200)
        assert run["counts"].keys() <= {"unchanged"}, run
        assert sum(site.control.fault(fault)["acted"] for fault in faults) == len(faults)
        assert await untouched(site) == before


async def test_an_edit_on_an_already_read_page_comes_with_the_next_run(site: Site) -> None:
    """The last page is seconds late; a person on an early page was edited before a person on the last one."""
    site.fault({"kind": "respond", "status": 503}, **page(PAGES[-1]), times=ATTEMPTS)
    run_id = await site.start()
    await site.until(run_id, "waiting")
    site.edit("First0", last_name="Early")
    await asyncio.sleep(site.horizon_seconds + 2)  # plus a second, the vendor's precision
    site.edit("First330", last_name="Late")
    await site.until(run_id, "done")
    await site.visible()
    await site.sync("incremental")
    assert (await site.member("First0"))["last_name"] == "Early"


# Kind: one bad record affects all.
async def test_a_person_who_is_never_complete_makes_no_run_a_full_one(site: Site) -> None:
    """A10: an incremental run reads only that person again."""
    await site.sync(within=PATIENCE_SECONDS)
    row = site.rows("Person")[0]
    site.control.omit(
        relationship="emails", type="Person", id=str(row["id"]), organization_id=site.church.id, method="GET"
    )
    site.mutate({"op": "edit", "id": row["id"], "attributes": {"last_name": "Incomplete"}})
    await site.visible()
    for _ in range(2):
        mark = site.control.mark()
        await site.sync("incremental", within=PATIENCE_SECONDS)
        reads = site.control.journal(after=mark, path="^/people/v2/people$")
        assert not [one for one in reads if "offset=" in one["query"] and "offset=0" not in one["query"]]
        assert site.control.journal(after=mark, path=f"^/people/v2/people/{row['id']}$")
