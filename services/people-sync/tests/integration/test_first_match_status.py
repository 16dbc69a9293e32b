"""The active status is part of the first match: asked about, counted, and never decided by default (B13)."""

from typing import Any

import pytest
from sync_harness.site import Site
from sync_harness.stage import Stage

from people_sync.domain.sentences import OTHERS_SYNCED
from servicekit.testing import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def status(site: Site) -> tuple[bool, bool]:
    """Whether Nina is active here, and in Planning Center."""
    return (await site.member("Nina"))["active"], site.person("Nina").get("status") != "inactive"


async def found_inactive(site: Site, **values: Any) -> str:
    """Nina is active here, and her only match is inactive there; gives her id here."""
    nina = await site.add("Nina", "New", email="nina@example.org", **values)
    site.create("Nina", "New", email="nina@example.org", status="inactive")
    await site.visible()
    return nina


async def outcome_of(site: Site, run: dict[str, Any], member: str) -> tuple[str, str | None]:
    """A run's outcome and sentence for a member."""
    [item] = [item for item in await site.items(run["id"]) if item["record_id"] == member]
    return item["outcome"], item["sentence"]


# Kind: a default decides without a question.
@pytest.mark.parametrize("answer", ["planning_center", "ours", "ask"])
async def test_nobody_becomes_inactive_unasked(site: Site, answer: str) -> None:
    """The status alone differs: it is asked about, with the count, and each answer applies to it."""
    nina = await found_inactive(site)
    mark = site.mark()
    run_id = await site.start()
    run = await site.until(run_id, "waiting")
    counts = {"matched": 1, "people_with_differences": 1, "differing_values": 1, "may_be_mailed": 0}
    assert (run["question"]["kind"], run["question"]["counts"]) == ("first_match", counts)
    example = {"name": "Nina New", "field": "active", "here": "yes", "planning_center": "no"}
    assert run["question"]["examples"] == [example]
    assert await status(site) == (True, False)
    await site.call("POST", f"/runs/{run_id}/answer", {"question": "first_match", "answer": answer})
    run = await site.until(run_id, "done")
    outcome, sentence = await outcome_of(site, run, nina)
    entries = (await site.call("GET", f"/members/{nina}/history"))["items"]
    told = [(one["field"], one["old"], one["new"], one["rule"]) for one in entries if one["rule"] != "matched"]
    if answer == "planning_center":
        assert (outcome, await status(site)) == ("updated_here", (False, False))
        assert told == [("active", True, False, "first_match")]
    else:
        assert (outcome, await status(site)) == ({"ours": "linked", "ask": "conflict"}[answer], (True, False))
        assert told == []
        assert await site.conflicts() == ({} if answer == "ours" else {"Nina": ["open"]})
        assert answer == "ask" or "each stays so" in (sentence or "")
    assert run["counts"][outcome] == 1
    assert site.journal(mark, writes=True) == []
    for kind in ("full", "incremental"):
        run = await site.sync(kind)
        assert run["counts"].keys() <= ({"unchanged", "conflict"} if answer == "ask" else {"unchanged"}), run
    assert await status(site) == (answer != "planning_center", False)


# Kind: a screen shows less, or more, than was done.
async def test_a_conflict_of_a_first_match_leaves_the_other_fields_alone(site: Site, stage: Stage) -> None:
    """Max's phone is in conflict without an agreed value; his gender is edited here, and sent."""
    await site.settings(first_match="ask")
    both = await site.add("Max", "Moor", email="max@example.org", phone="(212) 555-0199")
    run = await site.sync()
    outcome, alone = await outcome_of(site, run, both)
    [(_, opened)] = await stage.told(site, "people.conflict.v1", 1)
    assert [(one["field"], one["base"], one["base_known"]) for one in opened["fields"]] == [("phone", None, False)]
    assert (outcome, OTHERS_SYNCED in (alone or "")) == ("conflict", False)
    await site.change("Max", gender="Male")
    outcome, said = await outcome_of(site, await site.sync(), both)
    assert (outcome, said) == ("conflict", f"{alone} {OTHERS_SYNCED}")
    assert site.person("Max")["gender"] == "Male"
    await site.change("Max", gender="Female")
    await site.believable()
    asked = await site.call("POST", f"/members/{both}/sync")

    async def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = await site.call("GET", f"/syncs/{asked['id']}")
        return found if found["state"] == "done" else None

    done = await eventually(ended)
    assert (done["outcome"], done["sentence"]) == ("conflict", said)


# Kind: an answer is applied to more than its subject.
@pytest.mark.parametrize("choice", ["ours", "ask"])
async def test_a_later_change_of_the_status_is_taken_over(site: Site, choice: str) -> None:
    """For a first match with both sides active, or with a settled status."""
    await site.settings(first_match=choice)
    await found_inactive(site)
    both = await site.add("Max", "Moor", email="max@example.org", phone="(212) 555-0199")
    await site.sync()
    assert await site.conflicts() == ({"Max": ["open"], "Nina": ["open"]} if choice == "ask" else {})
    site.edit("Nina", status="active")
    site.edit_contact("Max", "PhoneNumber", number="(212) 555-0199")
    await site.visible()
    await site.believable()
    await site.sync()
    assert (await status(site), (await site.member("Max"))["active"]) == ((True, True), True)
    assert await site.conflicts() == ({"Max": ["converged"], "Nina": ["converged"]} if choice == "ask" else {})
    for name in ("Nina", "Max"):
        site.edit(name, status="inactive")
    await site.visible()
    run = await site.sync()
    assert run["counts"]["updated_here"] == 2
    assert (await status(site), str((await site.member("Max"))["id"])) == ((False, False), both)
    assert not (await site.member("Max"))["active"]


# Kind: an answer to one field is taken for an answer to another.
async def test_a_status_stays_in_conflict_when_the_fields_beside_it_agree(site: Site) -> None:
    await site.settings(first_match="ask")
    nina = await found_inactive(site, phone="(212) 555-0199")
    number = {"number": "(212) 555-0188", "location": "Home"}
    site.mutate({"op": "create", "type": "PhoneNumber", "id": site.person("Nina")["id"], "attributes": number})
    await site.visible()
    await site.sync()
    fields = "SELECT fields FROM conflict WHERE organization_id = $1"

    async def in_conflict() -> list[tuple[str, Any, Any, Any]]:
        found = await site.database.value(fields, site.organization_id)
        return sorted((one["field"], one["base"], one["ours"], one["theirs"]) for one in found)

    open_status = ("active", None, True, False)
    assert await in_conflict() == [open_status, ("phone", None, "(212) 555-0199", "(212) 555-0188")]
    await site.call("PATCH", f"/members/{nina}", {"phone": "(212) 555-0188"})
    await site.sync()
    assert await in_conflict() == [open_status]
    # An edit here goes there, and is no answer about the status.
    await site.call("PATCH", f"/members/{nina}", {"birthdate": "1980-01-01"})
    await site.sync()
    assert site.person("Nina")["birthdate"] == "1980-01-01"
    assert await in_conflict() == [open_status]
    # Nor does a field that changes there right before its write count as one.
    await site.believable()
    await site.call("PATCH", f"/members/{nina}", {"last_name": "Here"})
    path = f"/people/v2/people/{site.person('Nina')['id']}$"
    held = site.fault({"kind": "hold", "when": "before"}, method="GET", path=path)
    run_id = await site.start()
    await eventually(lambda: site.control.fault(held)["holding"] >= 1)
    site.edit("Nina", last_name="There")
    await site.visible()
    site.control.remove_fault(held)
    await site.until(run_id, "done")
    assert await in_conflict() == [open_status, ("last_name", "New", "Here", "There")]
    assert (await status(site), await site.conflicts()) == ((True, False), {"Nina": ["open"]})


# Kind: a default decides without a question.
@pytest.mark.parametrize("choice", [None, "planning_center", "ours", "ask"])
async def test_an_answer_to_a_held_match_does_not_decide_the_status(site: Site, choice: str | None) -> None:
    """The answer shows the status, but the first-match choice decides it, or is asked for."""
    if choice:
        await site.settings(first_match=choice)
    nina = await site.add("Nina", "New")
    site.create("Nina", "New", email="nina@example.org", status="inactive")
    await site.visible()
    await site.sync()
    [held] = (await site.call("GET", "/held-matches"))["items"]
    assert (held["theirs"]["active"], held["candidates"][0]["member"]["active"]) == (False, True)
    assert "Inactive in Planning Center, active here." in held["candidates"][0]["reasons"]
    body = {"answer": "same", "member_id": nina, "version": held["version"]}
    await site.call("POST", f"/held-matches/{held['id']}/answer", body)

    async def looked_at() -> bool:
        done = "SELECT count(*) FROM refresh WHERE organization_id = $1 AND record_id::text = $2 AND state = 'done'"
        return bool(await site.database.value(done, site.organization_id, nina))

    await eventually(looked_at)
    assert await status(site) == (choice != "planning_center", False)
    assert await site.conflicts() == ({"Nina": ["open"]} if choice == "ask" else {})
    if choice is None:
        run = await site.until(await site.start(), "waiting")
        assert (run["question"]["kind"], run["question"]["examples"][0]["field"]) == ("first_match", "active")


# Kind: a question that is promised is never asked.
async def test_a_status_without_an_agreed_value_is_asked_about(site: Site) -> None:
    """The fields were agreed by a write there, but the status was not."""
    await site.sync()
    there = site.create("Nina", "New", email="nina@example.org")
    await site.visible()
    body = {"external_id": "x1", "first_name": "Nina", "last_name": "New", "email": "nina@example.org"}
    await site.call("PUT", "/bulk", {"members": [body | {"phone": "(212) 555-0177", "pco_id": there}]})
    await site.sync()
    site.edit("Nina", status="inactive")
    await site.visible()
    await site.believable()
    run_id = await site.start()
    run = await site.until(run_id, "waiting")
    example = {"name": "Nina New", "field": "active", "here": "yes", "planning_center": "no"}
    assert (run["question"]["counts"]["differing_values"], run["question"]["examples"]) == (1, [example])
    await site.call("POST", f"/runs/{run_id}/answer", {"question": "first_match", "answer": "planning_center"})
    await site.until(run_id, "done")
    assert await status(site) == (False, False)


# Kind: a question that is promised is never asked.
async def test_a_gone_person_found_again_is_asked_about(site: Site) -> None:
    """Values agreed with the gone person are not agreed with the new one."""
    await site.sync()
    site.delete("Max")
    site.create("Max", "Moor", email="max@example.org", status="inactive")
    await site.visible()
    run_id = await site.start()
    run = await site.until(run_id, "waiting")
    while not run["question"]:
        run = await site.until(run_id, "waiting")
    assert run["question"]["counts"]["people_with_differences"] == 1
    assert [one["field"] for one in run["question"]["examples"]] == ["active"]


# Kind: a remaining difference is not reported.
async def test_a_status_that_stays_different_is_reported_beside_written_fields(site: Site) -> None:
    await site.settings(first_match="ours")
    nina = await found_inactive(site, birthdate="1980-01-01")
    run = await site.sync()
    outcome, sentence = await outcome_of(site, run, nina)
    assert (outcome, site.person("Nina")["birthdate"]) == ("updated_there", "1980-01-01")
    assert "Changed in Planning Center, as here." in (sentence or "")
    assert "each stays so" in (sentence or "")
