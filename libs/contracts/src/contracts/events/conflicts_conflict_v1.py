"""`conflicts.conflict.v1` (compacted): conflicts as the console sees them. The open count is read, never carried."""

from contracts.base import Event, Timestamp
from contracts.conflicts import ConflictRecord


class ConflictStateFact(Event):
    """A conflict's state at conflict-service; `version` is conflict-service's."""

    conflict_id: str
    """Id of the conflict."""
    record: ConflictRecord
    """The member or family that the conflict is about."""
    occurred_at: Timestamp
    """When it happened."""

    @property
    def key(self) -> str:
        return self.conflict_id


class ConflictOpened(ConflictStateFact):
    """A conflict waits for a person."""

    fields: tuple[str, ...]
    """Names of the fields that collide."""


class ConflictClosed(ConflictStateFact):
    """A conflict no longer waits."""

    outcome: str
    """`resolving` while a decision is carried out, `resolved`, `agreed_elsewhere` or `withdrawn`."""
