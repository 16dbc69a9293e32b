"""Do the loops of a process make progress, and do the things it needs answer. See `operators` for who is told."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

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
    """For a load balancer: 200 while every loop makes progress, else 503. Which one is for the operator's port."""
    silent = request.app.state.runtime.health.silent()
    return JSONResponse({"status": "stuck" if silent else "ok"}, 503 if silent else 200)
