"""PostgreSQL: engine, sessions, and the one transaction of a request.

Nobody but the boundary commits: `transaction` here for a request, the inbox for a message, a job's own
`async with job.sessions.begin()` for one of its steps.
"""

import math
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final

import orjson
from fastapi import Depends
from sqlalchemy import DateTime, Integer, LargeBinary, MetaData, Text, event, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from starlette.requests import HTTPConnection

from servicekit.db.tables import INBOX, JOB, KEPT_ANSWER, MESSAGE_ATTEMPT, NAMING_CONVENTION, OUTBOX, SET_ASIDE
from servicekit.errors import is_outage
from servicekit.settings import ServiceSettings

Sessions = async_sessionmaker[AsyncSession]

_TRUSTED_SECONDS: Final = 5.0
"""A connection that was idle for longer is tested at checkout."""


class Columns:
    """The column type of each annotation in a service's tables: `class Base(Columns, DeclarativeBase)`."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
        list[str]: ARRAY(Text),
        list[int]: ARRAY(Integer),
        bytes: LargeBinary,
    }


def service_metadata(*, outbox: bool = True, inbox: bool = True, jobs: bool = False, answers: bool = False) -> MetaData:
    """The MetaData of a service's declarative base, with those of servicekit's own tables that the service uses.

    inbox: every table of a shared subscription, including `message_attempt` and `set_aside`.
    """
    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    taken = (INBOX, MESSAGE_ATTEMPT, SET_ASIDE)
    for tables, wanted in (((OUTBOX,), outbox), (taken, inbox), ((JOB,), jobs), ((KEPT_ANSWER,), answers)):
        for table in tables if wanted else ():
            table.to_metadata(metadata)
    return metadata


def make_engine(settings: ServiceSettings) -> AsyncEngine:
    """An engine that connects on first use, so that it can be made while PostgreSQL is away."""
    idle = round(settings.database_idle_in_transaction_seconds * 1000)
    engine = create_async_engine(
        settings.database_url.get_secret_value(),
        pool_size=settings.database_pool_size,
        max_overflow=0,  # overflow connections are closed when returned, and under load opened again at once
        pool_timeout=10,
        # The pool reuses the last used connection first, because each connection prepares its own statements.
        pool_use_lifo=True,
        json_serializer=_to_json,
        json_deserializer=orjson.loads,
        hide_parameters=True,  # error texts go to the log, which must hold no values
        connect_args={
            "timeout": 5,
            "prepared_statement_cache_size": 250,
            "server_settings": {
                "application_name": settings.service_name,
                "timezone": "UTC",
                "idle_in_transaction_session_timeout": str(idle),
                # Shorter, or transactions of a paused process that wait for one another would hold the lock in turn.
                "lock_timeout": str(idle // 2),
                # A process paused between the messages of one statement (asyncpg's executemany) does not count as idle.
                "transaction_timeout": str(idle * 2),
            },
        },
    )
    _check_at_checkout(engine)
    return engine


def _check_at_checkout(engine: AsyncEngine) -> None:
    """Replace a connection that was lost while idle in the pool.

    `pool_pre_ping` tests at every checkout, with three round trips: almost half of all round trips of a small run. The
    driver notices when the server closes a connection; only an idle connection can have lost its server unnoticed, so
    only idle ones are tested.
    """

    @event.listens_for(engine.sync_engine, "checkin")
    def note(_connection: Any, record: Any) -> None:
        record.info["idle_since"] = time.monotonic()

    @event.listens_for(engine.sync_engine, "checkout")
    def check(connection: Any, record: Any, _proxy: Any) -> None:
        if connection.driver_connection.is_closed():
            raise InvalidatePoolError
        if time.monotonic() - record.info.get("idle_since", math.inf) > _TRUSTED_SECONDS:
            try:
                engine.dialect.do_ping(connection)
            except engine.dialect.loaded_dbapi.Error as error:
                raise InvalidatePoolError from error


def _to_json(value: Any) -> str:
    return orjson.dumps(value).decode()


def make_sessions(engine: AsyncEngine, service_name: str) -> Sessions:
    """Sessions whose objects stay readable after the commit. The name becomes the source of appended events."""
    return async_sessionmaker(engine, expire_on_commit=False, info={"service_name": service_name})


async def transaction(connection: HTTPConnection) -> AsyncIterator[AsyncSession]:
    """One transaction per request: committed before the answer is sent, rolled back on any error.

    A read's queries end when its caller stops waiting. If PostgreSQL goes away during the commit, nobody knows whether
    it was made: the request's state then has `outcome_unknown`.
    """
    runtime = connection.app.state.runtime
    sessions: Sessions = runtime.sessions
    async with sessions() as session:
        if connection.scope["method"] == "GET":
            limit = str(round(runtime.settings.database_read_seconds * 1000))
            await session.execute(select(func.set_config("statement_timeout", limit, True)))
        yield session
        try:
            await session.commit()
        except Exception as error:
            connection.state.outcome_unknown = is_outage(error)
            raise


# scope="function": otherwise FastAPI commits after it has sent the answer, which could then be wrong.
Session = Annotated[AsyncSession, Depends(transaction, scope="function")]
"""The request's session. Do not commit it."""


async def ping(engine: AsyncEngine) -> None:
    """Raise if PostgreSQL does not answer."""
    async with engine.connect() as connection:
        await connection.execute(text("select 1"))


async def resources(connection: HTTPConnection) -> Any:
    """The service's own resources, as `create_service(resources=...)` made them.

    A service types it once: `Wired = Annotated[Resources, Depends(resources)]`.
    """
    return connection.app.state.resources
