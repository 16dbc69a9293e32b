"""Makes tests/support importable, and starts the service on a real PostgreSQL and a real Kafka."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from conflict_service.config import Settings
from conflict_service.main import create_app
from servicekit.testing import Databases, KeyRing, serve

SUPPORT = str(Path(__file__).parent / "support")
if SUPPORT not in sys.path:
    sys.path.insert(0, SUPPORT)
from conflict_church import Church  # noqa: E402


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def app(databases: Databases, kafka_server: str, keys: KeyRing) -> FastAPI:
    """The service with its own database."""
    url = await databases.create("conflict_service")
    return create_app(keys.settings(Settings, database_url=url, kafka=kafka_server))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """The ready service on a socket."""
    async with serve(app) as running:
        yield running


@pytest.fixture
def ada(app: FastAPI, client: httpx.AsyncClient, keys: KeyRing, church: str) -> Church:
    """The administrator of the organization."""
    return Church(app, client, keys, church)


@pytest.fixture
def church() -> str:
    """A new organization for the test."""
    return f"church-{uuid4().hex[:8]}"
