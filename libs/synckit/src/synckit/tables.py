"""The columns that every product's runs have, as mixins: a product adds its own, and what it means by them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Identity, Index, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from synckit.connections import ConnectionColumns


class ScheduledConnection(ConnectionColumns):
    """A connection whose runs come round by themselves."""

    next_run_at: Mapped[datetime | None]
    """None while a run is on, and until one has ended."""


class RunColumns:
    """A sync run. Its id is also the id of the job that carries it out."""

    id: Mapped[UUID] = mapped_column(primary_key=True, sort_order=-1)
    organization_id: Mapped[str]
    pco_organization_id: Mapped[str]
    kind: Mapped[str]
    purpose: Mapped[str] = mapped_column(server_default=text("'sync'"), default="sync")
    """What it is for; the product says what else there is beside `sync`."""
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
    """By question, what an administrator answered, as the product reads it."""
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
    """When what it did record by record was let go of; its numbers stay."""


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
    """One record of a run and what became of it."""

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True, sort_order=-1)
    organization_id: Mapped[str]
    run_id: Mapped[UUID]
    kind: Mapped[str]
    record_id: Mapped[UUID | None]
    pco_id: Mapped[str | None]
    name: Mapped[str]
    outcome: Mapped[str]
    """What the run's numbers count, as planned and then as done."""
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
