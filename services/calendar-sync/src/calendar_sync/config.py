"""The environment variables of calendar-sync: so far only those of every service."""

from typing import ClassVar

from contracts.values import CALENDAR_SYNC
from servicekit.settings import ServiceSettings


class Settings(ServiceSettings):
    """See `ServiceSettings`."""

    service_name: ClassVar[str] = CALENDAR_SYNC
