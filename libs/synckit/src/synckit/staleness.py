"""The interpretation of reads that may not show our own writes yet. Pure: a service's `domain/` may import this module.

Reads lag behind writes for seconds to minutes: within the staleness horizon of a write, a read with the former value of
that field is stale, not an edit, and a 404 of a record just created proves nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Final, TypeAlias

CREATED: Final = "created"
"""The field of a write that created the record; within the horizon a 404 proves nothing."""

Same: TypeAlias = Callable[[str, Any, Any], bool]
"""Whether the value of a field that was read equals one that was written (JSON), except for formatting."""


@dataclass(frozen=True, slots=True)
class Write:
    """One field that was or may have been sent to Planning Center. Values are JSON."""

    field: str
    before: Any
    after: Any
    announced_at: datetime
    answered_at: datetime | None = None

    @property
    def left_at(self) -> datetime:
        """Latest possible time of the send. A takeover from a dead writer moves `announced_at` to its own time."""
        return self.answered_at or self.announced_at


@dataclass(frozen=True, slots=True)
class Reading:
    """The time of a read, and the staleness horizon."""

    read_at: datetime
    horizon: timedelta

    def recent(self, writes: Iterable[Write]) -> list[Write]:
        """Writes that this read may not show yet, in order."""
        return [write for write in writes if self.read_at - write.left_at < self.horizon]


def believable_at(writes: Sequence[Write], seen: Mapping[str, Any], reading: Reading, same: Same) -> datetime | None:
    """When reads of a record become conclusive; None if this one is.

    `writes` in the order of announcement. `seen`: the values read, by field.
    """
    found: list[datetime] = []
    by_field = sorted((write for write in reading.recent(writes) if write.field in seen), key=lambda one: one.field)
    for name, group in groupby(by_field, key=lambda one: one.field):
        recent = list(group)
        former = [write.before for write in recent] + [write.after for write in recent[:-1]]
        if not same(name, seen[name], recent[-1].after) and any(same(name, seen[name], value) for value in former):
            found.append(max(write.left_at for write in recent) + reading.horizon)
    return max(found, default=None)


def made_lately(writes: Iterable[Write], reading: Reading) -> datetime | None:
    """When a 404 becomes conclusive for a record that we wrote; None if it is now."""
    left = [write.left_at for write in reading.recent(writes)]
    return max(left) + reading.horizon if left else None
