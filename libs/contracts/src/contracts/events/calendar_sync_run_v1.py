"""`calendar.sync-run.v1`: runs of the Calendar sync, live."""

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
