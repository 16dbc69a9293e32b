"""The doubt of a held match, and the sentences of its answers."""

import re
from datetime import date
from itertools import product

import pytest

from people_sync.domain.held import REASONS, suffix_in, would_be_done
from people_sync.domain.matching import Held, Local, Theirs, match_all

BORN, OTHERWISE = date(1990, 2, 3), date(1980, 1, 1)


def reason_of(sentence: str) -> str | None:
    """The reason that `REASONS` gives a sentence, with PostgreSQL's meaning of its patterns."""
    for reason, patterns in REASONS.items():
        for pattern in patterns:
            if re.fullmatch(".*".join(map(re.escape, pattern.split("%"))), sentence):
                return reason
    return None


def every_reason() -> set[str]:
    """All sentences that matching gives for two people who differ in name, suffix, email, child flag or birthdate."""
    found: set[str] = set()
    names = [("Al", "One"), ("Al", "One Jr."), ("Bo", "Two")]
    emails = ["a@example.org", "b@example.org", None]
    for there, here, email, other, child, born, crowd in product(
        names, names, emails, emails, (False, True), (BORN, OTHERWISE, None, date(1885, 2, 3)), (0, 1)
    ):
        person = Theirs("1", *there, birthdate=BORN, emails=(email,) if email else ())
        member = Local("a", *here, birthdate=born, child=child, email=other)
        twins = [Local(f"b{n}", *here, birthdate=born, child=child, email=other, linked=False) for n in range(crowd)]
        locals_ = [member, *twins]
        by_email = {email: [one for one in locals_ if one.email == email]} if email else {}
        keys = {key: [one for one in locals_ if one.name_key == key] for key in person.lookup_keys()}
        outcome = match_all([person], by_email, keys)["1"]
        if isinstance(outcome, Held):
            found |= set(outcome.reasons)
    return found


def test_every_doubt_has_a_kind_and_every_kind_occurs() -> None:
    reasons = every_reason()
    doubts = {sentence: reason_of(sentence) for sentence in reasons}
    assert None not in doubts.values(), doubts
    assert set(doubts.values()) == REASONS.keys()


@pytest.mark.parametrize(
    "sentence",
    [
        "Inactive in Planning Center, active here.",
        "Linked before to a member who was deleted here.",
        "And 3 more members here who may be this person.",
    ],
)
def test_information_is_no_doubt(sentence: str) -> None:
    assert reason_of(sentence) is None


def test_every_answer_names_both_sides() -> None:
    for answer in ("same", "different", "later"):
        sentence = would_be_done(answer, "Al There", ["Al Here", "Bo Here"])
        assert "Al There" in sentence
        assert "Al Here or Bo Here" in sentence


@pytest.mark.parametrize(
    ("last_name", "suffix"), [("One Jr.", "Jr."), ("One, III", "III"), ("One", None), ("Jr.", None), ("", None)]
)
def test_a_suffix_is_read_after_the_last_name(last_name: str, suffix: str | None) -> None:
    assert suffix_in(last_name) == suffix
