"""Makes tests/support importable, here and in the processes that tests start; the sample service, running."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from fastapi import FastAPI

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
