"""Rows to values and back."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final, NamedTuple, cast

from sqlalchemy import ColumnElement, Select, exists, func, select, text, tuple_
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from conflict_service.domain.answers import one_side_empty
from conflict_service.domain.conflict import Conflict, FactState
from conflict_service.storage.tables import ConflictRow, DecisionRow
from contracts.conflicts import ConflictField, ConflictRecord
from contracts.http.conflicts import ConflictFilter, ConflictState

EVERY: Final = ConflictFilter()
"""No filter."""


class Position(NamedTuple):
    """Where a page ended."""

    opened_at: datetime
    id: str


async def lock(session: AsyncSession, organization_id: str, conflict_id: str) -> None:
    """One transaction at a time per conflict, also while its row does not exist yet."""
    await session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:organization || chr(31) || :id, 0))"),
        {"organization": organization_id, "id": conflict_id},
    )


async def find(session: AsyncSession, organization_id: str, conflict_id: str) -> Conflict | None:
    """One conflict."""
    row = await session.get(ConflictRow, (organization_id, conflict_id))
    return _value(row) if row else None


async def save(session: AsyncSession, organization_id: str, conflict_id: str, conflict: Conflict) -> None:
    """Insert or replace."""
    await session.merge(
        ConflictRow(
            organization_id=organization_id,
            id=conflict_id,
            record=conflict.record.model_dump(mode="json"),
            family_ids=list(conflict.record.family_ids),
            child=conflict.record.child,
            field_names=[field.field for field in conflict.fields],
            one_side_empty=one_side_empty([field.model_dump() for field in conflict.fields]),
            fields=[field.model_dump(mode="json") for field in conflict.fields],
            state=conflict.state,
            source_version=conflict.source_version,
            version=conflict.version,
            values_version=conflict.values_version,
            opened_at=conflict.opened_at,
            updated_at=conflict.updated_at,
            decision_id=conflict.waiting,
        )
    )
    await session.flush()


async def newest_decisions(
    session: AsyncSession, organization_id: str, conflict_ids: Collection[str]
) -> dict[str, DecisionRow]:
    """The newest decision of each of these conflicts, by the conflict's id."""
    rows = await session.scalars(
        select(DecisionRow)
        .where(DecisionRow.organization_id == organization_id, DecisionRow.conflict_id.in_(conflict_ids))
        .ext(distinct_on(DecisionRow.conflict_id))
        .order_by(DecisionRow.conflict_id, DecisionRow.decided_at.desc(), DecisionRow.id.desc())
    )
    return {row.conflict_id: row for row in rows}


async def page(
    session: AsyncSession,
    organization_id: str,
    *,
    state: ConflictState,
    wanted: ConflictFilter,
    bulk_id: str | None,
    after: Position | None,
    limit: int,
) -> tuple[list[tuple[str, Conflict]], Position | None]:
    """Conflicts with their ids, newest first, and where the next page begins (None: there is none)."""
    query = select(ConflictRow).where(*fitting(organization_id, state, wanted, bulk_id))
    if after is not None:
        query = query.where(tuple_(ConflictRow.opened_at, ConflictRow.id) < tuple_(after.opened_at, after.id))
    query = query.order_by(ConflictRow.opened_at.desc(), ConflictRow.id.desc()).limit(limit + 1)
    rows = (await session.scalars(query)).all()
    more = len(rows) > limit
    shown = rows[:limit]
    return [(row.id, _value(row)) for row in shown], Position(shown[-1].opened_at, shown[-1].id) if more else None


async def count(
    session: AsyncSession,
    organization_id: str,
    *,
    state: ConflictState,
    wanted: ConflictFilter = EVERY,
    bulk_id: str | None = None,
) -> int:
    """How many."""
    query = select(func.count()).select_from(ConflictRow).where(*fitting(organization_id, state, wanted, bulk_id))
    return await session.scalar(query) or 0


def fitting(
    organization_id: str, state: ConflictState, wanted: ConflictFilter, bulk_id: str | None = None
) -> list[ColumnElement[bool]]:
    """The conditions of these filters."""
    found = [ConflictRow.organization_id == organization_id, ConflictRow.state == state]
    if wanted.family_id is not None:
        found.append(ConflictRow.family_ids.contains([wanted.family_id]))
    if wanted.record_id is not None:
        found.append(ConflictRow.record["id"].astext == wanted.record_id)
    if wanted.field is not None:
        found.append(ConflictRow.field_names.contains([wanted.field]))
    if wanted.child is not None:
        found.append(ConflictRow.child.is_(wanted.child))
    if wanted.one_side_empty is not None:
        found.append(ConflictRow.one_side_empty.is_(wanted.one_side_empty))
    if wanted.older_than_days is not None:
        found.append(ConflictRow.opened_at < func.now() - func.make_interval(0, 0, 0, wanted.older_than_days))
    if bulk_id is not None:
        found.append(ConflictRow.id.in_(_decided_last_by(organization_id, bulk_id)))
    return found


def _decided_last_by(organization_id: str, bulk_id: str) -> Select[Any]:
    """Conflicts whose newest decision is one of this answer to many."""
    newer = aliased(DecisionRow)
    return select(DecisionRow.conflict_id).where(
        DecisionRow.organization_id == organization_id,
        DecisionRow.bulk_id == bulk_id,
        ~exists().where(
            newer.organization_id == organization_id,
            newer.conflict_id == DecisionRow.conflict_id,
            newer.decided_at > DecisionRow.decided_at,
        ),
    )


def _value(row: ConflictRow) -> Conflict:
    return Conflict(
        record=ConflictRecord.model_validate(row.record),
        fields=tuple(ConflictField.model_validate(field) for field in row.fields),
        told=cast("FactState", "open" if row.state == "resolving" else row.state),
        source_version=row.source_version,
        version=row.version,
        values_version=row.values_version,
        opened_at=row.opened_at,
        updated_at=row.updated_at,
        waiting=row.decision_id,
    )
