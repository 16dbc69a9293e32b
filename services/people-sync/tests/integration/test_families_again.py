"""Families that must not be doubled in Planning Center: deleted and added again, or added there during a run."""

import pytest
from sync_harness.site import Site
from sync_harness.stage import Stage

from servicekit.testing import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


def households_of(site: Site, *first_names: str) -> list[str]:
    """Names of the households with one of these people."""
    people = {int(site.person(name)["id"]) for name in first_names}
    of_them = {row["household_id"] for row in site.rows("HouseholdMembership") if row["person_id"] in people}
    return sorted(row["name"] for row in site.rows("Household") if int(row["id"]) in of_them)


# Kind: a deleted record's counterpart counts as unlinked.
@pytest.mark.parametrize("between", [True, False])
@pytest.mark.parametrize(("name", "who"), [("Baker Household", ["Bruno", "Bea"]), ("The Bakers", ["Bruno", "Bea"])])
async def test_deleted_here_and_added_again_is_the_same_household(
    site: Site, name: str, who: list[str], *, between: bool
) -> None:
    """B9, for families: also under another name, with all the same people."""
    await site.settings(first_match="planning_center")
    await site.sync()
    family = await site.family_of("Baker Household")
    members = [str((await site.member(one))["id"]) for one in who]
    assert await site.members_of("Baker Household") == sorted(who)
    await site.call("DELETE", f"/families/{family['id']}", status=204)
    if between:
        await site.sync()
    added = await site.family(name, *members)
    run = await site.sync()
    # An equal family is linked as agreed; otherwise nothing is agreed, and the next run compares.
    outcome = "linked" if name == "Baker Household" else "later"
    assert [item["record_id"] for item in await site.items(run["id"], outcome)] == [added]
    await site.believable()
    await site.sync()
    assert households_of(site, *who) == ["Baker Household"]
    assert await site.members_of("Baker Household") == sorted(who)
    (link,) = await site.database.fetch("SELECT * FROM link WHERE record_id::text = $1", added)
    assert link["state"] == "linked"
    assert (await site.sync())["counts"].keys() <= {"unchanged"}


# Kind: an outdated plan is carried out.
async def test_a_household_added_there_during_a_run_is_linked_to_the_family(site: Site, stage: Stage) -> None:
    """A7, for households: the people were created long before the family's turn."""
    await site.sync()
    members = [await site.add(name, "New", email=f"{name.lower()}@example.org") for name in ("Nora", "Nils")]
    await site.family("New", *members)
    stage.grant(site).usable = True
    site.fault({"kind": "end_token", "op": "revoke", "which": "both"}, method="POST", path="/people/v2/households$")
    run_id = await site.start()

    async def reconnect_needed() -> bool:
        run = await site.run(run_id)
        return run["state"] == "waiting" and "reconnect Planning Center" in run["progress"]["waiting_for"]

    await eventually(reconnect_needed)
    people = [site.person(name)["id"] for name in ("Nora", "Nils")]
    await site.believable()
    site.control.create_household(site.church.id, "The News", *people)
    await site.visible()
    grant = stage.grant(site)
    grant.token, grant.generation = site.church.tokens[1], 2
    await stage.authorized(site, version=2)
    await site.until(run_id, "done", within=120)
    assert households_of(site, "Nora", "Nils") == ["The News"]
    await site.believable()
    await site.sync()
    assert len(households_of(site, "Nora", "Nils")) == 1


# Kind: the outcome depends on the time of a read.
@pytest.mark.parametrize("looked", ["never", "between", "alone"])
@pytest.mark.parametrize("kind", ["full", "incremental"])
async def test_deleted_there_and_added_again_is_the_same_family(site: Site, looked: str, kind: str) -> None:
    """B10, for households."""
    await site.sync()
    await site.believable()
    family = await site.family_of("Baker Household")
    (old,) = [row["id"] for row in site.rows("Household") if row["name"] == "Baker Household"]
    site.mutate({"op": "delete", "type": "Household", "id": old})
    await site.visible()
    if looked == "between":
        await site.sync()
    elif looked == "alone":
        await site.call("POST", f"/families/{family['id']}/sync", status=202)

        async def gone() -> bool:
            link = "SELECT state FROM link WHERE record_id = $1"
            return bool(await site.database.value(link, family["id"]) == "gone")

        await eventually(gone)
    people = [str(site.person(name)["id"]) for name in ("Bruno", "Bea")]
    attributes = {"name": "Baker Household", "person_ids": people}
    (made,) = site.mutate({"op": "create", "type": "Household", "attributes": attributes})
    await site.visible()
    run = await site.sync(kind)
    assert run["counts"].keys().isdisjoint({"created_here", "gone"}), run
    await site.believable()
    await site.sync()
    (link,) = await site.database.fetch("SELECT * FROM link WHERE record_id = $1", family["id"])
    assert (link["state"], link["pco_id"]) == ("linked", made["id"])
    assert (await site.family_of("Baker Household"))["id"] == family["id"]
    assert await site.members_of("Baker Household") == ["Bea", "Bruno"]
    assert households_of(site, "Bruno", "Bea") == ["Baker Household"]
    await site.believable()
    mark = site.mark()
    assert (await site.sync())["counts"].keys() <= {"unchanged"}
    assert site.journal(mark, writes=True) == []
