"""Proof of sync: why a record differs between the sides, in one sentence."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from people_sync.domain.sentences import (
    CONFLICT,
    CONVERGED,
    CREATED_HERE,
    CREATED_THERE,
    FIELD_NAMES,
    GONE,
    HELD,
    INACTIVATED_THERE,
    KEPT_DIFFERENT,
    LATER,
    LINKED,
    NOT_READ,
    ONE_SIDE,
    REFUSED,
    UNEXPLAINED,
    UPDATED_BOTH,
    UPDATED_HERE,
    UPDATED_THERE,
    WAITS_FOR_SYNC,
    WAITS_FOR_YOU,
)
from people_sync.domain.values import ACTIVE

APART: Final = (KEPT_DIFFERENT, WAITS_FOR_YOU, WAITS_FOR_SYNC, REFUSED, NOT_READ, ONE_SIDE, UNEXPLAINED)
"""Reasons why records differ. Records kept out of the sync are counted separately."""

PLANNED: Final[Mapping[str, tuple[str, str]]] = {
    UPDATED_HERE: (WAITS_FOR_SYNC, "Changed in Planning Center; the next sync takes that over here."),
    UPDATED_THERE: (WAITS_FOR_SYNC, "Changed here; the next sync sends that to Planning Center."),
    UPDATED_BOTH: (WAITS_FOR_SYNC, "Changed on both sides; the next sync brings the changes together."),
    CONFLICT: (WAITS_FOR_SYNC, "Changed on both sides; the next sync asks you which values to keep."),
    LINKED: (WAITS_FOR_SYNC, "On both sides and not linked yet; the next sync links the two."),
    CREATED_HERE: (WAITS_FOR_SYNC, "In Planning Center only; the next sync adds this record here."),
    CREATED_THERE: (
        WAITS_FOR_SYNC,
        "Here only; the next sync adds this record in Planning Center, or asks you if it may be there already.",
    ),
    GONE: (WAITS_FOR_SYNC, "Not in Planning Center any more; the next sync says so here."),
    INACTIVATED_THERE: (WAITS_FOR_SYNC, "Deleted here; the next sync makes this person inactive in Planning Center."),
    HELD: (WAITS_FOR_YOU, "May be somebody who is already here. Please answer in Held matches."),
    LATER: (NOT_READ, "Planning Center did not show everything about this record; the next sync reads it again."),
}
"""Reason and sentence by the outcome that a comparison plans."""

_BY_AN_EDIT: Final = frozenset({UPDATED_HERE, UPDATED_THERE, UPDATED_BOTH, CONFLICT})
"""Outcomes planned for linked records because one was edited."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Known facts about one linked record."""

    differing: Sequence[str] = ()
    """Fields whose values differ by more than formatting."""
    kept: Mapping[str, str | None] = field(default_factory=dict)
    """By field, the administrator who keeps it different; None if a contact cleared here has left another one."""
    in_conflict: Sequence[str] = ()
    """Fields of the open conflict."""
    planned: str | None = None
    """The outcome that the comparison plans."""
    refused: str | None = None
    """Why Planning Center refused the record in the last sync, in words."""
    moved: bool = True
    """Whether either side may have been edited since the last comparison."""
    edited: bool = False
    """Whether our side was edited since the last comparison."""

    @property
    def without_an_edit(self) -> bool:
        """Whether the planned outcome requires an edit, although neither side has changed."""
        return self.planned in _BY_AN_EDIT and not self.moved


def why_different(facts: Facts) -> tuple[str, str] | None:
    """The reason why the two sides differ, with a sentence. None if they do not."""
    if facts.in_conflict:
        wait = "waits" if len(facts.in_conflict) == 1 else "wait"
        return (
            WAITS_FOR_YOU,
            f"{_names(facts.in_conflict)} {wait} for your decision in Conflicts.",
        )
    if facts.refused and facts.planned is not None:
        return REFUSED, facts.refused
    left = [name for name in facts.differing if name not in facts.kept and name != ACTIVE]
    if facts.planned is not None and facts.planned != CONVERGED and not (left and facts.without_an_edit):
        return PLANNED[facts.planned]
    if left and facts.edited and facts.planned is None:
        # The edit is newer than the comparison, which would have planned it.
        return PLANNED[UPDATED_THERE]
    if left:
        differ = "differs" if len(left) == 1 else "differ"
        return UNEXPLAINED, (
            f"{_names(left)} {differ}, and no edit explains it. The next sync compares the two again, and the people "
            "who run this service were told."
        )
    if facts.differing:
        return KEPT_DIFFERENT, _kept(facts)
    return None


def _kept(facts: Facts) -> str:
    said: list[str] = []
    by_name: dict[str, list[str]] = {}
    for name in facts.differing:
        by = facts.kept.get(name)
        if name == ACTIVE and name not in facts.kept:
            said.append("One side is inactive and the other is not: no sync changes that in Planning Center.")
        elif by is None:
            said.append(f"{_names([name])} was cleared here, and Planning Center has another one that is left there.")
        else:
            by_name.setdefault(by, []).append(name)
    decided = [
        f"{_names(names)} {'stays' if len(names) == 1 else 'stay'} different, as {by} decided."
        for by, names in by_name.items()
    ]
    return " ".join([*decided, *said])


def _names(fields: Iterable[str]) -> str:
    names = [_NAMES.get(name) or FIELD_NAMES.get(name) or name.replace("_", " ") for name in fields]
    text = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return text[:1].upper() + text[1:]


_NAMES: Final = {"email": "email", "address": "address", "active": "status", "members": "members"}
"""The names of our fields; `FIELD_NAMES` has the vendor's attributes too."""


def statement(people: int, identical: int, apart: Mapping[str, int]) -> str:
    """The result of a full comparison in one sentence. `apart`: number of differing people by reason."""
    began = f"{identical:,} of {people:,} {'person' if people == 1 else 'people'} identical on both sides"
    parts = [f"{count:,} {_STATED[reason][count != 1]}" for reason in APART if (count := apart.get(reason, 0))]
    return f"{', '.join([began, *parts])}."


_STATED: Final[Mapping[str, tuple[str, str]]] = {
    KEPT_DIFFERENT: ("differs because you keep it different", "differ because you keep them different"),
    WAITS_FOR_YOU: ("waits for your answer", "wait for your answer"),
    WAITS_FOR_SYNC: ("waits for the next sync", "wait for the next sync"),
    REFUSED: ("was refused by Planning Center", "were refused by Planning Center"),
    NOT_READ: ("could not be read completely", "could not be read completely"),
    ONE_SIDE: ("is on one side only", "are on one side only"),
    UNEXPLAINED: ("differs without a reason that we know", "differ without a reason that we know"),
}

_FIRST_HOUR: Final = 1
_HOURS: Final = 4
"""Window of proofs, 1 to 5 o'clock at night, over which churches are spread."""


def next_night(now: datetime, time_zone: str | None, organization_id: str) -> datetime:
    """Start of an organization's next nightly comparison: the same minute every night in its own zone.

    `time_zone`: IANA; an unknown one counts as UTC.
    """
    zone = _zone(time_zone)
    seed = int.from_bytes(blake2b(organization_id.encode(), digest_size=4).digest(), "big")
    minutes = _FIRST_HOUR * 60 + seed % (_HOURS * 60)
    local = now.astimezone(zone)
    begins = local.replace(hour=minutes // 60, minute=minutes % 60, second=0, microsecond=0)
    if begins <= local:
        begins = (local + timedelta(days=1)).replace(hour=minutes // 60, minute=minutes % 60, second=0, microsecond=0)
    return begins.astimezone(now.tzinfo)


def _zone(name: str | None) -> ZoneInfo:
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")
