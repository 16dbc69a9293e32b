"""The People story through the gateway: two processes of every service, a vendor whose reads lag.

The tests of this module are chapters: each continues where the one before ended.
"""

from typing import Any

import pytest

from local_stack.church import Church, StoryError
from local_stack.stack import Stack

pytestmark = pytest.mark.e2e

ADDRESS = {"street_line_1": "5 Mill Lane", "city": "Dover", "state": "NH", "zip": "03820"}


def pco(church: Church) -> dict[str, Any]:
    """Id of the first church's Planning Center organization."""
    return church.control.organizations()[0]


def there(church: Church, type_: str, **attributes: Any) -> list[dict[str, Any]]:
    """Rows in Planning Center with these attributes."""
    rows = church.control.dump(pco(church)["id"])
    return [row for row in rows if row["type"] == type_ and attributes.items() <= row["attributes"].items()]


def sync_until(church: Church, outcome: str, kind: str = "incremental") -> list[str]:
    """Sync until a run has this outcome, since Planning Center's reads lag; gives the members with it."""
    for _ in range(10):
        run = church.sync(kind)
        items = church.all(f"/people/runs/{run['id']}/items", outcome=outcome)
        if found := [item["record_id"] for item in items if item["record_kind"] == "member"]:
            return found
    raise AssertionError(f"no run had the outcome {outcome}")


def test_before_connecting_nothing_can_be_synced(ada: Church) -> None:
    cards = ada.get("/connections")
    assert (cards["people"]["state"], cards["calendar"]["state"]) == ("not_connected", "not_connected")
    with pytest.raises(StoryError, match=r"409.*not-connected"):
        ada.start()


def test_a_cancelled_consent_stores_nothing(ada: Church) -> None:
    started = ada.call("POST", "/connections/people/authorize")
    answer = ada.consent(started["authorize_url"], decision="deny")
    assert answer["error"] == "access_denied"
    with pytest.raises(StoryError, match="409"):
        ada.call("POST", "/connections/complete", json=answer)
    assert ada.get("/connections")["people"]["state"] == "not_connected"


def test_connect(ada: Church) -> None:
    card = ada.connect()
    assert card["state"] == "connected"
    assert card["pco_organization_name"] == pco(ada)["name"]
    assert card["connected_by_name"] == "Ada Moreno"
    assert ada.get("/connections")["calendar"]["state"] == "needs_authorization"


def test_the_first_sync_brings_everybody(ada: Church) -> None:
    run = ada.sync()
    truth = ada.control.truth(pco(ada)["id"])
    assert run["counts"]["created_here"] == truth["people"] + truth["households"]
    members, families = ada.members(), ada.families()
    assert len(members) == truth["people"]
    assert len(families) == truth["households"]
    assert sum(len(family["member_ids"]) for family in families) == truth["household_memberships"]
    assert all(record["link"]["state"] == "linked" for record in [*members, *families])
    status = ada.get("/people/status")
    assert (status["members"], status["linked_members"]) == (truth["people"], truth["people"])


def test_a_second_sync_writes_nothing(ada: Church) -> None:
    mark = ada.control.mark()
    run = ada.sync()
    assert set(run["counts"]) == {"unchanged"}
    assert ada.writes_since(mark) == []


def test_a_family_added_here_appears_there(ada: Church) -> None:
    before = ada.control.truth(pco(ada)["id"])
    nora = ada.add_member(
        first_name="Nora",
        last_name="Newcome",
        email="nora.newcome@example.org",
        phone="(202) 555-0188",
        address=ADDRESS,
    )
    tim = ada.add_member(first_name="Tim", last_name="Newcome", child=True, birthdate="2018-03-04")
    ada.add_family("Newcome", nora, tim)
    run = ada.sync()
    assert run["counts"]["created_there"] == 3, list(ada.all(f"/people/runs/{run['id']}/items"))

    after = ada.control.truth(pco(ada)["id"])
    grown = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    assert grown == {
        "people": 2,
        "emails": 1,
        "phone_numbers": 1,
        "addresses": 1,
        "households": 1,
        "household_memberships": 2,
    }
    [person] = there(ada, "Person", first_name="Nora", last_name="Newcome")
    [child] = there(ada, "Person", first_name="Tim", last_name="Newcome", child=True, birthdate="2018-03-04")
    assert there(ada, "Email", address="nora.newcome@example.org", primary=True)
    assert [row for row in there(ada, "PhoneNumber", primary=True) if row["attributes"].get("e164") == "+12025550188"]
    assert there(ada, "Address", street_line_1="5 Mill Lane", city="Dover", zip="03820", primary=True)
    [household] = there(ada, "Household", name="Newcome")
    members = [
        row for row in there(ada, "HouseholdMembership") if household["id"] in map(str, row["attributes"].values())
    ]
    assert len(members) == 2
    assert not any(row["attributes"].get("pending") for row in members)
    assert person["id"] != child["id"]


def test_an_edit_there_appears_here(ada: Church) -> None:
    member = next(one for one in ada.members() if one["email"] and not one["child"])
    ada.edit_there(pco(ada)["id"], member["link"]["pco_id"], last_name="Renamed-There")
    assert sync_until(ada, "updated_here") == [member["id"]]
    assert ada.get(f"/people/members/{member['id']}")["last_name"] == "Renamed-There"
    [entry] = [one for one in ada.all(f"/people/members/{member['id']}/history") if one["field"] == "last_name"]
    assert (entry["old"], entry["new"], entry["by"]) == (member["last_name"], "Renamed-There", "planning_center")


def test_an_edit_here_appears_there(ada: Church) -> None:
    member = next(one for one in ada.members() if one["email"] and not one["child"])
    ada.change_member(member, email="changed.here@example.org")
    assert sync_until(ada, "updated_there") == [member["id"]]
    assert there(ada, "Email", address="changed.here@example.org")
    assert not there(ada, "Email", address=member["email"], person_id=int(member["link"]["pco_id"]))


def test_edits_on_both_sides_are_a_conflict_and_nothing_is_overwritten(ada: Church) -> None:
    member = next(one for one in ada.members() if one["birthdate"] and not one["child"])
    pco_id = member["link"]["pco_id"]
    ada.change_member(member, last_name="Ours")
    ada.edit_there(pco(ada)["id"], pco_id, last_name="Theirs")
    mark = ada.control.mark()
    assert sync_until(ada, "conflict", "full") == [member["id"]]
    assert ada.writes_since(mark) == []
    assert ada.get(f"/people/members/{member['id']}")["last_name"] == "Ours"
    assert [row["id"] for row in there(ada, "Person", last_name="Theirs")] == [pco_id]

    ada.eventually(lambda: ada.get("/conflicts/count")["open"] == 1, "the conflict is counted")
    [conflict] = ada.all("/conflicts")
    [field] = conflict["fields"]
    assert (field["field"], field["base"], field["ours"], field["theirs"]) == (
        "last_name",
        member["last_name"],
        "Ours",
        "Theirs",
    )

    # An edit makes both sides equal, which closes the conflict.
    ada.edit_there(pco(ada)["id"], pco_id, last_name="Ours")
    assert sync_until(ada, "converged") == [member["id"]]
    ada.eventually(lambda: ada.get("/conflicts/count")["open"] == 0, "the conflict closes by itself")


def test_staff_see_everything_and_change_nothing(sam: Church) -> None:
    assert sam.get("/people/status")["members"] > 0
    for method, path, body in [
        ("POST", "/people/runs", {}),
        ("POST", "/connections/people/disconnect", None),
        ("POST", "/connections/people/authorize", None),
        ("POST", "/people/members", {"first_name": "A", "last_name": "B"}),
        ("PATCH", "/people/settings", {"schedule_hours": 1}),
    ]:
        with pytest.raises(StoryError, match="403"):
            sam.call(method, path, json=body)


def test_the_other_church_sees_nothing(ada: Church, olga: Church) -> None:
    member, family = ada.members()[0], ada.families()[0]
    run = ada.get("/people/runs")["items"][0]
    conflict = next(iter(ada.all("/conflicts", state="agreed_elsewhere")))
    assert olga.members() == olga.families() == []
    assert olga.get("/people/runs")["items"] == olga.get("/conflicts")["items"] == []
    assert olga.get("/people/status")["members"] == 0
    assert olga.get("/connections")["people"]["state"] == "not_connected"
    for method, path in [
        ("GET", f"/people/members/{member['id']}"),
        ("PATCH", f"/people/members/{member['id']}"),
        ("DELETE", f"/people/members/{member['id']}"),
        ("GET", f"/people/members/{member['id']}/history"),
        ("POST", f"/people/members/{member['id']}/create-again"),
        ("GET", f"/people/families/{family['id']}"),
        ("PATCH", f"/people/families/{family['id']}"),
        ("DELETE", f"/people/families/{family['id']}"),
        ("GET", f"/people/runs/{run['id']}"),
        ("GET", f"/people/runs/{run['id']}/items"),
        ("POST", f"/people/runs/{run['id']}/stop"),
        ("GET", f"/conflicts/{conflict['id']}"),
    ]:
        with pytest.raises(StoryError, match="404") as refused:
            olga.call(method, path, json={} if method == "PATCH" else None)
        assert member["last_name"] not in str(refused.value)
    assert ada.get(f"/people/members/{member['id']}")["id"] == member["id"]


def test_the_same_planning_center_cannot_be_connected_twice(olga: Church) -> None:
    started = olga.call("POST", "/connections/people/authorize")
    answer = olga.consent(started["authorize_url"], login=0)
    with pytest.raises(StoryError, match="409") as refused:
        olga.call("POST", "/connections/complete", json=answer)
    # The sentence names Olga's choice at Planning Center, never the church or person that has it here.
    assert "another organization here" in str(refused.value)
    assert "Ada" not in str(refused.value)


def test_disconnect_ends_in_a_receipt_that_is_true(ada: Church) -> None:
    members = len(ada.members())
    ada.call("POST", "/connections/people/disconnect")
    ada.eventually(
        lambda: ada.get("/connections/people/receipt")["finished_at"] is not None, "the receipt is complete", 90
    )
    receipt = ada.get("/connections/people/receipt")
    assert {line["step"]: line["outcome"] for line in receipt["lines"]} | {"records": "done"} == {
        line["step"]: "done" if line["outcome"] != "not_needed" else "not_needed" for line in receipt["lines"]
    } | {"records": "done"}
    live = [
        grant
        for grant in ada.control.grants()
        if grant["organization_id"] == pco(ada)["id"] and "people" in grant["scopes"]
    ]
    assert sum(grant["live_access_tokens"] + grant["live_refresh_tokens"] for grant in live) == 0
    assert ada.get("/connections")["people"]["state"] == "not_connected"
    assert len(ada.members()) == members
    ada.eventually(lambda: not ada.get("/people/status")["connected"], "people-sync learns of it")


def test_reconnecting_creates_nothing(ada: Church) -> None:
    before = ada.control.truth(pco(ada)["id"])
    members = len(ada.members())
    mark = ada.control.mark()
    ada.connect()
    run = ada.sync()
    assert set(run["counts"]) <= {"unchanged"}
    assert ada.writes_since(mark) == []
    assert ada.control.truth(pco(ada)["id"]) == before
    assert len(ada.members()) == members


def test_everything_survives_a_restart(ada: Church, stack: Stack) -> None:
    before = {member["id"]: member["version"] for member in ada.members()}
    for process in stack.processes():
        process.kill()
        process.start()
    for name in stack.services:
        for index in range(2):
            stack.wait_ready(name, index)
    assert {member["id"]: member["version"] for member in ada.members()} == before
    mark = ada.control.mark()
    run = ada.sync()
    assert set(run["counts"]) == {"unchanged"}
    assert ada.writes_since(mark) == []
