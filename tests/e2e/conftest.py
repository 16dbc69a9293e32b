"""Stacks for the stories: every service twice behind a round-robin proxy, and a vendor that is not kind."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from contracts.values import SERVICES
from local_stack.church import Church
from local_stack.stack import Stack

SUPPORT = str(Path(__file__).parent / "support")
if SUPPORT not in sys.path:
    sys.path.insert(0, SUPPORT)
from pages import chromium, watched  # noqa: E402

HORIZON_SECONDS = 2.0
UNKIND: dict[str, object] = {
    # Reads lag behind writes, as the vendor's do; the services are told how long that may take.
    "lists_lag_ms": 1000,
    "filters_lag_ms": 1000,
    "singles_lag_ms": 1000,
    "rate_period_seconds": 2,
}
SCALED = {
    "PCO_STALENESS_HORIZON_SECONDS": str(HORIZON_SECONDS),
    # A write begins only while the lease, renewed every third of it, lasts longer than the write may take.
    "PCO_REQUEST_TIMEOUT_SECONDS": "3",
    "JOB_LEASE_SECONDS": "6",
}


@pytest.fixture(scope="module")
def vendor() -> dict[str, object]:
    """Settings of the simulator; a module may have its own."""
    return UNKIND


@pytest.fixture(scope="module")
def people() -> int:
    """In the first church of the simulator."""
    return 300


@pytest.fixture(scope="module")
def processes() -> int:
    """Of each service."""
    return 2


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, vendor: dict[str, object], people: int, processes: int
) -> Iterator[Stack]:
    """All services, two processes each unless a module says otherwise."""
    state: Path = tmp_path_factory.mktemp("stack")
    with Stack(
        state,
        people=people,
        replicas=dict.fromkeys(SERVICES, processes),
        environment={"people-sync": SCALED, "webhook-gateway": {"LIVE_HEARTBEAT_SECONDS": "1"}},
        simulator_settings=vendor,
        cache=Path(__file__).parents[2] / ".cache",
    ) as running:
        yield running


@pytest.fixture
def ada(stack: Stack) -> Iterator[Church]:
    """The admin of the first church."""
    with Church.of(stack, "ada") as church:
        yield church


@pytest.fixture
def olga(stack: Stack) -> Iterator[Church]:
    """The admin of the other church."""
    with Church.of(stack, "olga") as church:
        yield church


@pytest.fixture
def sam(stack: Stack) -> Iterator[Church]:
    """Staff of the first church."""
    with Church.of(stack, "sam") as church:
        yield church


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for the stories of one module."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    """Ada's browser, through all chapters of a module."""
    with watched(browser, stack) as window:
        yield window
