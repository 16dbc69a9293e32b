"""Reads of conflicts for the API."""

from datetime import datetime
from typing import cast

from sqlalchemy.ext.asyncio import AsyncSession

from conflict_service.domain import conflict as domain
from conflict_service.storage import queries
from conflict_service.storage.queries import Position
from conflict_service.storage.tables import DecisionRow
from contracts.conflicts import Choice, ConflictField
from contracts.http.common import Page
from contracts.http.conflicts import Conflict, ConflictQuery, Decision
from servicekit.errors import NotFound
from servicekit.http import paging


async def page(session: AsyncSession, organization_id: str, query: ConflictQuery) -> Page[Conflict]:
    """A page of conflicts, in the list's order."""
    by = queries.DecidedBy(query.bulk_id, query.rule_id)
    rows, following = await queries.page(
        session,
        organization_id,
        state=query.state,
        wanted=query,
        by=by,
        after=_position(query.after) if query.after else None,
        limit=query.limit,
    )
    decisions = await queries.newest_decisions(session, organization_id, [conflict_id for conflict_id, _ in rows])
    return Page(
        items=tuple(render(conflict_id, conflict, decisions.get(conflict_id)) for conflict_id, conflict in rows),
        next=_cursor(following) if following else None,
        total=None
        if query.after
        else await queries.count(session, organization_id, state=query.state, wanted=query, by=by),
    )


async def one(session: AsyncSession, organization_id: str, conflict_id: str) -> Conflict:
    """One conflict. NotFound (404)."""
    conflict = await queries.find(session, organization_id, conflict_id)
    if conflict is None:
        raise NotFound("There is no such conflict.")
    decisions = await queries.newest_decisions(session, organization_id, [conflict_id])
    return render(conflict_id, conflict, decisions.get(conflict_id))


def render(conflict_id: str, conflict: domain.Conflict, decision: DecisionRow | None) -> Conflict:
    """A conflict with its newest decision."""
    return Conflict(
        id=conflict_id,
        record=conflict.record,
        fields=conflict.fields,
        state=conflict.state,
        version=conflict.version,
        values_version=conflict.values_version,
        decision=_decision(decision) if decision else None,
        opened_at=conflict.opened_at,
        updated_at=conflict.updated_at,
    )


def _decision(row: DecisionRow) -> Decision:
    return Decision(
        id=row.id,
        choices=cast("dict[str, Choice]", row.choices),
        fields=tuple(ConflictField.model_validate(field) for field in row.fields),
        decided_by_name=row.decided_by_name,
        rule_id=row.rule_id,
        decided_at=row.decided_at,
        outcome=row.outcome,
        sentence=row.sentence,
        refused=tuple(row.refused),
        settled_at=row.settled_at,
    )


def _cursor(position: Position) -> str:
    return paging.encode(*(one.isoformat() if isinstance(one, datetime) else one for one in position))


def _position(after: str) -> Position:
    return Position(*paging.decode(after, paging.instant, paging.string, paging.instant, paging.string))
