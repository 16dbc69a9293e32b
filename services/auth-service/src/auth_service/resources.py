"""The resources that live as long as the process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends

from auth_service.config import Settings
from auth_service.planning_center import PlanningCenter
from auth_service.usecases.connect import Connecting
from auth_service.usecases.disconnect import Disconnecting
from auth_service.usecases.lease import Leases
from auth_service.usecases.refresh import GrantLocks, Refresher
from servicekit.db.notify import Wake
from servicekit.db.sessions import resources
from servicekit.runtime import Runtime
from servicekit.vault import Vault


@dataclass(frozen=True, slots=True)
class Resources:
    """The service's own singletons."""

    settings: Settings
    vendor: PlanningCenter
    """Planning Center's OAuth endpoints."""
    vault: Vault
    """Encrypts tokens at rest."""
    locks: GrantLocks
    """Locks with one holder per grant over all replicas."""
    refresher: Refresher
    connecting: Connecting
    leases: Leases
    disconnecting: Disconnecting
    disconnect_wake: Wake
    """Rings when a disconnect has a next step."""


@asynccontextmanager
async def open_resources(runtime: Runtime) -> AsyncIterator[Resources]:
    """Open the resources for `create_service(resources=...)`; the shutdown waits for refreshes in progress."""
    settings = runtime.settings
    assert isinstance(settings, Settings)
    sessions, clock = runtime.sessions, runtime.clock
    vendor, vault, locks = PlanningCenter(settings, clock), Vault(settings.encryption_keys), GrantLocks(settings)
    refresher = Refresher(settings, sessions, vendor, vault, locks, clock)
    try:
        yield Resources(
            settings=settings,
            vendor=vendor,
            vault=vault,
            locks=locks,
            refresher=refresher,
            connecting=Connecting(settings, sessions, vendor, vault, refresher, clock),
            leases=Leases(settings, sessions, refresher, vault, clock),
            disconnecting=Disconnecting(settings, sessions, vendor, vault, locks, clock),
            disconnect_wake=runtime.listener.wake("disconnect"),
        )
    finally:
        await refresher.drain()


Wired = Annotated[Resources, Depends(resources)]
