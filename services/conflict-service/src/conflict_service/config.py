"""What conflict-service reads from its environment: nothing beside what every service reads."""

from typing import ClassVar

from contracts.values import CONFLICT_SERVICE
from servicekit.settings import ServiceSettings


class Settings(ServiceSettings):
    """See `ServiceSettings`."""

    service_name: ClassVar[str] = CONFLICT_SERVICE
