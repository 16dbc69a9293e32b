"""Makes tests/support importable; auth-service running against the simulator, PostgreSQL and Kafka."""

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from pco_simulator.testing import SimulatorProcess
from servicekit.testing import Databases, KeyRing, serve

SUPPORT = str(Path(__file__).parent / "support")
if SUPPORT not in sys.path:
    sys.path.insert(0, SUPPORT)

from auth_support import Auth, Facts, make_settings  # noqa: E402 - after the path is set


@pytest.fixture(scope="session")
def simulator_process() -> Iterator[SimulatorProcess]:
    """A Planning Center with three small churches."""
    with SimulatorProcess(people=30, churches=3) as simulator:
        yield simulator


@pytest.fixture
def simulator(simulator_process: SimulatorProcess) -> SimulatorProcess:
    """The simulator in its initial state."""
    simulator_process.control.reset()
    return simulator_process


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def facts(kafka_server: str) -> AsyncIterator[Facts]:
    """All facts that auth-service publishes."""
    async with Facts(kafka_server) as reader:
        yield reader


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running(
    simulator_process: SimulatorProcess, databases: Databases, kafka_server: str, keys: KeyRing
) -> AsyncIterator[Auth]:
    """auth-service on a socket."""
    from auth_service.main import create_app  # noqa: PLC0415

    url = await databases.create("auth_service")
    settings = make_settings(keys, simulator_process, database_url=url, kafka=kafka_server)
    async with serve(create_app(settings)) as client:
        yield Auth(client, keys, simulator_process, settings)


@pytest_asyncio.fixture(loop_scope="session")
async def auth(running: Auth, simulator: SimulatorProcess, databases: Databases) -> Auth:
    """auth-service with empty tables, and a Planning Center without consents."""
    await databases.truncate(running.settings.database_url.get_secret_value())
    simulator.control.end_tokens(op="revoke", which="both")
    return running
