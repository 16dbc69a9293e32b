"""People who were erased: the receipts, and whom no sync brings back. No column holds a value of theirs."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from people_sync.storage.tables import Base


class Erasure(Base):
    """The receipt of one erasure. Kept for good."""

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
    """By place of `domain.erasure`, how much was erased here."""
    let_back_at: Mapped[datetime | None]
    let_back_by_name: Mapped[str | None]


class ErasedRecord(Base):
    """A record that was erased: the member, whoever was joined to them, and a family that they were the last one of.

    The record's own row stays, without values, so that whoever holds its id finds it deleted.
    """

    __tablename__ = "erased_record"
    __table_args__ = (Index("ix_erased_record_erasure", "erasure_id"),)

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    record_id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str]
    erasure_id: Mapped[UUID] = mapped_column(ForeignKey("erasure.id"))
    told: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """What conflict-service has told that it erased: `conflicts`, `decisions`, `names`. None until it has."""


class Erased(Base):
    """Somebody in Planning Center whom no sync brings back, by Planning Center's id alone, until they are let back."""

    __tablename__ = "erased"
    __table_args__ = (Index("ix_erased_erasure", "erasure_id"),)

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    pco_organization_id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    """`member`; `number` that we gave in `remote_id` to a person whose creation was not answered; `family`: a household
    that they are in, which is compared again when they are let back."""
    pco_id: Mapped[str] = mapped_column(primary_key=True)
    erasure_id: Mapped[UUID] = mapped_column(ForeignKey("erasure.id"), primary_key=True)
