"""The state of connections to Planning Center, from auth-service's facts, for every service that uses one."""

from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from sqlalchemy import inspect, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from contracts.base import Event
from contracts.events.auth_connection_v1 import (
    ConnectionAuthorized,
    ConnectionClosing,
    ConnectionFact,
    ConnectionRevoked,
    ReconnectRequired,
)
from servicekit.kafka.subscriptions import Handler, Subscription, subscribe
from synckit.errors import NotConnected

UNAUTHORIZED: Final = "reconnect_required"
"""State of a connection that works again once an administrator has authorized Planning Center again."""


class ConnectionColumns:
    """The columns of every projection of `auth.connection.v1`: `class Connection(ConnectionColumns, Base)`.

    A further column named like a field of `ConnectionFact` is stored too, such as `product`, part of the primary key in
    services with several products.
    """

    organization_id: Mapped[str] = mapped_column(primary_key=True, sort_order=-1)
    pco_organization_id: Mapped[str]
    state: Mapped[str]
    generation: Mapped[int]
    version: Mapped[int]
    """Version of the newest fact."""


C = TypeVar("C", bound=ConnectionColumns)


@dataclass(frozen=True, slots=True)
class Before:
    """The state of a connection before a fact."""

    pco_organization_id: str
    state: str
    generation: int
    version: int


@dataclass(frozen=True, slots=True)
class Followed(Generic[C]):
    """A connection after a newer fact, its row locked."""

    connection: C
    before: Before | None
    """None for a new connection."""

    @property
    def moved(self) -> bool:
        """Whether it now belongs to another Planning Center organization."""
        return self.before is not None and self.before.pco_organization_id != self.connection.pco_organization_id


async def usable(session: AsyncSession, connections: type[C], organization_id: str, product: str) -> C:
    """The connection of an organization. NotConnected while it has none that works. product: as `contracts.values`."""
    connection = await session.get(connections, organization_id)
    if connection is None or connection.state != "connected":
        raise NotConnected(product)
    return connection


async def follow(
    session: AsyncSession, connections: type[C], fact: ConnectionFact, **values: object
) -> Followed[C] | None:
    """Store a fact if it is newer than the stored state. None, without a change, for a late, repeated or replayed fact.

    connections: the service's mapped class. values: further columns to set.
    """
    mapper = inspect(connections)
    kept = {name: getattr(fact, name) for name in type(fact).model_fields if name in mapper.columns} | values
    key = {column.key: kept.pop(column.key) for column in mapper.primary_key}
    # Of two concurrent facts about a new connection, the second waits here for the first.
    added = insert(connections).values(**key, **kept).on_conflict_do_nothing().returning(connections)
    connection = await session.scalar(added)
    if connection is not None:
        return Followed(connection, None)
    known = await session.get_one(connections, tuple(key.values()), with_for_update=True, populate_existing=True)
    if known.version >= fact.version:
        return None
    before = Before(known.pco_organization_id, known.state, known.generation, known.version)
    changed = update(connections).filter_by(**key).values(**kept).returning(connections)
    options = {"populate_existing": True, "synchronize_session": False}
    return Followed((await session.scalars(changed, execution_options=options)).one(), before)


def subscribe_connections(service: str, on_fact: Handler, *, on_closing: Handler | None = None) -> Subscription:
    """`auth.connection.v1` in the service's group `<service>.connections`, from earliest.

    on_closing: handles ConnectionClosing instead of `on_fact`.
    """
    handlers: dict[type[Event], Handler] = {
        ConnectionAuthorized: on_fact,
        ConnectionClosing: on_closing or on_fact,
        ConnectionRevoked: on_fact,
        ReconnectRequired: on_fact,
    }
    return subscribe(
        "auth.connection.v1",
        group=f"{service}.connections",
        handlers=handlers,
        after_loss="python -m auth_service republish",
    )
