"""LISTEN/NOTIFY as a doorbell: it shortens the wait for work and never carries work. Polling alone finds all work."""

import asyncio
from contextlib import suppress

import asyncpg
from sqlalchemy.engine import make_url


class Wake:
    """A bell that loops wait for between polls. A ring wakes one waiting loop, or else the next one that waits."""

    def __init__(self) -> None:
        self._rings = asyncio.Queue[None](maxsize=1)

    def set(self) -> None:
        """Ring."""
        with suppress(asyncio.QueueFull):
            self._rings.put_nowait(None)

    def clear(self) -> None:
        """Forget earlier rings. Call it before looking for work, so that no later ring is lost."""
        with suppress(asyncio.QueueEmpty):
            self._rings.get_nowait()

    async def wait(self, seconds: float) -> bool:
        """Return at the first ring (true), or after `seconds`."""
        # `wait_for` swallows a cancellation that comes together with the ring (Python 3.11 and earlier), so stopping a
        # loop could take for ever.
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rings.get()
                return True
        return False


class Listener:
    """One connection that listens on the channels of a service and rings its wakes."""

    def __init__(self, database_url: str) -> None:
        self._dsn = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._wakes: dict[str, list[Wake]] = {}

    def wake(self, channel: str) -> Wake:
        """A wake that rings at every NOTIFY on `channel`."""
        wake = Wake()
        self._wakes.setdefault(channel, []).append(wake)
        return wake

    @property
    def awaited(self) -> bool:
        """Whether anything waits for a notification."""
        return bool(self._wakes)

    async def listen(self) -> None:
        """Listen until the connection is lost (ConnectionError) or the task is cancelled."""
        lost = asyncio.Event()
        connection = await asyncpg.connect(self._dsn, timeout=5)
        try:
            connection.add_termination_listener(lambda _: lost.set())
            for channel, wakes in self._wakes.items():
                await connection.add_listener(channel, self._ring)
                for wake in wakes:
                    wake.set()  # a notification may have come while nobody listened
            await lost.wait()
        finally:
            connection.terminate()
        raise ConnectionError("the LISTEN connection to PostgreSQL was lost")

    def _ring(self, _connection: object, _pid: int, channel: str, _payload: object) -> None:
        for wake in self._wakes[channel]:
            wake.set()
