"""Loops that outlive their failures, and beat as long as they make progress."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog

from servicekit.http.health import Health
from servicekit.telemetry import METRICS

log = structlog.get_logger(__name__)

FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Loop:
    """Periodic work of a service: `run(runtime, resources)` again and again, `every` seconds apart.

    `run` does one round and returns; it opens its own transactions. It is called at once at the start. Every replica
    runs it: rounds that must not overlap claim their work with `FOR UPDATE SKIP LOCKED` or an advisory lock.
    """

    name: str
    run: Callable[[Any, Any], Awaitable[None]]
    every: float
    longest_round: float = 60.0
    """Seconds a round may take before `/livez` calls the loop stuck."""


class Supervisor:
    """Runs steps in tasks of their own until it is stopped; a failing step is tried again with growing delay.

    A step that breaks is logged once, and once more when it works again.
    """

    def __init__(self, health: Health) -> None:
        self._health = health
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping = False

    def start(
        self, name: str, step: Callable[[], Awaitable[None]], *, every: float = 0, longest_round: float = 60.0
    ) -> None:
        """Repeat `step`, sleeping `every` seconds between rounds."""
        self._health.expect_beats(name, within=every + longest_round + LONGEST_DELAY_SECONDS)
        self._tasks[name] = asyncio.create_task(self._run(name, step, every), name=name)

    async def stop(self) -> None:
        """Cancel all and wait until they have ended."""
        self._stopping = True
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._tasks.clear()

    async def _run(self, name: str, step: Callable[[], Awaitable[None]], every: float) -> None:
        failures = 0
        broken_since = 0.0
        while True:
            self._health.beat(name)
            try:
                await step()
            except Exception:
                if self._stopping:  # on its way out, in place of the cancellation
                    log.warning("loop ended badly", loop=name, exc_info=True)
                    return
                failures += 1
                METRICS.loop_restarts_total.labels(name).inc()
                if failures == 1:
                    broken_since = time.monotonic()
                    log.exception("loop broke", loop=name)
                await asyncio.sleep(min(FIRST_DELAY_SECONDS * 2 ** min(failures - 1, 10), LONGEST_DELAY_SECONDS))
                continue
            if failures:
                log.info("loop recovered", loop=name, after=round(time.monotonic() - broken_since, 1))
                failures = 0
            if every:
                await asyncio.sleep(every)
