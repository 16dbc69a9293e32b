"""A person deleted on both sides is over: no question and no other person waits for them."""

import pytest
from sync_harness.site import Site

pytestmark = pytest.mark.asyncio(loop_scope="session")


# Kind: a finished record is never closed.
@pytest.mark.parametrize("kind", ["full", "incremental"])
@pytest.mark.parametrize("between", ["nothing", "full", "incremental"])
async def test_a_member_added_again_here_is_created_there(site: Site, between: str, kind: str) -> None:
    await site.sync()
    await site.believable()
    await site.remove("Lee")
    site.delete("Lee")
    await site.visible()
    if between != "nothing":
        await site.sync(between)
    lee = await site.add("Lee", "Lane", email="lee@example.org")
    run = await site.sync(kind)
    assert [item["record_id"] for item in await site.items(run["id"], "created_there")] == [lee]
    assert "gone" not in run["counts"]
    (link,) = await site.database.fetch("SELECT * FROM link WHERE record_id::text = $1", lee)
    assert (link["state"], link["pco_id"]) == ("linked", str(site.person("Lee")["id"]))
    await site.believable()
    assert (await site.sync())["counts"].keys() <= {"unchanged"}
    assert len(site.people("Lee")) == 1


# Kind: a finished record is never closed.
async def test_records_deleted_on_both_sides_are_neither_read_nor_listed(site: Site) -> None:
    await site.sync()
    await site.believable()
    lee, family = await site.member("Lee"), await site.family_of("Clark Household")
    (household,) = [str(row["id"]) for row in site.rows("Household") if row["name"] == "Clark Household"]
    gone = {str(site.person("Lee")["id"]), household}
    await site.remove("Lee")
    await site.call("DELETE", f"/families/{family['id']}", status=204)
    site.delete("Lee")
    site.mutate({"op": "delete", "type": "Household", "id": household})
    await site.visible()
    await site.settings(threshold_percent=1, threshold_minimum=1)
    run = await site.sync()
    assert run["counts"].keys() <= {"unchanged"}
    records = [lee["id"], family["id"]]
    links = await site.database.fetch("SELECT * FROM link WHERE record_id = ANY($1)", records)
    assert [(link["state"], link["missing_since"]) for link in links] == [("gone", None)] * 2
    told = await site.database.fetch(
        "SELECT * FROM effect WHERE record_id = ANY($1) AND field = 'planning_center_id' AND rule = 'gone'", records
    )
    assert {effect["before"] for effect in told} == gone
    for kind in ("incremental", "full"):
        mark = site.mark()
        await site.sync(kind)
        assert [entry["path"] for entry in site.journal(mark) if entry["path"].rsplit("/")[-1] in gone] == []
