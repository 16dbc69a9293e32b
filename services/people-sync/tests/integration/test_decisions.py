"""Decisions about conflicts from conflict-service: carried out on both sides, or not at all."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sync_harness.process import Service
from sync_harness.site import Site
from sync_harness.stage import Stage, Staging

from contracts.conflicts import Choice
from contracts.events.conflicts_resolution_v1 import ConflictResolved
from contracts.values import CONFLICT_SERVICE
from servicekit.http import paging
from servicekit.testing import eventually
from servicekit.testing.facts import publish

pytestmark = pytest.mark.asyncio(loop_scope="session")

OUR_PHONE, THEIR_PHONE = "(212) 555-0150", "(212) 555-0160"


async def in_conflict(site: Site) -> dict[str, Any]:
    """Bruno's phone differs, and each side has a further edit, so the whole record is in conflict."""
    await site.sync()
    await site.change("Bruno", phone=OUR_PHONE, birthdate="1980-02-03")
    site.edit_contact("Bruno", "PhoneNumber", number=THEIR_PHONE)
    site.edit("Bruno", last_name="Bakerson")
    await site.visible()
    assert (await site.sync())["counts"]["conflict"] == 1
    conflict = await conflict_of(site, "Bruno")
    assert {field["field"] for field in conflict["fields"]} == {"phone", "birthdate", "last_name"}
    return conflict


async def conflict_of(site: Site, name: str) -> dict[str, Any]:
    """The newest conflict of a member, by first name, or of a family."""
    rows = await site.database.fetch(
        "SELECT conflict.* FROM conflict LEFT JOIN member ON member.id = record_id LEFT JOIN family "
        "ON family.id = record_id WHERE conflict.organization_id = $1 AND coalesce(first_name, family.name) = $2 "
        "ORDER BY opened_at DESC LIMIT 1",
        site.organization_id,
        name,
    )
    return rows[0]


def decision(site: Site, conflict: dict[str, Any], choices: dict[str, Choice], **more: Any) -> ConflictResolved:
    """The fact that conflict-service publishes."""
    return ConflictResolved(
        **{
            "organization_id": site.organization_id,
            "version": 2,
            "conflict_id": str(conflict["id"]),
            "record_id": str(conflict["record_id"]),
            "decision_id": str(uuid4()),
            "decided_on": conflict["values_version"],
            "choices": choices,
            "decided_by": "user-ada",
            "decided_by_name": "Ada Moreno",
            "decided_at": datetime.now(UTC),
            **more,
        }
    )


async def decide(stage: Stage, site: Site, conflict: dict[str, Any], choices: dict[str, Choice]) -> dict[str, Any]:
    """Decide and wait for the outcome; gives the conflict after that."""
    asked = decision(site, conflict, choices)
    await publish(stage.kafka, asked, CONFLICT_SERVICE)
    return await answered(site, asked)


@asynccontextmanager
async def stopped(service: Service) -> AsyncIterator[None]:
    """Stop the stage's service, because services with different databases share a consumer group, and the wrong one
    could take a message.
    """
    await service.stop()
    try:
        yield
    finally:
        await service.start()


async def answered(site: Site, asked: ConflictResolved) -> dict[str, Any]:
    """Wait until the decision is answered; gives the conflict."""

    async def known() -> dict[str, Any] | None:
        (row,) = await site.database.fetch("SELECT * FROM conflict WHERE id::text = $1", asked.conflict_id)
        return row if asked.decision_id in row["answered"] else None

    found: dict[str, Any] = await eventually(known, within=60, every=0.05)
    return found


async def nothing_more(site: Site) -> None:
    """Check that the next sync writes nothing on either side, and finds no conflict."""
    await site.believable()
    mark = site.mark()
    before = await site.database.value("SELECT count(*) FROM effect WHERE organization_id = $1", site.organization_id)
    assert (await site.sync())["counts"].keys() == {"unchanged"}
    assert site.journal(mark, writes=True) == []
    after = await site.database.value("SELECT count(*) FROM effect WHERE organization_id = $1", site.organization_id)
    assert after == before


def there(site: Site, first_name: str = "Bruno") -> tuple[str, str, str | None]:
    """Planning Center's phone, last name and birthdate."""
    person = site.person(first_name)
    return site.contacts(first_name, "PhoneNumber")[0]["number"], person["last_name"], person.get("birthdate")


async def here(site: Site, first_name: str = "Bruno") -> tuple[str, str, str | None]:
    """Our phone, last name and birthdate."""
    member = await site.member(first_name)
    birthdate = member["birthdate"]
    return member["phone"], member["last_name"], birthdate.isoformat() if birthdate else None


async def history(site: Site, first_name: str = "Bruno") -> set[tuple[str, str, str | None]]:
    """Side, field and person of a decision's effects."""
    member = await site.member(first_name)
    items = (await site.call("GET", f"/members/{member['id']}/history"))["items"]
    return {(item["side"], item["field"], item["by_name"]) for item in items if item["rule"] == "decided"}


async def test_field_by_field(site: Site, stage: Stage) -> None:
    """Ours, theirs and both in one decision."""
    conflict = await in_conflict(site)
    choices: dict[str, Choice] = {"phone": "ours", "last_name": "theirs", "birthdate": "ours"}
    assert (await decide(stage, site, conflict, choices))["state"] == "resolved"
    both = (OUR_PHONE, "Bakerson", "1980-02-03")
    assert (there(site), await here(site)) == (both, both)
    assert await history(site) == {
        ("there", "phone", "Ada Moreno"),
        ("there", "birthdate", "Ada Moreno"),
        ("here", "last_name", "Ada Moreno"),
    }
    facts = await stage.told(site, "people.conflict.v1", 3)
    # In between the record was renamed.
    assert [kind for kind, _ in facts] == ["ConflictDetected", "ConflictDetected", "ResolutionApplied"]
    assert facts[-1][1]["refused"] == []
    await nothing_more(site)


@pytest.mark.parametrize("choice", ["ours", "theirs"])
async def test_a_rules_effects_have_its_name(site: Site, stage: Stage, choice: Choice) -> None:
    """On both sides, also next to a person's later decision; and each effect is found by its rule."""
    conflict = await in_conflict(site)
    before = (await here(site), there(site))
    rule_id, name = str(uuid4()), "For phones, Planning Center is right"
    asked = decision(
        site,
        conflict,
        dict.fromkeys(("phone", "last_name", "birthdate"), choice),
        rule_id=rule_id,
        decided_by_name=name,
    )
    for _ in range(2):
        await publish(stage.kafka, asked, CONFLICT_SERVICE)
    assert (await answered(site, asked))["state"] == "resolved"
    won = before[0] if choice == "ours" else before[1]
    assert (await here(site), there(site)) == (won, won)
    rows = await site.database.fetch(
        "SELECT side, field, cause, by, by_user_id, by_name, rule FROM effect WHERE cause_id::text = $1", rule_id
    )
    side = "there" if choice == "ours" else "here"
    assert {(row["side"], row["field"]) for row in rows} == {
        (side, field) for field in ("phone", "last_name", "birthdate")
    }
    assert len(rows) == 3
    for row in rows:
        assert (row["cause"], row["by"], row["by_name"], row["rule"]) == ("rule", "rule", None, name)
        assert row["by_user_id"] == "user-ada"
    member = await site.member("Bruno")
    told = (await site.call("GET", f"/members/{member['id']}/history"))["items"]
    assert {one["by"] for one in told if one["rule"] == name} == {"rule"}
    assert await history(site) == set()
    await nothing_more(site)


async def test_many_decisions_are_carried_out_in_parallel(site: Site, stage: Stage) -> None:
    """A few at a time; an urgent one does not wait for all of them. A refusal concerns only its record."""
    names = ["Adam", "Alan", "Amy", "Bruno", "Carl", "Cora", "Dora", "Lee", "Max", "Ned"]
    await site.sync()
    for name in names:
        await site.change(name, last_name="Here")
        site.edit(name, last_name="There")
    await site.visible()
    assert (await site.sync())["counts"]["conflict"] == len(names)
    conflicts = {name: await conflict_of(site, name) for name in names}
    refused_id = site.person("Cora")["id"]
    site.control.refuse(
        "last_name", "validation", organization_id=site.church.id, path=f"/people/v2/people/{refused_id}$"
    )
    site.fault({"kind": "latency", "ms": 400}, method="GET", path=r"/people/v2/people/\d+$")
    mark = site.mark()
    many = {
        name: decision(site, conflicts[name], {"last_name": "ours"}, bulk_id="bulk") for name in names if name != "Ned"
    }
    alone = decision(site, conflicts["Ned"], {"last_name": "ours"})
    for asked in (*many.values(), alone):
        await publish(stage.kafka, asked, CONFLICT_SERVICE)
    for asked in (*many.values(), alone):
        assert (await answered(site, asked))["state"] == "resolved"
    reads = [
        (at, at + timedelta(milliseconds=entry["duration_ms"]))
        for entry in site.journal(mark)
        if entry["method"] == "GET" and re.search(r"/people/\d+$", entry["path"])
        for at in [datetime.fromisoformat(entry["at"])]
    ]
    together = max(sum(began <= at < ended for began, ended in reads) for at, _ in reads)
    assert 3 <= together <= 5
    there = {name: site.person(name)["last_name"] for name in names}
    assert there == {name: "There" if name == "Cora" else "Here" for name in names}
    asked = many["Cora"]
    (row,) = await site.database.fetch("SELECT answered FROM conflict WHERE id::text = $1", asked.conflict_id)
    assert len(row["answered"][asked.decision_id]["refused"]) == 1


@pytest.mark.parametrize("choice", ["ours", "theirs"])
async def test_one_side_wins_everything(site: Site, stage: Stage, choice: Choice) -> None:
    conflict = await in_conflict(site)
    ours, theirs = await here(site), there(site)
    ended = await decide(stage, site, conflict, dict.fromkeys(("phone", "last_name", "birthdate"), choice))
    assert ended["state"] == "resolved"
    winner = ours if choice == "ours" else theirs
    assert (await here(site), there(site)) == (winner, winner)
    await nothing_more(site)


async def test_a_decision_is_undone_on_both_sides(site: Site, stage: Stage) -> None:
    """At once, not by the next run. The undo is an ordinary edit that no run reverts."""
    conflict = await in_conflict(site)
    choices: dict[str, Choice] = {"phone": "theirs", "last_name": "theirs", "birthdate": "ours"}
    await decide(stage, site, conflict, choices)
    await site.believable()
    items = (await site.call("GET", f"{await path_of(site)}/history"))["items"]
    (entry,) = [one for one in items if (one["side"], one["field"], one["rule"]) == ("here", "phone", "decided")]
    await site.call("POST", f"{await path_of(site)}/history/{entry['id']}/undo")
    await eventually(lambda: there(site)[0] == OUR_PHONE)
    assert await here(site) == there(site)
    await nothing_more(site)


async def test_both_are_kept_different_until_one_changes(site: Site, stage: Stage) -> None:
    conflict = await in_conflict(site)
    ours, theirs = await here(site), there(site)
    await decide(stage, site, conflict, dict.fromkeys(("phone", "last_name", "birthdate"), "both"))
    assert (await here(site), there(site)) == (ours, theirs)
    await nothing_more(site)
    await site.change("Bruno", email="bruno.new@example.org")
    await site.sync()
    await site.believable()
    assert (await here(site), there(site)) == (ours, theirs)
    await site.change("Bruno", phone="(212) 555-0199")
    await site.sync()
    again = await conflict_of(site, "Bruno")
    assert (again["state"], [field["field"] for field in again["fields"]]) == ("open", ["phone"])
    assert {one["field"] for one in await kept(site)} == {"last_name", "birthdate"}
    # Settled, then different again in the same way: a change, since nothing is kept different any more.
    await site.believable()
    assert (await decide(stage, site, again, {"phone": "theirs"}))["state"] == "resolved"
    await site.believable()
    await site.change("Bruno", phone=OUR_PHONE)
    assert (await site.sync())["counts"]["updated_there"] == 1
    assert there(site)[0] == OUR_PHONE


async def test_keeping_different_is_shown_and_ended(site: Site, stage: Stage) -> None:
    """Also without agreed values: the field is asked about again, not decided by the first-match choice."""
    await site.settings(first_match="planning_center")
    await in_conflict(site)
    ours, theirs = await here(site), there(site)
    await site.database.fetch(
        "UPDATE link SET agreed = agreed - 'phone' WHERE record_id = $1", (await site.member("Bruno"))["id"]
    )
    await site.sync()
    conflict = await conflict_of(site, "Bruno")
    await decide(stage, site, conflict, dict.fromkeys(("phone", "last_name", "birthdate"), "both"))
    shown = {one["field"]: one for one in await kept(site)}
    assert (shown["phone"]["ours"], shown["phone"]["theirs"]) == (OUR_PHONE, THEIR_PHONE)
    assert shown["phone"]["decided_by_name"] == "Ada Moreno"
    path = f"{await path_of(site)}/differences"
    left = await site.call("DELETE", f"{path}/phone")
    assert {one["field"] for one in left["items"]} == {"last_name", "birthdate"}

    async def asked() -> bool:
        newest = await conflict_of(site, "Bruno")
        return bool(newest["state"] == "open" and [field["field"] for field in newest["fields"]] == ["phone"])

    await eventually(asked)
    assert (await here(site), there(site)) == (ours, theirs)
    await site.call("DELETE", f"{path}/phone", status=404)
    await site.call("DELETE", f"{path}/email", status=404)


async def kept(site: Site) -> list[dict[str, Any]]:
    """Bruno's kept differences, as shown."""
    items: list[dict[str, Any]] = (await site.call("GET", f"{await path_of(site)}/differences"))["items"]
    return items


async def path_of(site: Site) -> str:
    return f"/members/{(await site.member('Bruno'))['id']}"


# Kind: an answer applied to more than was shown.
@pytest.mark.parametrize("side", ["here", "there"])
@pytest.mark.parametrize("field", ["of the conflict", "another"])
async def test_a_side_that_changed_is_not_overwritten(site: Site, stage: Stage, side: str, field: str) -> None:
    conflict = await in_conflict(site)
    values = {"phone": "(212) 555-0199"} if field == "of the conflict" else {"first_name": "Bruno", "gender": "Male"}
    if side == "here":
        await site.change("Bruno", **values)
    elif field == "of the conflict":
        site.edit_contact("Bruno", "PhoneNumber", number=values["phone"])
    else:
        site.edit("Bruno", gender="Male")
    await site.visible()
    ours, theirs = await here(site), there(site)
    found = await decide(stage, site, conflict, dict.fromkeys(("phone", "last_name", "birthdate"), "theirs"))
    assert (found["state"], found["decision"]) == ("open", None)
    assert found["values_version"] > conflict["values_version"]
    assert (await here(site), there(site)) == (ours, theirs)
    kind, fact = (await stage.told(site, "people.conflict.v1", 2))[-1]
    assert (kind, fact["sentence"]) == (
        "ResolutionOvertaken",
        "A value changed before the decision could be carried out, so nothing of it was applied.",
    )
    assert {one["field"] for one in fact["fields"]} >= {"phone", "last_name", "birthdate"}
    assert await history(site) == set()


async def test_a_family_that_is_renamed_overtakes_nothing(site: Site, stage: Stage) -> None:
    """A decision is only compared with the values."""
    conflict = await in_conflict(site)
    member = await site.member("Bruno")
    family = await site.database.value("SELECT family_id::text FROM family_member WHERE member_id = $1", member["id"])
    await site.call("PATCH", f"/families/{family}", {"name": "The Bakers of Main Street"})
    moved = await conflict_of(site, "Bruno")
    choices: dict[str, Choice] = dict.fromkeys(("phone", "last_name", "birthdate"), "theirs")
    assert moved["values_version"] == conflict["values_version"]
    assert (await decide(stage, site, conflict, choices))["state"] == "resolved"


async def test_a_decision_is_carried_out_once(site: Site, stage: Stage) -> None:
    """Published twice, late, and for another organization."""
    conflict = await in_conflict(site)
    names = ("phone", "last_name", "birthdate")
    first = decision(site, conflict, dict.fromkeys(names, "ours"))
    late = decision(site, conflict, dict.fromkeys(names, "theirs"))
    stranger = decision(site, conflict, dict.fromkeys(names, "theirs"), organization_id=f"{site.organization_id}-other")
    for one in (stranger, first, first):
        await publish(stage.kafka, one, CONFLICT_SERVICE)
    assert (await answered(site, first))["state"] == "resolved"
    ours = await here(site)
    for one in (late, first):
        await publish(stage.kafka, one, CONFLICT_SERVICE)
    # After them in the same partition.
    last = decision(site, conflict, dict.fromkeys(names, "theirs"))
    await publish(stage.kafka, last, CONFLICT_SERVICE)
    await nothing_more(site)
    assert (await here(site), there(site)) == (ours, ours)
    assert list((await conflict_of(site, "Bruno"))["answered"]) == [first.decision_id]


async def test_a_decision_about_other_fields_than_the_conflicts(site: Site, stage: Stage) -> None:
    conflict = await in_conflict(site)
    found = await decide(stage, site, conflict, {"phone": "ours", "email": "theirs"})
    assert (found["state"], found["values_version"]) == ("open", conflict["values_version"])


async def test_during_a_full_run(site: Site, stage: Stage) -> None:
    """Not postponed until the run has ended."""
    conflict = await in_conflict(site)
    await site.change("Carl", phone="(212) 555-0170")
    async with site.held_up("Carl"):
        run = await site.start()
        await site.waits()
        choices: dict[str, Choice] = {"phone": "ours", "last_name": "theirs", "birthdate": "ours"}
        assert (await decide(stage, site, conflict, choices))["state"] == "resolved"
        assert there(site)[0] == OUR_PHONE
        assert (await site.run(run))["state"] == "running"
    await site.until(run, "done")
    assert (await here(site))[:2] == there(site)[:2] == (OUR_PHONE, "Bakerson")
    await nothing_more(site)


async def test_a_refused_part_waits_for_the_next_sync(site: Site, stage: Stage) -> None:
    """Each part is accepted or refused by itself. The vendor's reason is shown, and the next sync sends it again."""
    conflict = await in_conflict(site)
    refusal = site.control.refuse("number", "validation", organization_id=site.church.id)
    choices: dict[str, Choice] = {"phone": "ours", "last_name": "theirs", "birthdate": "ours"}
    assert (await decide(stage, site, conflict, choices))["state"] == "resolved"
    assert there(site) == (THEIR_PHONE, "Bakerson", "1980-02-03")
    assert await here(site) == (OUR_PHONE, "Bakerson", "1980-02-03")
    kind, fact = (await stage.told(site, "people.conflict.v1", 3))[-1]
    assert kind == "ResolutionApplied"
    (reason,) = fact["refused"]
    assert "phone" in reason.lower()
    site.control.remove_fault(refusal)
    await site.believable()
    assert (await site.sync())["counts"]["updated_there"] == 1
    assert there(site)[0] == OUR_PHONE
    await nothing_more(site)


async def test_a_decision_without_a_connection(site: Site, stage: Stage) -> None:
    conflict = await in_conflict(site)
    await site.database.fetch(
        "UPDATE connection SET state = 'reconnect_required' WHERE organization_id = $1", site.organization_id
    )
    asked = decision(site, conflict, dict.fromkeys(("phone", "last_name", "birthdate"), "ours"))
    await publish(stage.kafka, asked, CONFLICT_SERVICE)

    async def queued() -> bool:
        return bool((await conflict_of(site, "Bruno"))["decision"])

    await eventually(queued)
    assert there(site)[0] == THEIR_PHONE
    await stage.authorized(site, version=2)
    assert (await answered(site, asked))["state"] == "resolved"
    assert there(site) == await here(site)


async def test_a_second_decision_within_the_horizon(site: Site, stage: Stage) -> None:
    """Planning Center still shows the value from before the first decision, which does not count as an edit."""
    first = await in_conflict(site)
    names = ("phone", "last_name", "birthdate")
    await decide(stage, site, first, dict.fromkeys(names, "ours"))
    await site.change("Bruno", phone="(212) 555-0151")
    site.edit_contact("Bruno", "PhoneNumber", number="(212) 555-0161")
    await site.visible()
    await site.sync()
    await site.believable()
    await site.sync()
    second = await conflict_of(site, "Bruno")
    assert (second["id"] != first["id"], second["state"]) == (True, "open")
    assert (await decide(stage, site, second, {"phone": "ours"}))["state"] == "resolved"
    assert there(site)[0] == (await here(site))[0] == "(212) 555-0151"
    await nothing_more(site)


async def test_a_family(site: Site, stage: Stage) -> None:
    """First Planning Center's name wins, then ours."""
    await site.sync()
    family = await site.family_of("Baker Household")
    await site.call("PATCH", f"/families/{family['id']}", {"name": "Baker here"})
    site.rename_household("Baker Household", "Baker there")
    await site.visible()
    await site.sync()
    conflict = await conflict_of(site, "Baker here")
    assert (await decide(stage, site, conflict, {"name": "theirs"}))["state"] == "resolved"
    assert (await site.family_of("Baker there"))["id"] == family["id"]
    await nothing_more(site)
    await site.call("PATCH", f"/families/{family['id']}", {"name": "Baker of here"})
    site.rename_household("Baker there", "Baker of there")
    await site.visible()
    await site.sync()
    conflict = await conflict_of(site, "Baker of here")
    assert (await decide(stage, site, conflict, {"name": "ours"}))["state"] == "resolved"
    assert [row["name"] for row in site.rows("Household") if row["name"].startswith("Baker")] == ["Baker of here"]
    await nothing_more(site)
    await site.regroup("Baker of here", join=["Ned"], leave=["Bea"])
    await site.sync()
    items = (await site.call("GET", f"/families/{family['id']}/history?limit=100"))["items"]
    told = [(one["side"], one["field"], one["old"], one["new"], one["by_name"]) for one in items]
    assert ("here", "name", "Baker here", "Baker there", "Ada Moreno") in told
    assert ("there", "name", "Baker of there", "Baker of here", "Ada Moreno") in told
    for side in ("here", "there"):
        moves = [(old, new) for where, field, old, new, _ in told if (where, field) == (side, "members")]
        assert {("Bea Baker", None), (None, "Ned Nash")} <= set(moves)
    first = await site.call("GET", f"/families/{family['id']}/history?limit=2")
    rest = await site.call("GET", f"/families/{family['id']}/history?limit=100&after={first['next']}")
    assert first["items"] + rest["items"] == items
    gone = paging.encode(str(uuid4()))
    await site.call("GET", f"/families/{family['id']}/history?after={gone}", status=422)
    await site.call("GET", f"/families/{uuid4()}/history", status=404)


async def test_deleted_here_while_a_decision_waits(site: Site, stage: Stage) -> None:
    conflict = await in_conflict(site)
    theirs = there(site)
    hold = site.fault(
        {"kind": "hold", "when": "before", "if_gone": "lost"}, method="GET", path="/people/[0-9]+$", nth=1
    )
    asked = decision(site, conflict, dict.fromkeys(("phone", "last_name", "birthdate"), "ours"))
    await publish(stage.kafka, asked, CONFLICT_SERVICE)
    await eventually(lambda: site.control.fault(hold)["holding"] == 1)
    await site.remove("Bruno")
    site.control.release(hold)

    async def over() -> bool:
        return bool(
            (await site.database.value("SELECT state FROM conflict WHERE id = $1", conflict["id"])) == "withdrawn"
        )

    await eventually(over)
    assert there(site) == theirs


# --- faults found in a review -----------------------------------------------------------------------------------------

NAMES = ("phone", "last_name", "birthdate")


# Kind: the lag that shows the value from before the decision.
async def test_a_stale_read_ends_no_conflict(stage: Stage, staging: Staging) -> None:
    """The read shows the last agreed value again; the administrator's choice was dropped and overwritten."""
    async with stopped(stage.service), staging("lagged", PCO_STALENESS_HORIZON_SECONDS=6) as lagged:
        site = await lagged.site()
        site.horizon_seconds = 6
        lags = {"singles_lag_ms": 0, "lists_lag_ms": 0, "filters_lag_ms": 0, "lag_past_ms": 12_000}
        site.control.change_settings(background_edits_per_second=0, **lags)
        await site.sync()
        await site.change("Bruno", phone=OUR_PHONE)
        site.edit_contact("Bruno", "PhoneNumber", number=THEIR_PHONE)
        assert (await site.sync())["counts"]["conflict"] == 1
        conflict = await conflict_of(site, "Bruno")
        site.control.change_settings(singles_lag_ms=5_000)
        asked = decision(site, conflict, {"phone": "theirs"})
        await publish(lagged.kafka, asked, CONFLICT_SERVICE)
        assert (await answered(site, asked))["state"] == "resolved"
        assert (await here(site))[0] == there(site)[0] == THEIR_PHONE


# Kind: a decision that no worker has.
async def test_a_decision_taken_before_the_first_sync_of_a_connection(site: Site, stage: Stage) -> None:
    conflict = await in_conflict(site)
    former, elsewhere = site.church, await stage.site()
    await stage.move(site, elsewhere.church, version=2)
    await stage.move(site, former, version=3)
    asked = decision(site, conflict, dict.fromkeys(NAMES, "ours"))
    await publish(stage.kafka, asked, CONFLICT_SERVICE)

    async def taken() -> bool:
        return bool((await conflict_of(site, "Bruno"))["decision"])

    await eventually(taken)
    await site.sync()
    assert (await answered(site, asked))["state"] == "resolved"
    assert there(site) == await here(site)


async def test_a_decision_taken_during_a_reconnect(site: Site, stage: Stage) -> None:
    """The decision saw the connection as away, and the fact about the reconnect did not see the decision."""
    conflict = await in_conflict(site)
    await site.database.fetch(
        "UPDATE connection SET state = 'reconnect_required' WHERE organization_id = $1", site.organization_id
    )
    asked = decision(site, conflict, dict.fromkeys(NAMES, "ours"))
    async with site.database.connection() as connection, connection.transaction():
        await connection.execute("SELECT 1 FROM conflict WHERE id = $1 FOR UPDATE", conflict["id"])
        await publish(stage.kafka, asked, CONFLICT_SERVICE)
        await site.waits()
        await stage.authorized(site, version=2)
        await site.connected(2)
    assert (await answered(site, asked))["state"] == "resolved"


# Kind: told as done, and not done.
async def test_ours_wins_also_after_a_contact_was_cleared(site: Site, stage: Stage) -> None:
    """The contact left there after the clearing is a kept difference, and the decision covers it too."""
    await site.sync()
    attributes = {"number": "(212) 555-0121", "location": "Home", "primary": False}
    site.mutate({"op": "create", "type": "PhoneNumber", "id": site.person("Bruno")["id"], "attributes": attributes})
    await site.visible()
    await site.sync()
    await site.believable()
    await site.change("Bruno", phone=None)
    await site.sync()
    await site.believable()
    await site.sync()
    await site.change("Bruno", phone="(212) 555-0199")
    assert (await site.sync())["counts"]["conflict"] == 1
    await decide(stage, site, await conflict_of(site, "Bruno"), {"phone": "ours"})
    assert "(212) 555-0199" in [row["number"] for row in site.contacts("Bruno", "PhoneNumber")]
    await nothing_more(site)


async def test_a_birthdate_without_a_year_is_reported_as_not_sent(site: Site, stage: Stage) -> None:
    """1885 means unknown: Planning Center's year says more, and stays."""
    await site.sync()
    await site.change("Bruno", birthdate="1980-02-03")
    await site.sync()
    await site.believable()
    await site.sync()
    await site.change("Bruno", phone=OUR_PHONE, birthdate="1885-02-03")
    site.edit_contact("Bruno", "PhoneNumber", number=THEIR_PHONE)
    site.edit("Bruno", birthdate="1981-02-03")
    await site.visible()
    await site.sync()
    conflict = await conflict_of(site, "Bruno")
    choices: dict[str, Choice] = {field["field"]: "ours" for field in conflict["fields"]}
    assert "birthdate" in choices
    ended = await decide(stage, site, conflict, choices)
    assert ended["state"] == "resolved"
    (told,) = ended["answered"].values()
    assert told["refused"] == ["Planning Center's birthdate says the same as ours or more, so it was left as it is."]
    assert there(site)[0] == OUR_PHONE


async def test_a_primary_contact_who_was_deleted_cannot_be_kept(site: Site, stage: Stage) -> None:
    await site.sync()
    family = await site.family_of("Abbot Household")
    (household,) = [row["id"] for row in site.rows("Household") if row["name"] == "Abbot Household"]
    amy = await site.member("Amy")
    await site.call("PATCH", f"/families/{family['id']}", {"primary_contact_id": str(amy["id"])})
    contact = {"primary_contact_id": int(site.person("Abel")["id"])}
    site.mutate({"op": "edit", "type": "Household", "id": household, "attributes": contact})
    await site.visible()
    await site.sync()
    await site.remove("Amy")
    await site.sync()
    conflict = await conflict_of(site, "Abbot Household")
    found = await decide(stage, site, conflict, {"primary_contact": "ours"})
    assert found["state"] == "open"
    (told,) = found["answered"].values()
    assert told["sentence"].startswith("The primary contact here is not in the family in Planning Center")


# Kind: kept different, forgotten or remembered too long.
async def test_a_value_that_changes_and_comes_back_is_still_kept_different(site: Site, stage: Stage) -> None:
    conflict = await in_conflict(site)
    await decide(stage, site, conflict, dict.fromkeys(NAMES, "both"))
    await site.believable()
    await site.change("Bruno", phone="(212) 555-0199")
    assert (await site.sync())["counts"]["conflict"] == 1
    await site.change("Bruno", phone=OUR_PHONE)
    await site.sync()
    assert {one["field"] for one in await kept(site)} == set(NAMES)
    await nothing_more(site)


async def test_equal_values_are_no_longer_kept_different(site: Site, stage: Stage) -> None:
    """Also after both sides return to the last agreed value: a later edit of one side is no conflict."""
    await site.sync()
    agreed = (await site.member("Bruno"))["phone"]
    conflict = await in_conflict(site)
    await decide(stage, site, conflict, dict.fromkeys(NAMES, "both"))
    await site.believable()
    await site.change("Bruno", phone=agreed)
    site.edit_contact("Bruno", "PhoneNumber", number=agreed)
    await site.visible()
    await site.sync()
    await site.believable()
    await site.sync()
    assert {one["field"] for one in await kept(site)} == {"last_name", "birthdate"}
    await site.change("Bruno", phone="(212) 555-0188")
    assert (await site.sync())["counts"]["updated_there"] == 1


async def test_a_change_during_a_decision_is_reported(site: Site, stage: Stage) -> None:
    """Our side has already changed, so the sentence must not say that nothing was applied."""
    conflict = await in_conflict(site)
    hold = site.fault(
        {"kind": "hold", "when": "before", "if_gone": "lost"}, method="GET", path="/people/[0-9]+$", nth=2
    )
    asked = decision(site, conflict, {"phone": "ours", "last_name": "theirs", "birthdate": "ours"})
    async with site.read_too_early("Bruno"):
        await publish(stage.kafka, asked, CONFLICT_SERVICE)
    await eventually(lambda: site.control.fault(hold)["holding"] == 1)
    site.edit_contact("Bruno", "PhoneNumber", number="(212) 555-0177")
    await site.visible()
    site.control.release(hold)
    found = await answered(site, asked)
    assert found["state"] == "open"
    assert there(site)[0] == "(212) 555-0177"
    assert (await here(site))[1] == "Bakerson"
    assert found["answered"][asked.decision_id]["sentence"] == (
        "A value changed while the decision was being carried out. What was taken over here stays; the rest is open "
        "again."
    )


# Kind: the answer is no JSON:API.
async def test_an_answer_in_html_carries_nothing_out(site: Site, stage: Stage) -> None:
    """A proxy's page says nothing about the person, so the decision waits until Planning Center answers again."""
    conflict = await in_conflict(site)
    ours, theirs = await here(site), there(site)
    fault = site.fault({"kind": "respond", "status": 200, "body": "html"}, method="GET", path="/people/[0-9]+$")
    asked = decision(site, conflict, dict.fromkeys(NAMES, "theirs"))
    await publish(stage.kafka, asked, CONFLICT_SERVICE)
    tried = "SELECT count(*) > 0 FROM refresh WHERE organization_id = $1 AND state = 'queued' AND tries > 0"
    await eventually(lambda: site.database.value(tried, site.organization_id))
    assert (await conflict_of(site, "Bruno"))["decision"]["id"] == asked.decision_id
    assert (await here(site), there(site)) == (ours, theirs)
    site.control.remove_fault(fault)
    assert (await answered(site, asked))["state"] == "resolved"
    assert await here(site) == there(site) == theirs


async def test_an_outage_of_a_minute_drops_no_decision(site: Site, stage: Stage) -> None:
    conflict = await in_conflict(site)
    away = site.fault({"kind": "respond", "status": 503}, method="GET", path="/people/[0-9]+$")
    asked = decision(site, conflict, dict.fromkeys(NAMES, "ours"))
    await publish(stage.kafka, asked, CONFLICT_SERVICE)
    many = "UPDATE refresh SET tries = 20, not_before = now() WHERE organization_id = $1 AND tries > 0 RETURNING id"
    await eventually(lambda: site.database.value(many, site.organization_id), within=60)

    async def tried_again() -> bool:
        tries = "SELECT max(tries) > 20 FROM refresh WHERE organization_id = $1 AND state = 'queued'"
        return bool(await site.database.value(tries, site.organization_id))

    await eventually(tried_again, within=60)
    assert (await conflict_of(site, "Bruno"))["decision"] is not None
    site.control.remove_fault(away)
    await site.database.fetch("UPDATE refresh SET not_before = now() WHERE organization_id = $1", site.organization_id)
    assert (await answered(site, asked))["state"] == "resolved"
    assert there(site) == await here(site)
