"""`people.conflict.v1`: conflicts as people-sync finds, closes and settles them."""

from pydantic import Field

from contracts.base import Event, Timestamp
from contracts.conflicts import ConflictField, ConflictRecord


class ConflictFact(Event):
    """The full state of one conflict; `version` counts its states. One record has at most one open conflict."""

    conflict_id: str
    """Id of the conflict."""
    record: ConflictRecord
    """The member or family that the conflict is about."""
    fields: tuple[ConflictField, ...] = Field(description="Only the fields that collide.")
    values_version: int = Field(
        default=1, ge=1, description="Counts the values of `fields` alone: a record that is renamed does not move it."
    )
    occurred_at: Timestamp
    """When it happened."""

    @property
    def key(self) -> str:
        return self.record.id


class ConflictDetected(ConflictFact):
    """Both sides have different values; those are left as they are. Also sent when the values move again."""


class ConflictConverged(ConflictFact):
    """The two sides became equal without a decision: *agreed elsewhere*."""


class ConflictWithdrawn(ConflictFact):
    """No decision is needed now: the record was deleted here, is gone in Planning Center, or its link is unused."""


class ResolutionApplied(ConflictFact):
    """A decision was applied to both sides, except for values that Planning Center refused."""

    decision_id: str
    """Id of the decision."""
    refused: tuple[str, ...] = Field(
        default=(), description="In words, the values that Planning Center refused; the next sync sends them again."
    )


class ResolutionOvertaken(ConflictFact):
    """A decision was not applied, or only in part; the conflict is open again with its current values."""

    decision_id: str
    """Id of the decision."""
    sentence: str = Field(default="", description="Why, in words.")


class RecordErased(Event):
    """A person was erased here, or a family with its last person: consumers must delete all of the record's conflicts.

    Not a state of a conflict. Facts about the record that arrive after this one are older and must be dropped.
    """

    record_id: str
    """Id that the member or family had."""
    record_kind: str = Field(description="`member` or `family`.")
    erasure_id: str
    """Id of the erasure."""
    erased_at: Timestamp
    """When it was erased."""

    @property
    def key(self) -> str:
        return self.record_id
