"""Complete answers, with one part broken at a time; an impossible value concerns only its record."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from json import dumps
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.http.people import LARGEST_FAMILY
from contracts.values import FAMILY, MEMBER
from pco_client.jsonapi import Document, document
from people_sync.domain.merge import NOTHING, MergePolicy, merge
from people_sync.domain.planning_center import (
    ADDRESS_PARTS,
    Contact,
    RemoteHousehold,
    RemotePerson,
    Unread,
    person_from_snapshot,
    remote_person,
    to_match,
)
from people_sync.domain.values import as_dict
from people_sync.planning_center import FIELDS, INCLUDE, fingerprint_of, household_of, is_id, person_of
from people_sync.storage import remote

Body = dict[str, Any]
TYPES = {"emails": "Email", "phone_numbers": "PhoneNumber", "addresses": "Address", "households": "Household"}
PERSON = {
    "first_name": "Ann",
    "last_name": "Smith",
    "given_name": None,
    "nickname": None,
    "middle_name": "Marie",
    "birthdate": "1990-02-03",
    "gender": "Female",
    "child": False,
    "status": "active",
    "remote_id": None,
}
CONTACTS: dict[str, dict[str, Any]] = {
    "emails": {"address": "ann@example.org", "primary": True},
    "phone_numbers": {"number": "212 555 0143", "primary": True},
    "addresses": dict.fromkeys(ADDRESS_PARTS, "") | {"city": "Ulm", "primary": True},
    "households": {},
}


def test_a_login_is_read_but_not_part_of_the_hash() -> None:
    """Stored hashes stay valid; other ones would make the next run compare everybody."""
    attributes = {"first_name": "Ann", "last_name": "Smith", "birthdate": "1990-02-03", "child": False}
    attributes |= {"status": "active", "remote_id": None, "middle_name": "Marie"}
    email = [Contact("5", True, {"address": "ann@example.org"})]
    logins = {}
    for said in ({}, {"login_identifier": None}, {"login_identifier": "ann@example.org"}):
        read = remote_person("1", attributes | said, emails=email, household_ids=["7"], suffix="Jr.")
        assert read.hash.hex() == "c677bcea927fa3f6f12c5df0c80e3857"
        assert "login" not in read.to_json()
        logins[str(said.get("login_identifier", "absent"))] = read.login
    assert logins == {"absent": None, "None": False, "ann@example.org": True}


def linkage(kind: str, *ids: str) -> Body:
    return {"data": [{"type": kind, "id": one} for one in ids]}


def person() -> Body:
    return {
        "data": {
            "type": "Person",
            "id": "1",
            "attributes": deepcopy(PERSON),
            "relationships": {name: linkage(kind, "5") for name, kind in TYPES.items()}
            | {"name_suffix": {"data": {"type": "NameSuffix", "id": "5"}}},
        },
        "included": [
            *({"type": kind, "id": "5", "attributes": deepcopy(CONTACTS[name])} for name, kind in TYPES.items()),
            {"type": "NameSuffix", "id": "5", "attributes": {"value": "Jr."}},
        ],
    }


def household() -> Body:
    return {
        "data": {
            "type": "Household",
            "id": "9",
            "attributes": {"name": "Smith"},
            "relationships": {
                "people": linkage("Person", "1", "2"),
                "primary_contact": {"data": {"type": "Person", "id": "1"}},
            },
        }
    }


def read(body: Body) -> RemotePerson | Unread:
    answer = document(body)
    return person_of(answer.data, answer.included)


def read_household(body: Body) -> RemoteHousehold | Unread:
    return household_of(document(body).data)


def included(body: Body, kind: str) -> Body:
    found: Body = next(one for one in body["included"] if one["type"] == kind)
    return found


def test_complete_answers_are_read() -> None:
    found = read(person())
    assert isinstance(found, RemotePerson)
    assert (found.values.email, found.values.phone, found.household_ids) == ("ann@example.org", "212 555 0143", ("5",))
    assert (found.middle_name, found.suffix, to_match(found).name) == ("Marie", "Jr.", "Ann Marie Smith Jr.")
    assert person_from_snapshot(found.to_json()) == found
    home = read_household(household())
    assert isinstance(home, RemoteHousehold)
    assert (home.name, home.person_ids, home.primary_contact_id) == ("Smith", ("1", "2"), "1")


def test_a_household_larger_than_any_family_is_left_alone() -> None:
    """One transaction publishes a family with its people, up to a limit; beyond it the run once stopped."""
    body = household()
    people = body["data"]["relationships"]["people"]
    body["data"]["relationships"]["people"] = linkage("Person", *map(str, range(1, LARGEST_FAMILY + 1)))
    assert isinstance(read_household(body), RemoteHousehold)
    body["data"]["relationships"]["people"]["data"] += people["data"]
    found = read_household(body)
    assert isinstance(found, Unread)
    assert (found.why, found.name) == ("unreadable", "Smith")
    assert "more than the 1,000 people that a family can have" in found.sentence


def absent_from_a_person() -> list[tuple[str, Callable[[Body], Any]]]:
    def without(name: str) -> Callable[[Body], Any]:
        return lambda body: body["data"]["attributes"].pop(name)

    def unnamed(name: str) -> Callable[[Body], Any]:
        return lambda body: body["data"]["relationships"].pop(name)

    def empty(name: str, relationship: Any) -> Callable[[Body], Any]:
        return lambda body: body["data"]["relationships"].update({name: relationship})

    def dropped(kind: str) -> Callable[[Body], Any]:
        return lambda body: body["included"].remove(included(body, kind))

    def part(kind: str, name: str) -> Callable[[Body], Any]:
        return lambda body: included(body, kind)["attributes"].pop(name)

    # A login affects no synced value.
    read_of_person = set(FIELDS["Person"]) - {*INCLUDE, "created_at", "updated_at", "login_identifier"}
    return [
        *((f"no {name}", without(name)) for name in sorted(read_of_person)),
        *((f"no relationship {name}", unnamed(name)) for name in TYPES),
        *((f"no data of {name}", empty(name, {"links": {}})) for name in TYPES),
        *((f"null for {name}", empty(name, {"data": None})) for name in TYPES),
        *((f"{kind} not included", dropped(kind)) for kind in (*TYPES.values(), "NameSuffix")),
        ("no NameSuffix.value", part("NameSuffix", "value")),
        *((f"no {kind}.{name}", part(kind, name)) for name_, kind in TYPES.items() for name in CONTACTS[name_]),
        ("no attributes", lambda body: body["data"].pop("attributes")),
        ("no relationships", lambda body: body["data"].pop("relationships")),
        ("nothing included", lambda body: body.pop("included")),
    ]


@pytest.mark.parametrize(
    "damage", [damage for _, damage in absent_from_a_person()], ids=[name for name, _ in absent_from_a_person()]
)
def test_an_absent_part_of_a_person_is_not_empty(damage: Callable[[Body], Any]) -> None:
    body = person()
    damage(body)
    found = read(body)
    assert isinstance(found, Unread)
    assert (found.pco_id, found.why) == ("1", "incomplete")


@pytest.mark.parametrize(
    "damage",
    [
        lambda body: body["data"]["attributes"].pop("name"),
        lambda body: body["data"].pop("attributes"),
        lambda body: body["data"].pop("relationships"),
        lambda body: body["data"]["relationships"].pop("people"),
        lambda body: body["data"]["relationships"].update(people={}),
        lambda body: body["data"]["relationships"].update(people={"data": None}),
        lambda body: body["data"]["relationships"].pop("primary_contact"),
        lambda body: body["data"]["relationships"].update(primary_contact={"links": {}}),
    ],
)
def test_an_absent_part_of_a_household_is_not_empty(damage: Callable[[Body], Any]) -> None:
    body = household()
    damage(body)
    found = read_household(body)
    assert isinstance(found, Unread)
    assert (found.pco_id, found.why) == ("9", "incomplete")


@pytest.mark.parametrize("relationship", [None, {}, {"data": None}])
def test_a_suffix_only_affects_matching_and_may_be_absent(relationship: Any) -> None:
    body = person()
    body["data"]["relationships"]["name_suffix"] = relationship
    found = read(body)
    assert isinstance(found, RemotePerson)
    assert found.suffix is None


def test_a_snapshot_of_an_older_version_is_read() -> None:
    found = read(person())
    assert isinstance(found, RemotePerson)
    snapshot = found.to_json()
    del snapshot["middle_name"], snapshot["suffix"]
    assert person_from_snapshot(snapshot).values == found.values


def test_empty_is_empty() -> None:
    body = person()
    body["data"]["relationships"] = {name: {"data": []} for name in TYPES}
    body["data"]["attributes"] |= {"birthdate": None, "gender": None, "first_name": None}
    found = read(body)
    assert isinstance(found, RemotePerson)
    assert (found.values.email, found.values.birthdate, found.household_ids) == (None, None, ())
    home = household()
    home["data"]["relationships"] = {"people": {"data": []}, "primary_contact": {"data": None}}
    assert read_household(home) == RemoteHousehold("9", "Smith", (), None)


@pytest.mark.parametrize(
    ("line_1", "line_2", "split"),
    [
        ("1 Main St\nApt 2", "", ("1 Main St", "Apt 2")),
        ("1 Main St\r\nApt 2", "", ("1 Main St", "Apt 2")),
        ("1 Main St,\n Apt 2\n\nc/o Smith", None, ("1 Main St", "Apt 2, c/o Smith")),
        ("1 Main St\nApt 2", "Back door", ("1 Main St", "Apt 2, Back door")),
        ("\n1 Main St\n", "", ("1 Main St", "")),
        ("1 Main St", "Apt 2\nBack door", ("1 Main St", "Apt 2, Back door")),
        ("1 Main St,", " Apt 2", ("1 Main St,", " Apt 2")),
        ("\n", "", ("", "")),
    ],
)
def test_a_street_of_several_lines_is_split(line_1: str, line_2: str | None, split: tuple[str, str]) -> None:
    body = person()
    included(body, "Address")["attributes"] |= {"street_line_1": line_1, "street_line_2": line_2}
    found = read(body)
    assert isinstance(found, RemotePerson)
    address = found.values.address
    assert address is not None
    assert (address.street_line_1, address.street_line_2) == split
    there = address.model_copy(update={"street_line_1": line_1, "street_line_2": line_2 or ""})
    # Values agreed before lines were split are unchanged now, with nothing to write back.
    agreed = as_dict(replace(found.values, address=there))
    assert merge(agreed, replace(found.values, address=there), found.values, MergePolicy()) == NOTHING
    edited = merge(agreed, replace(found.values, address=there, email="new@example.org"), found.values, MergePolicy())
    assert (edited.to_theirs, edited.to_ours, edited.conflicts) == ({"email": "new@example.org"}, {}, {})


TEXTS = ["a\0b", "a\ud800", "x" * 100_000, "\ufdfa" * 900, 7, 1.5, True, ["Ann"], {"a": 1}]


def parts() -> list[tuple[str, Callable[[Body, Any], Any]]]:
    def own(name: str) -> Callable[[Body, Any], Any]:
        return lambda body, value: body["data"]["attributes"].update({name: value})

    def part(kind: str, name: str) -> Callable[[Body, Any], Any]:
        return lambda body, value: included(body, kind)["attributes"].update({name: value})

    return [
        *((name, own(name)) for name in ("first_name", "last_name", "given_name", "nickname", "middle_name")),
        ("Email.address", part("Email", "address")),
    ]


@pytest.mark.parametrize("value", TEXTS, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize("put", [put for _, put in parts()], ids=[name for name, _ in parts()])
def test_an_impossible_text_makes_one_person_unreadable(put: Callable[[Body, Any], Any], value: Any) -> None:
    body = person()
    put(body, value)
    found = read(body)
    assert isinstance(found, Unread)
    assert (found.pco_id, found.why) == ("1", "unreadable")
    assert found.sentence.endswith("the next sync reads it again.")
    assert "\0" not in found.name
    found.name.encode()


@pytest.mark.parametrize(
    ("kind", "name"),
    [("Person", "gender"), ("Person", "status"), ("PhoneNumber", "number"), ("NameSuffix", "value")]
    + [("Address", part) for part in ADDRESS_PARTS],
)
@pytest.mark.parametrize("value", [value for value in TEXTS if value != "\ufdfa" * 900], ids=lambda one: repr(one)[:12])
def test_an_impossible_text_in_any_field_makes_one_person_unreadable(kind: str, name: str, value: Any) -> None:
    body = person()
    (body["data"] if kind == "Person" else included(body, kind))["attributes"][name] = value
    found = read(body)
    assert isinstance(found, Unread)
    assert found.why == "unreadable"


@pytest.mark.parametrize(
    "value", ["0000-00-00", "1990-02-30", "19900203", "1990-W05-1", "02/03/1990", "x", 1990, True, [], 0, {}]
)
def test_a_birthdate_that_is_no_date_makes_one_person_unreadable(value: Any) -> None:
    body = person()
    body["data"]["attributes"] |= {"birthdate": value, "name": "Ann Smith"}
    found = read(body)
    assert isinstance(found, Unread)
    assert found.why == "unreadable"
    assert "birthdate, it is no date" in found.sentence
    assert found.name == "Ann Smith"


# Kind: one bad record affects all.
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("id_", ["abc", "1/../2", "1;", "-1", "", "9" * 19, "\u0663"])
def test_an_id_that_is_no_number_is_unreadable_whatever_else_is_missing(id_: str, *, whole: bool) -> None:
    """An incomplete record is read again, which is impossible without a valid id."""
    somebody, home = person(), household()
    for body, part in ((somebody, "gender"), (home, "name")):
        body["data"]["id"] = id_
        if not whole:
            del body["data"]["attributes"][part]
    for found in (read(somebody), read_household(home)):
        assert isinstance(found, Unread)
        assert found.why == "unreadable"
        assert "number in Planning Center, it is no number" in found.sentence
    assert not is_id(id_)


@pytest.mark.parametrize("value", ["yes", 1, [], {}])
def test_a_child_setting_that_is_neither_makes_one_person_unreadable(value: Any) -> None:
    body = person()
    body["data"]["attributes"]["child"] = value
    assert isinstance(read(body), Unread)


@pytest.mark.parametrize("value", [2**63, -(2**80), 1.5, "7", True, []])
def test_a_foreign_remote_id_is_ignored(value: Any) -> None:
    body = person()
    body["data"]["attributes"]["remote_id"] = value
    found = read(body)
    assert isinstance(found, RemotePerson)
    assert found.remote_id is None


@pytest.mark.parametrize("value", ["x", 7, {"id": "1"}, [1], [{"id": "1"}], [{"type": "Email", "id": "\0"}]])
@pytest.mark.parametrize("name", sorted(TYPES))
def test_a_relationship_of_another_form_makes_one_person_unreadable(name: str, value: Any) -> None:
    body = person()
    body["data"]["relationships"][name] = {"data": value}
    assert isinstance(read(body), Unread)


@pytest.mark.parametrize(
    "value", [value for value in TEXTS if not isinstance(value, str)] + ["a\0", "\ud83d", "x" * 9999]
)
def test_a_household_with_an_impossible_name_is_unreadable(value: Any) -> None:
    body = household()
    body["data"]["attributes"]["name"] = value
    found = read_household(body)
    assert isinstance(found, Unread)
    assert (found.pco_id, found.why) == ("9", "unreadable")


@pytest.mark.parametrize("value", ["x", 7, {"id": "1"}, [1], [{"type": "Person", "id": "1;"}]])
@pytest.mark.parametrize("name", ["people", "primary_contact"])
def test_a_household_with_relationships_of_another_form_is_unreadable(name: str, value: Any) -> None:
    body = household()
    body["data"]["relationships"][name] = {"data": value}
    assert isinstance(read_household(body), Unread)


# Kind: an incompletely read person counts as nobody.
@pytest.mark.parametrize(
    ("damage", "emails", "names"),
    [
        (lambda body: body["data"]["attributes"].update(birthdate="0000-00-00"), True, True),
        (lambda body: body["data"]["attributes"].update(child="yes"), True, True),
        (lambda body: body["data"]["attributes"].update(gender=7), True, True),
        (lambda body: body["data"]["attributes"].pop("status"), True, True),
        (lambda body: included(body, "PhoneNumber")["attributes"].pop("number"), True, True),
        (lambda body: body["data"]["relationships"].pop("households"), True, True),
        (lambda body: body["data"]["attributes"].pop("first_name"), True, False),
        (lambda body: body["data"]["attributes"].update(last_name="a\0b"), True, False),
        (lambda body: body["data"]["relationships"].pop("emails"), False, True),
        (lambda body: body["data"]["relationships"].update(emails={"data": "x"}), False, True),
        (lambda body: included(body, "Email")["attributes"].update(address="\ud800"), False, True),
    ],
)
def test_an_incompletely_read_person_is_found_by_the_rest(
    damage: Callable[[Body], Any], *, emails: bool, names: bool
) -> None:
    owner = {"organization_id": "hillside", "pco_organization_id": "1"}
    whole, part = read(person()), person()
    damage(part)
    found = read(part)
    assert isinstance(found, Unread)
    known, row = remote.row_of(owner, MEMBER, whole), remote.row_of(owner, MEMBER, found)
    assert row["snapshot"] is None
    assert (row["email_keys"] == known["email_keys"]) is emails
    assert (row["name_keys"] == known["name_keys"]) is names
    assert row["unread"]["person"]["values"]["child"] is False
    kept = [*row["email_keys"], *row["name_keys"]]
    assert len(row["keys"]) == len(kept)
    assert not any("\0" in key or "\ud800" in key for key in kept)


anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters(codec=None), max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(["id", "type"]), inner)),
    max_leaves=4,
)


@given(st.sampled_from(sorted(PERSON)), st.sampled_from(sorted(TYPES)), anything, st.integers(0, 3))
def test_no_value_raises_and_every_read_can_be_stored(name: str, relationship: str, value: Any, where: int) -> None:
    body = person()
    if where == 0:
        body["data"]["attributes"][name] = value
    elif where == 1:
        body["data"]["relationships"][relationship] = value
    elif where == 2:
        body["data"]["relationships"][relationship] = {"data": value}
    else:
        body["included"][0]["attributes"]["address"] = value
    found = read(body)
    if isinstance(found, RemotePerson):
        stored = dumps(found.to_json(), ensure_ascii=False)
        assert "\\u0000" not in stored
        stored.encode()
    else:
        assert found.person is not None
        stored = dumps([found.name, found.sentence, found.pco_id, found.person.to_json()], ensure_ascii=False)
        assert "\\u0000" not in stored
        stored.encode()


@given(anything)
def test_the_answer_to_a_write_never_raises(value: Any) -> None:
    """Only the sent values are checked in it."""
    remote_person("1", dict.fromkeys(PERSON, value))


def test_one_unreadable_person_among_several_in_an_answer() -> None:
    answers: list[Document] = [document(person()), document(person())]
    answers[0].data.attributes["last_name"] = "\0"  # type: ignore[index]
    assert [type(person_of(one.data, one.included)) for one in answers] == [Unread, RemotePerson]


# --- fingerprints ---------------------------------------------------------------------------------------------------


def parts_of(body: Body) -> list[tuple[Body, str]]:
    """All attributes and relationships of a person and its included objects, as (object, name)."""
    attributes = [one["attributes"] for one in (body["data"], *body["included"])]
    return [(one, name) for one in (*attributes, body["data"]["relationships"]) for name in one]


def fingerprint(body: Body) -> bytes | None:
    read = document(body)
    return fingerprint_of(read.data, read.included)


@pytest.mark.parametrize("number", range(len(parts_of(person()))))
@pytest.mark.parametrize("change", [lambda _: "other", lambda _: None], ids=["changed", "emptied"])
def test_a_different_read_has_another_fingerprint(number: int, change: Callable[[Any], Any]) -> None:
    body = person()
    part, name = parts_of(body)[number]
    part[name] = change(part[name])
    other = document(body)
    same = person_of(other.data, other.included) == person_of(document(person()).data, document(person()).included)
    assert same or fingerprint(body) != fingerprint(person())


@pytest.mark.parametrize("number", range(len(person()["included"])))
def test_an_incomplete_answer_has_no_fingerprint(number: int) -> None:
    body = person()
    del body["included"][number]
    assert fingerprint(body) is None


def test_an_impossible_text_has_no_fingerprint() -> None:
    body = person()
    body["data"]["attributes"]["nickname"] = "\ud800"
    assert fingerprint(body) is None


def test_the_same_answer_has_the_same_fingerprint() -> None:
    assert fingerprint(person()) == fingerprint(person()) is not None
    other = household()
    other["data"]["attributes"]["name"] = "Another name"
    assert fingerprint(other) != fingerprint(household()) is not None


def test_a_fingerprint_says_nothing_about_another_content() -> None:
    """Another read in between may have stored other content beside it."""
    owner = {"organization_id": "hillside", "pco_organization_id": "1"}
    row = remote.row_of(owner, FAMILY, RemoteHousehold("7", "Name", ("1",), None), b"fingerprint")
    hashes = RemoteHousehold("7", "Name", ("1",), None).hash, RemoteHousehold("7", "Other", ("1",), None).hash
    seal = bytes.fromhex(row["fingerprint"].removeprefix("\\x"))
    known = [remote.Compared(one, seal).was_read_from(b"fingerprint") for one in hashes]
    assert known == [True, False]
    assert not remote.Compared(hashes[0], None).was_read_from(b"fingerprint")
    assert not remote.Compared(hashes[0], seal).was_read_from(None)
