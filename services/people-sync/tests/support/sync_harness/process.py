"""People-sync as a process, and its environment."""

import asyncio
import os
import signal
import ssl
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx

from contracts.values import PEOPLE_SYNC
from servicekit.local.process import free_port
from servicekit.testing import KeyRing, eventually
from synckit.testing.nursery import forked

SUPPORT: Final = Path(__file__).parents[1]
"""The folder that its modules are imported from."""
HORIZON_SECONDS: Final = 1.5
LEASE_SECONDS: Final = 4.0
TIMEOUT_SECONDS: Final = 1.0
LAG: Final = {"lists_lag_ms": 600, "filters_lag_ms": 900, "singles_lag_ms": 300}
"""Below the horizon: what the vendor shows is that old."""
NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For each `httpx` client, since one that makes its own reads all certificates of this machine: 24 ms."""
UNKIND: Final = {"rate_limit": 100, "rate_period_seconds": 1, "background_edits_per_second": 2.0, **LAG}
"""The simulator by default in these tests: a limit, stale reads, and somebody else at work all the time."""


def environment(
    keys: KeyRing, *, database: str, kafka: str, simulator: str, auth_service: str, port: int, **more: object
) -> dict[str, str]:
    """The environment of a process, with scaled times: seconds instead of minutes."""
    return {
        **os.environ,
        "DATABASE_URL": database,
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "HTTP_PORT": str(port),
        "OPERATOR_PORT": str(free_port()),
        "LOG_FORMAT": "console",
        "SIGNING_KEY": keys.signing_key(PEOPLE_SYNC),
        "TRUSTED_KEYS": keys.trusted_keys,
        "AUTH_SERVICE_URL": auth_service,
        "PCO_BASE_URL": simulator,
        "PCO_STALENESS_HORIZON_SECONDS": str(HORIZON_SECONDS),
        "HELD_ANSWER_GRACE_SECONDS": "0",
        "PCO_REQUEST_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS),
        "JOB_LEASE_SECONDS": str(LEASE_SECONDS),
        "DATABASE_IDLE_IN_TRANSACTION_SECONDS": "8",
        "RUNS_AT_ONCE": "16",
        "DATABASE_POOL_SIZE": "20",
        "PUSH_AT_ONCE": "8",
    } | {name: str(value) for name, value in more.items()}


def ports() -> dict[str, str]:
    """Ports for another replica with the environment of the first one."""
    return {"HTTP_PORT": str(free_port()), "OPERATOR_PORT": str(free_port())}


class Service:
    """People-sync as a process of its own."""

    def __init__(self, env: Mapping[str, str], log: Path) -> None:
        self.env = dict(env)
        self.log = log
        self.base_url = f"http://127.0.0.1:{self.env['HTTP_PORT']}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The running process's id."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    async def start(self, *, ready: bool = True) -> "Service":
        """Start the process; with `ready`, wait until it is ready."""
        self._process = await forked("sync_harness.scaled", SUPPORT, self.env, self.log)
        if ready:
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{self.env['OPERATOR_PORT']}", verify=NO_TLS
            ) as client:
                await eventually(lambda: self._is_ready(client), within=90)
        return self

    async def _is_ready(self, client: httpx.AsyncClient) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"people-sync ended with {self._process.returncode}:\n{self.tail()}")
        try:
            return (await client.get("/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    def tail(self, lines: int = 40) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def send(self, which: signal.Signals) -> None:
        """SIGSTOP, SIGCONT, ..."""
        os.kill(self.pid, which)

    async def kill(self) -> None:
        """SIGKILL."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """SIGTERM."""
        await self._end(signal.SIGTERM)

    async def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(how)
        try:
            await asyncio.to_thread(process.wait, 20)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)


@asynccontextmanager
async def running(env: Mapping[str, str], log: Path) -> AsyncIterator[Service]:
    """A service for a block."""
    service = Service(env, log)
    try:
        yield await service.start()
    finally:
        await service.stop()
