"""Everything that lives as long as the process, made once in `servicekit.app`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from servicekit.clock import Clock
from servicekit.db.notify import Listener
from servicekit.db.sessions import Sessions
from servicekit.kafka.producer import Producer
from servicekit.settings import ServiceSettings

if TYPE_CHECKING:
    from servicekit.http.health import Health


@dataclass(frozen=True, slots=True)
class Runtime:
    """The singletons of a process."""

    settings: ServiceSettings
    """The service's own settings class; narrow it with `isinstance` or keep it in the service's Resources."""
    engine: AsyncEngine
    """The service's database."""
    sessions: Sessions
    """`async with sessions.begin() as session:` is one transaction."""
    listener: Listener
    """`listener.wake(channel)` rings at NOTIFY."""
    dead_letters: Producer
    """Sends rejected messages to their dead-letter topics. Events always go through the outbox."""
    http: httpx.AsyncClient
    """For calls between services (the gateway's routing, access leases). Traced; 10 seconds; never for the vendor."""
    clock: Clock
    """The wall clock; a fake in tests."""
    health: "Health"
    """Beats and probes behind `/livez` and `/readyz`."""
