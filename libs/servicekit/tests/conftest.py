"""Makes tests/support importable, here and in the processes that tests start; the sample service, running."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from servicekit.db.sessions import Sessions, make_sessions
from servicekit.testing import Databases, KeyRing, Served, serve

SUPPORT = str(Path(__file__).parent / "support")
if SUPPORT not in sys.path:
    sys.path.insert(0, SUPPORT)


@pytest_asyncio.fixture(loop_scope="session")
async def app(databases: Databases, kafka_server: str, keys: KeyRing) -> FastAPI:
    """The sample service with a database of its own."""
    from sample_service.main import Settings, create_app  # noqa: PLC0415 - after the path is set

    url = await databases.create("sample_service")
    return create_app(keys.settings(Settings, database_url=url, kafka=kafka_server))


@pytest_asyncio.fixture(loop_scope="session")
async def client(app: FastAPI) -> AsyncIterator[Served]:
    """The service on a socket, ready."""
    async with serve(app) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def url(databases: Databases) -> str:
    """A database of the sample service."""
    return await databases.create("sample_service")


@pytest_asyncio.fixture(loop_scope="session")
async def engine(url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on `url`, for tests without the service."""
    made = create_async_engine(url, pool_size=20)
    yield made
    await made.dispose()


@pytest.fixture
def sessions(engine: AsyncEngine) -> Sessions:
    """Sessions whose events name people-sync as their source."""
    return make_sessions(engine, "people-sync")
