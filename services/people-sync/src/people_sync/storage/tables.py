"""The directory, its links and the organizations' choices. Row access is always by (organization_id, id)."""

from datetime import date, datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Identity,
    Index,
    UniqueConstraint,
    func,
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from servicekit.db.sessions import Columns, service_metadata
from synckit.tables import EffectColumns, ScheduledConnection, effect_indexes


class Base(Columns, DeclarativeBase):
    """The declarative base; its metadata also holds servicekit's outbox, inbox and job tables."""

    metadata = service_metadata(jobs=True, answers=True)


class Member(Base):
    """A member or child. The row of a deleted one stays, so that no pull creates it again."""

    __tablename__ = "member"
    __table_args__ = (
        Index(
            "uq_member_external",
            "organization_id",
            "external_id",
            unique=True,
            postgresql_where=text("external_id IS NOT NULL"),
        ),
        # Equal keys are stored once, so counting reads a tenth of the pages of `ix_member_here`.
        Index("ix_member_count", "organization_id", postgresql_where=text("deleted_at IS NULL")),
        # Lists and matching read this index alone.
        Index(
            "ix_member_here",
            "organization_id",
            "name_key",
            "id",
            postgresql_include=["child", "active"],
            postgresql_where=text("deleted_at IS NULL"),
        ),
        Index(
            "ix_member_deleted", "organization_id", "name_key", "id", postgresql_where=text("deleted_at IS NOT NULL")
        ),
        # Trigrams of `storage.by_name.searched`.
        Index(
            "ix_member_search",
            "organization_id",
            literal_column(
                # In PostgreSQL's own notation.
                "((((name_key || ' '::text) || COALESCE(email_key, ''::text)) || ' '::text) || "
                "translate(COALESCE(phone, ''::text), '+-(). /\u2010\u2011\u2013\u00a0'::text, ''::text))"
            ).label("searched"),
            postgresql_ops={"searched": "gin_trgm_ops"},
            postgresql_using="gin",
            postgresql_with={"gin_pending_list_limit": "1024"},
            postgresql_where=text("deleted_at IS NULL"),
        ),
        Index("ix_member_email", "organization_id", "email_key", postgresql_where=text("email_key IS NOT NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    organization_id: Mapped[str]
    external_id: Mapped[str | None]
    first_name: Mapped[str]
    last_name: Mapped[str]
    birthdate: Mapped[date | None]
    gender: Mapped[str | None]
    child: Mapped[bool]
    email: Mapped[str | None]
    phone: Mapped[str | None]
    address: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    name_key: Mapped[str]
    """`domain.canonical.name_key`: folded full name, for matching and for the order of lists."""
    email_key: Mapped[str | None]
    """Folded e-mail, for matching."""
    active: Mapped[bool] = mapped_column(server_default=text("true"), default=True)
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    deleted_at: Mapped[datetime | None]


class Family(Base):
    """A family: a household in Planning Center."""

    __tablename__ = "family"
    __table_args__ = (
        Index(
            "uq_family_external",
            "organization_id",
            "external_id",
            unique=True,
            postgresql_where=text("external_id IS NOT NULL"),
        ),
        Index("ix_family_here", "organization_id", "name_key", "id", postgresql_where=text("deleted_at IS NULL")),
        Index("ix_family_deleted", "organization_id", "id", postgresql_where=text("deleted_at IS NOT NULL")),
        Index(
            "ix_family_search",
            "organization_id",
            "name_key",
            postgresql_using="gin",
            postgresql_ops={"name_key": "gin_trgm_ops"},
            postgresql_with={"gin_pending_list_limit": "1024"},
            postgresql_where=text("deleted_at IS NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    organization_id: Mapped[str]
    external_id: Mapped[str | None]
    name: Mapped[str]
    name_key: Mapped[str]
    primary_contact_id: Mapped[UUID | None]
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    deleted_at: Mapped[datetime | None]


class FamilyMember(Base):
    """Membership of a family; a person may be in several."""

    __tablename__ = "family_member"
    __table_args__ = (Index("ix_family_member_member", "member_id"),)

    family_id: Mapped[UUID] = mapped_column(ForeignKey("family.id"), primary_key=True)
    member_id: Mapped[UUID] = mapped_column(ForeignKey("member.id"), primary_key=True)
    organization_id: Mapped[str]


class Link(Base):
    """A record here, its counterpart in Planning Center, and the last agreed values.

    Links belong to one Planning Center organization: they survive a disconnect, are found again when the same
    organization is connected, and lie unused when another one is.
    """

    __tablename__ = "link"
    __table_args__ = (
        UniqueConstraint("organization_id", "pco_organization_id", "kind", "pco_id"),
        UniqueConstraint("organization_id", "pco_organization_id", "kind", "record_id"),
        # For counting alone: partial, since a plan that takes it for the links of single records reads all of a church.
        Index("ix_link_members", "organization_id", "pco_organization_id", postgresql_where=text("kind = 'member'")),
        Index("ix_link_record", "record_id"),
        # Few rows: linked records are counted as all links minus these.
        Index(
            "ix_link_ended",
            "organization_id",
            "pco_organization_id",
            "kind",
            "state",
            "record_id",
            postgresql_where=text("state IN ('gone', 'missing')"),
        ),
        Index(
            "ix_link_merged",
            "organization_id",
            "pco_organization_id",
            "merged_into",
            postgresql_where=text("merged_into IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    organization_id: Mapped[str]
    pco_organization_id: Mapped[str]
    kind: Mapped[str]
    """`member` or `family`."""
    record_id: Mapped[UUID]
    pco_id: Mapped[str]
    state: Mapped[str] = mapped_column(default="linked")
    """`linked`; `supplied` by the platform and not compared yet; `missing`: neither found nor merged, by a complete
    pull; `gone`: ended because the counterpart was missing or merged."""
    agreed: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Last agreed values by field; a field that was never agreed on is absent."""
    agreed_at: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """When each field was agreed on; `*` covers fields not named."""
    kept_different: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """By field `[ours, theirs]`: the contact left there after ours was cleared, until either changes.

    With a third element, `announced`: the contact that a write in flight will leave there.
    """
    decided: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"), default=dict)
    """Differences that a person decided to keep until one side changes, by field: `ours`, `theirs`, `by_name`, `at`.

    An `ended` one is a conflict.
    """
    contacts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Planning Center's ids of the contacts that our e-mail, phone and address map to, by field."""
    remote_hash: Mapped[bytes | None]
    """Hash of the remote record at the last comparison; an equal hash means no change there."""
    compared_version: Mapped[int] = mapped_column(default=0)
    """The record's `version` at the last comparison."""
    missing_since: Mapped[datetime | None]
    """When Planning Center first answered 404; the record is gone only once the log of mergers is conclusive."""
    gone_at: Mapped[datetime | None]
    merged_into: Mapped[str | None]
    """For a link that ended by a merger of two linked people: Planning Center's id of the finally kept person."""
    kept_two: Mapped[bool] = mapped_column(server_default=text("false"), default=False)
    """For such a link: whether an administrator declared the two members to be two people."""
    create_again: Mapped[bool] = mapped_column(default=False)
    """Whether an administrator asked to create the gone counterpart again."""


class LinkWrite(Base):
    """One field that was or may have been sent to Planning Center, kept until every read must show it."""

    __tablename__ = "link_write"
    __table_args__ = (Index("ix_link_write_link", "link_id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    link_id: Mapped[int] = mapped_column(ForeignKey("link.id", ondelete="CASCADE"))
    field: Mapped[str]
    """Name of the field; `member:` and the id for a membership of a family; `created` for the record itself."""
    before: Mapped[Any] = mapped_column(JSONB)
    after: Mapped[Any] = mapped_column(JSONB)
    announced_at: Mapped[datetime]
    answered_at: Mapped[datetime | None]
    """When the write was answered; None while its outcome is unknown."""


class Effect(EffectColumns, Base):
    """A change of one field on either side, with its cause. Never deleted.

    A creation is one row (field `created`), and so are a membership (`members`; in Planning Center `member:` and the
    id), a link (`planning_center_id`), and the request to create the counterpart again (`create_again`).
    """

    __tablename__ = "effect"
    __table_args__ = effect_indexes("effect")


class Settings(Base):
    """An organization's choices; null columns mean the defaults of `contracts.http.people.PeopleSettings`."""

    __tablename__ = "settings"

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    first_match: Mapped[str | None]
    merge_different_fields: Mapped[bool] = mapped_column(default=False)
    threshold_percent: Mapped[int] = mapped_column(default=25)
    threshold_minimum: Mapped[int] = mapped_column(default=50)
    schedule_hours: Mapped[int] = mapped_column(default=4)
    inactivate_deleted: Mapped[bool] = mapped_column(default=False)
    inactivate_since: Mapped[datetime | None]
    """When that was switched on; members deleted before stay active there."""


class Connection(ScheduledConnection, Base):
    """The People connection's last known state from auth-service, and the cursors of the organization's sync."""

    __tablename__ = "connection"
    __table_args__ = (
        Index("ix_connection_proof", "next_proof_at", postgresql_where=text("state = 'connected' AND mirrored")),
    )

    pco_person_id: Mapped[str]
    country_code: Mapped[str | None]
    """Country of the Planning Center organization, from the last run; the default of phone numbers and addresses."""
    full_sync_at: Mapped[datetime | None]
    """When the last complete pull began; None before the first."""
    cursor: Mapped[datetime | None]
    """Incremental runs read changes since then, minus the staleness horizon."""
    merger_cursor: Mapped[datetime | None]
    """Cursor of the log of mergers."""
    caught_up: Mapped[datetime | None]
    """People added there up to this time, by Planning Center's clock, are in `remote`."""
    mirrored: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    """Whether a complete pull has filled `remote`."""
    time_zone: Mapped[str | None]
    """Time zone (IANA) of the Planning Center organization, read with `country_code`."""
    next_proof_at: Mapped[datetime | None]
    """When the next nightly comparison begins. None until a run has ended."""
