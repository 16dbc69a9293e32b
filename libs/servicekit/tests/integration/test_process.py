"""A service as its own process: the command line, and a polite end."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from sample_service.messages import environment
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from servicekit.db.sessions import make_sessions
from servicekit.jobs.queue import enqueue
from servicekit.testing import Databases, KeyRing, eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def empty(databases: Databases) -> AsyncIterator[str]:
    yield await databases.empty()


async def fetch(url: str, query: str) -> object:
    dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_two_processes_migrate_at_once(empty: str, keys: KeyRing) -> None:
    command = [sys.executable, "-m", "sample_service", "migrate"]
    env = environment(empty, "127.0.0.1:1", keys)
    both = [await asyncio.create_subprocess_exec(*command, env=env) for _ in range(2)]
    assert [await process.wait() for process in both] == [0, 0]
    assert await fetch(empty, "SELECT version_num FROM alembic_version") == "0002"


async def test_sigterm_gives_jobs_back_and_leaves_nothing_in_the_outbox(
    databases: Databases, kafka_server: str, keys: KeyRing
) -> None:
    url = await databases.create("sample_service")
    engine = create_async_engine(url)
    async with make_sessions(engine, "people-sync").begin() as session:
        await enqueue(session, "run", "org-term", {"pages": 1000})
    await engine.dispose()
    env = environment(url, kafka_server, keys, LEASE_SECONDS="60")
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "sample_service", env=env)
    try:

        async def working() -> bool:
            return bool(await fetch(url, "SELECT count(*) > 2 FROM effect"))

        await eventually(working)
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 20)
    finally:
        if process.returncode is None:
            process.kill()
    assert await fetch(url, "SELECT state FROM job") == "queued", "another can take it at once, not after the lease"
    assert await fetch(url, "SELECT (checkpoint->>'page')::int > 2 FROM job")


async def test_a_missing_setting_is_named(keys: KeyRing) -> None:
    env = environment("x", "x", keys) | {"DATABASE_URL": "postgresql://somewhere"}
    env.pop("KAFKA_BOOTSTRAP_SERVERS")
    found = subprocess.run(  # noqa: ASYNC221
        [sys.executable, "-m", "sample_service"], env=env, capture_output=True, text=True, check=False
    )
    assert found.returncode != 0
    assert "kafka_bootstrap_servers" in found.stderr
    assert "postgresql+asyncpg://" in found.stderr
    assert "somewhere" not in found.stderr
