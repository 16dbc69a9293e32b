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
    """One conflict as people-sync's facts tell it, and whether it is being decided. Closed ones stay: the history."""

    __tablename__ = "conflict"
    __table_args__ = (
        CheckConstraint("state IN ('open', 'resolving', 'resolved', 'agreed_elsewhere', 'withdrawn')", name="state"),
        Index("ix_conflict_list", "organization_id", "state", "placed_at", "together", "opened_at", "id"),
        # A page of those that are known to be newer on one side, which may be few.
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
        # Narrow, and with what the filters look at: counting reads the index alone.
        Index(
            "ix_conflict_count",
            "organization_id",
            postgresql_include=["field_names", "child", "one_side_empty", "opened_at", "newer"],
            postgresql_where=text("state = 'open'"),
        ),
        # This index has every state: PostgreSQL ignores the statistics of a partial one, and would walk the list.
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
    """The side that made the newest edit: `ours` or `theirs`; null where that is not certain."""
    fields: Mapped[list[Any]]
    """`contracts.conflicts.ConflictField` as JSON."""
    state: Mapped[str]
    source_version: Mapped[int]
    """The version of people-sync's fact that this row shows."""
    version: Mapped[int]
    """Ours: grows with every newer fact; the version of what is announced on conflicts.conflict.v1."""
    values_version: Mapped[int] = mapped_column(server_default=text("1"))
    """people-sync's, of the values in `fields` alone: a decision is bound to it."""
    opened_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    together: Mapped[str]
    """The record's first family, else the record: the list has the open conflicts of one family together."""
    placed_at: Mapped[datetime]
    """When the first of them opened: the list's order."""
    decision_id: Mapped[str | None]
    """The decision that is being carried out."""


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
    """The values that were chosen from: `contracts.conflicts.ConflictField` as JSON."""
    decided_by: Mapped[str]
    decided_by_name: Mapped[str | None]
    decided_at: Mapped[datetime]
    outcome: Mapped[str]
    sentence: Mapped[str | None]
    refused: Mapped[list[str]]
    settled_at: Mapped[datetime | None]
    bulk_id: Mapped[str | None]
    """The answer to many that this decision belongs to."""
    rule_id: Mapped[str | None]
    """The rule that decided; its name is `decided_by_name`, and who turned it on is `decided_by`."""
    kind: Mapped[str | None]
    """`domain.rules.kind_of` the conflict."""
    answer: Mapped[str]
    """`domain.rules.answer_of` the choices."""


class BulkRow(Base):
    """One answer to many conflicts: exactly those that were shown. The job carries it out.

    One row for all of them, so that showing ten thousand writes one.
    """

    __tablename__ = "bulk"
    __table_args__ = (Index("ix_bulk_created", "created_at"),)

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    answer: Mapped[str]
    field: Mapped[str | None]
    """That the answer is for; None for all."""
    conflict_ids: Mapped[list[str]]
    values_versions: Mapped[list[int]]
    names: Mapped[list[str]]
    """The records' names as shown, so that a skipped one is named also if its conflict is over."""
    left_out: Mapped[int]
    digest: Mapped[str]
    state: Mapped[str]
    """`shown`, `working`, `done`."""
    done: Mapped[int]
    """How many were looked at, in their order."""
    skipped: Mapped[int]
    decided_by: Mapped[str | None]
    decided_by_name: Mapped[str | None]
    rule_id: Mapped[str | None]
    """The rule that was turned on with it, and decides."""
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class BulkSkippedRow(Base):
    """A conflict that moved after it was shown, and why it was not decided."""

    __tablename__ = "bulk_skipped"

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    bulk_id: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    """In `BulkRow.conflict_ids`."""
    sentence: Mapped[str]


class ErasedRecordRow(Base):
    """A record that people-sync erased: a fact about it that comes late is dropped. Holds nothing but our own id."""

    __tablename__ = "erased_record"

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    record_id: Mapped[str] = mapped_column(primary_key=True)
    erased_at: Mapped[datetime]


class RuleRow(Base):
    """A rule that decides conflicts. A deleted one stays, because what it decided has its name."""

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
    """How many decisions of a rule came to which end, so that showing it does not look at all of them."""

    __tablename__ = "rule_outcomes"

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    rule_id: Mapped[str] = mapped_column(primary_key=True)
    applied: Mapped[int]
    overtaken: Mapped[int]
    not_needed: Mapped[int]


class RuleLessonRow(Base):
    """Until when a kind of conflict has taught all it can: a rule was turned on, declined or deleted then."""

    __tablename__ = "rule_lesson"

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    settled_at: Mapped[datetime]
