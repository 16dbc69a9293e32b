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


NOTHING_HERE: Final = "Nothing here depends on records of this kind."
NO_ID: Final = "Its record has no number that Planning Center gives, so there is nothing to read."


@dataclass(frozen=True, slots=True)
class Known:
    """The connection as a service knows it."""

    state: str
    generation: int


@dataclass(frozen=True, slots=True)
class Reader:
    """What reads the changes that come without notices."""

    product: str
    """Such as `Planning Center People`."""
    read: str
    """Such as `sync`."""

    def why_not(self, generation: int, known: Known | None) -> str | None:
        """The sentence about a notice of a generation that the connection does not allow to be read; None if it does.

        A notice of a later generation overtook the fact about its connection: with that fact a read begins, later than
        the change.
        """
        if known is not None and generation > known.generation:
            return (
                "It came while the new connection was still being set up, so it was not read by itself. The "
                f"{self.read} that begins with the new connection reads what has changed."
            )
        if known is None or known.state in {"closing", "disconnected"}:
            return (
                f"{self.product} is not connected, so nothing was read. The {self.read} after the next connection "
                "reads what has changed."
            )
        if generation < known.generation:
            return (
                f"It came for an earlier connection, so nothing was read. The {self.read} that began with the present "
                "connection reads what has changed."
            )
        return None


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
