"""Syncs of one record, with agreed values per field. Each story covers a former loss, overwrite or duplicate."""

from typing import Any

import pytest
from sync_harness.site import Site
from sync_harness.stage import Stage

from servicekit.testing import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def sync_one(site: Site, first_name: str) -> dict[str, Any]:
    """Sync this person now, and wait for the end."""
    member = await site.member(first_name)
    return await done(site, await site.call("POST", f"/members/{member['id']}/sync", status=202))


async def done(site: Site, asked: dict[str, Any]) -> dict[str, Any]:
    async def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = await site.call("GET", f"/syncs/{asked['id']}")
        return found if found["state"] == "done" else None

    found: dict[str, Any] = await eventually(ended, every=0.1)
    return found


async def effects(site: Site, first_name: str, side: str = "here") -> list[tuple[str, Any, Any, str]]:
    """A member's effects on one side: field, before, after, by."""
    member = await site.member(first_name)
    rows = await site.database.fetch(
        "SELECT * FROM effect WHERE record_id = $1 AND side = $2 ORDER BY id", member["id"], side
    )
    return [(row["field"], row["before"], row["after"], row["by"]) for row in rows]


# --- sync this one now ----------------------------------------------------------------------------------------------


async def test_this_person_now_goes_both_ways(site: Site) -> None:
    await site.sync()
    await site.change("Bruno", phone="(212) 555-0150")
    site.edit("Bea", last_name="Bakerson")
    await site.visible()
    first, second = await sync_one(site, "Bruno"), await sync_one(site, "Bea")
    assert (first["outcome"], second["outcome"]) == ("updated_there", "updated_here")
    assert site.contacts("Bruno", "PhoneNumber")[0]["number"] == "(212) 555-0150"
    assert (await site.member("Bea"))["last_name"] == "Bakerson"
    assert (await effects(site, "Bruno", "there")) == [("phone", "(212) 555-0104", "(212) 555-0150", "platform")]
    await site.believable()
    mark = site.mark()
    assert (await sync_one(site, "Bruno"))["outcome"] == "unchanged"
    assert (await site.sync())["counts"].keys() <= {"unchanged"}
    assert site.journal(mark, writes=True) == []


async def test_this_person_now_is_one_read_and_one_write(site: Site) -> None:
    await site.sync()
    await site.change("Bruno", last_name="Ours")
    mark, path = site.mark(), f"/people/v2/people/{site.person('Bruno')['id']}"
    assert (await sync_one(site, "Bruno"))["outcome"] == "updated_there"
    assert [(entry["method"], entry["path"]) for entry in site.journal(mark)] == [("GET", path), ("PATCH", path)]


async def test_a_write_after_a_wait_reads_again(site: Site) -> None:
    await site.sync()
    await site.change("Bruno", last_name="Ours")
    bruno = await site.member("Bruno")
    async with site.read_too_early("Bruno"):
        asked = await site.call("POST", f"/members/{bruno['id']}/sync", status=202)
        await site.waits()
        site.edit("Bruno", last_name="Theirs")
    assert (await done(site, asked))["outcome"] == "conflict"
    assert (await site.member("Bruno"))["last_name"] == "Ours"
    assert site.person("Bruno")["last_name"] == "Theirs"


async def test_a_person_read_by_a_run_meanwhile_is_read_again_before_the_write(site: Site) -> None:
    """Our side was decided by the run's read, the write by an older one, which reverted the edit and wrote during a
    conflict.
    """
    await site.sync()
    await site.change("Bruno", last_name="Ours")
    bruno, pco_id = await site.member("Bruno"), site.person("Bruno")["id"]
    mark, path = site.mark(), f"/people/v2/people/{pco_id}"
    async with site.read_not_stored("Bruno") as connection:
        asked = await site.call("POST", f"/members/{bruno['id']}/sync", status=202)
        await site.waits()
        by_a_run = "UPDATE remote SET read_at = clock_timestamp() WHERE organization_id = $1 AND pco_id = $2"
        await connection.execute(by_a_run, site.organization_id, pco_id)
    assert (await done(site, asked))["outcome"] == "updated_there"
    assert [(entry["method"], entry["path"]) for entry in site.journal(mark)] == [
        ("GET", path),
        ("GET", path),
        ("PATCH", path),
    ]


async def test_this_person_now_during_a_full_run(site: Site) -> None:
    await site.sync()
    await site.change("Bruno", phone="(212) 555-0150")
    slow = site.fault({"kind": "latency", "ms": 20_000}, method="GET", path="/people/v2/people$")
    run_id = await site.start()
    await site.until(run_id, "running")
    assert (await sync_one(site, "Bruno"))["outcome"] == "updated_there"
    assert (await site.run(run_id))["state"] == "running"
    site.control.remove_fault(slow)
    await site.until(run_id, "done")
    assert site.contacts("Bruno", "PhoneNumber")[0]["number"] == "(212) 555-0150"


async def test_ten_requests_for_the_same_person_are_one(site: Site) -> None:
    await site.sync()
    member = await site.member("Bruno")
    async with site.held_up("Bruno"):
        asked = [await site.call("POST", f"/members/{member['id']}/sync", status=202) for _ in range(10)]
    assert len({one["id"] for one in asked}) <= 2  # one running, one queued
    assert (await done(site, asked[-1]))["outcome"] == "unchanged"


async def test_no_single_sync_before_the_first_full_read(site: Site) -> None:
    member = await site.add("Alan", "Abbot", email="alan@example.org")
    answer = await site.call("POST", f"/members/{member}/sync", status=409)
    assert answer["type"].endswith("sync-first")


# --- history --------------------------------------------------------------------------------------------------------


async def links_told(site: Site, first_name: str) -> list[tuple[str, str, str, str | None]]:
    """A member's history of links: field, side, by, rule."""
    member = await site.member(first_name)
    items = (await site.call("GET", f"/members/{member['id']}/history"))["items"]
    return [
        (one["field"], one["side"], one["by"], one["rule"])
        for one in items
        if one["field"] in {"created", "planning_center_id"}
    ]


# Kind: a change of ours is missing from the history.
async def test_the_history_tells_how_a_member_was_linked(site: Site) -> None:
    await site.settings(first_match="planning_center")
    await site.add("Bruno", "Baker", email="bruno@example.org")
    await site.add("Nora", "New")
    lee = {"external_id": "lee", "first_name": "Lee", "last_name": "Lane", "pco_id": site.person("Lee")["id"]}
    await site.call("PUT", "/bulk", {"members": [lee]})
    await site.add("Ned", "Nash", email="other@example.org")
    await site.sync()
    [held] = (await site.call("GET", "/held-matches"))["items"]
    same = {"answer": "same", "member_id": held["candidates"][0]["member"]["id"], "version": held["version"]}
    await site.call("POST", f"/held-matches/{held['id']}/answer", same)
    assert await links_told(site, "Bruno") == [("planning_center_id", "here", "rule", "matched")]
    assert await links_told(site, "Nora") == [("created", "there", "platform", None)]
    assert await links_told(site, "Cora") == [("created", "here", "planning_center", None)]
    assert await links_told(site, "Lee") == [("planning_center_id", "here", "platform", None)]
    assert await links_told(site, "Ned") == [("planning_center_id", "here", "person", None)]


# Kind: a change of ours is missing from the history.
async def test_the_history_has_the_writes_there(site: Site) -> None:
    await site.sync()
    bruno = await site.member("Bruno")
    await site.change("Bruno", email=None, phone="(212) 555-0150")
    await sync_one(site, "Bruno")
    items = (await site.call("GET", f"/members/{bruno['id']}/history"))["items"]
    told = [(one["side"], one["by"], one["old"], one["new"], one["can_undo"]) for one in items[:4]]
    values = [(bruno["email"], None), (bruno["phone"], "(212) 555-0150")]
    assert sorted(told[:2], key=str) == sorted((("there", "platform", *pair, False) for pair in values), key=str)
    assert sorted(told[2:], key=str) == sorted((("here", "person", *pair, True) for pair in values), key=str)


# --- A1, A2, B6, B7: memory per field --------------------------------------------------------------------------------


async def test_a_refused_part_leaves_no_memory_that_overwrites(site: Site) -> None:
    """A1: data derived from a write's stored effect was lost when that was replaced."""
    await site.sync()
    before = await site.member("Bruno")
    refusal = site.control.refuse("number", "validation", organization_id=site.church.id)
    await site.change("Bruno", last_name="Bakerson", phone="(212) 555-0150")
    for _ in range(2):
        assert (await site.sync())["counts"]["rejected"] == 1
        await site.believable()
    assert site.person("Bruno")["last_name"] == "Bakerson"
    await site.change("Bruno", last_name=before["last_name"], phone=before["phone"])
    await site.sync()
    site.control.remove_fault(refusal)
    await site.believable()
    await site.sync()
    after = await site.member("Bruno")
    assert (after["last_name"], after["phone"]) == (before["last_name"], before["phone"])
    assert site.person("Bruno")["last_name"] == before["last_name"]
    assert [one for one in await effects(site, "Bruno") if one[0] != "created" and one[3] == "planning_center"] == []


# Kind: one refused part ends the others; the stored effect of a refused write is believed.
async def test_a_refused_contact_blocks_no_other_contact(site: Site) -> None:
    """B6 and B7: the refused part is listed, corrected and sent at once; all other parts were sent."""
    await site.sync()
    refusal = site.control.refuse("number", "validation", organization_id=site.church.id)
    await site.change(
        "Bruno", phone="(212) 555-0150", email="bb@example.org", address={"street_line_1": "7 Pine St", "city": "Ulm"}
    )
    run = await site.sync()
    assert run["counts"]["rejected"] == 1
    (item,) = await site.items(run["id"], "rejected")
    assert "phone number" in item["sentence"]
    assert [row["address"] for row in site.contacts("Bruno", "Email")] == ["bb@example.org"]
    assert [row["street_line_1"] for row in site.contacts("Bruno", "Address")] == ["7 Pine St"]
    site.control.remove_fault(refusal)
    await site.change("Bruno", phone="(212) 555-0151")
    assert (await sync_one(site, "Bruno"))["outcome"] == "updated_there"
    assert [row["number"] for row in site.contacts("Bruno", "PhoneNumber")] == ["(212) 555-0151"]


# Kind: one record's refusal ends a run.
async def test_a_403_concerns_one_person(site: Site) -> None:
    """B4: only an organization administrator may edit an administrator; all others sync."""
    await site.sync()
    id_ = site.person("Bruno")["id"]
    refusal = site.fault({"kind": "respond", "status": 403}, method="PATCH", path=f"/people/v2/people/{id_}$")
    await site.change("Bruno", last_name="Bakerson")
    await site.change("Bea", last_name="Bakerson")
    run = await site.sync()
    assert (run["state"], run["counts"]["rejected"], run["counts"]["updated_there"]) == ("done", 1, 1)
    (item,) = await site.items(run["id"], "rejected")
    assert "organization administrators" in item["sentence"]
    assert site.person("Bea")["last_name"] == "Bakerson"
    site.control.remove_fault(refusal)
    assert (await site.sync())["counts"]["updated_there"] == 1


# --- B1: other contacts ---------------------------------------------------------------------------------------------


# Kind: one of several values counts as the only one.
@pytest.mark.parametrize(
    ("type_", "field", "attributes", "value"),
    [
        ("PhoneNumber", "phone", {"number": "(212) 555-0121"}, "(212) 555-0121"),
        ("Email", "email", {"address": "other@example.org"}, "Other@example.org"),
        (
            "Address",
            "address",
            {"street_line_1": "7 Pine St", "city": "Ashford", "state": "CT", "zip": "06278", "country_code": "US"},
            {"street_line_1": "7 Pine St", "city": "Ashford", "state": "CT", "zip": "06278"},
        ),
    ],
)
async def test_a_value_that_is_another_contact_is_that_contact(
    site: Site, type_: str, field: str, attributes: dict[str, str], value: Any
) -> None:
    """B1: every kind of contact."""
    name = "Alan" if field == "address" else "Bruno"
    await site.sync()
    (first,) = site.contacts(name, type_)
    extra = {**attributes, "location": "Home", "primary": False}
    (other,) = site.mutate({"op": "create", "type": type_, "id": site.person(name)["id"], "attributes": extra})
    await site.visible()
    await site.change(name, **{field: value})
    await site.sync()
    found = {row["id"]: row for row in site.contacts(name, type_)}
    assert {id_: row.get("primary", False) for id_, row in found.items()} == {first["id"]: False, other["id"]: True}
    # Neither contact was rewritten.
    for row, before in ((found[first["id"]], first), (found[other["id"]], attributes)):
        assert {key: row[key] for key in attributes if key in before} == {
            key: before[key] for key in attributes if key in before
        }
    await site.believable()
    assert (await site.sync())["counts"].keys() <= {"unchanged"}


async def with_two_numbers(site: Site) -> str:
    """Bruno gets a second number there; gives its id. Ours is the first."""
    await site.sync()
    attributes = {"number": "(212) 555-0121", "location": "Home", "primary": False}
    bruno = site.person("Bruno")["id"]
    (second,) = site.mutate({"op": "create", "type": "PhoneNumber", "id": bruno, "attributes": attributes})
    await site.visible()
    await site.sync()
    await site.believable()
    return second["id"]


# Kind: one of several values counts as the only one; a write is stored only with its answer.
@pytest.mark.parametrize("fault", [None, {"kind": "reset", "when": "after"}, {"kind": "reset", "when": "before"}])
async def test_clearing_our_contact_takes_over_no_other(site: Site, fault: dict[str, str] | None) -> None:
    await with_two_numbers(site)
    if fault:
        site.fault(fault, method="DELETE", path="/people/v2/phone_numbers/", times=1)
    await site.change("Bruno", phone=None)
    await site.sync()
    await site.believable()
    for kind in ("incremental", "full", "full", "incremental") if fault else ("full", "incremental"):
        last = await site.sync(kind)
        await site.believable()
    assert last["counts"].keys() <= {"unchanged"}
    assert await site.conflicts() == {}
    assert (await site.member("Bruno"))["phone"] is None
    assert [row["number"] for row in site.contacts("Bruno", "PhoneNumber")] == ["(212) 555-0121"]


# Kind: an announcement outlives its refusal.
async def test_a_refused_clearing_is_compared_as_before(site: Site) -> None:
    second = await with_two_numbers(site)
    answer = {"kind": "respond", "status": 403}
    refusal = site.fault(answer, method="DELETE", path="/people/v2/phone_numbers/")
    await site.change("Bruno", phone=None)
    assert (await site.sync())["counts"]["rejected"] == 1
    site.control.remove_fault(refusal)
    # Somebody there makes the other number primary at the same time.
    site.mutate({"op": "edit", "type": "PhoneNumber", "id": second, "attributes": {"primary": True}})
    await site.visible()
    await site.sync()
    assert await site.conflicts() == {"Bruno": ["open"]}


# --- A5, A6, B10, B11: who is who -----------------------------------------------------------------------------------


# Kind: one key alone decides an identity.
async def test_a_marker_alone_identifies_nobody(site: Site) -> None:
    """A5: a person there has a Remote ID equal to the marker of a refused intent."""
    await site.sync()
    refusal = site.control.refuse("last_name", "validation", organization_id=site.church.id)
    await site.add("Nina", "New", email="nina@example.org")
    await site.sync()
    site.control.remove_fault(refusal)
    marker = await site.database.value(
        "SELECT marker FROM creation WHERE organization_id = $1 AND kind = 'member'", site.organization_id
    )
    site.create("Otto", "Other", remote_id=marker)
    await site.visible()
    await site.sync()
    assert (await site.member("Nina"))["last_name"] == "New"
    assert len(await site.members("Otto")) == 1
    assert len(site.people("Nina")) == 1


# Kind: the outcome depends on the time of a read.
@pytest.mark.parametrize("between", [True, False])
@pytest.mark.parametrize("kind", ["full", "incremental"])
async def test_deleted_there_and_added_again_is_the_same(site: Site, kind: str, *, between: bool) -> None:
    """B10: the outcome does not depend on the time of our read."""
    await site.sync()
    before = await site.member("Bruno")
    site.delete("Bruno")
    await site.visible()
    if between:
        await site.sync()
    site.create("Bruno", before["last_name"], email=before["email"])
    await site.visible()
    run = await site.sync(kind)
    assert run["counts"].keys().isdisjoint({"created_here", "gone", "held"}), run
    await site.believable()
    await site.sync()
    (after,) = await site.members("Bruno")
    assert after["id"] == before["id"]
    assert len(site.people("Bruno")) == 1
    state = await site.database.value("SELECT state FROM link WHERE record_id = $1", before["id"])
    assert state == "linked"


# Kind: the outcome depends on the time of a read.
async def test_a_person_added_again_there_and_met_by_a_family_sync_is_the_same(site: Site) -> None:
    """B10: a new person in a household may be its missing one."""
    await site.sync()
    before, family = await site.member("Bruno"), await site.family_of("Baker Household")
    (household,) = [row for row in site.rows("Household") if row["name"] == "Baker Household"]
    site.delete("Bruno")
    site.create("Bruno", before["last_name"], email=before["email"])
    site.move("Bruno", to=str(household["id"]), left="0")
    await site.visible()
    await done(site, await site.call("POST", f"/families/{family['id']}/sync", status=202))
    (after,) = await site.members("Bruno")
    assert after["id"] == before["id"]
    await site.sync()
    assert await site.members_of("Baker Household") == site.household("Baker Household") == ["Bea", "Bruno"]


# Kind: a run only knows its own reads.
async def test_an_incremental_run_holds_the_same_matches_as_a_full_run(site: Site) -> None:
    """A11: every run knows all candidates there, including those that it did not read."""
    await site.sync()
    await site.add("Pam", "Page", email="pam@example.org")
    for _ in range(2):
        site.create("Pam", "Page", email="pam@example.org")
    await site.visible()
    assert (await site.sync())["counts"]["held"] == 2
    site.mutate({"op": "edit", "id": site.people("Pam")[0]["id"], "attributes": {"nickname": "P"}})
    await site.visible()
    assert (await site.sync("incremental"))["counts"].get("held", 0) >= 1
    query = "SELECT count(*) FROM link WHERE record_id = $1"
    assert await site.database.value(query, (await site.member("Pam"))["id"]) == 0
    assert len(site.people("Pam")) == 2


# Kind: one key alone decides an identity.
async def test_a_relative_with_our_marker_is_another_person(site: Site) -> None:
    """A5: the marker and the last name do not prove a duplicate of ours."""
    await site.sync()
    await site.add("Nora", "New", email="nora@example.org")
    await site.sync()
    site.create("Nick", "New", email="nick@example.org", remote_id=site.person("Nora")["remote_id"])
    await site.visible()
    await site.sync()
    await site.believable()
    assert (await site.sync())["counts"].keys() <= {"unchanged"}
    assert site.person("Nick").get("status", "active") == "active"
    assert len(await site.members("Nick")) == 1


# Kind: a run's own plan counts as another member's.
async def test_added_again_there_without_an_email_is_held_at_once(site: Site) -> None:
    """The run that finds the member gone asks about candidates."""
    await site.sync()
    site.delete("Bruno")
    keep = site.create("Bruno", "Baker")
    await site.visible()
    run = await site.sync()
    assert (run["counts"]["held"], run["counts"]["gone"]) == (1, 1), run["counts"]
    assert [held["pco_id"] for held in (await site.call("GET", "/held-matches"))["items"]] == [keep]
    assert len(await site.members("Bruno")) == 1


# Kind: a stale read ends a link.
async def test_a_merger_that_shows_late_ends_no_link(site: Site) -> None:
    """A6: a link ends only after a 404 and a conclusive log."""
    await site.sync()
    before = await site.member("Bruno")
    keep = site.create("Bruno Otto", "Baker", email="otto@example.org")
    await site.visible()
    site.control.change_settings(mergers_lag_ms=1_200)
    site.merge(keep, str(site.person("Bruno")["id"]))
    await site.visible()
    run = await site.sync()
    site.control.change_settings(mergers_lag_ms=0)
    assert "gone" not in run["counts"], run
    link = (await site.database.fetch("SELECT * FROM link WHERE record_id = $1", before["id"]))[0]
    assert (link["state"], link["pco_id"]) == ("linked", keep)


# Kind: a merger is reported as the loss of one person.
async def test_two_members_whose_people_became_one(site: Site) -> None:
    """B11: both stay and are named; the second is not added there again."""
    await site.sync()
    site.merge(str(site.person("Bea")["id"]), str(site.person("Bruno")["id"]))
    await site.visible()
    run = await site.sync()
    assert run["counts"]["merged"] == 1
    (item,) = await site.items(run["id"], "merged")
    assert "Bruno" in item["sentence"]
    assert "Bea" in item["sentence"]
    bruno = await site.member("Bruno")
    answer = await site.call("POST", f"/members/{bruno['id']}/create-again", status=409)
    assert answer["type"].endswith("merged")
    assert len(site.people("Bruno")) == 0


async def test_gone_by_itself(site: Site) -> None:
    """A refresh finds a person gone as a run does: only once the log of mergers is conclusive."""
    await site.sync()
    site.delete("Bruno")
    await site.visible()
    assert (await sync_one(site, "Bruno"))["outcome"] == "gone"
    assert (await site.sync())["counts"].keys() <= {"unchanged"}


# --- two workers on the same people ---------------------------------------------------------------------------------


async def test_an_edit_during_a_single_sync_is_sent_too(site: Site) -> None:
    """A request during a running sync is not lost."""
    await site.sync()
    member = await site.member("Bruno")
    hold = site.fault(
        {"kind": "hold"}, method="PATCH", path=f"/people/v2/people/{site.person('Bruno')['id']}$", times=1
    )
    await site.change("Bruno", last_name="One")
    await site.call("POST", f"/members/{member['id']}/sync", status=202)

    async def held() -> bool:
        return bool(site.control.fault(hold)["holding"])

    await eventually(held)
    await site.change("Bruno", last_name="Two")
    asked = await site.call("POST", f"/members/{member['id']}/sync", status=202)
    site.control.release(hold)
    await done(site, asked)
    assert site.person("Bruno")["last_name"] == "Two"


async def test_one_persons_outage_keeps_nobody_else_waiting(site: Site) -> None:
    await site.sync()
    ill = site.fault(
        {"kind": "respond", "status": 500}, method="GET", path=f"/people/v2/people/{site.person('Bea')['id']}$"
    )
    bea, bruno = await site.member("Bea"), await site.member("Bruno")
    first = await site.call("POST", f"/members/{bea['id']}/sync", status=202)
    second = await site.call("POST", f"/members/{bruno['id']}/sync", status=202)
    assert (await done(site, second))["outcome"] == "unchanged"
    site.control.remove_fault(ill)
    assert (await done(site, first))["outcome"] == "unchanged"


# Kind: an outdated plan is carried out.
async def test_a_person_added_there_since_the_last_sync_is_not_doubled(site: Site) -> None:
    """Newcomers are read before a creation, also by a single sync and after an answer."""
    await site.settings(first_match="planning_center")
    await site.sync()
    site.create("Zoe", "Zander", email="zoe@example.org")
    await site.visible()
    await site.add("Zoe", "Zander", email="zoe@example.org")
    assert (await sync_one(site, "Zoe"))["outcome"] == "later"
    await site.sync()
    assert len(site.people("Zoe")) == len(await site.members("Zoe")) == 1


# Kind: an outdated plan is carried out.
async def test_a_person_added_there_during_a_question_is_not_doubled(site: Site) -> None:
    await site.add("Alan", "Abbot", email="alan@example.org", phone="(212) 555-0111")
    await site.add("Zoe", "Zander", email="zoe@example.org")
    run_id = await site.start()
    await site.until(run_id, "waiting")
    site.create("Zoe", "Zander", email="zoe@example.org")
    await site.visible()
    await site.call("POST", f"/runs/{run_id}/answer", {"question": "first_match", "answer": "planning_center"})
    await site.until(run_id, "done")
    assert len(site.people("Zoe")) == 1


async def test_a_single_sync_decides_no_first_match_unasked(site: Site) -> None:
    await site.sync()
    family = await site.family_of("Clark Household")
    (household,) = [row for row in site.rows("Household") if row["name"] == "Clark Household"]
    await site.add("Zoe", "Zander", email="zoe@example.org", phone="(212) 555-0188")
    person = site.create("Zoe", "Zander", email="zoe@example.org")
    number = {"number": "(212) 555-0199", "location": "Home"}
    site.mutate({"op": "create", "type": "PhoneNumber", "id": person, "attributes": number})
    site.control.move_person(site.church.id, person, str(household["id"]))
    await site.visible()
    await done(site, await site.call("POST", f"/families/{family['id']}/sync", status=202))
    assert (await site.member("Zoe"))["phone"] == "(212) 555-0188"


# Kind: an answer is applied to more than its subject.
async def test_a_status_there_is_taken_over_also_after_a_refused_part(site: Site) -> None:
    """B13: the first match's decision about the status does not apply to later changes."""
    await site.settings(first_match="ours")
    await site.sync()
    site.control.refuse("number", "validation", organization_id=site.church.id)
    await site.change("Bruno", phone="(212) 555-0150")
    await site.sync()
    await site.believable()
    site.edit("Bruno", status="inactive")
    await site.visible()
    await site.sync()
    assert not (await site.member("Bruno"))["active"]


async def test_a_run_and_single_syncs_of_the_same_people(site: Site, stage: Stage) -> None:
    await site.sync()
    names = ["Bruno", "Bea", "Alan", "Amy", "Carl", "Cora", "Dan"]
    for number, name in enumerate(names):
        await site.change(name, last_name="Ours", phone=f"(212) 555-016{number}")
    nina = await site.add("Nina", "New", email="nina@example.org", phone="(212) 555-0170")
    mark = site.mark()
    run_id = await site.start()
    ids = [str((await site.member(name))["id"]) for name in names] + [nina]
    asked = [await site.call("POST", f"/members/{id_}/sync", status=202) for id_ in ids]
    for one in asked:
        await done(site, one)
    await site.until(run_id, "done")
    for number, name in enumerate(names):
        assert site.person(name)["last_name"] == "Ours"
        assert [row["number"] for row in site.contacts(name, "PhoneNumber")] == [f"(212) 555-016{number}"]
    assert len(site.people("Nina")) == 1
    assert len(site.contacts("Nina", "Email")) == len(site.contacts("Nina", "PhoneNumber")) == 1
    patched = [entry["path"] for entry in site.journal(mark, writes=True) if entry["method"] == "PATCH"]
    assert len(patched) == len(set(patched)), "something was written twice"
    await site.believable()
    mark = site.mark()
    assert (await site.sync())["counts"].keys() <= {"unchanged"}
    assert site.journal(mark, writes=True) == []


# --- A8, B5, B8, B9, A14: runs ---------------------------------------------------------------------------------------


# Kind: an answer is applied to more than the shown records.
async def test_an_answer_covers_only_the_shown_records(site: Site) -> None:
    """A8: an answer about some records was applied late to others."""
    await site.sync()
    await site.settings(threshold_percent=1, threshold_minimum=1)
    await site.change("Bruno", last_name="Ours")
    await site.change("Bea", last_name="Ours")
    run_id = await site.start()
    run = await site.until(run_id, "waiting")
    assert run["question"]["counts"]["updated_there"] == 2
    await site.change("Carl", last_name="Ours")
    mark = site.mark()
    run = await site.approved(run_id)
    assert (run["counts"]["updated_there"], run["counts"]["left_out"]) == (2, 1)
    (left_out,) = await site.items(run_id, "left_out")
    assert left_out["name"].startswith("Carl ")
    assert left_out["sentence"].startswith("This has changed since the plan was shown")
    assert site.person("Carl")["last_name"] == "Clark"
    assert len(site.journal(mark, writes=True)) == 2


# Kind: planned changes are reported as done.
async def test_unfinished_changes_of_a_stopped_run_are_not_reported_as_done(site: Site) -> None:
    """B5: planned changes were reported as done."""
    await site.sync()
    for number in range(6):
        await site.add(f"New{number}", "Person", email=f"new{number}@example.org")
    hold = site.fault({"kind": "hold"}, method="POST", path="/people/v2/people$")
    run_id = await site.start()

    async def held() -> bool:
        return bool(site.control.fault(hold)["holding"])

    await eventually(held)
    await site.call("POST", f"/runs/{run_id}/stop")
    site.control.release(hold)
    site.control.remove_fault(hold)
    run = await site.until(run_id, "stopped")
    there = [number for number in range(6) if site.people(f"New{number}")]
    items = await site.items(run_id, "created_there")
    assert len(items) <= len(there)
    outcomes = {item["outcome"] for item in await site.items(run_id)}
    assert outcomes <= {"created_there", "not_done", "unchanged", "rejected", "later"}, (run, outcomes)


# Kind: a record in no list counts as absent.
async def test_a_household_left_empty_is_seen(site: Site) -> None:
    """B8: no person leads to it any more, so no walk over people meets it."""
    await site.sync()
    (clark,) = [row for row in site.rows("Household") if row["name"] == "Clark Household"]
    (dean,) = [row for row in site.rows("Household") if row["name"] == "Dean Household"]
    for name in ("Carl", "Cora"):
        site.move(name, to=str(dean["id"]), left=str(clark["id"]))
    await site.visible()
    await site.sync()
    assert await site.members_of("Dean Household") == ["Carl", "Cora", "Dan", "Dora"]
    assert await site.members_of("Clark Household") == []
    for _ in range(2):
        assert (await site.sync())["counts"].keys() <= {"unchanged"}


# Kind: a deleted record's counterpart counts as unlinked.
async def test_deleted_here_and_added_again_is_the_same_there(site: Site) -> None:
    """B9: sending 60 people again made 120."""
    await site.sync()
    before = await site.member("Bruno")
    await site.remove("Bruno")
    await site.sync()
    added = await site.add("Bruno", before["last_name"], email=before["email"])
    await site.sync()
    await site.believable()
    await site.sync()
    assert len(site.people("Bruno")) == 1
    found = await site.database.value(
        "SELECT pco_id FROM link WHERE organization_id = $1 AND record_id::text = $2", site.organization_id, added
    )
    assert found == str(site.person("Bruno")["id"])


# Kind: a setting applies to earlier events.
async def test_inactivating_does_not_reach_back(site: Site) -> None:
    """A14: it applies only to members deleted after the choice."""
    await site.sync()
    await site.remove("Bruno")
    await site.settings(inactivate_deleted=True)
    await site.remove("Bea")
    run = await site.sync()
    assert run["counts"]["inactivated_there"] == 1
    assert [site.person(name).get("status", "active") for name in ("Bruno", "Bea")] == ["active", "inactive"]
