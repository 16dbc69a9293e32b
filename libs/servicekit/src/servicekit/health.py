"""`/livez`: do the loops make progress. `/readyz`: do the things we need answer. `/metrics`: Prometheus."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from servicekit.telemetry import REGISTRY

PROBE_TIMEOUT_SECONDS = 3.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Health:
    """Beats and probes of one process."""

    _beats: dict[str, float] = field(default_factory=dict)
    _limits: dict[str, float] = field(default_factory=dict)
    _probes: dict[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)

    def expect_beats(self, name: str, *, within: float) -> None:
        """From now on `name` must beat at least every `within` seconds."""
        self._limits[name] = within
        self.beat(name)

    def beat(self, name: str) -> None:
        """`name` has made progress."""
        self._beats[name] = time.monotonic()

    def forget(self, name: str) -> None:
        """`name` has ended as it should."""
        self._limits.pop(name, None)

    def probe(self, name: str, check: Callable[[], Awaitable[None]]) -> None:
        """`check` raises while this process cannot do its work; the text of the error is shown on `/readyz`."""
        self._probes[name] = check

    def silent(self) -> dict[str, float]:
        """Loops that have not beaten in time, and for how many seconds."""
        now = time.monotonic()
        return {
            name: round(now - self._beats[name], 1)
            for name, limit in self._limits.items()
            if now - self._beats[name] > limit
        }

    async def failing(self) -> dict[str, str]:
        """Probes that failed, and why."""
        results = await asyncio.gather(*(self._check(name) for name in self._probes))
        return {name: reason for name, reason in zip(self._probes, results, strict=True) if reason is not None}

    async def _check(self, name: str) -> str | None:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                await self._probes[name]()
        except TimeoutError:
            return f"no answer within {PROBE_TIMEOUT_SECONDS:g} s"
        except Exception as error:
            log.debug("probe failed", probe=name, exc_info=error)
            return type(error).__name__ if not isinstance(error, NotReady) else str(error)
        return None


class NotReady(Exception):
    """Raised by a probe; the text is safe to show."""


router = APIRouter(include_in_schema=False)


@router.get("/livez")
async def livez(request: Request) -> JSONResponse:
    """200 while every loop makes progress; 503 names the silent ones: the process should be restarted."""
    silent = request.app.state.runtime.health.silent()
    return JSONResponse({"status": "stuck" if silent else "ok", "silent": silent}, 503 if silent else 200)


@router.get("/readyz")
async def readyz(request: Request) -> JSONResponse:
    """200 while all probes answer; 503 names the failing ones: it may pass by itself."""
    failing = await request.app.state.runtime.health.failing()
    return JSONResponse({"status": "not ready" if failing else "ok", "failing": failing}, 503 if failing else 200)


@router.get("/metrics")
async def metrics() -> Response:
    """Prometheus text format."""
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)
