"""One round of each loop."""

from auth_service.resources import Resources
from auth_service.usecases.connect import forget_old_attempts
from auth_service.usecases.disconnect import end_unused_grants
from auth_service.usecases.refresh import keep_alive
from servicekit.runtime import Runtime


async def disconnects(_: Runtime, wired: Resources) -> None:
    """Take all due steps, then sleep until the bell or the end of the poll interval."""
    wired.disconnect_wake.clear()
    while await wired.disconnecting.step():
        pass
    await wired.disconnect_wake.wait(wired.settings.disconnect_poll_seconds)


async def grant_care(runtime: Runtime, wired: Resources) -> None:
    """Refresh idle grants, end unused ones, delete old attempts."""
    await keep_alive(wired.refresher, runtime.sessions, wired.settings, runtime.clock)
    await end_unused_grants(runtime.sessions, wired.vendor, wired.vault, wired.locks)
    await forget_old_attempts(runtime.sessions, runtime.clock, wired.settings)
