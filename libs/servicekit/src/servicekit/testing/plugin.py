"""Fixtures for every test of the repository, loaded by pytest through servicekit's entry point.

Session: `postgres_server` (admin URL), `kafka_server` (bootstrap servers, topics provisioned), `databases`, `keys`.
Per test, for tests that kill servers: `own_postgres`, `own_kafka`.
"""

import gc
import os
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
import structlog

# Imported early: in CPython 3.11 a finalizer that formats a traceback during this import re-enters the parser, which
# fails the whole session.
from hypothesis import settings

from servicekit.logging import format_exception, redact
from servicekit.testing import servers

if TYPE_CHECKING:
    from servicekit.local import LocalKafka, LocalPostgres
    from servicekit.testing.databases import Databases
    from servicekit.testing.keys import KeyRing


def pytest_configure(config: pytest.Config) -> None:
    """Send log lines to pytest's capture, and silence joserfc's warning about the name of an algorithm."""
    config.addinivalue_line("filterwarnings", "ignore:EdDSA is deprecated")
    # By default Hypothesis fails an example that takes 0.2 s, as any may on a busy machine.
    settings.register_profile("untimed", settings.default, deadline=None)
    settings.load_profile("untimed")
    if examples := os.environ.get("SOAK_EXAMPLES"):  # `make soak`
        settings.register_profile("soak", max_examples=int(examples), deadline=None)
        settings.load_profile("soak")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            redact,
            format_exception,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def pytest_collection_finish() -> None:
    """Exempt modules and collected tests from garbage collection: pytest collects five times when it ends, which takes
    1 s of processor time with all that is imported here."""
    gc.collect()
    gc.freeze()


def pytest_report_header() -> list[str]:
    """Name the PostgreSQL and Kafka in use in pytest's header."""
    return [f"postgres: {servers.choice('DATABASE_URL')}, kafka: {servers.choice('KAFKA_BOOTSTRAP_SERVERS')}"]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A real PostgreSQL for the session; the URL of a role that may create databases."""
    with servers.postgres() as url:
        yield url


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def kafka_server() -> AsyncIterator[str]:
    """A real Kafka for the session with the registry's topics; its bootstrap servers.

    Topics and groups are shared by all tests of the session: use an organization of its own in every test.
    """
    from servicekit.kafka.provision import provision  # noqa: PLC0415

    with servers.kafka() as bootstrap_servers:
        await provision(bootstrap_servers)
        yield bootstrap_servers


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def databases(postgres_server: str) -> "AsyncIterator[Databases]":
    """`await databases.create("auth_service")` → the URL of a fresh database with its migrations applied."""
    from servicekit.testing.databases import Databases  # noqa: PLC0415

    made = Databases(postgres_server)
    yield made
    if servers.choice("DATABASE_URL") == "environment":
        await made.drop_all()  # other servers are deleted as a whole


@pytest.fixture(scope="session")
def keys() -> "KeyRing":
    """The keys of all services, with settings and tokens."""
    from servicekit.testing.keys import KeyRing  # noqa: PLC0415

    return KeyRing()


@pytest.fixture
def own_postgres() -> "Iterator[LocalPostgres]":
    """A local PostgreSQL of the test's own, that it may `kill()` and `start()`."""
    from servicekit.local import LocalPostgres  # noqa: PLC0415

    with servers.directory() as home, LocalPostgres(home, settings=servers.FAST) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def own_kafka() -> "AsyncIterator[LocalKafka]":
    """A local Kafka of the test's own with the registry's topics, that it may `kill()` and `start()`."""
    from servicekit.kafka.provision import provision  # noqa: PLC0415
    from servicekit.local import LocalKafka  # noqa: PLC0415

    with servers.directory() as home, LocalKafka(home) as server:
        await provision(server.bootstrap_servers)
        yield server
