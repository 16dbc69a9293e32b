"""Undo of every scope: restored values, values that stay and why, and no further changes afterwards."""

import signal
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from sync_harness.process import LEASE_SECONDS, Service, ports
from sync_harness.site import Site
from sync_harness.stage import Stage

from contracts.conflicts import Choice
from contracts.events.conflicts_resolution_v1 import ConflictResolved
from contracts.values import CONFLICT_SERVICE
from people_sync.domain.sentences import UNDO_EXPIRED
from servicekit.testing import eventually
from servicekit.testing.facts import publish

pytestmark = pytest.mark.asyncio(loop_scope="session")

OLD_PHONE, NEW_PHONE, OTHER_PHONE = "(212) 555-0104", "(212) 555-0150", "(212) 555-0160"
Body = dict[str, Any]


async def planned(site: Site, **scope: str) -> Body:
    """The undo's run, waiting with its plan, or ended because nothing can be put back."""
    run = await site.call("POST", "/undo", scope, status=202)
    assert (run["purpose"], run["kind"], run["trigger"]) == ("undo", "incremental", "person")
    return await site.until(run["id"], "waiting", "done")


async def approve(site: Site, run: Body, *, inactivate: bool = False) -> Body:
    """Approve the shown plan, and wait for the end."""
    answer = {"question": "undo", "answer": "approve", "digest": run["question"]["digest"], "inactivate": inactivate}
    await site.call("POST", f"/runs/{run['id']}/answer", answer, status=202)
    return await site.until(run["id"], "done")


async def undone(site: Site, *, inactivate: bool = False, **scope: str) -> Body:
    """Plan an undo, approve it, and wait for the end."""
    return await approve(site, await planned(site, **scope), inactivate=inactivate)


async def plan_of(site: Site, run: Body) -> dict[str, Body]:
    """Rows of the plan, by name."""
    rows = await site.database.fetch("SELECT * FROM change WHERE run_id = $1 ORDER BY id", UUID(run["id"]))
    return {row["name"]: row for row in rows}


async def nothing_more(site: Site) -> None:
    """Check that the next sync writes nothing on either side."""
    await site.believable()
    mark = site.mark()
    count = "SELECT count(*) FROM effect WHERE organization_id = $1"
    before = await site.database.value(count, site.organization_id)
    for kind in ("incremental", "full"):
        assert (await site.sync(kind))["counts"].keys() <= {"unchanged"}
    assert site.journal(mark, writes=True) == []
    assert await site.database.value(count, site.organization_id) == before


def phone_there(site: Site, first_name: str = "Bruno") -> str:
    return str(site.contacts(first_name, "PhoneNumber")[0]["number"])


async def phone_here(site: Site, first_name: str = "Bruno") -> str | None:
    phone: str | None = (await site.member(first_name))["phone"]
    return phone


async def changed_there(site: Site) -> Body:
    """A site in sync; then a sync takes over edits of Bruno's phone and Bea's name in Planning Center."""
    await site.sync()
    site.edit_contact("Bruno", "PhoneNumber", number=NEW_PHONE)
    site.edit("Bea", last_name="Bakerson")
    await site.visible()
    run = await site.sync()
    assert run["counts"]["updated_here"] == 2
    return run


# --- a run ----------------------------------------------------------------------------------------------------------


async def test_a_run_is_undone_on_both_sides(site: Site) -> None:
    run = await changed_there(site)
    undo = await planned(site, run_id=run["id"])
    question = undo["question"]
    assert (question["kind"], question["answers"]) == ("undo", ["approve", "stop"])
    assert question["counts"] == {"undone": 2, "may_be_mailed": 0}
    bruno = (await plan_of(site, undo))["Bruno Baker"]
    (field,) = bruno["plan"]
    shown = {name: field[name] for name in ("field", "agreed", "here", "there", "after", "does")}
    assert shown == {
        "field": "phone",
        "agreed": NEW_PHONE,
        "here": NEW_PHONE,
        "there": NEW_PHONE,
        "after": OLD_PHONE,
        "does": "both",
    }
    assert (phone_there(site), await phone_here(site)) == (NEW_PHONE, NEW_PHONE), (
        "nothing is done before it is approved"
    )
    ended = await approve(site, undo)
    assert ended["counts"] == {"undone": 2}
    assert (phone_there(site), await phone_here(site)) == (OLD_PHONE, OLD_PHONE)
    assert (site.person("Bea")["last_name"], (await site.member("Bea"))["last_name"]) == ("Baker", "Baker")
    member = await site.member("Bruno")
    items = (await site.call("GET", f"/members/{member['id']}/history"))["items"]
    here = next(one for one in items if one["side"] == "here")
    assert (here["by"], here["by_name"], here["rule"], here["run_id"]) == ("person", "Test User", "undone", undo["id"])
    await nothing_more(site)


async def test_values_sent_by_a_run_are_restored_here_too(site: Site) -> None:
    await site.sync()
    await site.change("Bruno", phone=NEW_PHONE, last_name="Bakerson")
    run = await site.sync()
    await site.believable()
    await undone(site, run_id=run["id"])
    assert (phone_there(site), await phone_here(site)) == (OLD_PHONE, OLD_PHONE)
    assert site.person("Bruno")["last_name"] == (await site.member("Bruno"))["last_name"] == "Baker"
    await nothing_more(site)


async def test_fields_edited_since_are_left_out_and_named(site: Site) -> None:
    await site.sync()
    site.edit_contact("Bruno", "PhoneNumber", number=NEW_PHONE)
    site.edit("Bruno", last_name="Bakerson")
    site.edit("Bea", last_name="Bakerson")
    site.edit("Carl", last_name="Clarkson")
    await site.visible()
    run = await site.sync()
    # An edit here; one there, found by a later sync; and one back to the sync's value.
    await site.change("Bruno", phone=OTHER_PHONE)
    site.edit("Bea", last_name="Bakery")
    await site.change("Carl", last_name="Clark")
    await site.change("Carl", last_name="Clarkson")
    await site.visible()
    await site.sync()
    await site.believable()
    ended = await undone(site, run_id=run["id"])
    assert ended["counts"] == {"undone": 1, "left_out": 2}
    assert await phone_here(site) == phone_there(site) == OTHER_PHONE
    assert site.person("Bruno")["last_name"] == (await site.member("Bruno"))["last_name"] == "Baker"
    assert site.person("Bea")["last_name"] == (await site.member("Bea"))["last_name"] == "Bakery"
    assert site.person("Carl")["last_name"] == (await site.member("Carl"))["last_name"] == "Clarkson"
    said = {item["name"]: item["sentence"] for item in await site.items(ended["id"])}
    assert said["Bea Bakery"] == said["Carl Clarkson"] == "The last name was edited since and stays as it is."
    assert said["Bruno Bakerson"] == (
        "The former values are back, here and in Planning Center. The phone number was edited since and stays as it is."
    )
    await nothing_more(site)


async def test_fields_changed_after_the_plan_are_left_out(site: Site) -> None:
    run = await changed_there(site)
    undo = await planned(site, run_id=run["id"])
    await site.change("Bruno", phone=OTHER_PHONE)
    ended = await approve(site, undo)
    assert ended["counts"] == {"undone": 1, "left_out": 1}
    (left,) = await site.items(ended["id"], "left_out")
    assert (left["name"], left["sentence"]) == ("Bruno Baker", "The phone number was edited since and stays as it is.")
    assert await phone_here(site) == OTHER_PHONE
    assert (await site.member("Bea"))["last_name"] == site.person("Bea")["last_name"] == "Baker"


async def test_an_unread_edit_there_becomes_a_conflict(site: Site) -> None:
    run = await changed_there(site)
    undo = await planned(site, run_id=run["id"])
    site.edit_contact("Bruno", "PhoneNumber", number=OTHER_PHONE)
    await site.visible()
    ended = await approve(site, undo)
    assert ended["counts"] == {"undone": 1, "conflict": 1}
    assert (phone_there(site), await phone_here(site)) == (OTHER_PHONE, OLD_PHONE)
    assert await site.conflicts() == {"Bruno": ["open"]}
    (item,) = await site.items(ended["id"], "conflict")
    assert item["sentence"].startswith("Put back here. Planning Center was edited since the last sync")


async def test_an_undo_can_be_undone_once(site: Site) -> None:
    run = await changed_there(site)
    first = await undone(site, run_id=run["id"])
    await site.believable()
    again = await planned(site, run_id=run["id"])
    assert (again["state"], again["counts"]) == ("done", {"left_out": 2})
    assert again["message"].startswith("Nothing was put back")
    assert {item["sentence"] for item in await site.items(again["id"])} == {
        "The phone number is already as it was before.",
        "The last name is already as it was before.",
    }
    second = await undone(site, run_id=first["id"])
    assert second["counts"] == {"undone": 2}
    assert (phone_there(site), await phone_here(site)) == (NEW_PHONE, NEW_PHONE)
    assert (site.person("Bea")["last_name"], (await site.member("Bea"))["last_name"]) == ("Bakerson", "Bakerson")
    await nothing_more(site)


async def test_first_matches_of_a_first_sync_get_their_values_back(site: Site) -> None:
    await site.settings(first_match="planning_center")
    await site.add("Bruno", "Baker", email="bruno@example.org", phone=OTHER_PHONE)
    run = await site.sync()
    assert await phone_here(site) == OLD_PHONE
    undo = await planned(site, run_id=run["id"])
    row = (await plan_of(site, undo))["Bruno Baker"]
    shown = {(one["field"], one["after"]) for one in row["plan"] if one["does"] == "both"}
    assert (row["outcome"], shown) == ("undone", {("phone", OTHER_PHONE)})
    assert "The link to Planning Center stays as it is" in row["sentence"], "the link is not undone"
    assert "The address stays as it is: one side had none" in row["sentence"], (
        "nor is Planning Center's address deleted"
    )
    assert (await approve(site, undo))["counts"]["undone"] == 1
    assert (phone_there(site), await phone_here(site)) == (OTHER_PHONE, OTHER_PHONE)
    assert site.contacts("Bruno", "Address")
    assert (await site.member("Bruno"))["address"]
    await nothing_more(site)


# --- added people -----------------------------------------------------------------------------------------------------


async def counted(site: Site, table: str, *, deleted: bool = False) -> int:
    where = "IS NOT NULL" if deleted else "IS NULL"
    query = f"SELECT count(*) FROM {table} WHERE organization_id = $1 AND deleted_at {where}"
    found: int = await site.database.value(query, site.organization_id)
    return found


async def test_people_added_here_by_a_sync_are_deleted_unless_edited(site: Site) -> None:
    await site.settings(inactivate_deleted=True)
    run = await site.sync()
    members, families = await counted(site, "member"), await counted(site, "family")
    await site.change("Bruno", phone=NEW_PHONE)
    await site.family("Kept Family", str((await site.member("Max"))["id"]))
    mark = site.mark()
    undo = await planned(site, run_id=run["id"])
    ended = await approve(site, undo)
    assert ended["counts"] == {"taken_back": members + families - 2, "left_out": 2}
    assert await counted(site, "member") == 2
    assert (await counted(site, "family"), await counted(site, "family", deleted=True)) == (1, families)
    said = {item["name"]: item["sentence"] for item in await site.items(ended["id"], "left_out")}
    assert said == {
        "Bruno Baker": "Edited since, so it stays as it is.",
        "Max Moor": "In a family that stays, so this person stays here too.",
    }
    assert site.journal(mark, writes=True) == [], "nobody is deleted in Planning Center, or made inactive"
    await site.believable()
    again = await site.sync()
    assert again["counts"].keys() <= {"unchanged", "updated_there", "created_there"}, again
    assert await counted(site, "member") == 2
    assert all(row.get("status", "active") == "active" for row in site.rows("Person"))
    await nothing_more(site)
    return_ = await undone(site, run_id=undo["id"])
    assert return_["counts"] == {"restored": members + families - 2}
    assert (await counted(site, "member"), await counted(site, "family")) == (members, families + 1)
    dean = await site.family_of("Dean Household")
    shown = await site.call("GET", f"/families/{dean['id']}")
    assert len(shown["member_ids"]) == 2
    await nothing_more(site)


@pytest.mark.parametrize("inactivate", [False, True])
async def test_people_added_there_by_a_sync_stay_or_become_inactive(site: Site, *, inactivate: bool) -> None:
    await site.sync()
    nina = await site.add("Nina", "New", email="nina@example.org", phone=NEW_PHONE)
    await site.family("New Family", nina)
    run = await site.sync()
    await site.believable()
    undo = await planned(site, run_id=run["id"])
    assert undo["question"]["counts"] == {"created_there": 1, "left_out": 1, "may_be_mailed": 0}
    ended = await approve(site, undo, inactivate=inactivate)
    assert ended["counts"] == ({"made_inactive": 1, "left_out": 1} if inactivate else {"left_out": 2})
    status = "inactive" if inactivate else "active"
    assert site.person("Nina").get("status", "active") == status
    member = await site.member("Nina")
    assert (member["active"], member["email"], member["phone"]) == (True, "nina@example.org", NEW_PHONE)
    assert site.contacts("Nina", "Email")[0]["address"] == "nina@example.org"
    await nothing_more(site)
    assert (await site.member("Nina"))["active"]
    # A later edit of theirs still goes there, and being active there again is no change here.
    await site.change("Nina", last_name="Newman")
    site.edit("Nina", status="active")
    await site.visible()
    await site.sync()
    assert ((await site.member("Nina"))["active"], site.person("Nina")["last_name"]) == (True, "Newman")


# --- families ---------------------------------------------------------------------------------------------------------


async def test_names_memberships_and_primary_contacts_come_back(site: Site) -> None:
    await site.sync()
    ned, amy = (await site.member("Ned"))["id"], (await site.member("Amy"))["id"]
    abbots = await site.family_of("Abbot Household")
    change = {"name": "Abbot Home", "add_member_ids": [str(ned)], "remove_member_ids": [str(amy)]}
    await site.call("PATCH", f"/families/{abbots['id']}", change)
    await site.call("PATCH", f"/families/{abbots['id']}", {"primary_contact_id": str(ned)})
    run = await site.sync()
    assert site.household("Abbot Home") == ["Abel", "Alan", "Ned"]
    await site.believable()
    undo = await planned(site, run_id=run["id"])
    row = (await plan_of(site, undo))["Abbot Home"]
    shown = {(one["field"], one["here"], one["after"]) for one in row["plan"]}
    assert shown == {
        ("name", "Abbot Home", "Abbot Household"),
        ("primary_contact", "Ned Nash", "Alan Abbot"),
        ("members", "Ned Nash", None),
        ("members", None, "Amy Abbot"),
    }
    assert (await approve(site, undo))["counts"] == {"undone": 1}
    assert site.household("Abbot Household") == ["Abel", "Alan", "Amy"]
    family = await site.call("GET", f"/families/{abbots['id']}")
    names = {str(row["id"]): row["first_name"] for row in await site.database.fetch("SELECT * FROM member")}
    assert (family["name"], names[family["primary_contact_id"]]) == ("Abbot Household", "Alan")
    assert sorted(names[one] for one in family["member_ids"]) == ["Abel", "Alan", "Amy"]
    await nothing_more(site)


async def test_a_person_who_left_a_household_there_comes_back(site: Site) -> None:
    await site.sync()
    (abbots,) = [row["id"] for row in site.rows("Household") if row["name"] == "Abbot Household"]
    (bakers,) = [row["id"] for row in site.rows("Household") if row["name"] == "Baker Household"]
    site.move("Amy", to=bakers, left=abbots)
    await site.visible()
    run = await site.sync()
    assert run["counts"]["updated_here"] == 2
    await site.believable()
    await undone(site, run_id=run["id"])
    assert (site.household("Abbot Household"), site.household("Baker Household")) == (
        ["Abel", "Alan", "Amy"],
        ["Bea", "Bruno"],
    )
    await nothing_more(site)


# --- other scopes -----------------------------------------------------------------------------------------------------


async def in_conflict(site: Site) -> Any:
    """An open conflict about Bruno's phone and last name."""
    await site.sync()
    await site.change("Bruno", phone=NEW_PHONE)
    site.edit_contact("Bruno", "PhoneNumber", number=OTHER_PHONE)
    site.edit("Bruno", last_name="Bakerson")
    await site.visible()
    await site.sync()
    (conflict,) = await site.database.fetch("SELECT * FROM conflict WHERE organization_id = $1", site.organization_id)
    return conflict


async def decided(site: Site, stage: Stage, choices: dict[str, Choice]) -> str:
    """A decided conflict about Bruno's phone and last name; gives the decision."""
    conflict = await in_conflict(site)
    asked = ConflictResolved(
        organization_id=site.organization_id,
        version=2,
        conflict_id=str(conflict["id"]),
        record_id=str(conflict["record_id"]),
        decision_id=str(uuid4()),
        decided_on=conflict["values_version"],
        choices=choices,
        decided_by="user-ada",
        decided_by_name="Ada Moreno",
        decided_at=datetime.now(UTC),
    )
    await publish(stage.kafka, asked, CONFLICT_SERVICE)

    async def known() -> bool:
        (row,) = await site.database.fetch("SELECT * FROM conflict WHERE id = $1", conflict["id"])
        return asked.decision_id in row["answered"]

    await eventually(known, within=60)
    await site.believable()
    return asked.decision_id


@pytest.mark.parametrize("by", ["decision", "rule"])
async def test_a_decision_and_a_rules_decisions_are_undone(site: Site, stage: Stage, by: str) -> None:
    id_ = await decided(site, stage, {"phone": "ours", "last_name": "theirs"})
    if by == "rule":
        rule = uuid4()
        await site.database.fetch(
            "UPDATE effect SET cause = 'rule', cause_id = $1 WHERE cause_id = $2", rule, UUID(id_)
        )
        id_ = str(rule)
    member = await site.member("Bruno")
    items = (await site.call("GET", f"/members/{member['id']}/history"))["items"]
    assert {one["field"] for one in items if one[f"{by}_id"] == id_} == {"phone", "last_name"}
    ended = await approve(site, await planned(site, **{f"{by}_id": id_}))
    assert ended["counts"] == {"undone": 1}
    # Values replaced by the decision: the phone there, the last name here.
    assert (phone_there(site), await phone_here(site)) == (OTHER_PHONE, OTHER_PHONE)
    assert site.person("Bruno")["last_name"] == (await site.member("Bruno"))["last_name"] == "Baker"
    await nothing_more(site)


@pytest.mark.parametrize("by", ["decision", "rule"])
async def test_a_decision_still_being_carried_out_is_not_undone(site: Site, by: str) -> None:
    """The plan would lack the rest of the decision."""
    conflict = await in_conflict(site)
    of = {"decision": str(uuid4()), "rule": str(uuid4())}
    await site.database.fetch(
        "UPDATE conflict SET decision = jsonb_build_object('id', $2::text, 'rule_id', $3::text) WHERE id = $1",
        conflict["id"],
        of["decision"],
        of["rule"],
    )
    refused = await site.call("POST", "/undo", {f"{by}_id": of[by]}, status=409)
    assert refused["type"].endswith("/at-work")
    assert "still being carried out" in refused["detail"]
    await site.call("POST", "/undo", {f"{by}_id": str(uuid4())}, status=404)


async def test_a_person_and_a_family_are_undone(site: Site) -> None:
    await site.sync()
    # The first sync added them, so its effects are moved back in time to be out of the scope.
    await site.database.fetch(
        "UPDATE effect SET at = at - interval '40 days' WHERE organization_id = $1", site.organization_id
    )
    for name, last_name in (("Bruno", "Bakerson"), ("Bea", "Bakerson"), ("Carl", "Clarkson")):
        site.edit(name, last_name=last_name)
    site.rename_household("Baker Household", "The Bakersons")
    await site.visible()
    await site.sync()
    await site.believable()
    carl, family = await site.member("Carl"), await site.family_of("The Bakersons")
    assert (await undone(site, member_id=str(carl["id"])))["counts"] == {"undone": 1}
    assert site.person("Carl")["last_name"] == "Clark"
    assert site.person("Bruno")["last_name"] == "Bakerson"
    assert (await undone(site, family_id=str(family["id"])))["counts"] == {"undone": 3}
    assert site.household("Baker Household") == ["Bea", "Bruno"]
    assert site.person("Bruno")["last_name"] == site.person("Bea")["last_name"] == "Baker"
    await nothing_more(site)


async def test_a_family_added_by_a_sync_is_deleted_with_its_people(site: Site) -> None:
    """It is deleted before its people, who are still in the scope, since nobody has edited them."""
    await site.sync()
    bakers = await site.family_of("Baker Household")
    undo = await planned(site, family_id=str(bakers["id"]))
    assert undo["question"]["counts"] == {"taken_back": 3, "may_be_mailed": 0}
    ended = await approve(site, undo)
    assert ended["counts"] == {"taken_back": 3}, await site.items(undo["id"])
    assert await site.members("Bruno") == await site.members("Bea") == []
    assert site.household("Baker Household") == ["Bea", "Bruno"], "in Planning Center they stay"
    await nothing_more(site)


async def test_a_member_added_to_a_family_by_a_sync_gets_their_values_back(site: Site) -> None:
    await site.sync()
    await site.database.fetch(
        "UPDATE effect SET at = at - interval '40 days' WHERE organization_id = $1", site.organization_id
    )
    (abbots,) = [row["id"] for row in site.rows("Household") if row["name"] == "Abbot Household"]
    (bakers,) = [row["id"] for row in site.rows("Household") if row["name"] == "Baker Household"]
    site.move("Amy", to=bakers, left=abbots)
    site.edit_contact("Amy", "PhoneNumber", number=NEW_PHONE)
    await site.visible()
    await site.sync()
    await site.believable()
    family = await site.family_of("Baker Household")
    ended = await undone(site, family_id=str(family["id"]))
    assert ended["counts"] == {"undone": 2}, await site.items(ended["id"])
    assert site.household("Baker Household") == ["Bea", "Bruno"]
    assert await phone_here(site, "Amy") == "(212) 555-0102"
    await nothing_more(site)


async def test_a_person_merged_since_the_plan_is_not_made_inactive(site: Site) -> None:
    """The added person was merged into an older one, whom the sync did not add."""
    await site.sync()
    nina = await site.add("Nina", "New", email="nina@example.org")
    run = await site.sync()
    await site.believable()
    ours = str(site.person("Nina")["id"])
    undo = await planned(site, run_id=run["id"])
    assert undo["question"]["counts"] == {"created_there": 1, "may_be_mailed": 0}
    theirs = site.create("Nena", "Newer")
    site.merge(theirs, ours)
    await site.visible()

    async def followed() -> bool:
        await site.call("POST", f"/members/{nina}/sync", status=202)
        query = "SELECT pco_id FROM link WHERE record_id::text = $1"
        return bool(await site.database.value(query, nina) == theirs)

    await eventually(followed, within=60, every=1)
    ended = await approve(site, undo, inactivate=True)
    assert site.person("Nena").get("status", "active") == "active", ended["counts"]
    assert ended["counts"] == {"left_out": 1}


async def test_a_record_kept_out_stays_unchanged(site: Site) -> None:
    run = await changed_there(site)
    bruno = (await site.member("Bruno"))["id"]
    keep = (
        "INSERT INTO kept_out (organization_id, kind, record_id, by_user_id, at) VALUES ($1, 'member', $2, 'u', now())"
    )
    await site.database.fetch(keep, site.organization_id, bruno)
    undo = await planned(site, run_id=run["id"])
    assert undo["question"]["counts"] == {"undone": 1, "left_out": 1, "may_be_mailed": 0}
    await approve(site, undo)
    assert (phone_there(site), await phone_here(site)) == (NEW_PHONE, NEW_PHONE)


# --- refused undos ----------------------------------------------------------------------------------------------------


async def test_an_impossible_undo_is_refused_with_the_reason(site: Site) -> None:
    run = await changed_there(site)
    quiet = await site.sync()

    async def refused(status: int, **scope: str) -> str:
        answer = await site.call("POST", "/undo", scope, status=status)
        return str(answer["type"]).rsplit("/", 1)[-1]

    member = str((await site.member("Bruno"))["id"])
    assert await refused(422) == await refused(422, run_id=run["id"], member_id=member) == "invalid"
    for scope in ("run_id", "decision_id", "rule_id", "member_id", "family_id"):
        assert await refused(404, **{scope: str(uuid4())}) == "not-found"
        assert await refused(404, **{scope: "nobody"}) == "not-found"
    assert await refused(409, run_id=quiet["id"]) == "nothing-to-undo"
    waiting = await planned(site, run_id=run["id"])
    assert await refused(409, run_id=run["id"]) == "busy"
    answer = {"question": "undo", "answer": "approve", "digest": "another"}
    moved = await site.call("POST", f"/runs/{waiting['id']}/answer", answer, status=409)
    assert moved["type"].endswith("plan-moved")
    await site.call("POST", f"/runs/{waiting['id']}/answer", {"question": "undo", "answer": "stop"}, status=202)
    stopped = await site.run(waiting["id"])
    assert (stopped["state"], stopped["counts"]) == ("stopped", {"not_done": 2})
    assert {item["sentence"] for item in await site.items(waiting["id"])} == {
        "The undo ended before it reached this record, which stays as it was."
    }
    await site.database.fetch(
        "UPDATE effect SET at = at - interval '31 days' WHERE organization_id = $1", site.organization_id
    )
    assert await refused(409, run_id=run["id"]) == "nothing-to-undo"
    assert (phone_there(site), await phone_here(site)) == (NEW_PHONE, NEW_PHONE)


async def test_another_organization_undoes_nothing(site: Site, stage: Stage) -> None:
    run = await changed_there(site)
    other = await stage.site()
    await other.sync()
    member, family = await site.member("Bruno"), await site.family_of("Baker Household")
    scopes = {"run_id": run["id"], "member_id": str(member["id"]), "family_id": str(family["id"])}
    for name, id_ in scopes.items():
        await other.call("POST", "/undo", {name: id_}, status=404)
    undo = await planned(site, run_id=run["id"])
    answer = {"question": "undo", "answer": "approve", "digest": undo["question"]["digest"]}
    await other.call("POST", f"/runs/{undo['id']}/answer", answer, status=404)
    assert (await site.run(undo["id"]))["state"] == "waiting"


async def test_an_unapproved_plan_ends(site: Site) -> None:
    run = await changed_there(site)
    undo = await planned(site, run_id=run["id"])
    query = "UPDATE run SET asked_at = asked_at - interval '25 hours' WHERE id::text = $1"
    await site.database.fetch(query, undo["id"])
    ended = await site.until(undo["id"], "stopped")
    assert (ended["state"], ended["message"]) == ("stopped", UNDO_EXPIRED)
    assert await phone_here(site) == NEW_PHONE
    assert (await site.sync())["counts"].keys() <= {"unchanged"}, "the next sync can begin"


# --- two workers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_worker_paused_past_its_lease_puts_nothing_back(stage: Stage, site: Site, when: str) -> None:
    """SIGSTOP during a request, takeover by another, SIGCONT: the fence holds."""
    run = await changed_there(site)
    env = {**stage.service.env, **ports()}
    second = await Service(env, stage.service.log.with_name(f"second-{when}.log")).start()
    try:
        undo = await planned(site, run_id=run["id"])
        fault = site.fault({"kind": "hold", "when": when}, method="PATCH", path="^/people/v2/", nth=1)
        answer = {"question": "undo", "answer": "approve", "digest": undo["question"]["digest"]}
        await site.call("POST", f"/runs/{undo['id']}/answer", answer, status=202)
        await eventually(lambda: site.control.fault(fault)["holding"] == 1, every=0.02)
        owner = await site.database.value("SELECT lease_owner FROM job WHERE id = $1", UUID(undo["id"]))
        paused, awake = stage.service, second
        if f":{second.pid}:" in owner:
            paused, awake = second, stage.service
        site.through(awake.base_url)
        paused.send(signal.SIGSTOP)
        try:
            site.control.release(fault)
            ended = await site.until(undo["id"], "done", within=LEASE_SECONDS + 120)
        finally:
            paused.send(signal.SIGCONT)
        assert ended["counts"] == {"undone": 2}
        await nothing_more(site)
    finally:
        await second.stop()
    assert (phone_there(site), await phone_here(site)) == (OLD_PHONE, OLD_PHONE)
    here = "SELECT count(*) FROM effect WHERE cause_id = $1 AND side = 'here'"
    assert await site.database.value(here, UUID(undo["id"])) == 2, "each value is put back once"
