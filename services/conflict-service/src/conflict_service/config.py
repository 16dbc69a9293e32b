"""Settings of conflict-service: those of every service, and no others."""

from typing import ClassVar

from contracts.values import CONFLICT_SERVICE
from servicekit.settings import ServiceSettings


class Settings(ServiceSettings):
    """See `ServiceSettings`."""

    service_name: ClassVar[str] = CONFLICT_SERVICE
