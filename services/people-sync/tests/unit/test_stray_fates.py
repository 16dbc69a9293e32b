"""Duplicates made in Planning Center: which stay, and which are taken back."""

from datetime import UTC, datetime, timedelta

import pytest

from people_sync.domain.strays import Kept, contacts_to_keep, fate_of_record, is_doubled_membership, is_still_stray

NOW = datetime(2026, 11, 28, tzinfo=UTC)
SENT = "nora@example.org"


@pytest.mark.parametrize(
    ("counterpart", "another_record", "fate"),
    [
        ("17", False, "keep"),
        ("18", False, "take_back"),
        ("18", True, "leave"),
        (None, False, "leave"),
        (None, True, "leave"),
    ],
)
def test_a_person_or_household(counterpart: str | None, another_record: bool, fate: str) -> None:
    assert fate_of_record("17", counterpart=counterpart, another_record=another_record) == fate


@pytest.mark.parametrize(
    ("there", "answered", "agreed", "kept"),
    [
        pytest.param({"1": SENT, "2": SENT}, "2", SENT, Kept("2", frozenset("1")), id="doubled"),
        pytest.param({"1": "NORA@example.org", "2": SENT}, "2", SENT, Kept("2", frozenset("1")), id="but for case"),
        pytest.param({"1": SENT}, None, SENT, Kept("1"), id="the only one"),
        pytest.param({"1": SENT}, "2", SENT, Kept("1"), id="the other was deleted there"),
        pytest.param({"1": SENT, "3": SENT}, None, SENT, Kept("3", frozenset("1")), id="somebody else has it already"),
        pytest.param(
            {"1": SENT, "2": "n@x.org"}, "2", "n@x.org", Kept("2", frozenset("1")), id="another was typed here"
        ),
        pytest.param(
            {"1": "n@x.org", "2": SENT}, "2", "n@x.org", Kept("1", frozenset("2")), id="the stray was changed"
        ),
        pytest.param({"1": SENT, "2": SENT}, "2", None, Kept(None, frozenset("12")), id="cleared here"),
        pytest.param({"1": "theirs@x.org", "2": SENT}, "2", SENT, Kept("2"), id="the stray was edited there"),
        pytest.param({"1": SENT, "2": "theirs@x.org"}, "2", SENT, Kept("1"), id="the other was edited there"),
        pytest.param({"1": SENT, "2": "theirs@x.org"}, "2", "n@x.org", Kept("2", frozenset("1")), id="both moved on"),
        pytest.param({"1": SENT}, "2", "n@x.org", Kept(None), id="nothing there is what was agreed"),
        pytest.param({"2": SENT}, "2", SENT, Kept(None), id="the stray was deleted there"),
        pytest.param({"1": SENT, "3": "s@x.org"}, "1", SENT, Kept("1"), id="others are never touched"),
    ],
)
def test_contacts(there: dict[str, str], answered: str | None, agreed: str | None, kept: Kept) -> None:
    found = contacts_to_keep("email", there, stray="1", answered=answered, sent=SENT, agreed=agreed, country="US")
    assert found == kept


@pytest.mark.parametrize(
    ("settled", "used_again", "still"),
    [(None, True, True), (None, False, True), (1, True, True), (25, True, False), (25, False, True)],
)
def test_a_stray_used_by_others_is_left_to_them(settled: int | None, used_again: bool, still: bool) -> None:
    settled_at = NOW - timedelta(hours=settled) if settled else None
    assert is_still_stray(settled_at, used_again=used_again, now=NOW) is still


def test_nobody_is_twice_in_a_household() -> None:
    assert is_doubled_membership("1", {"1": "17", "2": "18", "3": "17"})
    assert not is_doubled_membership("1", {"1": "17", "2": "18"})
    assert not is_doubled_membership("9", {"1": "17", "2": "17"})
