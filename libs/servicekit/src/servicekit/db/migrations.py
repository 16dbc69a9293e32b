"""Migrations of a service: plain revision files in `migrations/versions`, run here under a lock.

In the source tree the folder stands beside `src`; a wheel carries it as `<package>/_migrations` (force-include).
"""

import asyncio
import importlib.util
from pathlib import Path
from typing import Any

from alembic import command, op
from alembic.config import Config
from sqlalchemy import Connection, MetaData, Table, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from servicekit.db.tables import DUE_AT, INBOX, JOB, KEPT_ANSWER, MESSAGE_ATTEMPT, NAMING_CONVENTION, OUTBOX, SET_ASIDE

_LOCK = 0x4D16  # any constant: one migration at a time per database
_LOOKS_AGAIN_SECONDS = 0.1
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
    """Migrate the database to the newest revision. If several processes try at once, one migrates and the others wait.

    Each revision is one transaction, except for what `create_index` and `drop_index` do while the service works.
    to: an earlier revision, for tests of a migration with data.
    """
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.set_main_option("version_locations", str(locate(package)))
    config.set_main_option("path_separator", "os")
    engine = create_async_engine(database_url)
    try:
        async with engine.connect() as connection:
            await _alone(connection)
            await connection.run_sync(_upgrade, config, to)
            await connection.execute(select(func.pg_advisory_unlock(_LOCK)))
    finally:
        await engine.dispose()


async def _alone(connection: AsyncConnection) -> None:
    """Wait for the lock without a transaction, because a concurrent index build waits for all open transactions."""
    while not await connection.scalar(select(func.pg_try_advisory_lock(_LOCK))):
        await connection.rollback()
        await asyncio.sleep(_LOOKS_AGAIN_SECONDS)
    await connection.rollback()


def _upgrade(connection: Connection, config: Config, to: str) -> None:
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def create_consumer_tables() -> None:
    """Create `message_attempt` and `set_aside`, for a service whose first revision created only the inbox.

    Frozen as of this version, as `create_servicekit_tables` is.
    """
    _create(MESSAGE_ATTEMPT, SET_ASIDE)


def create_index(name: str, table: str, columns: list[Any], **options: Any) -> None:
    """In a revision: build an index of a big table while the service uses it. Otherwise as Alembic's.

    This commits what the revision did before. So call it last, and make the steps before it repeatable: a revision
    interrupted here runs again from its beginning, with the index.
    """
    with op.get_context().autocommit_block():
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
        op.create_index(name, table, columns, postgresql_concurrently=True, **options)


def drop_index(name: str, table: str) -> None:
    """In a revision: drop an index without making the service wait. See `create_index`."""
    with op.get_context().autocommit_block():
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)


def create_kept_answers() -> None:
    """Create `kept_answer`, for a service whose POSTs take an `Idempotency-Key`.

    Frozen as of this version, as `create_servicekit_tables` is.
    """
    _create(KEPT_ANSWER)


def create_jobs() -> None:
    """Create `job`, for a service that had none.

    Frozen as of this version, as `create_servicekit_tables` is.
    """
    _create(JOB)


def put_urgent_jobs_first() -> None:
    """Add `urgent` to a service's `job` table.

    A new database has the column from its first revision.
    """
    op.execute("ALTER TABLE job ADD COLUMN IF NOT EXISTS urgent boolean NOT NULL DEFAULT false")
    op.execute("COMMENT ON COLUMN job.urgent IS 'somebody waits at a screen'")
    op.execute(
        f"CREATE INDEX IF NOT EXISTS ix_job_due ON job (kind, urgent, {DUE_AT}) "
        "WHERE state IN ('queued', 'running', 'waiting')"
    )
    op.execute("DROP INDEX IF EXISTS ix_job_claim")


def create_servicekit_tables(*, outbox: bool = True, inbox: bool = True, jobs: bool = False) -> None:
    """Create outbox, inbox and jobs, for a service's first revision. The arguments are those of `service_metadata`.

    Frozen as of this version: a later change to these tables is a new function for a new revision.
    """
    wanted = ((OUTBOX, outbox), (INBOX, inbox), (JOB, jobs))
    _create(*(table for table, is_wanted in wanted if is_wanted))


def _create(*tables: Table) -> None:
    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    metadata.create_all(op.get_bind(), [table.to_metadata(metadata) for table in tables], checkfirst=False)
