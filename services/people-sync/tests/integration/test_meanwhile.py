"""Edits during a run, or while an answer is lost: nobody is doubled or overwritten."""

import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from sync_harness.site import Site

from servicekit.testing import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")
LAST = {"Alan": "Abbot", "Carl": "Clark"}
Meanwhile = Callable[[str, str], Awaitable[None]]
"""Gets the first name of somebody whom the run has compared and not applied yet, and that member's id."""


async def matched_while(site: Site, meanwhile: Meanwhile, **values: Any) -> str:
    """A run that has matched two members in Planning Center, then the event, then runs until nothing changes.

    Gives the first name of the concerned member. `values`: values of both members.
    """
    await site.settings(first_match="planning_center")
    ids = {first: await site.add(first, last, email=f"{first}@example.org", **values) for first, last in LAST.items()}
    first, second = sorted(LAST, key=lambda name: ids[name])
    async with site.held_up_at(ids[first]):
        run_id = await site.start()
        await site.waits()
        await meanwhile(second, ids[second])
    await site.until(run_id, "done")
    await site.believable()
    await site.sync("incremental")
    return second


async def test_a_corrected_match_keeps_its_edit(site: Site) -> None:
    """A match only holds for the values it was made from."""

    async def correct(first_name: str, member_id: str) -> None:
        otto = {"first_name": "Otto", "last_name": "Orr", "email": "otto@example.org"}
        await site.call("PATCH", f"/members/{member_id}", otto)

    second = await matched_while(site, correct, phone="(212) 555-0199")
    otto = await site.member("Otto")
    assert (otto["last_name"], otto["email"], otto["phone"]) == ("Orr", "otto@example.org", "(212) 555-0199")
    assert [len(site.people(name)) for name in ("Otto", *LAST)] == [1, 1, 1]
    assert len(await site.members(second)) == 1


@pytest.mark.parametrize("deleted", [False, True], ids=["corrected", "deleted"])
async def test_the_other_record_of_a_postponed_match_is_not_created_there(site: Site, deleted: bool) -> None:
    """A person is here twice, and the matched member is deleted; the other one may be the same person."""

    async def go(first_name: str, member_id: str) -> None:
        if deleted:
            await site.call("DELETE", f"/members/{member_id}")
        else:
            otto = {"first_name": "Otto", "last_name": "Orr", "email": "otto@example.org"}
            await site.call("PATCH", f"/members/{member_id}", otto)

    for first, last in LAST.items():
        await site.add(first, last, phone="(212) 555-0199")
    second = await matched_while(site, go)
    assert len(site.people(second)) == 1
    assert len(await site.members(second)) == 1
    [question] = (await site.call("GET", "/held-matches"))["items"]
    assert question["theirs"]["first_name"] == second


async def test_a_member_corrected_to_match_a_person_is_not_created_there(site: Site) -> None:
    nina = await site.add("Nina", "New")

    async def correct(first_name: str, _: str) -> None:
        amy = {"first_name": "Amy", "last_name": "Abbot", "email": "amy@example.org"}
        await site.call("PATCH", f"/members/{nina}", amy)

    await matched_while(site, correct)
    assert len(site.people("Amy")) == len(await site.members("Amy")) == 1
    assert site.people("Nina") == []


async def test_answered_as_different_during_the_run(site: Site) -> None:
    await site.settings(first_match="planning_center")
    hal = await site.add("Hal", "Held", email="hal.here@example.org", phone="(212) 555-0199")
    site.create("Hal", "Held", email="hal.there@example.org")
    await site.visible()
    await site.sync()
    await site.call("PATCH", f"/members/{hal}", {"email": "hal.there@example.org"})
    [held] = (await site.call("GET", "/held-matches"))["items"]
    site.edit("Carl", last_name="There")
    await site.visible()
    async with site.held_up("Carl"):
        run_id = await site.start()
        await site.waits()
        await site.call(
            "POST", f"/held-matches/{held['id']}/answer", {"answer": "different", "version": held["version"]}
        )
    await site.until(run_id, "done")
    await site.believable()
    await site.sync()
    assert len(site.people("Hal")) == len(await site.members("Hal")) == 2
    linked = await site.database.value("SELECT pco_id FROM link WHERE record_id::text = $1", hal)
    assert linked not in {None, held["pco_id"]}


async def test_a_family_with_other_members_by_now_is_not_the_household(site: Site) -> None:
    """Nor is that family created there a second time."""
    zed = await site.add("Zed", "Zimmer", email="zed@example.org")
    families: dict[str, str] = {}
    for first in LAST:
        families[first] = await site.family(f"Group {first}", zed)

    async def move(first_name: str, member_id: str) -> None:
        await site.call("PATCH", f"/families/{families[first_name]}", {"member_ids": [member_id]})

    second = await matched_while(site, move)
    assert len(site.rows("Household")) == 4 + 1
    assert second in await site.members_of(f"{LAST[second]} Household")
    assert "Zed" not in await site.members_of(f"{LAST[second]} Household")


async def test_a_question_about_another_person_postpones_nobody_for_ever(site: Site) -> None:
    """One shared e-mail, and a namesake by the legal name only: runs and single syncs use the same candidates."""
    await site.settings(first_match="planning_center")
    await site.add("Robert", "Smith", email="home@example.org", birthdate="1950-01-01")
    site.create("Bob", "Smith", email="home@example.org", given_name="Robert", birthdate="1980-01-01")
    site.create("Amy", "Jones", email="home@example.org")
    await site.visible()
    run = await site.sync()
    assert [one["name"] for one in await site.items(run["id"], "later")] == ["Robert Smith"], "who may be Bob"
    assert [member["last_name"] for member in await site.members("Amy")].count("Jones") == 1


@pytest.mark.parametrize("stopped", [False, True], ids=["same run", "next run"])
async def test_corrected_here_while_the_answer_to_a_creation_is_lost(site: Site, stopped: bool) -> None:
    """The sent values are agreed, not the present ones; the correction is an edit that goes there."""
    await site.settings(first_match="planning_center")
    await site.sync()
    nina = await site.add("Nina", "New", birthdate="1980-01-01")
    await lose_the_answer(site, "^/people/v2/people$", stopped=stopped, meanwhile=lambda: correct_nina(site, nina))
    assert (await site.member("Nora"))["birthdate"].isoformat() == "1981-02-02"
    [there] = [row for row in site.rows("Person") if row["last_name"] in {"New", "Newman"}]
    assert (there["first_name"], there["last_name"], there["birthdate"]) == ("Nora", "Newman", "1981-02-02")
    told = "SELECT side, field FROM effect WHERE record_id = $1 AND field IN ('created', 'planning_center_id')"
    assert await site.database.fetch(told, UUID(nina)) == [{"side": "there", "field": "created"}]
    assert await site.conflicts() == {}


async def test_deleted_here_while_the_answer_to_a_creation_is_lost(site: Site) -> None:
    await site.settings(first_match="planning_center", inactivate_deleted=True)
    await site.sync()
    nina = await site.add("Nina", "New")

    async def delete() -> None:
        await site.call("DELETE", f"/members/{nina}")

    await lose_the_answer(site, "^/people/v2/people$", stopped=True, meanwhile=delete)
    assert [row["status"] for row in site.people("Nina")] == ["inactive"]
    assert await site.members("Nina") == []
    run = await site.sync("incremental")
    assert run["counts"].keys() <= {"unchanged"}, await site.items(run["id"])


async def test_family_deleted_here_while_the_answer_to_its_creation_is_lost(site: Site) -> None:
    await site.settings(first_match="planning_center")
    await site.sync()
    family = await site.family("New Household", await site.add("Nina", "New"))

    async def delete() -> None:
        await site.call("DELETE", f"/families/{family}")

    await lose_the_answer(site, "^/people/v2/households$", stopped=True, meanwhile=delete)
    there = "SELECT count(*) FROM family WHERE organization_id = $1 AND name = 'New Household' AND deleted_at IS NULL"
    assert await site.database.value(there, site.organization_id) == 0
    assert site.household("New Household") == ["Nina"]


async def correct_nina(site: Site, member_id: str) -> None:
    await site.call(
        "PATCH", f"/members/{member_id}", {"first_name": "Nora", "last_name": "Newman", "birthdate": "1981-02-02"}
    )


@pytest.mark.parametrize("stopped", [False, True], ids=["same run", "next run"])
async def test_contact_corrected_here_while_the_answer_is_lost(site: Site, stopped: bool) -> None:
    await site.settings(first_match="planning_center")
    await site.sync()
    nina = await site.add("Nina", "New", email="nina@example.org")

    async def correct() -> None:
        await site.call("PATCH", f"/members/{nina}", {"email": "nora@example.org"})

    await lose_the_answer(site, "^/people/v2/people/[0-9]+/emails$", stopped=stopped, meanwhile=correct)
    assert (await site.member("Nina"))["email"] == "nora@example.org"
    assert [row["address"] for row in site.contacts("Nina", "Email")] == ["nora@example.org"]
    assert await site.conflicts() == {}
    assert await open_intents(site) == []


@pytest.mark.parametrize("stopped", [False, True], ids=["same run", "next run"])
async def test_family_corrected_here_while_the_answer_is_lost(site: Site, stopped: bool) -> None:
    await site.settings(first_match="planning_center")
    await site.sync()
    one, two, three = [await site.add(name, "New") for name in ("Nina", "Nils", "Noah")]
    family = await site.family("New Household", one, two)

    async def correct() -> None:
        await site.call("PATCH", f"/families/{family}", {"name": "Newman Household", "member_ids": [one, three]})

    await lose_the_answer(site, "^/people/v2/households$", stopped=stopped, meanwhile=correct)
    assert await site.members_of("Newman Household") == site.household("Newman Household") == ["Nina", "Noah"]
    assert len(site.rows("Household")) == 4 + 1


@pytest.mark.parametrize("again", ["created again", "added again there"])
async def test_a_gone_person_who_comes_back_stays_in_the_family(site: Site, again: str) -> None:
    await site.settings(first_match="planning_center")
    await site.sync()
    ids = {name: await site.add(name, "New", email=f"{name}@example.org") for name in ("Nina", "Nils", "Noah")}
    family = await site.family("New Household", *ids.values())
    await settle(site)
    site.delete("Nils")
    await site.visible()
    await site.sync()
    if again == "created again":
        await site.call("POST", f"/members/{ids['Nils']}/create-again")
    else:
        site.create("Nils", "New", email="nils@example.org")
        await site.visible()
    await settle(site)
    await site.call("PATCH", f"/families/{family}", {"name": "Newman Household"})
    await settle(site)
    assert await site.members_of("Newman Household") == site.household("Newman Household") == ["Nils", "Nina", "Noah"]


async def test_primary_contact_corrected_here_while_the_answer_is_lost(site: Site) -> None:
    """The people are there already, so their household is looked for by the sent values."""
    await site.settings(first_match="planning_center")
    await site.sync()
    one, two = [await site.add(name, "New") for name in ("Nina", "Nils")]
    await settle(site)
    family = await site.family("New Household", one, two)
    await site.call("PATCH", f"/families/{family}", {"primary_contact_id": one})

    async def correct() -> None:
        await site.call("PATCH", f"/families/{family}", {"primary_contact_id": two})

    await lose_the_answer(site, "^/people/v2/households$", stopped=False, meanwhile=correct)
    assert str((await site.family_of("New Household"))["primary_contact_id"]) == two
    [household] = [row for row in site.rows("Household") if row["name"] == "New Household"]
    assert str(household["primary_contact_id"]) == site.person("Nils")["id"]
    assert await open_intents(site) == []


async def test_a_person_gone_before_the_creation_of_the_household_is_repeated(site: Site) -> None:
    await site.settings(first_match="planning_center")
    await site.sync()
    members = [await site.add(name, "New") for name in ("Nina", "Nils", "Noah")]
    await settle(site)
    await site.family("New Household", *members)

    async def delete() -> None:
        site.delete("Nina")
        await site.visible()

    await lose_the_answer(site, "^/people/v2/households$", stopped=True, meanwhile=delete, when="before")
    assert site.household("New Household") == ["Nils", "Noah"]
    assert await site.members_of("New Household") == ["Nils", "Nina", "Noah"]


@pytest.mark.parametrize("same", [False, True], ids=["another person", "the person created"])
async def test_an_id_is_supplied_while_the_answer_to_a_creation_is_lost(site: Site, same: bool) -> None:
    await site.settings(first_match="planning_center")
    await site.sync()
    nina = {"external_id": "n", "first_name": "Nina", "last_name": "New", "birthdate": "1980-01-01"}
    await site.call("PUT", "/bulk", {"members": [nina]})

    async def supply() -> None:
        pco_id = site.person("Nina")["id"] if same else site.create("Nora", "Newman")
        await site.visible()
        await site.call("PUT", "/bulk", {"members": [nina | {"birthdate": "1981-02-02", "pco_id": pco_id}]})

    await lose_the_answer(site, "^/people/v2/people$", stopped=True, meanwhile=supply)
    run = await site.sync("incremental")
    assert await site.items(run["id"], "later") == []
    if same:
        assert [str(member["birthdate"]) for member in await site.members("Nina")] == ["1981-02-02"]
        assert site.person("Nina")["birthdate"] == "1981-02-02"
    else:
        assert len(await site.members("Nina")) + len(await site.members("Nora")) == 2


async def test_a_conflict_that_ended_before_it_was_opened_is_not_counted(site: Site) -> None:
    await site.settings(first_match="planning_center")
    await site.sync()
    await site.believable()
    ids = {name: str((await site.member(name))["id"]) for name in LAST}
    first, second = sorted(LAST, key=lambda name: ids[name])
    site.edit(first, last_name="There")
    site.edit(second, last_name="There")
    await site.change(second, last_name="Here", birthdate="1970-01-01")
    await site.visible()
    async with site.held_up_at(ids[first]):
        run_id = await site.start()
        await site.waits()
        await site.change(second, last_name="There")
    await site.until(run_id, "done")
    outcomes = {item["record_id"]: item["outcome"] for item in await site.items(run_id)}
    assert (outcomes[ids[first]], outcomes[ids[second]]) == ("updated_here", "updated_there")
    assert await site.conflicts() == {}


async def test_a_new_link_is_published_with_a_new_version(site: Site) -> None:
    await site.settings(first_match="planning_center")
    linked = await site.add("Zoe", "Zink", email="zoe@example.org")
    family = await site.family("New Household", await site.add("Nina", "New"))
    site.create("Zoe", "Zink", email="zoe@example.org")
    await site.visible()
    before = [await site.call("GET", path) for path in (f"/members/{linked}", f"/families/{family}")]
    await settle(site)
    after = [await site.call("GET", path) for path in (f"/members/{linked}", f"/families/{family}")]
    assert all(record["link"] is None for record in before)
    assert all(record["link"]["state"] == "linked" for record in after)
    assert all(late["version"] > early["version"] for early, late in zip(before, after, strict=True))
    run = await site.sync()
    assert run["counts"].keys() <= {"unchanged"}, await site.items(run["id"])
    assert [await site.call("GET", path) for path in (f"/members/{linked}", f"/families/{family}")] == after


async def settle(site: Site) -> None:
    """Two runs; the second one's reads show everything that the first has written."""
    await site.sync()
    await site.believable()
    await site.sync()


async def open_intents(site: Site) -> list[dict[str, Any]]:
    return await site.database.fetch(
        "SELECT kind, content FROM creation WHERE organization_id = $1 AND state = 'sent'", site.organization_id
    )


async def lose_the_answer(
    site: Site, path: str, *, stopped: bool, meanwhile: Callable[[], Awaitable[None]], when: str = "after"
) -> None:
    """A creation succeeds there but its answer is lost; `meanwhile` happens before the search for it.

    Then a sync that may not see it yet, and three that do; the last one has nothing to do.
    """
    fault = site.fault({"kind": "reset", "when": when}, method="POST", path=path, times=1)
    run_id = await site.start()
    await eventually(lambda: site.control.fault(fault)["acted"] >= 1)
    visible_at = time.monotonic() + site.lag_seconds
    if stopped:
        await site.call("POST", f"/runs/{run_id}/stop")
        await site.until(run_id, "stopped")
    await meanwhile()
    if not stopped:
        await site.until(run_id, "done")
    await site.sync()
    await eventually(lambda: time.monotonic() > visible_at)
    for _ in range(3):
        await site.believable()
        run = await site.sync()
    assert run["counts"].keys() <= {"unchanged"}, await site.items(run["id"])


async def test_a_newcomer_linked_by_another_job_meanwhile_is_not_doubled(site: Site) -> None:
    """Many are added by one statement; if one is linked at the same time, the engine handles the batch one by one."""
    await site.settings(first_match="planning_center")
    dora = site.person("Dora")
    elsewhere = await site.add("Somebody", "Else", email="else@example.org")
    link = (
        "INSERT INTO link (organization_id, pco_organization_id, kind, record_id, pco_id, state, agreed, agreed_at, "
        "kept_different, contacts, compared_version, create_again) "
        "VALUES ($1, $2, 'member', $3::text::uuid, $4, 'linked', '{}', '{}', '{}', '{}', 0, false)"
    )
    async with site.database.connection() as connection:
        async with connection.transaction():
            await connection.execute(link, site.organization_id, site.church.id, elsewhere, dora["id"])
            run_id = await site.start()
            await site.waits()
        run = await site.until(run_id, "done")
    assert "Dora Dean" in [item["name"] for item in await site.items(run_id, "later")]
    assert run["counts"]["created_here"] > 0
    await site.believable()
    await site.sync("incremental")
    assert (await site.member("Dora"))["id"] == UUID(elsewhere)
    assert len(site.people("Dora")) == len(await site.members("Dora")) == 1


# --- no first-match choice was made, because none was needed when the run could have asked ---------------------------


async def asks_next(site: Site) -> None:
    """Check that the next full run asks for the first-match choice."""
    await site.believable()
    run = await site.until(await site.start(), "waiting")
    assert run["question"]["kind"] == "first_match"


# Kind: a default decides without a question.
async def test_an_id_supplied_during_a_run_overwrites_nothing_unasked(site: Site) -> None:
    lea = {"external_id": "lea", "first_name": "Lea", "last_name": "Other", "email": "lea@example.org"}
    await site.call("PUT", "/bulk", {"members": [lea]})
    await site.add("Bruno", "Baker", email="bruno@example.org")
    there = site.person("Lee")["id"]
    async with site.held_up("Bruno"):
        run_id = await site.start()
        await site.waits()
        await site.call("PUT", "/bulk", {"members": [lea | {"pco_id": there}]})
    await site.until(run_id, "done")
    here = await site.member("Lea")
    assert (here["last_name"], here["email"]) == ("Other", "lea@example.org")
    assert site.person("Lee")["last_name"] == "Lane"
    assert [row["address"] for row in site.contacts("Lee", "Email")] == ["lee@example.org"]
    sentences = [item["sentence"] for item in await site.items(run_id)]
    assert any("nobody has chosen yet" in (sentence or "") for sentence in sentences), sentences
    await asks_next(site)


async def test_a_value_edited_during_a_run_is_not_overwritten_unasked(site: Site) -> None:
    """When the run could have asked, the two were equal, or one was empty."""
    ids = {first: await site.add(first, last, email=f"{first}@example.org") for first, last in LAST.items()}
    first, second = sorted(LAST, key=lambda name: ids[name])
    phone = [row["number"] for row in site.contacts(second, "PhoneNumber")]
    async with site.held_up_at(ids[first]):
        run_id = await site.start()
        await site.waits()
        await site.change(second, phone="(212) 555-0199")
    await site.until(run_id, "done")
    assert (await site.member(second))["phone"] == "(212) 555-0199"
    assert [row["number"] for row in site.contacts(second, "PhoneNumber")] == phone
    await asks_next(site)


# Kind: an effect is reported that did not happen.
async def test_a_change_only_here_is_reported_as_such(site: Site) -> None:
    """Right before the write somebody there enters the same phone and another last name, so nothing is sent."""
    await site.sync()
    carl = str((await site.member("Carl"))["id"])
    await site.change("Carl", phone="(212) 555-0198")
    person = site.person("Carl")["id"]
    held = site.fault({"kind": "hold", "when": "before"}, method="GET", path=rf"/people/v2/people/{person}$")
    mark = site.mark()
    run_id = await site.start()
    await eventually(lambda: site.control.fault(held)["holding"] >= 1)
    site.edit("Carl", last_name="There")
    site.edit_contact("Carl", "PhoneNumber", number="(212) 555-0198")
    await site.visible()
    site.control.remove_fault(held)
    run = await site.until(run_id, "done")
    assert (await site.member("Carl"))["last_name"] == "There"
    assert site.journal(mark, writes=True) == []
    outcomes = {item["record_id"]: item["outcome"] for item in await site.items(run_id)}
    assert (outcomes[carl], run["counts"]["updated_here"]) == ("updated_here", 1)
