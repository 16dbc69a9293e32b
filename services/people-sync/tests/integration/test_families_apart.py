"""Families and households partly unknown to one side: nobody joins, leaves or replaces somebody else."""

from typing import Any

import pytest
from sync_harness.site import Site

from servicekit.testing import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

BAKERS = "Baker Household"


def household_id(site: Site, name: str) -> str:
    (row,) = [row for row in site.rows("Household") if row["name"] == name]
    return str(row["id"])


def primary_there(site: Site, name: str) -> str:
    """First name of a household's primary contact."""
    (id_,) = [str(row["primary_contact_id"]) for row in site.rows("Household") if row["name"] == name]
    (person,) = [row for row in site.rows("Person") if row["id"] == id_]
    return str(person["first_name"])


async def primary_here(site: Site, name: str) -> str:
    """First name of a family's primary contact."""
    id_ = (await site.family_of(name))["primary_contact_id"]
    return str(await site.database.value("SELECT first_name FROM member WHERE id = $1", id_))


def make_primary_there(site: Site, household: str, first_name: str) -> None:
    """Somebody at Planning Center chooses another primary contact."""
    attributes = {"primary_contact_id": site.person(first_name)["id"]}
    site.mutate({"op": "edit", "type": "Household", "id": household_id(site, household), "attributes": attributes})


async def homes_here(site: Site, first_name: str) -> list[tuple[str, list[str]]]:
    """The families of a member, each with its people."""
    rows = await site.database.fetch(
        "SELECT family.name, array_agg(other.first_name ORDER BY other.first_name) AS people FROM family"
        " JOIN family_member one ON one.family_id = family.id"
        " JOIN family_member each ON each.family_id = family.id JOIN member other ON other.id = each.member_id"
        " WHERE one.member_id = $1 AND family.deleted_at IS NULL GROUP BY family.id",
        (await site.member(first_name))["id"],
    )
    return sorted((row["name"], row["people"]) for row in rows)


def homes_there(site: Site, first_name: str) -> list[tuple[str, list[str]]]:
    """The households of a person, each with its people."""
    names = {int(row["id"]): row["first_name"] for row in site.rows("Person")}
    people: dict[int, list[str]] = {}
    for row in site.rows("HouseholdMembership"):
        people.setdefault(row["household_id"], []).append(names[row["person_id"]])
    homes = [(row["name"], sorted(people.get(int(row["id"]), []))) for row in site.rows("Household")]
    return sorted(home for home in homes if first_name in home[1])


async def nothing_more(site: Site) -> None:
    await site.believable()
    mark = site.mark()
    assert (await site.sync())["counts"].keys() <= {"unchanged"}
    assert site.journal(mark, writes=True) == []


# --- which family is which household ----------------------------------------------------------------------------------


# Kind: one common person merges two families.
async def test_a_couple_is_not_the_household_of_his_parents(site: Site) -> None:
    await site.settings(first_match="planning_center")
    await site.sync()
    await site.believable()
    await site.family("Youngs", str((await site.member("Max"))["id"]), await site.add("Nora", "Young"))
    people = [str(site.person(name)["id"]) for name in ("Ned", "Lee", "Max")]
    site.mutate({"op": "create", "type": "Household", "attributes": {"name": "Elders", "person_ids": people}})
    await site.visible()
    await site.sync()
    await site.believable()
    await site.sync()
    apart = [("Elders", ["Lee", "Max", "Ned"]), ("Youngs", ["Max", "Nora"])]
    assert await homes_here(site, "Max") == homes_there(site, "Max") == apart
    await nothing_more(site)


# Kind: one common person splits a family in two.
async def test_a_family_with_a_held_child_is_the_household_of_its_name(site: Site) -> None:
    """Dan may be the Dan there, but that is unanswered, so only one person of each family is known."""
    await site.settings(first_match="planning_center")
    dora = await site.add("Dora", "Dean", email="dora@example.org")
    await site.family("The Dean Family", dora, await site.add("Dan", "Dean", child=True))
    assert (await site.sync())["counts"]["held"] == 1
    assert [name for name, _ in homes_there(site, "Dora")] == ["Dean Household"]
    assert await homes_here(site, "Dora") == [("Dean Household", ["Dan", "Dora"])]


# Kind: a person unknown to the other side counts as missing there.
async def test_a_family_is_the_household_with_the_same_known_people(site: Site) -> None:
    """Ava is not in Planning Center yet, and Abel is not here before the first run."""
    await site.settings(first_match="planning_center")
    parents = [await site.add(name, "Abbot", email=f"{name.lower()}@example.org") for name in ("Alan", "Amy")]
    await site.family("The Abbots", *parents, await site.add("Ava", "Abbot", child=True, birthdate="2020-02-02"))
    await site.sync()
    await site.believable()
    await site.sync()
    whole = [("Abbot Household", ["Abel", "Alan", "Amy", "Ava"])]
    assert await homes_here(site, "Alan") == homes_there(site, "Alan") == whole
    await nothing_more(site)


# --- primary contacts -------------------------------------------------------------------------------------------------


# Kind: a value unknown to the other side counts as empty.
async def test_a_held_primary_contact_there_stays(site: Site) -> None:
    await site.sync()
    await site.believable()
    await site.add("Pam", "Page")
    site.create("Pam", "Page")
    site.move("Pam", to=household_id(site, BAKERS), left="0")
    make_primary_there(site, BAKERS, "Pam")
    await site.visible()
    mark = site.mark()
    assert (await site.sync())["counts"]["held"] == 1
    assert site.journal(mark, writes=True) == []
    assert (primary_there(site, BAKERS), await primary_here(site, BAKERS)) == ("Pam", "Bruno")
    [held] = (await site.call("GET", "/held-matches"))["items"]
    same = {"answer": "same", "member_id": held["candidates"][0]["member"]["id"], "version": held["version"]}
    await site.call("POST", f"/held-matches/{held['id']}/answer", same)
    await site.sync()
    assert (primary_there(site, BAKERS), await primary_here(site, BAKERS)) == ("Pam", "Pam")
    await nothing_more(site)


# Kind: a value unknown to the other side counts as empty.
async def test_a_primary_contact_not_created_there_yet_stays(site: Site) -> None:
    await site.sync()
    await site.believable()
    nora = await site.add("Nora", "New")
    await site.regroup(BAKERS, join=["Nora"])
    family = await site.family_of(BAKERS)
    await site.call("PATCH", f"/families/{family['id']}", {"primary_contact_id": nora})
    site.rename_household(BAKERS, "Bakers")
    await site.visible()
    await site.sync()
    await site.believable()
    await site.sync()
    assert (await primary_here(site, "Bakers"), primary_there(site, "Bakers")) == ("Nora", "Nora")
    told = await site.database.fetch(
        "SELECT side, by, before, after FROM effect WHERE record_id = $1 AND field = 'primary_contact' ORDER BY id",
        family["id"],
    )
    bruno = str((await site.member("Bruno"))["id"])
    assert [(row["side"], row["before"], row["after"]) for row in told[-2:]] == [
        ("here", bruno, nora),
        ("there", bruno, nora),
    ]
    await nothing_more(site)


# Kind: a value unknown to the other side counts as empty.
async def test_a_primary_contact_gone_there_stays_here(site: Site) -> None:
    await site.sync()
    await site.believable()
    site.delete("Bruno")
    make_primary_there(site, BAKERS, "Bea")
    await site.visible()
    for _ in range(2):
        await site.sync()
        await site.believable()
    assert await site.members_of(BAKERS) == ["Bea", "Bruno"]
    assert (await primary_here(site, BAKERS), primary_there(site, BAKERS)) == ("Bruno", "Bea")
    await nothing_more(site)


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
async def test_a_person_added_again_there_stays_in_the_family(site: Site, kind: str, *, between: bool) -> None:
    """B10: also if no sync saw that the person was gone."""
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
async def test_a_person_answered_as_the_same_stays_in_the_family(site: Site, how: str) -> None:
    """B10: added again without an identifying value."""
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
