"""The tables of calendar-sync. Row access is always by organization."""

from datetime import datetime

from sqlalchemy import CheckConstraint, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from servicekit.db.sessions import Columns, service_metadata
from synckit.connections import ConnectionColumns


class Base(Columns, DeclarativeBase):
    """The declarative base; its metadata also holds servicekit's outbox and inbox tables."""

    metadata = service_metadata(answers=True)


class CalendarConnection(ConnectionColumns, Base):
    """A church's Calendar connection, from auth-service's facts."""

    __tablename__ = "calendar_connection"

    pco_organization_name: Mapped[str]
    occurred_at: Mapped[datetime]


class ChurchSettings(Base):
    """The settings that an administrator chose; the defaults apply without a row."""

    __tablename__ = "church_settings"
    __table_args__ = (CheckConstraint("poll_minutes BETWEEN 1 AND 120", name="poll_minutes"),)

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    poll_minutes: Mapped[int] = mapped_column(server_default=text("5"))
    """How often linked events are checked."""
