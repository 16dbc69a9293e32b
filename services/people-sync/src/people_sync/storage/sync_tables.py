"""What the sync keeps: what it read, runs and their changes, intents, questions. Row access as in `tables`."""

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
from synckit.refreshes import RefreshColumns, refresh_indexes


class Run(Base):
    """A sync run. Its id is also the id of the job that carries it out."""

    __tablename__ = "run"
    __table_args__ = (
        Index("ix_run_organization", "organization_id", "created_at", "id"),
        Index(
            "uq_run_in_progress",
            "organization_id",
            unique=True,
            postgresql_where=text("state IN ('queued', 'running', 'waiting', 'stopping')"),
        ),
        Index(
            "ix_run_proof",
            "organization_id",
            "created_at",
            "id",
            postgresql_where=text("purpose = 'proof' AND state = 'done'"),
        ),
        Index("ix_run_lists", "finished_at", postgresql_where=text("lists_gone_at IS NULL")),
        Index("ix_run_over", "finished_at", postgresql_where=text("lists_gone_at IS NOT NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    organization_id: Mapped[str]
    pco_organization_id: Mapped[str]
    kind: Mapped[str]
    purpose: Mapped[str] = mapped_column(server_default=text("'sync'"), default="sync")
    """`sync`; `preview` asks before it writes anything; `undo` puts back what others changed; `proof` writes nothing.
    """
    subject: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """Of an undo: what it puts back, as `contracts.http.plans.UndoInput`. Of a proof that has ended: its numbers, as
    `contracts.http.proof.Statement` has them.
    """
    state: Mapped[str]
    trigger: Mapped[str]
    started_by: Mapped[str | None]
    started_by_name: Mapped[str | None]
    phase: Mapped[str] = mapped_column(default="pull")
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int | None]
    requests: Mapped[int] = mapped_column(default=0)
    counts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    question: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    asked_at: Mapped[datetime | None]
    """When the question that it waits for was asked."""
    answers: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """By question, what an administrator answered; of `undo` who approved it, and `inactivate`."""
    answered: Mapped[list[Any]] = mapped_column(server_default=text("'[]'"), default=list)
    """As `contracts.sync_runs.RunAnswer`, oldest first: for people. The run goes by `answers`."""
    waiting_for: Mapped[str | None]
    rate_per_second: Mapped[float | None]
    eta_low: Mapped[int | None]
    eta_high: Mapped[int | None]
    message: Mapped[str | None]
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    lists_gone_at: Mapped[datetime | None]
    """When what it did record by record was let go of (`CHANGE_KEPT_DAYS`); its numbers stay."""


class Remote(Base):
    """What was last read of a person or household in Planning Center: a mirror that lasts."""

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
    """As read, until both sides agree on it: then the link has the values."""
    remote_hash: Mapped[bytes | None]
    """None if nothing complete was ever read."""
    fingerprint: Mapped[bytes | None]
    """Of the answer that `remote_hash` was read from, bound to that hash; None of one that came by itself."""
    email_keys: Mapped[list[str]] = mapped_column(default=list)
    """Of a person: to see how many share an email."""
    name_keys: Mapped[list[str]] = mapped_column(default=list)
    """Of a person: every way the full name may be written here."""
    keys: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), default=list)
    """`storage.remote.lookup_key` of both."""
    read_at: Mapped[datetime]
    """When it was read as it is; an unchanged record is not written again."""
    unread: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """Why the last read did not say everything, as `name`, `sentence` and `why` (`domain.planning_center.Unread`); and
    `person`, a snapshot as far as it goes."""
    again: Mapped[bool] = mapped_column(default=False)
    """To be read again by the next run: the read was incomplete, or nothing could be decided."""
    run_id: Mapped[UUID | None]
    """The last run that met it with something to decide."""
    login: Mapped[bool | None]
    """Whether the person signs in there, and so may be mailed about a change; None if no read has said it."""


class Sighting(Base):
    """Whom a run met, a page in a row."""

    __tablename__ = "sighting"
    __table_args__ = (Index("ix_sighting_run", "run_id", "kind"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    run_id: Mapped[UUID]
    kind: Mapped[str]
    pco_ids: Mapped[list[str]]


class Alias(Base):
    """Two people who were merged in Planning Center, as its log says."""

    __tablename__ = "alias"

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    pco_organization_id: Mapped[str] = mapped_column(primary_key=True)
    removed_id: Mapped[str] = mapped_column(primary_key=True)
    kept_id: Mapped[str]
    merged_at: Mapped[datetime]
    """By Planning Center's clock."""
    seen_at: Mapped[datetime]


class Shown(Base):
    """What a waiting run's question showed: an answer is bound to it."""

    __tablename__ = "shown"

    run_id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    """Planning Center's id and ours, as far as there are both."""
    outcome: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(server_default=text("''"), default="")
    """Of the change's plan, where the plan was shown."""
    name: Mapped[str] = mapped_column(server_default=text("''"), default="")
    record_id: Mapped[UUID | None]
    """None for somebody who is not here yet."""
    pco_id: Mapped[str | None]


class Change(Base):
    """One record of a run: what is to be done on each side, and what became of it."""

    __tablename__ = "change"
    __table_args__ = (
        Index("ix_change_run", "run_id", "id"),
        Index("ix_change_run_outcome", "run_id", "outcome", "id"),
        Index("ix_change_run_planned", "run_id", "planned", "id", postgresql_where=text("planned IS NOT NULL")),
        Index("ix_change_todo", "run_id", "kind", "id", postgresql_where=text("here = 'planned' OR there = 'planned'")),
        UniqueConstraint("run_id", "kind", "record_id"),
        UniqueConstraint("run_id", "kind", "pco_id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    organization_id: Mapped[str]
    run_id: Mapped[UUID]
    kind: Mapped[str]
    record_id: Mapped[UUID | None]
    pco_id: Mapped[str | None]
    name: Mapped[str]
    here: Mapped[str] = mapped_column(default="none")
    """What this side still needs: `none`, `planned`, `done`."""
    there: Mapped[str] = mapped_column(default="none")
    """What Planning Center still needs: `none`, `planned`, `done`, `later` (inconclusive, the next run goes on)."""
    outcome: Mapped[str]
    """What the run's numbers count, as planned and then as done."""
    cause: Mapped[str | None]
    sentence: Mapped[str | None]
    plan: Mapped[list[Any] | None] = mapped_column(JSONB(none_as_null=True))
    """Of a run that shows its plan: by field what would be written, as `contracts.http.plans.PlanField`.

    Nothing else may be written once there is one. Of an undo each also has `exact`: the key, our value, and the value
    that comes back, of members by their ids.
    """
    planned: Mapped[str | None]
    """Of a run that shows its plan: the outcome as it was shown. None for what needs nothing after all."""
    may_be_mailed: Mapped[bool] = mapped_column(server_default=text("false"), default=False)
    """Of such a run: the person signs in to Planning Center, and email or phone would change there."""


class Creation(CreationColumns, Base):
    """An intent to create something in Planning Center, committed before the request (crash safety).

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
    """Of a membership: the family. Otherwise `record_id`."""
    marker: Mapped[int | None] = mapped_column(BigInteger)
    """Goes into the new person's `remote_id`, so that it can be found if the answer is lost."""


class Stray(Base):
    """Something in Planning Center that a worker made and that it had no right to store: another had taken over.

    Settled by the record's next writer. People and households that were doubled stay known, since a pull would take
    them for new ones.
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
    """What was sent, as `Creation.content`."""
    made_at: Mapped[datetime]
    """When its answer was read."""
    settled_at: Mapped[datetime | None]


class Claim(Base):
    """Who writes a record at the moment: valid while the job runs under this fence and its lease."""

    __tablename__ = "claim"

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    record_id: Mapped[UUID] = mapped_column(primary_key=True)
    job_id: Mapped[UUID]
    fence: Mapped[int]


class Refresh(RefreshColumns, Base):
    """A member or family to be looked at by itself.

    Reasons: `asked` at a screen, `answered` a held match, `decided` a conflict, `undone` a change, `joined` with
    another; left by a run: `incomplete` read, `unanswered` request, `stray`.
    """

    __tablename__ = "refresh"
    __table_args__ = refresh_indexes()


class HeldMatch(Base):
    """A person in Planning Center who may or may not be somebody here."""

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
    """How many further members may be this person: not named."""
    reasons: Mapped[list[Any]]
    state: Mapped[str]
    """`open`, `later`, `same`, `different`."""
    different_from: Mapped[list[str]] = mapped_column(default=list)
    """Members an administrator said this is not."""
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    same_as: Mapped[UUID | None]
    """The member whom the answer `same` linked."""
    answered_by: Mapped[str | None]
    answered_by_name: Mapped[str | None]
    answered_at: Mapped[datetime | None]


class HeldBulk(Base):
    """One answer to many held matches: exactly those that were shown, kept for a day. The job carries it out.

    One row for all of them, so that showing ten thousand writes one.
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
    """As shown: who is skipped is named also if the match is gone."""
    left_out: Mapped[int]
    may_be_mailed: Mapped[int]
    """How many of these people sign in there and would get another email or phone."""
    digest: Mapped[str]
    state: Mapped[str]
    """`shown`, `working`, `done`."""
    done: Mapped[int] = mapped_column(default=0)
    """How many were looked at, in their order."""
    skipped: Mapped[int] = mapped_column(default=0)
    answered_by: Mapped[str | None]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class HeldSkipped(Base):
    """A held match that moved after it was shown, and why it was not answered."""

    __tablename__ = "held_skipped"

    bulk_id: Mapped[UUID] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    """In `HeldBulk.held_ids`."""
    sentence: Mapped[str]


class Conflict(Base):
    """A conflict as people-sync found it; conflict-service keeps what people decide about it."""

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
    """The record's, as told last; so are `family_ids` and `child`."""
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
    """The decision that waits to be carried out: `id`, `choices`, `by_user_id`, `by_name`, `bulk_id`, `rule_id`.

    Of a rule's, `by_name` is the rule's name, and `by_user_id` is who turned it on. With `sends` (ours, by field, JSON)
    it is decided here, and Planning Center is to get these; `untold` has what can't be sent, in words.
    """
    answered: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"), default=dict)
    """By decision, what became of it: the `version` that told it, and why it was not carried out, or what was refused.
    """
    opened_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class KeptOut(Base):
    """A member or family that an administrator keeps out of the sync: left as it is on both sides."""

    __tablename__ = "kept_out"

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    record_id: Mapped[UUID] = mapped_column(primary_key=True)
    family_id: Mapped[UUID | None]
    """Of a member who is kept out with a family."""
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
    """The member who stays. Never one who was joined to another."""
    external_id: Mapped[str | None]
    """The platform's id of the joined member: it leads to the one who stays."""
    by_user_id: Mapped[str]
    by_name: Mapped[str | None]
    at: Mapped[datetime]
