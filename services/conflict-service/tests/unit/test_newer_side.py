"""A side only counts as newer if that is certain."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from conflict_service.domain.answers import newer_side

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)


def at(minutes: float | None) -> datetime | None:
    return None if minutes is None else NOON + timedelta(minutes=minutes)


def field(here: float | None, there: float | None, before: float | None = None, **more: Any) -> dict[str, Any]:
    """A field edited on both sides; times in minutes, None if unknown."""
    return {
        "field": "phone",
        "base": "1",
        "base_known": True,
        "ours": "2",
        "theirs": "3",
        "ours_changed_at": at(here),
        "theirs_changed_at": at(there),
        "theirs_changed_before": at(before),
        **more,
    }


@pytest.mark.parametrize(
    ("fields", "side"),
    [
        ([field(2, 1)], "ours"),
        ([field(1, 2)], "theirs"),
        ([field(2, None, 1)], "ours"),
        # At the latest at that time: before ours, or after it.
        ([field(1, None, 2)], None),
        ([field(2, None)], None),
        ([field(None, 1)], None),
        ([field(None, None)], None),
        ([field(1, 1)], None),
        # Planning Center's edit is anywhere in its second.
        ([field(0.9 / 60, 0)], None),
        ([field(1 / 60, 0)], "ours"),
        ([field(0, 1 / 60)], "theirs"),
        # Only the newest edit counts.
        ([field(1, 2), field(3, 0)], "ours"),
        ([field(1, 4), field(3, 0)], "theirs"),
        ([field(5, 2), field(None, 1)], "ours"),
        ([field(1, 2), field(None, 1)], None),
        ([field(1, 2), field(0, None, 9)], "theirs"),
        ([field(1, 2), field(0, None)], "theirs"),
        ([field(3, 2), field(0, None, 9)], None),
        # An uncontradicted edit does not count.
        ([field(1, 2), field(9, None, theirs="1")], "theirs"),
        ([field(2, 1), field(None, 9, ours="1")], "ours"),
        ([field(9, None, theirs="1")], None),
        # Without an agreed value, both sides may have been edited.
        ([field(2, 1, base=None, base_known=False)], "ours"),
        ([], None),
    ],
)
def test_the_certain_newest_edit(fields: list[dict[str, Any]], side: str | None) -> None:
    assert newer_side(fields) == side
    as_json = [{name: v.isoformat() if isinstance(v, datetime) else v for name, v in one.items()} for one in fields]
    assert newer_side(as_json) == side
