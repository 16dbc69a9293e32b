"""Two members who are one person in Planning Center: the question, and the effect of each answer, at the API."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from contracts.values import FAMILY, MEMBER
from people_sync.storage.sync_tables import Alias, Claim, Creation, HeldMatch, Joined, KeptOut, Refresh, Stray
from people_sync.storage.tables import Connection, FamilyMember, Link
from servicekit.db.tables import JOB
from servicekit.http import paging

NOW = datetime(2026, 11, 28, tzinfo=UTC)
MARY = {"first_name": "Mary", "last_name": "Rivera", "phone": None, "address": None, "gender": None, "birthdate": None}
MARIA = {
    "first_name": "Maria",
    "last_name": "Rivera",
    "phone": "+1 212 555 0199",
    "address": None,
    "gender": "Female",
    "birthdate": "1980-01-02",
    "email": "maria@example.org",
}
Another = Callable[[str], Awaitable[Any]]


async def two(church: Any, stays: dict[str, Any] | None = None, joins: dict[str, Any] | None = None) -> tuple[str, str]:
    """Mary, linked to 101, and Maria, whose person 102 was merged into 101; gives their ids."""
    if not await church.rows(Connection):
        await church.connect()
    mary = (await church.add(**MARY | (stays or {})))["id"]
    maria = (await church.add(**MARIA | (joins or {})))["id"]
    await church.link(mary, "101")
    await church.link(maria, "102", state="gone", gone_at=NOW, merged_into="101")
    return mary, maria


async def body_of(church: Any, answer: str, maria: str, **more: Any) -> dict[str, Any]:
    """An answer to the presently shown pair."""
    (pair,) = (await church.call("GET", f"/merged?member_id={maria}"))["items"]
    stays, joins = pair["stays"]["member"], pair["joins"]["member"]
    versions = {"version": joins["version"], "with_version": stays["version"]}
    return {"answer": answer, "with_id": stays["id"], **versions, **more}


async def answer(church: Any, what: str, maria: str, *, status: int = 200, **more: Any) -> Any:
    return await church.call("POST", f"/merged/{maria}", await body_of(church, what, maria, **more), status=status)


async def family(church: Any, name: str, *members: str, primary: str | None = None) -> str:
    body = {"name": name, "member_ids": members, "primary_contact_id": primary}
    return str((await church.call("POST", "/families", body, status=201))["id"])


async def state_of(church: Any) -> Any:
    """Everything that an answer could change."""
    joined = await church.rows(Joined)
    links = sorted(await church.rows(Link), key=lambda link: link.id)
    return (
        [one["items"] for one in [await church.call("GET", "/members"), await church.call("GET", "/families")]],
        [(one.member_id, one.into_id) for one in joined],
        [(one.pco_id, one.state, one.merged_into, one.kept_two, one.create_again) for one in links],
    )


# --- the question -----------------------------------------------------------------------------------------------------


async def test_a_pair_is_shown_with_both_members_values(church: Any, another: Another) -> None:
    mary, maria = await two(church)
    await church.call("PATCH", f"/members/{maria}", {"gender": None})
    home = await family(church, "Rivera", maria, primary=maria)
    page = await church.call("GET", "/merged")
    assert (page["total"], page["next"]) == (1, None)
    (pair,) = page["items"]
    assert (pair["pco_id"], pair["state"]) == ("101", "open")
    assert (pair["stays"]["member"]["id"], pair["joins"]["member"]["id"]) == (mary, maria)
    assert pair["joins"]["families"] == [{"id": home, "name": "Rivera", "primary_contact": True}]
    assert (pair["stays"]["history"], pair["joins"]["history"]) == (0, 1)
    assert (pair["fills"], pair["differs"]) == (["birthdate", "email", "phone"], ["first_name"])
    assert (await church.call("GET", "/status"))["held"] == 1
    assert sorted(await church.names("state=held")) == ["Maria", "Mary"]
    other = await another("org-2")
    await other.connect()
    assert (await other.call("GET", "/merged"))["items"] == []
    assert (await other.call("GET", f"/merged?member_id={maria}"))["items"] == []
    assert (await other.call("GET", "/status"))["held"] == 0


@pytest.mark.parametrize(
    "over", ["stays is deleted", "joins is deleted", "the keeper is gone", "kept out", "another church"]
)
async def test_a_pair_is_over(church: Any, over: str) -> None:
    """However the pair ended, nothing is asked any more, and a late answer does nothing."""
    mary, maria = await two(church)
    late = await body_of(church, "join", maria)
    if over == "stays is deleted":
        await church.call("DELETE", f"/members/{mary}", status=204)
    elif over == "joins is deleted":
        await church.call("DELETE", f"/members/{maria}", status=204)
    elif over == "kept out":
        await church.store(KeptOut, {"kind": MEMBER, "record_id": UUID(mary), "by_user_id": "u", "at": NOW})
    else:
        async with church.app.state.runtime.sessions.begin() as session:
            for link in await church.rows(Link):
                row = await session.get_one(Link, link.id)
                if over == "another church":
                    row.pco_organization_id = "78"
                elif row.pco_id == "101":
                    row.state = "gone"
    before = await state_of(church)
    assert (await church.call("GET", "/merged"))["items"] == []
    assert (await church.call("GET", "/status"))["held"] == 0
    assert await church.names("state=held") == []
    status = 404 if over == "joins is deleted" else 409
    problem = await church.call("POST", f"/merged/{maria}", late, status=status)
    assert status == 404 or problem["type"].endswith("pair-over")
    assert await state_of(church) == before


async def test_pages_of_pairs(church: Any) -> None:
    await church.connect()
    stays = (await church.add())["id"]
    await church.link(stays, "1")
    several = [(await church.add(first_name=f"Ann {number}"))["id"] for number in range(5)]
    for number, member_id in reversed(list(enumerate(several))):
        await church.link(member_id, str(100 + number), state="gone", merged_into="1")
    assert (await church.call("GET", "/status"))["held"] == 5
    assert len(await church.names("state=held")) == 6
    seen, after = [], ""
    while True:
        page = await church.call("GET", f"/merged?limit=2{after}")
        seen += [pair["joins"]["member"]["id"] for pair in page["items"]]
        if page["next"] is None:
            break
        at, last = paging.decode(page["next"], paging.instant, UUID)
        assert (str(last), at) == (seen[-1], datetime.fromisoformat(page["items"][-1]["joins"]["member"]["created_at"]))
        await answer(church, "join", seen[-1])  # the page ended with a pair that is over
        after = f"&after={page['next']}"
    assert seen == several


# --- join -------------------------------------------------------------------------------------------------------------


async def test_joining_moves_everything(church: Any) -> None:
    mary, maria = await two(church, {"last_name": "Rivers"}, {"external_id": "m-2"})
    both = await family(church, "Both", mary, maria, primary=maria)
    hers = await family(church, "Hers", maria)
    await church.call("PATCH", f"/members/{maria}", {"phone": "+1 212 555 0177"})
    await church.events()
    joined = await answer(church, "join", maria, take=["last_name"])
    member = joined["member"]
    assert joined["pair"] is None
    assert (member["first_name"], member["last_name"]) == ("Mary", "Rivera")
    assert (member["phone"], member["gender"], member["birthdate"]) == ("+1 212 555 0177", "Female", "1980-01-02")
    # She had no id of the platform, so she gets the other's.
    assert member["external_id"] == "m-2"
    assert sorted(member["family_ids"]) == sorted([both, hers])
    for home, primary in ((both, mary), (hers, None)):
        shown = await church.call("GET", f"/families/{home}")
        assert (shown["member_ids"], shown["primary_contact_id"]) == ([mary], primary)
    assert len(await church.rows(FamilyMember)) == 2
    problem = await church.call("GET", f"/members/{maria}", status=404)
    assert problem["joined_into"] == mary
    for method, path in (("PATCH", ""), ("DELETE", ""), ("POST", "/create-again"), ("POST", "/sync")):
        await church.call(method, f"/members/{maria}{path}", {}, status=404)
    assert [one.pco_id for one in await church.rows(Link)] == ["101"]
    assert (await church.call("GET", "/merged"))["items"] == []
    facts = [one for one in await church.events() if one[2] is not None]
    assert {body["joined_into"] for type_, _, body in facts if type_ == "MemberRemoved"} == {mary}
    told = [(type_, key) for type_, key, _ in facts]
    assert sorted(told) == sorted(
        [("MemberChanged", mary), ("FamilyChanged", both), ("FamilyChanged", hers), ("MemberRemoved", maria)]
    )
    assert await church.call("GET", f"/members/{mary}") == member


async def test_the_history_has_both_and_one_entry_for_the_join(church: Any) -> None:
    mary, maria = await two(church)
    for value in ("Female", None, "Female"):
        await church.call("PATCH", f"/members/{maria}", {"gender": value})
        await church.call("PATCH", f"/members/{mary}", {"last_name": f"Rivera {value}"})
    await church.call("PATCH", f"/members/{mary}", {"last_name": "Rivera"})
    await answer(church, "join", maria)
    found, after = [], ""
    while True:
        page = await church.call("GET", f"/members/{mary}/history?limit=2{after}")
        found += page["items"]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert len({one["id"] for one in found}) == len(found)
    times = [one["changed_at"] for one in found]
    assert times == sorted(times, reverse=True)
    assert found == (await church.call("GET", f"/members/{mary}/history"))["items"]
    join = [one for one in found if one["field"] == "joined"]
    assert [(one["new"], one["by"], one["by_name"], one["can_undo"]) for one in join] == [
        ("Maria Rivera", "person", "Test User", False)
    ]
    hers = [one for one in found if one["joined_name"]]
    assert {one["joined_name"] for one in hers} == {"Maria Rivera"}
    assert [(one["field"], one["can_undo"]) for one in hers] == [("gender", False)] * 2
    # Values that she got can be undone like any edit; Maria's former values cannot be put back on her.
    await church.call("POST", f"/members/{mary}/history/{hers[0]['id']}/undo", status=404)
    (filled,) = [one for one in found if (one["field"], one["rule"]) == ("phone", "joined")]
    assert (await church.call("POST", f"/members/{mary}/history/{filled['id']}/undo"))["phone"] is None


async def test_an_answer_is_bound_to_the_shown_values(church: Any, another: Another) -> None:
    mary, maria = await two(church)
    shown = await body_of(church, "join", maria)
    for whose in (mary, maria):
        await church.call("PATCH", f"/members/{whose}", {"last_name": f"R{whose[:4]}"})
        before = await state_of(church)
        for what in ("join", "keep_two"):
            problem = await church.call("POST", f"/merged/{maria}", shown | {"answer": what}, status=409)
            assert problem["type"].endswith("version-conflict")
            assert problem["pair"]["joins"]["member"] == await church.call("GET", f"/members/{maria}")
        assert await state_of(church) == before
        shown = await body_of(church, "join", maria)
    for wrong in (maria, str(uuid4()), "nonsense"):
        await church.call("POST", f"/merged/{maria}", shown | {"with_id": wrong}, status=409)
    await church.call("POST", f"/merged/{mary}", shown | {"with_id": maria}, status=409)
    for take in (["phone"], ["child"], ["id"], ["first_name", "email"]):
        problem = await church.call("POST", f"/merged/{maria}", shown | {"take": take}, status=422)
        assert problem["errors"][0]["field"] == f"take.{len(take) - 1}"
    other = await another("org-2")
    await other.connect()
    assert "joined" not in str(await other.call("POST", f"/merged/{maria}", shown, status=404))
    assert await state_of(church) == before
    await church.call("POST", f"/merged/{maria}", shown)
    after = await state_of(church)
    problem = await church.call("POST", f"/merged/{maria}", shown, status=409)
    assert (problem["type"].rsplit("/", 1)[-1], problem["joined_into"]) == ("pair-over", mary)
    assert await state_of(church) == after


async def test_the_platforms_ids_lead_to_the_one_who_stays(church: Any) -> None:
    mary, maria = await two(church, {"external_id": "m-1"}, {"external_id": "m-2"})
    await answer(church, "join", maria)
    sent = {"external_id": "m-2", "first_name": "Mary", "last_name": "Riverside", "pco_id": "101"}
    result = await church.call("PUT", "/bulk", {"members": [sent]})
    assert (result["updated"], result["created"], result["rejected"]) == (1, 0, [])
    shown = await church.call("GET", f"/members/{mary}")
    assert (shown["external_id"], shown["last_name"]) == ("m-1", "Riverside")
    again = await church.call("PUT", "/bulk", {"members": [sent]})
    assert (again["unchanged"], again["updated"]) == (1, 0)
    home = {
        "external_id": "f",
        "name": "R",
        "member_external_ids": ["m-2", "m-1"],
        "primary_contact_external_id": "m-2",
    }
    assert (await church.call("PUT", "/bulk", {"families": [home]}))["created"] == 1
    (made,) = (await church.call("GET", "/families"))["items"]
    assert (made["member_ids"], made["primary_contact_id"]) == ([mary], mary)
    assert (await church.call("PUT", "/bulk", {"families": [home]}))["unchanged"] == 1
    # Taking both would alternate between their values for ever.
    own = sent | {"external_id": "m-1", "last_name": "Rivera", "pco_id": None}
    for members in ([own, sent], [sent, own]):
        result = await church.call("PUT", "/bulk", {"members": members})
        (refused,) = result["rejected"]
        assert (refused["external_id"], refused["position"]) == ("m-2", members.index(sent))
        assert "joined here" in refused["errors"][0]["message"]
    assert (await church.call("GET", f"/members/{mary}"))["last_name"] == "Rivera"
    taken = {"first_name": "X", "last_name": "Y", "external_id": "m-2"}
    assert (await church.call("POST", "/members", taken, status=409))["type"].endswith("external-id-taken")
    # A deleted member is restored by either id.
    await church.call("DELETE", f"/members/{mary}", status=204)
    await church.call("PUT", "/bulk", {"members": [sent]})
    assert (await church.call("GET", f"/members/{mary}"))["last_name"] == "Riverside"


async def test_the_id_of_the_removed_person_leads_to_the_kept_one(church: Any) -> None:
    """The platform may keep sending either id."""
    mary, maria = await two(church, {"external_id": "m-1"}, {"external_id": "m-2"})
    await church.store(
        Alias, {"pco_organization_id": "77", "removed_id": "102", "kept_id": "101", "merged_at": NOW, "seen_at": NOW}
    )
    await answer(church, "join", maria)
    sent = {"external_id": "m-2", "first_name": "Mary", "last_name": "Rivera", "pco_id": "102"}
    result = await church.call("PUT", "/bulk", {"members": [sent]})
    assert (result["rejected"], result["created"]) == ([], 0)
    assert [(str(one.record_id), one.pco_id) for one in await church.rows(Link)] == [(mary, "101")]


async def test_joined_one_after_the_other(church: Any) -> None:
    """A member joined to a member who is joined later leads to the last one."""
    mary, maria = await two(church, {"external_id": "m-1"}, {"external_id": "m-2"})
    await answer(church, "join", maria)
    ann = (await church.add(external_id="m-0"))["id"]
    async with church.app.state.runtime.sessions.begin() as session:
        (link,) = await church.rows(Link)
        row = await session.get_one(Link, link.id)
        row.state, row.merged_into = "gone", "100"
    await church.link(ann, "100")
    await answer(church, "join", mary)
    for gone in (mary, maria):
        assert (await church.call("GET", f"/members/{gone}", status=404))["joined_into"] == ann
    assert {(str(one.member_id), str(one.into_id), one.external_id) for one in await church.rows(Joined)} == {
        (mary, ann, "m-1"),
        (maria, ann, "m-2"),
    }
    for name in ("m-1", "m-2"):
        sent = {"external_id": name, "first_name": "Ann", "last_name": name}
        assert (await church.call("PUT", "/bulk", {"members": [sent]}))["updated"] == 1
        assert (await church.call("GET", f"/members/{ann}"))["last_name"] == name
    told = (await church.call("GET", f"/members/{ann}/history"))["items"]
    # The history keeps the name of that time: Mary, who was joined since.
    assert [one["joined_name"] for one in told if one["field"] == "joined"] == [None, "Mary Rivera"]


async def test_held_matches_and_strays_of_the_joined_member(church: Any) -> None:
    mary, maria = await two(church)
    bob = (await church.add(first_name="Bob"))["id"]
    held = {"pco_organization_id": "77", "theirs": {}, "reasons": [], "state": "open"}
    candidates = {
        "candidates": [{"member_id": one, "reasons": []} for one in (maria, bob)],
        "candidate_ids": [maria, bob],
    }
    await church.store(
        HeldMatch,
        held | candidates | {"pco_id": "900"},
        held
        | {"pco_id": "901", "state": "different", "candidates": [], "candidate_ids": [], "different_from": [maria]},
    )
    await church.store(
        Stray,
        {"pco_organization_id": "77", "kind": MEMBER, "pco_id": "990", "record_id": UUID(maria), "content": {}}
        | {"intent_id": UUID(maria), "made_at": NOW},
    )
    refresh = {"pco_organization_id": "77", "kind": MEMBER, "reasons": ["asked"], "urgent": True, "state": "queued"}
    await church.store(
        Refresh, refresh | {"id": uuid4(), "record_id": UUID(maria), "not_before": NOW, "requested_at": NOW}
    )
    await answer(church, "join", maria)
    by_person = {one.pco_id: one for one in await church.rows(HeldMatch)}
    assert (by_person["900"].candidate_ids, by_person["900"].version) == ([bob], 2)
    assert by_person["901"].different_from == sorted([maria, mary])
    assert [str(one.record_id) for one in await church.rows(Stray)] == [mary]
    assert [(one.state, one.outcome) for one in await church.rows(Refresh)] == [("done", "not_done")]


async def test_agreed_values_of_a_family(church: Any) -> None:
    """The contact is the same person; a membership that Planning Center may not show does not count as agreed."""
    mary, maria = await two(church)
    home = await family(church, "Rivera", maria, primary=maria)
    agreed = {"name": "Rivera", "members": [maria], "primary_contact": maria}
    await church.link(home, "500", kind=FAMILY, agreed=agreed, remote_hash=b"1")
    await answer(church, "join", maria)
    (link,) = [one for one in await church.rows(Link) if one.kind == FAMILY]
    assert link.agreed == {"name": "Rivera", "members": [], "primary_contact": mary}
    assert link.remote_hash is None
    shown = await church.call("GET", f"/families/{home}/history")
    assert {(one["field"], one["old"], one["new"], one["rule"]) for one in shown["items"]} == {
        ("primary_contact", "Maria Rivera", "Mary Rivera", "joined"),
        ("members", None, "Mary Rivera", "joined"),
        ("members", "Maria Rivera", None, "joined"),
    }


async def test_a_member_being_written_is_not_joined(church: Any) -> None:
    _, maria = await two(church)
    job = uuid4()
    row = {"id": job, "kind": "people.refresh", "payload": {}, "state": "running", "correlation_id": "c", "fence": 1}
    await church.store(JOB, row | {"lease_owner": "w", "lease_until": datetime(2999, 1, 1, tzinfo=UTC)})
    await church.store(Claim, {"record_id": UUID(maria), "job_id": job, "fence": 1})
    before = await state_of(church)
    assert (await answer(church, "join", maria, status=409))["type"].endswith("busy")
    assert await state_of(church) == before


# --- keep two ---------------------------------------------------------------------------------------------------------


async def test_two_are_kept_and_asked_about_again(church: Any) -> None:
    mary, maria = await two(church)
    assert (await church.call("POST", f"/members/{maria}/create-again", status=409))["type"].endswith("merged")
    kept = await answer(church, "keep_two", maria)
    assert (kept["pair"]["state"], kept["member"]["id"]) == ("kept_two", mary)
    assert (await church.call("GET", "/merged"))["items"] == []
    assert len((await church.call("GET", "/merged?state=kept_two"))["items"]) == 1
    assert (await church.call("GET", "/status"))["held"] == 0
    for what in ("join", "keep_two"):
        problem = await answer(church, what, maria, status=409)
        assert (problem["type"].rsplit("/", 1)[-1], problem["pair"]["state"]) == ("answered", "kept_two")
    assert (await church.call("POST", f"/members/{maria}/create-again"))["link"]["create_again"] is True
    again = await answer(church, "ask_again", maria)
    assert (again["pair"]["state"], again["pair"]["joins"]["member"]["link"]["create_again"]) == ("open", False)
    assert (await answer(church, "ask_again", maria, status=409))["type"].endswith("answered")
    await church.call("POST", f"/members/{maria}/create-again", status=409)
    said = [
        (one["old"], one["new"], one["by_name"])
        for one in (await church.call("GET", f"/members/{maria}/history"))["items"]
        if one["field"] == "kept_two"
    ]
    assert said == [("Mary Rivera", None, "Test User"), (None, "Mary Rivera", "Test User")]
    await answer(church, "join", maria)


async def test_keep_two_is_not_taken_back_during_the_creation(church: Any) -> None:
    """The request may be under way, so it is unknown whether the person exists."""
    _, maria = await two(church)
    await answer(church, "keep_two", maria)
    await church.call("POST", f"/members/{maria}/create-again")
    await church.store(
        Creation,
        {"pco_organization_id": "77", "kind": MEMBER, "record_id": UUID(maria), "of_record": UUID(maria)}
        | {"state": "sent", "content": {}},
    )
    before = await state_of(church)
    assert (await answer(church, "ask_again", maria, status=409))["type"].endswith("busy")
    assert await state_of(church) == before


async def test_a_member_whose_kept_person_is_gone_is_created_again_unasked(church: Any) -> None:
    _, maria = await two(church)
    async with church.app.state.runtime.sessions.begin() as session:
        (link,) = [one for one in await church.rows(Link) if one.pco_id == "101"]
        (await session.get_one(Link, link.id)).state = "gone"
    shown = await church.call("GET", f"/members/{maria}")
    assert shown["link"]["merged_with"] is None
    assert (await church.call("POST", f"/members/{maria}/create-again"))["link"]["create_again"] is True
