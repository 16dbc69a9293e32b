"""`conflicts.resolution.v1`: decisions about conflicts, and their erasure."""

from pydantic import Field

from contracts.base import Event, Timestamp
from contracts.conflicts import Choice


class ConflictResolved(Event):
    """A person (or a rule a person made) decided. people-sync applies it to both sides.

    `version` counts the conflict's states at conflict-service; `decided_on` is the `values_version` that the person
    saw: if a value has moved since, the decision is not applied.
    """

    conflict_id: str
    """Id of the conflict."""
    record_id: str
    """Id of the member or family."""
    decision_id: str
    """Id of the decision."""
    decided_on: int = Field(ge=1)
    """The conflict's `values_version` that was shown."""
    choices: dict[str, Choice] = Field(description="By field.")
    decided_by: str = Field(description="The platform user's id; for a rule, of the person who turned it on.")
    decided_by_name: str | None = Field(default=None, description="The person's name, or the rule's.")
    rule_id: str | None = Field(default=None, description="The rule that decided; null for a person.")
    bulk_id: str | None = Field(
        default=None,
        description="True for part of a bulk answer to conflicts: no person waits for this decision alone.",
    )
    decided_at: Timestamp
    """When it was decided."""

    @property
    def key(self) -> str:
        return self.record_id


class ConflictsErased(Event):
    """conflict-service erased a record's conflicts; counts for the receipt. One per RecordErased; `version` is 1."""

    record_id: str
    """Id that the member or family had."""
    erasure_id: str
    """Id of the erasure."""
    conflicts: int = Field(ge=0)
    """Number of erased conflicts."""
    decisions: int = Field(ge=0)
    """Number of erased decisions."""
    names: int = Field(ge=0, description="Number of erased mentions in bulk answers to conflicts.")
    occurred_at: Timestamp
    """When it happened."""

    @property
    def key(self) -> str:
        return self.record_id
