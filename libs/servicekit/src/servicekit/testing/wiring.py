"""Checks that a service matches the registry and its migrations."""

from collections.abc import Collection, Iterator
from inspect import isasyncgenfunction, iscoroutinefunction
from typing import Any, cast

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from faststream import AckPolicy
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.ext.asyncio import create_async_engine

from contracts.routes import routes_of
from contracts.topics import TOPICS
from servicekit.http.answers import KeyedRoute
from servicekit.kafka.consumers import Consumers
from servicekit.kafka.subscriptions import Subscription, make_broker

_PARTITIONS = text("SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'")


def assert_wiring(app: FastAPI, service: str, *, not_yet: Collection[str] = ()) -> None:
    """Assert that the app subscribes to exactly its topics in the registry, each without losing messages.

    Also assert that none of its routes needs a thread.

    not_yet: topics of the registry without a subscriber so far; naming a topic that has one is an error.
    """
    threaded = [call for route in endpoints(app) for call in _calls(route.dependant) if not _is_async(call)]
    assert not threaded, f"FastAPI runs each of these in a thread, which costs more than they do: {threaded}"
    subscriptions: tuple[Subscription, ...] = app.state.subscribers
    shared = [s.topic.name for s in subscriptions if not s.broadcast]
    broadcast = [s.topic.name for s in subscriptions if s.broadcast]
    expected_shared = {name for name, topic in TOPICS.items() if service in topic.consumers} - set(not_yet)
    expected_broadcast = {name for name, topic in TOPICS.items() if service in topic.broadcast} - set(not_yet)
    assert set(shared) == expected_shared, f"subscribed {sorted(shared)}, registry {sorted(expected_shared)}"
    assert set(broadcast) == expected_broadcast, f"live {sorted(broadcast)}, registry {sorted(expected_broadcast)}"
    groups = [s.group for s in subscriptions]
    assert len(groups) == len(set(groups)), f"a group of its own for every subscription: {groups}"
    assert {s.service for s in subscriptions} <= {service}
    assert not any(s.topic.producers and service in s.topic.producers and not s.broadcast for s in subscriptions)
    tables = app.state.metadata.tables
    assert "inbox" in tables or not shared, "a shared subscription needs the inbox table"
    produces = [name for name, topic in TOPICS.items() if service in topic.producers]
    assert "outbox" in tables or not produces, f"the outbox table is missing for {produces}"

    own = {route.path for route in routes_of(service) if route.method == "POST"}
    posts = [
        route
        for router in app.state.routers
        for route in router.routes
        if isinstance(route, APIRoute) and route.path in own and "POST" in (route.methods or ())
    ]
    unkeyed = [route.path for route in posts if not isinstance(route, KeyedRoute)]
    assert not unkeyed, f"their router lacks route_class=KeyedRoute: {unkeyed}"
    assert "kept_answer" in tables or not posts, f"the table kept_answer is missing for {sorted(own)}"

    consumers = Consumers(app.state.runtime, None, subscriptions)
    broker = make_broker(app.state.runtime, None, subscriptions, consumers.guards)
    by_group = {s.group: s for s in subscriptions}
    for subscriber in cast("list[Any]", broker.subscribers):
        subscription = by_group.pop(subscriber.group_id)
        offset_reset = "latest" if subscription.broadcast else "earliest"
        assert subscriber.ack_policy is AckPolicy.MANUAL
        assert subscriber._connection_args["auto_offset_reset"] == offset_reset  # noqa: SLF001
        assert subscriber._connection_args["isolation_level"] == "read_committed"  # noqa: SLF001
        assert subscriber._connection_args["enable_auto_commit"] is False  # noqa: SLF001
        assert subscriber.topic_names == [subscription.topic.name]
    assert not by_group, f"no subscriber for {sorted(by_group)}"


def endpoints(app: FastAPI) -> Iterator[APIRoute]:
    """All routes of the app's routers."""
    for route in app.routes:
        router = getattr(route, "original_router", None)
        for one in router.routes if router else [route]:
            if isinstance(one, APIRoute):
                yield one


def _calls(dependant: Dependant) -> Iterator[Any]:
    if dependant.call is not None:
        yield dependant.call
    for below in dependant.dependencies:
        yield from _calls(below)


def _is_async(call: Any) -> bool:
    return any(iscoroutinefunction(one) or isasyncgenfunction(one) for one in (call, call.__call__))


async def assert_migrated(database_url: str, metadata: MetaData) -> None:
    """Assert that the migrated schema equals the tables in code."""

    def differences(connection: Connection) -> list[Any]:
        partitions = set(connection.execute(_PARTITIONS).scalars())
        options = {"include_name": lambda name, kind, _: kind != "table" or name not in partitions}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    engine = create_async_engine(database_url)
    try:
        async with engine.connect() as connection:
            found = await connection.run_sync(differences)
    finally:
        await engine.dispose()
    assert not found, f"write a migration for: {found}"
