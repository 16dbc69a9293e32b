"""Loops that survive failures, and beat while they make progress."""

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
    """Periodic work of a service: calls `run(runtime, resources)` at the start and then every `every` seconds.

    `run` does one round in transactions of its own, and returns. Every replica runs it, so rounds that must not overlap
    claim their work with `FOR UPDATE SKIP LOCKED` or an advisory lock.
    """

    name: str
    run: Callable[[Any, Any], Awaitable[None]]
    every: float
    longest_round: float = 60.0
    """Seconds that a round may take before `/livez` reports the loop as stuck."""


class Supervisor:
    """Runs each step in a task of its own until stopped, and retries a failing step with growing delay.

    It logs the first of consecutive failures, and the recovery.
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
                if self._stopping:  # the error replaced the cancellation
                    log.warning("loop failed while stopping", loop=name, exc_info=True)
                    return
                failures += 1
                METRICS.loop_restarts_total.labels(name).inc()
                if failures == 1:
                    broken_since = time.monotonic()
                    log.exception("loop failed", loop=name)
                await asyncio.sleep(min(FIRST_DELAY_SECONDS * 2 ** min(failures - 1, 10), LONGEST_DELAY_SECONDS))
                continue
            if failures:
                log.info("loop recovered", loop=name, after=round(time.monotonic() - broken_since, 1))
                failures = 0
            if every:
                await asyncio.sleep(every)
