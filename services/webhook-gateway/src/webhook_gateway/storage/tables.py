"""The service's tables, beside servicekit's outbox and inbox."""

from datetime import datetime

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from servicekit.db.sessions import Columns, service_metadata
from synckit.connections import ConnectionColumns


class Base(Columns, DeclarativeBase):
    """Base of this service's tables."""

    metadata = service_metadata()


class Connection(ConnectionColumns, Base):
    """The newest known state of a church's connection: a projection of `auth.connection.v1`."""

    __tablename__ = "connection"

    product: Mapped[str] = mapped_column(primary_key=True)
    subscriptions_version: Mapped[int] = mapped_column(default=0)
    """Number of published states of this connection's subscriptions."""
    updated_at: Mapped[datetime]
