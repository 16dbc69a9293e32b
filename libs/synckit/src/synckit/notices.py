"""Words for the outcomes of notices, and whether a read shows what they tell. Pure, for a service's `domain/` too."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

CHANGED: Final = "changed"
UNCHANGED: Final = "unchanged"
CONFLICT: Final = "conflict"
HELD: Final = "held"
LATER: Final = "later"
IGNORED: Final = "ignored"
FAILED: Final = "failed"
"""Outcomes of a notice, as `contracts.events.webhooks_outcome_v1` documents them."""


@dataclass(frozen=True, slots=True)
class Named:
    """A resource that a hint names."""

    type: str
    id: str
    event: str
    """Planning Center's name of the event."""
    event_time: datetime | None
    received_at: datetime

    @property
    def destroyed(self) -> bool:
        """Whether the resource is said to be gone."""
        return self.event.endswith(".destroyed")


def looks_old(named: Iterable[Named], seen: Mapping[tuple[str, str], datetime | None]) -> datetime | None:
    """When the newest hint came that a read does not show; None if it shows all, or cannot tell.

    `seen`: by type and id what was read, with its `updated_at`. Planning Center counts that in whole seconds. Reads may
    show an older state for as long as the staleness horizon.
    """
    return max((one.received_at for one in named if not _shows(one, seen)), default=None)


def _shows(one: Named, seen: Mapping[tuple[str, str], datetime | None]) -> bool:
    key = (one.type, one.id)
    if one.destroyed:
        return key not in seen
    if key not in seen:
        return False
    updated_at = seen[key]
    return updated_at is None or one.event_time is None or updated_at >= one.event_time.replace(microsecond=0)
