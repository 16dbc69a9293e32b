"""`conflicts.conflict.v1` (compacted): conflicts as the console sees them. The open count is read, never carried."""

from contracts.base import Event, Timestamp
from contracts.conflicts import ConflictRecord


class ConflictStateFact(Event):
    """A conflict's state at conflict-service; `version` is conflict-service's."""

    conflict_id: str
    record: ConflictRecord
    occurred_at: Timestamp

    @property
    def key(self) -> str:
        return self.conflict_id


class ConflictOpened(ConflictStateFact):
    """A conflict waits for a person."""

    fields: tuple[str, ...]


class ConflictClosed(ConflictStateFact):
    """A conflict no longer waits."""

    outcome: str
    """`resolving` while a decision is carried out, `resolved`, `agreed_elsewhere` or `withdrawn`."""
