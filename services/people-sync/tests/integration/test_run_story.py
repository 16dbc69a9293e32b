"""The story of a run, from the first question to the last answer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from sync_harness.site import Site
from sync_harness.stage import Stage

from contracts.people import PlanningCenterLink
from servicekit.testing import eventually
from synckit.testing.lender import Grant

pytestmark = pytest.mark.asyncio(loop_scope="session")
PEOPLE_OF_SMALL = 14
Sites = Callable[[], Awaitable[Site]]


async def waiting_for(site: Site, run_id: str, question: str) -> dict[str, Any]:
    run = await site.until(run_id, "waiting")
    assert run["question"]["kind"] == question
    return run


async def test_first_run_takes_everybody_over_and_second_run_writes_nothing(site: Site) -> None:
    first = await site.sync()
    assert first["counts"]["created_here"] == PEOPLE_OF_SMALL + 4
    assert (
        await site.database.value("SELECT count(*) FROM member WHERE organization_id = $1", site.organization_id)
        == PEOPLE_OF_SMALL
    )
    assert await site.members_of("Abbot Household") == ["Abel", "Alan", "Amy"]
    mark = site.mark()
    for kind in ("full", "incremental"):
        second = await site.sync(kind)
        assert second["counts"].keys() <= {"unchanged"}, second
    assert site.journal(mark, writes=True) == []


async def test_member_added_here_appears_there_with_contacts_and_household(site: Site) -> None:
    await site.sync()
    address = {"street_line_1": "9 Oak St", "city": "Ashford", "state": "CT", "zip": "06278"}
    one = await site.add("Nina", "New", email="nina@example.org", phone="(212) 555-0140", address=address)
    two = await site.add("Nils", "New", child=True)
    await site.family("New Household", one, two)
    run = await site.sync()
    assert run["counts"]["created_there"] == 3
    added = {item["name"]: item["pco_id"] for item in await site.items(run["id"], "created_there")}
    assert added["Nina New"] == site.person("Nina")["id"], "the list of what was added leads there"
    assert all(added.values())
    assert [row["address"] for row in site.contacts("Nina", "Email")] == ["nina@example.org"]
    assert [row["e164"] for row in site.contacts("Nina", "PhoneNumber")] == ["+12125550140"]
    assert [row["street_line_1"] for row in site.contacts("Nina", "Address")] == ["9 Oak St"]
    assert site.household("New Household") == ["Nils", "Nina"]
    assert not any(row.get("pending") for row in site.rows("HouseholdMembership"))
    assert site.person("Nils")["child"] is True
    await site.believable()
    mark = site.mark()
    assert (await site.sync())["counts"].keys() <= {"unchanged"}
    assert site.journal(mark, writes=True) == []


@pytest.mark.parametrize("answer", ["planning_center", "ours", "ask"])
async def test_a_first_match_asks_which_values_to_keep(site: Site, answer: str) -> None:
    await site.add("Alan", "Abbot", email="ALAN@example.org", phone="(212) 555-0199")
    mark = site.mark()
    run_id = await site.start()
    run = await waiting_for(site, run_id, "first_match")
    counts = {"matched": 1, "people_with_differences": 1, "differing_values": 1, "may_be_mailed": 0}
    assert run["question"]["counts"] == counts
    assert run["question"]["examples"][0]["field"] == "phone"
    assert site.journal(mark, writes=True) == []
    assert (await site.member("Alan"))["phone"] == "(212) 555-0199"
    await site.call("POST", f"/runs/{run_id}/answer", {"question": "first_match", "answer": answer})
    run = await site.until(run_id, "done")
    ours = (await site.member("Alan"))["phone"]
    theirs = site.contacts("Alan", "PhoneNumber")[0]["number"]
    if answer == "planning_center":
        assert (ours, theirs) == ("(212) 555-0101", "(212) 555-0101")
    elif answer == "ours":
        assert (ours, theirs) == ("(212) 555-0199", "(212) 555-0199")
        member = await site.member("Alan")
        history = (await site.call("GET", f"/members/{member['id']}/history"))["items"]
        [replaced] = [entry for entry in history if entry["field"] == "phone"]
        assert (replaced["rule"], replaced["old"], replaced["can_undo"]) == ("first_match", "(212) 555-0101", True)
    else:
        assert (ours, theirs) == ("(212) 555-0199", "(212) 555-0101")
        assert run["counts"]["conflict"] == 1
        assert (
            await site.database.value(
                "SELECT count(*) FROM conflict WHERE organization_id = $1 AND state = 'open'", site.organization_id
            )
            == 1
        )


async def test_families_alone_are_a_reason_to_ask(site: Site) -> None:
    """Only a family's name differs: it must not be replaced by a choice that nobody made."""
    dora = await site.add("Dora", "Dean", email="dora@example.org", phone="(212) 555-0108")
    await site.family("The Deans", dora)
    run_id = await site.start()
    question = (await waiting_for(site, run_id, "first_match"))["question"]
    assert question["counts"]["families_with_differences"] == 1
    assert question["examples"][0] == {
        "name": "The Deans",
        "field": "name",
        "here": "The Deans",
        "planning_center": "Dean Household",
    }
    await site.call("POST", f"/runs/{run_id}/answer", {"question": "first_match", "answer": "ours"})
    await site.until(run_id, "done")
    assert (await site.family_of("The Deans"))["name"] == "The Deans"
    assert site.household("The Deans") == ["Dan", "Dora"]


async def test_a_family_with_another_primary_contact_is_asked_about_by_name(site: Site) -> None:
    alan, amy = [await site.add(name, "Abbot", email=f"{name.lower()}@example.org") for name in ("Alan", "Amy")]
    family = await site.family("Abbot Household", alan, amy)
    await site.call("PATCH", f"/families/{family}", {"primary_contact_id": amy})
    run_id = await site.start()
    question = (await waiting_for(site, run_id, "first_match"))["question"]
    assert question["examples"] == [
        {"name": "Abbot Household", "field": "primary_contact", "here": "Amy Abbot", "planning_center": "Alan Abbot"}
    ]


async def test_edits_on_either_side_go_to_the_other_and_on_both_are_a_conflict(site: Site) -> None:
    await site.sync()
    await site.change("Bruno", last_name="Bakerson", phone="(212) 555-0150", email="bb@example.org")
    await site.change("Alan", address={"street_line_1": "7 Pine St", "city": "Ashford"})
    await site.change("Dora", phone=None)
    await site.change("Abel", email="abel@example.org")
    site.edit("Cora", last_name="Clarkson")
    site.edit_contact("Cora", "Email", address="cc@example.org")
    await site.change("Carl", last_name="Here")
    site.edit("Carl", last_name="There")
    await site.regroup("Baker Household", join=["Cora"])
    await site.regroup("Abbot Household", leave=["Amy"])
    await site.visible()
    run = await site.sync()
    assert site.person("Bruno")["last_name"] == "Bakerson"
    assert [row["number"] for row in site.contacts("Bruno", "PhoneNumber")] == ["(212) 555-0150"]
    assert [row["address"] for row in site.contacts("Bruno", "Email")] == ["bb@example.org"]
    assert [row["street_line_1"] for row in site.contacts("Alan", "Address")] == ["7 Pine St"]
    assert site.contacts("Dora", "PhoneNumber") == []
    assert [row["address"] for row in site.contacts("Abel", "Email")] == ["abel@example.org"]
    cora = await site.member("Cora")
    assert (cora["last_name"], cora["email"]) == ("Clarkson", "cc@example.org")
    assert ((await site.member("Carl"))["last_name"], site.person("Carl")["last_name"]) == ("Here", "There")
    assert [item["name"] for item in await site.items(run["id"], "conflict")] == ["Carl There"]
    assert site.household("Baker Household") == ["Bea", "Bruno", "Cora"]
    assert site.household("Abbot Household") == ["Abel", "Alan"]
    await site.believable()
    mark = site.mark()
    again = await site.sync()
    assert again["counts"].keys() == {"unchanged", "conflict"}, again
    assert site.journal(mark, writes=True) == []
    site.edit("Carl", last_name="Here")
    await site.visible()
    await site.sync()
    states = await site.database.fetch(
        "SELECT state, version FROM conflict WHERE organization_id = $1", site.organization_id
    )
    assert states == [{"state": "converged", "version": 2}]


async def test_an_incremental_run_takes_changes_over(site: Site) -> None:
    await site.sync()
    await site.believable()
    site.edit_contact("Alan", "Email", address="alan.new@example.org")
    site.edit_contact("Amy", "PhoneNumber", number="(212) 555-0155")
    site.edit_contact("Alan", "Address", street_line_1="5 Pine St")
    site.rename_household("Dean Household", "Dean Family")
    site.create("Pia", "Page", email="pia@example.org")

    await site.visible()
    await site.sync("incremental")
    alan = await site.member("Alan")
    assert (alan["email"], alan["address"]["street_line_1"]) == ("alan.new@example.org", "5 Pine St")
    assert (await site.member("Amy"))["phone"] == "(212) 555-0155"
    assert len(await site.members("Pia")) == 1
    assert await site.members_of("Dean Family") == ["Dan", "Dora"]
    await site.believable()
    mark = site.mark()
    await site.sync("incremental")
    assert site.journal(mark, writes=True) == []


async def test_a_person_gone_there_is_kept_here_and_created_again_only_if_asked(site: Site) -> None:
    await site.sync()
    await site.believable()
    site.delete("Lee")
    await site.visible()
    run = await site.sync()
    assert run["counts"]["gone"] == 1
    lee = await site.call("GET", f"/members/{(await site.member('Lee'))['id']}")
    assert lee["link"]["state"] == "gone"
    await site.change("Lee", phone="(212) 555-0160")
    await site.sync()
    assert site.people("Lee") == []
    await site.call("POST", f"/members/{lee['id']}/create-again")
    await eventually(lambda: len(site.people("Lee")) == 1)
    await site.sync()
    assert [row["address"] for row in site.contacts("Lee", "Email")] == ["lee@example.org"]
    assert (await site.call("GET", f"/members/{lee['id']}"))["link"]["state"] == "linked"


async def test_merged_there_the_link_follows(site: Site) -> None:
    await site.sync()
    await site.believable()
    kept = site.create("Maximilian", "Moor", email="max@example.org")
    site.merge(kept, site.person("Max")["id"])
    await site.visible()
    run = await site.sync()
    assert not run["counts"].get("gone"), run
    assert (await site.member("Maximilian"))["email"] == "max@example.org"
    assert len(site.people("Maximilian")) == 1
    assert await site.members("Max") == []
    link = await site.call("GET", f"/members/{(await site.member('Maximilian'))['id']}")
    assert link["link"] == PlanningCenterLink(pco_id=kept, state="linked").model_dump()


# Kind: a doubt is resolved by an action.
async def test_held_until_answered(site: Site) -> None:
    """A namesake without a common e-mail is neither overwritten nor doubled; then each answer."""
    await site.add("Hal", "Held", email="hal.here@example.org")
    await site.add("Hope", "Held", email="hope.here@example.org")
    await site.add("Hugh", "Held", email="hugh.here@example.org")
    for first in ("Hal", "Hope", "Hugh"):
        site.create(first, "Held", email=f"{first.lower()}.there@example.org")

    await site.visible()
    run = await site.sync()
    assert run["counts"]["held"] == run["counts"]["later"] == 3
    left = (await site.call("GET", f"/runs/{run['id']}/items?outcome=later"))["items"]
    assert all("decide in Held matches" in item["sentence"] for item in left), left
    waiting = {row["theirs"]["first_name"]: row for row in (await site.call("GET", "/held-matches"))["items"]}
    assert waiting.keys() == {"Hal", "Hope", "Hugh"}
    for first in waiting:
        assert len(await site.members(first)) == len(site.people(first)) == 1
        assert site.contacts(first, "Email")[0]["address"] == f"{first.lower()}.there@example.org"
    await site.settings(first_match="ours")
    answers = {"Hal": "same", "Hope": "different", "Hugh": "later"}
    for first, answer in answers.items():
        member = waiting[first]["candidates"][0]["member"]["id"] if answer == "same" else None
        body = {"answer": answer, "member_id": member, "version": waiting[first]["version"]}
        await site.call("POST", f"/held-matches/{waiting[first]['id']}/answer", body)
    await eventually(lambda: site.contacts("Hal", "Email")[0]["address"] == "hal.here@example.org")
    await site.believable()
    await site.sync("incremental")
    assert [row["address"] for row in site.contacts("Hal", "Email")] == ["hal.here@example.org"]
    assert len(await site.members("Hal")) == len(site.people("Hal")) == 1
    assert len(await site.members("Hope")) == len(site.people("Hope")) == 2
    assert len(await site.members("Hugh")) == len(site.people("Hugh")) == 1


async def test_an_id_that_the_platform_supplies_is_an_answer(site: Site) -> None:
    """For an open held match, and for one that the run is about to create."""
    await site.settings(first_match="planning_center")
    for first in ("Hal", "Hope"):
        await site.add(first, "Held", email=f"{first.lower()}.here@example.org")
    hal = site.create("Hal", "Held", email="hal.there@example.org")
    await site.visible()
    await site.sync()
    hope = site.create("Hope", "Held", email="hope.there@example.org")
    await site.visible()
    await site.add("Alan", "Away", email="away@example.org")
    site.edit("Carl", last_name="There")
    await site.visible()
    assert len((await site.call("GET", "/held-matches"))["items"]) == 1
    people = [
        {"external_id": pco_id, "first_name": "Other", "last_name": f"Held{pco_id}", "pco_id": pco_id}
        for pco_id in (hal, hope)
    ]
    async with site.held_up("Carl"):
        run_id = await site.start()
        await site.waits()
        await site.call("PUT", "/bulk", {"members": people})
    await site.until(run_id, "done")
    assert (await site.call("GET", "/held-matches"))["items"] == []


@pytest.mark.parametrize("inactivate", [True, False])
async def test_local_deletion(site: Site, inactivate: bool) -> None:
    await site.sync()
    await site.settings(inactivate_deleted=inactivate)
    await site.remove("Ned")
    run = await site.sync()
    assert run["counts"].get("inactivated_there", 0) == int(inactivate)
    assert site.person("Ned").get("status", "active") == ("inactive" if inactivate else "active")
    await site.believable()
    mark = site.mark()
    for kind in ("full", "incremental"):
        assert (await site.sync(kind))["counts"].keys() <= {"unchanged"}
    assert await site.members("Ned") == []
    assert site.journal(mark, writes=True) == []


async def test_deleted_here_while_the_run_waits_for_an_answer(site: Site) -> None:
    await site.sync()
    await site.settings(inactivate_deleted=True, threshold_percent=1, threshold_minimum=1)
    site.edit("Carl", last_name="There")
    site.edit("Dora", last_name="There")
    await site.visible()
    run_id = await site.start()
    await waiting_for(site, run_id, "threshold")
    await site.remove("Carl")
    await site.approve(run_id)
    # The question did not show that Carl would be made inactive.
    run = await site.until(run_id, "done")
    assert run["counts"]["left_out"] == 1
    assert [item["name"] for item in await site.items(run_id, "left_out")] == ["Carl Clark"]
    assert (await site.member("Dora"))["last_name"] == "There"
    assert site.person("Carl").get("status") != "inactive"
    await site.settings(threshold_percent=50)
    await site.sync()
    assert site.person("Carl")["status"] == "inactive"


async def test_a_conflict_ends_with_its_record(site: Site, stage: Stage) -> None:
    """The record is deleted here, or gone there, so nobody is asked about it any more."""
    await site.sync()
    for first_name in ("Carl", "Dora"):
        await site.change(first_name, last_name="Here")
        site.edit(first_name, last_name="There")
    family = await site.family_of("Abbot Household")
    await site.call("PATCH", f"/families/{family['id']}", {"name": "Here"})
    site.rename_household("Abbot Household", "There")
    await site.visible()
    await site.sync()
    assert await site.conflicts() == {"Carl": ["open"], "Dora": ["open"], "Here": ["open"]}
    await site.remove("Carl")
    await site.call("DELETE", f"/families/{family['id']}")
    assert await site.conflicts() == {"Carl": ["withdrawn"], "Dora": ["open"], "Here": ["withdrawn"]}
    site.delete("Dora")
    await site.visible()
    await site.sync()
    assert await site.conflicts() == {"Carl": ["withdrawn"], "Dora": ["withdrawn"], "Here": ["withdrawn"]}
    told = [(fact["record"]["name"], kind) for kind, fact in await stage.told(site, "people.conflict.v1", 6)]
    kinds = ("ConflictDetected", "ConflictWithdrawn")
    assert sorted(told) == [(name, kind) for name in ("Carl Here", "Dora Here", "Here") for kind in kinds]
    await site.sync("incremental")
    open_ends = "SELECT count(*) FROM link WHERE organization_id = $1 AND state <> 'gone' AND remote_hash IS NULL"
    assert await site.database.value(open_ends, site.organization_id) == 0


async def test_a_conflict_shows_its_records_present_state(site: Site, stage: Stage) -> None:
    """Its name and its families, also if they change after the conflict."""
    await site.settings(first_match="ask")
    await site.add("Alan", "Abbot", email="ALAN@example.org", phone="(212) 555-0199")
    await site.sync()
    family = str((await site.family_of("Abbot Household"))["id"])
    first, second = await stage.told(site, "people.conflict.v1", 2)
    assert (first[1]["record"]["family_ids"], second[1]["record"]["family_ids"]) == ([], [family])
    await site.call("PATCH", f"/members/{(await site.member('Alan'))['id']}", {"first_name": "Allan"})
    assert (await stage.told(site, "people.conflict.v1", 3))[-1][1]["record"]["name"] == "Allan Abbot"


async def test_the_values_of_a_conflict_have_a_version_of_their_own(site: Site, stage: Stage) -> None:
    """A decision is bound to values; renaming a family or member does not change them."""
    await site.sync()
    agreed_at = (await site.run((await site.call("GET", "/runs"))["items"][0]["id"]))["finished_at"]
    await site.change("Carl", phone="(212) 555-0199")
    site.edit_contact("Carl", "PhoneNumber", number="(212) 555-0188")
    await site.visible()
    await site.sync()
    [(_, opened)] = await stage.told(site, "people.conflict.v1", 1)
    (field,) = opened["fields"]
    assert field["field"] == "phone"
    assert field["agreed_at"] is not None
    assert field["agreed_at"] <= agreed_at
    family = await site.family("New", str((await site.member("Carl"))["id"]))
    told = await stage.told(site, "people.conflict.v1", 2)
    assert family in told[1][1]["record"]["family_ids"]
    await site.change("Carl", phone="(212) 555-0177")
    await site.sync()
    told = await stage.told(site, "people.conflict.v1", 3)
    assert [(fact["version"], fact["values_version"]) for _, fact in told] == [(1, 1), (2, 1), (3, 2)]


@pytest.mark.parametrize("deleted", [True, False])
async def test_an_edit_there_during_the_push(site: Site, deleted: bool) -> None:
    """If the record is deleted here, it is made inactive without a conflict; otherwise a conflict is opened."""
    await site.settings(inactivate_deleted=True)
    await site.sync()
    await site.change("Carl", last_name="Here")
    path = rf"/people/v2/people/{site.person('Carl')['id']}$"
    held = site.fault({"kind": "hold", "when": "before"}, method="GET", path=path)
    run_id = await site.start()
    await eventually(lambda: site.control.fault(held)["holding"] >= 1)
    site.edit("Carl", last_name="There")
    if deleted:
        await site.remove("Carl")
    await site.visible()
    site.control.remove_fault(held)
    await site.until(run_id, "done")
    assert await site.conflicts() == ({} if deleted else {"Carl": ["open"]})
    site.edit("Carl", last_name="Clark")
    await site.visible()
    await site.believable()
    await site.sync("incremental")
    if deleted:
        assert site.person("Carl")["status"] == "inactive"
    else:
        assert site.person("Carl")["last_name"] == "Here"
        assert await site.conflicts() == {"Carl": ["converged"]}


async def test_a_correction_here_during_a_question(site: Site) -> None:
    """The question was about another person, so the match is made again."""
    alan = await site.add("Alan", "Abbot", email="ALAN@example.org", phone="(212) 555-0199")
    run_id = await site.start()
    await waiting_for(site, run_id, "first_match")
    await site.call(
        "PATCH", f"/members/{alan}", {"first_name": "Otto", "last_name": "Orr", "email": "otto@example.org"}
    )
    await site.call("POST", f"/runs/{run_id}/answer", {"question": "first_match", "answer": "planning_center"})
    await site.until(run_id, "done")
    otto = await site.member("Otto")
    assert (str(otto["id"]), otto["email"], otto["phone"]) == (alan, "otto@example.org", "(212) 555-0199")
    assert len(site.people("Otto")) == len(await site.members("Alan")) == 1


async def test_deleted_here_while_the_run_is_at_work(site: Site) -> None:
    await site.sync()
    await site.settings(inactivate_deleted=True)
    site.edit("Carl", last_name="There")
    site.edit("Dora", last_name="There")
    await site.visible()
    async with site.held_up("Carl", "Dora") as (first, second):
        run_id = await site.start()
        await site.waits()
        await site.remove(second)
    await site.until(run_id, "done")
    assert (await site.member(first))["last_name"] == "There"
    await site.sync()
    assert site.person(second)["status"] == "inactive"


async def test_an_id_supplied_for_somebody_else_while_the_run_is_at_work(site: Site) -> None:
    """The plan is carried out for neither member; the next run decides with the new link."""
    await site.settings(first_match="planning_center")
    alan = await site.add("Alan", "Abbot", email="ALAN@example.org", phone="(212) 555-0199")
    await site.family("Abbot Household", alan)
    households = {row["name"]: row["id"] for row in site.rows("Household")}
    zed = {"external_id": "z", "first_name": "Zed", "last_name": "Zimmer", "pco_id": site.person("Alan")["id"]}
    families = [
        {"external_id": name, "name": name, "member_external_ids": ["z"], "pco_id": households[f"{name} Household"]}
        for name in ("Abbot", "Clark")
    ]
    async with site.held_up("Alan"):
        run_id = await site.start()
        await site.waits()
        await site.call("PUT", "/bulk", {"members": [zed], "families": families})
        # The postponed record is synced soon after the run, but not before this test has read it.
        later = site.fault({"kind": "hold", "when": "before"}, method="GET", path="^/people/v2/people/[0-9]+$")
    await site.until(run_id, "done")
    assert (await site.member("Alan"))["phone"] == "(212) 555-0199"
    assert (await site.member("Zed"))["phone"] is None
    assert site.person("Alan")["last_name"] == "Abbot"
    assert await site.members_of("Abbot Household") == ["Alan"]
    assert await site.members_of("Abbot") == await site.members_of("Clark") == ["Zed"]
    present = "SELECT count(*) FROM family WHERE organization_id = $1 AND deleted_at IS NULL"
    assert await site.database.value(present, site.organization_id) == 5
    site.control.remove_fault(later)


async def test_a_family_added_during_the_run_is_not_doubled(site: Site) -> None:
    await site.settings(first_match="planning_center")
    await site.add("Alan", "Abbot", email="ALAN@example.org", phone="(212) 555-0199")
    carl = {"external_id": "c", "first_name": "Carl", "last_name": "Clark", "email": "carl@example.org"}
    dora = {"external_id": "d", "first_name": "Dora", "last_name": "Dean", "email": "dora@example.org"}
    clark = {"external_id": "f", "name": "Clark Household", "member_external_ids": ["c"]}
    async with site.held_up("Alan"):
        run_id = await site.start()
        await site.waits()
        await site.call("PUT", "/bulk", {"members": [carl, dora], "families": [clark]})
    await site.until(run_id, "done")
    await site.sync()
    await site.believable()
    await site.sync()
    assert await site.members_of("Clark Household") == ["Carl", "Cora"]
    assert await site.members_of("Dean Household") == ["Dan", "Dora"]
    assert site.household("Clark Household") == ["Carl", "Cora"]
    assert len(site.rows("Household")) == 4


async def test_a_family_deleted_while_the_run_waits_is_no_home_for_a_household(site: Site) -> None:
    member = await site.add("Alan", "Abbot", email="ALAN@example.org", phone="(212) 555-0199")
    family = await site.family("Abbot Household", member)
    run_id = await site.start()
    await waiting_for(site, run_id, "first_match")
    await site.call("DELETE", f"/families/{family}")
    await site.call("POST", f"/runs/{run_id}/answer", {"question": "first_match", "answer": "ours"})
    await site.until(run_id, "done")
    await site.believable()
    await site.sync("incremental")
    assert await site.members_of("Abbot Household") == ["Abel", "Alan", "Amy"]


async def test_a_member_who_left_here_leaves_the_household_even_if_renamed_there(site: Site) -> None:
    await site.sync()
    await site.believable()
    family = await site.family_of("Abbot Household")
    members = [str((await site.member(name))["id"]) for name in ("Abel", "Alan")]
    await site.call("PATCH", f"/families/{family['id']}", {"member_ids": members})
    site.rename_household("Abbot Household", "Abbots")
    await site.visible()
    await site.sync()
    await site.believable()
    await site.sync()
    assert await site.members_of("Abbots") == site.household("Abbots") == ["Abel", "Alan"]


async def test_a_match_that_changes_something_is_counted_as_a_change(site: Site) -> None:
    nina = await site.add("Nina", "New", email="nina@example.org")
    await site.add("Alan", "Abbot", email="alan@example.org", phone="(212) 555-0199")
    site.create("Nina", "New", email="nina@example.org", birthdate="1980-01-01", status="inactive")
    await site.settings(first_match="planning_center")
    await site.visible()
    run = await site.sync()
    assert {item["name"]: item["outcome"] for item in await site.items(run["id"]) if item["record_id"] == nina} == {
        "Nina New": "updated_here"
    }
    assert run["counts"].get("linked", 0) == 0
    entries = (await site.call("GET", f"/members/{nina}/history"))["items"]
    assert {(one["field"], one["old"], one["new"], one["can_undo"]) for one in entries} == {
        ("planning_center_id", None, site.person("Nina")["id"], False),
        ("birthdate", None, "1980-01-01", True),
        ("active", True, False, False),
    }


async def test_the_number_of_linked_records_excludes_deleted_members(site: Site) -> None:
    await site.sync()
    await site.remove("Carl")
    status = await site.call("GET", "/status")
    assert status["linked_members"] == status["members"] == PEOPLE_OF_SMALL - 1


async def test_threshold_stops_before_the_first_write(site: Site) -> None:
    await site.sync()
    await site.settings(threshold_percent=10, threshold_minimum=3)
    for first in ("Alan", "Amy", "Bruno", "Carl"):
        await site.change(first, last_name="Renamed")
    mark = site.mark()
    run_id = await site.start()
    run = await waiting_for(site, run_id, "threshold")
    assert run["question"]["counts"]["updated_there"] == 4
    assert run["question"]["threshold"] == {"changed": 4, "linked": PEOPLE_OF_SMALL + 4, "percent": 10, "minimum": 3}
    assert site.journal(mark, writes=True) == []
    stop = {"question": "threshold", "answer": "stop"}
    await site.call("POST", f"/runs/{run_id}/answer", stop)
    ended = await site.until(run_id, "stopped")
    [answered] = ended["answered"]
    assert (answered["question"], answered["answer"]) == ("threshold", "stop")
    assert run["started_at"] <= answered["asked_at"] <= answered["answered_at"]
    late = await site.call("POST", f"/runs/{run_id}/answer", stop, status=409)
    assert late["detail"].startswith(f"{answered['by_name']} has answered this: Stop.")
    assert site.person("Alan")["last_name"] == "Abbot"
    run_id = await site.start()
    await waiting_for(site, run_id, "threshold")
    await site.approved(run_id)
    assert site.person("Alan")["last_name"] == "Renamed"


async def test_people_just_added_there_do_not_trip_the_threshold_of_the_next_run(site: Site) -> None:
    """Reads do not show them yet, which is not a change; and nothing has to be written again."""
    await site.sync()
    await site.settings(threshold_percent=10, threshold_minimum=3)
    for number in range(6):
        await site.add("Many", f"More{number}", email=f"many{number}@example.org")
    assert (await site.sync())["counts"]["created_there"] == 6
    run = await site.sync()
    assert run["counts"].keys() <= {"unchanged", "later"}, run


async def test_stop_safely_and_going_on(site: Site) -> None:
    """Requests under way end, or stay recorded as unanswered; the rest waits for the next run."""
    await site.sync()
    for number in range(20):
        await site.add("Stop", f"Safely{number}", email=f"stop{number}@example.org")
    held = site.fault({"kind": "hold", "when": "before"}, method="POST", path="/people/v2/people$")
    run_id = await site.start()
    await eventually(lambda: site.control.fault(held)["holding"] >= 1)
    await site.call("POST", f"/runs/{run_id}/stop")
    run = await site.until(run_id, "stopped")
    site.control.remove_fault(held)
    assert run["message"].startswith("Stopped safely")
    assert site.people("Stop") == []
    assert (await site.sync())["counts"]["created_there"] == 20
    assert len({row["last_name"] for row in site.people("Stop")}) == len(site.people("Stop")) == 20
    assert len(await site.members("Stop")) == 20


async def test_token_revoked_mid_run_waits_for_the_reconnect(site: Site, stage: Stage) -> None:
    await site.sync()
    for number in range(4):
        await site.add("Token", f"Lost{number}", email=f"token{number}@example.org")
    stage.grant(site).usable = True
    site.fault({"kind": "end_token", "op": "revoke", "which": "both"}, method="POST", path="/emails$", nth=2, times=1)
    run_id = await site.start()

    async def reconnect_needed() -> bool:
        run = await site.run(run_id)
        return run["state"] == "waiting" and "reconnect Planning Center" in run["progress"]["waiting_for"]

    await eventually(reconnect_needed)
    grant = stage.grant(site)
    grant.token, grant.generation = site.church.tokens[1], 2
    await stage.authorized(site, version=2)
    await site.until(run_id, "done")
    assert len(site.people("Token")) == 4
    assert all(
        len([row for row in site.rows("Email") if row["address"] == f"token{number}@example.org"]) == 1
        for number in range(4)
    )


async def test_a_conflict_does_not_move_to_another_organization(sites: Sites, stage: Stage) -> None:
    """Both churches have the same ids here; only the organization distinguishes them."""
    site, elsewhere = await sites(), await sites()
    former = site.church
    elsewhere.edit_contact("Bruno", "PhoneNumber", number="(212) 555-0177")
    await site.sync()
    await elsewhere.visible()
    await stage.move(site, elsewhere.church, version=2)
    assert (await site.call("GET", "/status"))["last_run"] is None
    await site.settings(first_match="ask", threshold_percent=100)
    await site.sync()
    assert await site.conflicts() == {"Bruno": ["open"]}
    await stage.move(site, former, version=3)
    await site.sync()
    assert await site.conflicts() == {"Bruno": ["withdrawn"]}
    await stage.move(site, elsewhere.church, version=4)
    await site.settings(first_match="ask")
    await site.sync()
    assert await site.conflicts() == {"Bruno": ["withdrawn", "open"]}


async def test_another_planning_center_organization_and_back(sites: Sites, stage: Stage) -> None:
    """Data of one is not used for the other, and coming back creates nobody."""
    site, elsewhere = await sites(), await sites()
    former, new = site.church, elsewhere.church
    for row in elsewhere.rows("Person"):
        if row["first_name"] not in {"Adam", "Vera", "Bruno"}:
            elsewhere.delete(row["first_name"])
    elsewhere.edit_contact("Bruno", "PhoneNumber", number="(212) 555-0177")
    await site.settings(first_match="ours")
    await site.sync()
    await site.change("Carl", last_name="Here")
    site.edit("Carl", last_name="There")
    await site.visible()
    await site.sync()
    assert await site.conflicts() == {"Carl": ["open"]}
    await stage.move(site, new, version=2)
    mark = site.mark()
    run_id = await site.start()
    await waiting_for(site, run_id, "first_match")
    assert await site.conflicts() == {"Carl": ["withdrawn"]}
    await site.call("POST", f"/runs/{run_id}/answer", {"question": "first_match", "answer": "planning_center"})
    run = await site.until(run_id, "done")
    # Includes all but three people, and the households of all but Bruno.
    assert run["counts"]["created_there"] == PEOPLE_OF_SMALL - 3 + 3, run
    assert (await site.member("Bruno"))["phone"] == "(212) 555-0177"
    assert site.person("Carl")["last_name"] == "Here"
    families = "SELECT count(*) FROM family WHERE organization_id = $1 AND deleted_at IS NULL"
    assert await site.database.value(families, site.organization_id) == 4
    await stage.move(site, former, version=3)
    assert site.journal(mark) == []
    run = await site.sync()
    assert run["counts"].keys() <= {"unchanged", "updated_there", "conflict"}, run
    assert await site.conflicts() == {"Carl": ["withdrawn", "open"]}
    assert len(site.rows("Person")) == PEOPLE_OF_SMALL
    assert [row["number"] for row in site.contacts("Bruno", "PhoneNumber")] == ["(212) 555-0177"]


@pytest.mark.parametrize(
    "action",
    [
        {"kind": "respond", "status": 200, "body": "html"},
        {"kind": "truncate", "keep": 0.6, "mode": "length"},
        {"kind": "reset", "when": "after"},
    ],
    ids=["html", "cut off", "reset"],
)
async def test_the_first_question_is_repeated_and_answers_for_the_organization_too(
    site: Site, action: dict[str, Any]
) -> None:
    fault = site.fault(action, method="GET", path="^/people/v2/people$", query="include=organization", times=1)
    mark = site.mark()
    await site.sync()
    assert site.control.fault(fault)["acted"] == 1
    assert not any(entry["path"] == "/people/v2" for entry in site.journal(mark))
    country = "SELECT country_code FROM connection WHERE organization_id = $1"
    assert await site.database.value(country, site.organization_id) == "US"


async def test_the_country_of_a_former_organization_is_not_kept(sites: Sites, stage: Stage) -> None:
    """Planning Center's answer arrives after another organization was connected."""
    site, elsewhere = await sites(), await sites()
    held = site.fault({"kind": "hold", "when": "after"}, method="GET", path="^/people/v2/people$", times=1)
    run_id = await site.start()
    await eventually(lambda: site.control.fault(held)["holding"] >= 1)
    await stage.move(site, elsewhere.church, version=2)
    site.control.remove_fault(held)
    await site.until(run_id, "stopped")
    country = "SELECT country_code FROM connection WHERE organization_id = $1"
    assert await site.database.value(country, site.organization_id) is None


async def test_a_token_of_another_organization_is_not_used(sites: Sites, stage: Stage) -> None:
    """The grant changes to another organization while the fact about it is still under way."""
    site, elsewhere = await sites(), await sites()
    await site.sync()
    await site.add("Not", "There", email="not.there@example.org")
    stage.lender.grants[f"{stage.name}/{site.organization_id}"] = Grant(elsewhere.church, elsewhere.church.tokens[0], 2)
    mark = site.mark()
    run_id = await site.start()

    async def waits() -> bool:
        return "reconnect Planning Center" in str((await site.run(run_id))["progress"]["waiting_for"])

    await eventually(waits)
    assert elsewhere.journal(mark) == []
    assert elsewhere.people("Not") == []


async def test_a_viewer_may_not_write_and_the_run_says_so(site: Site, stage: Stage) -> None:
    await site.sync()
    await site.add("For", "Bidden")
    stage.grant(site).token, stage.grant(site).generation = site.church.viewer_token, 2
    run_id = await site.start()
    run = await site.until(run_id, "failed")
    assert "role Editor" in run["message"]
    assert site.people("For") == []
    scheduled = await site.database.value(
        "SELECT next_run_at FROM connection WHERE organization_id = $1", site.organization_id
    )
    assert scheduled is not None
    stage.grant(site).token, stage.grant(site).generation = site.church.tokens[1], 3
    await site.sync()
    assert len(site.people("For")) == 1


async def test_a_refused_record_is_grouped_and_tried_again(site: Site) -> None:
    await site.sync()
    for first in ("Refu", "Sed"):
        await site.add(first, "Record", email=f"{first.lower()}@example.org")
    await site.add("Fine", "Record", email="fine@example.org")
    refused = {"kind": "respond", "status": 422, "title": "Validation failed", "detail": "first_name is too odd"}
    faults = [
        site.fault({**refused, "when": "before"}, method="POST", path="/people/v2/people$", nth=number)
        for number in (1, 2)
    ]
    run = await site.sync()
    assert run["counts"]["rejected"] == 2
    assert run["counts"]["created_there"] == 1
    groups = (await site.call("GET", f"/runs/{run['id']}/rejections"))["items"]
    assert [group["count"] for group in groups] == [2]
    for fault in faults:
        site.control.remove_fault(fault)
    await site.believable()
    run = await site.sync()
    assert run["counts"]["created_there"] == 2
    assert [len(site.people(first)) for first in ("Refu", "Sed", "Fine")] == [1, 1, 1]


async def test_limit_lowered_from_100_to_10_mid_run(site: Site) -> None:
    await site.sync()
    for number in range(8):
        await site.add("Slow", f"Down{number}", email=f"slow{number}@example.org")
    site.fault({"kind": "settings", "values": {"rate_limit": 10}}, method="POST", path="/emails$", nth=2, times=1)
    try:
        run = await site.sync(within=120)
    finally:
        site.control.change_settings(rate_limit=100)
    assert run["counts"]["created_there"] == 8
    assert len(site.people("Slow")) == 8


async def test_a_household_whose_read_fails_for_long_is_not_forgotten(site: Site, quiet: None) -> None:
    """An outage longer than the client's patience, in the middle of an incremental run."""
    await site.sync()
    await site.believable()
    site.edit("Lee", grade=3)  # moves the cursor past all people with whom the household would be read
    await site.visible()
    await site.sync("incremental")
    site.rename_household("Dean Household", "Dean Family")
    await site.visible()
    fault = site.fault({"kind": "respond", "status": 503}, method="GET", path=r"/households/\d+$", times=5)
    run = await site.sync("incremental", within=120)
    assert site.control.fault(fault)["acted"] == 5
    assert run["counts"].get("updated_here") == 1, run
    assert await site.members_of("Dean Family") == ["Dan", "Dora"]


async def test_nobody_is_lost_doubled_or_left_waiting(stage: Stage, sites: Sites) -> None:
    """Stories of one church each, in parallel: events that come late, or at the wrong moment."""
    stories = (
        _family_gets_members_who_follow_later,
        _held_closes_when_gone,
        _gone_and_added_again_there,
        _create_again_answer_lost_then_stopped,
        _added_while_question_waits,
        _added_there_while_question_waits,
        _merged_between_pages,
        _family_conflict_closes,
        _deleted_there_stays_in_family_here,
        _edits_to_different_fields_are_pushed_beside_a_conflict,
        _a_record_that_always_fails_ends,
        _stopped_while_the_connection_ends,
    )
    places = [await sites() for _ in stories]
    await asyncio.gather(*(story(site, stage) for story, site in zip(stories, places, strict=True)))


async def _answer_held(site: Site, first: str, answer: str) -> None:
    (held,) = [
        row for row in (await site.call("GET", "/held-matches"))["items"] if row["theirs"]["first_name"] == first
    ]
    body: dict[str, Any] = {"answer": answer, "version": held["version"]}
    if answer == "same":
        body["member_id"] = held["candidates"][0]["member"]["id"]
    await site.call("POST", f"/held-matches/{held['id']}/answer", body)


async def _family_gets_members_who_follow_later(site: Site, stage: Stage) -> None:
    """A person identified by an answer after the household's creation joins it."""
    papa = await site.add("Papa", "Held", email="papa@example.org")
    hal = await site.add("Hal", "Held", email="hal.here@example.org")
    await site.family("Held Household", papa, hal)
    site.create("Hal", "Held", email="hal.there@example.org")
    await site.visible()
    await site.sync()
    assert site.household("Held Household") == ["Papa"]
    await _answer_held(site, "Hal", "different")
    await site.believable()
    await site.sync("incremental")
    assert len(site.people("Hal")) == 2
    assert site.household("Held Household") == ["Hal", "Papa"]


async def _held_closes_when_gone(site: Site, stage: Stage) -> None:
    """A held match ends when its person or its candidate is gone."""
    await site.add("Hal", "Held", email="hal.here@example.org")
    await site.add("Hope", "Held", email="hope.here@example.org")
    gone = site.create("Hal", "Held", email="hal.there@example.org")
    site.create("Hope", "Held", email="hope.there@example.org")
    await site.visible()
    await site.sync()
    site.mutate({"op": "delete", "id": gone})
    await site.remove("Hope")
    await site.visible()
    await site.believable()
    await site.sync()
    assert (await site.call("GET", "/held-matches"))["items"] == []
    await site.sync()
    assert [row["email"] for row in await site.members("Hal")] == ["hal.here@example.org"]
    assert len(site.people("Hal")) == 1
    assert len(await site.members("Hope")) == 1
    assert len(site.people("Hope")) == 1


async def _gone_and_added_again_there(site: Site, stage: Stage) -> None:
    """A gone person who comes back under a new id is the same member."""
    await site.sync()
    await site.believable()
    site.delete("Lee")
    await site.visible()
    await site.sync()
    site.create("Lee", "Lone", email="lee@example.org")
    await site.visible()
    await site.sync()
    assert len(await site.members("Lee")) == 1
    assert len(site.people("Lee")) == 1


async def _create_again_answer_lost_then_stopped(site: Site, stage: Stage) -> None:
    """A second creation whose answer was lost is found by the next run."""
    await site.sync()
    await site.believable()
    site.delete("Lee")
    await site.visible()
    await site.sync()
    lee = str((await site.member("Lee"))["id"])
    await site.call("POST", f"/members/{lee}/create-again")
    site.fault({"kind": "reset", "when": "after"}, method="POST", path="/people/v2/people$", times=1)
    run_id = await site.start()
    await eventually(lambda: len(site.people("Lee")) == 1)
    await site.call("POST", f"/runs/{run_id}/stop")
    await site.until(run_id, "stopped")
    await asyncio.sleep(site.horizon_seconds)
    await site.sync()
    await site.believable()
    await site.sync()
    assert len(site.people("Lee")) == 1
    assert (await site.call("GET", f"/members/{lee}"))["link"]["state"] == "linked"


async def _added_while_question_waits(site: Site, stage: Stage) -> None:
    """Members added during a question are doubled on neither side."""
    await site.add("Alan", "Abbot", email="ALAN@example.org", phone="(212) 555-0199")
    run_id = await site.start()
    await site.until(run_id, "waiting")
    await site.add("Carl", "Clark", email="carl@example.org")
    cora = site.person("Cora")["id"]
    dora = {"external_id": "d", "first_name": "Dora", "last_name": "Dean", "email": "dora@example.org"}
    family = {"external_id": "f", "name": "Dean Household", "member_external_ids": ["d"]}
    members = [{"external_id": "c", "first_name": "Cora", "last_name": "Clark", "pco_id": cora}, dora]
    await site.call("PUT", "/bulk", {"members": members, "families": [family]})
    await site.call("POST", f"/runs/{run_id}/answer", {"question": "first_match", "answer": "planning_center"})
    await site.until(run_id, "done")
    await site.sync()
    assert await site.members_of("Dean Household") == site.household("Dean Household") == ["Dan", "Dora"]
    assert [len(await site.members("Carl")), len(site.people("Carl"))] == [1, 1]
    assert [len(await site.members("Cora")), len(site.people("Cora"))] == [1, 1]
    assert await site.members_of("Clark Household") == ["Carl", "Cora"]


async def _added_there_while_question_waits(site: Site, stage: Stage) -> None:
    """After hours of waiting, people are read again before the answer is applied."""
    await site.add("Alan", "Abbot", email="ALAN@example.org", phone="(212) 555-0199")
    await site.add("Ute", "Late", email="ute@example.org")
    run_id = await site.start()
    await site.until(run_id, "waiting")
    site.create("Ute", "Late", email="ute@example.org")
    await site.visible()
    await site.database.fetch(
        "UPDATE remote SET read_at = read_at - interval '2 hours' WHERE run_id = $1", UUID(run_id)
    )
    await site.call("POST", f"/runs/{run_id}/answer", {"question": "first_match", "answer": "planning_center"})
    await site.until(run_id, "done")
    assert [len(await site.members("Ute")), len(site.people("Ute"))] == [1, 1]


async def _merged_between_pages(site: Site, stage: Stage) -> None:
    """A person read before the merger is not added as a new one."""
    kept = site.create("Una", "Kept", email="una@example.org")
    removed = site.create("Ugo", "Removed", email="ugo@example.org")
    await site.visible()
    fault = site.fault({"kind": "respond", "status": 503}, method="GET", path="/person_mergers$", times=5)
    run_id = await site.start()
    await eventually(lambda: site.control.fault(fault)["acted"] >= 1)
    site.merge(kept, removed)
    await site.until(run_id, "done")
    assert await site.members("Ugo") == []
    assert len(await site.members("Una")) == 1


async def _family_conflict_closes(site: Site, stage: Stage) -> None:
    """A family's conflict also closes by itself."""
    await site.sync()
    await site.believable()
    dean = (await site.family_of("Dean Household"))["id"]
    await site.call("PATCH", f"/families/{dean}", {"name": "Dean Here"})
    site.rename_household("Dean Household", "Dean There")
    await site.visible()
    await site.sync()
    await site.call("PATCH", f"/families/{dean}", {"name": "Dean There"})
    await site.sync("incremental")
    states = await site.database.fetch("SELECT state FROM conflict WHERE organization_id = $1", site.organization_id)
    assert states == [{"state": "converged"}]


async def _deleted_there_stays_in_family_here(site: Site, stage: Stage) -> None:
    """A person deleted there leaves the household, but not the family here."""
    await site.sync()
    await site.believable()
    site.delete("Dan")
    await site.visible()
    await site.sync()
    assert await site.members_of("Dean Household") == ["Dan", "Dora"]


async def _edits_to_different_fields_are_pushed_beside_a_conflict(site: Site, stage: Stage) -> None:
    """Only fields changed on both sides wait for a decision."""
    await site.settings(merge_different_fields=True)
    await site.sync()
    await site.change("Carl", last_name="Here", phone="(212) 555-0177")
    site.edit("Carl", last_name="There")
    await site.visible()
    run = await site.sync()
    assert run["counts"]["conflict"] == 1
    assert ((await site.member("Carl"))["last_name"], site.person("Carl")["last_name"]) == ("Here", "There")
    assert [row["number"] for row in site.contacts("Carl", "PhoneNumber")] == ["(212) 555-0177"]


async def _a_record_that_always_fails_ends(site: Site, stage: Stage) -> None:
    """A record whose writes all fail does not keep the run from ending."""
    await site.sync()
    await site.change("Bruno", last_name="Bakerson")
    site.fault({"kind": "respond", "status": 500}, method="PATCH", path=r"/people/v2/people/\d+$")
    run = await site.sync(within=240)
    assert run["counts"].get("later") == 1


async def _stopped_while_the_connection_ends(site: Site, stage: Stage) -> None:
    """A stop is not lost if the token ends at the same time."""
    await site.sync()
    for number in range(20):
        await site.add("Stop", f"Safely{number}", email=f"stop{number}@example.org")
    held = site.fault({"kind": "hold", "when": "before"}, method="POST", path="/people/v2/people$")
    run_id = await site.start()
    await eventually(lambda: site.control.fault(held)["holding"] >= 1, within=120)
    stage.grant(site).usable = False
    site.control.remove_fault(held)
    site.fault({"kind": "end_token", "op": "revoke", "which": "both"}, method="POST", path="/emails$", times=1)
    await site.call("POST", f"/runs/{run_id}/stop")
    await site.until(run_id, "stopped")
