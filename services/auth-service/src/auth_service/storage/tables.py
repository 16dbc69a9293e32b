"""The tables of auth-service. Row access is always by organization.

A church has a `pco_binding` (its Planning Center organization, kept after a disconnect), a `connection` per product,
the `oauth_grant` that a connection uses (two may share one), and a `disconnect` in progress or last finished.
`authorization_attempt` is a consent in progress.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Sequence, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from servicekit.db.sessions import Columns, service_metadata
from servicekit.ids import uuid7


class Base(Columns, DeclarativeBase):
    """The declarative base; its metadata also holds servicekit's outbox and inbox tables."""

    metadata = service_metadata(answers=True)


# One sequence for all grants, so that token generations grow even when a product moves to another grant.
TOKEN_GENERATION = Sequence("token_generation", metadata=Base.metadata)


class PcoBinding(Base):
    """The Planning Center organization a church's links belong to. Kept after a disconnect until it is forgotten."""

    __tablename__ = "pco_binding"
    __table_args__ = (
        # Refuses one of two churches that connect the same Planning Center organization at once.
        Index(
            "uq_pco_binding_in_use",
            "pco_organization_id",
            unique=True,
            postgresql_where=text("in_use"),
        ),
    )

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    pco_organization_id: Mapped[str]
    pco_organization_name: Mapped[str]
    in_use: Mapped[bool]
    """Whether any product is connected, closing or waiting for a reconnect."""
    one_grant: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    """Set once Planning Center has ended this church's first grant at the second consent: the next consent then covers
    both products."""


class OAuthGrant(Base):
    """One consent at Planning Center with its current tokens."""

    __tablename__ = "oauth_grant"
    __table_args__ = (
        Index("ix_oauth_grant_refresh_expires_at", "refresh_expires_at", postgresql_where=text("ended_at IS NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    organization_id: Mapped[str] = mapped_column(index=True)
    pco_person_id: Mapped[str]
    scope: Mapped[str]
    access_token: Mapped[bytes]
    """Encrypted, like `refresh_token`."""
    refresh_token: Mapped[bytes]
    token_generation: Mapped[int] = mapped_column(BigInteger)
    granted_at: Mapped[datetime]
    issued_at: Mapped[datetime]
    """Our clock just before the request that gave this pair."""
    expires_at: Mapped[datetime]
    refresh_expires_at: Mapped[datetime]
    refresh_started_at: Mapped[datetime | None]
    """Set before the refresh request, cleared with the new pair; if still set, an answer was lost."""
    ended_at: Mapped[datetime | None]
    """When Planning Center was found to refuse the refresh token."""


class Connection(Base):
    """A church's authorization of one product. Never deleted, so that `version` and `generation` never restart."""

    __tablename__ = "connection"
    __table_args__ = (
        CheckConstraint("product IN ('people', 'calendar')", name="product"),
        CheckConstraint("state IN ('connected', 'reconnect_required', 'closing', 'disconnected')", name="state"),
        CheckConstraint("state NOT IN ('connected', 'reconnect_required') OR grant_id IS NOT NULL", name="grant"),
    )

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    product: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    version: Mapped[int]
    generation: Mapped[int]
    grant_id: Mapped[UUID | None] = mapped_column(ForeignKey("oauth_grant.id"), index=True)
    pco_organization_id: Mapped[str]
    pco_organization_name: Mapped[str]
    pco_person_id: Mapped[str]
    pco_person_name: Mapped[str]
    connected_by_id: Mapped[str]
    connected_by_name: Mapped[str]
    connected_at: Mapped[datetime]
    reason: Mapped[str | None]
    """Slug of the cause, while a reconnect is required."""


class AuthorizationAttempt(Base):
    """A consent in progress: single use, bound to the person and the browser that began it."""

    __tablename__ = "authorization_attempt"

    state_hash: Mapped[bytes] = mapped_column(primary_key=True)
    product: Mapped[str]
    organization_id: Mapped[str]
    user_id: Mapped[str]
    browser_hash: Mapped[bytes]
    code_verifier: Mapped[bytes]
    """The PKCE verifier, encrypted."""
    scope: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]


class Disconnect(Base):
    """A disconnect and its receipt, one per connection generation. The row is the timer and survives any process."""

    __tablename__ = "disconnect"
    __table_args__ = (Index("ix_disconnect_due", "due_at", postgresql_where=text("finished_at IS NULL")),)

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    product: Mapped[str] = mapped_column(primary_key=True)
    generation: Mapped[int] = mapped_column(primary_key=True)
    pco_organization_name: Mapped[str]
    requested_at: Mapped[datetime]
    due_at: Mapped[datetime]
    """Deadline of the next step, by the database's clock."""
    attempts: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    lines: Mapped[dict[str, Any]]
    """step -> {outcome, sentence}, in the order of the receipt (`domain.receipt.STEPS`)."""
    finished_at: Mapped[datetime | None]
