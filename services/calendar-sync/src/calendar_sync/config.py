"""What calendar-sync reads from its environment: nothing so far beside what every service reads."""

from typing import ClassVar

from contracts.values import CALENDAR_SYNC
from servicekit.settings import ServiceSettings


class Settings(ServiceSettings):
    """See `ServiceSettings`."""

    service_name: ClassVar[str] = CALENDAR_SYNC
