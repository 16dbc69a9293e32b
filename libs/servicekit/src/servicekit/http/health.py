"""The progress of a process's loops, and the state of what it depends on. See `operators` for the answers."""

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
        """Require from now on that `name` beats at least every `within` seconds."""
        self._limits[name] = within
        self.beat(name)

    def beat(self, name: str) -> None:
        """Note that `name` has made progress."""
        self._beats[name] = time.monotonic()

    def forget(self, name: str) -> None:
        """Note that `name` has ended normally."""
        self._limits.pop(name, None)

    def probe(self, name: str, check: Callable[[], Awaitable[None]]) -> None:
        """Add a probe. `check` raises while this process cannot do its work; `/readyz` shows the text of the error."""
        self._probes[name] = check

    def silent(self) -> dict[str, float]:
        """Overdue loops, with the seconds since their last beat."""
        now = time.monotonic()
        return {
            name: round(now - self._beats[name], 1)
            for name, limit in self._limits.items()
            if now - self._beats[name] > limit
        }

    async def failing(self) -> dict[str, str]:
        """Failed probes, with the reasons."""
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
    """For a load balancer: 200 while every loop makes progress, else 503. Only the operator's port names the silent
    loop.
    """
    silent = request.app.state.runtime.health.silent()
    return JSONResponse({"status": "stuck" if silent else "ok"}, 503 if silent else 200)
