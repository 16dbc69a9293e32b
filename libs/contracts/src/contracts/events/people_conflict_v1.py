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
    """Nothing is left to decide: the record was deleted here, is gone in Planning Center, or its link is not in use."""


class ResolutionApplied(ConflictFact):
    """A decision was applied: to both sides, save for what Planning Center refused."""

    decision_id: str
    """Id of the decision."""
    refused: tuple[str, ...] = Field(
        default=(), description="In words, what Planning Center did not take; the next sync sends it again."
    )


class ResolutionOvertaken(ConflictFact):
    """A decision was not applied, or not to its end; the conflict is open again with the values of now."""

    decision_id: str
    """Id of the decision."""
    sentence: str = Field(default="", description="Why, in words.")


class RecordErased(Event):
    """A person was erased here, or a family with its last one: nothing of the record's conflicts is to be kept.

    Not a state of a conflict. Whatever is told of the record after this is older, and is to be dropped.
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
