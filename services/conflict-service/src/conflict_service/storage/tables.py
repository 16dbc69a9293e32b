"""The tables of conflict-service. Row access is always by (organization_id, id)."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, DateTime, ForeignKeyConstraint, Index, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from servicekit.db import service_metadata


class Base(DeclarativeBase):
    """The declarative base; its metadata also holds servicekit's outbox and inbox tables."""

    metadata = service_metadata()
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        str: Text,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
        list[str]: ARRAY(Text),
    }


class ConflictRow(Base):
    """One conflict as people-sync's facts tell it, and whether it is being decided. Closed ones stay: the history."""

    __tablename__ = "conflict"
    __table_args__ = (
        CheckConstraint("state IN ('open', 'resolving', 'resolved', 'agreed_elsewhere', 'withdrawn')", name="state"),
        Index("ix_conflict_list", "organization_id", "state", "opened_at", "id"),
        Index("ix_conflict_family_ids", "family_ids", postgresql_using="gin", postgresql_where=text("state = 'open'")),
    )

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    record: Mapped[dict[str, Any]]
    """`contracts.conflicts.ConflictRecord` as JSON."""
    family_ids: Mapped[list[str]]
    """Of the record, for the filter."""
    fields: Mapped[list[Any]]
    """`contracts.conflicts.ConflictField` as JSON."""
    state: Mapped[str]
    source_version: Mapped[int]
    """The version of people-sync's fact that this row shows: a decision is taken on it."""
    version: Mapped[int]
    """Ours: grows with every newer fact; the version of what is announced on conflicts.conflict.v1."""
    values_version: Mapped[int] = mapped_column(server_default=text("1"))
    """people-sync's, of the values in `fields` alone: a decision is bound to it."""
    opened_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    decision_id: Mapped[str | None]
    """The decision that is being carried out."""


class DecisionRow(Base):
    """What somebody chose, and what became of it. Never deleted."""

    __tablename__ = "decision"
    __table_args__ = (
        ForeignKeyConstraint(["organization_id", "conflict_id"], ["conflict.organization_id", "conflict.id"]),
        CheckConstraint("outcome IN ('waiting', 'applied', 'overtaken', 'not_needed')", name="outcome"),
        Index("ix_decision_conflict", "organization_id", "conflict_id", "decided_at"),
    )

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    conflict_id: Mapped[str]
    choices: Mapped[dict[str, Any]]
    """By field, `contracts.conflicts.Choice`."""
    fields: Mapped[list[Any]]
    """The values that were chosen from: `contracts.conflicts.ConflictField` as JSON."""
    decided_by: Mapped[str]
    decided_by_name: Mapped[str | None]
    decided_at: Mapped[datetime]
    outcome: Mapped[str]
    sentence: Mapped[str | None]
    refused: Mapped[list[str]]
    settled_at: Mapped[datetime | None]
