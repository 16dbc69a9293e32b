"""Settings of a service that syncs with Planning Center, in addition to those of every service."""

from datetime import timedelta

from pydantic import Field

from servicekit.jobs.queue import Run
from servicekit.jobs.worker import JobWorker
from servicekit.settings import ServiceSettings


class SyncSettings(ServiceSettings):
    """Read from the environment."""

    auth_service_url: str
    pco_base_url: str = "https://api.planningcenteronline.com"
    pco_user_agent: str = "church-platform-sync (operations@example.org)"
    """Planning Center wants a name and a contact, and answers a generic one with a bare 403."""
    pco_staleness_horizon_seconds: float = Field(default=120.0, ge=0)
    """How long a read may still show the state before one of our writes."""
    pco_request_timeout_seconds: float = Field(default=30.0, gt=0)
    """Timeout of one request to Planning Center."""
    job_lease_seconds: float = Field(default=60.0, gt=0)
    """How long a silent worker keeps its run before another may take it. Longer than a request may take."""
    runs_at_once: int = Field(default=4, ge=1)
    """Runs of different organizations that one process executes at the same time."""
    refreshes_at_once: int = Field(default=8, ge=1)
    """Organizations whose single records one process syncs at a time: by notices, or for somebody at a screen."""
    change_kept_days: int = Field(default=90, ge=31)
    """How long a sync's lists, record by record, can be read. Its numbers and every record's history stay longer."""
    run_kept_days: int = Field(default=400, ge=31)
    """How long a sync is in the list of syncs; the newest of each organization stays."""

    def worker(self, kind: str, run: Run, *, urgent_slots: int = 0) -> JobWorker:
        """A worker of a sync's jobs. urgent_slots: more places, for those that a person waits for."""
        return JobWorker(kind, run, self.runs_at_once, urgent_slots, self.job_lease_seconds)

    def refresh_worker(self, kind: str, run: Run) -> JobWorker:
        """A worker of jobs that sync single records. They take short turns, since every one has somebody waiting."""
        return JobWorker(kind, run, self.refreshes_at_once, 2, self.job_lease_seconds, turn_seconds=5.0)

    @property
    def horizon(self) -> timedelta:
        """The staleness horizon."""
        return timedelta(seconds=self.pco_staleness_horizon_seconds)

    @property
    def unseen(self) -> timedelta:
        """How long an unanswered request may be under way or not yet visible: the sender's lease, the timeout and the
        staleness horizon.
        """
        return timedelta(seconds=self.job_lease_seconds + self.pco_request_timeout_seconds) + self.horizon
