"""The choices of a bulk answer for each field of a conflict."""

from typing import Any

import pytest

from conflict_service.domain.answers import choices_for, one_side_empty


def field(name: str, base: Any, ours: Any, theirs: Any, *, base_known: bool = True) -> dict[str, Any]:
    return {"field": name, "base": base, "base_known": base_known, "ours": ours, "theirs": theirs}


COLLIDES = field("phone", "1", "2", "3")
OURS_ALONE = field("email", "a", "b", "a")
THEIRS_ALONE = field("gender", None, None, "Female")
NEVER_AGREED = field("phone", None, "2", "3", base_known=False)
STATUS = field("active", None, True, False, base_known=False)
EMPTY_HERE = field("phone", "1", None, "3")


@pytest.mark.parametrize("answer", ["ours", "theirs", "both"])
def test_an_uncontradicted_edit_is_kept_whatever_the_answer(answer: Any) -> None:
    found = choices_for([COLLIDES, OURS_ALONE, THEIRS_ALONE], answer, None)
    assert found == {"phone": answer, "email": "ours", "gender": "theirs"}


def test_an_answer_for_one_field_decides_no_other() -> None:
    assert choices_for([COLLIDES, OURS_ALONE], "theirs", "phone") == {"phone": "theirs", "email": "ours"}
    assert choices_for([COLLIDES, field("email", "a", "b", "c")], "theirs", "phone") is None
    # An answer for this field alone also applies without a contradiction.
    assert choices_for([COLLIDES, OURS_ALONE], "theirs", "email") is None
    assert choices_for([OURS_ALONE], "theirs", "email") == {"email": "theirs"}


def test_only_empty_sides_are_filled() -> None:
    assert choices_for([EMPTY_HERE], "filled", None) == {"phone": "theirs"}
    assert choices_for([field("phone", "1", "2", "")], "filled", None) == {"phone": "ours"}
    assert choices_for([COLLIDES], "filled", None) is None
    assert choices_for([EMPTY_HERE, field("email", "a", "b", "c")], "filled", None) is None


def test_nobodys_status_is_changed_in_planning_center() -> None:
    assert choices_for([STATUS], "ours", None) is None
    assert choices_for([STATUS, NEVER_AGREED], "theirs", None) == {"active": "theirs", "phone": "theirs"}


@pytest.mark.parametrize(
    ("fields", "empty"),
    [([COLLIDES], False), ([EMPTY_HERE], True), ([COLLIDES, THEIRS_ALONE], True), ([field("x", 1, None, "")], False)],
)
def test_one_side_empty(fields: list[Any], empty: bool) -> None:
    assert one_side_empty(fields) is empty
