"""Bulk upsert by the platform's own ids, over HTTP on a real PostgreSQL."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, update

from contracts.events.auth_connection_v1 import ConnectionAuthorized
from contracts.people import PlanningCenterLink
from people_sync.storage.sync_tables import Alias, Refresh, Stray
from people_sync.storage.tables import Effect, FamilyMember, Link, Member
from people_sync.usecases.connections import connection_changed
from servicekit.testing import statements

FAMILY = {"external_id": "f1", "name": "Smith", "member_external_ids": ["a", "b"], "primary_contact_external_id": "a"}

AUTHORIZED = ConnectionAuthorized(
    organization_id="org-1",
    version=1,
    product="people",
    generation=1,
    state="connected",
    pco_organization_id="77",
    pco_organization_name="Test Church",
    pco_person_id="1",
    occurred_at=datetime(2026, 1, 5, tzinfo=UTC),
)


def person(external_id: str, **values: Any) -> dict[str, Any]:
    return {"external_id": external_id, "first_name": external_id.upper(), "last_name": "Smith"} | values


async def put(church: Any, members: Any = (), families: Any = ()) -> dict[str, Any]:
    result: dict[str, Any] = await church.call("PUT", "/bulk", {"members": list(members), "families": list(families)})
    return result


def counts(result: dict[str, Any]) -> tuple[int, int, int, int]:
    return result["created"], result["updated"], result["unchanged"], len(result["rejected"])


async def test_a_repeated_call_changes_nothing(church: Any) -> None:
    members = [person("a", email="a@example.org"), person("b", child=True, address={"city": "Ulm"})]
    assert counts(await put(church, members, [FAMILY])) == (3, 0, 0, 0)
    events = await church.events()
    assert sorted(kind for kind, _, _ in events) == ["FamilyChanged", "MemberChanged", "MemberChanged"]
    family = next(body["family"] for kind, _, body in events if kind == "FamilyChanged")
    assert len(family["member_ids"]) == 2
    assert family["primary_contact_id"] in family["member_ids"]
    assert all(body["member"]["family_ids"] == [family["id"]] for kind, _, body in events if kind == "MemberChanged")
    assert counts(await put(church, members, [FAMILY])) == (0, 0, 3, 0)
    assert await church.events() == []
    assert await church.rows(Effect) == []


async def test_a_record_with_lone_surrogates_is_refused_alone(church: Any) -> None:
    half = "\\ud800"
    good = '{"external_id": "good", "first_name": "Ann", "last_name": "Good"}'
    bad = [
        f'{{"external_id": "{half}", "first_name": "A", "last_name": "B"}}',
        f'{{"external_id": "b1", "first_name": "{half}", "last_name": "B"}}',
        f'{{"external_id": "b2", "first_name": "A", "last_name": "B", "{half}": 1}}',
        f'{{"external_id": "b3", "first_name": "A", "last_name": "B", "address": {{"city": "{half}", "{half}": 1}}}}',
        f'{{"{half}": "{half}"}}',
        f'{{"external_id": "b5", "first_name": "A", "last_name": "B", "birthdate": "{half}", "email": "{half}@a"}}',
    ]
    family = f'{{"external_id": "f", "name": "{half}", "member_external_ids": ["{half}"], "{half}": []}}'
    body = f'{{"members": [{", ".join([*bad, good])}], "families": [{family}]}}'
    headers = {"Content-Type": "application/json"}
    answer = await church.http.put("/api/v1/people/bulk", content=body.encode(), headers=headers)
    assert answer.status_code == 200, answer.text
    result = answer.json()
    assert counts(result) == (1, 0, 0, len(bad) + 1)
    assert [one["position"] for one in result["rejected"]] == [*range(len(bad)), 0]
    assert all(one["errors"] for one in result["rejected"])
    for encoding in ("utf-16", "utf-16-le", "utf-32"):
        answer = await church.http.put("/api/v1/people/bulk", content=body.encode(encoding), headers=headers)
        assert (answer.status_code, answer.json()["detail"]) == (
            400,
            "The body is not valid UTF-8: send JSON in UTF-8.",
        )


async def test_changes_are_stored_with_history_by_the_platform(church: Any) -> None:
    await put(church, [person("a"), person("b"), person("c")], [FAMILY])
    await church.events()
    result = await put(
        church, [person("a", last_name="Jones"), person("b")], [FAMILY | {"member_external_ids": ["a", "c"]}]
    )
    assert counts(result) == (0, 2, 1, 0)
    changed = {body["member"]["external_id"]: body for kind, _, body in await church.events() if kind[0] == "M"}
    # a has new values, b left the family, c came into it.
    assert {name: body["version"] for name, body in changed.items()} == {"a": 2, "b": 2, "c": 2}
    rows = await church.rows(Effect)
    assert {(row.kind, row.field, row.by) for row in rows} == {
        ("member", "last_name", "platform"),
        ("family", "members", "platform"),
    }


async def test_a_bad_record_is_refused_alone_with_its_position(church: Any) -> None:
    members = [
        person("a"),
        person("b", email="nonsense"),
        {"first_name": "Nobody"},
        person("a", first_name="Again"),
        person("d", phone="12", birthdate="2990-01-01"),
        person("e", colour="red"),
        person("f", pco_id="12x"),
        person("g", pco_id="5"),
        person("h", pco_id="5"),
        person("i", first_name="I\0"),
    ]
    families = [
        {"external_id": "f1", "name": "Fine", "member_external_ids": ["a"]},
        {"external_id": "f2", "name": "Missing", "member_external_ids": ["a", "b", "zzz"]},
        {"external_id": "f3", "name": "Contact", "member_external_ids": ["a"], "primary_contact_external_id": "g"},
        {"external_id": "f4", "name": ""},
    ]
    result = await put(church, members, families)
    assert counts(result)[:3] == (3, 0, 0)
    wrong = {(one["kind"], one["position"]): [error["field"] for error in one["errors"]] for one in result["rejected"]}
    assert wrong == {
        ("member", 1): ["email"],
        ("member", 2): ["last_name", "external_id"],
        ("member", 3): ["external_id"],
        ("member", 4): ["phone", "birthdate"],
        ("member", 5): ["colour"],
        ("member", 6): ["pco_id"],
        ("member", 8): ["pco_id"],
        ("member", 9): ["first_name"],
        ("family", 1): ["member_external_ids.1", "member_external_ids.2"],
        ("family", 2): ["primary_contact_external_id"],
        ("family", 3): ["name"],
    }
    assert result["rejected"][0]["external_id"] == "b"
    assert [member.first_name for member in await church.rows(Member)] == ["A", "G"]


@pytest.mark.parametrize("body", [{"members": ["x"]}, {"members": [person("a")] * 1001}, {"people": []}, []])
async def test_a_malformed_call_is_refused_as_a_whole(church: Any, body: Any) -> None:
    await church.call("PUT", "/bulk", body, status=422)
    assert await church.rows(Member) == []


async def test_half_a_character_refuses_only_its_own_record(church: Any) -> None:
    broken = rb'{"members": [{"external_id": "\ud800"}, {"external_id": "a", "first_name": "A", "last_name": "B"}]}'
    answer = await church.http.put("/api/v1/people/bulk", content=broken, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text
    assert ([one["position"] for one in answer.json()["rejected"]], answer.json()["created"]) == ([0], 1)
    unknown = await church.http.put(
        "/api/v1/people/bulk", content=rb'{"\udfff": 1}', headers={"Content-Type": "application/json"}
    )
    assert unknown.status_code == 422, unknown.text


async def test_a_known_pco_id_becomes_a_supplied_link(church: Any) -> None:
    await church.connect()
    assert counts(
        await put(church, [person("a", pco_id="11")], [FAMILY | {"member_external_ids": ["a"]} | {"pco_id": "21"}])
    ) == (2, 0, 0, 0)
    links = {(link.kind, link.pco_id, link.state, link.pco_organization_id) for link in await church.rows(Link)}
    assert links == {("member", "11", "supplied", "77"), ("family", "21", "supplied", "77")}
    (member,) = (await church.call("GET", "/members"))["items"]
    assert member["link"] == PlanningCenterLink(pco_id="11", state="linked").model_dump()
    assert counts(await put(church, [person("a", pco_id="11")])) == (0, 0, 1, 0)
    other = await put(church, [person("b", pco_id="11"), person("a", pco_id="12"), person("c")])
    assert counts(other) == (1, 0, 0, 2)
    assert ["belongs to another" in one["errors"][0]["message"] for one in other["rejected"]] == [True, False]
    assert len(await church.rows(Link)) == 2


async def test_pco_ids_sent_before_connecting_belong_to_the_organization_connected_next(church: Any) -> None:
    await put(church, [person("a", pco_id="11"), person("b", pco_id="12"), person("c", pco_id="13")])
    assert counts(await put(church, [person("a", pco_id="11")])) == (0, 0, 1, 0)
    members = {one["external_id"]: one["id"] for one in (await church.call("GET", "/members"))["items"]}
    # Links from an earlier connection: b's own, and one of somebody else for c's id.
    await church.link(members["b"], "99")
    older = await church.add()
    await church.link(older["id"], "13")
    async with church.app.state.runtime.sessions.begin() as session:
        await connection_changed(session, AUTHORIZED)
    assert {(link.pco_id, str(link.record_id), link.pco_organization_id) for link in await church.rows(Link)} == {
        ("11", members["a"], "77"),
        ("99", members["b"], "77"),
        ("13", older["id"], "77"),
    }


async def test_pco_ids_sent_between_two_organizations_belong_to_the_next_one(church: Any) -> None:
    await church.connect()
    async with church.app.state.runtime.sessions.begin() as session:
        await connection_changed(session, AUTHORIZED.model_copy(update={"version": 2, "state": "disconnected"}))
    assert counts(await put(church, [person("a", pco_id="11")])) == (1, 0, 0, 0)
    assert counts(await put(church, [person("a", pco_id="11")])) == (0, 0, 1, 0)
    async with church.app.state.runtime.sessions.begin() as session:
        await connection_changed(session, AUTHORIZED.model_copy(update={"version": 3, "pco_organization_id": "88"}))
    assert [(link.pco_id, link.pco_organization_id) for link in await church.rows(Link)] == [("11", "88")]


async def test_pco_ids_of_the_former_organization_change_nothing_while_disconnected(church: Any) -> None:
    """A reconnect finds every link again: no duplicates, nothing to write."""
    await church.connect()
    pulled = await church.add()
    await church.link(pulled["id"], "11")
    await put(church, [person("b", pco_id="12")])
    disconnected = AUTHORIZED.model_copy(update={"version": 2, "state": "disconnected"})
    async with church.app.state.runtime.sessions.begin() as session:
        await connection_changed(session, disconnected)
    assert counts(await put(church, [person("a", pco_id="11"), person("b", pco_id="12")])) == (0, 1, 1, 0)
    assert counts(await put(church, [person("b", pco_id="11")])) == (0, 0, 0, 1)
    assert counts(await put(church, [person("b", pco_id="88")])) == (0, 1, 0, 0)
    assert counts(await put(church, [person("b", pco_id="12")])) == (0, 0, 1, 0)
    async with church.app.state.runtime.sessions.begin() as session:
        await connection_changed(session, AUTHORIZED.model_copy(update={"version": 3}))
    assert len(await church.rows(Member)) == 2
    links = {(link.pco_id, link.pco_organization_id) for link in await church.rows(Link)}
    assert links == {("11", "77"), ("12", "77")}


async def test_a_pco_id_sent_later_changes_the_member_once(church: Any) -> None:
    await church.connect()
    await put(church, [person("a")])
    await church.events()
    assert counts(await put(church, [person("a", pco_id="11")])) == (0, 1, 0, 0)
    ((_, _, body),) = await church.events()
    assert body["member"]["link"]["pco_id"] == "11"
    assert counts(await put(church, [person("a", pco_id="11")])) == (0, 0, 1, 0)


async def test_a_member_added_by_a_pull_is_found_by_its_pco_id(church: Any) -> None:
    await church.connect()
    pulled = await church.add(first_name="Ann")
    await church.link(pulled["id"], "11")
    assert counts(await put(church, [person("a", first_name="Ann", last_name="Lee", pco_id="11")])) == (0, 1, 0, 0)
    member = await church.call("GET", f"/members/{pulled['id']}")
    assert (member["external_id"], member["last_name"], member["link"]["pco_id"]) == ("a", "Lee", "11")
    assert len(await church.rows(Member)) == 1


async def test_members_unknown_to_the_platform_stay_in_their_family(church: Any) -> None:
    await put(church, [person("a"), person("b")], [FAMILY])
    (family,) = (await church.call("GET", "/families"))["items"]
    pulled = await church.add(first_name="Pulled")
    await church.call("PATCH", f"/families/{family['id']}", {"member_ids": [*family["member_ids"], pulled["id"]]})
    assert counts(await put(church, families=[FAMILY])) == (0, 0, 1, 0)
    assert counts(await put(church, families=[FAMILY | {"member_external_ids": ["a"]}])) == (0, 1, 0, 0)
    family = await church.call("GET", f"/families/{family['id']}")
    assert len(family["member_ids"]) == 2
    assert pulled["id"] in family["member_ids"]


async def test_a_member_deleted_here_comes_back_with_the_link_and_the_family(church: Any) -> None:
    await church.connect()
    await put(church, [person("a", pco_id="11"), person("b")], [FAMILY])
    a = next(one for one in (await church.call("GET", "/members"))["items"] if one["external_id"] == "a")
    await church.call("DELETE", f"/members/{a['id']}", status=204)
    await church.events()
    assert counts(await put(church, [person("a", pco_id="11"), person("b")])) == (0, 1, 1, 0)
    again = await church.call("GET", f"/members/{a['id']}")
    assert again["link"]["pco_id"] == "11"
    assert again["family_ids"] == a["family_ids"]
    assert sorted(kind for kind, _, _ in await church.events()) == ["FamilyChanged", "MemberChanged"]
    assert len(await church.rows(FamilyMember)) == 2


async def test_a_family_deleted_here_comes_back(church: Any) -> None:
    await put(church, [person("a"), person("b")], [FAMILY])
    (family,) = (await church.call("GET", "/families"))["items"]
    await church.call("DELETE", f"/families/{family['id']}", status=204)
    assert counts(await put(church, families=[FAMILY])) == (0, 1, 0, 0)
    again = await church.call("GET", f"/families/{family['id']}")
    assert sorted(again["member_ids"]) == sorted(family["member_ids"])


async def test_two_churches_use_the_same_ids(church: Any, another: Any) -> None:
    other = await another("org-2")
    for one in (church, other):
        assert counts(await put(one, [person("a"), person("b")], [FAMILY])) == (3, 0, 0, 0)
    assert counts(await put(other, [person("a", last_name="Jones")])) == (0, 1, 0, 0)
    assert {member.last_name for member in await church.rows(Member)} == {"Smith"}


async def test_a_thousand_members_with_their_families_take_few_statements(another: Any) -> None:
    small = await statements_of(await another("org-small"), members=40)
    large = await statements_of(await another("org-large"), members=1000)
    assert min(small) > 0
    assert large == small, "their number does not grow with that of the records"


async def statements_of(church: Any, *, members: int) -> list[int]:
    """Number of statements of three calls: all records are new, as they were, renamed."""
    people = [
        person(f"m{n}", email=f"m{n}@example.org", phone=f"+1 212 555 {n:04}", address={"city": "Ulm"})
        for n in range(members)
    ]
    families = [
        {"external_id": f"f{n}", "name": f"F{n}", "member_external_ids": [f"m{4 * n + k}" for k in range(4)]}
        for n in range(members // 4)
    ]
    all_of_them = members + len(families)
    found = []
    with statements(church.app.state.runtime.engine) as sent:
        for expected, last_name in (
            ((all_of_them, 0, 0, 0), "Smith"),
            ((0, 0, all_of_them, 0), "Smith"),
            ((0, members, len(families), 0), "Jones"),
        ):
            sent.clear()
            assert counts(await put(church, [one | {"last_name": last_name} for one in people], families)) == expected
            found.append(len(sent))
    return found


async def test_links_of_another_organization_and_ended_links_stay_unchanged(church: Any) -> None:
    """The platform names a member added by a pull: this changes only the link in use."""
    await church.connect()
    pulled = await church.add()
    former = {"pco_organization_id": "66", "state": "gone", "agreed": {"first_name": "Ann"}}
    await church.link(pulled["id"], "11", **former)
    await church.link(pulled["id"], "21", agreed={"first_name": "Ann"})
    assert counts(await put(church, [person("a", pco_id="21")])) == (0, 1, 0, 0)
    assert {(link.pco_id, link.state, bool(link.agreed)) for link in await church.rows(Link)} == {
        ("11", "gone", True),
        ("21", "supplied", False),
    }


async def test_a_supplied_id_does_not_restore_a_gone_person(church: Any) -> None:
    await church.connect()
    pulled = await church.add()
    await church.link(pulled["id"], "21", state="gone", agreed={"first_name": "Ann"})
    await put(church, [person("a", pco_id="21")])
    assert [link.state for link in await church.rows(Link)] == ["gone"]


# Kind: outdated data loses an identity.
async def test_an_old_id_leads_to_the_finally_kept_person(church: Any) -> None:
    await church.connect()
    kept, merged = await church.add(first_name="Kept"), await church.add(first_name="Merged")
    await put(church, [person("a", pco_id="12"), person("b")])
    ids = {one.external_id: one.id for one in await church.rows(Member)}
    await church.link(str(ids["b"]), "11", state="gone", merged_into="12")
    await church.link(kept["id"], "33", agreed={"first_name": "Kept"})
    of_church = {"pco_organization_id": "77", "merged_at": AUTHORIZED.occurred_at, "seen_at": AUTHORIZED.occurred_at}
    chains = {"11": "12", "31": "32", "32": "33", "41": "42", "42": "41"}
    for removed, follows in chains.items():
        await church.store(Alias, of_church | {"removed_id": removed, "kept_id": follows})
    await church.store(Alias, of_church | {"pco_organization_id": "88", "removed_id": "51", "kept_id": "52"})
    numbers = {"a": "12", "b": "11", "c": "31", "d": "41", "e": "51"}
    assert counts(await put(church, [person(one, pco_id=number) for one, number in numbers.items()])) == (2, 1, 2, 0)
    members = {one.id: one.external_id or one.first_name for one in await church.rows(Member)}
    links = {members[link.record_id]: (link.pco_id, link.state) for link in await church.rows(Link)}
    assert links == {
        "a": ("12", "supplied"),
        "b": ("11", "gone"),
        "c": ("33", "supplied"),
        "d": ("41", "supplied"),
        "e": ("51", "supplied"),
    }
    assert members[UUID(kept["id"])] == "c"
    assert members[UUID(merged["id"])] == "Merged"


# Kind: impossible advice.
async def test_another_id_replaces_one_that_does_not_exist(church: Any) -> None:
    await church.connect()
    await put(church, [person("a", pco_id="21"), person("b", pco_id="22"), person("c", pco_id="23")])
    for external_id, state in (("a", "gone"), ("b", "missing")):
        async with church.app.state.runtime.sessions.begin() as session:
            of_member = select(Member.id).where(Member.external_id == external_id)
            await session.execute(update(Link).where(Link.record_id.in_(of_member)).values(state=state))
    result = await put(church, [person(one, pco_id=f"3{index}") for index, one in enumerate("abc")])
    assert counts(result) == (0, 2, 0, 1)
    assert "is another than the one" in result["rejected"][0]["errors"][0]["message"]
    assert {(link.pco_id, link.state) for link in await church.rows(Link)} == {
        ("30", "supplied"),
        ("31", "supplied"),
        ("23", "supplied"),
    }


@pytest.mark.parametrize(
    ("moved", "state", "ended"),
    [("88", "connected", "another"), ("77", "disconnected", "disconnected"), ("77", "reconnect_required", None)],
)
async def test_queued_refreshes_end_with_their_organization(
    church: Any, moved: str, state: str, ended: str | None
) -> None:
    async with church.app.state.runtime.sessions.begin() as session:
        await connection_changed(session, AUTHORIZED)
    ann = await church.add()
    await church.store(
        Refresh,
        {"id": uuid4(), "pco_organization_id": "77", "kind": "member", "record_id": UUID(ann["id"]), "state": "queued"}
        | {"reasons": ["asked"], "urgent": True, "not_before": AUTHORIZED.occurred_at}
        | {"requested_at": AUTHORIZED.occurred_at},
    )
    fact = AUTHORIZED.model_copy(update={"version": 2, "state": state, "pco_organization_id": moved})
    async with church.app.state.runtime.sessions.begin() as session:
        await connection_changed(session, fact)
    (row,) = await church.rows(Refresh)
    shown = await church.call("GET", f"/syncs/{row.id}")
    if ended is None:
        assert (shown["state"], row.finished_at) == ("queued", None)
    else:
        assert (shown["state"], shown["outcome"]) == ("done", "not_done")
        assert ended in shown["sentence"]
        assert row.finished_at is not None


async def test_strays_are_settled_when_their_organization_is_connected_again(church: Any) -> None:
    ann = await church.add()
    record = {"record_id": UUID(ann["id"]), "intent_id": UUID(ann["id"]), "made_at": AUTHORIZED.occurred_at}
    for pco_organization_id, settled_at in (("77", None), ("66", None)):
        await church.store(
            Stray,
            {"pco_organization_id": pco_organization_id, "kind": "email", "pco_id": "5", "content": {}}
            | record
            | {"settled_at": settled_at},
        )
    async with church.app.state.runtime.sessions.begin() as session:
        await connection_changed(session, AUTHORIZED)
    assert [(row.pco_organization_id, row.kind, row.reasons) for row in await church.rows(Refresh)] == [
        ("77", "member", ["stray"])
    ]
