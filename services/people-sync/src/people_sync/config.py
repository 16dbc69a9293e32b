"""Settings of people-sync: the environment variables beside those of every service."""

from typing import ClassVar

from pydantic import Field

from contracts.values import PEOPLE_SYNC
from servicekit.settings import ServiceSettings


class Settings(ServiceSettings):
    """Read from the environment."""

    service_name: ClassVar[str] = PEOPLE_SYNC

    pco_base_url: str = "https://api.planningcenteronline.com"
    pco_user_agent: str = "church-platform-sync (operations@example.org)"
    """Planning Center wants a name and a contact, and answers a generic one with a bare 403."""
    pco_staleness_horizon_seconds: float = Field(default=120.0, ge=0)
    """How long a read may still show what was there before a write of ours."""
    pco_request_timeout_seconds: float = Field(default=30.0, gt=0)
    """For one request to Planning Center."""
    held_answer_grace_seconds: float = Field(default=10.0, ge=0)
    """For how long one answer to a held match can be taken back before it is acted on, unless a run comes by."""
    auth_service_url: str
    job_lease_seconds: float = Field(default=60.0, gt=0)
    """How long a run is another worker's after its own has gone silent. Longer than a request may take."""
    runs_at_once: int = Field(default=4, ge=1)
    """Runs of different organizations that one process carries out at the same time."""
    push_at_once: int = Field(default=50, ge=1)
    """Records written to Planning Center at the same time in one run; its rate limit sets the pace."""
    change_kept_days: int = Field(default=90, ge=31)
    """How long a sync's lists, record by record, can be read. Its numbers and every record's history stay longer."""
    run_kept_days: int = Field(default=400, ge=31)
    """How long a sync is in the list of syncs; the newest of each organization stays."""
