"""Fresh databases with a service's migrations applied: one template per service, a copy per test or session."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg
from sqlalchemy.engine import make_url

from servicekit.db.migrations import migrate


class Databases:
    """Databases on one server. `admin_url` is a superuser's (or any role's that may create databases)."""

    def __init__(self, admin_url: str) -> None:
        self._admin_url = make_url(admin_url).set(drivername="postgresql+asyncpg")
        self._templates: dict[str, str] = {}
        self._made: list[str] = []
        self._lock = asyncio.Lock()

    async def create(self, package: str) -> str:
        """A new database of a service, such as `auth_service`. Returns its URL (`postgresql+asyncpg://`)."""
        async with self._lock:
            if package not in self._templates:
                template = await self._new(f"template_{package}")
                await migrate(self._url(template), package)
                self._templates[package] = template
            return self._url(await self._new(package, template=self._templates[package]))

    async def truncate(self, url: str) -> None:
        """Empty all tables except Alembic's, so that the next test starts clean."""
        connection = await asyncpg.connect(_dsn(url))
        try:
            names = await connection.fetch(
                "SELECT quote_ident(tablename) AS name FROM pg_tables "
                "WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
            )
            if names:
                await connection.execute(f"TRUNCATE {', '.join(row['name'] for row in names)} CASCADE")
        finally:
            await connection.close()

    async def drop_all(self) -> None:
        """Drop all databases made here."""
        for name in self._made:
            await self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    async def empty(self) -> str:
        """A new database without tables."""
        return self._url(await self._new("empty"))

    async def _new(self, name: str, *, template: str = "template0") -> str:
        unique = f"{name}_{uuid4().hex[:12]}"
        self._made.append(unique)
        await self._execute(f'CREATE DATABASE "{unique}" TEMPLATE "{template}"')
        return unique

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(_dsn(self._admin_url.render_as_string(hide_password=False)))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def _url(self, name: str) -> str:
        return self._admin_url.set(database=name).render_as_string(hide_password=False)


class Database:
    """Plain SQL beside the service."""

    def __init__(self, url: str, *, keep: bool = False) -> None:
        """keep: reuse connections. `close` them before a copy of the database."""
        self.url = url
        self._dsn = _dsn(url)
        self._keep = keep
        self._kept: list[Any] = []

    async def fetch(self, query: str, *args: Any) -> list[dict[str, Any]]:
        """Rows as dicts, JSON decoded."""
        async with self.connection() as connection:
            return [dict(row) for row in await connection.fetch(query, *args)]

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A separate connection, for locks."""
        connection = self._kept.pop() if self._kept else await self._connect()
        try:
            yield connection
        finally:
            if self._keep and not connection.is_closed() and not connection.is_in_transaction():
                self._kept.append(connection)
            else:
                await connection.close()

    async def close(self) -> None:
        """Close the kept connections."""
        while self._kept:
            await self._kept.pop().close()

    async def _connect(self) -> Any:
        connection = await asyncpg.connect(self._dsn)
        for name in ("json", "jsonb"):
            await connection.set_type_codec(name, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
        return connection

    async def value(self, query: str, *args: Any) -> Any:
        """The first column of the first row; None without one."""
        rows = await self.fetch(query, *args)
        return next(iter(rows[0].values())) if rows else None


async def copy_database(url: str) -> str:
    """Copy a database. The original must have no connections."""
    source = make_url(url)
    name = f"copy_{uuid4().hex[:12]}"
    await _maintain(url, f'CREATE DATABASE "{name}" TEMPLATE "{source.database}" STRATEGY file_copy')
    return source.set(database=name).render_as_string(hide_password=False)


async def drop_database(url: str) -> None:
    """Drop a database, also with open connections."""
    await _maintain(url, f'DROP DATABASE "{make_url(url).database}" WITH (FORCE)')


async def _maintain(url: str, statement: str) -> None:
    dsn = make_url(url).set(drivername="postgresql", database="postgres").render_as_string(hide_password=False)
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _dsn(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
