"""The service's tables, beside servicekit's outbox and inbox."""

from datetime import datetime

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from servicekit.db.sessions import Columns, service_metadata


class Base(Columns, DeclarativeBase):
    """Everything this service stores."""

    metadata = service_metadata()


class Connection(Base):
    """What auth-service last said of a church's connection: a projection of `auth.connection.v1`."""

    __tablename__ = "connection"

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    product: Mapped[str] = mapped_column(primary_key=True)
    generation: Mapped[int]
    state: Mapped[str]
    pco_organization_id: Mapped[str]
    version: Mapped[int]
    """auth-service's; only a higher one is applied."""
    subscriptions_version: Mapped[int] = mapped_column(default=0)
    """Counts the states of this connection's subscriptions that were published."""
    updated_at: Mapped[datetime]
