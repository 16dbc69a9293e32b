"""The tables of conflict-service. Row access is always by (organization_id, id)."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from servicekit.db.sessions import Columns, service_metadata


class Base(Columns, DeclarativeBase):
    """The declarative base; its metadata also holds servicekit's outbox, inbox and job tables."""

    metadata = service_metadata(jobs=True, answers=True)


class ConflictRow(Base):
    """One conflict from people-sync's facts, with its pending decision. Closed ones stay as history."""

    __tablename__ = "conflict"
    __table_args__ = (
        CheckConstraint("state IN ('open', 'resolving', 'resolved', 'agreed_elsewhere', 'withdrawn')", name="state"),
        Index("ix_conflict_list", "organization_id", "state", "placed_at", "together", "opened_at", "id"),
        # For pages of conflicts known to be newer on one side, which may be few.
        Index(
            "ix_conflict_newer",
            "organization_id",
            "newer",
            "placed_at",
            "together",
            "opened_at",
            "id",
            postgresql_where=text("state = 'open' AND newer IS NOT NULL"),
        ),
        Index("ix_conflict_together", "organization_id", "together", postgresql_where=text("state = 'open'")),
        # Narrow, with the filters' columns, so that counting reads the index alone.
        Index(
            "ix_conflict_count",
            "organization_id",
            postgresql_include=["field_names", "child", "one_side_empty", "opened_at", "newer"],
            postgresql_where=text("state = 'open'"),
        ),
        # Covers every state: PostgreSQL ignores the statistics of a partial index, and would walk the list.
        Index("ix_conflict_record", "organization_id", text("(record ->> 'id')")),
        Index("ix_conflict_family_ids", "family_ids", postgresql_using="gin", postgresql_where=text("state = 'open'")),
    )

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    record: Mapped[dict[str, Any]]
    """`contracts.conflicts.ConflictRecord` as JSON."""
    family_ids: Mapped[list[str]]
    """The record's families. This column, `child`, `field_names`, `one_side_empty` and `newer` serve the filters."""
    child: Mapped[bool | None]
    field_names: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    one_side_empty: Mapped[bool] = mapped_column(server_default=text("false"))
    newer: Mapped[str | None]
    """The side with the newest edit: `ours` or `theirs`; null if uncertain."""
    fields: Mapped[list[Any]]
    """`contracts.conflicts.ConflictField` as JSON."""
    state: Mapped[str]
    source_version: Mapped[int]
    """Version of the newest stored fact of people-sync."""
    version: Mapped[int]
    """Our own version, which grows with every newer fact and is announced on conflicts.conflict.v1."""
    values_version: Mapped[int] = mapped_column(server_default=text("1"))
    """people-sync's version of the values in `fields`, to which a decision is bound."""
    opened_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    together: Mapped[str]
    """The record's first family, else the record; groups a family's open conflicts in the list."""
    placed_at: Mapped[datetime]
    """When the group's first conflict opened, which orders the list."""
    decision_id: Mapped[str | None]
    """Id of the decision that is being carried out."""


class DecisionRow(Base):
    """Choices for one conflict, by a person or a rule, and their outcome. A row is never deleted."""

    __tablename__ = "decision"
    __table_args__ = (
        ForeignKeyConstraint(["organization_id", "conflict_id"], ["conflict.organization_id", "conflict.id"]),
        CheckConstraint("outcome IN ('waiting', 'applied', 'overtaken', 'not_needed')", name="outcome"),
        Index("ix_decision_conflict", "organization_id", "conflict_id", "decided_at"),
        Index(
            "ix_decision_bulk", "organization_id", "bulk_id", "outcome", postgresql_where=text("bulk_id IS NOT NULL")
        ),
        Index(
            "ix_decision_rule", "organization_id", "rule_id", "outcome", postgresql_where=text("rule_id IS NOT NULL")
        ),
        Index(
            "ix_decision_given",
            "organization_id",
            "decided_at",
            "id",
            postgresql_where=text("rule_id IS NULL AND bulk_id IS NULL AND kind IS NOT NULL"),
        ),
        Index(
            "ix_decision_kind",
            "organization_id",
            "kind",
            "decided_at",
            "id",
            postgresql_where=text("rule_id IS NULL AND kind IS NOT NULL"),
        ),
    )

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    conflict_id: Mapped[str]
    choices: Mapped[dict[str, Any]]
    """A `contracts.conflicts.Choice` for each field."""
    fields: Mapped[list[Any]]
    """The values at the decision: `contracts.conflicts.ConflictField` as JSON."""
    decided_by: Mapped[str]
    decided_by_name: Mapped[str | None]
    decided_at: Mapped[datetime]
    outcome: Mapped[str]
    sentence: Mapped[str | None]
    refused: Mapped[list[str]]
    settled_at: Mapped[datetime | None]
    bulk_id: Mapped[str | None]
    """The bulk answer that this decision belongs to."""
    rule_id: Mapped[str | None]
    """The rule that decided; `decided_by_name` is its name, and `decided_by` the person who turned it on."""
    kind: Mapped[str | None]
    """`domain.rules.kind_of` the conflict."""
    answer: Mapped[str]
    """`domain.rules.answer_of` the choices."""


class BulkRow(Base):
    """A bulk answer to conflicts: the set as shown. A job carries it out.

    One row for the whole set, so that showing ten thousand conflicts writes one.
    """

    __tablename__ = "bulk"
    __table_args__ = (Index("ix_bulk_created", "created_at"),)

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    answer: Mapped[str]
    field: Mapped[str | None]
    """Field that the answer applies to; None for all."""
    conflict_ids: Mapped[list[str]]
    values_versions: Mapped[list[int]]
    names: Mapped[list[str]]
    """Names as shown, so that a skipped record is named even if its conflict is over."""
    left_out: Mapped[int]
    digest: Mapped[str]
    state: Mapped[str]
    """`shown`, `working`, `done`."""
    done: Mapped[int]
    """Number of conflicts processed, in order."""
    skipped: Mapped[int]
    decided_by: Mapped[str | None]
    decided_by_name: Mapped[str | None]
    rule_id: Mapped[str | None]
    """The rule that was turned on with this answer, and decides."""
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class BulkSkippedRow(Base):
    """A conflict left undecided because it changed after being shown, with the reason."""

    __tablename__ = "bulk_skipped"

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    bulk_id: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    """Position in `BulkRow.conflict_ids`."""
    sentence: Mapped[str]


class ErasedRecordRow(Base):
    """A record that people-sync erased, whose late facts are dropped. Holds only our own id."""

    __tablename__ = "erased_record"

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    record_id: Mapped[str] = mapped_column(primary_key=True)
    erased_at: Mapped[datetime]


class RuleRow(Base):
    """A rule that decides conflicts. A deleted one stays, because its decisions show its name."""

    __tablename__ = "rule"
    __table_args__ = (
        CheckConstraint("answer IN ('ours', 'theirs')", name="answer"),
        CheckConstraint("empty IN ('ours', 'theirs')", name="empty"),
        Index(
            "uq_rule_condition",
            "organization_id",
            "kind",
            "answer",
            "older_than_days",
            "empty",
            "child",
            unique=True,
            postgresql_nulls_not_distinct=True,
            postgresql_where=text("deleted_at IS NULL"),
        ),
    )

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    """`domain.rules.kind_of` the conflicts that it decides."""
    fields: Mapped[list[str]]
    answer: Mapped[str]
    older_than_days: Mapped[int | None]
    empty: Mapped[str | None]
    child: Mapped[bool | None]
    name: Mapped[str]
    is_on: Mapped[bool]
    made_by: Mapped[str]
    """The administrator who turned the rule on last."""
    made_by_name: Mapped[str | None]
    made_at: Mapped[datetime]
    changed_at: Mapped[datetime]
    bulk_id: Mapped[str | None]
    """The answer to the conflicts that were open when it was turned on last."""
    deleted_at: Mapped[datetime | None]


class RuleOutcomesRow(Base):
    """Numbers of a rule's decisions by outcome, so that showing a rule does not count them all."""

    __tablename__ = "rule_outcomes"

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    rule_id: Mapped[str] = mapped_column(primary_key=True)
    applied: Mapped[int]
    overtaken: Mapped[int]
    not_needed: Mapped[int]


class RuleLessonRow(Base):
    """Time before which decisions about a kind of conflict teach no rule: a rule was turned on, declined or deleted."""

    __tablename__ = "rule_lesson"

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    settled_at: Mapped[datetime]
