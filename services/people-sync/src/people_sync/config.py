"""Settings of people-sync: the environment variables beside those of every sync."""

from typing import ClassVar

from pydantic import Field

from contracts.values import PEOPLE_SYNC
from synckit.settings import SyncSettings


class Settings(SyncSettings):
    """Read from the environment."""

    service_name: ClassVar[str] = PEOPLE_SYNC

    held_answer_grace_seconds: float = Field(default=10.0, ge=0)
    """For how long one answer to a held match can be taken back before it is acted on, unless a run comes by."""
    push_at_once: int = Field(default=50, ge=1)
    """Records written to Planning Center at the same time in one run; its rate limit sets the pace."""
