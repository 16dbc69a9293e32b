"""The objects that live as long as a process of conflict-service."""

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

    clock: Clock
    """The wall clock."""


@asynccontextmanager
async def open_resources(runtime: Runtime) -> AsyncIterator[Resources]:
    """Open the resources for `create_service(resources=...)`."""
    yield Resources(runtime.clock)


Wired = Annotated[Resources, Depends(resources)]
