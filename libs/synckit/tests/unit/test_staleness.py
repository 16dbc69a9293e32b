"""For a horizon, a read with the value from before our write is inconclusive; any other read is conclusive."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from synckit.staleness import CREATED, Reading, Write, believable_at, made_lately

HORIZON = timedelta(seconds=120)


def at(seconds: float) -> datetime:
    return datetime(2026, 1, 5, tzinfo=UTC) + timedelta(seconds=seconds)


def same(_field: str, seen: Any, written: Any) -> bool:
    return bool(seen == written)


RED_TO_BLUE = Write("color", "red", "blue", at(0), at(1))
BLUE_TO_GREEN = Write("color", "blue", "green", at(10), at(11))
UNANSWERED = Write("size", 1, 2, at(5))


@pytest.mark.parametrize(
    ("seen", "read_at", "believable"),
    [
        ({"color": "blue"}, 12, 131),  # the value between the two is also a former one
        ({"color": "red"}, 12, 131),
        ({"color": "blue"}, 130.9, 131),
        ({"color": "blue"}, 131, None),  # the church has changed it back
        ({"color": "green"}, 12, None),
        ({"color": "black"}, 12, None),  # only the church wrote that
        ({"color": "green", "size": 1}, 12, 125),  # it may have taken effect, and shows later
        ({"color": "red", "size": 1}, 12, 131),
        ({"name": "Widget"}, 12, None),
    ],
)
def test_a_former_value_is_inconclusive_for_a_horizon(
    seen: dict[str, Any], read_at: float, believable: float | None
) -> None:
    writes = [RED_TO_BLUE, BLUE_TO_GREEN, UNANSWERED]
    until = believable_at(writes, seen, Reading(at(read_at), HORIZON), same)
    assert until == (None if believable is None else at(believable))


def test_a_value_written_twice_is_no_former_one() -> None:
    back = Write("color", "blue", "red", at(10), at(11))
    assert believable_at([RED_TO_BLUE, back], {"color": "red"}, Reading(at(12), HORIZON), same) is None


def test_a_404_of_a_record_just_created_is_inconclusive() -> None:
    made = Write(CREATED, None, None, at(0), at(1))
    assert made_lately([made], Reading(at(120.9), HORIZON)) == at(121)
    assert made_lately([made], Reading(at(121), HORIZON)) is None
