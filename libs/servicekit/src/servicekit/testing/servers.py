"""PostgreSQL and Kafka for a test run: the environment's, else containers, else local ones from packages."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path

from servicekit.local.kafka import ONE_NODE, STARTED
from servicekit.local.postgres import MAX_CONNECTIONS
from servicekit.local.process import free_port, is_alive

POSTGRES_IMAGE = "postgres:18"
KAFKA_IMAGE = "apache/kafka:4.3.1"
FAST = {"fsync": "off", "max_wal_size": "256MB"}
"""A killed server loses nothing by it, only a killed machine does. Data may stand in memory: see `roomy`."""
_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of an unforgeable name is made in it
_ROOM_BYTES = 8 * 1024**3
_PREFIX = "servicekit-of-"
"""And the number of the process whose it is."""


@cache
def container_engine() -> bool:
    """Whether a Docker-compatible engine answers."""
    try:
        docker = import_module("docker")  # installed with testcontainers, for development only
    except ModuleNotFoundError:
        return False
    try:
        docker.from_env(timeout=5).ping()
    except (docker.errors.DockerException, OSError):
        return False
    return True


def choice(variable: str) -> str:
    """`environment`, `testcontainers` or `local`."""
    if os.environ.get(variable):
        return "environment"
    return "testcontainers" if container_engine() else "local"


@contextmanager
def directory() -> Iterator[Path]:
    """The data directory of a local server for one run.

    It is outside pytest's temporary directory, because every starting pytest makes that private to its user again,
    which would lock out a PostgreSQL that runs as another user.
    """
    place, mine = roomy(), f"{_PREFIX}{os.getpid()}-"
    if place is not None:
        _forget_the_killed(place)
    with tempfile.TemporaryDirectory(prefix=mine, dir=place, ignore_cleanup_errors=True) as made:
        yield Path(made)


def _forget_the_killed(place: Path) -> None:
    """Delete what killed test runs left there, because nothing else frees that memory."""
    for left in place.glob(f"{_PREFIX}*-*"):
        if not is_alive(int(left.name.removeprefix(_PREFIX).partition("-")[0])):
            shutil.rmtree(left, ignore_errors=True)


def roomy() -> Path | None:
    """A folder in memory with enough free space; None to use the temporary folder.

    Copying a database for a test costs 0.2 s of processor time on ext4, and 0.01 s in memory.
    """
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = shutil.disk_usage(_MEMORY).free
    except OSError:
        return None
    available = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 0)
    return _MEMORY if min(free, available) > _ROOM_BYTES else None


@contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL server; yields the URL of a role that may create databases."""
    match choice("DATABASE_URL"):
        case "environment":
            yield os.environ["DATABASE_URL"]
        case "testcontainers":
            from testcontainers.community.postgres import PostgresContainer  # noqa: PLC0415

            settings = FAST | {"max_connections": str(MAX_CONNECTIONS)}
            command = ["postgres", *(word for name, value in settings.items() for word in ("-c", f"{name}={value}"))]
            with PostgresContainer(POSTGRES_IMAGE, driver="asyncpg").with_command(command) as container:
                yield container.get_connection_url()
        case _:
            from servicekit.local import LocalPostgres  # noqa: PLC0415

            with directory() as home, LocalPostgres(home, settings=FAST) as server:
                yield server.url()


@contextmanager
def kafka() -> Iterator[str]:
    """A Kafka broker; yields its bootstrap servers."""
    match choice("KAFKA_BOOTSTRAP_SERVERS"):
        case "environment":
            yield os.environ["KAFKA_BOOTSTRAP_SERVERS"]
        case "testcontainers":
            with _kafka_container() as address:
                yield address
        case _:
            from servicekit.local import LocalKafka  # noqa: PLC0415

            with directory() as home, LocalKafka(home) as server:
                yield server.bootstrap_servers
                server.kill()  # a clean stop takes seconds and has no use here


@contextmanager
def _kafka_container() -> Iterator[str]:
    """One node of Apache's own image, because testcontainers' Kafka class supports only Confluent's."""
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy  # noqa: PLC0415

    port = free_port()  # the same inside and outside, because the broker advertises it before it starts
    container = DockerContainer(KAFKA_IMAGE).with_bind_ports(port, port)
    address = f"{container.get_docker_client().host()}:{port}"
    settings = ONE_NODE | {
        "listeners": f"PLAINTEXT://:{port},CONTROLLER://:9093",
        "advertised.listeners": f"PLAINTEXT://{address}",
        "controller.quorum.voters": "1@localhost:9093",
    }
    for name, value in settings.items():
        container = container.with_env(f"KAFKA_{name.upper().replace('.', '_')}", value)
    with container.waiting_for(LogMessageWaitStrategy(STARTED).with_startup_timeout(60)):
        yield address
