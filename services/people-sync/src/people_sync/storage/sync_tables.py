"""Tables of the sync: the mirror, runs and their changes, intents, questions. Row access as in `tables`."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    BigInteger,
    Identity,
    Index,
    Integer,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from people_sync.storage.tables import Base
from synckit.creations import CreationColumns, creation_key
from synckit.gaps import GapColumns, gap_indexes
from synckit.hints import HintColumns, hint_indexes
from synckit.refreshes import RefreshColumns, refresh_indexes
from synckit.tables import ChangeColumns, RunColumns, change_indexes, run_indexes


class Run(RunColumns, Base):
    """A sync run."""

    __tablename__ = "run"
    __table_args__ = (
        *run_indexes(),
        Index(
            "ix_run_proof",
            "organization_id",
            "created_at",
            "id",
            postgresql_where=text("purpose = 'proof' AND state = 'done'"),
        ),
    )
    # purpose: `sync`; `preview` asks before it writes anything; `undo` puts back what others changed; `proof` writes
    # nothing. In `answers`, that of `undo` is who approved it, and `inactivate`.

    subject: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """For an undo its scope, as `contracts.http.plans.UndoInput`; for an ended proof its numbers, as in
    `contracts.http.proof.Statement`.
    """


class Remote(Base):
    """The last read of a person or household in Planning Center."""

    __tablename__ = "remote"
    __table_args__ = (
        Index("ix_remote_keys", "keys", postgresql_using="gin", postgresql_with={"fastupdate": "off"}),
        Index("ix_remote_run", "run_id", "kind", "pco_id", postgresql_where=text("run_id IS NOT NULL")),
        Index("ix_remote_again", "organization_id", "kind", postgresql_where=text("again")),
    )

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    pco_organization_id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    pco_id: Mapped[str] = mapped_column(primary_key=True)
    snapshot: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """Values as read, until both sides agree on them and the link holds them."""
    remote_hash: Mapped[bytes | None]
    """Hash of the content; None without a complete read."""
    fingerprint: Mapped[bytes | None]
    """Seal of the answer that `remote_hash` was read from; None for a single read."""
    email_keys: Mapped[list[str]] = mapped_column(default=list)
    """For a person: lookup keys of emails, to count sharers."""
    name_keys: Mapped[list[str]] = mapped_column(default=list)
    """For a person: all spellings of the full name here."""
    keys: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), default=list)
    """`storage.remote.lookup_key` of both."""
    read_at: Mapped[datetime]
    """When this content was first read; an unchanged record is not written again."""
    times: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """Planning Center's `updated_at` of the record and of its contacts, of the last complete read."""
    unread: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """Why the last read was incomplete, as `name`, `sentence` and `why` (`domain.planning_center.Unread`); and
    `person`, a partial snapshot."""
    again: Mapped[bool] = mapped_column(default=False)
    """Whether the next run must read the record again: the read was incomplete, or no decision was possible."""
    run_id: Mapped[UUID | None]
    """The last run that has to process the record."""
    login: Mapped[bool | None]
    """Whether the person signs in there, and so may be mailed about a change; None if unknown."""


class Sighting(Base):
    """Records that a run met, one row per page."""

    __tablename__ = "sighting"
    __table_args__ = (Index("ix_sighting_run", "run_id", "kind"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    run_id: Mapped[UUID]
    kind: Mapped[str]
    pco_ids: Mapped[list[str]]


class Alias(Base):
    """Two people merged in Planning Center, from its log."""

    __tablename__ = "alias"

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    pco_organization_id: Mapped[str] = mapped_column(primary_key=True)
    removed_id: Mapped[str] = mapped_column(primary_key=True)
    kept_id: Mapped[str]
    merged_at: Mapped[datetime]
    """Time of the merger by Planning Center's clock."""
    seen_at: Mapped[datetime]


class Shown(Base):
    """A change as shown by a waiting run's question, to which the answer is bound."""

    __tablename__ = "shown"

    run_id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    """Planning Center's id and ours, as far as they exist."""
    outcome: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(server_default=text("''"), default="")
    """Digest of the change's plan, if the plan was shown."""
    name: Mapped[str] = mapped_column(server_default=text("''"), default="")
    record_id: Mapped[UUID | None]
    """Our id; None for a person who is not here yet."""
    pco_id: Mapped[str | None]


class Change(ChangeColumns, Base):
    """One record of a run: its pending work on each side, and its outcome."""

    __tablename__ = "change"
    __table_args__ = (
        *change_indexes(),
        Index("ix_change_run_planned", "run_id", "planned", "id", postgresql_where=text("planned IS NOT NULL")),
        Index("ix_change_todo", "run_id", "kind", "id", postgresql_where=text("here = 'planned' OR there = 'planned'")),
    )

    here: Mapped[str] = mapped_column(default="none")
    """State of the work on this side: `none`, `planned`, `done`."""
    there: Mapped[str] = mapped_column(default="none")
    """State of the work in Planning Center: `none`, `planned`, `done`, `later` (postponed to the next run)."""
    plan: Mapped[list[Any] | None] = mapped_column(JSONB(none_as_null=True))
    """For a run that shows its plan: planned writes by field, as `contracts.http.plans.PlanField`.

    With a plan, other writes are not allowed. For an undo each field also has `exact`: key, our value, and the value to
    put back, with members by id.
    """
    planned: Mapped[str | None]
    """For a run that shows its plan: the outcome as shown. None for a change that became unnecessary."""
    may_be_mailed: Mapped[bool] = mapped_column(server_default=text("false"), default=False)
    """For such a run: whether the person signs in to Planning Center, and email or phone would change there."""


class Creation(CreationColumns, Base):
    """An intent to create a record in Planning Center, committed before the request (crash safety).

    Kinds: `member` and `family` for the record itself; `email`, `phone`, `address` for a member's contact. `content` is
    as `Link.agreed` has it.
    """

    __tablename__ = "creation"
    __table_args__ = (
        creation_key(),
        UniqueConstraint("marker"),
        Index("ix_creation_open", "organization_id", "of_record", postgresql_where=text("state <> 'created'")),
    )

    of_record: Mapped[UUID | None]
    """The family of a membership; otherwise `record_id`."""
    marker: Mapped[int | None] = mapped_column(BigInteger)
    """Marker in the new person's `remote_id`, to find them if the answer is lost."""


class Stray(Base):
    """A stray: a record that a worker created in Planning Center after another worker had taken over its lease.

    The record's next writer settles it. Rows of duplicated people and households stay, since a pull would take them for
    new ones.
    """

    __tablename__ = "stray"
    __table_args__ = (
        Index(
            "ix_stray_open",
            "organization_id",
            "pco_organization_id",
            "record_id",
            postgresql_where=text("settled_at IS NULL"),
        ),
    )

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    pco_organization_id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    """As `Creation.kind`."""
    pco_id: Mapped[str] = mapped_column(primary_key=True)
    record_id: Mapped[UUID]
    """The member or family whose writer settles it: `Creation.of_record`."""
    intent_id: Mapped[UUID]
    """`Creation.record_id`."""
    content: Mapped[dict[str, Any]]
    """Sent values, as `Creation.content`."""
    made_at: Mapped[datetime]
    """When the creation's answer was read."""
    settled_at: Mapped[datetime | None]


class Claim(Base):
    """The claim of a record's present writer, valid while its job runs under this fence and its lease."""

    __tablename__ = "claim"

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    record_id: Mapped[UUID] = mapped_column(primary_key=True)
    job_id: Mapped[UUID]
    fence: Mapped[int]


class Refresh(RefreshColumns, Base):
    """A record to sync by itself.

    Reasons: `asked` at a screen, `answered` a held match, `decided` a conflict, `undone` a change, `joined` with
    another; `hinted` by Planning Center; left by a run: `incomplete` read, `unanswered` request, `stray`.
    """

    __tablename__ = "refresh"
    __table_args__ = refresh_indexes()


class Hint(HintColumns, Base):
    """A notice of Planning Center that waits for a refresh."""

    __tablename__ = "hint"
    __table_args__ = hint_indexes()

    removed_id: Mapped[str | None]
    """For a merger: the person removed. The log of mergers must name them before the hint is answered."""


class Gap(GapColumns, Base):
    """A window whose changes have to be read again, because notices were lost."""

    __tablename__ = "gap"
    __table_args__ = gap_indexes()


class HeldMatch(Base):
    """A person in Planning Center who may be a member here."""

    __tablename__ = "held_match"
    __table_args__ = (
        UniqueConstraint("organization_id", "pco_organization_id", "pco_id"),
        Index("ix_held_match_candidates", "candidate_ids", postgresql_using="gin"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    organization_id: Mapped[str]
    pco_organization_id: Mapped[str]
    pco_id: Mapped[str]
    theirs: Mapped[dict[str, Any]]
    candidates: Mapped[list[Any]]
    """`[{"member_id": ..., "reasons": [...]}]`"""
    candidate_ids: Mapped[list[str]]
    more: Mapped[int] = mapped_column(server_default=text("0"), default=0)
    """Number of further candidates that are not named."""
    reasons: Mapped[list[Any]]
    state: Mapped[str]
    """`open`, `later`, `same`, `different`."""
    different_from: Mapped[list[str]] = mapped_column(default=list)
    """Members whom an administrator ruled out."""
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    same_as: Mapped[UUID | None]
    """The member linked by the answer `same`."""
    answered_by: Mapped[str | None]
    answered_by_name: Mapped[str | None]
    answered_at: Mapped[datetime | None]


class HeldBulk(Base):
    """A bulk answer to held matches: the set as shown, kept for a day. A job carries it out.

    One row for the whole set, so that showing ten thousand matches writes one.
    """

    __tablename__ = "held_bulk"
    __table_args__ = (Index("ix_held_bulk_created", "created_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    organization_id: Mapped[str]
    pco_organization_id: Mapped[str]
    answer: Mapped[str]
    held_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))
    versions: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    names: Mapped[list[str]]
    """Names as shown, so that a skipped match is named even if it is gone."""
    left_out: Mapped[int]
    may_be_mailed: Mapped[int]
    """Number of these people who sign in there and would get another email or phone."""
    digest: Mapped[str]
    state: Mapped[str]
    """`shown`, `working`, `done`."""
    done: Mapped[int] = mapped_column(default=0)
    """Number of matches processed, in order."""
    skipped: Mapped[int] = mapped_column(default=0)
    answered_by: Mapped[str | None]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class HeldSkipped(Base):
    """A held match left unanswered because it changed after being shown, with the reason."""

    __tablename__ = "held_skipped"

    bulk_id: Mapped[UUID] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    """Position in `HeldBulk.held_ids`."""
    sentence: Mapped[str]


class Conflict(Base):
    """A conflict as found by people-sync; conflict-service stores the decisions."""

    __tablename__ = "conflict"
    __table_args__ = (
        Index("uq_conflict_open", "organization_id", "record_id", unique=True, postgresql_where=text("state = 'open'")),
        Index("ix_conflict_decision", "organization_id", "id", postgresql_where=text("decision IS NOT NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    organization_id: Mapped[str]
    pco_organization_id: Mapped[str] = mapped_column(server_default=text("''"))
    kind: Mapped[str]
    record_id: Mapped[UUID]
    pco_id: Mapped[str]
    name: Mapped[str] = mapped_column(server_default=text("''"))
    """Name of the record as last published, like `family_ids` and `child`."""
    family_ids: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    child: Mapped[bool | None]
    fields: Mapped[list[Any]]
    """As `contracts.conflicts.ConflictField`."""
    state: Mapped[str]
    """`open`, `converged`, `withdrawn`, `resolved`."""
    version: Mapped[int] = mapped_column(default=1)
    values_version: Mapped[int] = mapped_column(server_default=text("1"), default=1)
    """Counts the values of `fields` alone."""
    theirs_read_at: Mapped[datetime | None]
    """The time of the read that first showed Planning Center's values of `fields`."""
    decision: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """The pending decision: `id`, `choices`, `by_user_id`, `by_name`, `bulk_id`, `rule_id`.

    For a rule, `by_name` is its name, and `by_user_id` the person who turned it on. With `sends` (ours, by field, JSON)
    it is applied here and still to be sent to Planning Center; `untold` has in words what cannot be sent.
    """
    answered: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"), default=dict)
    """Outcome by decision: the `version` that published it, and why it was not carried out, or what was refused.
    """
    opened_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class KeptOut(Base):
    """A member or family that an administrator keeps out of the sync: unchanged on both sides."""

    __tablename__ = "kept_out"

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    record_id: Mapped[UUID] = mapped_column(primary_key=True)
    family_id: Mapped[UUID | None]
    """The family with which a member is kept out, if any."""
    by_user_id: Mapped[str]
    by_name: Mapped[str | None]
    at: Mapped[datetime]


class Joined(Base):
    """A member who was joined to another one, since the two are one person in Planning Center."""

    __tablename__ = "joined"
    __table_args__ = (
        Index("ix_joined_into", "into_id"),
        Index(
            "uq_joined_external",
            "organization_id",
            "external_id",
            unique=True,
            postgresql_where=text("external_id IS NOT NULL"),
        ),
    )

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    member_id: Mapped[UUID] = mapped_column(primary_key=True)
    into_id: Mapped[UUID]
    """The member who stays, never a joined one."""
    external_id: Mapped[str | None]
    """The platform's id of the joined member, which leads to the one who stays."""
    by_user_id: Mapped[str]
    by_name: Mapped[str | None]
    at: Mapped[datetime]
