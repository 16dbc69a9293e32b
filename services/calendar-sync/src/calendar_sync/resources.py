"""Resources that calendar-sync holds for as long as the process lives."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends

from servicekit.clock import Clock
from servicekit.db.sessions import resources
from servicekit.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Resources:
    """The service's own singletons."""

    runtime: Runtime

    @property
    def clock(self) -> Clock:
        """The wall clock."""
        return self.runtime.clock


@asynccontextmanager
async def open_resources(runtime: Runtime) -> AsyncIterator[Resources]:
    """For `create_service(resources=...)`."""
    yield Resources(runtime)


Wired = Annotated[Resources, Depends(resources)]
