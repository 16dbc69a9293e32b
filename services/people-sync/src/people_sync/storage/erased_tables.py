"""Erased people: receipts, and the ids that no sync may add again. No column holds a personal value."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from people_sync.storage.tables import Base


class Erasure(Base):
    """The receipt of one erasure, kept permanently."""

    __tablename__ = "erasure"
    __table_args__ = (Index("ix_erasure_organization", "organization_id", "at", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    organization_id: Mapped[str]
    record_id: Mapped[UUID]
    """The member whom the administrator erased."""
    on_request_of: Mapped[str]
    """`contracts.http.erasures.Requester`."""
    by_user_id: Mapped[str]
    by_name: Mapped[str | None]
    at: Mapped[datetime]
    counts: Mapped[dict[str, Any]]
    """Number of erased rows by place of `domain.erasure`."""
    let_back_at: Mapped[datetime | None]
    let_back_by_name: Mapped[str | None]


class ErasedRecord(Base):
    """An erased record: the member, members joined to them, or a family of which they were the last member.

    The record's own row stays without values, so that its id is still known as deleted.
    """

    __tablename__ = "erased_record"
    __table_args__ = (Index("ix_erased_record_erasure", "erasure_id"),)

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    record_id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str]
    erasure_id: Mapped[UUID] = mapped_column(ForeignKey("erasure.id"))
    told: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """Counts reported by conflict-service: `conflicts`, `decisions`, `names`. None until the report has come."""


class Erased(Base):
    """A person in Planning Center whom no sync adds again until they are let back, by Planning Center's id alone."""

    __tablename__ = "erased"
    __table_args__ = (Index("ix_erased_erasure", "erasure_id"),)

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    pco_organization_id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    """`member`; `number`: marker in `remote_id` of a person whose creation was not answered; `family`: a household of
    the person, which is compared again when they are let back."""
    pco_id: Mapped[str] = mapped_column(primary_key=True)
    erasure_id: Mapped[UUID] = mapped_column(ForeignKey("erasure.id"), primary_key=True)
