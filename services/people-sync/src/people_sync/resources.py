"""What people-sync holds for as long as the process lives."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from fastapi import Depends

from contracts.values import PEOPLE
from pco_client.client import Observer, PlanningCenter, Timeouts
from pco_client.pacer import Pacers
from people_sync.config import Settings
from servicekit.clock import Clock
from servicekit.db.sessions import resources
from servicekit.runtime import Runtime
from synckit.leases import Leases


@dataclass(frozen=True, slots=True)
class Resources:
    """The service's own singletons."""

    settings: Settings
    runtime: Runtime
    pacers: Pacers
    """One pace per Planning Center user, shared by everything in this process."""

    @property
    def clock(self) -> Clock:
        """The wall clock."""
        return self.runtime.clock

    @property
    def horizon(self) -> timedelta:
        """The staleness horizon."""
        return self.settings.horizon

    def planning_center(self, organization_id: str, pco_organization_id: str, observer: Observer) -> PlanningCenter:
        """A client for one organization here and there; an async context manager."""
        return PlanningCenter(
            base_url=self.settings.pco_base_url,
            user_agent=self.settings.pco_user_agent,
            lease=Leases(self.runtime.http, self.settings, PEOPLE, organization_id, pco_organization_id),
            pacers=self.pacers,
            timeouts=Timeouts(exchange=self.settings.pco_request_timeout_seconds),
            pool_size=self.settings.push_at_once + 14,
            observer=observer,
        )


@asynccontextmanager
async def open_resources(runtime: Runtime) -> AsyncIterator[Resources]:
    """For `create_service(resources=...)`."""
    assert isinstance(runtime.settings, Settings)
    yield Resources(runtime.settings, runtime, Pacers())


Wired = Annotated[Resources, Depends(resources)]
