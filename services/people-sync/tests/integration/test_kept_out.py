"""Records kept out of the sync stay unchanged on both sides. At the end both sides are compared."""

from datetime import UTC, datetime
from typing import Any, Literal
from uuid import uuid4

import pytest
from sync_harness.site import Site
from sync_harness.stage import Stage

from contracts.conflicts import Choice
from contracts.events.conflicts_resolution_v1 import ConflictResolved
from contracts.values import CONFLICT_SERVICE
from servicekit.testing import eventually
from servicekit.testing.facts import publish

pytestmark = pytest.mark.asyncio(loop_scope="session")

Kind = Literal["full", "incremental"]
BAKERS = "Baker Household"
OUR_PHONE, THEIR_PHONE = "(212) 555-0150", "(212) 555-0160"


def there(site: Site, first_name: str = "Bruno") -> tuple[str, str, str | None]:
    """Planning Center's phone, last name and birthdate."""
    person = site.person(first_name)
    return site.contacts(first_name, "PhoneNumber")[0]["number"], person["last_name"], person.get("birthdate")


async def here(site: Site, first_name: str = "Bruno") -> tuple[str, str, str | None]:
    """Our phone, last name and birthdate."""
    member = await site.member(first_name)
    birthdate = member["birthdate"]
    return member["phone"], member["last_name"], birthdate.isoformat() if birthdate else None


async def in_conflict(site: Site) -> dict[str, Any]:
    """Bruno's phone differs, and each side has a further edit."""
    await site.sync()
    await site.change("Bruno", phone=OUR_PHONE, birthdate="1980-02-03")
    site.edit_contact("Bruno", "PhoneNumber", number=THEIR_PHONE)
    site.edit("Bruno", last_name="Bakerson")
    await site.visible()
    assert (await site.sync())["counts"]["conflict"] == 1
    return await conflict_of(site, "Bruno")


async def conflict_of(site: Site, first_name: str) -> dict[str, Any]:
    """The newest conflict of a member."""
    rows = await site.database.fetch(
        "SELECT conflict.* FROM conflict JOIN member ON member.id = record_id WHERE conflict.organization_id = $1"
        " AND first_name = $2 ORDER BY opened_at DESC LIMIT 1",
        site.organization_id,
        first_name,
    )
    return rows[0]


def decision(site: Site, conflict: dict[str, Any], choice: Choice) -> ConflictResolved:
    """The fact that conflict-service publishes."""
    return ConflictResolved(
        organization_id=site.organization_id,
        version=2,
        conflict_id=str(conflict["id"]),
        record_id=str(conflict["record_id"]),
        decision_id=str(uuid4()),
        decided_on=conflict["values_version"],
        choices={field["field"]: choice for field in conflict["fields"]},
        decided_by="user-ada",
        decided_by_name="Ada Moreno",
        decided_at=datetime.now(UTC),
    )


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
    (id_,) = [row["id"] for row in site.rows("Household") if row["name"] == household]
    attributes = {"primary_contact_id": site.person(first_name)["id"]}
    site.mutate({"op": "edit", "type": "Household", "id": id_, "attributes": attributes})


async def path_of(site: Site, first_name: str) -> str:
    return f"/members/{(await site.member(first_name))['id']}"


async def family_path(site: Site, name: str = BAKERS) -> str:
    return f"/families/{(await site.family_of(name))['id']}"


async def keep_out(site: Site, *first_names: str) -> None:
    for first_name in first_names:
        assert (await site.call("POST", f"{await path_of(site, first_name)}/kept-out"))["kept_out"] is True


async def sync_again(site: Site, *first_names: str) -> None:
    for first_name in first_names:
        assert (await site.call("DELETE", f"{await path_of(site, first_name)}/kept-out"))["kept_out"] is False
    await site.looked_at()


async def refreshed(site: Site, **which: Any) -> str:
    """Queue a sync of a record, as a webhook does, and wait for its end; gives the outcome."""
    id_ = uuid4()
    await site.database.fetch(
        "INSERT INTO refresh (id, organization_id, pco_organization_id, kind, record_id, pco_id, reasons, urgent,"
        " not_before, state, tries, requested_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, '{asked}', true, now(), 'queued', 0, now())",
        id_,
        site.organization_id,
        site.church.id,
        which.get("kind", "member"),
        which.get("record_id"),
        which.get("pco_id"),
    )

    async def done() -> str | None:
        (row,) = await site.database.fetch("SELECT state, outcome FROM refresh WHERE id = $1", id_)
        return row["outcome"] if row["state"] == "done" else None

    return str(await eventually(done, within=60))


async def left_alone(site: Site, *names: str, kinds: tuple[Kind, ...] = ("incremental", "full")) -> None:
    """Check that runs of both kinds write nothing there, and list exactly these as kept out."""
    await site.believable()
    for kind in kinds:
        mark = site.mark()
        run = await site.sync(kind)
        assert site.journal(mark, writes=True) == []
        items = await site.items(run["id"], "kept_out")
        assert sorted(item["name"] for item in items) == sorted(names)
        assert run["counts"]["kept_out"] == len(names)
        assert run["counts"].keys() <= {"kept_out", "unchanged"}, run["counts"]


async def settled(site: Site) -> None:
    """Check that nobody is kept out, and that a sync writes nothing."""
    await site.believable()
    mark = site.mark()
    assert (await site.sync())["counts"].keys() == {"unchanged"}
    assert site.journal(mark, writes=True) == []


async def link_of(site: Site, first_name: str) -> dict[str, Any]:
    member = await site.member(first_name)
    (link,) = await site.database.fetch("SELECT * FROM link WHERE record_id = $1", member["id"])
    return link


# --- edits ------------------------------------------------------------------------------------------------------------


async def test_edits_of_either_side_stay_on_that_side(site: Site) -> None:
    await site.sync()
    await keep_out(site, "Bruno")
    await site.change("Bruno", phone=OUR_PHONE)
    site.edit("Bruno", last_name="Bakerson")
    await site.visible()
    ours, theirs = await here(site), there(site)
    await left_alone(site, "Bruno Baker")
    assert (await here(site), there(site)) == (ours, theirs)
    assert (ours[0], theirs[1]) == (OUR_PHONE, "Bakerson")
    assert await site.conflicts() == {}
    status = await site.call("GET", "/status")
    listed = (await site.call("GET", "/members?state=kept_out"))["items"]
    assert status["kept_out"] == 1
    assert [(one["first_name"], one["kept_out"]) for one in listed] == [("Bruno", True)]


@pytest.mark.parametrize("side", ["here", "there", "both"])
async def test_the_end_compares_with_the_values_agreed_before(site: Site, side: str) -> None:
    await site.settings(first_match="planning_center")
    await site.sync()
    await keep_out(site, "Bruno")
    if side != "there":
        await site.change("Bruno", phone=OUR_PHONE)
    if side != "here":
        site.edit_contact("Bruno", "PhoneNumber", number=THEIR_PHONE)
    await site.visible()
    await left_alone(site, "Bruno Baker")
    await sync_again(site, "Bruno")
    if side == "both":
        conflict = await conflict_of(site, "Bruno")
        (field,) = conflict["fields"]
        assert (conflict["state"], field["base"]) == ("open", "(212) 555-0104")
        assert ((await here(site))[0], there(site)[0]) == (OUR_PHONE, THEIR_PHONE)
        return
    value = OUR_PHONE if side == "here" else THEIR_PHONE
    assert ((await here(site))[0], there(site)[0]) == (value, value)
    await settled(site)


async def test_calls_are_idempotent_and_other_organizations_get_404(site: Site, stage: Stage) -> None:
    await site.sync()
    path = f"{await path_of(site, 'Bruno')}/kept-out"
    first = await site.call("POST", path)
    assert await site.call("POST", path) == first
    assert (first["by_name"], first["family_id"]) == ("Test User", None)
    other = await stage.site()
    for method in ("GET", "POST", "DELETE"):
        await other.call(method, path, status=404)
        await other.call(method, f"{await family_path(site)}/kept-out", status=404)
    await site.call("DELETE", path)
    assert (await site.call("DELETE", path))["kept_out"] is False
    items = (await site.call("GET", f"{await path_of(site, 'Bruno')}/history"))["items"]
    told = [(one["new"], one["by_name"]) for one in items if one["field"] == "kept_out"]
    assert told == [(False, "Test User"), (True, "Test User")]
    await site.looked_at()
    await settled(site)


async def test_the_record_is_published_to_the_platform(church: Any) -> None:
    """Also without a connection."""
    member = await church.add(first_name="Ann")
    family = await church.call("POST", "/families", {"name": "Smith", "member_ids": [member["id"]]}, status=201)
    await church.events()
    for method, kept in (("POST", True), ("DELETE", False)):
        await church.call(method, f"/families/{family['id']}/kept-out")
        facts = {kind: body for kind, _, body in await church.events()}
        assert facts.keys() == {"MemberChanged", "FamilyChanged"}
        assert facts["MemberChanged"]["member"]["kept_out"] is kept
        assert facts["FamilyChanged"]["family"]["kept_out"] is kept
        items = (await church.call("GET", f"/members/{member['id']}/history"))["items"]
        assert (items[0]["field"], items[0]["new"], items[0]["rule"]) == ("kept_out", kept, "with_family")


# --- one by itself ----------------------------------------------------------------------------------------------------


async def test_a_single_sync_leaves_it_alone(site: Site) -> None:
    await site.settings(first_match="planning_center")
    await site.sync()
    await keep_out(site, "Bruno")
    await site.change("Bruno", phone=OUR_PHONE)
    site.edit("Bruno", last_name="Bakerson")
    await site.visible()
    ours, theirs = await here(site), there(site)
    refused = await site.call("POST", f"{await path_of(site, 'Bruno')}/sync", status=409)
    assert refused["type"].endswith("kept-out")
    mark = site.mark()
    member = await site.member("Bruno")
    assert await refreshed(site, record_id=member["id"]) == "kept_out"
    assert site.journal(mark) == []
    # As for a webhook about a person linked meanwhile.
    assert await refreshed(site, pco_id=site.person("Bruno")["id"]) == "kept_out"
    # Their family is synced without them.
    await site.call("POST", f"{await family_path(site)}/sync")
    await site.looked_at()
    assert (await here(site), there(site)) == (ours, theirs)
    assert site.journal(mark, writes=True) == []


# --- conflicts --------------------------------------------------------------------------------------------------------


async def test_a_conflict_is_withdrawn_and_found_again_after_it(site: Site, stage: Stage) -> None:
    await in_conflict(site)
    ours, theirs = await here(site), there(site)
    await keep_out(site, "Bruno")
    assert await site.conflicts() == {"Bruno": ["withdrawn"]}
    await left_alone(site, "Bruno Baker")
    assert await site.conflicts() == {"Bruno": ["withdrawn"]}
    await site.believable()
    await sync_again(site, "Bruno")
    assert await site.conflicts() == {"Bruno": ["withdrawn", "open"]}
    assert (await here(site), there(site)) == (ours, theirs)


async def test_a_pending_decision_is_overtaken(site: Site, stage: Stage) -> None:
    conflict = await in_conflict(site)
    ours, theirs = await here(site), there(site)
    of_site = "UPDATE connection SET state = $2 WHERE organization_id = $1"
    await site.database.fetch(of_site, site.organization_id, "reconnect_required")
    asked = decision(site, conflict, "ours")
    await publish(stage.kafka, asked, CONFLICT_SERVICE)

    async def taken() -> bool:
        return (await conflict_of(site, "Bruno"))["decision"] is not None

    await eventually(taken)
    await keep_out(site, "Bruno")
    await site.database.fetch(of_site, site.organization_id, "connected")
    facts = await stage.told(site, "people.conflict.v1", 3)
    assert [kind for kind, _ in facts] == ["ConflictDetected", "ResolutionOvertaken", "ConflictWithdrawn"]
    assert facts[1][1]["decision_id"] == asked.decision_id
    assert facts[1][1]["sentence"].startswith("The record was kept out of the sync")
    # Published again, and late.
    await publish(stage.kafka, asked, CONFLICT_SERVICE)
    await left_alone(site, "Bruno Baker")
    assert (await here(site), there(site)) == (ours, theirs)


async def test_a_kept_difference_cannot_be_ended_meanwhile(site: Site) -> None:
    await site.sync()
    await keep_out(site, "Bruno")
    path = f"{await path_of(site, 'Bruno')}/differences/phone"
    assert (await site.call("DELETE", path, status=409))["type"].endswith("kept-out")


# --- plans ------------------------------------------------------------------------------------------------------------


async def test_questions_do_not_count_them(site: Site) -> None:
    await site.sync()
    await site.settings(threshold_percent=1, threshold_minimum=1)
    await keep_out(site, "Bruno")
    site.edit("Bruno", last_name="Bakerson")
    await site.visible()
    await left_alone(site, "Bruno Baker", kinds=("full",))
    await site.believable()
    # Without a refresh, so that the run sees it first.
    await site.database.fetch("DELETE FROM kept_out WHERE organization_id = $1", site.organization_id)
    run = await site.until(await site.start(), "waiting")
    assert run["question"]["counts"]["updated_here"] == 1


async def test_a_refused_read_leaves_them_alone_too(site: Site) -> None:
    """The run reads them with their neighbours; nobody has to act on the refusal."""
    await site.sync()
    await keep_out(site, "Bruno")
    site.edit("Bruno", last_name="Bakerson")
    await site.visible()
    fault = site.fault({"kind": "respond", "status": 403}, method="GET", path=f"/people/{site.person('Bruno')['id']}$")
    run = await site.sync("incremental")
    site.control.remove_fault(fault)
    assert (run["counts"]["kept_out"], run["counts"].get("rejected")) == (1, None)


# --- who is whom ------------------------------------------------------------------------------------------------------


async def test_a_person_there_who_may_be_them_is_neither_held_nor_added(site: Site) -> None:
    """Held before, met again during, held again afterwards."""
    await site.sync()
    await site.add("Olive", "Orr")
    site.create("Olive", "Orr")
    await site.visible()
    assert (await site.sync())["counts"]["held"] == 1
    await keep_out(site, "Olive")
    assert (await site.call("GET", "/held-matches"))["items"] == []
    await left_alone(site, "Olive Orr", "Olive Orr", kinds=("full",))
    stranger = site.person("Olive")["id"]
    assert await refreshed(site, pco_id=stranger) == "kept_out"
    assert (await site.call("GET", "/held-matches"))["items"] == []
    assert len(await site.members("Olive")) == len(site.people("Olive")) == 1
    await sync_again(site, "Olive")
    assert (await site.sync("incremental"))["counts"]["held"] == 1
    [held] = (await site.call("GET", "/held-matches"))["items"]
    assert held["pco_id"] == stranger


async def test_a_bulk_answer_leaves_them_out(site: Site) -> None:
    await site.sync()
    for first_name in ("Olive", "Otto"):
        await site.add(first_name, "Orr")
        site.create(first_name, "Orr")
    await site.visible()
    assert (await site.sync())["counts"]["held"] == 2
    shown = await site.call("POST", "/held-matches/bulk", {"answer": "same"})
    assert shown["count"] == 2
    await keep_out(site, "Olive")
    await site.call("POST", f"/held-matches/bulk/{shown['id']}/answer", {"digest": shown["digest"]})

    async def done() -> dict[str, Any] | None:
        found: dict[str, Any] = await site.call("GET", f"/held-matches/bulk/{shown['id']}")
        return found if found["state"] == "done" else None

    assert (await eventually(done))["skipped"] == 1
    await site.looked_at()
    linked = await site.database.fetch(
        "SELECT first_name FROM member JOIN link ON record_id = member.id WHERE last_name = 'Orr' AND "
        "link.organization_id = $1",
        site.organization_id,
    )
    assert [row["first_name"] for row in linked] == ["Otto"]


async def test_a_namesake_of_somebody_linked_is_left_alone_too(site: Site) -> None:
    await site.sync()
    await keep_out(site, "Max")
    site.create("Max", "Moor", email="max@example.org")
    await site.visible()
    await left_alone(site, "Max Moor", "Max Moor", kinds=("full",))
    assert len(await site.members("Max")) == 1
    assert (await site.call("GET", "/held-matches"))["items"] == []


async def test_a_first_import_does_not_bring_them(site: Site) -> None:
    """Also by bulk statements, when all members here are kept out."""
    await site.add("Lee", "Lane", email="lee@example.org")
    await keep_out(site, "Lee")
    run = await site.sync()
    assert run["counts"]["created_here"] > 10
    assert run["counts"]["kept_out"] == 2
    assert len(await site.items(run["id"], "kept_out")) == 2
    assert len(await site.members("Lee")) == len(site.people("Lee")) == 1
    assert site.journal(writes=True) == []
    await site.settings(first_match="planning_center")
    await sync_again(site, "Lee")
    await site.believable()
    await site.sync()
    assert len(await site.members("Lee")) == len(site.people("Lee")) == 1
    assert (await link_of(site, "Lee"))["pco_id"] == site.person("Lee")["id"]
    await settled(site)


async def test_members_kept_out_are_not_created_there(site: Site) -> None:
    await site.sync()
    olive = await site.add("Olive", "Orr", email="olive@example.org")
    await site.family("Orr Family", olive)
    await site.call("POST", f"{await family_path(site, 'Orr Family')}/kept-out")
    await left_alone(site, "Olive Orr", "Orr Family")
    assert site.people("Olive") == []
    shown = await site.call("DELETE", f"{await family_path(site, 'Orr Family')}/kept-out")
    assert shown["kept_out"] is False
    await site.looked_at()
    assert site.household("Orr Family") == ["Olive"]
    await settled(site)


# --- merged, gone, deleted --------------------------------------------------------------------------------------------


async def test_a_link_follows_a_merger_and_no_value_does(site: Site) -> None:
    await site.sync()
    await keep_out(site, "Max")
    await site.change("Max", phone=OUR_PHONE)
    removed = site.person("Max")["id"]
    kept = site.create("Maxwell", "Moor", email="maxwell@example.org")
    site.merge(kept, removed)
    await site.visible()
    mark = site.mark()
    await site.sync()
    assert (await link_of(site, "Max"))["pco_id"] == kept
    member = await site.member("Max")
    assert (member["first_name"], member["phone"], member["email"]) == ("Max", OUR_PHONE, "max@example.org")
    assert site.journal(mark, writes=True) == []
    assert await site.members("Maxwell") == []


async def test_two_who_became_one_there_wait_for_the_end(site: Site) -> None:
    await site.sync()
    await keep_out(site, "Max")
    before = await link_of(site, "Max")
    site.merge(site.person("Lee")["id"], site.person("Max")["id"])
    await site.visible()
    mark = site.mark()
    # The kept person has more contacts by now.
    counts = (await site.sync())["counts"]
    assert (counts["kept_out"], counts.keys() & {"merged", "gone"}) == (1, set())
    assert site.journal(mark, writes=True) == []
    after = await link_of(site, "Max")
    assert {name: after[name] for name in ("state", "pco_id", "missing_since")} == {
        name: before[name] for name in ("state", "pco_id", "missing_since")
    }
    await sync_again(site, "Max")
    await site.believable()
    await site.sync()
    assert (await link_of(site, "Max"))["merged_into"] == (await link_of(site, "Lee"))["pco_id"]


async def test_gone_there_changes_nothing_here(site: Site) -> None:
    await site.settings(first_match="planning_center")
    await site.sync()
    await keep_out(site, "Max")
    before = await link_of(site, "Max")
    site.delete("Max")
    await site.visible()
    await left_alone(site, "Max Moor")
    assert await link_of(site, "Max") == before
    # Added there again: still no new member here.
    site.create("Max", "Moor", email="max@example.org")
    await site.visible()
    await left_alone(site, "Max Moor", "Max Moor", kinds=("full",))
    assert await link_of(site, "Max") == before
    assert len(await site.members("Max")) == 1
    await sync_again(site, "Max")
    await site.believable()
    await site.sync()
    assert (await link_of(site, "Max"))["pco_id"] == site.person("Max")["id"]
    assert len(await site.members("Max")) == 1


async def test_gone_before_is_not_created_again(site: Site) -> None:
    await site.sync()
    site.delete("Max")
    await site.visible()
    assert (await site.sync())["counts"]["gone"] == 1
    await keep_out(site, "Max")
    refused = await site.call("POST", f"{await path_of(site, 'Max')}/create-again", status=409)
    assert refused["type"].endswith("kept-out")
    await left_alone(site, "Max Moor")


async def test_deleted_here_makes_nobody_inactive_there(site: Site) -> None:
    await site.settings(inactivate_deleted=True)
    await site.sync()
    await keep_out(site, "Max")
    await site.remove("Max")
    mark = site.mark()
    assert (await site.sync())["counts"].keys() == {"unchanged"}
    assert (await site.sync("incremental"))["counts"].keys() <= {"unchanged"}
    assert site.journal(mark, writes=True) == []
    assert site.person("Max").get("status") != "inactive"


@pytest.mark.parametrize("kind", ["full", "incremental"])
async def test_deleted_and_added_again_is_the_same_there(site: Site, kind: Kind) -> None:
    await site.settings(inactivate_deleted=True)
    await site.sync()
    await site.believable()
    await keep_out(site, "Max")
    max_there = site.person("Max")["id"]
    await site.remove("Max")
    await site.add("Max", "Moor", email="max@example.org")
    await site.sync(kind)
    assert (await link_of(site, "Max"))["pco_id"] == max_there
    assert len(site.people("Max")) == 1
    assert site.person("Max").get("status") != "inactive"
    await settled(site)


@pytest.mark.parametrize("kind", ["full", "incremental"])
async def test_deleted_on_both_sides_and_added_again_is_created_there(site: Site, kind: Kind) -> None:
    await site.sync()
    await site.believable()
    await keep_out(site, "Max")
    await site.remove("Max")
    site.delete("Max")
    await site.visible()
    added = await site.add("Max", "Moor", email="max@example.org")
    run = await site.sync(kind)
    assert [item["record_id"] for item in await site.items(run["id"], "created_there")] == [added]
    assert len(site.people("Max")) == 1
    await settled(site)


# --- families ---------------------------------------------------------------------------------------------------------


async def bea_leaves(site: Site, side: str) -> None:
    """Bea leaves the Bakers on one side, and Ned, who is synced, joins them there."""
    if side == "here":
        await site.regroup(BAKERS, join=["Ned"], leave=["Bea"])
        return
    (household,) = [row["id"] for row in site.rows("Household") if row["name"] == BAKERS]
    (other,) = [row["id"] for row in site.rows("Household") if row["name"] == "Dean Household"]
    site.move("Bea", to=other, left=household)
    site.move("Ned", to=household, left="0")


@pytest.mark.parametrize("side", ["here", "there"])
async def test_a_membership_stays_while_the_family_is_synced(site: Site, side: str) -> None:
    await site.sync()
    await keep_out(site, "Bea")
    await bea_leaves(site, side)
    await site.visible()
    run = await site.sync()
    assert run["counts"]["kept_out"] == 1
    with_bea, without = ["Bea", "Bruno", "Ned"], ["Bruno", "Ned"]
    assert await site.members_of(BAKERS) == (without if side == "here" else with_bea)
    assert site.household(BAKERS) == (with_bea if side == "here" else without)
    await site.believable()
    await left_alone(site, "Bea Baker")
    await sync_again(site, "Bea")
    await site.believable()
    await site.sync()
    assert await site.members_of(BAKERS) == site.household(BAKERS) == without
    if side == "there":
        assert await site.members_of("Dean Household") == ["Bea", "Dan", "Dora"]
    await settled(site)


@pytest.mark.parametrize("side", ["here", "there"])
async def test_a_member_kept_out_who_joins_a_family(site: Site, side: str) -> None:
    await site.sync()
    await keep_out(site, "Ned")
    if side == "here":
        await site.regroup(BAKERS, join=["Ned"])
    else:
        (household,) = [row["id"] for row in site.rows("Household") if row["name"] == BAKERS]
        site.move("Ned", to=household, left="0")
    await site.visible()
    await left_alone(site, "Ned Nash")
    two, three = ["Bea", "Bruno"], ["Bea", "Bruno", "Ned"]
    assert await site.members_of(BAKERS) == (three if side == "here" else two)
    assert site.household(BAKERS) == (two if side == "here" else three)
    await sync_again(site, "Ned")
    await site.sync("incremental")
    assert await site.members_of(BAKERS) == site.household(BAKERS) == three
    await settled(site)


async def test_a_primary_contact_kept_out_stays_primary(site: Site) -> None:
    await site.sync()
    await keep_out(site, "Bruno")
    make_primary_there(site, BAKERS, "Bea")
    site.rename_household(BAKERS, "The Bakers")
    await site.visible()
    assert (await site.sync())["counts"]["updated_here"] == 1
    assert (await primary_here(site, "The Bakers"), primary_there(site, "The Bakers")) == ("Bruno", "Bea")
    await left_alone(site, "Bruno Baker")
    await sync_again(site, "Bruno")
    assert (await primary_here(site, "The Bakers"), primary_there(site, "The Bakers")) == ("Bea", "Bea")
    await settled(site)


async def test_a_family_is_kept_out_with_its_present_members(site: Site) -> None:
    await site.settings(first_match="planning_center")
    await site.sync()
    path = f"{await family_path(site)}/kept-out"
    shown = await site.call("POST", path)
    assert (shown["kept_out"], shown["people"]) == (True, 2)
    bea = await site.call("GET", f"{await path_of(site, 'Bea')}/kept-out")
    assert (bea["kept_out"], bea["family_name"]) == (True, BAKERS)
    # Members who join later are synced.
    await site.regroup(BAKERS, join=["Ned"])
    await site.change("Ned", phone=OUR_PHONE)
    await site.change("Bea", gender="Female")
    site.rename_household(BAKERS, "Baker's Dozen")
    site.edit("Bruno", last_name="Bakerson")
    await site.visible()
    run = await site.sync()
    assert (run["counts"]["kept_out"], run["counts"]["updated_there"]) == (3, 1)
    assert [row["number"] for row in site.contacts("Ned", "PhoneNumber")] == [OUR_PHONE]
    await left_alone(site, "Baker Household", "Bea Baker", "Bruno Baker")
    assert (await site.member("Bruno"))["last_name"] == "Baker"
    assert site.person("Bea").get("gender") is None
    assert (await site.call("POST", f"{await family_path(site)}/sync", status=409))["type"].endswith("kept-out")
    family = await site.family_of(BAKERS)
    assert await refreshed(site, kind="family", record_id=family["id"]) == "kept_out"
    # One of them separately, then all.
    await sync_again(site, "Bea")
    assert site.person("Bea")["gender"] == "Female"
    assert (await site.call("GET", path))["people"] == 1
    await site.call("DELETE", path)
    await site.looked_at()
    assert (await site.member("Bruno"))["last_name"] == "Bakerson"
    assert await site.members_of("Baker's Dozen") == site.household("Baker's Dozen") == ["Bea", "Bruno", "Ned"]
    await settled(site)


async def test_two_families_of_one_person(site: Site) -> None:
    """The end of one family leaves the person kept out with the other; separately kept out members stay so."""
    await site.sync()
    await keep_out(site, "Bea")
    await site.regroup("Dean Household", join=["Bruno"])
    bakers, deans = f"{await family_path(site)}/kept-out", f"{await family_path(site, 'Dean Household')}/kept-out"
    await site.call("POST", bakers)
    await site.call("POST", deans)
    await site.call("DELETE", bakers)
    bruno = await site.call("GET", f"{await path_of(site, 'Bruno')}/kept-out")
    assert (bruno["kept_out"], bruno["family_name"]) == (True, "Dean Household")
    assert (await site.call("GET", f"{await path_of(site, 'Bea')}/kept-out"))["family_id"] is None
    await site.call("DELETE", deans)
    assert (await site.call("GET", f"{await path_of(site, 'Bruno')}/kept-out"))["kept_out"] is False
    assert (await site.call("GET", "/status"))["kept_out"] == 1


# --- a worker has the record ------------------------------------------------------------------------------------------


async def test_a_run_leaves_members_alone_who_were_kept_out_after_its_plan(site: Site) -> None:
    """One edit was planned to be taken over here, and one to be sent there."""
    await site.settings(first_match="planning_center")
    await site.sync()
    await site.change("Bruno", phone=OUR_PHONE)
    for first_name in ("Carl", "Dora"):
        site.edit(first_name, last_name="Moved")
    await site.visible()
    mark = site.mark()
    async with site.held_up("Carl", "Dora") as (first, other):
        run_id = await site.start()
        await site.waits()
        await keep_out(site, "Bruno", other)
    run = await site.until(run_id, "done")
    assert (run["counts"]["kept_out"], run["counts"]["updated_here"]) == (2, 1)
    assert site.journal(mark, writes=True) == []
    assert (await site.member(first))["last_name"] == "Moved"
    assert (await site.member(other))["last_name"] != "Moved"
    await sync_again(site, "Bruno", other)
    assert there(site)[0] == OUR_PHONE
    assert (await site.member(other))["last_name"] == "Moved"
    await settled(site)


async def test_a_record_being_written_cannot_be_kept_out(site: Site) -> None:
    await site.sync()
    await site.change("Bruno", phone=OUR_PHONE)
    hold = site.fault({"kind": "hold", "when": "before"}, method="PATCH", path="/phone_numbers/")
    run = await site.start()
    await eventually(lambda: site.control.fault(hold)["holding"])
    for path in (await path_of(site, "Bruno"), await family_path(site)):
        assert (await site.call("POST", f"{path}/kept-out", status=409))["type"].endswith("busy")
    site.control.release(hold)
    site.control.remove_fault(hold)
    await site.until(run, "done")
    await site.call("POST", f"{await path_of(site, 'Bruno')}/kept-out")
    # The request under way has arrived, and its value is agreed.
    assert there(site)[0] == OUR_PHONE
    await site.believable()
    await left_alone(site, "Bruno Baker")
