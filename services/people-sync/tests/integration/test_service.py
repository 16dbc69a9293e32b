"""people-sync matches the registry, the table of routes and its migrations."""

from fastapi import FastAPI

from contracts.routes import routes_of
from contracts.values import PEOPLE_SYNC
from people_sync.storage.tables import Base
from servicekit.testing import assert_migrated, assert_wiring


def test_the_service_is_wired_as_registered(app: FastAPI) -> None:
    assert_wiring(app, PEOPLE_SYNC)


async def test_the_migrations_make_the_tables(database: str) -> None:
    await assert_migrated(database, Base.metadata)


def test_the_service_serves_exactly_its_own_calls(app: FastAPI) -> None:
    paths = app.openapi()["paths"]
    answered = {
        (method.upper(), path) for path, methods in paths.items() if path.startswith("/api/") for method in methods
    }
    assert answered == {(route.method, route.path) for route in routes_of(PEOPLE_SYNC)}
