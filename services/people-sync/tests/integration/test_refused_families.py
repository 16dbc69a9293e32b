"""Refusals of a family's parts: each concerns one part, whose announcement is withdrawn and never believed."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import pytest
from sync_harness.site import Site

from servicekit.testing import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")
BAKERS: Final = "Baker Household"
Refuse = Callable[[Site], str]


def refuse_name(site: Site) -> str:
    """Planning Center refuses to rename households."""
    return site.control.refuse("name", "validation", organization_id=site.church.id)


def refuse_cora(site: Site) -> str:
    """Planning Center refuses to add Cora to a household."""
    value = f'"{site.person("Cora")["id"]}"'
    return site.control.refuse("person", "validation", value=value, organization_id=site.church.id)


def refuse_leaving(site: Site) -> str:
    """Planning Center refuses to remove Bea from a household."""
    (row,) = [one for one in site.rows("HouseholdMembership") if one["person_id"] == int(site.person("Bea")["id"])]
    refusal = {"kind": "respond", "status": 422, "title": "Validation Error", "detail": "is invalid"}
    return site.fault(refusal, method="DELETE", path=f"/household_memberships/{row['id']}$")


async def edit(site: Site, family: dict[str, Any], **values: Any) -> None:
    """An admin changes a family."""
    await site.call("PATCH", f"/families/{family['id']}", values)


async def ids(site: Site, *first_names: str) -> list[str]:
    return [str((await site.member(name))["id"]) for name in first_names]


async def sync_one(site: Site, family: dict[str, Any]) -> dict[str, Any]:
    """Sync this family now, and wait for the end."""
    asked = await site.call("POST", f"/families/{family['id']}/sync", status=202)

    async def ended() -> dict[str, Any] | None:
        (row,) = await site.database.fetch("SELECT * FROM refresh WHERE id::text = $1", asked["id"])
        return row if row["state"] == "done" else None

    found: dict[str, Any] = await eventually(ended, every=0.1)
    return found


# Kind: a write's stored effect is lost, or wrongly believed, after a refusal of another part.
@pytest.mark.parametrize("rounds", [1, 2])
@pytest.mark.parametrize(
    ("refuse", "there"),
    [(refuse_name, (BAKERS, ["Bea", "Bruno", "Cora"])), (refuse_cora, ("The Bakers", ["Bea", "Bruno"]))],
)
async def test_a_refused_part_leaves_no_memory_that_overwrites(
    site: Site, refuse: Refuse, there: tuple[str, list[str]], rounds: int
) -> None:
    """A1, for families: a rename and a join, one of them refused, and both reverted here."""
    await site.sync()
    family = await site.family_of(BAKERS)
    before = await site.database.value("SELECT max(id) FROM effect WHERE record_id = $1", family["id"])
    refusal = refuse(site)
    await edit(site, family, name="The Bakers", member_ids=await ids(site, "Bruno", "Bea", "Cora"))
    for number in range(rounds):
        if number:
            await site.believable()
        assert (await site.sync())["counts"]["rejected"] == 1
    assert site.household(there[0]) == there[1]
    await edit(site, family, name=BAKERS, member_ids=await ids(site, "Bruno", "Bea"))
    await site.sync()
    site.control.remove_fault(refusal)
    await site.believable()
    await site.sync()
    assert (await site.family_of(BAKERS))["id"] == family["id"]
    assert await site.members_of(BAKERS) == site.household(BAKERS) == ["Bea", "Bruno"]
    taken = await site.database.fetch(
        "SELECT * FROM effect WHERE record_id = $1 AND id > $2 AND side = 'here' AND by = 'planning_center'",
        family["id"],
        before,
    )
    assert taken == []
    await site.believable()
    mark = site.mark()
    assert (await site.sync())["counts"].keys() <= {"unchanged"}
    assert site.journal(mark, writes=True) == []


# Kind: one refused part ends the others.
@pytest.mark.parametrize(
    ("refuse", "there", "about"),
    [
        (refuse_name, (BAKERS, ["Bruno", "Carl", "Cora"]), "name"),
        (refuse_cora, ("The Bakers", ["Bruno", "Carl"]), "person"),
        (refuse_leaving, ("The Bakers", ["Bea", "Bruno", "Carl", "Cora"]), ""),
    ],
)
async def test_a_refused_part_blocks_no_other_part(
    site: Site, refuse: Refuse, there: tuple[str, list[str]], about: str
) -> None:
    """B6, for families."""
    await site.sync()
    family = await site.family_of(BAKERS)
    refusal = refuse(site)
    wanted = ["Bruno", "Carl", "Cora"]
    await edit(site, family, name="The Bakers", member_ids=await ids(site, *wanted))
    run = await site.sync()
    assert run["counts"]["rejected"] == 1
    (item,) = await site.items(run["id"], "rejected")
    assert item["name"] in {"The Bakers", BAKERS}
    assert about in item["sentence"]
    assert site.household(there[0]) == there[1]
    site.control.remove_fault(refusal)
    await site.believable()
    mark = site.mark()
    assert (await site.sync())["counts"]["updated_there"] == 1
    assert len(site.journal(mark, writes=True)) == 1, "what was taken is sent again"
    assert site.household("The Bakers") == await site.members_of("The Bakers") == wanted


# Kind: a note of a write that Planning Center refused is believed.
@pytest.mark.parametrize("way", ["run", "one"])
@pytest.mark.parametrize(
    ("refuse", "values", "corrected", "there"),
    [
        (refuse_name, {"name": "The Bakers"}, {"name": "Bakers"}, ("Bakers", ["Bea", "Bruno"])),
        (refuse_cora, {"member_ids": ["Bruno", "Bea", "Cora"]}, {}, (BAKERS, ["Bea", "Bruno", "Cora"])),
        (refuse_leaving, {"member_ids": ["Bruno"]}, {}, (BAKERS, ["Bruno"])),
    ],
)
async def test_a_correction_is_sent_at_once(
    site: Site,
    refuse: Refuse,
    values: dict[str, Any],
    corrected: dict[str, Any],
    there: tuple[str, list[str]],
    way: str,
) -> None:
    """B7, for families: a definite refusal withdraws the announcement."""
    await site.sync()
    await site.believable()
    family = await site.family_of(BAKERS)
    refusal = refuse(site)
    if "member_ids" in values:
        values = {"member_ids": await ids(site, *values["member_ids"])}
    await edit(site, family, **values)
    assert (await sync_one(site, family))["outcome"] == "rejected"
    site.control.remove_fault(refusal)
    if corrected:
        await edit(site, family, **corrected)
    if way == "one":
        end = await sync_one(site, family)
        # No later sync of the family was needed.
        assert (end["outcome"], end["tries"]) == ("updated_there", 1)
    else:
        run = await site.sync()
        assert run["counts"].keys() <= {"unchanged", "updated_there"}, await site.items(run["id"])
        assert run["counts"]["updated_there"] == 1
    assert site.household(there[0]) == there[1]


# Kind: a note of a write that Planning Center refused is believed.
async def test_a_refused_household_is_created_once_corrected(site: Site) -> None:
    """B7, for a family that is not there yet."""
    await site.sync()
    await site.add("Nora", "New", email="nora@example.org")
    refusal = refuse_name(site)
    family = {"id": await site.family("News", *await ids(site, "Nora"))}
    assert (await site.sync())["counts"]["rejected"] == 1
    site.control.remove_fault(refusal)
    await edit(site, family, name="The News")
    assert (await sync_one(site, family))["outcome"] == "created_there"
    assert site.household("The News") == ["Nora"]
    assert [row["name"] for row in site.rows("Household") if "News" in row["name"]] == ["The News"]


# Kind: the outcome of an earlier try is lost.
async def test_the_outcome_of_an_earlier_try_is_reported(site: Site) -> None:
    await site.sync()
    await site.add("Nora", "New", email="nora@example.org")
    await site.sync()
    await site.believable()
    family = {"id": await site.family("News", *await ids(site, "Nora"))}
    nora = site.person("Nora")["id"]
    lacking = site.fault({"kind": "omit", "type": "Person", "id": nora, "attribute": "birthdate"}, method="GET")
    ending = asyncio.create_task(sync_one(site, family))
    await eventually(lambda: "News" in [row["name"] for row in site.rows("Household")])
    site.control.remove_fault(lacking)
    end = await ending
    assert (end["outcome"], end["sentence"]) == ("created_there", "Added in Planning Center.")


# Kind: parts of a change are sent in an impossible order.
async def test_a_joining_member_can_become_primary_contact_at_once(site: Site) -> None:
    await site.sync()
    family = await site.family_of(BAKERS)
    (cora,) = await ids(site, "Cora")
    await edit(site, family, member_ids=await ids(site, "Bea", "Cora"), primary_contact_id=cora)
    run = await site.sync()
    assert "rejected" not in run["counts"], await site.items(run["id"], "rejected")
    (household,) = [row for row in site.rows("Household") if row["name"] == BAKERS]
    assert str(household["primary_contact_id"]) == site.person("Cora")["id"]
    assert site.household(BAKERS) == ["Bea", "Cora"]
    await site.believable()
    assert (await site.sync())["counts"].keys() <= {"unchanged"}
