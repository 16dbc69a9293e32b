"""One simulator for all tests here; each test finds it with default settings and without fault scripts."""

from collections.abc import Iterator

import httpx
import pytest

from pco_simulator.testing import Control, SimulatorProcess


@pytest.fixture(scope="session")
def process() -> Iterator[SimulatorProcess]:
    with SimulatorProcess(people=150, seed=7) as running:
        yield running


@pytest.fixture
def simulator(process: SimulatorProcess) -> SimulatorProcess:
    process.control.reset()
    return process


@pytest.fixture
def control(simulator: SimulatorProcess) -> Control:
    return simulator.control


@pytest.fixture
def api(simulator: SimulatorProcess) -> Iterator[httpx.Client]:
    with simulator.api() as client:
        yield client


@pytest.fixture
def church(control: Control) -> str:
    organization_id: str = control.organizations()[0]["id"]
    return organization_id
