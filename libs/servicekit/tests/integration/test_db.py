"""What PostgreSQL does with a process that stands still."""

import subprocess
import sys
from pathlib import Path

import pytest
from sample_service.main import Settings
from sqlalchemy import text

from servicekit.db import make_engine
from servicekit.testing import Databases, KeyRing, eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")
LOCK = 7_041
SUPPORT = str(Path(__file__).parents[1] / "support")
FROZEN_AMID_A_STATEMENT = f"""
import asyncio, os, signal
from sample_service.main import Settings
from servicekit.db import make_engine

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


async def test_a_process_frozen_amid_a_statement_keeps_no_lock(
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
