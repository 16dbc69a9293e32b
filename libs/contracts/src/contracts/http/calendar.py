"""calendar-sync: settings."""

from pydantic import Field

from contracts.base import Model
from contracts.http.common import Intent


class CalendarSettings(Model):
    """An administrator's settings of the Calendar sync."""

    poll_minutes: int = Field(default=5, ge=1, le=120, description="How often linked events are checked.")


class CalendarSettingsPatch(Intent):
    """Only the fields sent are changed."""

    poll_minutes: int | None = Field(default=None, ge=1, le=120)
    """How often linked events are checked."""
