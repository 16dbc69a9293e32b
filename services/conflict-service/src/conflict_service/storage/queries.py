"""Rows to values and back."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final, NamedTuple, cast, get_args

from sqlalchemy import ARRAY, ColumnElement, Select, Text, bindparam, exists, func, literal_column, select, text, tuple_
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from conflict_service.domain.answers import newer_side, one_side_empty
from conflict_service.domain.conflict import Conflict, FactState
from conflict_service.storage.tables import ConflictRow, DecisionRow, ErasedRecordRow
from contracts.conflicts import ConflictField, ConflictRecord
from contracts.http.conflicts import ConflictFilter, ConflictState

_STATES: Final[dict[str, ColumnElement[str]]] = {
    state: literal_column(f"'{state}'") for state in get_args(ConflictState)
}
EVERY: Final = ConflictFilter()
"""No filter."""


class DecidedBy(NamedTuple):
    """Filter by the bulk answer or rule of the newest decision; without both it is not applied."""

    bulk_id: str | None = None
    rule_id: str | None = None


ANYBODY: Final = DecidedBy()


class Position(NamedTuple):
    """The end of a page, in the list's order."""

    placed_at: datetime
    together: str
    opened_at: datetime
    id: str


_ORDER: Final = (ConflictRow.placed_at, ConflictRow.together, ConflictRow.opened_at, ConflictRow.id)


async def lock(session: AsyncSession, organization_id: str, conflict_id: str) -> None:
    """Allow one transaction at a time per conflict, even before its row exists."""
    await session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:organization || chr(31) || :id, 0))"),
        {"organization": organization_id, "id": conflict_id},
    )


async def lock_with_record(session: AsyncSession, organization_id: str, record_id: str, conflict_id: str) -> None:
    """`lock`, after the record's lock, so that the record is not erased meanwhile."""
    await session.execute(
        text(
            "SELECT pg_advisory_xact_lock(hashtextextended(:organization || chr(31) || id, 0))"
            " FROM unnest(:ids) WITH ORDINALITY AS wanted (id, nth) ORDER BY nth"
        ).bindparams(bindparam("ids", type_=ARRAY(Text))),
        {"organization": organization_id, "ids": [_all_of(record_id), conflict_id]},
    )


async def lock_record(session: AsyncSession, organization_id: str, record_id: str) -> None:
    """Allow one transaction at a time that stores facts about a record, or erases it."""
    await lock(session, organization_id, _all_of(record_id))


def _all_of(record_id: str) -> str:
    return f"record {record_id}"


async def is_erased(session: AsyncSession, organization_id: str, record_id: str) -> bool:
    """Whether the record was erased."""
    return await session.get(ErasedRecordRow, (organization_id, record_id)) is not None


async def find(session: AsyncSession, organization_id: str, conflict_id: str) -> Conflict | None:
    """One conflict."""
    row = await session.get(ConflictRow, (organization_id, conflict_id))
    return value_of(row) if row else None


async def save(
    session: AsyncSession, organization_id: str, conflict_id: str, conflict: Conflict, *, is_new: bool = False
) -> None:
    """Insert or replace a conflict. `is_new`: the caller knows that no row exists."""
    row = None if is_new else await session.get(ConflictRow, (organization_id, conflict_id))
    together = next(iter(conflict.record.family_ids), conflict.record.id)
    fields = [field.model_dump() for field in conflict.fields]
    values: dict[str, Any] = {
        "record": conflict.record.model_dump(mode="json"),
        "family_ids": list(conflict.record.family_ids),
        "child": conflict.record.child,
        "field_names": [field.field for field in conflict.fields],
        "one_side_empty": one_side_empty(fields),
        "newer": newer_side(fields),
        "fields": [field.model_dump(mode="json") for field in conflict.fields],
        "state": conflict.state,
        "source_version": conflict.source_version,
        "version": conflict.version,
        "values_version": conflict.values_version,
        "opened_at": conflict.opened_at,
        "updated_at": conflict.updated_at,
        "together": together,
        "placed_at": await _place(session, row, organization_id, conflict_id, conflict, together),
        "decision_id": conflict.waiting,
    }
    if row is None:
        # A statement instead of the session, since an import finds tens of thousands.
        await session.execute(insert(ConflictRow).values(organization_id=organization_id, id=conflict_id, **values))
        return
    for name, value in values.items():
        setattr(row, name, value)
    await session.flush()


async def _place(
    session: AsyncSession,
    row: ConflictRow | None,
    organization_id: str,
    conflict_id: str,
    conflict: Conflict,
    together: str,
) -> datetime:
    """A conflict's place in the list: beside the open ones of its family, and unchanged while it is open."""
    same = row is not None and row.together == together
    if row is not None and same and (row.state == "open" or conflict.state != "open"):
        return row.placed_at
    if conflict.state == "open":
        # Serialized: two conflicts of a family that open at once would not see each other.
        await lock(session, organization_id, f"together {together}")
        beside = select(func.min(ConflictRow.placed_at)).where(
            ConflictRow.organization_id == organization_id,
            ConflictRow.together == together,
            ConflictRow.state == _STATES["open"],
            ConflictRow.id != conflict_id,
        )
        placed: datetime | None = await session.scalar(beside)
        if placed is not None:
            return placed
    return row.placed_at if row is not None and same else conflict.opened_at


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
    by: DecidedBy,
    after: Position | None,
    limit: int,
) -> tuple[list[tuple[str, Conflict]], Position | None]:
    """Conflicts with their ids, and the position of the next page (None at the end).

    Newest first, except that a family's open conflicts stand together at the place of the first one.
    """
    query = select(ConflictRow).where(*fitting(organization_id, state, wanted, by))
    if after is not None:
        query = query.where(tuple_(*_ORDER) < tuple_(*after))
    query = query.order_by(*(column.desc() for column in _ORDER)).limit(limit + 1)
    rows = (await session.scalars(query)).all()
    shown = rows[:limit]
    following = None
    if len(rows) > limit:
        last = shown[-1]
        following = Position(last.placed_at, last.together, last.opened_at, last.id)
    return [(row.id, value_of(row)) for row in shown], following


async def count(
    session: AsyncSession,
    organization_id: str,
    *,
    state: ConflictState,
    wanted: ConflictFilter = EVERY,
    by: DecidedBy = ANYBODY,
) -> int:
    """Number of conflicts that fit the filter."""
    query = select(func.count()).select_from(ConflictRow).where(*fitting(organization_id, state, wanted, by))
    return await session.scalar(query) or 0


def of_record(record_id: str) -> ColumnElement[bool]:
    """The condition that a conflict is about this record."""
    # A literal key: with a parameter PostgreSQL's generic plan cannot use the index.
    return ConflictRow.record.op("->>", return_type=Text())(literal_column("'id'")) == record_id


def fitting(
    organization_id: str, state: ConflictState, wanted: ConflictFilter, by: DecidedBy = ANYBODY
) -> list[ColumnElement[bool]]:
    """The conditions of these filters."""
    # A literal state, so that a generic plan uses the indexes of open conflicts.
    found = [ConflictRow.organization_id == organization_id, ConflictRow.state == _STATES[state]]
    if wanted.family_id is not None:
        found.append(ConflictRow.family_ids.contains([wanted.family_id]))
    if wanted.record_id is not None:
        found.append(of_record(wanted.record_id))
    if wanted.field is not None:
        found.append(ConflictRow.field_names.contains([wanted.field]))
    if wanted.child is not None:
        found.append(ConflictRow.child.is_(wanted.child))
    if wanted.one_side_empty is not None:
        found.append(ConflictRow.one_side_empty.is_(wanted.one_side_empty))
    if wanted.older_than_days is not None:
        found.append(ConflictRow.opened_at < func.now() - func.make_interval(0, 0, 0, wanted.older_than_days))
    if wanted.newer is not None:
        found.append(ConflictRow.newer == wanted.newer)
    if by.bulk_id is not None:
        found.append(ConflictRow.id.in_(_decided_last(organization_id, DecisionRow.bulk_id == by.bulk_id)))
    if by.rule_id is not None:
        found.append(ConflictRow.id.in_(_decided_last(organization_id, DecisionRow.rule_id == by.rule_id)))
    return found


def _decided_last(organization_id: str, by: ColumnElement[bool]) -> Select[Any]:
    """Condition that the newest decision is one of these."""
    newer = aliased(DecisionRow)
    return select(DecisionRow.conflict_id).where(
        DecisionRow.organization_id == organization_id,
        by,
        ~exists().where(
            newer.organization_id == organization_id,
            newer.conflict_id == DecisionRow.conflict_id,
            newer.decided_at > DecisionRow.decided_at,
        ),
    )


def value_of(row: ConflictRow) -> Conflict:
    """Convert a row to the domain's conflict."""
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
