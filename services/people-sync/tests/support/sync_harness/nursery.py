"""Starts people-sync many times, each process with a death of its own.

`python -m sync_harness.nursery` is such a process: scaled, sabotaged as its environment says, and away from Kafka.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from people_sync.config import Settings
from people_sync.main import create_app
from servicekit.app import run
from servicekit.kafka.consumers import Consumers
from sync_harness.process import forked
from sync_harness.sabotage import install_from_environment
from sync_harness.scaled import scale_time


async def _told_nothing(self: Consumers) -> None:
    """Keep these processes out of Kafka's groups, where they would only make each other rebalance."""
    await asyncio.Event().wait()


def is_alive(pid: int) -> bool:
    """Whether the process is alive."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Nursery:
    """The processes of a test, by pid."""

    def __init__(self) -> None:
        self._started: dict[int, subprocess.Popen[bytes]] = {}

    async def start(self, env: Mapping[str, str], log: Path) -> int:
        """A new people-sync; gives its pid."""
        process = await forked("sync_harness.nursery", env, log)
        self._started[process.pid] = process
        return process.pid

    async def kill(self, pid: int) -> None:
        """Send SIGKILL, and wait until the process is gone."""
        process = self._started.pop(pid)
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait)


@asynccontextmanager
async def nursery() -> AsyncIterator[Nursery]:
    """A nursery for a block, which ends all its processes."""
    made = Nursery()
    try:
        yield made
    finally:
        for pid in list(made._started):
            await made.kill(pid)


if __name__ == "__main__":
    install_from_environment()
    scale_time()
    Consumers.run = _told_nothing  # type: ignore[method-assign]
    run(Settings, create_app)
