"""The conflicts that a rule decides, its name, and the lessons of answers."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from conflict_service.domain.rules import Answered, Condition, agree, answer_of, fits, kind_of, learned, name_of

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def field(name: str = "phone", base: Any = "1", ours: Any = "2", theirs: Any = "3", days: int | None = 400) -> Any:
    changed = None if days is None else (NOW - timedelta(days=days)).isoformat()
    return {
        "field": name,
        "base": base,
        "base_known": base is not None,
        "ours": ours,
        "theirs": theirs,
        "ours_changed_at": changed,
    }


def rule(*fields: str, answer: Any = "theirs", **more: Any) -> Condition:
    return Condition(frozenset(fields or ("phone",)), answer, **more)


def test_a_rule_is_about_exactly_its_fields_and_about_edits_on_both_sides() -> None:
    def decides(*fields: Any, by: Condition) -> bool:
        return fits(by, fields, child=None, at=NOW)

    both = (field("phone"), field("email"))
    assert decides(field(), by=rule())
    assert decides(*both, by=rule("email", "phone"))
    assert not decides(*both, by=rule())
    assert not decides(field(), by=rule("email", "phone"))
    # A one-sided edit contradicts nothing, and a rule would overwrite it.
    assert not decides(field(base="3"), by=rule())
    assert not decides(field(), field("email", base="2"), by=rule("email", "phone"))
    # A field without an agreed value may be unedited, alone or beside an edit.
    assert not decides(field(base=None), by=rule())
    assert not decides(field(), field("email", base=None), by=rule("email", "phone"))
    # No sync changes whether somebody is active in Planning Center.
    status = field("active", None, True, False)
    assert decides(status, by=rule("active"))
    assert not decides(status, by=rule("active", answer="ours"))
    assert decides(field(), status, by=rule("active", "phone"))
    assert not decides(field(base=None), status, by=rule("active", "phone"))


@pytest.mark.parametrize(
    ("days", "older_than", "fitting"),
    [(400, 365, True), (365, 365, False), (10, 365, False), (None, 365, False), (None, None, True), (-1, 1, False)],
)
def test_the_age_of_our_value(days: int | None, older_than: int | None, fitting: bool) -> None:
    assert fits(rule(older_than_days=older_than), [field(days=days)], child=None, at=NOW) is fitting


def test_the_youngest_of_several_values_counts() -> None:
    both = rule("email", "phone", older_than_days=90)
    assert not fits(both, [field("email", days=400), field("phone", days=5)], child=None, at=NOW)
    assert fits(both, [field("email", days=400), field("phone", days=91)], child=None, at=NOW)


def test_an_empty_side_and_children() -> None:
    here, there = field(ours=None), field(theirs="")
    assert fits(rule(empty="ours"), [here], child=None, at=NOW)
    assert not fits(rule(empty="ours"), [there], child=None, at=NOW)
    assert fits(rule(empty="theirs"), [there], child=None, at=NOW)
    assert not fits(rule(empty="theirs"), [field()], child=None, at=NOW)
    assert not fits(rule(empty="ours"), [field(ours=None, theirs="")], child=None, at=NOW)
    for child in (True, False):
        assert fits(rule(child=child), [field()], child=child, at=NOW)
        assert not fits(rule(child=child), [field()], child=not child, at=NOW)
        # A family is neither a child nor an adult.
        assert not fits(rule(child=child), [field()], child=None, at=NOW)


def test_of_two_different_answers_neither_applies() -> None:
    assert agree([rule(), rule(older_than_days=90)])
    assert not agree([rule(), rule(answer="ours")])
    assert (answer_of({"a": "ours"}), answer_of({"a": "ours", "b": "theirs"})) == ("ours", "mixed")
    assert kind_of([field("phone"), field("email")]) == "email,phone"


@pytest.mark.parametrize(
    ("condition", "name"),
    [
        (rule(older_than_days=365), "For phones, Planning Center is right when ours is older than a year"),
        (rule(), "For phones, Planning Center is right"),
        (rule(answer="ours", child=True), "For phones of children, ours is right"),
        (rule(empty="ours"), "For phones, Planning Center is right when ours is empty"),
        (rule(answer="ours", empty="theirs"), "For phones, ours is right when Planning Center's is empty"),
        (
            rule("email", "phone", empty="ours", older_than_days=90, child=False),
            "For emails and phones together of adults, Planning Center is right when ours are empty and older than "
            "90 days",
        ),
        (
            rule("last_name", answer="ours", empty="theirs", older_than_days=730),
            "For last names, ours is right when Planning Center's is empty and ours is older than 2 years",
        ),
        (
            rule("address", "email", "phone", older_than_days=1),
            "For addresses, emails and phones together, Planning Center is right when ours are older than a day",
        ),
    ],
)
def test_the_name_describes_the_whole_rule(condition: Condition, name: str) -> None:
    assert name_of(condition) == name


@pytest.mark.parametrize(
    ("ages", "older_than"),
    [([400] * 5, 365), ([400, 400, 400, 400, 100], 90), ([400, 400, 400, 400, 30], None), ([400] * 4 + [None], None)],
)
def test_answers_teach_the_largest_common_age(ages: list[int | None], older_than: int | None) -> None:
    given = [Answered([field(days=days)], NOW) for days in ages]
    assert learned("phone", "theirs", given) == rule(older_than_days=older_than)


def test_answers_teach_that_the_side_that_lost_was_always_empty() -> None:
    empty = Answered([field(ours=None, days=1)], NOW)
    assert learned("phone", "theirs", [empty] * 5) == rule(empty="ours")
    assert learned("phone", "theirs", [empty] * 4 + [Answered([field(days=1)], NOW)]) == rule()
    # An empty winning side in some answers is no condition.
    assert learned("phone", "ours", [empty] * 5) == rule(answer="ours")
