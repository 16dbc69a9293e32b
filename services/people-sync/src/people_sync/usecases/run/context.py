"""The context shared by all phases of a run."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import FromClause, Select, Uuid, func, literal, select, text
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.ext.asyncio import AsyncSession

from people_sync.storage.runs import RUNS
from people_sync.storage.sync_tables import Change, Run
from people_sync.usecases.record.planned import Here, Planned, There
from people_sync.usecases.record.writer import Writer
from people_sync.usecases.run.checkpoint import Checkpoint
from people_sync.usecases.runs import APPROVALS
from synckit.errors import Wait
from synckit.progress import Pace
from synckit.requests import Requests, pace_of
from synckit.work import keep

_PLANNED_AT_ONCE: Final = 2_000


@dataclass(slots=True, kw_only=True)
class RunContext(Writer):
    """A run being carried out by this process: the record engine in batches, with progress and a checkpoint."""

    requests: Requests
    run_id: UUID
    kind: str
    purpose: str
    threshold: tuple[int, int]
    """Percent and minimum of the linked records above which the run asks."""
    inactivate_since: datetime | None
    """Members deleted here since then become inactive there; None turns that off."""
    since: datetime | None
    """Start of the changes that an incremental run reads."""
    mirrored: bool
    """Whether a complete pull has filled the mirror."""
    caught_up_at: datetime | None = None
    """When this process last read people added there since the pull."""
    answers: Mapping[str, str] = field(default_factory=dict)
    """An administrator's answers by question."""
    checkpoint: Checkpoint = field(default_factory=Checkpoint)

    @property
    def approved(self) -> bool:
        """Whether an administrator has approved the shown plan, so that no other change is allowed."""
        return not APPROVALS.isdisjoint(self.answers)

    @property
    def reads_everybody(self) -> bool:
        """Whether the pull reads all people; false when it only reads changes since a plan was shown."""
        return self.kind == "full" and self.checkpoint.pulled.since is None

    @asynccontextmanager
    async def step(self, **progress: Any) -> AsyncIterator[AsyncSession]:
        """One transaction of a phase: its rows, the run's progress and the checkpoint are committed together.

        Raises LeaseLost if another worker has taken over, StopRequested (after the commit) if a person pressed
        *Stop safely*.
        """
        async with self.transaction() as session:
            yield session
            self.checkpoint.waits = 0
            await keep(session, RUNS, self.job, self.requests, self.checkpoint.to_json(), **progress)
        self.job.stop_if_requested()

    async def advance(self, session: AsyncSession, more: int) -> None:
        """Count records as done in the run's row, within their step."""
        run = await session.get_one(Run, self.run_id)
        run.done += more

    async def analyze(self, tables: str) -> None:
        """Update the planner's statistics of tables just written.

        Autovacuum comes a minute later; until then the planner assumes one row for a church of any size, and compares
        all people with all.
        """
        async with self.job.sessions.begin() as session:
            # A concurrent run analyzes the same tables for both.
            await session.execute(text(f"ANALYZE (SKIP_LOCKED) {tables}"))

    def wait_until(self, until: datetime, sentence: str) -> None:
        """Suspend the run until then; it resumes at its checkpoint. No effect once the instant is past."""
        if until > self.now():
            raise Wait(until, sentence)

    async def pacer_state(self) -> Pace | None:
        """The vendor's limits from the last headers; None before the first answer."""
        return await pace_of(self.pco, self.requests)


async def add_planned(session: AsyncSession, context: RunContext, rows: list[Planned]) -> None:
    """Plan changes; an already planned one (a record reached from two sides) stays unchanged."""
    of_run = {"organization_id": context.organization_id, "run_id": context.run_id}
    if rows:
        await session.execute(insert(Change).on_conflict_do_nothing(), [of_run | asdict(row) for row in rows])


async def plan_found(
    session: AsyncSession,
    context: RunContext,
    kind: str,
    found: Select[Any],
    outcome: str,
    *,
    here: Here = "none",
    there: There = "planned",
) -> int:
    """Plan the same change for all `found` (record, Planning Center's id, name) by one statement.

    Gives the number of newly planned records.
    """
    result: Any = await session.execute(_planning(context, kind, found.subquery(), outcome, here, there))
    return int(result.rowcount)


async def plan_next(
    session: AsyncSession,
    context: RunContext,
    kind: str,
    found: Select[Any],
    outcome: str,
    *,
    here: Here = "none",
    there: There = "planned",
) -> bool:
    """`plan_found` for the next records only, in the order of their ids. False when none are left."""
    record, compared = found.selected_columns[0], context.checkpoint.compared
    if compared.record:
        found = found.where(record > UUID(compared.record))
    batch = found.order_by(record).limit(_PLANNED_AT_ONCE).cte("batch")
    planned = _planning(context, kind, batch, outcome, here, there).returning(Change.id).cte("planned")
    looked_at = select(batch.c[0], func.count().over()).order_by(batch.c[0].desc()).limit(1).add_cte(planned)
    last, count = (await session.execute(looked_at)).one_or_none() or (None, 0)
    more = count == _PLANNED_AT_ONCE
    compared.record = str(last) if more else ""
    return more


def _planning(context: RunContext, kind: str, found: FromClause, outcome: str, here: Here, there: There) -> Insert:
    row = found.columns
    values = {
        "organization_id": literal(context.organization_id),
        "run_id": literal(context.run_id, Uuid),
        "kind": literal(kind),
        "record_id": row[0],
        "pco_id": row[1],
        "name": row[2],
        "here": literal(here),
        "there": literal(there),
        "outcome": literal(outcome),
    }
    return insert(Change).from_select(list(values), select(*values.values())).on_conflict_do_nothing()
