"""The columns of all products' runs, as mixins. A product adds its own columns and their meaning."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Identity, Index, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from synckit.connections import ConnectionColumns


class ScheduledConnection(ConnectionColumns):
    """A connection with scheduled runs."""

    next_run_at: Mapped[datetime | None]
    """None during a run, and before the first run has ended."""


class RunColumns:
    """A sync run. Its id is also the id of its job."""

    id: Mapped[UUID] = mapped_column(primary_key=True, sort_order=-1)
    organization_id: Mapped[str]
    pco_organization_id: Mapped[str]
    kind: Mapped[str]
    purpose: Mapped[str] = mapped_column(server_default=text("'sync'"), default="sync")
    """`sync`, or another purpose that the product defines."""
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
    """When the open question was asked."""
    answers: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """The administrators' answers by question, in the product's form."""
    answered: Mapped[list[Any]] = mapped_column(server_default=text("'[]'"), default=list)
    """As `contracts.sync_runs.RunAnswer`, oldest first, for display. The run follows `answers`."""
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
    """When its lists of records were deleted; its numbers stay."""


def run_indexes(table: str = "run") -> tuple[Index, ...]:
    """For `__table_args__` of a run: its history, one in progress for each organization, and what retention asks."""
    return (
        Index(f"ix_{table}_organization", "organization_id", "created_at", "id"),
        Index(
            f"uq_{table}_in_progress",
            "organization_id",
            unique=True,
            postgresql_where=text("state IN ('queued', 'running', 'waiting', 'stopping')"),
        ),
        Index(f"ix_{table}_lists", "finished_at", postgresql_where=text("lists_gone_at IS NULL")),
        Index(f"ix_{table}_over", "finished_at", postgresql_where=text("lists_gone_at IS NOT NULL")),
    )


class ChangeColumns:
    """One record of a run, with its outcome."""

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True, sort_order=-1)
    organization_id: Mapped[str]
    run_id: Mapped[UUID]
    kind: Mapped[str]
    record_id: Mapped[UUID | None]
    pco_id: Mapped[str | None]
    name: Mapped[str]
    outcome: Mapped[str]
    """The outcome that the run's numbers count: first as planned, then as done."""
    cause: Mapped[str | None]
    sentence: Mapped[str | None]


def change_indexes(table: str = "change") -> tuple[Index | UniqueConstraint, ...]:
    """For `__table_args__` of a change: the lists behind a run's numbers, and each record once in a run."""
    return (
        Index(f"ix_{table}_run", "run_id", "id"),
        Index(f"ix_{table}_run_outcome", "run_id", "outcome", "id"),
        UniqueConstraint("run_id", "kind", "record_id"),
        UniqueConstraint("run_id", "kind", "pco_id"),
    )


class EffectColumns:
    """A change of one field of a record on either side, with its cause. Never deleted."""

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True, sort_order=-1)
    """Gives the order of effects. Internal, since it counts the changes of all churches."""
    entry_id: Mapped[UUID] = mapped_column(server_default=func.gen_random_uuid())
    """Id for callers, unique within the record."""
    organization_id: Mapped[str]
    cause: Mapped[str]
    """`run`, `refresh`, `decision`, `rule` for a decision by a rule, or `edit` for an edit here."""
    cause_id: Mapped[UUID | None]
    """Id of the run, refresh, decision or rule."""
    kind: Mapped[str]
    record_id: Mapped[UUID]
    side: Mapped[str] = mapped_column(default="here")
    """Side of the change: `here`, or `there` for Planning Center."""
    field: Mapped[str]
    before: Mapped[Any] = mapped_column(JSONB)
    after: Mapped[Any] = mapped_column(JSONB)
    by: Mapped[str]
    """`person`, `planning_center`, `rule` or `platform`."""
    by_user_id: Mapped[str | None]
    by_name: Mapped[str | None]
    rule: Mapped[str | None]
    at: Mapped[datetime] = mapped_column(server_default=func.now())


def effect_indexes(table: str = "effect") -> tuple[Index, ...]:
    """For `__table_args__` of an effect: the history of a record, and what one cause did."""
    return (
        Index(f"ix_{table}_record", "record_id", "id"),
        Index(f"ix_{table}_cause", "cause_id", "id", postgresql_where=text("cause_id IS NOT NULL")),
    )
