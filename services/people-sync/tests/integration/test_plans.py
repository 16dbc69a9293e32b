"""A plan is shown before any write. The run carries out exactly that plan; records changed since are left out and
named.
"""

import csv
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
import pytest
from sync_harness.site import PEOPLE, Site

from contracts.values import PEOPLE_SYNC
from servicekit.testing import KeyRing, eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")
TABLES: Final = ("member", "family", "family_member", "held_match", "conflict", "effect")


async def fingerprint(site: Site) -> list[Any]:
    """All our rows with a record's values, or about writes of them."""
    return [
        await site.database.fetch(
            f"SELECT row_to_json(t)::text AS row FROM {table} t WHERE organization_id = $1 ORDER BY 1",
            site.organization_id,
        )
        for table in TABLES
    ]


async def settled(site: Site) -> None:
    """Wait until both sides are in sync, and reads are conclusive."""
    await site.settings(first_match="planning_center")
    await site.sync()
    await site.believable()


def named(items: list[dict[str, Any]]) -> dict[str, str]:
    return {item["name"]: item["outcome"] for item in items}


async def quiet_afterwards(site: Site) -> None:
    """Check that the next syncs bring both sides together, and that the one after them writes nothing."""
    for _ in range(2):
        await site.believable()
        await site.sync()
    await site.believable()
    mark, before = site.mark(), await fingerprint(site)
    run = await site.sync()
    assert run["counts"].keys() <= {"unchanged", "conflict", "held"}, run["counts"]
    assert site.journal(mark, writes=True) == []
    assert await fingerprint(site) == before


# --- nothing is written ---------------------------------------------------------------------------------------------


async def test_the_very_first_preview_writes_nothing_until_approved(site: Site) -> None:
    await site.settings(first_match="planning_center")
    ann = await site.add("Ann", "New", email="ann@example.org", phone="(212) 555-0141")
    await site.add("Alan", "Abbot", email="alan@example.org", phone="(212) 555-0199")
    await site.family("New Family", ann)
    mark, before = site.mark(), await fingerprint(site)
    run = await site.preview()
    assert (run["purpose"], run["question"]["kind"], run["question"]["answers"]) == (
        "preview",
        "plan",
        ["approve", "stop"],
    )
    assert site.journal(mark, writes=True) == []
    assert await fingerprint(site) == before
    counts = run["question"]["counts"]
    assert (counts["created_here"], counts["created_there"], counts["linked"]) == (13 + 4, 2, 1)
    plan = await site.plan(run["id"])
    assert len(plan) == 20
    (alan,) = [item for item in plan if item["name"] == "Alan Abbot"]
    fields = {field["field"]: field for field in alan["fields"]}
    assert fields["phone"] == {
        "field": "phone",
        "agreed": None,
        "agreed_known": False,
        "here": "(212) 555-0199",
        "there": "(212) 555-0101",
        "after": "(212) 555-0101",
        "does": "here",
    }
    assert fields["address"]["after"]["street_line_1"] == "1 Elm St"
    (new,) = [item for item in plan if item["name"] == "Ann New"]
    assert {f["field"]: (f["here"], f["there"], f["after"], f["does"]) for f in new["fields"]}["email"] == (
        "ann@example.org",
        None,
        "ann@example.org",
        "there",
    )
    (family,) = [item for item in plan if item["name"] == "New Family"]
    assert [one["name"] for one in {f["field"]: f for f in family["fields"]}["members"]["after"]] == ["Ann New"]
    (abbots,) = [item for item in plan if item["name"] == "Abbot Household"]
    members = {f["field"]: f for f in abbots["fields"]}["members"]
    assert [one["name"] for one in members["after"]] == ["Abel Abbot", "Alan Abbot", "Amy Abbot"]
    assert {item["sentence"] for item in plan} == {
        "To be added here, from Planning Center.",
        "To be added in Planning Center.",
        "Found on both sides, and to be linked.",
    }
    run = await site.approved(run["id"])
    assert "left_out" not in run["counts"], await site.items(run["id"], "left_out")
    assert (run["counts"]["created_here"], run["counts"]["created_there"]) == (17, 2)
    assert (await site.member("Alan"))["phone"] == "(212) 555-0101"
    assert site.household("New Family") == ["Ann"]
    # The plan stays readable, with the outcomes.
    after = await site.plan(run["id"])
    assert named(after) == named(plan)
    assert {item["sentence"] for item in after if item["name"] == "Ann New"} == {"Added in Planning Center."}
    await quiet_afterwards(site)


async def test_every_kind_of_change_is_in_the_plan_and_is_done(site: Site) -> None:
    await site.settings(inactivate_deleted=True, merge_different_fields=True)
    await settled(site)
    await site.change("Alan", phone="(212) 555-0171")  # there
    site.edit("Amy", last_name="There")  # here
    await site.change("Bruno", last_name="Ours")  # both
    site.edit_contact("Bruno", "Email", address="there@example.org")
    await site.change("Carl", last_name="Ours")  # conflict
    site.edit("Carl", last_name="Theirs")
    site.delete("Lee")  # gone
    await site.remove("Ned")  # inactivated
    site.create("Pia", "Page", email="pia@example.org")  # created here
    dan = await site.add("Ann", "New", email="ann@example.org")  # created there
    await site.family("New Family", dan)
    await site.regroup("Clark Household", leave=["Cora"])
    site.rename_household("Dean Household", "Deans")
    await site.visible()
    mark, before = site.mark(), await fingerprint(site)
    run = await site.preview()
    assert site.journal(mark, writes=True) == []
    assert await fingerprint(site) == before
    plan = {(item["name"], item["record_kind"]): item for item in await site.plan(run["id"])}
    assert {key: item["outcome"] for key, item in plan.items()} == {
        ("Alan Abbot", "member"): "updated_there",
        ("Amy Abbot", "member"): "updated_here",
        ("Bruno Ours", "member"): "updated_both",
        ("Carl Ours", "member"): "conflict",
        ("Lee Lane", "member"): "gone",
        ("Ned Nash", "member"): "inactivated_there",
        ("Pia Page", "member"): "created_here",
        ("Ann New", "member"): "created_there",
        ("New Family", "family"): "created_there",
        ("Clark Household", "family"): "updated_there",
        ("Dean Household", "family"): "updated_here",
    }
    (phone,) = plan["Alan Abbot", "member"]["fields"]
    assert (phone["agreed"], phone["here"], phone["there"], phone["after"], phone["does"]) == (
        "(212) 555-0101",
        "(212) 555-0171",
        "(212) 555-0101",
        "(212) 555-0171",
        "there",
    )
    (name,) = plan["Carl Ours", "member"]["fields"]
    assert (name["agreed"], name["here"], name["there"], name["after"], name["does"]) == (
        "Clark",
        "Ours",
        "Theirs",
        None,
        "conflict",
    )
    assert {f["field"]: f["does"] for f in plan["Bruno Ours", "member"]["fields"]} == {
        "last_name": "there",
        "email": "here",
    }
    (members,) = plan["Clark Household", "family"]["fields"]
    assert [[one["name"] for one in members[side]] for side in ("here", "there", "after")] == [
        ["Carl Ours"],
        ["Carl Ours", "Cora Clark"],
        ["Carl Ours"],
    ]
    run = await site.approved(run["id"])
    assert "left_out" not in run["counts"], await site.items(run["id"], "left_out")
    done = {(item["name"], item["record_kind"]): item["outcome"] for item in await site.items(run["id"])}
    assert done == {key: item["outcome"] for key, item in plan.items()}
    assert (await site.member("Amy"))["last_name"] == "There"
    assert site.contacts("Alan", "PhoneNumber")[0]["number"] == "(212) 555-0171"
    assert site.household("Clark Household") == ["Carl"]
    assert site.person("Ned")["status"] == "inactive"
    await quiet_afterwards(site)


# --- records changed since are left out, and named ------------------------------------------------------------------


async def test_records_changed_after_the_plan_are_left_out_and_named(site: Site) -> None:
    await settled(site)
    for first in ("Alan", "Amy", "Abel"):
        await site.change(first, last_name="Ours")
    for first in ("Bruno", "Bea", "Dora"):
        site.edit(first, last_name="Theirs")
    site.create("Pia", "Page", email="pia@example.org")
    site.create("Quin", "Page", email="quin@example.org")
    ann = await site.add("Ann", "New", email="ann@example.org")
    await site.add("Bob", "New", email="bob@example.org")
    site.rename_household("Clark Household", "Clarks")
    site.delete("Lee")
    site.delete("Ned")
    await site.visible()
    run = await site.preview()
    assert len(await site.plan(run["id"])) == 13
    # Our side.
    await site.change("Alan", last_name="Again")
    await site.change("Amy", last_name="Abbot")  # changed back, so no change is needed
    await site.change("Bruno", last_name="Mine")
    await site.call("PATCH", f"/members/{ann}", {"phone": "(212) 555-0177"})
    # Their side.
    site.edit("Abel", gender="Male")
    site.edit("Dora", last_name="More")
    site.edit("Pia", last_name="Paige")
    site.rename_household("Clarks", "Clark Clan")
    await site.remove("Ned")
    await site.visible()
    mark = site.mark()
    run = await site.approved(run["id"])
    left_out = await site.items(run["id"], "left_out")
    first_names = ["Abel", "Alan", "Amy", "Ann", "Bruno", "Clark", "Dora", "Ned", "Pia"]
    assert sorted(item["name"].split()[0] for item in left_out) == first_names, left_out
    assert {item["sentence"] for item in left_out} == {
        "This has changed since the plan was shown, so it was left as it is. The next sync compares it again."
    }
    # Unchanged records were carried out.
    assert (await site.member("Bea"))["last_name"] == "Theirs"
    assert len(await site.members("Quin")) == 1
    assert len(site.people("Bob")) == 1
    # The others are untouched, and stay so until the next sync.
    queued = "SELECT count(*) FROM refresh WHERE organization_id = $1"
    assert await site.database.value(queued, site.organization_id) == 0
    assert site.person("Alan")["last_name"] == site.person("Amy")["last_name"] == "Abbot"
    assert site.person("Abel")["last_name"] == "Abbot"
    assert (await site.member("Dora"))["last_name"] == "Dean"
    assert (await site.member("Bruno"))["last_name"] == "Mine"
    assert site.people("Ann") == await site.members("Pia") == []
    assert (await site.family_of("Clark Household"))["name"] == "Clark Household"
    assert {entry["path"].rsplit("/")[-1] for entry in site.journal(mark, writes=True)} <= {"people", "emails"}
    await site.believable()
    await site.sync("incremental")
    # None of them is forgotten.
    assert site.person("Alan")["last_name"] == "Again"
    assert (await site.member("Dora"))["last_name"] == "More"
    assert len(await site.members("Pia")) == len(site.people("Ann")) == 1
    assert (await site.family_of("Clark Clan"))["name"] == "Clark Clan"
    await quiet_afterwards(site)


async def test_a_change_here_between_the_comparison_and_the_record(site: Site) -> None:
    """The run has compared again, and waits for the first record while the second one is changed."""
    await settled(site)
    site.edit("Carl", last_name="Theirs")
    site.edit("Cora", last_name="Theirs")
    await site.visible()
    run = await site.preview()
    async with site.held_up("Carl", "Cora") as names:
        await site.approve(run["id"])
        await site.waits()
        holder, other = names
        await site.change(other, last_name="Mine")
    run = await site.until(run["id"], "done")
    (item,) = await site.items(run["id"], "left_out")
    assert item["name"].startswith(other)
    assert (await site.member(other))["last_name"] == "Mine"
    assert (await site.member(holder))["last_name"] == "Theirs"
    assert await site.conflicts() == {}
    await site.believable()
    await site.sync()
    assert await site.conflicts() == {other: ["open"]}


@asynccontextmanager
async def approved_up_to_the_write(site: Site, run_id: str, first_name: str) -> AsyncIterator[None]:
    """Approve a plan, and hold the read right before a person's write during the block."""
    path = f"/people/v2/people/{site.person(first_name)['id']}$"
    hold = site.fault({"kind": "hold"}, method="GET", path=path)
    await site.approve(run_id)

    async def held() -> bool:
        if not site.control.fault(hold)["holding"]:
            return False
        if (await site.run(run_id))["progress"]["phase"] == "push":
            return True
        site.control.release(hold)  # the comparison reads the person, too
        return False

    await eventually(held, within=60)
    yield
    site.control.release(hold)
    site.control.remove_fault(hold)


async def test_a_change_there_between_the_comparison_and_the_write(site: Site) -> None:
    await settled(site)
    await site.change("Carl", last_name="Ours")
    await site.change("Dora", last_name="Ours")
    run = await site.preview()
    async with approved_up_to_the_write(site, run["id"], "Carl"):
        site.edit("Carl", last_name="Theirs")
        await site.visible()
    run = await site.until(run["id"], "done")
    outcomes = {item["name"].split()[0]: item["outcome"] for item in await site.items(run["id"])}
    assert outcomes == {"Carl": "left_out", "Dora": "updated_there"}
    assert site.person("Carl")["last_name"] == "Theirs"
    assert (await site.member("Carl"))["last_name"] == "Ours"
    assert await site.conflicts() == {}
    await site.believable()
    await site.sync()
    assert await site.conflicts() == {"Carl": ["open"]}


async def test_records_postponed_by_an_approved_sync_wait_for_the_next_one(site: Site) -> None:
    """A single sync of the record would write all differences, which nobody approved."""
    await settled(site)
    await site.change("Carl", last_name="Ours")
    run = await site.preview()
    async with approved_up_to_the_write(site, run["id"], "Carl"):
        site.delete("Carl")
        await site.visible()
    run = await site.until(run["id"], "done")
    assert run["counts"]["later"] == 1
    query = "SELECT count(*) FROM refresh WHERE organization_id = $1 AND record_id = $2"
    assert await site.database.value(query, site.organization_id, (await site.member("Carl"))["id"]) == 0


async def test_a_person_joins_a_household_before_its_write(site: Site) -> None:
    """A person joins the household there while the run is about to rename it."""
    await settled(site)
    family = await site.family_of("Dean Household")
    await site.call("PATCH", f"/families/{family['id']}", {"name": "Deans"})
    run = await site.preview()
    (household,) = [row for row in site.rows("Household") if row["name"] == "Dean Household"]
    hold = site.fault({"kind": "hold"}, method="GET", path=f"/people/v2/households/{household['id']}$")
    await site.approve(run["id"])

    async def held() -> bool:
        return bool(site.control.fault(hold)["holding"])

    await eventually(held, within=60)
    site.rename_household("Dean Household", "The Deans")
    await site.visible()
    site.control.release(hold)
    site.control.remove_fault(hold)
    run = await site.until(run["id"], "done")
    assert named(await site.items(run["id"], "left_out")) == {"Deans": "left_out"}
    assert (await site.family_of("Deans"))["id"] == family["id"]
    assert site.household("The Deans") == ["Dan", "Dora"]


async def test_newcomers_added_by_bulk_statements_keep_to_the_plan(site: Site) -> None:
    """A refresh stores another read of a new person, and of a new household, between the comparison and the write."""
    await settled(site)
    site.edit("Carl", last_name="Theirs")
    for first in ("Pia", "Quin", "Rita"):
        site.create(first, "Page", email=f"{first.lower()}@example.org")
    rita = str(site.person("Rita")["id"])
    site.mutate({"op": "create", "type": "Household", "attributes": {"name": "Pages", "person_ids": [rita]}})
    await site.visible()
    run = await site.preview()
    assert {item["name"] for item in await site.plan(run["id"], "created_here")} == {
        "Pia Page",
        "Quin Page",
        "Rita Page",
        "Pages",
    }
    async with site.held_up("Carl"):
        await site.approve(run["id"])
        await site.waits()
        moved = (
            "UPDATE remote SET snapshot = jsonb_set(snapshot, $3, to_jsonb($4::text))"
            " WHERE organization_id = $1 AND pco_id = $2 AND kind = $5"
        )
        pia = str(site.person("Pia")["id"])
        (pages,) = [str(row["id"]) for row in site.rows("Household") if row["name"] == "Pages"]
        await site.database.fetch(moved, site.organization_id, pia, ["values", "last_name"], "Paige", "member")
        await site.database.fetch(moved, site.organization_id, pages, ["name"], "The Pages", "family")
    run = await site.until(run["id"], "done")
    assert {item["name"] for item in await site.items(run["id"], "left_out")} == {"Pia Page", "Pages"}
    assert await site.members("Pia") == []
    assert len(await site.members("Quin")) == len(await site.members("Rita")) == 1


# --- answers --------------------------------------------------------------------------------------------------------


async def test_an_approval_names_the_shown_plan(site: Site) -> None:
    await settled(site)
    await site.change("Carl", last_name="Ours")
    run = await site.preview()
    path, question = f"/runs/{run['id']}/answer", run["question"]
    for digest in (None, "", "of another plan"):
        answer = {"question": "plan", "answer": "approve", "digest": digest}
        refused = await site.call("POST", path, answer, status=409)
        assert refused["type"].endswith("plan-moved")
    assert (await site.run(run["id"]))["state"] == "waiting"
    answer = {"question": "plan", "answer": "approve", "digest": question["digest"]}
    await site.call("POST", path, answer)
    # The second answer comes when the run no longer asks.
    await site.call("POST", path, answer, status=409)
    await site.until(run["id"], "done")
    assert site.person("Carl")["last_name"] == "Ours"
    assert len(await site.plan(run["id"])) == 1


async def test_the_same_plan_has_the_same_digest_and_another_one_another(site: Site) -> None:
    await settled(site)
    await site.change("Carl", last_name="Ours")
    site.create("Pia", "Page", email="pia@example.org")
    await site.visible()
    digests = []
    for last_name in ("Ours", "Ours", "Again"):
        await site.change("Carl", last_name=last_name)
        run = await site.preview()
        digests.append(run["question"]["digest"])
        await site.call("POST", f"/runs/{run['id']}/answer", {"question": "plan", "answer": "stop"})
    assert digests[0] == digests[1] != digests[2]


async def test_a_discarded_plan_changes_nothing_and_keeps_the_schedule(site: Site) -> None:
    await settled(site)
    await site.change("Carl", last_name="Ours")
    run = await site.preview()
    # *Sync Now* meanwhile leads to the plan.
    assert await site.start() == run["id"]
    mark, before = site.mark(), await fingerprint(site)
    await site.call("POST", f"/runs/{run['id']}/answer", {"question": "plan", "answer": "stop"})
    run = await site.until(run["id"], "stopped")
    assert run["message"] == "The plan was discarded. Nothing was written, here or in Planning Center."
    assert site.journal(mark, writes=True) == []
    assert await fingerprint(site) == before
    assert named(await site.plan(run["id"])) == {"Carl Ours": "updated_there"}
    run = await site.sync("incremental")
    assert run["counts"]["updated_there"] == 1


async def test_an_unanswered_plan_ends_by_itself(site: Site) -> None:
    await settled(site)
    await site.change("Carl", last_name="Ours")
    run = await site.preview()
    mark = site.mark()
    query = "UPDATE run SET asked_at = now() - interval '{} hours' WHERE id::text = $1"
    await site.database.fetch(query.format(23), run["id"])
    await site.database.fetch(
        "UPDATE connection SET next_run_at = NULL WHERE organization_id = $1", site.organization_id
    )
    assert (await site.run(run["id"]))["state"] == "waiting"
    await site.database.fetch(query.format(25), run["id"])
    run = await site.until(run["id"], "stopped")
    assert "within 24 hours" in run["message"]
    assert "Preview" in run["message"]
    assert site.journal(mark, writes=True) == []
    due = "SELECT next_run_at FROM connection WHERE organization_id = $1"
    assert await site.database.value(due, site.organization_id) is not None
    answer = {"question": "plan", "answer": "approve", "digest": "late"}
    await site.call("POST", f"/runs/{run['id']}/answer", answer, status=409)
    await site.sync()
    assert site.person("Carl")["last_name"] == "Ours"


async def test_the_first_question_comes_before_the_plan(site: Site) -> None:
    await site.add("Alan", "Abbot", email="alan@example.org", phone="(212) 555-0199")
    run = await site.preview()
    assert run["question"]["kind"] == "first_match"
    assert {item["name"] for item in await site.plan(run["id"], "linked")} == {"Alan Abbot"}
    before = await fingerprint(site)
    await site.call("POST", f"/runs/{run['id']}/answer", {"question": "first_match", "answer": "ours"})

    async def planned() -> dict[str, Any] | None:
        found = await site.run(run["id"])
        return found if (found["question"] or {}).get("kind") == "plan" else None

    run = await eventually(planned, within=60)
    assert await fingerprint(site) == before
    (alan,) = await site.plan(run["id"], "linked")
    assert {f["field"]: f["does"] for f in alan["fields"]}["phone"] == "there"
    run = await site.approved(run["id"])
    assert "left_out" not in run["counts"], await site.items(run["id"], "left_out")
    assert site.contacts("Alan", "PhoneNumber")[0]["number"] == "(212) 555-0199"
    await quiet_afterwards(site)


async def test_no_other_organization_reads_or_answers_it(site: Site, keys: KeyRing, stage: Any) -> None:
    await settled(site)
    await site.change("Carl", last_name="Ours")
    run = await site.preview()
    headers = keys.user_headers(PEOPLE_SYNC, organization_id="somebody-else")
    async with httpx.AsyncClient(base_url=stage.service.base_url, headers=headers, timeout=30) as other:
        for path in ("", "/plan", "/plan.csv"):
            assert (await other.get(f"{PEOPLE}/runs/{run['id']}{path}")).status_code == 404
        answer = {"question": "plan", "answer": "approve", "digest": run["question"]["digest"]}
        assert (await other.post(f"{PEOPLE}/runs/{run['id']}/answer", json=answer)).status_code == 404
    await site.call("POST", f"/runs/{run['id']}/answer", {"question": "plan", "answer": "stop"})


# --- pages and the file ---------------------------------------------------------------------------------------------


async def test_pages_and_the_file_have_every_record_once(site: Site, keys: KeyRing, stage: Any) -> None:
    await settled(site)
    await site.add_many(700)
    await site.change("Carl", last_name='=HYPERLINK("http://evil.example")')
    await site.change("Dora", phone="+1 212 555 0188")
    run = await site.preview()
    found: list[dict[str, Any]] = []
    after: str | None = ""
    first = await site.call("GET", f"/runs/{run['id']}/plan?limit=200")
    assert first["total"] == 702
    while after is not None:
        page = await site.call("GET", f"/runs/{run['id']}/plan?limit=200{f'&after={after}' if after else ''}")
        assert (page["total"] is None) == bool(after)
        found += page["items"]
        after = page["next"]
    ids = [item["record_id"] for item in found]
    assert len(ids) == len(set(ids)) == 702
    assert len(await site.plan(run["id"], "updated_there")) == 2
    headers = keys.user_headers(PEOPLE_SYNC, organization_id=site.organization_id)
    async with httpx.AsyncClient(base_url=stage.service.base_url, headers=headers, timeout=30) as http:
        answer = await http.get(f"{PEOPLE}/runs/{run['id']}/plan.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert len({row["Our id"] for row in rows}) == 702
    (carl,) = [row for row in rows if row["Name"].startswith("Carl")]
    assert (carl["Field"], carl["Last agreed"], carl["Here"], carl["Planning Center"]) == (
        "last_name",
        "Clark",
        '\'=HYPERLINK("http://evil.example")',
        "Clark",
    )
    (dora,) = [row for row in rows if row["Name"] == "Dora Dean"]
    assert dora["After"] == "'+1 212 555 0188"
    await site.call("POST", f"/runs/{run['id']}/answer", {"question": "plan", "answer": "stop"})


# --- kept out -------------------------------------------------------------------------------------------------------


async def test_a_record_kept_out_is_in_no_plan(site: Site) -> None:
    """Nor is a record written that was kept out after the plan was shown."""
    await settled(site)
    for name in ("Bruno", "Alan"):
        await site.change(name, last_name="Ours")
    await site.call("POST", f"/members/{(await site.member('Bruno'))['id']}/kept-out")
    run = await site.preview()
    assert named(await site.plan(run["id"])) == {"Alan Ours": "updated_there"}
    await site.call("POST", f"/members/{(await site.member('Alan'))['id']}/kept-out")
    mark = site.mark()
    run = await site.approved(run["id"])
    assert (run["counts"]["kept_out"], "left_out" in run["counts"]) == (2, False)
    assert site.journal(mark, writes=True) == []
