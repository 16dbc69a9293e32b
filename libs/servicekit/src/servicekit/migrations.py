"""Migrations of a service: plain revision files in `migrations/versions`, run here under a lock.

In the source tree the folder stands beside `src`; a wheel carries it as `<package>/_migrations` (force-include).
"""

import importlib.util
from pathlib import Path

from alembic import command, op
from alembic.config import Config
from sqlalchemy import Connection, MetaData, func, select
from sqlalchemy.ext.asyncio import create_async_engine

from servicekit.tables import INBOX, JOB, NAMING_CONVENTION, OUTBOX

_LOCK = 0x4D16  # any constant: one migration at a time per database
_SCRIPTS = Path(__file__).parent / "_alembic"


def locate(package: str) -> Path:
    """The folder with the revisions of an import package such as `auth_service`. FileNotFoundError if it has none."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"there is no package {package}")
    home = Path(spec.origin).parent
    for folder in (home / "_migrations" / "versions", home.parents[1] / "migrations" / "versions"):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"{package} has no migrations/versions folder")


async def migrate(database_url: str, package: str, *, to: str = "heads") -> None:
    """Bring the database to the newest revision. Several processes may try at once: one works, the others wait.

    to: an earlier revision, for tests of a migration with data.
    """
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.set_main_option("version_locations", str(locate(package)))
    config.set_main_option("path_separator", "os")
    engine = create_async_engine(database_url)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade, config, to)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection, config: Config, to: str) -> None:
    connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def create_servicekit_tables(*, outbox: bool = True, inbox: bool = True, jobs: bool = False) -> None:
    """For a service's first revision: the tables of `service_metadata` with the same arguments.

    Frozen as of this version: a later change to these tables is a new function for a new revision.
    """
    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    wanted = ((OUTBOX, outbox), (INBOX, inbox), (JOB, jobs))
    tables = [table.to_metadata(metadata) for table, is_wanted in wanted if is_wanted]
    metadata.create_all(op.get_bind(), tables, checkfirst=False)
