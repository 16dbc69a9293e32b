"""The directory over HTTP on a real PostgreSQL."""

import csv
import io
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi import FastAPI
from sqlalchemy import update

from contracts.routes import ROUTES
from people_sync.storage.erased_tables import ErasedRecord
from people_sync.storage.sync_tables import Conflict, HeldBulk, HeldMatch, HeldSkipped
from people_sync.storage.tables import Effect, FamilyMember, Link, Member
from people_sync.usecases.republish import republish
from servicekit.http import paging, spreadsheets
from servicekit.testing import KeyRing

ANN = {
    "first_name": "Ann",
    "last_name": "Smith",
    "birthdate": "1990-02-03",
    "gender": "Female",
    "email": "ann@example.org",
    "phone": "+1 212 555 0143",
    "address": {"street_line_1": "1 Main St", "city": "Springfield", "zip": "12345"},
}
PEOPLE = "/api/v1/people"


def routes_of(app: FastAPI) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for path, operations in app.openapi()["paths"].items():
        found |= {(method.upper(), path) for method in operations}
    return found


def test_every_route_of_the_directory_is_served(app: FastAPI) -> None:
    parts = ("/members", "/families", "/bulk", "/settings")
    promised = {
        (route.method, route.path)
        for route in ROUTES
        if route.owner == "people-sync" and route.path.removeprefix(PEOPLE).startswith(parts)
    }
    assert promised
    assert promised <= routes_of(app)


async def test_a_member_is_added_read_and_published(church: Any) -> None:
    added = await church.call("POST", "/members", ANN | {"external_id": "m-1"}, status=201)
    assert added["version"] == 1
    assert added["address"]["country_code"] == ""
    assert await church.call("GET", f"/members/{added['id']}") == added
    (event,) = await church.events()
    assert event[:2] == ("MemberChanged", added["id"])
    assert event[2]["member"] == added
    assert event[2]["version"] == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"first_name": " ", "last_name": ""}, "first_name"),
        ({"last_name": "x" * 101}, "last_name"),
        ({"email": "nonsense"}, "email"),
        ({"phone": "12"}, "phone"),
        ({"phone": "call me"}, "phone"),
        ({"phone": "+1 212 555 0143 0143 0143"}, "phone"),
        ({"birthdate": "2990-01-01"}, "birthdate"),
        ({"birthdate": "0090-01-01"}, "birthdate"),
        ({"gender": "Other"}, "gender"),
        ({"address": {"country_code": "Germany"}}, "country_code"),
        ({"nickname": "Annie"}, "nickname"),
    ],
)
async def test_a_bad_member_is_refused_with_its_field(church: Any, change: dict[str, Any], field: str) -> None:
    refused = await church.call("POST", "/members", ANN | change, status=422)
    assert any(one["field"].endswith(field) for one in refused["errors"]), refused
    assert await church.events() == []


# Kind: a value is checked before the data that it depends on is known.
async def test_a_local_phone_number_gets_the_churchs_country(church: Any) -> None:
    await church.call("POST", "/members", ANN | {"phone": "212-555-0143"}, status=201)
    await church.connect()
    await church.add(phone="212-555-0143")
    assert (await church.call("POST", "/members", ANN | {"phone": "555"}, status=422))["errors"][0]["field"] == "phone"


async def test_a_change_increments_the_version_and_writes_history(church: Any) -> None:
    ann = await church.add()
    await church.events()
    changed = await church.call("PATCH", f"/members/{ann['id']}", {"last_name": "Jones", "phone": None, "version": 1})
    assert (changed["last_name"], changed["phone"], changed["version"]) == ("Jones", None, 2)
    assert [(kind, body["version"]) for kind, _, body in await church.events()] == [("MemberChanged", 2)]
    page = await church.call("GET", f"/members/{ann['id']}/history")
    assert {(one["field"], one["old"], one["new"], one["by"], one["by_name"]) for one in page["items"]} == {
        ("last_name", "Smith", "Jones", "person", "Test User"),
        ("phone", "+1 212 555 0143", None, "person", "Test User"),
    }
    assert all(one["can_undo"] for one in page["items"])


async def test_an_unchanged_value_is_no_change(church: Any) -> None:
    ann = await church.add()
    await church.events()
    assert await church.call("PATCH", f"/members/{ann['id']}", {"last_name": "Smith"}) == ann
    assert await church.events() == []
    assert await church.rows(Effect) == []


async def test_a_stale_version_is_a_conflict_that_says_what_to_do(church: Any) -> None:
    ann = await church.add()
    await church.call("PATCH", f"/members/{ann['id']}", {"last_name": "Jones", "version": 1})
    problem = await church.call("PATCH", f"/members/{ann['id']}", {"last_name": "Brown", "version": 1}, status=409)
    assert problem["type"] == "/problems/version-conflict"
    assert "Read it again" in problem["detail"]
    assert (await church.call("GET", f"/members/{ann['id']}"))["last_name"] == "Jones"


@pytest.mark.parametrize(("kept", "cleared"), [("first_name", "last_name"), ("last_name", "first_name")])
async def test_one_name_is_enough(church: Any, kept: str, cleared: str) -> None:
    """Kind: a value that Planning Center may lack is required here. B16."""
    named = await church.add(**{cleared: ""})
    assert (named[kept], named[cleared]) == (ANN[kept], "")
    ann = await church.add()
    changed = await church.call("PATCH", f"/members/{ann['id']}", {cleared: None})
    assert (changed[kept], changed[cleared]) == (ANN[kept], "")
    problem = await church.call("PATCH", f"/members/{ann['id']}", {kept: " "}, status=422)
    said = "cannot be empty when the last name is too: give at least one of the two"
    assert problem["errors"] == [{"field": "first_name", "message": said}]
    assert (await church.call("PATCH", f"/members/{ann['id']}", {"phone": None}))["version"] == 3


async def test_the_child_flag_cannot_be_cleared(church: Any) -> None:
    ann = await church.add()
    problem = await church.call("PATCH", f"/members/{ann['id']}", {"child": None}, status=422)
    assert [one["field"] for one in problem["errors"]] == ["body.child"]


# Kind: an error uses the program's terms instead of the reader's.
async def test_a_long_name_has_characters_and_not_items(church: Any) -> None:
    problem = await church.call("POST", "/members", ANN | {"first_name": "x" * 101}, status=422)
    assert [one["message"] for one in problem["errors"]] == ["Use at most 100 characters."]


async def test_undo_puts_a_value_back_once(church: Any) -> None:
    ann = await church.add()
    path = f"/members/{ann['id']}"
    await church.call("PATCH", path, {"address": None})
    (entry,) = (await church.call("GET", f"{path}/history"))["items"]
    undone = await church.call("POST", f"{path}/history/{entry['id']}/undo")
    assert undone["address"] == ann["address"]
    assert undone["version"] == 3
    problem = await church.call("POST", f"{path}/history/{entry['id']}/undo", status=409)
    assert problem["type"] == "/problems/cannot-undo"
    newest, oldest = (await church.call("GET", f"{path}/history"))["items"]
    assert (newest["can_undo"], oldest["can_undo"]) == (True, False)
    other = await church.add()
    await church.call("POST", f"/members/{other['id']}/history/{newest['id']}/undo", status=404)
    for nothing in ("0", "x", "9" * 30):
        await church.call("POST", f"{path}/history/{nothing}/undo", status=404)


async def test_history_comes_in_pages(church: Any) -> None:
    ann = await church.add()
    for number in range(5):
        await church.call("PATCH", f"/members/{ann['id']}", {"last_name": f"Smith{number}"})
    seen: list[str] = []
    after = ""
    for _ in range(3):
        page = await church.call("GET", f"/members/{ann['id']}/history?limit=2{after}")
        seen += [one["new"] for one in page["items"]]
        # No number that counts the changes of all churches.
        assert all(UUID(one["id"]).version == 4 for one in page["items"])
        assert page["next"] is None or paging.decode(page["next"], UUID) == [UUID(page["items"][-1]["id"])]
        after = f"&after={page['next']}"
    assert seen == [f"Smith{number}" for number in (4, 3, 2, 1, 0)]
    assert page["next"] is None


async def test_a_deleted_member_leaves_with_a_tombstone_and_keeps_row_and_memberships(church: Any) -> None:
    ann, bob = await church.add(), await church.add(first_name="Bob")
    family = await church.call(
        "POST",
        "/families",
        {"name": "Smith", "member_ids": [ann["id"], bob["id"]], "primary_contact_id": ann["id"]},
        status=201,
    )
    await church.events()
    await church.call("DELETE", f"/members/{ann['id']}", status=204)
    events = await church.events()
    assert [(kind, key, body is None) for kind, key, body in events] == [
        ("FamilyChanged", family["id"], False),
        ("MemberRemoved", ann["id"], False),
        ("MemberRemoved", ann["id"], True),
    ]
    assert events[0][2]["family"]["member_ids"] == [bob["id"]]
    assert events[0][2]["family"]["primary_contact_id"] is None
    assert events[1][2]["version"] == 3
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/create-again")):
        body = {"last_name": "X"} if method == "PATCH" else None
        await church.call(method, f"/members/{ann['id']}{path}", body, status=404)
    assert (await church.call("GET", f"/members/{ann['id']}/history"))["items"][0]["field"] == "deleted"
    assert await church.names("") == ["Bob"]
    # Nothing is pushed: neither the person nor the household loses anything in Planning Center.
    assert len(await church.rows(FamilyMember)) == 2
    (row,) = [row for row in await church.rows(Member) if row.deleted_at is not None]
    assert str(row.id) == ann["id"]


async def test_another_church_sees_and_changes_nothing(church: Any, another: Any) -> None:
    ann = await church.add(external_id="m-1")
    family = await church.call("POST", "/families", {"name": "Smith", "member_ids": [ann["id"]]}, status=201)
    await church.call("PATCH", f"/members/{ann['id']}", {"last_name": "Jones"})
    (entry,) = (await church.call("GET", f"/members/{ann['id']}/history"))["items"]
    await church.events()
    other = await another("org-2")
    mine = await other.add()
    await other.events()
    for method, path in (
        ("GET", f"/members/{ann['id']}"),
        ("DELETE", f"/members/{ann['id']}"),
        ("GET", f"/members/{ann['id']}/history"),
        ("POST", f"/members/{ann['id']}/history/{entry['id']}/undo"),
        ("POST", f"/members/{mine['id']}/history/{entry['id']}/undo"),
        ("POST", f"/members/{ann['id']}/create-again"),
        ("GET", f"/families/{family['id']}"),
        ("DELETE", f"/families/{family['id']}"),
    ):
        await other.call(method, path, status=404)
    await other.call("PATCH", f"/members/{ann['id']}", {"last_name": "X"}, status=404)
    await other.call("PATCH", f"/families/{family['id']}", {"name": "X"}, status=404)
    await other.call("POST", "/families", {"name": "X", "member_ids": [ann["id"]]}, status=422)
    result = await other.call(
        "PUT", "/bulk", {"families": [{"external_id": "f", "name": "X", "member_external_ids": ["m-1"]}]}
    )
    assert [one["position"] for one in result["rejected"]] == [0]
    assert [one["id"] for one in (await other.call("GET", "/members"))["items"]] == [mine["id"]]
    assert (await other.call("GET", "/families"))["total"] == 0
    assert await other.events() == []


async def test_staff_may_read_and_not_write(church: Any, keys: KeyRing) -> None:
    ann = await church.add()
    church.http.headers.update(keys.user_headers("people-sync", roles=("staff",)))
    await church.call("GET", f"/members/{ann['id']}")
    await church.call("GET", "/settings")
    for method, path, body in (
        ("POST", "/members", ANN),
        ("PATCH", f"/members/{ann['id']}", {"last_name": "X"}),
        ("DELETE", f"/members/{ann['id']}", None),
        ("POST", "/families", {"name": "X"}),
        ("PUT", "/bulk", {}),
        ("PATCH", "/settings", {"schedule_hours": 8}),
    ):
        await church.call(method, path, body, status=403)
    del church.http.headers["Authorization"]
    await church.call("GET", "/members", status=401)


@pytest.mark.parametrize("bad", ["x", "%00", "../settings/x", str(uuid4())])
async def test_a_malformed_id_is_not_found(church: Any, bad: str) -> None:
    answer = await church.http.get(f"{PEOPLE}/members/{bad}")
    assert answer.status_code in {404, 422}
    assert answer.headers["content-type"] == "application/problem+json"


async def test_members_are_listed_in_pages_by_name_and_found_by_parts(church: Any) -> None:
    for first in ("Émilie", "Ann", "bob", "Zoë", "Carl"):
        await church.add(
            first_name=first, last_name="O’Brien", email=f"{first[0].lower().replace('é', 'e')}@example.org"
        )
    assert await church.names("") == ["Ann", "bob", "Carl", "Émilie", "Zoë"]
    seen: list[str] = []
    after = ""
    for size in (2, 2, 1):
        page = await church.call("GET", f"/members?limit=2{after}")
        assert page["total"] == (None if after else 5)
        assert len(page["items"]) == size
        seen += [one["first_name"] for one in page["items"]]
        after = f"&after={page['next']}"
    assert seen == ["Ann", "bob", "Carl", "Émilie", "Zoë"]
    assert await church.names("q=EMIL") == ["Émilie"]
    assert await church.names("q=obrien&limit=1") == ["Ann"]
    assert await church.names("q=Z@exam") == ["Zoë"]
    assert await church.names("q=%25") == []
    assert await church.names("q=_") == []
    assert await church.names("q=...") == []
    assert await church.names("q=o'brien, emi") == await church.names("q=émi o’brien") == ["Émilie"]
    assert await church.names("q=an") == await church.names("q=AN obr") == ["Ann"]
    assert await church.names("q=ann nobody") == []
    await church.add(first_name="Dora", last_name="Dial", phone="+1 (212) 555-0167", email=None)
    for phone in ("%2B12125550167", "212.555.0167", "(212)5550167", "555-0167", "1 212 555 0167"):
        assert await church.names(f"q={phone}") == ["Dora"]
    for bad in ("x", "W10", "WyJhIiwiYiJd", "%C3%A9"):
        problem = await church.call("GET", f"/members?after={bad}", status=422)
        assert problem["errors"][0]["field"] == "after"
    await church.call("GET", "/members?limit=0", status=422)
    await church.call("GET", "/members?colour=red", status=422)


async def test_every_list_is_a_file_of_all_pages_without_formulas(
    church: Any, keys: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spreadsheets, "AT_ONCE", 2)
    for first in ("=1+1", "@sum", "-2", "+3", "\uff1d4", "Ann", "Bob"):
        await church.add(first_name=first, last_name="Cell", child=first == "Bob", phone="+1 212 555 0143")
    await church.call("POST", "/families", {"name": "=cmd()", "member_ids": []}, status=201)

    async def lines(path: str) -> list[dict[str, str]]:
        answer = await church.http.get(f"{PEOPLE}/{path}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/csv; charset=utf-8"), answer.text
        assert ".csv" in answer.headers["content-disposition"]
        return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))

    members = await lines("members.csv")
    assert {one["First name"] for one in members} == {"'=1+1", "'@sum", "'-2", "'+3", "'\uff1d4", "Ann", "Bob"}
    assert len(members) == 7
    assert members[0]["Phone"] == "'+1 212 555 0143"
    assert members[0]["In Planning Center"] == "only here"
    assert [one["First name"] for one in await lines("members.csv?child=true")] == ["Bob"]
    assert [one["First name"] for one in await lines("members.csv?q=cell, ann")] == ["Ann"]
    assert [one["Name"] for one in await lines("families.csv")] == ["'=cmd()"]
    ann = next(one for one in members if one["First name"] == "Ann")["Our id"]
    await church.call("PATCH", f"/members/{ann}", {"last_name": "=Lee"})
    assert [one["After"] for one in await lines(f"members/{ann}/history.csv")] == ["'=Lee"]
    await church.connect()
    names = ["Hal Held", "Hope Held", "Hugh Held"]
    bulk = {"id": uuid4(), "answer": "same", "held_ids": [uuid4() for _ in names], "names": names, "digest": "d"}
    shown = {"pco_organization_id": "77", "versions": [1, 1, 1], "left_out": 0, "may_be_mailed": 0}
    now = datetime.now(UTC)
    await church.store(HeldBulk, bulk | shown | {"state": "done", "done": 3, "skipped": 3, "created_at": now})
    async with church.app.state.runtime.sessions.begin() as session:
        for place in range(3):
            session.add(HeldSkipped(bulk_id=bulk["id"], position=place, sentence="It moved."))
    left = await lines(f"held-matches/bulk/{bulk['id']}/skipped.csv")
    assert [(one["Person in Planning Center"], one["Why"]) for one in left] == [(name, "It moved.") for name in names]
    for empty in ("held-matches", "merged", "runs", "statements"):
        assert await lines(f"{empty}.csv") == []
    for missing in (f"members/{uuid4()}/history.csv", f"families/{uuid4()}/history.csv", f"runs/{uuid4()}/items.csv"):
        assert (await church.http.get(f"{PEOPLE}/{missing}")).status_code == 404
    for path in (
        "members.csv?limit=1",
        "members.csv?after=x",
        f"members/{ann}/history.csv?limit=1",
        "runs.csv?limit=50",
    ):
        answer = await church.http.get(f"{PEOPLE}/{path}")
        assert (answer.status_code, len(answer.json()["errors"])) == (422, 1), "a file has all of its list"
    church.http.headers.update(keys.user_headers("people-sync", organization_id="another"))
    assert await lines("members.csv") == []


async def test_members_are_filtered_by_child_and_state(church: Any) -> None:
    await church.connect()
    linked, gone, held, inactive = [
        await church.add(first_name=name, child=name == "Held") for name in ("Linked", "Gone", "Held", "Inactive")
    ]
    await church.link(linked["id"], "1")
    await church.link(gone["id"], "2", state="gone")
    await church.link(held["id"], "3", pco_organization_id="other")
    await church.store(
        HeldMatch,
        {"pco_organization_id": "77", "pco_id": "9", "theirs": {}, "candidates": [], "reasons": [], "state": "open"}
        | {"candidate_ids": [held["id"]], "different_from": [], "version": 1},
    )
    async with church.app.state.runtime.sessions.begin() as session:
        await session.execute(update(Member).where(Member.id == UUID(inactive["id"])).values(active=False))
    assert await church.names("state=linked") == ["Linked"]
    assert await church.names("state=gone") == ["Gone"]
    assert await church.names("state=local") == ["Held", "Inactive"]
    assert await church.names("state=held") == ["Held"]
    assert await church.names("state=inactive") == ["Inactive"]
    assert await church.names("child=true") == ["Held"]
    assert (await church.call("GET", f"/members/{gone['id']}"))["link"]["state"] == "gone"
    again = await church.call("POST", f"/members/{gone['id']}/create-again")
    assert (again["id"], again["link"]["create_again"], again["version"]) == (gone["id"], True, gone["version"] + 1)
    assert await church.call("POST", f"/members/{gone['id']}/create-again") == again
    assert [link.create_again for link in await church.rows(Link) if link.pco_id == "2"] == [True]
    assert (await church.call("POST", f"/members/{linked['id']}/create-again", status=409))[
        "type"
    ] == "/problems/not-gone"


async def test_a_family_of_more_than_a_hundred_gains_and_loses_members(church: Any) -> None:
    """Only joins and leaves are sent; the whole list works too."""
    names = [
        {"external_id": f"m-{number}", "first_name": f"M{number:03}", "last_name": "Large"} for number in range(151)
    ]
    everybody = [one["external_id"] for one in names]
    family = {"external_id": "f-1", "name": "Large", "member_external_ids": everybody[:150]}
    result = await church.call("PUT", "/bulk", {"members": names, "families": [family]})
    assert (result["created"], result["rejected"]) == (152, [])
    (large,) = (await church.call("GET", "/families"))["items"]
    path = f"/families/{large['id']}"
    page = await church.call("GET", f"/members?family_id={large['id']}&limit=200")
    assert (page["total"], page["items"][0]["first_name"]) == (150, "M000")
    ids = [one["id"] for one in page["items"]]
    (newcomer,) = (await church.call("GET", "/members?q=M150"))["items"]
    await church.events()
    changed = await church.call(
        "PATCH", path, {"add_member_ids": [newcomer["id"], ids[5]], "remove_member_ids": ids[:2], "version": 1}
    )
    assert set(changed["member_ids"]) == {*ids[2:], newcomer["id"]}
    told = {key for kind, key, _ in await church.events() if kind == "MemberChanged"}
    assert told == {*ids[:2], newcomer["id"]}
    # Idempotent.
    again = await church.call("PATCH", path, {"add_member_ids": [newcomer["id"]], "remove_member_ids": ids[:2]})
    assert again == changed
    assert await church.events() == []
    whole = await church.call("PATCH", path, {"member_ids": ids[1:]})
    assert set(whole["member_ids"]) == {*ids[1:]}
    for body, field in (
        ({"member_ids": ids, "add_member_ids": [newcomer["id"]]}, "member_ids"),
        ({"add_member_ids": [ids[3]], "remove_member_ids": [ids[4], ids[3]]}, "remove_member_ids.1"),
        ({"add_member_ids": ["x"]}, "add_member_ids.0"),
    ):
        problem = await church.call("PATCH", path, body, status=422)
        assert [error["field"] for error in problem["errors"]] == [field], problem
    assert len((await church.call("GET", path))["member_ids"]) == 149


async def test_families_are_added_changed_and_deleted(church: Any) -> None:
    await church.connect()
    ann, bob, eve = [await church.add(first_name=name) for name in ("Ann", "Bob", "Eve")]
    await church.link(ann["id"], "1")
    await church.events()
    smith = await church.call(
        "POST", "/families", {"name": "Smith", "member_ids": [ann["id"], bob["id"], ann["id"]]}, status=201
    )
    other = await church.call("POST", "/families", {"name": "Jones", "member_ids": [ann["id"]]}, status=201)
    assert sorted(smith["member_ids"]) == sorted([ann["id"], bob["id"]])
    assert sorted((await church.call("GET", f"/members/{ann['id']}"))["family_ids"]) == sorted(
        [smith["id"], other["id"]]
    )
    # Planning Center's person has no value for the membership, so the link stays up to date.
    (link,) = await church.rows(Link)
    assert link.compared_version == (await church.call("GET", f"/members/{ann['id']}"))["version"] == 3
    await church.events()
    changed = await church.call(
        "PATCH",
        f"/families/{smith['id']}",
        {"name": "Smith-Lee", "member_ids": [bob["id"], eve["id"]], "primary_contact_id": eve["id"], "version": 1},
    )
    assert changed["version"] == 2
    assert changed["primary_contact_id"] == eve["id"]
    events = await church.events()
    assert sorted((kind, key) for kind, key, _ in events) == sorted(
        [("FamilyChanged", smith["id"]), ("MemberChanged", ann["id"]), ("MemberChanged", eve["id"])]
    )
    notes = {(row.field, row.before, row.after) for row in await church.rows(Effect) if row.kind == "family"}
    assert notes == {
        ("name", "Smith", "Smith-Lee"),
        ("members", ann["id"], None),
        ("members", None, eve["id"]),
        ("primary_contact", None, eve["id"]),
    }
    await church.call("PATCH", f"/families/{smith['id']}", {"name": "X", "version": 1}, status=409)
    left = await church.call("PATCH", f"/families/{smith['id']}", {"member_ids": [bob["id"]]})
    assert left["primary_contact_id"] is None
    for body in ({"member_ids": ["x"]}, {"primary_contact_id": ann["id"]}, {"primary_contact_id": "x"}, {"name": None}):
        await church.call("PATCH", f"/families/{smith['id']}", body, status=422)
    assert [one["name"] for one in (await church.call("GET", "/families?q=smith"))["items"]] == ["Smith-Lee"]
    await church.events()
    await church.call("DELETE", f"/families/{smith['id']}", status=204)
    assert [(kind, body is None) for kind, _, body in await church.events()] == [
        ("MemberChanged", False),
        ("FamilyRemoved", False),
        ("FamilyRemoved", True),
    ]
    await church.call("GET", f"/families/{smith['id']}", status=404)
    assert (await church.call("GET", f"/members/{bob['id']}"))["family_ids"] == []


async def test_settings_have_defaults_and_change_field_by_field(church: Any) -> None:
    before = await church.call("GET", "/settings")
    assert before["first_match"] is None
    assert before["threshold_percent"] == 25
    assert await church.call("PATCH", "/settings", {"first_match": "ask"}) == before | {"first_match": "ask"}
    changed = await church.call("PATCH", "/settings", {"schedule_hours": 8})
    assert changed == before | {"first_match": "ask", "schedule_hours": 8}
    assert (await church.call("PATCH", "/settings", {"first_match": None}))["first_match"] is None
    for value in (True, False, True):
        changed = await church.call("PATCH", "/settings", {"inactivate_deleted": value, "schedule_hours": 8})
        assert changed == await church.call("GET", "/settings")
        assert changed["inactivate_deleted"] is value
    for bad in ({"threshold_percent": 0}, {"schedule_hours": None}, {"first_match": "mine"}, {"colour": 1}):
        await church.call("PATCH", "/settings", bad, status=422)
    assert (await church.call("GET", "/settings"))["schedule_hours"] == 8


async def test_nothing_is_held_without_a_connection(church: Any) -> None:
    for answer in ("same", "different", "later"):
        shown = await church.call("POST", "/held-matches/bulk", {"answer": answer}, status=201)
        assert (shown["count"], shown["left_out"], shown["samples"]) == (0, 0, [])


async def test_everything_is_republished_unchanged(church: Any, another: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servicekit.kafka.republish.BATCH", 2)
    ann, bob, cleo = [await church.add(first_name=name) for name in ("Ann", "Bob", "Cleo")]
    await church.call("POST", "/families", {"name": "Smith", "member_ids": [ann["id"], bob["id"]]}, status=201)
    gone = await church.call("POST", "/families", {"name": "Gone", "member_ids": [ann["id"]]}, status=201)
    await church.connect()
    await church.link(bob["id"], "5")
    other = await (await another("org-2")).add(first_name="Dora")
    await church.call("DELETE", f"/families/{gone['id']}", status=204)
    await church.call("DELETE", f"/members/{cleo['id']}", status=204)
    told = {key: (kind, body) for kind, key, body in await church.events() if body is not None}
    assert told[cleo["id"]][0] == "MemberRemoved"

    await republish(church.app.state.runtime.settings)
    again = await church.events()
    assert {key: body is None for _, key, body in again} == {key: key in {cleo["id"], gone["id"]} for key in told}
    assert len(again) == len(told) + 2
    for kind, key, body in again:
        if body is None:
            continue
        assert kind == told[key][0]
        assert (body["organization_id"], body["version"]) == (told[key][1]["organization_id"], told[key][1]["version"])
        if key != bob["id"]:  # whose link came without a fact
            assert {name: body.get(name) for name in ("member", "family", "removed_at", "joined_into")} == {
                name: told[key][1].get(name) for name in ("member", "family", "removed_at", "joined_into")
            }
    assert {body["member"]["link"]["pco_id"] for _, key, body in again if key == bob["id"]} == {"5"}
    assert other["id"] in told


async def test_conflicts_answers_and_erasures_are_republished(church: Any) -> None:
    ann, bob = await church.add(first_name="Ann"), await church.add(first_name="Bob")
    field = {"field": "phone", "base": None, "base_known": True, "ours": "4", "theirs": "5"}
    answered = {
        "d-1": {"version": 2, "sentence": "A value changed."},
        "d-2": {"version": 4, "refused": []},
    }
    await church.store(
        Conflict,
        {"pco_organization_id": "77", "kind": "member", "record_id": UUID(ann["id"]), "pco_id": "1", "name": "Ann"}
        | {"fields": [field], "state": "resolved", "version": 4, "values_version": 2, "answered": answered},
    )
    await church.call("POST", f"/members/{bob['id']}/erasure", {"on_request_of": "person"}, status=201)
    erased = [body for kind, _, body in await church.events() if kind == "RecordErased"]

    await republish(church.app.state.runtime.settings)
    again = await church.events()
    of_ann = [(kind, body) for kind, key, body in again if key == ann["id"] and "conflict_id" in body]
    assert [(kind, body["version"], body["decision_id"]) for kind, body in of_ann] == [
        ("ResolutionApplied", 4, "d-2"),
        ("ResolutionOvertaken", 2, "d-1"),
    ]
    assert {(body["values_version"], body["fields"][0]["theirs"]) for _, body in of_ann} == {(2, "5")}
    assert [body for kind, _, body in again if kind == "RecordErased"] == erased
    (record,) = await church.rows(ErasedRecord)
    async with church.app.state.runtime.sessions.begin() as session:
        (await session.merge(record)).told = {"conflicts": 0, "decisions": 0, "names": 0}
    await republish(church.app.state.runtime.settings)
    assert not [kind for kind, _, _ in await church.events() if kind == "RecordErased"]
