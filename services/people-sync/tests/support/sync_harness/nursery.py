"""Starts people-sync many times: imported once, forked for every process.

`python -m sync_harness.nursery` reads a line of JSON (`env`, `log`) for each process to start and answers its pid. A
fork takes milliseconds, while an interpreter with all imports takes seconds.
"""

import asyncio
import ctypes
import gc
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Final

from sqlalchemy.orm import configure_mappers

from people_sync.config import Settings
from people_sync.main import create_app
from servicekit.app import run
from servicekit.kafka.consumers import Consumers
from servicekit.testing import eventually
from sync_harness.sabotage import install_from_environment
from sync_harness.scaled import scale_time

_DIE_WITH_THE_PARENT: Final = 1
"""PR_SET_PDEATHSIG: a test run that is ended leaves nobody behind."""


def _serve() -> None:
    """Serve until standard input ends."""
    _warm_up()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # collects ended children
    for line in sys.stdin:
        wanted = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(wanted["env"], wanted["log"])
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


_LATE: Final = (
    "httpcore",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
)


def _warm_up() -> None:
    """Do in advance what each process would do itself: late imports, routes and mappers, garbage collection."""
    for module in _LATE:
        import_module(module)
    configure_mappers()
    gc.collect()
    gc.freeze()


def _become(env: Mapping[str, str], log: str) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_THE_PARENT, signal.SIGKILL)
    os.environ.clear()
    os.environ.update(env)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    null = os.open(os.devnull, os.O_RDONLY)
    for number, target in ((0, null), (1, output), (2, output)):
        os.dup2(target, number)
    sys.argv = ["people_sync"]
    install_from_environment()
    scale_time()
    Consumers.run = _told_nothing  # type: ignore[method-assign]
    try:
        run(Settings, create_app)
    finally:
        os._exit(1)


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
    """The client in the test process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._lock = asyncio.Lock()
        self._started: set[int] = set()

    async def start(self, env: Mapping[str, str], log: Path) -> int:
        """A new people-sync; gives its pid."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        async with self._lock:
            self._process.stdin.write(json.dumps({"env": dict(env), "log": str(log)}).encode() + b"\n")
            pid = int(await self._process.stdout.readline())
        self._started.add(pid)
        return pid

    async def kill(self, pid: int) -> None:
        """Send SIGKILL, and wait until the process is gone."""
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)
        await eventually(lambda: not is_alive(pid))
        self._started.discard(pid)

    async def close(self) -> None:
        """End all processes."""
        for pid in list(self._started):
            await self.kill(pid)
        self._process.kill()
        await self._process.wait()


@asynccontextmanager
async def nursery() -> AsyncIterator[Nursery]:
    """A nursery for a block."""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sync_harness.nursery",
        env=env,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    made = Nursery(process)
    try:
        yield made
    finally:
        await made.close()


if __name__ == "__main__":
    _serve()
