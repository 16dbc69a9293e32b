"""Resources that calendar-sync holds for as long as the process lives."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, ClassVar

from fastapi import Depends

from calendar_sync.config import Settings
from calendar_sync.usecases.feed import Written
from contracts.values import CALENDAR
from pco_client.pacer import Pacers
from servicekit.db.sessions import resources
from servicekit.runtime import Runtime
from synckit.resources import SyncResources


@dataclass(frozen=True, slots=True)
class Resources(SyncResources):
    """The service's own singletons."""

    settings: Settings
    written: Written
    """Events of feeds as they were last written."""
    product: ClassVar[str] = CALENDAR


@asynccontextmanager
async def open_resources(runtime: Runtime) -> AsyncIterator[Resources]:
    """For `create_service(resources=...)`."""
    assert isinstance(runtime.settings, Settings)
    yield Resources(runtime.settings, runtime, Pacers(), Written())


Wired = Annotated[Resources, Depends(resources)]
