"""The environment variables of calendar-sync: those of every sync."""

from typing import ClassVar

from contracts.values import CALENDAR_SYNC
from synckit.settings import SyncSettings


class Settings(SyncSettings):
    """See `SyncSettings`."""

    service_name: ClassVar[str] = CALENDAR_SYNC
