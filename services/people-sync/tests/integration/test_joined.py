"""Two members whose people were merged in Planning Center are joined or kept: both sides, and the next run."""

import asyncio
from typing import Any

import pytest
from sync_harness.site import Site
from sync_harness.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="session")

BAKERS, CLARKS = "Baker Household", "Clark Household"


async def shown_pair(site: Site, joins: object) -> dict[str, Any]:
    """The question about this member."""
    (pair,) = (await site.call("GET", f"/merged?member_id={joins}"))["items"]
    return dict(pair)


async def answer(site: Site, what: str, joins: object, *, status: int = 200, **more: Any) -> dict[str, Any]:
    """Answer the question about this member as it is shown now."""
    pair = await shown_pair(site, joins)
    stays, other = pair["stays"]["member"], pair["joins"]["member"]
    body = {"answer": what, "with_id": stays["id"], "version": other["version"], "with_version": stays["version"]}
    answered: dict[str, Any] = await site.call("POST", f"/merged/{joins}", body | more, status=status)
    return answered


async def nothing_more(site: Site) -> None:
    """Check that both sides agree, and that a run writes nothing."""
    await site.believable()
    mark = site.mark()
    run = await site.sync()
    assert run["counts"].keys() <= {"unchanged"}, await site.items(run["id"])
    assert site.journal(mark, writes=True) == []


async def links(site: Site) -> dict[str, tuple[str, str, str | None]]:
    """Links by first name of the living members: state, person, and the person that one was merged into."""
    rows = await site.database.fetch(
        "SELECT first_name, state, pco_id, merged_into FROM link JOIN member ON member.id = record_id"
        " WHERE link.organization_id = $1 AND deleted_at IS NULL",
        site.organization_id,
    )
    return {row["first_name"]: (row["state"], row["pco_id"], row["merged_into"]) for row in rows}


async def memberships(site: Site) -> list[tuple[str, str]]:
    """Living members by family here, with the primary contact marked."""
    rows = await site.database.fetch(
        "SELECT name, first_name, primary_contact_id = member.id AS main FROM family"
        " JOIN family_member ON family_id = family.id JOIN member ON member.id = member_id"
        " WHERE family.organization_id = $1 AND family.deleted_at IS NULL AND member.deleted_at IS NULL",
        site.organization_id,
    )
    return sorted((row["name"], row["first_name"] + ("*" if row["main"] else "")) for row in rows)


def there(site: Site) -> list[tuple[str, str]]:
    """The same in Planning Center."""
    names = {int(row["id"]): row["first_name"] for row in site.rows("Person")}
    homes = {int(row["id"]): row for row in site.rows("Household")}
    found = []
    for row in site.rows("HouseholdMembership"):
        home = homes[row["household_id"]]
        main = "*" if home.get("primary_contact_id") == row["person_id"] else ""
        found.append((home["name"], names[row["person_id"]] + main))
    return sorted(found)


# --- join -------------------------------------------------------------------------------------------------------------


async def two_lees(site: Site, **values: Any) -> tuple[str, str]:
    """Lee, whose person was merged into Leo's; gives their ids. `values`: Lee's values before that."""
    await site.sync()
    leo = site.create("Leo", "Lane", email="leo@example.org")
    await site.visible()
    if values:
        await site.change("Lee", **values)
    await site.sync()
    await site.believable()
    site.merge(leo, str(site.person("Lee")["id"]))
    await site.visible()
    await site.sync()
    return str((await site.member("Lee"))["id"]), str((await site.member("Leo"))["id"])


async def test_join_here_and_in_planning_center(site: Site) -> None:
    lee, leo = await two_lees(site, gender="Male", birthdate="1980-02-03")
    # Edited while Lee was only here, so that Planning Center has it for neither.
    address = {"street_line_1": "9 Oak St", "city": "Ashford", "state": "CT", "zip": "06278", "country_code": "US"}
    await site.change("Lee", address=address)
    pair = await shown_pair(site, lee)
    assert (pair["stays"]["member"]["id"], pair["fills"]) == (leo, ["birthdate", "gender", "address"])
    assert pair["differs"] == ["first_name"]
    mark = site.mark()
    await answer(site, "join", lee, take=["first_name"])
    await site.looked_at()
    person = site.person("Lee")
    assert (person["gender"], person["birthdate"]) == ("Male", "1980-02-03")
    assert [row["street_line_1"] for row in site.contacts("Lee", "Address")] == ["9 Oak St"]
    assert {row["address"] for row in site.contacts("Lee", "Email") if row["primary"]} >= {"leo@example.org"}
    assert site.people("Leo") == []
    assert len(site.rows("Person")) == 14
    written = [entry["method"] for entry in site.journal(mark, writes=True)]
    assert sorted(written) == ["PATCH", "POST"]
    assert {row["id"] for row in await site.members("Lee")} == {(await site.member("Lee"))["id"]}
    assert str((await site.member("Lee"))["id"]) == leo
    assert (await site.call("GET", f"/members/{lee}", status=404))["joined_into"] == leo
    await nothing_more(site)
    # The whole log is read again, and the two stay joined.
    await site.database.fetch(
        "UPDATE connection SET merger_cursor = NULL WHERE organization_id = $1", site.organization_id
    )
    await nothing_more(site)
    assert (await site.call("GET", "/merged"))["items"] == []


async def test_a_join_during_a_run(site: Site) -> None:
    """The run has planned a change of the staying member, and waits: it reverts nothing and doubles nobody."""
    await site.settings(merge_different_fields=True)
    lee, leo = await two_lees(site)
    await site.change("Lee", gender="Male")
    await site.change("Max", gender="Male")
    site.edit("Leo", birthdate="1980-02-03")
    await site.visible()
    async with site.held_up_at(leo):
        run_id = await site.start()
        await site.waits()
        joined = asyncio.create_task(answer(site, "join", lee))
        await site.waits()
    await joined
    await site.until(run_id, "done")
    await site.looked_at()
    await site.believable()
    await site.sync()
    assert (site.person("Leo")["gender"], site.person("Leo")["birthdate"]) == ("Male", "1980-02-03")
    row = await site.member("Leo")
    assert (row["gender"], str(row["birthdate"])) == ("Male", "1980-02-03")
    assert await site.members("Lee") == []
    await nothing_more(site)


async def test_two_administrators_at_once(site: Site) -> None:
    """One wins; the other gets an error."""
    lee, leo = await two_lees(site)
    pair = await shown_pair(site, lee)
    versions = {"version": pair["joins"]["member"]["version"], "with_version": pair["stays"]["member"]["version"]}

    async def say(what: str) -> str:
        body = {"answer": what, "with_id": leo, **versions}
        try:
            await site.call("POST", f"/merged/{lee}", body, status=200)
        except AssertionError as error:
            return str(error)
        return ""

    said = await asyncio.gather(*(say(what) for what in ("join", "keep_two", "join", "keep_two")))
    assert [not one for one in said].count(True) == 1
    assert all("pair-over" in one or "answered" in one for one in said if one), said
    await site.looked_at()
    await nothing_more(site)


async def test_a_decision_about_a_merged_person_ends(site: Site) -> None:
    """The conflict has no second side any more, so it is withdrawn."""
    await site.sync()
    leo = site.create("Leo", "Lane", email="leo@example.org")
    await site.visible()
    await site.change("Lee", last_name="Ours")
    site.edit("Lee", last_name="Theirs")
    await site.visible()
    await site.sync()
    assert (await site.conflicts())["Lee"] == ["open"]
    site.merge(leo, str(site.person("Lee")["id"]))
    await site.visible()
    await site.sync()
    assert (await site.conflicts())["Lee"] == ["withdrawn"]
    lee = (await site.member("Lee"))["id"]
    await answer(site, "join", lee, take=["last_name"])
    await site.looked_at()
    assert site.person("Leo")["last_name"] == "Ours"
    await nothing_more(site)


# --- families ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("joined_before", [True, False], ids=["before a run saw the households", "after"])
@pytest.mark.parametrize(
    ("keep", "remove", "expected"),
    [
        # Each in their own household: the staying member is in both, and the contact of both.
        ("Dora", "Bruno", {(BAKERS, "Bea"), (BAKERS, "Dora*"), ("Dean Household", "Dan"), ("Dean Household", "Dora*")}),
        # Both in one household: the staying member remains, as the contact.
        ("Cora", "Carl", {(CLARKS, "Cora*")}),
        # Neither in a household before.
        ("Max", "Alan", {("Abbot Household", one) for one in ("Max*", "Amy", "Abel")}),
    ],
)
async def test_families_of_both(
    site: Site, keep: str, remove: str, expected: set[tuple[str, str]], *, joined_before: bool
) -> None:
    await site.sync()
    await site.believable()
    before = len(await memberships(site))
    both_in_one = remove == "Carl"
    gone = (await site.member(remove))["id"]
    site.merge(str(site.person(keep)["id"]), str(site.person(remove)["id"]))
    await site.visible()
    if joined_before:
        # A sync of the merged member reads the log, but no household.
        await site.call("POST", f"/members/{gone}/sync")
        await site.looked_at()
    else:
        await site.sync()
    await answer(site, "join", gone)
    await site.looked_at()
    await site.believable()
    await site.sync()
    assert expected <= set(await memberships(site))
    assert await memberships(site) == there(site)
    assert len(await memberships(site)) == before - both_in_one
    await nothing_more(site)


async def test_the_primary_contact_who_left_there(site: Site) -> None:
    """Somebody there removes the merged person from the household and chooses another contact."""
    await site.sync()
    await site.believable()
    bruno = (await site.member("Bruno"))["id"]
    site.merge(str(site.person("Max")["id"]), str(site.person("Bruno")["id"]))
    (home,) = [row for row in site.rows("Household") if row["name"] == BAKERS]
    site.mutate(
        {
            "op": "edit",
            "type": "Household",
            "id": home["id"],
            "attributes": {"primary_contact_id": site.person("Bea")["id"]},
        }
    )
    await site.visible()
    await site.sync()
    await answer(site, "join", bruno)
    await site.looked_at()
    await site.believable()
    await site.sync()
    bakers = [(BAKERS, "Bea*"), (BAKERS, "Max")]
    assert [one for one in await memberships(site) if one[0] == BAKERS] == bakers
    assert [one for one in there(site) if one[0] == BAKERS] == bakers
    await nothing_more(site)


async def test_a_household_that_was_emptied_there(site: Site) -> None:
    """The household is empty there. The staying member is in the family here, and is added to the household."""
    await site.sync()
    await site.believable()
    bruno = (await site.member("Bruno"))["id"]
    site.merge(str(site.person("Max")["id"]), str(site.person("Bruno")["id"]))
    await site.visible()
    await site.sync()
    await site.regroup(BAKERS, leave=["Max"])
    await site.sync()
    assert ("Baker Household", "Max") not in [(home, name.strip("*")) for home, name in there(site)]
    # Removed here as Max, but a member as Bruno, the same person: neither membership is lost.
    await answer(site, "join", bruno)
    await site.looked_at()
    await site.believable()
    await site.sync()
    assert [name.strip("*") for home, name in await memberships(site) if home == BAKERS] == ["Bea", "Max"]
    assert [name.strip("*") for home, name in there(site) if home == BAKERS] == ["Bea", "Max"]
    await nothing_more(site)


async def test_a_family_that_is_only_here(site: Site) -> None:
    """It becomes one household, of the staying member."""
    lee, leo = await two_lees(site)
    await site.family("Lanes", lee)
    await site.sync()
    assert [home for home, _ in there(site) if home == "Lanes"] == []
    await answer(site, "join", lee)
    await site.looked_at()
    assert [one for one in there(site) if one[0] == "Lanes"] == [("Lanes", "Leo*")]
    assert str((await site.family_of("Lanes"))["primary_contact_id"]) == leo
    await nothing_more(site)


# --- keep two ---------------------------------------------------------------------------------------------------------


async def test_two_are_kept_and_the_second_is_created_again(site: Site) -> None:
    """The family keeps both on both sides, and a deletion of the first one moves no link."""
    await site.sync()
    await site.believable()
    carl = (await site.member("Carl"))["id"]
    site.merge(str(site.person("Cora")["id"]), str(site.person("Carl")["id"]))
    await site.visible()
    await site.sync()
    await site.call("POST", f"/members/{carl}/create-again", status=409)
    await answer(site, "keep_two", carl)
    await nothing_more(site)
    assert site.people("Carl") == []
    await answer(site, "ask_again", carl)
    await answer(site, "keep_two", carl)
    await site.call("POST", f"/members/{carl}/create-again")
    await site.looked_at()
    # In the first run Carl joins the household, whose contact becomes known only then: Cora, as in Planning Center.
    for _ in range(2):
        await site.believable()
        await site.sync()
    assert len(site.people("Carl")) == 1
    await site.call("POST", f"/merged/{carl}", await _late(site, carl), status=409)
    clarks = [name.strip("*") for home, name in await memberships(site) if home == CLARKS]
    assert clarks == ["Carl", "Cora"]
    assert sorted(site.household(CLARKS)) == clarks
    await nothing_more(site)


async def _late(site: Site, joins: object) -> dict[str, Any]:
    """An answer after the second person was created."""
    cora = await site.member("Cora")
    version = (await site.call("GET", f"/members/{joins}"))["version"]
    return {"answer": "ask_again", "with_id": str(cora["id"]), "version": version, "with_version": cora["version"]}


async def test_a_member_kept_as_somebody_else_does_not_get_the_link(site: Site) -> None:
    """The first one is deleted here, but the person there is still not the second one."""
    lee, _ = await two_lees(site)
    await answer(site, "keep_two", lee)
    await site.remove("Leo")
    await site.sync()
    await site.sync("incremental")
    assert (await links(site))["Lee"][0] == "gone"
    assert len(site.rows("Person")) == 14


# --- orders and chains ------------------------------------------------------------------------------------------------

Step = tuple[str, str]


@pytest.mark.parametrize("between", [True, False], ids=["each seen by itself", "seen at once"])
@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([("Carl", "Bruno"), ("Dora", "Carl")], id="a chain of three who are here"),
        pytest.param([("Dora", "Bruno"), ("Dora", "Carl"), ("Dora", "Ned")], id="three into one"),
        pytest.param([("Carl", "Bruno"), ("NEW", "Carl")], id="the last one was never seen"),
        pytest.param([("NEW", "Bruno"), ("NEW", "Carl"), ("Dora", "NEW")], id="one between was never seen"),
    ],
)
async def test_chains(site: Site, steps: list[Step], *, between: bool) -> None:
    """In every order of mergers, all links lead to the existing person; joined, they are one member."""
    await site.sync()
    await site.believable()
    ids = {name: str(site.person(name)["id"]) for name in ("Bruno", "Carl", "Dora", "Ned")}
    involved = {name for step in steps for name in step} - {"NEW"}
    members = {str((await site.member(name))["id"]) for name in involved}
    people = len(site.rows("Person"))
    for keep, remove in steps:
        if "NEW" in {keep, remove} - ids.keys():
            ids["NEW"] = site.create("Newt", "Never", email="newt@example.org")
            people += 1
        site.merge(ids[keep], ids[remove])
        if between:
            await site.visible()
            await site.sync("incremental")
    await site.visible()
    await site.sync()
    await site.sync()
    pairs = (await site.call("GET", "/merged"))["items"]
    assert len(pairs) == len(members) - 1
    assert {pair["pco_id"] for pair in pairs} == {ids[steps[-1][0]]}
    (stays,) = {pair["stays"]["member"]["id"] for pair in pairs}
    assert {pair["joins"]["member"]["id"] for pair in pairs} == members - {stays}
    for pair in pairs:
        shown = await site.call("GET", f"/members/{pair['joins']['member']['id']}")
        assert shown["link"]["merged_with"] == stays
    names = involved | {"Newt"}
    homes = {home for home, name in await memberships(site) if name.strip("*") in names}
    await nothing_more(site)
    for pair in pairs:
        await answer(site, "join", pair["joins"]["member"]["id"])
    await site.looked_at()
    await site.believable()
    await site.sync()
    assert await memberships(site) == there(site)
    name = await site.database.value("SELECT first_name FROM member WHERE id::text = $1", stays)
    assert {home for home, one in await memberships(site) if one.strip("*") == name} == homes
    assert len(site.rows("Person")) == people - len(steps)
    await nothing_more(site)


async def test_a_merger_that_is_read_twice(site: Site) -> None:
    """The first merger of a chain is read again after the second one: nothing moves back."""
    await site.sync()
    newt = site.create("Newt", "Never", email="newt@example.org")
    site.merge(str(site.person("Carl")["id"]), str(site.person("Bruno")["id"]))
    await site.visible()
    await site.sync()
    site.merge(newt, str(site.person("Carl")["id"]))
    await site.visible()
    await site.sync()
    before = await links(site)
    history = "SELECT count(*) FROM effect WHERE organization_id = $1"
    effects = await site.database.value(history, site.organization_id)
    assert (before["Bruno"][0], before["Bruno"][2]) == ("gone", newt)
    for _ in range(2):
        await site.database.fetch(
            "UPDATE connection SET merger_cursor = NULL WHERE organization_id = $1", site.organization_id
        )
        assert (await site.sync())["counts"].keys() <= {"unchanged"}
    assert await links(site) == before
    assert await site.database.value(history, site.organization_id) == effects


async def test_a_keeper_that_is_destroyed_later(site: Site) -> None:
    """No person is left there, so there is no question, and each member can be created again."""
    lee, leo = await two_lees(site)
    await site.believable()
    site.delete("Leo")
    await site.visible()
    await site.sync()
    await site.believable()
    await site.sync()
    assert {(await links(site))[name][0] for name in ("Lee", "Leo")} == {"gone"}
    assert (await site.call("GET", "/merged"))["items"] == []
    for member in (lee, leo):
        assert (await site.call("GET", f"/members/{member}"))["link"]["merged_with"] is None
    await site.call("POST", f"/members/{lee}/create-again")
    await site.looked_at()
    assert len(site.people("Lee")) == 1
    await nothing_more(site)


@pytest.mark.parametrize("late", [True, False], ids=["the log shows late", "the log is there first"])
async def test_the_log_and_the_destroyed_event_in_either_order(site: Site, *, late: bool) -> None:
    """`person.destroyed` before its entry in the log, or after it: the question is the same."""
    await site.sync()
    await site.believable()
    carl, cora = str((await site.member("Carl"))["id"]), str((await site.member("Cora"))["id"])
    if late:
        site.control.change_settings(mergers_lag_ms=60_000)
    try:
        site.merge(str(site.person("Cora")["id"]), str(site.person("Carl")["id"]))
        await site.visible()
        await site.sync()
    finally:
        site.control.change_settings(mergers_lag_ms=0)
    await site.sync("incremental")
    pair = await shown_pair(site, carl)
    assert (pair["stays"]["member"]["id"], pair["state"]) == (cora, "open")
    await answer(site, "join", carl)
    await site.looked_at()
    assert [one for one in await memberships(site) if one[0] == CLARKS] == [(CLARKS, "Cora*")]
    await site.believable()
    await site.sync()
    await nothing_more(site)


async def test_old_links_to_people_merged_since(site: Site, stage: Stage) -> None:
    """Links from before this feature lead to the kept person after the next run."""
    await site.sync()
    for keep, remove in (("Carl", "Bruno"), ("Dora", "Carl")):
        site.merge(str(site.person(keep)["id"]), str(site.person(remove)["id"]))
    removed = await site.database.value(
        "SELECT pco_id FROM link JOIN member ON member.id = record_id WHERE first_name = 'Carl'"
        " AND link.organization_id = $1",
        site.organization_id,
    )
    await site.visible()
    await site.sync()
    await site.database.fetch(
        "UPDATE link SET merged_into = $2 WHERE organization_id = $1 AND merged_into IS NOT NULL AND pco_id <> $2",
        site.organization_id,
        removed,
    )
    await site.sync("incremental")
    assert {pair["stays"]["member"]["first_name"] for pair in (await site.call("GET", "/merged"))["items"]} == {"Dora"}
    assert len((await site.call("GET", "/merged"))["items"]) == 2
