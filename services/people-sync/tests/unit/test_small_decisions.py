from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from contracts.http.people import AddressInput
from people_sync.domain.inputs import problems
from people_sync.domain.merge import FamilyValues
from people_sync.domain.sentences import (
    OUTCOMES,
    Refusal,
    kept_out_halfway,
    rejection,
    together,
    waiting_for_mergers,
)
from people_sync.domain.thresholds import exceeds
from people_sync.domain.writes import confirmed_family, membership
from people_sync.usecases.record.refusals import PartRefused, Refusals
from people_sync.usecases.run.report import seconds_of
from synckit.staleness import Write

TODAY = date(2026, 1, 5)


@pytest.mark.parametrize(
    ("changes", "linked", "asks"),
    [(49, 10, False), (50, 10, True), (250, 1000, False), (251, 1000, True), (50, 0, True), (0, 0, False)],
)
def test_a_run_asks_above_the_share_and_the_minimum(changes: int, linked: int, asks: bool) -> None:
    assert exceeds(changes, linked, 25, 50) is asks


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ("updated_there", "updated_here", "updated_here"),
        ("updated_both", "updated_here", "updated_here"),
        ("updated_here", "updated_there", "updated_both"),
        ("linked", "updated_here", "updated_here"),
        ("created_here", "updated_here", "created_here"),
        ("created_there", "updated_here", "created_there"),
        ("conflict", "updated_here", "conflict"),
        ("updated_there", "unchanged", "unchanged"),
    ],
)
def test_the_outcomes_before_and_of_a_push_are_combined(before: str, now: str, said: str) -> None:
    assert together(before, now) == said


def test_rejections_are_grouped_by_cause_without_values() -> None:
    one = rejection([Refusal("address", "Validation Error", '"ann@nowhere" is invalid')], about="email")
    other = rejection([Refusal("address", "Validation Error", '"bob@nowhere" is invalid')], about="email")
    assert one == other
    assert one.cause == "email:the-value-sent-is-invalid"
    assert one.sentence.startswith("Planning Center refused the email: the value sent is invalid.")


@pytest.mark.parametrize(
    ("refusal", "about", "words"),
    [
        (Refusal("grade", "Validation Error", "must be between -1 and 12"), None, "the grade: it must be between"),
        (Refusal("/data/attributes/first_name", None, "can't be blank"), None, "the first name: it can't be blank"),
        (Refusal(None, "Forbidden Attribute", "remote_id cannot be assigned"), None, "this record: remote_id cannot"),
        (Refusal("number", None, "is invalid"), "phone", "the phone number: it is invalid"),
        (Refusal("zip", None, "is invalid"), "address", "the postal code: it is invalid"),
        (Refusal(None, None, None), "address", "the address: it is not acceptable"),
        (Refusal("address", None, "is invalid"), "address", "the address: it is invalid"),
        (Refusal("email", None, "has already been taken"), None, "the email: it has already been taken"),
    ],
)
def test_a_rejection_is_a_plain_sentence(refusal: Refusal, about: str | None, words: str) -> None:
    assert words in rejection([refusal], about=about).sentence


def test_a_refused_part_says_that_the_others_were_accepted() -> None:
    refusals = Refusals(found=[rejection([Refusal("number", None, "is invalid")], about="phone")], taken=True)
    told = r"it is invalid\. .*\. Planning Center took everything else that was sent\.$"
    with pytest.raises(PartRefused, match=told):
        refusals.raise_any()
    refusals.taken = False
    with pytest.raises(PartRefused, match=r"the next sync tries again\.$"):
        refusals.raise_any()


def test_a_rejection_without_a_reason_says_so() -> None:
    assert "without saying why" in rejection([]).sentence


def test_our_own_work_counts_in_the_estimate() -> None:
    """For 30,000 people to compare and to add here."""
    assert seconds_of(30_000, 30_000) == (1.5 + 7.5, 15 + 100)
    assert seconds_of(0) == (0, 0)


def test_sentences_are_sentences() -> None:
    assert all(sentence.endswith(".") and sentence[0].isupper() for sentence in OUTCOMES.values())
    assert "up to 2 minutes late" in waiting_for_mergers(120.0)
    assert "up to 45 s late" in waiting_for_mergers(45.0)


# Kind: a value is checked before the data that it depends on is known.
@pytest.mark.parametrize(
    ("phone", "country", "fine"),
    [
        ("212 555 0143", "US", True),
        ("555 0143", "US", True),
        ("212 555 0143", None, True),
        ("030 123456", "DE", True),
        ("+49 30 123456", "US", True),
        ("+999 30 123456", "US", False),
        ("12", "US", False),
        ("12", None, False),
        ("212 555 0143 x12", None, True),
        ("212-555-0143 ext. 12", None, True),
        ("(212) 555-0143, Extension 1234", None, True),
        ("212 555 0143 #7", None, True),
        ("tel;ext=12", None, False),
        ("212 555 0143 xyz", None, False),
        ("212 555 0143 x", None, False),
        ("x12", None, False),
        ("12 x12345", None, False),
        ("call me", None, False),
        ("call me", "US", False),
        ("1234567890123456", None, False),
    ],
)
def test_phone_numbers_are_possible_ones(phone: str, country: str | None, fine: bool) -> None:
    assert [field for field, _ in problems({"phone": phone}, country, TODAY)] == ([] if fine else ["phone"])


@pytest.mark.parametrize(("code", "fine"), [("", True), ("US", True), ("ZZ", False)])
def test_countries_are_known_ones(code: str, fine: bool) -> None:
    address = AddressInput(street_line_1="1 Oak St", country_code=code)
    assert [field for field, _ in problems({"address": address}, None, TODAY)] == ([] if fine else ["address"])


def test_a_child_born_today_where_it_is_tomorrow_already_is_fine() -> None:
    assert problems({"birthdate": date(2026, 1, 6)}, None, TODAY) == []
    assert [field for field, _ in problems({"birthdate": date(2026, 1, 7)}, None, TODAY)] == ["birthdate"]


@pytest.mark.parametrize(("day", "fine"), [((1884, 12, 31), False), ((1885, 1, 1), True), ((20, 5, 3), False)])
def test_no_birthdate_lies_before_what_planning_center_knows(day: tuple[int, int, int], fine: bool) -> None:
    found = problems({"birthdate": date(*day)}, None, TODAY)
    assert [field for field, _ in found] == ([] if fine else ["birthdate"])
    assert fine or "before 1885" in found[0][1]


@pytest.mark.parametrize(
    ("theirs", "agreed"),
    [
        (
            FamilyValues("New", frozenset("abd"), "d"),
            {"name": "New", "primary_contact": "d", "members": ["a", "b", "d"]},
        ),
        (
            FamilyValues("Old", frozenset("abc"), "a"),
            {"name": "Old", "primary_contact": "a", "members": ["a", "b", "c"]},
        ),
        (FamilyValues("Third", frozenset("ab"), "b"), {"name": "Old", "primary_contact": "a", "members": ["a", "b"]}),
    ],
    ids=["all of it", "none of it", "partly, and edited since"],
)
def test_a_membership_from_an_unanswered_write_is_agreed(theirs: FamilyValues, agreed: dict[str, Any]) -> None:
    before = {"name": "Old", "primary_contact": "a", "members": ["a", "b", "c"]}
    sent = {
        "name": ("Old", "New"),
        "primary_contact": ("a", "d"),
        membership("d"): (False, True),
        membership("c"): (True, False),
    }
    now = datetime(2026, 1, 5, tzinfo=UTC)
    writes = [Write(name, old, new, now) for name, (old, new) in sent.items()]
    assert confirmed_family(before, writes, theirs) == agreed
    assert confirmed_family(before, [replace(one, answered_at=now) for one in writes], theirs) == before


@pytest.mark.parametrize(
    ("before", "done_here", "outcome"),
    [
        ("updated_both", True, "updated_here"),
        ("created_here", True, "created_here"),
        ("updated_there", False, "kept_out"),
        ("updated_both", False, "kept_out"),
        ("conflict", True, "kept_out"),
    ],
)
def test_changes_here_before_a_record_was_kept_out_are_reported(before: str, done_here: bool, outcome: str) -> None:
    found, sentence = kept_out_halfway(before, done_here=done_here)
    assert (found, sentence.endswith(OUTCOMES["kept_out"])) == (outcome, True)
