"""The rules of the three-way merge, one sentence each; the laws that hold for all values are in test_merge_laws."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from contracts.people import Address
from people_sync.domain.merge import (
    NOTHING,
    ConflictValues,
    FamilyMerge,
    FamilyValues,
    FirstMatch,
    MergePolicy,
    merge,
    merge_family,
)
from people_sync.domain.values import FIELDS, PersonValues, as_dict, from_json, partial_from_json, to_json

ANN = PersonValues(
    first_name="Ann",
    last_name="Smith",
    birthdate=date(1990, 2, 3),
    gender="Female",
    child=False,
    email="ann@example.org",
    phone="212-555-0143",
    address=Address(street_line_1="1 Main St", city="Springfield", zip="12345"),
)
BASE = as_dict(ANN)
RECORD = MergePolicy()
FIELD_BY_FIELD = MergePolicy(merge_different_fields=True)


def test_values_survive_json() -> None:
    assert from_json(to_json(ANN)) == ANN
    assert partial_from_json({"email": "a@b.org", "unknown": 1}) == {"email": "a@b.org"}
    assert list(to_json(ANN)) == list(FIELDS)


def test_equal_sides_do_nothing() -> None:
    assert merge(BASE, ANN, ANN, RECORD) is NOTHING


def test_formatting_writes_nothing() -> None:
    noisy = replace(ANN, phone="+1 (212) 555-0143", email="ANN@example.org", first_name=" Ann ")
    assert merge(BASE, ANN, noisy, RECORD) == NOTHING
    assert merge(BASE, noisy, ANN, RECORD) == NOTHING


@pytest.mark.parametrize("value", ["new@example.org", None])
def test_a_change_on_one_side_is_applied_to_the_other(value: str | None) -> None:
    here = merge(BASE, replace(ANN, email=value), ANN, RECORD)
    assert (here.to_ours, here.to_theirs) == ({}, {"email": value})
    there = merge(BASE, ANN, replace(ANN, email=value), RECORD)
    assert (there.to_ours, there.to_theirs) == ({"email": value}, {})
    assert there.replaced == {"email": "ann@example.org"}
    assert there.reasons == {"email": "changed"}


def test_an_empty_name_never_overwrites_a_name() -> None:
    outcome = merge(BASE, ANN, replace(ANN, last_name=""), RECORD)
    assert (outcome.to_ours, outcome.to_theirs) == ({}, {"last_name": "Smith"})
    outcome = merge(BASE, replace(ANN, last_name="Jones"), replace(ANN, last_name="  "), RECORD)
    assert (outcome.to_ours, outcome.to_theirs, outcome.conflicts) == ({}, {"last_name": "Jones"}, {})


def test_both_changed_to_the_same_is_agreed() -> None:
    outcome = merge(BASE, replace(ANN, email="new@example.org"), replace(ANN, email="NEW@example.org"), RECORD)
    assert not outcome.writes
    assert not outcome.conflicts
    assert outcome.agreed == {"email": "new@example.org"}


def test_a_field_changed_on_both_sides_is_a_conflict() -> None:
    outcome = merge(BASE, replace(ANN, email="a@x.org"), replace(ANN, email="b@x.org"), RECORD)
    assert outcome.conflicts == {"email": ConflictValues("ann@example.org", "a@x.org", "b@x.org")}
    assert not outcome.writes


def test_different_fields_changed_on_both_sides_conflict_as_one_record() -> None:
    outcome = merge(BASE, replace(ANN, email="a@x.org"), replace(ANN, phone="212-555-0199"), RECORD)
    assert set(outcome.conflicts) == {"email", "phone"}
    assert not outcome.writes


def test_a_conflict_holds_back_every_change_of_its_record() -> None:
    ours = replace(ANN, email="a@x.org", gender=None)
    outcome = merge(BASE, ours, replace(ANN, email="b@x.org"), RECORD)
    assert set(outcome.conflicts) == {"email", "gender"}
    assert not outcome.writes


def test_edits_to_different_fields_merge_if_the_church_wants_it() -> None:
    ours = replace(ANN, email="a@x.org", phone=None)
    theirs = replace(ANN, email="b@x.org", gender="Male")
    outcome = merge(BASE, ours, theirs, FIELD_BY_FIELD)
    assert set(outcome.conflicts) == {"email"}
    assert (outcome.to_ours, outcome.to_theirs) == ({"gender": "Male"}, {"phone": None})


@pytest.mark.parametrize(
    ("choice", "to_ours", "to_theirs", "conflicts"),
    [
        ("planning_center", {"email": "b@x.org"}, {}, set()),
        ("ours", {}, {"email": "a@x.org"}, set()),
        ("ask", {}, {}, {"email"}),
    ],
)
def test_first_match(
    choice: FirstMatch, to_ours: dict[str, Any], to_theirs: dict[str, Any], conflicts: set[str]
) -> None:
    ours = replace(ANN, email="a@x.org", phone=None)
    theirs = replace(ANN, email="b@x.org", address=None)
    outcome = merge(None, ours, theirs, MergePolicy(first_match=choice))
    assert outcome.to_ours == to_ours | {"phone": ANN.phone}
    assert outcome.to_theirs == to_theirs | {"address": ANN.address}
    assert set(outcome.conflicts) == conflicts
    assert outcome.first_match == ("email",)
    assert set(outcome.agreed) == {"first_name", "last_name", "birthdate", "gender", "child"}
    assert {name: values.base_known for name, values in outcome.conflicts.items()} == dict.fromkeys(conflicts, False)


FULL, NO_YEAR, OTHER_YEAR, OTHER_DAY = date(1990, 2, 3), date(1885, 2, 3), date(1991, 2, 3), date(1990, 2, 4)


# Kind: the vendor's placeholder for unknown counts as a value.
@pytest.mark.parametrize(
    ("base", "ours", "theirs", "to_ours", "to_theirs", "agreed"),
    [
        # Without agreed values: both agree, and the year is stored.
        ("", FULL, NO_YEAR, None, None, FULL),
        ("", NO_YEAR, FULL, None, None, FULL),
        # The year is no longer shown: no change, and replaces nothing.
        (FULL, FULL, NO_YEAR, None, None, None),
        (FULL, NO_YEAR, FULL, None, None, None),
        (FULL, NO_YEAR, NO_YEAR, None, None, NO_YEAR),
        # Edited since.
        (NO_YEAR, FULL, NO_YEAR, None, FULL, None),
        (NO_YEAR, NO_YEAR, FULL, FULL, None, None),
        (FULL, OTHER_YEAR, NO_YEAR, None, OTHER_YEAR, None),
        # Both changed to agreeing values.
        (OTHER_DAY, FULL, NO_YEAR, None, None, FULL),
        (None, NO_YEAR, FULL, None, None, FULL),
        # Losing only the year is no edit.
        (FULL, NO_YEAR, OTHER_DAY, OTHER_DAY, None, None),
    ],
)
def test_a_birthdate_without_a_year_contradicts_nothing_and_replaces_nothing(
    base: date | str | None,
    ours: date,
    theirs: date,
    to_ours: date | None,
    to_theirs: date | None,
    agreed: date | None,
) -> None:
    known = {**BASE, "birthdate": base} if base != "" else {n: value for n, value in BASE.items() if n != "birthdate"}
    outcome = merge(known, replace(ANN, birthdate=ours), replace(ANN, birthdate=theirs), RECORD)
    assert (outcome.to_ours.get("birthdate"), outcome.to_theirs.get("birthdate")) == (to_ours, to_theirs)
    assert outcome.agreed == ({"birthdate": agreed} if agreed else {})
    assert not outcome.conflicts


@pytest.mark.parametrize(
    ("base", "ours", "theirs"), [(NO_YEAR, FULL, OTHER_YEAR), (NO_YEAR, FULL, OTHER_DAY), (FULL, OTHER_YEAR, OTHER_DAY)]
)
def test_two_different_years_are_a_conflict(base: date, ours: date, theirs: date) -> None:
    known = {**BASE, "birthdate": base}
    outcome = merge(known, replace(ANN, birthdate=ours), replace(ANN, birthdate=theirs), RECORD)
    assert set(outcome.conflicts) == {"birthdate"}
    assert not outcome.writes


def test_child_is_never_empty() -> None:
    outcome = merge(None, replace(ANN, child=True), ANN, MergePolicy(first_match="ask"))
    assert set(outcome.conflicts) == {"child"}


def test_one_field_never_agreed_is_a_first_match_of_that_field_alone() -> None:
    base = {name: value for name, value in BASE.items() if name != "phone"}
    outcome = merge(base, replace(ANN, phone="212-555-0199"), replace(ANN, gender="Male"), RECORD)
    assert outcome.to_ours == {"phone": ANN.phone, "gender": "Male"}
    assert outcome.first_match == ("phone",)


def test_the_first_match_choice_overwrites_nothing_of_a_record_in_conflict() -> None:
    base = {name: value for name, value in BASE.items() if name != "phone"}
    ours = replace(ANN, phone="212-555-0199", email="a@x.org")
    outcome = merge(base, ours, replace(ANN, email="b@x.org"), RECORD)
    assert set(outcome.conflicts) == {"phone", "email"}
    assert not outcome.writes


def test_a_kept_difference_is_left_alone_until_a_value_changes() -> None:
    ours, theirs = replace(ANN, email="a@x.org"), replace(ANN, email="b@x.org")
    kept = {"email": ("A@x.org", "b@x.org")}
    assert merge(BASE, ours, theirs, RECORD, kept) == NOTHING
    outcome = merge(BASE, ours, replace(theirs, gender=None), RECORD, kept)
    assert (outcome.to_ours, outcome.conflicts) == ({"gender": None}, {})
    for moved in (replace(theirs, email="c@x.org"), replace(theirs, email=None), replace(theirs, email=ANN.email)):
        assert set(merge(BASE, ours, moved, RECORD, kept).conflicts) == {"email"}
    without_base = {name: value for name, value in BASE.items() if name != "email"}
    assert set(merge(without_base, ours, replace(theirs, email="c@x.org"), RECORD, kept).conflicts) == {"email"}
    assert merge(BASE, ours, ours, RECORD, kept).agreed == {"email": "a@x.org"}


def family(name: str, members: str, primary: str | None = None) -> FamilyValues:
    return FamilyValues(name, frozenset(members), primary)


def family_base(values: FamilyValues) -> dict[str, Any]:
    return {"name": values.name, "members": list(values.members), "primary_contact": values.primary_contact}


def test_memberships_merge_one_by_one() -> None:
    base = family_base(family("Smith", "abc", "a"))
    outcome = merge_family(base, family("Smith", "abd", "a"), family("Smith", "ace", "a"), RECORD)
    assert outcome.add_to_ours == {"e"}
    assert outcome.add_to_theirs == {"d"}
    assert outcome.remove_from_ours == {"b"}
    assert outcome.remove_from_theirs == {"c"}
    assert outcome.agreed_members == {"a", "b", "c"}
    assert not outcome.fields.writes


def test_families_without_agreed_values_gain_members_and_lose_none() -> None:
    outcome = merge_family(None, family("Smith", "ab", "a"), family("The Smiths", "bc", "b"), RECORD)
    assert outcome.add_to_ours == {"c"}
    assert outcome.add_to_theirs == {"a"}
    assert not outcome.remove_from_ours | outcome.remove_from_theirs
    assert outcome.fields.to_ours == {"name": "The Smiths", "primary_contact": "b"}


def test_a_primary_contact_who_leaves_is_replaced_by_the_other_sides() -> None:
    base = family_base(family("Smith", "ab", "a"))
    outcome = merge_family(base, family("Smith", "b", "b"), family("Smith", "ab", "a"), RECORD)
    assert outcome.remove_from_theirs == {"a"}
    assert outcome.fields.to_theirs == {"primary_contact": "b"}
    assert not outcome.fields.to_ours


# Kind: a value unknown to the other side counts as empty.
@pytest.mark.parametrize(
    ("ours", "theirs", "gone"),
    [
        pytest.param(("ab", "n"), ("ab", "a"), "", id="not linked here"),
        pytest.param(("ab", "a"), ("ab", "stranger"), "", id="nobody here yet"),
        pytest.param(("ab", "n"), ("ab", None), "", id="not linked here, and none there"),
        pytest.param(("ab", "a"), ("b", "b"), "a", id="perhaps gone there"),
    ],
)
@pytest.mark.parametrize("base", ["a", "b"])
def test_a_primary_contact_unknown_to_the_other_side_is_left_undecided(
    ours: tuple[str, str], theirs: tuple[str, str | None], gone: str, base: str
) -> None:
    before = family_base(family("Smith", "ab", base))
    here, there = family("Smith", *ours), family("Smiths", *theirs)
    outcome = merge_family(before, here, there, RECORD, may_be_gone=frozenset(gone))
    assert outcome.fields.to_ours == {"name": "Smiths"}
    assert not outcome.fields.to_theirs
    assert not outcome.fields.agreed
    assert not outcome.remove_from_ours
    assert outcome.agreed_members == frozenset("ab")


def test_a_family_name_conflict_does_not_stop_members() -> None:
    base = family_base(family("Smith", "ab", "a"))
    outcome = merge_family(base, family("Smith-Jones", "ab", "a"), family("Jones", "abc", "a"), RECORD)
    assert set(outcome.fields.conflicts) == {"name"}
    assert outcome.add_to_ours == {"c"}
    assert outcome.writes


def test_equal_families_do_nothing() -> None:
    smith = family("Smith", "ab", "a")
    outcome = merge_family(family_base(smith), smith, family(" Smith", "ab", "a"), RECORD)
    assert not outcome.writes
    assert outcome == FamilyMerge(fields=NOTHING, agreed_members=frozenset("ab"))
