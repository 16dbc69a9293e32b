"""The resources that a sync holds for as long as its process lives."""

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from pco_client.client import Observation, Observer, PlanningCenter, Timeouts
from pco_client.pacer import Pacers
from servicekit.clock import Clock
from servicekit.runtime import Runtime
from synckit.leases import Leases
from synckit.settings import SyncSettings


def unobserved(_: Observation) -> None:
    """For requests that nobody counts."""


@dataclass(frozen=True, slots=True)
class SyncResources:
    """A service derives its own: `class Resources(SyncResources)`, with `product` and its own settings."""

    settings: SyncSettings
    runtime: Runtime
    pacers: Pacers
    """One pace per Planning Center user, shared by everything in this process."""
    product: ClassVar[str]
    """As in `contracts.values`."""

    @property
    def clock(self) -> Clock:
        """The wall clock."""
        return self.runtime.clock

    @property
    def horizon(self) -> timedelta:
        """The staleness horizon."""
        return self.settings.horizon

    @property
    def pool_size(self) -> int:
        """Connections of one client."""
        return 32

    def planning_center(
        self, organization_id: str, pco_organization_id: str, observer: Observer = unobserved
    ) -> PlanningCenter:
        """A client for one organization here and there; an async context manager."""
        return PlanningCenter(
            base_url=self.settings.pco_base_url,
            user_agent=self.settings.pco_user_agent,
            lease=Leases(self.runtime.http, self.settings, self.product, organization_id, pco_organization_id),
            pacers=self.pacers,
            timeouts=Timeouts(exchange=self.settings.pco_request_timeout_seconds),
            pool_size=self.pool_size,
            observer=observer,
        )
