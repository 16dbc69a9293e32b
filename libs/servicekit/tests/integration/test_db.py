"""PostgreSQL ends the transaction of a frozen process, and the pool replaces a connection that was closed."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from threading import Thread
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from sample_service.main import Settings
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from servicekit.db.sessions import make_engine
from servicekit.testing import Databases, KeyRing, eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")
LOCK = 7_041
SUPPORT = str(Path(__file__).parents[1] / "support")
FROZEN_AMID_A_STATEMENT = f"""
import asyncio, os, signal
from sample_service.main import Settings
from servicekit.db.sessions import make_engine

def rows():
    for number in range(3000):
        yield (number, "x" * 100)
    print("standing still", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)

async def main():
    async with make_engine(Settings()).connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        async with driver.transaction():
            await driver.execute("SELECT pg_advisory_xact_lock({LOCK})")
            await driver.executemany("SELECT $1::int, $2::text", rows())

asyncio.run(main())
"""


@pytest_asyncio.fixture(loop_scope="session")
async def engine(databases: Databases, keys: KeyRing) -> AsyncIterator[AsyncEngine]:
    url = await databases.create("sample_service")
    made = make_engine(keys.settings(Settings, database_url=url, kafka="127.0.0.1:1"))
    yield made
    await made.dispose()


async def test_load_neither_opens_nor_closes_connections(engine: AsyncEngine) -> None:
    opened: list[int] = []
    closed: list[int] = []
    event.listen(engine.sync_engine, "connect", lambda *_: opened.append(1))
    event.listen(engine.sync_engine, "close", lambda *_: closed.append(1))
    for _ in range(3):
        await asyncio.gather(*(used(engine) for _ in range(60)))
    assert (len(opened), len(closed)) == (15, 0)


async def used(engine: AsyncEngine) -> Any:
    """The driver's connection that the next one here gets."""
    async with engine.begin() as connection:
        await connection.execute(text("SELECT 1"))
        return (await connection.get_raw_connection()).driver_connection


def end(engine: AsyncEngine, pid: int) -> None:
    """PostgreSQL ends a session, and this thread's event loop hears nothing of it."""
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)

    async def ending() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute("SELECT pg_terminate_backend($1, 5000)", pid)
        await connection.close()

    thread = Thread(target=lambda: asyncio.run(ending()))
    thread.start()
    thread.join()


async def test_a_connection_that_was_closed_in_the_pool_is_replaced(engine: AsyncEngine) -> None:
    lost = await used(engine)
    end(engine, lost.get_server_pid())
    await eventually(lost.is_closed)
    assert await used(engine) is not lost


async def test_a_connection_that_lay_idle_is_asked_first(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servicekit.db.sessions._TRUSTED_SECONDS", 0.0)
    lost = await used(engine)
    end(engine, lost.get_server_pid())
    assert not lost.is_closed()
    assert await used(engine) is not lost


async def test_a_connection_in_use_all_the_time_is_not_asked(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(engine.dialect, "do_ping", asked.append)
    first = await used(engine)
    assert [await used(engine) for _ in range(5)] == [first] * 5
    assert not asked


async def test_a_process_frozen_during_a_statement_keeps_no_lock(
    databases: Databases, kafka_server: str, keys: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = await databases.create("sample_service")
    settings = keys.settings(Settings, database_url=url, kafka=kafka_server)
    for name, value in {
        "DATABASE_URL": url,
        "KAFKA_BOOTSTRAP_SERVERS": kafka_server,
        "SIGNING_KEY": settings.signing_key.get_secret_value(),
        "TRUSTED_KEYS": keys.trusted_keys,
        "DATABASE_IDLE_IN_TRANSACTION_SECONDS": "1",
        "PYTHONPATH": SUPPORT,
    }.items():
        monkeypatch.setenv(name, value)
    engine = make_engine(settings)
    command = [sys.executable, "-c", FROZEN_AMID_A_STATEMENT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as frozen:  # noqa: ASYNC220 - returns at once
        try:
            assert frozen.stdout is not None
            assert frozen.stdout.readline() == "standing still\n"

            async def free() -> bool:
                async with engine.begin() as connection:
                    return bool(await connection.scalar(text(f"SELECT pg_try_advisory_xact_lock({LOCK})")))

            assert not await free()
            await eventually(free)
        finally:
            frozen.kill()
    await engine.dispose()
