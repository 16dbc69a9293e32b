"""Figures of the delivery log for operators."""

from typing import Any, Final

from prometheus_client import Gauge
from sqlalchemy import text

from servicekit.runtime import Runtime
from servicekit.telemetry import REGISTRY

FIGURES_SECONDS: Final = 5.0
_MOST: Final = 10_000
_WAITING_AGE: Final = Gauge(
    "webhook_gateway_waiting_age_seconds", "Age of the oldest delivery without an outcome", registry=REGISTRY
)
_WAITING: Final = Gauge("webhook_gateway_waiting", "Deliveries without an outcome, up to 10000", registry=REGISTRY)
_OVERDUE: Final = Gauge(
    "webhook_gateway_overdue",
    "Deliveries acknowledged and not applied within 5 minutes, up to 10000",
    registry=REGISTRY,
)
_FAILED: Final = Gauge(
    "webhook_gateway_failed", "Failed deliveries that nobody archived, up to 10000", registry=REGISTRY
)
_GAPS: Final = Gauge("webhook_gateway_gaps_open", "Windows of lost deliveries not read again yet", registry=REGISTRY)

# Partial indexes alone, each read up to a limit.
_FIGURES: Final = text(
    f"""
    SELECT
        coalesce((
            SELECT extract(epoch FROM clock_timestamp() - waiting_since) FROM delivery
            WHERE state = 'waiting' ORDER BY waiting_since LIMIT 1
        ), 0),
        (SELECT count(*) FROM (SELECT 1 FROM delivery WHERE state = 'waiting' LIMIT {_MOST}) AS part),
        (SELECT count(*) FROM (
            SELECT 1 FROM delivery WHERE state = 'waiting' AND waiting_since < now() - interval '5 minutes'
            LIMIT {_MOST}
        ) AS part),
        (SELECT count(*) FROM (SELECT 1 FROM delivery WHERE state = 'failed' LIMIT {_MOST}) AS part),
        (SELECT count(*) FROM (
            SELECT 1 FROM delivery_gap JOIN connection USING (organization_id, product)
            WHERE closed_at IS NULL AND connection.state = 'connected' LIMIT {_MOST}
        ) AS part)
    """  # noqa: S608 - a constant
)


async def measure(runtime: Runtime, _: Any) -> None:
    """Measure the log (a loop's round)."""
    async with runtime.sessions() as session:
        age, waiting, overdue, failed, gaps = (await session.execute(_FIGURES)).one()
    _WAITING_AGE.set(age)
    _WAITING.set(waiting)
    _OVERDUE.set(overdue)
    _FAILED.set(failed)
    _GAPS.set(gaps)
