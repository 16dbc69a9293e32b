"""A run that ends during its push reports finished changes as done, and the rest as not done."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from sync_harness.site import Site
from sync_harness.stage import Stage, Staging

from servicekit.testing import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")
NEW = 60
_POST_PEOPLE = {"method": "POST", "path": "/people/v2/people$"}


async def role_is_lost(site: Site) -> dict[str, Any]:
    role = {"people_permissions": "Viewer", "site_administrator": False}
    viewer = {"op": "edit", "id": site.church.admin_id, "attributes": role}
    site.fault({"kind": "mutate", "mutations": [viewer]}, **_POST_PEOPLE, nth=10)
    return await site.until(await site.start(), "failed")


async def stopped(site: Site) -> dict[str, Any]:
    site.fault({"kind": "latency", "ms": 500}, **_POST_PEOPLE)
    run_id = await site.start()
    await eventually(lambda: site.people("New"), within=60)
    await site.call("POST", f"/runs/{run_id}/stop")
    return await site.until(run_id, "stopped")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(staging: Staging) -> AsyncIterator[Stage]:
    """A stage whose requests never time out, however busy the machine is."""
    async with staging("early", copies=2, PCO_REQUEST_TIMEOUT_SECONDS=20, JOB_LEASE_SECONDS=30) as made:
        yield made


# Kind: planned changes are reported as done.
@pytest.mark.parametrize("end", [role_is_lost, stopped])
async def test_unfinished_changes_are_reported_as_not_done(
    site: Site, end: Callable[[Site], Awaitable[dict[str, Any]]]
) -> None:
    await site.sync()
    ids = [await site.add("New", f"Person{number}") for number in range(NEW)]
    await site.family("New Household", *ids[:2])
    run = await end(site)
    items = await site.items(run["id"])
    names: dict[str, set[str]] = {}
    for item in items:
        names.setdefault(item["outcome"], set()).add(item["name"])
    there = {f"New {row['last_name']}" for row in site.people("New")}
    everybody = {f"New Person{number}" for number in range(NEW)} | {"New Household"}
    assert 0 < len(there) < NEW
    # A read that does not show the lost role yet treats the refusal as one record's.
    refused = names.pop("rejected", set())
    assert names == {"created_there": there, "not_done": everybody - there - refused}
    assert len(items) == NEW + 1
    assert run["counts"] == Counter(item["outcome"] for item in items)
    assert (run["progress"]["done"], run["progress"]["total"]) == (len(there | refused), NEW + 1)
    for outcome, number in run["counts"].items():
        page = await site.call("GET", f"/runs/{run['id']}/items?outcome={outcome}&limit=1")
        assert page["total"] == number
