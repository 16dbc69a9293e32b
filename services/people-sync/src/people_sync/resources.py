"""What people-sync holds for as long as the process lives."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, ClassVar

from fastapi import Depends

from contracts.values import PEOPLE
from pco_client.pacer import Pacers
from people_sync.config import Settings
from servicekit.db.sessions import resources
from servicekit.runtime import Runtime
from synckit.resources import SyncResources


@dataclass(frozen=True, slots=True)
class Resources(SyncResources):
    """The service's own singletons."""

    settings: Settings
    product: ClassVar[str] = PEOPLE

    @property
    def pool_size(self) -> int:
        """Connections of one client: for all that a push sends at the same time, and more for reads."""
        return self.settings.push_at_once + 14


@asynccontextmanager
async def open_resources(runtime: Runtime) -> AsyncIterator[Resources]:
    """For `create_service(resources=...)`."""
    assert isinstance(runtime.settings, Settings)
    yield Resources(runtime.settings, runtime, Pacers())


Wired = Annotated[Resources, Depends(resources)]
