"""Processes of a sync service that tests start many times, and kill.

Such a process is scaled, sabotaged as its environment says, and away from Kafka: `run_alone` in a module of the
service's tests, whose name and folder a nursery is given.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from pco_client import client
from servicekit.app import run
from servicekit.jobs.worker import TURN_SECONDS, JobWorker
from servicekit.kafka.consumers import Consumers
from servicekit.settings import ServiceSettings
from servicekit.testing import preloaded
from synckit import settings as synckit_settings
from synckit.testing.sabotage import KindOf, install_from_environment

# -- in the process ----------------------------------------------------------------------------------------------------


def scale_time() -> None:
    """Scale this process's pauses between attempts and its turns to a tenth of the product's."""
    scaled: Any = partial(client.Retries, wait_initial=0.05, wait_max=1.0)
    client.Retries = scaled  # type: ignore[misc]
    worker: Any = partial(JobWorker, turn_seconds=TURN_SECONDS / 10)
    synckit_settings.JobWorker = worker  # type: ignore[attr-defined]


def run_alone(settings: type[ServiceSettings], create_app: Callable[..., FastAPI], kind_of: KindOf) -> None:
    """Run the service until it dies. kind_of: as `Saboteur`."""
    install_from_environment(kind_of)
    scale_time()
    Consumers.run = _told_nothing  # type: ignore[method-assign]
    run(settings, create_app)


async def _told_nothing(self: Consumers) -> None:  # noqa: ARG001 - Consumers'
    """Keep these processes out of Kafka's groups, where they would only make each other rebalance."""
    await asyncio.Event().wait()


# -- in the test's process ---------------------------------------------------------------------------------------------


async def forked(module: str, folder: Path, env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """A process of a module that stands in a folder; its output goes to the log's end."""
    with log.open("ab") as output:
        return await asyncio.to_thread(
            preloaded.spawn, [sys.executable, "-m", module], env={**env, "PYTHONPATH": str(folder)}, stdout=output
        )


def is_alive(pid: int) -> bool:
    """Whether the process is alive."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Nursery:
    """The processes of a test, by pid."""

    def __init__(self, module: str, folder: Path) -> None:
        self._module, self._folder = module, folder
        self._started: dict[int, subprocess.Popen[bytes]] = {}

    async def start(self, env: Mapping[str, str], log: Path) -> int:
        """A new process; gives its pid."""
        process = await forked(self._module, self._folder, env, log)
        self._started[process.pid] = process
        return process.pid

    async def kill(self, pid: int) -> None:
        """Send SIGKILL, and wait until the process is gone."""
        process = self._started.pop(pid)
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait)

    async def kill_all(self) -> None:
        """Kill all that are left."""
        for pid in list(self._started):
            await self.kill(pid)


@asynccontextmanager
async def nursery(module: str, folder: Path) -> AsyncIterator[Nursery]:
    """A nursery for a block, which ends all its processes."""
    made = Nursery(module, folder)
    try:
        yield made
    finally:
        await made.kill_all()
