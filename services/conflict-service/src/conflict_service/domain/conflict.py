"""The state of a conflict after a fact, independent of the order and repetition of facts.

A fact carries the conflict's full state and its version, so the newest one wins: the state shown is that of the
highest version seen, and `opened_at` is the earliest instant of any fact. Both are the same for every permutation and
repetition of the same facts. A decision waits from its acceptance until a fact names it, or until the conflict ends
without it.
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
from contracts.http.conflicts import ConflictState

FactState = Literal["open", "resolved", "agreed_elsewhere", "withdrawn"]

STATE_AFTER: Final[Mapping[type[ConflictFact], FactState]] = {
    ConflictDetected: "open",
    ConflictConverged: "agreed_elsewhere",
    ConflictWithdrawn: "withdrawn",
    ResolutionApplied: "resolved",
    ResolutionOvertaken: "open",
}


@dataclass(frozen=True, slots=True)
class Conflict:
    """The known state of a conflict."""

    record: ConflictRecord
    fields: tuple[ConflictField, ...]
    told: FactState
    """State in the newest fact."""
    source_version: int
    version: int
    values_version: int
    opened_at: datetime
    updated_at: datetime
    waiting: str | None = None
    """Id of the decision that is being carried out."""

    @property
    def state(self) -> ConflictState:
        """The shown state: an open conflict is `resolving` while a decision waits."""
        return "resolving" if self.told == "open" and self.waiting else self.told


@dataclass(frozen=True, slots=True)
class Change:
    """A fact's effect."""

    after: Conflict
    announce: bool
    """Whether the change must be announced."""


def take(before: Conflict | None, fact: ConflictFact) -> Change | None:
    """The conflict after a fact; None if the fact changes nothing."""
    if before is not None and fact.version <= before.source_version:
        # A late fact still gives an earlier `opened_at` and a decision's outcome.
        after = replace(
            before, opened_at=min(before.opened_at, fact.occurred_at), waiting=_still_waiting(before, fact, before.told)
        )
        if after == before:
            return None
        settled = after.state != before.state
        return Change(replace(after, version=before.version + settled), announce=settled)
    told = STATE_AFTER[type(fact)]
    after = Conflict(
        record=fact.record,
        fields=fact.fields,
        told=told,
        source_version=fact.version,
        version=before.version if before else 0,
        values_version=fact.values_version,
        opened_at=min(fact.occurred_at, before.opened_at) if before else fact.occurred_at,
        updated_at=fact.occurred_at,
        waiting=_still_waiting(before, fact, told),
    )
    # Never announced as open, so no closing is announced.
    visible = told == "open" or (before is not None and before.told == "open")
    changed = before is None or _content(before) != _content(after)
    return Change(replace(after, version=after.version + 1), announce=visible and changed)


def is_new(before: Conflict | None, after: Conflict) -> bool:
    """Whether these values are newly in conflict and wait for a decision."""
    if after.state != "open" or (before is not None and before.source_version >= after.source_version):
        return False
    return before is None or before.state != "open" or before.values_version != after.values_version


def decided(before: Conflict, decision_id: str) -> Conflict:
    """The conflict after a decision."""
    return replace(before, waiting=decision_id, version=before.version + 1)


def _still_waiting(before: Conflict | None, fact: ConflictFact, told: FactState) -> str | None:
    if before is None or told != "open":
        return None
    if isinstance(fact, ResolutionApplied | ResolutionOvertaken) and fact.decision_id == before.waiting:
        return None
    return before.waiting


def _content(conflict: Conflict) -> object:
    return conflict.state, conflict.record, conflict.fields
