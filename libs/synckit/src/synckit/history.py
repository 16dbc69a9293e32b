"""Every change of a field on either side: who made it, and pages of them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar
from uuid import UUID

from sqlalchemy import Uuid, func, literal, select, true
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from contracts.http.common import HistoryEntry, PageQuery
from contracts.identity import UserIdentity
from servicekit.http import paging
from synckit.among import among
from synckit.tables import EffectColumns

E = TypeVar("E", bound=EffectColumns)
COLUMNS: Final = ("When", "Where", "Field", "Before", "After", "By", "Name", "Rule")
"""Columns of a history as a file."""

HERE: Final = "here"
THERE: Final = "there"
"""Sides of an effect."""
EDIT: Final = "edit"
RUN: Final = "run"
REFRESH: Final = "refresh"
DECISION: Final = "decision"
RULE: Final = "rule"
"""Causes of an effect."""

DELETED: Final = "deleted"


@dataclass(frozen=True, slots=True)
class Actor:
    """The author of a change."""

    by: str
    """`person`, `planning_center`, `rule` or `platform`."""
    user_id: str | None = None
    name: str | None = None

    @classmethod
    def person(cls, user: UserIdentity) -> "Actor":
        """A user of the console."""
        return cls("person", user.user_id, user.name)

    @classmethod
    def platform(cls, user: UserIdentity) -> "Actor":
        """The platform, on behalf of a user."""
        return cls("platform", user.user_id, user.name)


@dataclass(frozen=True, slots=True)
class Noted:
    """The change of one field, values as JSON."""

    kind: str
    record_id: UUID
    field: str
    old: Any
    new: Any
    rule: str | None = None


def edits(organization_id: str, actor: Actor, changes: Iterable[Noted], now: datetime) -> list[dict[str, Any]]:
    """Rows of changes that somebody made here, values as JSON."""
    return [
        {
            "organization_id": organization_id,
            "cause": EDIT,
            "side": HERE,
            "kind": change.kind,
            "record_id": str(change.record_id),
            "field": change.field,
            "before": change.old,
            "after": change.new,
            "by": actor.by,
            "by_user_id": actor.user_id,
            "by_name": actor.name,
            "rule": change.rule,
            "at": now.isoformat(),
        }
        for change in changes
    ]


async def effects_of(
    session: AsyncSession,
    effect: type[E],
    organization_id: str,
    kind: str,
    record_ids: Sequence[UUID],
    query: PageQuery,
) -> tuple[Sequence[E], str | None]:
    """A page of the effects of these records, newest first. effect: the service's table."""
    records = func.unnest(literal(record_ids, ARRAY(Uuid))).table_valued("id").render_derived(name="record")
    of_these = (effect.organization_id == organization_id, effect.kind == kind)
    of_record = select(effect).where(*of_these, effect.record_id == records.c.id)
    of_record = of_record.order_by(effect.id.desc()).limit(query.limit + 1)
    if query.after:
        (entry_id,) = paging.decode(query.after, UUID)
        named = select(effect.id).where(*of_these, among(effect.record_id, record_ids), effect.entry_id == entry_id)
        if (last := await session.scalar(named)) is None:
            raise paging.unknown()  # the entry was deleted; an empty page would look like the end
        of_record = of_record.where(effect.id < last)
    # The index gives each record's newest effects; sorting whole histories would get slower as they grow.
    newest = aliased(effect, of_record.lateral())
    statement = select(newest).select_from(records).join(newest, true())
    rows = (await session.scalars(statement.order_by(newest.id.desc()).limit(query.limit + 1))).all()
    shown = rows[: query.limit]
    return shown, paging.encode(str(shown[-1].entry_id)) if len(rows) > query.limit else None


def entry_of(row: EffectColumns, *, can_undo: bool) -> HistoryEntry:
    """A row as callers see it."""
    return HistoryEntry(
        id=str(row.entry_id),
        field=row.field,
        side=row.side,
        old=row.before,
        new=row.after,
        by=row.by,
        by_name=row.by_name,
        rule=row.rule,
        run_id=str(row.cause_id) if row.cause == RUN else None,
        decision_id=str(row.cause_id) if row.cause == DECISION else None,
        rule_id=str(row.cause_id) if row.cause == RULE else None,
        changed_at=row.at,
        can_undo=can_undo,
    )


def lines_of(one: HistoryEntry) -> Iterator[tuple[Any, ...]]:
    """The line of a change in a file."""
    where = "Planning Center" if one.side == THERE else "Here"
    yield (one.changed_at, where, one.field, one.old, one.new, one.by, one.by_name, one.rule)
