"""Records postponed by a run are synced by themselves once they can be decided, not only by the next run."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sync_harness.site import Site

from servicekit.testing import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def refreshes(site: Site) -> list[dict[str, Any]]:
    query = "SELECT * FROM refresh WHERE organization_id = $1 ORDER BY requested_at"
    return await site.database.fetch(query, site.organization_id)


async def test_an_incomplete_read_is_completed_without_another_run(site: Site) -> None:
    await site.sync()
    bea = await site.member("Bea")
    site.edit("Bea", last_name="Bakerson")
    await site.visible()
    id_ = site.person("Bea")["id"]
    lacking = site.fault({"kind": "omit", "type": "Person", "id": str(id_), "attribute": "birthdate"}, method="GET")
    run = await site.sync()
    (left,) = await refreshes(site)
    assert (left["record_id"], left["reasons"], left["urgent"]) == (bea["id"], ["incomplete"], False)
    assert left["not_before"] > left["requested_at"] - timedelta(seconds=site.horizon_seconds)
    assert (await site.member("Bea"))["last_name"] != "Bakerson"
    site.control.remove_fault(lacking)

    async def arrived() -> bool:
        return bool((await site.member("Bea"))["last_name"] == "Bakerson")

    await eventually(arrived)
    (newest, *_) = (await site.call("GET", "/runs"))["items"]
    assert newest["id"] == run["id"]

    async def told() -> dict[str, Any] | None:
        found: dict[str, Any] = await site.call("GET", f"/syncs/{left['id']}")
        return found if found["state"] == "done" else None

    assert (await eventually(told))["reasons"] == ["incomplete"]


async def test_an_impossible_value_waits_for_its_correction(site: Site) -> None:
    await site.sync()
    site.control.set_raw(site.church.id, "Person", str(site.person("Bea")["id"]), birthdate="0000-00-00")
    await site.visible()
    await site.sync()
    assert await refreshes(site) == []


async def test_a_request_with_a_lost_answer_is_looked_for(site: Site) -> None:
    """For a record that no run would reach."""
    await site.sync()
    alan = await site.member("Alan")
    await site.database.fetch(
        """
        INSERT INTO creation (organization_id, pco_organization_id, kind, record_id, of_record, state, content,
                              sent_at, look_after)
        SELECT organization_id, pco_organization_id, 'email', $2, $2, 'sent', '{}', now(), now() + interval '3 s'
        FROM connection WHERE organization_id = $1
        """,
        site.organization_id,
        UUID(str(alan["id"])),
    )
    await site.sync()
    (left,) = await refreshes(site)
    assert (left["record_id"], left["reasons"], left["urgent"]) == (alan["id"], ["unanswered"], False)
    look_after = await site.database.value("SELECT look_after FROM creation WHERE record_id = $1", alan["id"])
    assert left["not_before"] >= min(look_after, left["requested_at"])

    async def looked() -> bool:
        (row,) = await refreshes(site)
        return bool(row["state"] == "done")

    await eventually(looked)


async def test_a_family_asks_for_its_household_once_before_it_decides(site: Site) -> None:
    await site.sync()
    await site.believable()
    family = await site.family_of("Clark Household")
    mark = site.mark()
    asked = await site.call("POST", f"/families/{family['id']}/sync", status=202)

    async def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = await site.call("GET", f"/syncs/{asked['id']}")
        return found if found["state"] == "done" else None

    end = await eventually(ended)
    assert (end["outcome"], end["reasons"]) == ("unchanged", ["asked"])
    reads = [entry["path"] for entry in site.journal(mark) if "/households/" in entry["path"]]
    assert len(reads) <= 2, reads
