"""What a conflict is after a fact, whatever the order in which facts arrive and however often.

A fact carries the conflict's full state and its version, so the newest one wins: the state shown is that of the
highest version seen, and `opened_at` is the earliest instant any fact tells of. Both are the same for every
permutation and repetition of the same facts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

from contracts.conflicts import ConflictField, ConflictRecord
from contracts.events.people_conflict_v1 import (
    ConflictConverged,
    ConflictDetected,
    ConflictFact,
    ConflictWithdrawn,
    ResolutionApplied,
    ResolutionOvertaken,
)

State = Literal["open", "resolved", "agreed_elsewhere", "withdrawn"]

STATE_AFTER: Final[Mapping[type[ConflictFact], State]] = {
    ConflictDetected: "open",
    ConflictConverged: "agreed_elsewhere",
    ConflictWithdrawn: "withdrawn",
    ResolutionApplied: "resolved",
    ResolutionOvertaken: "open",
}


@dataclass(frozen=True, slots=True)
class Conflict:
    """A conflict as it is known now."""

    record: ConflictRecord
    fields: tuple[ConflictField, ...]
    state: State
    source_version: int
    version: int
    values_version: int
    opened_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Change:
    """A fact's effect."""

    after: Conflict
    announce: bool
    """Whether anybody who follows conflicts has to hear of it."""


def take(before: Conflict | None, fact: ConflictFact) -> Change | None:
    """The conflict after a fact; None if the fact changes nothing."""
    if before is not None and fact.version <= before.source_version:
        if fact.occurred_at >= before.opened_at:
            return None
        # Late: all that an older fact still tells is how long the conflict has been there.
        return Change(replace(before, opened_at=fact.occurred_at), announce=False)
    state = STATE_AFTER[type(fact)]
    after = Conflict(
        record=fact.record,
        fields=fact.fields,
        state=state,
        source_version=fact.version,
        version=before.version if before else 0,
        values_version=fact.values_version,
        opened_at=min(fact.occurred_at, before.opened_at) if before else fact.occurred_at,
        updated_at=fact.occurred_at,
    )
    # Closed before anybody saw it open: there is nothing to take back.
    visible = state == "open" or (before is not None and before.state == "open")
    changed = before is None or _content(before) != _content(after)
    return Change(replace(after, version=after.version + 1), announce=visible and changed)


def _content(conflict: Conflict) -> object:
    return conflict.state, conflict.record, conflict.fields
