"""The plan of a run for people: page by page, and as a file."""

from collections.abc import AsyncIterator
from typing import Any, Final

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from contracts.http.common import Page
from contracts.http.plans import PlanField, PlanItem, PlanQuery
from people_sync.domain.sentences import OUTCOMES, PLANNED
from people_sync.storage.sync_tables import Change, Run
from people_sync.usecases import runs
from servicekit.http import spreadsheets
from synckit.changes import page_of

_ROWS_AT_ONCE: Final = 500
COLUMNS: Final = (
    "Name",
    "Kind",
    "What",
    "Field",
    "Last agreed",
    "Here",
    "Planning Center",
    "After",
    "May be mailed",
    "Our id",
    "Planning Center id",
)


async def page(session: AsyncSession, organization_id: str, run_id: str, query: PlanQuery) -> Page[PlanItem]:
    """A page of a plan's records, in the plan's order; the total comes with the first page. NotFound (404)."""
    run = await runs.with_lists(session, organization_id, run_id)
    shown = await page_of(session, Change, run.id, _planned(run, query.outcome), query)
    return Page[PlanItem](items=tuple(_item(row) for row in shown.rows), next=shown.next, total=shown.total)


async def as_csv(sessions: async_sessionmaker[AsyncSession], run: Run) -> AsyncIterator[bytes]:
    """Yield the whole plan as CSV in UTF-8, one line per field, a batch of records at a time.

    Each batch is read in a transaction of its own, so a slow reader holds none open.
    """
    yield "\ufeff".encode() + spreadsheets.written([COLUMNS])
    last = 0
    while True:
        async with sessions() as session:
            found = _planned(run, None).where(Change.id > last).order_by(Change.id).limit(_ROWS_AT_ONCE)
            rows = (await session.scalars(found)).all()
        if rows:
            yield spreadsheets.written(line for row in rows for line in _fields(_item(row)))
        if len(rows) < _ROWS_AT_ONCE:
            return
        last = rows[-1].id


def _planned(run: Run, outcome: str | None) -> Select[Change]:
    return select(Change).where(
        Change.run_id == run.id, Change.planned == outcome if outcome else Change.planned.is_not(None)
    )


def _item(row: Change) -> PlanItem:
    coming = "planned" in {row.here, row.there}
    said = PLANNED.get(row.outcome) if coming else OUTCOMES.get(row.outcome)
    return PlanItem(
        record_kind=row.kind,
        record_id=str(row.record_id) if row.record_id else None,
        pco_id=row.pco_id,
        name=row.name,
        outcome=row.planned or row.outcome,
        sentence=row.sentence or said,
        may_be_mailed=row.may_be_mailed,
        fields=tuple(PlanField.model_validate(one) for one in row.plan or ()),
    )


def _fields(item: PlanItem) -> list[tuple[Any, ...]]:
    """The lines of one record; a record without fields has one line."""
    before = (item.name, "Family" if item.record_kind == "family" else "Person", item.sentence or item.outcome)
    after = ("yes" if item.may_be_mailed else "no", item.record_id or "", item.pco_id or "")
    fields = item.fields or (PlanField(field="", does="nothing"),)
    return [(*before, one.field, one.agreed, one.here, one.there, one.after, *after) for one in fields]
