"""Proof of sync: all records are compared, nothing is written, and every difference is named."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from sync_harness.site import Site
from sync_harness.stage import Stage

from servicekit.testing import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def prove(site: Site) -> dict[str, Any]:
    """Run a proof; gives the statement, and checks that no value changed on either side."""
    mark, before = site.mark(), await everything(site)
    run = await site.call("POST", "/statements")
    assert run["purpose"] == "proof"
    await site.until(run["id"], "done")
    assert site.journal(mark, writes=True) == []
    assert await everything(site) == before
    statement: dict[str, Any] = (await site.call("GET", "/statements"))["items"][0]
    assert statement["run_id"] == run["id"]
    return statement


async def everything(site: Site) -> list[dict[str, Any]]:
    """All values here, agreed values, effects, and the cursor of the next sync."""
    queries = (
        "SELECT to_jsonb(member) AS row FROM member WHERE organization_id = $1 ORDER BY id",
        "SELECT to_jsonb(family) AS row FROM family WHERE organization_id = $1 ORDER BY id",
        "SELECT to_jsonb(family_member) AS row FROM family_member WHERE organization_id = $1 ORDER BY 1",
        "SELECT jsonb_build_array(agreed, decided, kept_different, state = 'gone') AS row FROM link "
        "WHERE organization_id = $1 ORDER BY id",
        "SELECT to_jsonb(conflict) AS row FROM conflict WHERE organization_id = $1 ORDER BY id",
        "SELECT to_jsonb(held_match) AS row FROM held_match WHERE organization_id = $1 ORDER BY id",
        "SELECT to_jsonb(max(id)) AS row FROM effect WHERE organization_id = $1",
        "SELECT jsonb_build_array(full_sync_at, cursor, next_run_at) AS row FROM connection WHERE organization_id = $1",
    )
    return [row for query in queries for row in await site.database.fetch(query, site.organization_id)]


async def named(site: Site, statement: dict[str, Any]) -> dict[str, list[str]]:
    """The names of differing records by reason."""
    found: dict[str, list[str]] = {}
    for item in await site.items(statement["run_id"]):
        assert item["sentence"]
        found.setdefault(item["outcome"], []).append(item["name"])
    return {reason: sorted(names) for reason, names in found.items()}


async def why(site: Site, first_name: str) -> tuple[str | None, str]:
    """*Why different?* of a member."""
    found = await site.call("GET", f"/members/{(await site.member(first_name))['id']}/why-different")
    return found["reason"], found["sentence"]


async def test_a_church_in_sync_is_identical(site: Site) -> None:
    await site.sync()
    statement = await prove(site)
    assert (statement["people"], statement["people_identical"]) == (14, 14)
    assert (statement["families"], statement["families_identical"], statement["apart"]) == (4, 4, {})
    assert statement["sentence"] == "14 of 14 people identical on both sides."
    assert statement["changed"] == 18
    assert await why(site, "Bruno") == (None, "Both sides have the same values.")


async def test_exactly_the_differences_are_named(site: Site, stage: Stage) -> None:
    """One difference of each kind; the next sync resolves those that wait for it, and the statement says so."""
    await site.settings(first_match="planning_center")
    await site.add("Ina", "Idle")
    ina = await site.member("Ina")
    await site.database.fetch("UPDATE member SET active = false WHERE id = $1", ina["id"])
    await site.sync()
    await site.change("Bruno", phone="(212) 555-0150")
    site.edit_contact("Bruno", "PhoneNumber", number="(212) 555-0160")
    await site.visible()
    await site.sync()  # puts Bruno in conflict
    await site.change("Alan", gender="Male")
    site.edit("Amy", gender="Female")
    site.create("Nora", "New", email="nora@example.org")
    await site.add("Leo", "Local")
    await site.add("Una", "Unsure", birthdate="1990-01-01")
    site.create("Una", "Unsure", email="una@example.org")  # may be the member here
    site.delete("Max")
    site.rename_household("Dean Household", "Dean Family")  # now has the name that it has here
    odd = await site.family_of("Clark Household")
    await site.database.fetch("UPDATE family SET name = 'Odd Household' WHERE id = $1", odd["id"])  # by no edit
    await site.visible()
    statement = await prove(site)
    found = await named(site, statement)
    assert found == {
        "waits_for_you": ["Bruno Baker", "Una Unsure"],
        "waits_for_sync": [
            "Alan Abbot",
            "Amy Abbot",
            "Dean Household",
            "Leo Local",
            "Max Moor",
            "Nora New",
            "Una Unsure",
        ],
        "one_side": ["Ina Idle"],
        "unexplained": ["Odd Household"],
    }
    assert {reason: len(names) for reason, names in found.items()} == statement["apart"]
    assert (statement["people"], statement["people_identical"]) == (19, 10)
    assert (statement["families"], statement["families_identical"]) == (4, 2)
    assert statement["sentence"] == (
        "10 of 19 people identical on both sides, 2 wait for your answer, 6 wait for the next sync, 1 is on one side "
        "only."
    )
    assert (await why(site, "Bruno"))[0] == "waits_for_you"
    assert (await why(site, "Leo"))[0] == "waits_for_sync"
    assert (await why(site, "Ina"))[0] == "one_side"
    # The next incremental sync still acts on the edits that the proof read.
    run = await site.sync("incremental")
    assert (run["counts"]["updated_here"], run["counts"]["created_here"], run["counts"]["held"]) == (2, 1, 1)
    await site.believable()
    await site.sync()
    assert await named(site, await prove(site)) == {
        "waits_for_you": ["Bruno Baker", "Una Unsure", "Una Unsure"],
        "one_side": ["Ina Idle", "Max Moor"],
    }


async def tamper(site: Site, table: str, record_id: Any, **values: Any) -> None:
    """Change our value and the agreed value alike, without a stored edit."""
    for name, value in values.items():
        await site.database.fetch(f'UPDATE {table} SET "{name}" = $2 WHERE id = $1', record_id, value)
    agreed = "UPDATE link SET agreed = agreed || $2 WHERE record_id = $1"
    await site.database.fetch(agreed, record_id, values)


# Kind: a proof compares stored values with themselves.
async def test_a_change_past_the_sync_on_our_side_is_found_and_corrected(site: Site, quiet: None) -> None:
    """Planning Center's values are unchanged, and the agreed values equal ours."""
    await site.sync()
    await tamper(site, "member", (await site.member("Bruno"))["id"], last_name="Wrong")
    await tamper(site, "member", (await site.member("Amy"))["id"], active=False)
    await tamper(site, "family", (await site.family_of("Clark Household"))["id"], name="Wrong Household")
    dean = await site.family_of("Dean Household")
    members = await site.members_of("Dean Household")
    ids = [(await site.member(name))["id"] for name in members]
    left = next(one for one in ids if one != dean["primary_contact_id"])
    await site.database.fetch("DELETE FROM family_member WHERE member_id = $1", left)
    agreed = await site.database.value("SELECT agreed FROM link WHERE record_id = $1", dean["id"])
    dropped = {**agreed, "members": [one for one in agreed["members"] if one != str(left)]}
    await site.database.fetch("UPDATE link SET agreed = $2 WHERE record_id = $1", dean["id"], dropped)
    statement = await prove(site)
    assert await named(site, statement) == {
        "unexplained": ["Bruno Wrong", "Dean Household", "Wrong Household"],
        "waits_for_sync": ["Amy Abbot"],
    }
    assert statement["sentence"] == (
        "12 of 14 people identical on both sides, 1 waits for the next sync, 1 differs without a reason that we know."
    )
    assert await why(site, "Bruno") == (
        "waits_for_sync",
        "Changed since the last sync; the next sync compares the two sides.",
    )
    counts = (await site.sync("incremental"))["counts"]
    assert counts["updated_here"] == 4
    assert (await site.member("Bruno"))["last_name"] == "Baker"
    assert await site.members_of("Dean Household") == members
    assert (await prove(site))["apart"] == {}


@asynccontextmanager
async def edited_after_the_comparison(site: Site, query: str) -> AsyncIterator[None]:
    """An edit while a proof names the reasons, which takes only milliseconds in such a small church."""
    name = f"edit_{uuid4().hex}"
    await site.database.fetch(
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {query}; RETURN NEW; END $$"
    )
    await site.database.fetch(
        f"CREATE TRIGGER {name} BEFORE UPDATE ON run FOR EACH ROW WHEN (NEW.phase = 'prove' AND OLD.phase <> 'prove' "
        f"AND NEW.organization_id = '{site.organization_id}') EXECUTE FUNCTION {name}()"
    )
    try:
        yield
    finally:
        await site.database.fetch(f"DROP FUNCTION {name} CASCADE")


async def test_an_edit_after_the_comparison_is_no_unexplained_difference(site: Site) -> None:
    await site.sync()
    bruno = (await site.member("Bruno"))["id"]
    edit = f"UPDATE member SET last_name = 'Later', version = version + 1 WHERE id = '{bruno}'"
    async with edited_after_the_comparison(site, edit):
        run = await site.call("POST", "/statements")
        await site.until(run["id"], "done")
    assert await named(site, {"run_id": run["id"]}) == {"waits_for_sync": ["Bruno Later"]}
    assert (await site.sync("incremental"))["counts"]["updated_there"] == 1
    assert site.person("Bruno")["last_name"] == "Later"


async def test_a_kept_difference_names_the_person_who_decided(site: Site) -> None:
    await site.sync()
    bruno = await site.member("Bruno")
    pair = {"ours": "(212) 555-0104", "theirs": "(212) 555-0160", "by_name": "Ada Moreno", "at": "2026-01-01T00:00:00Z"}
    site.edit_contact("Bruno", "PhoneNumber", number="(212) 555-0160")
    await site.database.fetch("UPDATE link SET decided = $2 WHERE record_id = $1", bruno["id"], {"phone": pair})
    await site.visible()
    statement = await prove(site)
    assert (await named(site, statement), statement["apart"]) == (
        {"kept_different": ["Bruno Baker"]},
        {"kept_different": 1},
    )
    told = ("kept_different", "Phone number stays different, as Ada Moreno decided.")
    assert await why(site, "Bruno") == told


@pytest.mark.parametrize("purpose", ["sync", "preview"])
async def test_sync_now_turns_a_proof_into_a_sync(site: Site, purpose: str) -> None:
    """*Sync Now* during the proof's read needs no second read."""
    await site.sync()
    await site.change("Alan", gender="Male")
    held = site.fault({"kind": "hold", "when": "before"}, method="GET", path="^/people/v2/people$", times=1)
    run = await site.call("POST", "/statements")
    await eventually(lambda: site.control.fault(held)["holding"] >= 1)
    joined = await site.call("POST", "/runs", {"kind": "full", "preview": purpose == "preview"})
    assert (joined["id"], joined["purpose"], joined["trigger"]) == (run["id"], purpose, "person")
    site.control.remove_fault(held)
    if purpose == "preview":
        await site.until(run["id"], "waiting")
        ended = await site.approved(run["id"])
    else:
        ended = await site.until(run["id"], "done")
    assert ended["counts"]["updated_there"] == 1
    assert (await site.call("GET", "/statements"))["items"] == []


async def test_a_statement_is_of_its_organization_alone(sites: Any) -> None:
    one, other = await sites(), await sites()
    await one.sync()
    await prove(one)
    assert (await other.call("GET", "/statements"))["items"] == []
    bruno = (await one.member("Bruno"))["id"]
    await other.call("GET", f"/members/{bruno}/why-different", status=404)


async def test_every_night(site: Site) -> None:
    """A proof begins by itself once a night, and delays no sync."""
    await site.sync()
    query = "UPDATE connection SET next_proof_at = now() WHERE organization_id = $1"
    await site.database.fetch(query, site.organization_id)

    async def told() -> Any:
        return (await site.call("GET", "/statements"))["items"]

    (statement,) = await eventually(told, within=60)
    run = await site.run(statement["run_id"])
    assert (run["trigger"], run["state"]) == ("schedule", "done")
    tonight = "SELECT next_proof_at > now() FROM connection WHERE organization_id = $1"
    assert await site.database.value(tonight, site.organization_id)
    assert (await site.call("GET", "/status"))["last_run"]["purpose"] == "sync"
