"""What the intake of deliveries counts, per process."""

from typing import Final

from prometheus_client import Counter, Histogram

from servicekit.telemetry import REGISTRY

DELIVERIES: Final = Counter(
    "webhook_deliveries_total",
    "Deliveries by outcome: stored, unreadable (stored with the cause), duplicate.",
    ["outcome"],
    registry=REGISTRY,
)
REFUSED: Final = Counter("webhook_refused_calls_total", "Calls refused, by reason.", ["reason"], registry=REGISTRY)
STORE_SECONDS: Final = Histogram(
    "webhook_store_seconds",
    "Seconds of a transaction that stores deliveries.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
    registry=REGISTRY,
)
STORE_DELIVERIES: Final = Histogram(
    "webhook_store_deliveries",
    "Deliveries of a transaction that stores them.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500),
    registry=REGISTRY,
)
