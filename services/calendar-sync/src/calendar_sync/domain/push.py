"""The creation of an event in Planning Center: its bodies, and the meaning of refusals. Pure."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

from calendar_sync.domain.changes import Whole
from calendar_sync.domain.events import Occurrence, Span, all_day

NOTHING: Final[Mapping[str, Any]] = {}
"""Attributes with which no Planning Center creates an event: it has no name."""
CLOCKS: Final = timedelta(minutes=5)
"""How far Planning Center's clock may be from ours."""
_OWNER: Final = "owner"
_NAME: Final = "name"


def allows(status: int | None, complaints: Iterable[str]) -> bool | None:
    """Whether a refused creation says that events can be created; None if it says neither.

    complaints: parameter and detail of each problem. Today an owner is required and cannot be given
    (planningcenter/developers#1433); who may create is asked for a name instead, if there is none.
    """
    texts = [text.casefold() for text in complaints]
    if status in {403, 404, 405} or any(_OWNER in text for text in texts):
        return False
    return True if any(_NAME in text for text in texts) else None


def attributes_of(event: Whole) -> dict[str, Any]:
    """Attributes of the event itself, which has no dates."""
    return {"name": event.title} | ({"summary": event.description} if event.description else {})


def attributes_of_occurrence(event: Whole, one: Occurrence, zone: str) -> dict[str, Any]:
    """Attributes of one occurrence. Whole days are midnights in the church's `zone`."""
    location = one.location or event.location
    span = in_zone(one.span, zone)
    return {
        "starts_at": f"{span.starts_at:%Y-%m-%dT%H:%M:%SZ}",
        "ends_at": f"{span.ends_at:%Y-%m-%dT%H:%M:%SZ}",
        **({"all_day_event": True} if span.first_day is not None else {}),
        **({"location": location} if location else {}),
        **({"name": one.title} if one.title else {}),
    }


def in_zone(span: Span, zone: str) -> Span:
    """A span as the church has it: its days begin and end at midnights of this zone."""
    if span.first_day is None or span.last_day is None:
        return span
    return all_day(span.first_day, span.last_day, zone)
