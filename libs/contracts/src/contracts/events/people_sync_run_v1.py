"""`people.sync-run.v1`: runs of the People sync and their held matches, live."""

from pydantic import Field

from contracts.base import Event
from contracts.sync_runs import Run


class SyncRunFact(Event):
    """The full state of one run. `version` is the run's."""

    run: Run
    """The run after the change."""


class SyncRunStarted(SyncRunFact):
    """A run was started."""


class SyncRunProgressed(SyncRunFact):
    """A run progressed, began to wait, or was answered."""


class SyncRunFinished(SyncRunFact):
    """A run ended: done, stopped or failed."""


class HeldMatchesAnswered(Event):
    """Held matches were answered, or an answer was taken back: read them again. `version` is one match's."""

    held_ids: tuple[str, ...]
    """Ids of the held matches."""
    state: str = Field(description="`same`, `different`, `later`, or `open` for an answer that was taken back.")
    by_name: str | None
    """Name of the person who answered, or took the answer back."""
