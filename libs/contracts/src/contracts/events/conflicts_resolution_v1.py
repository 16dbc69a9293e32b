"""`conflicts.resolution.v1`: what people decided, and what was erased of it."""

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
    decided_by: str = Field(description="The platform user's id; of a rule that of whoever turned it on.")
    decided_by_name: str | None = Field(default=None, description="The person's name, or the rule's.")
    rule_id: str | None = Field(default=None, description="Of the rule that decided; null for a person.")
    bulk_id: str | None = Field(default=None, description="Of an answer to many: nobody waits for this one alone.")
    decided_at: Timestamp
    """When it was decided."""

    @property
    def key(self) -> str:
        return self.record_id


class ConflictsErased(Event):
    """conflict-service erased a record, and counts what for the receipt. One fact per RecordErased; `version` is 1."""

    record_id: str
    """Id that the member or family had."""
    erasure_id: str
    """Id of the erasure."""
    conflicts: int = Field(ge=0)
    """How many conflicts."""
    decisions: int = Field(ge=0)
    """How many decisions."""
    names: int = Field(ge=0, description="Mentions in answers to many.")
    occurred_at: Timestamp
    """When it happened."""

    @property
    def key(self) -> str:
        return self.record_id
