"""The plan of a merge, and the writes that its approval allows."""

from dataclasses import replace
from typing import Any

import pytest

from contracts.http.plans import PlanField
from contracts.people import Address
from people_sync.domain.merge import FamilyValues, MergePolicy, merge, merge_family
from people_sync.domain.plans import Fields, Status, allows, created, digest, family_created, of_family, of_person
from people_sync.domain.values import PersonValues, as_dict

POLICY = MergePolicy(merge_different_fields=True)
WAS = PersonValues("Ann", "Smith", email="ann@example.org", phone="(212) 555-0101")
BOTH_ACTIVE = Status(True, ours=True, theirs=True, taken=False)


def plan(ours: PersonValues, theirs: PersonValues, policy: MergePolicy = POLICY) -> Fields:
    base = as_dict(WAS)
    return of_person(base, ours, theirs, merge(base, ours, theirs, policy), BOTH_ACTIVE)


def shown(fields: Fields) -> dict[str, tuple[Any, ...]]:
    return {one.field: (one.agreed, one.here, one.there, one.after, one.does) for one in fields}


def test_exactly_written_and_conflicting_fields_are_shown() -> None:
    ours, theirs = replace(WAS, last_name="Ours", gender="Female"), replace(WAS, last_name="Theirs", phone=None)
    assert shown(plan(ours, theirs)) == {
        "last_name": ("Smith", "Ours", "Theirs", None, "conflict"),
        "gender": (None, "Female", None, "Female", "there"),
        "phone": ("(212) 555-0101", "(212) 555-0101", None, None, "here"),
    }


def test_a_status_that_is_taken_over_is_shown() -> None:
    fields = of_person({}, WAS, WAS, merge(as_dict(WAS), WAS, WAS, POLICY), Status(True, True, False, taken=True))
    assert shown(fields) == {"active": (True, True, False, False, "here")}


def test_a_created_person_is_shown_with_every_value() -> None:
    address = Address(street_line_1="1 Elm St", city="Ashford")
    fields = created(as_dict(replace(WAS, child=True, address=address)) | {"active": True}, "there")
    assert [one.field for one in fields] == ["first_name", "last_name", "child", "email", "phone", "address"]
    assert all((one.there, one.does, one.agreed_known) == (None, "there", False) for one in fields)
    assert fields[-1].here == fields[-1].after == address.model_dump()


OURS = replace(WAS, last_name="Ours", phone="(212) 555-0199")


@pytest.mark.parametrize(
    ("ours", "theirs", "allowed"),
    [
        (OURS, WAS, True),
        # Formatting is no change.
        (replace(OURS, phone="212-555-0199"), replace(WAS, phone="+1 212 555 0101"), True),
        # A part is done already, by a process that died after it.
        (OURS, replace(WAS, phone="(212) 555-0199"), True),
        (OURS, OURS, True),
        # Another value, another field, another value in its place, a conflict.
        (replace(OURS, last_name="Again"), WAS, False),
        (replace(OURS, gender="Female"), WAS, False),
        (OURS, replace(WAS, gender="Female"), False),
        (OURS, replace(WAS, last_name="Theirs"), False),
        (WAS, OURS, False),
    ],
)
def test_an_approval_allows_the_shown_plan_or_less(ours: PersonValues, theirs: PersonValues, allowed: bool) -> None:
    assert allows(plan(OURS, WAS), plan(ours, theirs), "US") is allowed


def test_a_conflict_is_allowed_with_the_shown_values() -> None:
    theirs = replace(WAS, last_name="Theirs")
    approved = plan(replace(WAS, last_name="Ours"), theirs)
    assert allows(approved, plan(replace(WAS, last_name="Ours"), theirs), "US")
    assert not allows(approved, plan(replace(WAS, last_name="Ours"), replace(WAS, last_name="Again")), "US")
    assert not allows(approved, plan(WAS, theirs), "US")


PEOPLE = {name: {"id": name, "pco_id": None, "name": name.title()} for name in ("ann", "bob", "cid", "dan")}


def family(ours: set[str], theirs: set[str], agreed: set[str], primary: str | None = None) -> Fields:
    mine, others = FamilyValues("Smith", frozenset(ours), primary), FamilyValues("Smith", frozenset(theirs), "ann")
    base = {"name": "Smith", "primary_contact": "ann", "members": sorted(agreed)}
    return of_family(base, mine, others, merge_family(base, mine, others, POLICY), PEOPLE)


def test_members_are_shown_by_name_and_compared_by_join_or_leave() -> None:
    approved = family({"ann", "bob", "cid"}, {"ann", "bob", "dan"}, {"ann", "bob"}, "ann")
    (members,) = approved
    assert [[one["name"] for one in side] for side in (members.agreed, members.here, members.there, members.after)] == [
        ["Ann", "Bob"],
        ["Ann", "Bob", "Cid"],
        ["Ann", "Bob", "Dan"],
        ["Ann", "Bob", "Cid", "Dan"],
    ]
    assert members.does == "both"
    assert allows(
        approved, family({"ann", "bob", "cid", "dan"}, {"ann", "bob", "dan"}, {"ann", "bob", "dan"}, "ann"), "US"
    )
    # Another member joins, or one leaves.
    assert not allows(approved, family({"ann", "bob", "cid"}, {"ann", "bob", "eve"}, {"ann", "bob"}, "ann"), "US")
    assert not allows(approved, family({"ann"}, {"ann", "bob", "dan"}, {"ann", "bob"}, "ann"), "US")


def test_a_new_family_may_have_fewer_people_than_planned_and_not_more() -> None:
    approved = family_created("Smith", ["ann", "bob"], "ann", "there", PEOPLE)
    assert allows(approved, family_created("Smith", ["ann"], "ann", "there", PEOPLE), "US")
    assert not allows(approved, family_created("Smith", ["ann", "cid"], "ann", "there", PEOPLE), "US")
    assert not allows(approved, family_created("Smiths", ["ann", "bob"], "ann", "there", PEOPLE), "US")


def test_a_digest_differs_by_plan_and_not_by_formatting() -> None:
    def of(fields: Fields, *, outcome: str = "updated_there") -> str:
        return digest("member", "1:2", outcome, fields, "US")

    same = of(plan(OURS, WAS))
    assert of(plan(replace(OURS, phone="212.555.0199"), WAS)) == same
    others = [
        of(plan(replace(OURS, last_name="Again"), WAS)),
        of(plan(OURS, replace(WAS, phone=None), MergePolicy())),
        of(plan(OURS, WAS), outcome="updated_both"),
        of(plan(WAS, OURS)),
        of(()),
    ]
    assert len({same, *others}) == 6


def test_the_digest_identifies_new_people_by_planning_centers_id() -> None:
    """Our id of them changes with each comparison."""

    def joins(ours: str, theirs: str) -> str:
        person = {"id": ours, "pco_id": theirs, "name": "Ann"}
        field = PlanField(field="members", here=[], there=[person], after=[person], does="here")
        return digest("family", "1:2", "updated_here", (field,), "US")

    assert joins("one", "7") == joins("another", "7") != joins("one", "8")
