"""Rows to values and back."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeAlias, cast, get_args

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Row,
    Select,
    Table,
    Text,
    bindparam,
    column,
    exists,
    func,
    literal,
    literal_column,
    select,
    text,
    tuple_,
)
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from conflict_service.domain.answers import newer_side, one_side_empty
from conflict_service.domain.conflict import Conflict, FactState
from conflict_service.storage.tables import ConflictRow, DecisionRow, ErasedRecordRow
from contracts.conflicts import ConflictField, ConflictRecord
from contracts.http.conflicts import ConflictFilter, ConflictState

Key: TypeAlias = tuple[str, str]
"""An organization and an id in it."""

_STATES: Final[dict[str, ColumnElement[str]]] = {
    state: literal_column(f"'{state}'") for state in get_args(ConflictState)
}
_TABLE: Final = cast("Table", ConflictRow.__table__)
_LOCK_ALL: Final = text(
    "SELECT pg_advisory_xact_lock(hashtextextended(organization || chr(31) || id, 0))"
    " FROM unnest(:organizations, :ids) WITH ORDINALITY AS wanted (organization, id, nth) ORDER BY nth"
).bindparams(bindparam("organizations", type_=ARRAY(Text)), bindparam("ids", type_=ARRAY(Text)))
EVERY: Final = ConflictFilter()
"""No filter."""


# A statement instead of the session, since an import finds tens of thousands.
_INSERT: Final = insert(_TABLE)
_UPSERT: Final = _INSERT.on_conflict_do_update(
    index_elements=_TABLE.primary_key.columns,
    set_={each.name: _INSERT.excluded[each.name] for each in _TABLE.columns if not each.primary_key},
)


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


async def lock_with_records(session: AsyncSession, conflicts: Collection[tuple[str, str, str]]) -> None:
    """`lock` of each conflict, by organization, record and id, behind the locks of all about these records: so that
    none is erased meanwhile. Whoever locks several does so in this order, and no two wait for each other."""
    records = sorted({(organization_id, _all_of(record_id)) for organization_id, record_id, _ in conflicts})
    wanted = records + sorted((organization_id, conflict_id) for organization_id, _, conflict_id in conflicts)
    await _lock_all(session, wanted)


async def _lock_all(session: AsyncSession, wanted: Sequence[tuple[str, str]]) -> None:
    await session.execute(
        _LOCK_ALL,
        {"organizations": [organization_id for organization_id, _ in wanted], "ids": [id_ for _, id_ in wanted]},
    )


async def lock_record(session: AsyncSession, organization_id: str, record_id: str) -> None:
    """Allow one transaction at a time that stores facts about a record, or erases it."""
    await lock(session, organization_id, _all_of(record_id))


def _all_of(record_id: str) -> str:
    return f"record {record_id}"


async def erased(session: AsyncSession, records: Collection[Key]) -> set[Key]:
    """Those of these records that were erased."""
    if not records:
        return set()
    wanted = rows_of(records, "organization_id", "id")
    table = ErasedRecordRow.__table__
    found = select(table.c.organization_id, table.c.record_id).join_from(
        wanted, table, (table.c.organization_id == wanted.c.organization_id) & (table.c.record_id == wanted.c.id)
    )
    return {(organization_id, record_id) for organization_id, record_id in await session.execute(found)}


async def find(session: AsyncSession, organization_id: str, conflict_id: str) -> Conflict | None:
    """One conflict."""
    rows = await find_all(session, [(organization_id, conflict_id)])
    return next(map(value_of, rows.values()), None)


async def find_all(session: AsyncSession, conflicts: Collection[Key]) -> dict[Key, Row[Any]]:
    """The rows of those of these conflicts that there are, as plain values (`value_of`)."""
    wanted = rows_of(conflicts, "organization_id", "id")
    joined = (_TABLE.c.organization_id == wanted.c.organization_id) & (_TABLE.c.id == wanted.c.id)
    rows = await session.execute(select(*_TABLE.c).join_from(wanted, _TABLE, joined))
    return {(row.organization_id, row.id): row for row in rows}


def rows_of(keys: Collection[Key], *names: str) -> Any:
    """Keys as a table to join with, with these two columns: one statement, whatever their number."""
    arrays = (literal([key[place] for key in keys], ARRAY(Text)) for place in (0, 1))
    return func.unnest(*arrays).table_valued(*(column(name, Text) for name in names)).render_derived(name="wanted")


async def save_all(session: AsyncSession, conflicts: Mapping[Key, Conflict], before: Mapping[Key, Row[Any]]) -> None:
    """Insert or replace. before: the rows of those that are there (`find_all`)."""
    if not conflicts:
        return
    places = await _places(session, conflicts, before)
    rows = [
        {"organization_id": key[0], "id": key[1], "placed_at": places[key], **_values(conflict)}
        for key, conflict in conflicts.items()
    ]
    await session.execute(_UPSERT, rows)


async def _places(
    session: AsyncSession, conflicts: Mapping[Key, Conflict], before: Mapping[Key, Row[Any]]
) -> dict[Key, datetime]:
    """Conflicts' places in the list, as if saved one after the other: beside the open ones of their family, and
    unchanged while they are open. Serialized: two of a family that open at once would not see each other."""
    looking = {
        key: (key[0], _together(conflict))
        for key, conflict in conflicts.items()
        if conflict.state == "open" and not _stays(before.get(key), conflict)
    }
    beside: defaultdict[Key, dict[str, datetime]] = defaultdict(dict)
    if looking:
        families = sorted(set(looking.values()))
        await _lock_all(session, [(organization_id, f"together {together}") for organization_id, together in families])
        wanted = rows_of(families, "organization_id", "id")
        joined = (_TABLE.c.organization_id == wanted.c.organization_id) & (_TABLE.c.together == wanted.c.id)
        open_ = select(_TABLE.c.organization_id, _TABLE.c.together, _TABLE.c.id, _TABLE.c.placed_at).join_from(
            wanted, _TABLE, joined & (_TABLE.c.state == _STATES["open"])
        )
        for organization_id, together, conflict_id, placed_at in await session.execute(open_):
            beside[organization_id, together][conflict_id] = placed_at
    places: dict[Key, datetime] = {}
    for key, conflict in conflicts.items():
        row, together = before.get(key), _together(conflict)
        placed = None
        if key in looking:
            others = beside[looking[key]]
            placed = min((at for other, at in others.items() if other != key[1]), default=None)
        if placed is None:
            placed = row.placed_at if row is not None and row.together == together else conflict.opened_at
        places[key] = placed
        if row is not None:
            beside[key[0], row.together].pop(key[1], None)
        if conflict.state == "open":
            beside[key[0], together][key[1]] = placed
    return places


async def save(session: AsyncSession, organization_id: str, conflict_id: str, conflict: Conflict) -> None:
    """Insert or replace."""
    key = (organization_id, conflict_id)
    await save_all(session, {key: conflict}, await find_all(session, [key]))


def _values(conflict: Conflict) -> dict[str, Any]:
    fields = [field.model_dump() for field in conflict.fields]
    return {
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
        "together": _together(conflict),
        "decision_id": conflict.waiting,
    }


def _together(conflict: Conflict) -> str:
    return next(iter(conflict.record.family_ids), conflict.record.id)


def _stays(row: Row[Any] | None, conflict: Conflict) -> bool:
    """Whether a conflict keeps its place in the list: beside the open ones of its family for as long as it is open."""
    same = row is not None and row.together == _together(conflict)
    return row is not None and same and (row.state == "open" or conflict.state != "open")


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
        # A scalar subquery, since PostgreSQL would compute the instant again for each row.
        instant = select(func.now() - func.make_interval(0, 0, 0, wanted.older_than_days)).scalar_subquery()
        found.append(ConflictRow.opened_at < instant)
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


def value_of(row: ConflictRow | Row[Any]) -> Conflict:
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
