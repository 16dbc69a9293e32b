"""`python -m conflict_service republish`: publishes the tables' conflicts and open decisions again.

On conflicts.conflict.v1 all conflicts; on conflicts.resolution.v1 the decisions that people-sync has not answered.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from conflict_service.config import Settings
from conflict_service.storage.queries import value_of
from conflict_service.storage.tables import ConflictRow, DecisionRow
from conflict_service.usecases.announce import fact_of
from conflict_service.usecases.decide import resolved
from contracts.events.conflicts_resolution_v1 import ConflictResolved
from servicekit.kafka import republish as again
from servicekit.kafka.outbox import append_all

_ID = (ConflictRow.organization_id, ConflictRow.id)


async def republish(settings: Settings) -> None:
    """Publish all conflicts, closed ones with tombstones, so that copies delete them; and unanswered decisions."""
    await again.republish(settings, open=_open, closed=_closed, waiting_decisions=_waiting)


async def _open(session: AsyncSession, after: Any) -> tuple[int, Any]:
    return await _page(session, after, closed=False)


async def _closed(session: AsyncSession, after: Any) -> tuple[int, Any]:
    return await _page(session, after, closed=True)


async def _page(session: AsyncSession, after: Any, *, closed: bool) -> tuple[int, Any]:
    query = select(ConflictRow).where(ConflictRow.state != "open" if closed else ConflictRow.state == "open")
    if after is not None:
        query = query.where(tuple_(*_ID) > after)
    rows = (await session.scalars(query.order_by(*_ID).limit(again.BATCH).with_for_update())).all()
    facts = [fact_of(row.organization_id, row.id, value_of(row)) for row in rows]
    await append_all(session, facts, tombstone=closed)
    return len(rows), (rows[-1].organization_id, rows[-1].id) if len(rows) == again.BATCH else None


async def _waiting(session: AsyncSession, after: Any) -> tuple[int, Any]:
    """A conflict names the decision that it waits for: that one alone is told."""
    own = (DecisionRow.organization_id == ConflictRow.organization_id) & (DecisionRow.id == ConflictRow.decision_id)
    query = select(ConflictRow, DecisionRow).join(DecisionRow, own).where(ConflictRow.state == "resolving")
    if after is not None:
        query = query.where(tuple_(*_ID) > after)
    found = (await session.execute(query.order_by(*_ID).limit(again.BATCH).with_for_update(of=ConflictRow))).all()
    await append_all(session, [_decision(row, decision) for row, decision in found])
    last = found[-1][0] if len(found) == again.BATCH else None
    return len(found), (last.organization_id, last.id) if last else None


def _decision(row: ConflictRow, decision: DecisionRow) -> ConflictResolved:
    shown, now = ([_values(field) for field in fields] for fields in (decision.fields, row.fields))
    return resolved(value_of(row), decision, decided_on=max(row.values_version - (shown != now), 1))


def _values(field: Mapping[str, Any]) -> tuple[Any, ...]:
    """What is decided about, as people-sync counts it in `values_version`."""
    return tuple(field[name] for name in ("field", "base", "ours", "theirs"))
