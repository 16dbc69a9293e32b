"""What somebody at a screen decides about one person is done at once: no run has to come."""

import pytest
from sync_harness.site import Site

from servicekit.testing import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

BAKERS = "Baker Household"


async def held_at_home(site: Site) -> tuple[str, int]:
    """Pam is in the Bakers' household, and may be the Pam here: the held match, and its version."""
    await site.sync()
    await site.settings(first_match="ours")
    await site.add("Pam", "Baker", email="pam.here@example.org")
    (home,) = [row["id"] for row in site.rows("Household") if row["name"] == BAKERS]
    pam = site.create("Pam", "Baker", email="pam.there@example.org")
    site.control.move_person(site.church.id, pam, home)
    await site.visible()
    await site.sync()
    (row,) = (await site.call("GET", "/held-matches"))["items"]
    assert await site.members_of(BAKERS) == ["Bea", "Bruno"]
    return row["id"], row["version"]


async def runs(site: Site) -> int:
    return int(await site.database.value("SELECT count(*) FROM run WHERE organization_id = $1", site.organization_id))


# Kind: a decision is carried out in part, and the rest waits for a run that nobody announces.
async def test_the_same_person_joins_the_family_of_their_household(site: Site) -> None:
    held_id, version = await held_at_home(site)
    before = await runs(site)
    body = {"answer": "same", "member_id": str((await site.member("Pam"))["id"]), "version": version}
    await site.call("POST", f"/held-matches/{held_id}/answer", body)

    async def at_home() -> bool:
        return await site.members_of(BAKERS) == ["Bea", "Bruno", "Pam"]

    await eventually(at_home)
    assert await runs(site) == before


# Kind: the same.
async def test_different_people_are_both_there_at_once(site: Site) -> None:
    held_id, version = await held_at_home(site)
    before = await runs(site)
    await site.call("POST", f"/held-matches/{held_id}/answer", {"answer": "different", "version": version})

    async def both() -> bool:
        return len(await site.members("Pam")) == len(site.people("Pam")) == 2

    await eventually(both)
    assert await runs(site) == before
    await site.believable()
    await site.sync()
    assert len(await site.members("Pam")) == len(site.people("Pam")) == 2


# Kind: the same.
async def test_whoever_is_created_again_is_in_their_household(site: Site) -> None:
    await site.sync()
    site.delete("Bea")
    await site.visible()
    await site.believable()
    await site.sync()
    bea = (await site.member("Bea"))["id"]

    async def gone() -> bool:
        await site.sync()
        state = "SELECT state FROM link WHERE record_id = $1"
        return bool(await site.database.value(state, bea) == "gone")

    await eventually(gone)
    before = await runs(site)
    await site.call("POST", f"/members/{bea}/create-again")
    await eventually(lambda: site.household(BAKERS) == ["Bea", "Bruno"])
    assert await runs(site) == before
