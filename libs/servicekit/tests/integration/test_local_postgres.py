"""The local PostgreSQL keeps its data and its address through stops, kills and killed launchers."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from servicekit.local import LocalPostgres, LocalStackError
from servicekit.local.process import is_alive, wait_until


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[LocalPostgres]:
    with LocalPostgres(tmp_path / "pg") as server:
        yield server


async def count_rows(url: str, *, add: bool = False) -> int:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        await connection.execute("CREATE TABLE IF NOT EXISTS visit (id bigint GENERATED ALWAYS AS IDENTITY)")
        if add:
            await connection.execute("INSERT INTO visit DEFAULT VALUES")
        return int(await connection.fetchval("SELECT count(*) FROM visit"))
    finally:
        await connection.close()


async def test_a_service_owns_its_database_and_reaches_no_other(postgres: LocalPostgres) -> None:
    url = postgres.create_role_and_database("auth-service")
    postgres.create_role_and_database("people-sync")
    assert await count_rows(url, add=True) == 1
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(postgres.url("people_sync", role="auth_service", driver="postgresql"))
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(f"postgresql://auth_service:wrong@127.0.0.1:{postgres.port}/auth_service")
    assert postgres.create_role_and_database("auth-service") == url
    assert await count_rows(url) == 1
    assert postgres.sql("SELECT current_setting('server_version')").startswith("18.")


async def test_data_and_address_survive_kill_and_stop(postgres: LocalPostgres) -> None:
    url = postgres.create_role_and_database("auth-service")
    await count_rows(url, add=True)
    pid = postgres.pid
    assert pid is not None
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    postgres.kill()
    assert not any(is_alive(member.pid) for member in family)
    with pytest.raises(ConnectionRefusedError):
        await asyncpg.connect(url.replace("+asyncpg", ""))
    postgres.start()
    assert await count_rows(url, add=True) == 2
    postgres.restart()
    assert await count_rows(url) == 2


async def test_a_killed_launcher_leaves_nothing_that_hinders_the_next(tmp_path: Path) -> None:
    script = (
        "import sys, time; from servicekit.local import LocalPostgres; p = LocalPostgres(sys.argv[1]); p.start();"
        "print(p.create_role_and_database('auth-service'), p.pid, flush=True); time.sleep(600)"
    )
    launcher = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", script, str(tmp_path / "pg")], stdout=subprocess.PIPE, text=True
    )
    assert launcher.stdout is not None
    url, pid = launcher.stdout.readline().split()
    await count_rows(url, add=True)
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()
    launcher.stdout.close()
    with LocalPostgres(tmp_path / "pg") as server:
        assert server.pid != int(pid)
        assert await count_rows(url) == 1
    assert wait_until(lambda: not is_alive(int(pid)), within=10)


async def test_a_stale_pid_file_of_a_foreign_process_is_ignored(postgres: LocalPostgres) -> None:
    url = postgres.create_role_and_database("auth-service")
    postgres.stop()
    pid_file = postgres.directory / "data" / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{pid_file.parent}\n1\n{postgres.port}\n\n127.0.0.1\n1 1\nready   \n")
    postgres.start()
    assert await count_rows(url, add=True) == 1


def test_two_owners_of_one_directory_are_refused(postgres: LocalPostgres) -> None:
    with pytest.raises(LocalStackError, match=r"is running already \(process \d+\): stop that one first"):
        LocalPostgres(postgres.directory).start()


def test_a_taken_port_is_one_sentence(postgres: LocalPostgres, tmp_path: Path) -> None:
    with pytest.raises(LocalStackError, match=f"Port {postgres.port} for PostgreSQL is taken"):
        LocalPostgres(tmp_path / "other", port=postgres.port).start()
