"""Families and households of which one side knows only a part: nobody joins, leaves or stands in for somebody else."""

from typing import Any

import pytest
from sync_harness.site import Site

from servicekit.testing import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

BAKERS = "Baker Household"


async def nothing_more(site: Site) -> None:
    await site.believable()
    mark = site.mark()
    assert (await site.sync())["counts"].keys() <= {"unchanged"}
    assert site.journal(mark, writes=True) == []


# --- added again there ------------------------------------------------------------------------------------------------


async def renamed_there_nobody_leaves(site: Site, bruno: dict[str, Any]) -> None:
    await site.believable()
    site.rename_household(BAKERS, "Bakers")
    await site.visible()
    await site.sync()
    await site.believable()
    await site.sync()
    assert (await site.member("Bruno"))["id"] == bruno["id"]
    assert await site.members_of("Bakers") == site.household("Bakers") == ["Bea", "Bruno"]
    await nothing_more(site)


# Kind: what was agreed of a former counterpart is taken for the new one's.
@pytest.mark.parametrize("between", [True, False])
@pytest.mark.parametrize("kind", ["full", "incremental"])
async def test_added_again_there_a_person_stays_in_the_family(site: Site, kind: str, *, between: bool) -> None:
    """B10: also when no sync saw that the person was gone."""
    await site.sync()
    bruno = await site.member("Bruno")
    site.delete("Bruno")
    await site.visible()
    if between:
        await site.sync()
    site.create("Bruno", "Baker", email="bruno@example.org")
    await site.visible()
    await site.sync(kind)
    await renamed_there_nobody_leaves(site, bruno)


# Kind: what was agreed of a former counterpart is taken for the new one's.
@pytest.mark.parametrize("how", ["one", "many"])
async def test_said_to_be_the_same_a_person_stays_in_the_family(site: Site, how: str) -> None:
    """B10: added again without what they are known by."""
    await site.sync()
    bruno = await site.member("Bruno")
    site.delete("Bruno")
    site.create("Bruno", "Baker")
    await site.visible()
    await site.sync("incremental")
    [held] = (await site.call("GET", "/held-matches"))["items"]
    state = "SELECT state FROM link WHERE record_id = $1"
    assert await site.database.value(state, bruno["id"]) == "missing"
    if how == "one":
        same = {"answer": "same", "member_id": str(bruno["id"]), "version": held["version"]}
        await site.call("POST", f"/held-matches/{held['id']}/answer", same)
    else:
        shown = await site.call("POST", "/held-matches/bulk", {"answer": "same"})
        await site.call("POST", f"/held-matches/bulk/{shown['id']}/answer", {"digest": shown["digest"]})

    async def tied() -> bool:
        return bool(await site.database.value(state, bruno["id"]) == "linked")

    await eventually(tied)
    await renamed_there_nobody_leaves(site, bruno)
