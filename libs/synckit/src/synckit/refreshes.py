"""Refreshes: syncs of single records, requested at a screen, by a webhook, or after a record was postponed.

    (no row) ──request──▶ queued ──done──▶ done, for a day
                          │  ▲  └─asked for again meanwhile──▶ queued
                          └──┘ not before an instant

A record has at most one queued row, so requests for it coalesce. `synckit.refresh_job` works the rows off.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias
from uuid import UUID

from sqlalchemy import Index, Text, Uuid, exists, func, inspect, literal, literal_column, or_, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, Insert, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from servicekit.db.retention import forget
from servicekit.db.sessions import Sessions
from servicekit.db.tables import JOB
from servicekit.errors import NotFound
from servicekit.ids import uuid7
from servicekit.jobs import queue as jobs
from synckit.connections import ConnectionColumns
from synckit.hints import Hints
from synckit.records import parse_id
from synckit.sentences import ASKING

DUE_AT_ONCE: Final = 100
KEPT: Final = timedelta(days=1)
"""How long the outcome can be read."""
GIVEN_BACK: Final = "given_back"
"""Key in the checkpoint of a job that waits for Planning Center or the connection, not for the time of a row."""

_LOCK: Final = "hashtextextended(:job || chr(31) || :organization, 11)"
_REQUESTING: Final = text(f"SELECT pg_advisory_xact_lock_shared({_LOCK})")
_ENDING: Final = text(f"SELECT pg_try_advisory_xact_lock({_LOCK})")
_OWNER: Final = ("organization_id", "pco_organization_id", "kind")


class RefreshColumns:
    """A sync of a single record on both sides: `class Refresh(RefreshColumns, Base)`.

    A finished row is kept for a day, so that its outcome can be read.
    """

    id: Mapped[UUID] = mapped_column(primary_key=True, sort_order=-1)
    organization_id: Mapped[str]
    pco_organization_id: Mapped[str]
    kind: Mapped[str]
    record_id: Mapped[UUID | None]
    pco_id: Mapped[str | None]
    """Planning Center's id, of a record without a counterpart here."""
    reasons: Mapped[list[str]]
    """Why it was requested, as the product names it."""
    urgent: Mapped[bool]
    """Whether somebody waits at a screen."""
    not_before: Mapped[datetime]
    state: Mapped[str]
    """`queued` or `done`."""
    tries: Mapped[int] = mapped_column(default=0)
    outcome: Mapped[str | None]
    sentence: Mapped[str | None]
    """The outcome in words. None for a queued row, about which the product has a sentence of its own."""
    requested_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


def refresh_indexes(table: str = "refresh") -> tuple[Index, ...]:
    """For `__table_args__` of a refresh: one queued row for each record, what is due, what is forgotten."""
    queued = "state = 'queued'"
    by_record = text(f"{queued} AND record_id IS NOT NULL")
    by_pco = text(f"{queued} AND record_id IS NULL")
    return (
        Index(f"uq_{table}_record", *_OWNER, "record_id", unique=True, postgresql_where=by_record),
        Index(f"uq_{table}_pco", *_OWNER, "pco_id", unique=True, postgresql_where=by_pco),
        Index(f"ix_{table}_due", "organization_id", "not_before", postgresql_where=text(queued)),
        Index(f"ix_{table}_finished", "finished_at"),
    )


RecordOf: TypeAlias = Callable[[AsyncSession, Mapping[str, str], str, str], Awaitable[UUID | None]]
"""Our record by owner, kind and Planning Center's id; None if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshes:
    """A product's refreshes."""

    rows: type[RefreshColumns]
    job: str
    """Kind of the job that works them off, one per organization."""
    connections: type[ConnectionColumns]
    record_of: RecordOf
    looks_again: str
    """The sentence about a record that waits for another look."""
    hints: Hints | None = None
    """Planning Center's notices that wait for rows, if the product gets any."""


@dataclass(frozen=True, slots=True)
class Done:
    """The end of one row."""

    outcome: str
    sentence: str
    lasting: bool = False
    """Whether the outcome stays true if a further sync of the record finds nothing to do."""


async def request(
    session: AsyncSession,
    refreshes: Refreshes,
    owner: Mapping[str, str],
    kind: str,
    *,
    record_id: UUID | None = None,
    pco_id: str | None = None,
    reason: str,
    urgent: bool,
    not_before: datetime | None = None,
    now: datetime,
    woken: bool = False,
) -> RefreshColumns:
    """Queue a record, by our id or by Planning Center's. Requests for one record share a row with the earliest time.

    `owner`: `organization_id` and `pco_organization_id`. `urgent`: somebody waits at a screen. `not_before`: None for
    at once. `woken`: whether the caller has called `wake` already.
    """
    if not woken:
        # The job comes before the row: a caller with several requests would otherwise lock rows before it waits for the
        # job.
        await wake(session, refreshes, owner["organization_id"], urgent=urgent)
    rows = refreshes.rows
    if record_id is None and pco_id is not None:
        record_id = await refreshes.record_of(session, owner, kind, pco_id)
    by_record = record_id is not None
    statement = insert(rows).values(
        id=uuid7(),
        **owner,
        kind=kind,
        record_id=record_id,
        pco_id=None if by_record else pco_id,
        reasons=[reason],
        urgent=urgent,
        not_before=not_before or now,
        state="queued",
        tries=0,
        requested_at=now,
    )
    queued = await session.scalars(
        _merging(refreshes, statement, by_record=by_record).returning(rows),
        execution_options={"populate_existing": True},
    )
    return queued.one()


def _merging(refreshes: Refreshes, statement: Insert, *, by_record: bool) -> Insert:
    """The insertion of rows, each into the queued one of its record if there is one."""
    rows = refreshes.rows
    table = inspect(rows).local_table.name
    index = [*_OWNER, "record_id" if by_record else "pco_id"]
    where = text(f"state = 'queued' AND record_id IS {'NOT NULL' if by_record else 'NULL'}")
    merged = {
        # Written as SQL, because SQLAlchemy's select would add both names to FROM, as a cross join.
        "reasons": literal_column(f"ARRAY(SELECT DISTINCT unnest({table}.reasons || excluded.reasons))"),
        "requested_at": statement.excluded.requested_at,
        # A new request is a new reason to look, not one more attempt for the old one.
        "tries": 0,
        "urgent": rows.urgent | statement.excluded.urgent,
        "not_before": func.least(rows.not_before, statement.excluded.not_before),
    }
    return statement.on_conflict_do_update(index_elements=index, index_where=where, set_=merged)


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """A record to look at, by our id or by Planning Center's."""

    kind: str
    record_id: UUID | None
    pco_id: str


async def request_all(
    session: AsyncSession,
    refreshes: Refreshes,
    owner: Mapping[str, str],
    targets: Collection[Target],
    *,
    reason: str,
    now: datetime,
) -> dict[Target, UUID]:
    """As `request` for many at once, for nobody at a screen. The caller has called `wake`. Gives the rows' ids."""
    rows = refreshes.rows
    known = {(one.kind, one.record_id): one for one in targets if one.record_id is not None}
    strange = {(one.kind, one.pco_id): one for one in targets if one.record_id is None}
    found: dict[Target, UUID] = {}
    for by_record, those in ((True, known), (False, strange)):
        if not those:
            continue
        # In one order, because another transaction may request the same records.
        ordered = sorted(those, key=lambda key: (key[0], str(key[1])))
        ids = literal([uuid7() for _ in ordered], ARRAY(Uuid))
        kinds = literal([kind for kind, _ in ordered], ARRAY(Text))
        named = literal([key for _, key in ordered], ARRAY(Uuid if by_record else Text))
        each = func.unnest(ids, kinds, named).table_valued("id", "kind", "named", with_ordinality="nth")
        each = each.render_derived(name="target")
        name = "record_id" if by_record else "pco_id"
        values = {
            "id": each.c.id,
            **{column: literal(value) for column, value in owner.items()},
            "kind": each.c.kind,
            name: each.c.named,
            "reasons": literal([reason], ARRAY(Text)),
            "urgent": literal(False),
            "not_before": literal(now),
            "state": literal("queued"),
            "tries": literal(0),
            "requested_at": literal(now),
        }
        statement = insert(rows).from_select(list(values), select(*values.values()).order_by(each.c.nth))
        merged = _merging(refreshes, statement, by_record=by_record)
        queued = await session.execute(merged.returning(rows.id, rows.kind, getattr(rows, name)))
        rows_of = {(kind, key): row_id for row_id, kind, key in queued}
        found |= {
            one: rows_of[one.kind, one.record_id if by_record else one.pco_id]
            for one in targets
            if (one.record_id is not None) == by_record
        }
    return found


async def wake(session: AsyncSession, refreshes: Refreshes, organization_id: str, *, urgent: bool = False) -> None:
    """Make sure that a job works off the organization's rows.

    A job in the middle of a step is not waited for: it checks for rows after the step, and does not end before this
    transaction does.
    """
    await session.execute(_REQUESTING, {"job": refreshes.job, "organization": organization_id})
    job_id, created = await jobs.enqueue(session, refreshes.job, organization_id, urgent=urgent)
    if not created:
        state = select(JOB.c.state).where(JOB.c.id == job_id)
        # Locked only if it waits: a job's steps would wait for each transaction that has requested something.
        waits = await session.scalar(state) == "waiting"
        if waits and await session.scalar(state.with_for_update(skip_locked=True)) == "waiting":
            await jobs.resume(session, job_id, urgent=urgent)
        elif urgent:
            await jobs.hurry(session, job_id, waits=False)


async def may_end(session: AsyncSession, refreshes: Refreshes, organization_id: str) -> bool:
    """Whether nobody is about to commit a request. If so, requests wait until this transaction has ended the job."""
    return bool(await session.scalar(_ENDING, {"job": refreshes.job, "organization": organization_id}))


async def start_due(session: AsyncSession, refreshes: Refreshes) -> int:
    """Begin or wake jobs for due rows that have none, such as after an error of a job.

    Returns the number of organizations with due rows; `DUE_AT_ONCE` at most.
    """
    rows, connections = refreshes.rows, refreshes.connections
    at_work = exists().where(
        JOB.c.kind == refreshes.job,
        JOB.c.organization_id == rows.organization_id,
        or_(
            JOB.c.state.in_(("queued", "running")),
            # This job waits for Planning Center or the connection, not for the time of a row.
            (JOB.c.state == "waiting") & JOB.c.checkpoint[GIVEN_BACK].is_not(None),
        ),
    )
    due = await session.execute(
        select(rows.organization_id, func.bool_or(rows.urgent))
        .join(connections, connections.organization_id == rows.organization_id)
        .where(
            rows.state == "queued",
            rows.not_before <= func.now(),
            connections.state == "connected",
            connections.pco_organization_id == rows.pco_organization_id,
            ~at_work,
        )
        .group_by(rows.organization_id)
        .limit(DUE_AT_ONCE)
    )
    found = due.all()
    for organization_id, urgent in found:
        await wake(session, refreshes, organization_id, urgent=urgent)
    return len(found)


async def resume_waiting(session: AsyncSession, refreshes: Refreshes, organization_id: str) -> None:
    """Wake the job after a reconnect, if rows are queued."""
    rows = refreshes.rows
    waiting = select(rows.id).where(rows.organization_id == organization_id, rows.state == "queued").limit(1)
    if await session.scalar(waiting) is not None:
        await wake(session, refreshes, organization_id)


async def end(session: AsyncSession, refreshes: Refreshes, organization_id: str, done: Done, now: datetime) -> None:
    """End all queued rows, because their connection has ended. `hints.answer_left` answers their hints."""
    rows = refreshes.rows
    await session.execute(
        update(rows)
        .where(rows.organization_id == organization_id, rows.state == "queued")
        .values(state="done", outcome=done.outcome, sentence=done.sentence, finished_at=now)
        .execution_options(synchronize_session=False)
    )


async def find(session: AsyncSession, refreshes: Refreshes, organization_id: str, sync_id: str) -> RefreshColumns:
    """One sync of a record here. NotFound (404)."""
    rows = refreshes.rows
    id_ = parse_id(sync_id, "sync")
    query = select(rows).where(rows.organization_id == organization_id, rows.id == id_, rows.record_id.is_not(None))
    row = await session.scalar(query)
    if row is None:
        raise NotFound("There is no such sync. One of a single record is kept for a day.")
    return row


def shown(refreshes: Refreshes, row: RefreshColumns) -> dict[str, Any]:
    """The fields that every product's answer about a sync has."""
    waits = row.state == "queued" and row.tries > 0
    done = row.state == "done"
    return {
        "id": str(row.id),
        "state": "done" if done else "queued",
        "outcome": row.outcome if done else None,
        "sentence": row.sentence or (refreshes.looks_again if waits else ASKING),
        "again_at": row.not_before if waits else None,
        "requested_at": row.requested_at,
        "finished_at": row.finished_at,
    }


async def forget_old(sessions: Sessions, refreshes: Refreshes, now: datetime) -> int:
    """Delete rows that finished more than `KEPT` ago, in batches. Returns how many."""
    table = inspect(refreshes.rows).local_table
    return await forget(sessions, table, table.c.finished_at, [table.c.finished_at < now - KEPT])
