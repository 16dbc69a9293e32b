"""When a person asked for a sync, and when a notice is answered by a check."""

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from calendar_sync.domain.asked import asked, asked_at, newest_asked
from calendar_sync.domain.hints import Checked, checked

NOW: Final = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
HORIZON: Final = timedelta(minutes=2)


def test_the_instant_of_the_last_request_of_a_person_counts() -> None:
    later = NOW + timedelta(microseconds=1)
    reasons = [asked(later), "changed", asked(NOW)]
    assert asked_at(reasons) == later
    assert newest_asked(reasons) == ["changed", asked(later)]
    assert asked_at(["changed", "missing"]) is None
    assert newest_asked(["changed"]) == ["changed"]


@pytest.mark.parametrize(
    ("checked_after", "minutes", "expected"),
    [
        (None, 0, Checked.CHECK),
        (-1, 0, Checked.CHECK),
        (0, 0, Checked.CHECK),
        (1, 1, Checked.TIME),
        (1, 2, Checked.CHECK),
        (119, 5, Checked.CHECK),
        (120, 2, Checked.ANSWERED),
        (None, 11.9, Checked.CHECK),
        (None, 12, Checked.GIVEN_UP),
        (1, 12, Checked.GIVEN_UP),
        (300, 60, Checked.ANSWERED),
    ],
)
def test_a_notice_is_answered_by_a_check_that_began_a_horizon_later(
    checked_after: int | None, minutes: float, expected: Checked
) -> None:
    """`checked_after`: seconds from the notice to the begin of the last check."""
    began = NOW + timedelta(seconds=checked_after) if checked_after is not None else None
    assert checked(NOW, began, HORIZON, NOW + timedelta(minutes=minutes)) is expected
