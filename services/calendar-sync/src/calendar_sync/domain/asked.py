"""When a person asked for the sync of an event, as one of the reasons of its refresh. Pure.

Every request for the event moves the row's `requested_at`, also one of a notice. What a person put back after asking is
not to be overwritten by what was asked for, so the reason has an instant of its own.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

_ASKED: Final = "asked "


def asked(at: datetime) -> str:
    """The reason of a sync that a person asks for."""
    return f"{_ASKED}{at.isoformat()}"


def asked_at(reasons: Iterable[str]) -> datetime | None:
    """When a person asked last; None if nobody did."""
    found = (datetime.fromisoformat(one.removeprefix(_ASKED)) for one in reasons if one.startswith(_ASKED))
    return max(found, default=None)


def newest_asked(reasons: Iterable[str]) -> list[str]:
    """The reasons without what a person asked before: it is part of what was asked last."""
    those = list(reasons)
    last = asked_at(those)
    others = [one for one in those if not one.startswith(_ASKED)]
    return others if last is None else [*others, asked(last)]
