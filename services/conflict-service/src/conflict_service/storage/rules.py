"""Rules, their outcomes, and lessons from people's decisions."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, cast

from sqlalchemy import exists, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from conflict_service.domain.answers import Side
from conflict_service.domain.rules import LEARNED_AFTER, Condition, Given
from conflict_service.storage.queries import of_record, rows_of
from conflict_service.storage.tables import ConflictRow, DecisionRow, RuleLessonRow, RuleOutcomesRow, RuleRow

NEWEST: Final = 1_000
"""Maximum number of newest decisions used for lessons and previews."""
_ANSWERS: Final = 50
"""Maximum number of decisions about one record that are read."""

_LESSONS: Final = text(
    """
    WITH newest AS (
        SELECT id, kind, answer, decided_at FROM decision
        WHERE organization_id = :organization AND rule_id IS NULL AND bulk_id IS NULL AND kind IS NOT NULL
        ORDER BY decided_at DESC, id DESC LIMIT :newest
    ), placed AS (
        SELECT newest.*, row_number() OVER (
            PARTITION BY newest.kind ORDER BY newest.decided_at DESC, newest.id DESC
        ) AS place
        FROM newest LEFT JOIN rule_lesson AS lesson
            ON lesson.organization_id = :organization AND lesson.kind = newest.kind
        WHERE lesson.settled_at IS NULL OR newest.decided_at > lesson.settled_at
    ), taught AS (
        SELECT kind, min(answer) AS answer, min(decided_at) AS since, array_agg(id ORDER BY place) AS ids
        FROM placed WHERE place <= :times GROUP BY kind
        HAVING count(*) = :times AND min(answer) = max(answer) AND min(answer) IN ('ours', 'theirs')
    )
    SELECT kind, answer, ids FROM taught
    WHERE NOT EXISTS (
        SELECT FROM decision AS other
        WHERE other.organization_id = :organization AND other.kind = taught.kind AND other.rule_id IS NULL
            AND other.decided_at > taught.since AND other.answer <> taught.answer
    )
    ORDER BY kind
    """
)


class Lesson(NamedTuple):
    """A kind of conflict answered alike several times in a row, one by one."""

    kind: str
    answer: Side
    decision_ids: Sequence[str]


class Decided(NamedTuple):
    """A decision by a person, with the record's present state."""

    decision: DecisionRow
    record: dict[str, Any]
    child: bool | None


def condition_of(row: RuleRow) -> Condition:
    """Convert a row to the domain's condition."""
    return Condition(
        fields=frozenset(row.fields),
        answer=cast("Side", row.answer),
        older_than_days=row.older_than_days,
        empty=cast("Side | None", row.empty),
        child=row.child,
    )


async def all_on(session: AsyncSession, kinds: Collection[tuple[str, str]]) -> dict[tuple[str, str], list[RuleRow]]:
    """The rules that are on for these kinds of conflict, each with its organization, as `on_for` gives them, locked."""
    if not kinds:
        return {}
    wanted = rows_of(sorted(kinds), "organization_id", "kind")
    same = (RuleRow.organization_id == wanted.c.organization_id) & (RuleRow.kind == wanted.c.kind)
    query = select(RuleRow).join(wanted, same).where(RuleRow.is_on, RuleRow.deleted_at.is_(None)).order_by(RuleRow.id)
    found: dict[tuple[str, str], list[RuleRow]] = {}
    for row in await session.scalars(query.with_for_update(read=True, of=RuleRow)):
        found.setdefault((row.organization_id, row.kind), []).append(row)
    return found


async def on_for(session: AsyncSession, organization_id: str, kind: str, *, locked: bool = False) -> Sequence[RuleRow]:
    """Active rules for this kind of conflict, oldest first. `locked`: none can be turned off meanwhile."""
    query = select(RuleRow).filter_by(organization_id=organization_id, kind=kind, is_on=True).order_by(RuleRow.id)
    query = query.where(RuleRow.deleted_at.is_(None))
    return (await session.scalars(query.with_for_update(read=True) if locked else query)).all()


async def find(session: AsyncSession, organization_id: str, rule_id: str, *, shared: bool = False) -> RuleRow | None:
    """Lock and load a rule that is not deleted. `shared`: lock only against changes."""
    query = select(RuleRow).filter_by(organization_id=organization_id, id=rule_id)
    query = query.where(RuleRow.deleted_at.is_(None)).with_for_update(read=shared)
    found: RuleRow | None = await session.scalar(query)
    return found


async def same(session: AsyncSession, organization_id: str, condition: Condition) -> RuleRow | None:
    """Lock and load the rule with exactly this condition."""
    query = select(RuleRow).where(
        RuleRow.organization_id == organization_id,
        RuleRow.deleted_at.is_(None),
        RuleRow.kind == condition.kind,
        RuleRow.answer == condition.answer,
        RuleRow.older_than_days.is_not_distinct_from(condition.older_than_days),
        RuleRow.empty.is_not_distinct_from(condition.empty),
        RuleRow.child.is_not_distinct_from(condition.child),
    )
    found: RuleRow | None = await session.scalar(query.with_for_update())
    return found


async def every(session: AsyncSession, organization_id: str) -> Sequence[RuleRow]:
    """All rules that are not deleted, newest first."""
    query = select(RuleRow).filter_by(organization_id=organization_id).where(RuleRow.deleted_at.is_(None))
    return (await session.scalars(query.order_by(RuleRow.id.desc()))).all()


class Outcomes(NamedTuple):
    """Number of a rule's decisions by outcome."""

    waiting: int = 0
    applied: int = 0
    overtaken: int = 0
    not_needed: int = 0


async def outcomes(session: AsyncSession, organization_id: str, rule_ids: Sequence[str]) -> dict[str, Outcomes]:
    """Count the outcomes of these rules' decisions, by rule."""
    # Waiting decisions are few and counted by an index; all others would be the whole history.
    of_rules = (DecisionRow.organization_id == organization_id, DecisionRow.rule_id.in_(rule_ids))
    waiting = select(DecisionRow.rule_id, func.count()).where(*of_rules, DecisionRow.outcome == "waiting")
    counts = dict((await session.execute(waiting.group_by(DecisionRow.rule_id))).all())
    columns = (RuleOutcomesRow.applied, RuleOutcomesRow.overtaken, RuleOutcomesRow.not_needed)
    query = select(RuleOutcomesRow.rule_id, *columns).where(
        RuleOutcomesRow.organization_id == organization_id, RuleOutcomesRow.rule_id.in_(rule_ids)
    )
    ended = {rule_id: counted for rule_id, *counted in await session.execute(query)}
    return {rule_id: Outcomes(counts.get(rule_id, 0), *ended.get(rule_id, ())) for rule_id in rule_ids}


class End(NamedTuple):
    """A decision of a rule comes to another end. `before`: `waiting`, or the end that it had."""

    organization_id: str
    rule_id: str
    before: str
    after: str


async def count_end(session: AsyncSession, organization_id: str, rule_id: str, before: str, after: str) -> None:
    """Count a new outcome of a rule's decision. `before`: `waiting`, or the former outcome."""
    change = {name: (name == after) - (name == before) for name in ("applied", "overtaken", "not_needed")}
    row = insert(RuleOutcomesRow).values(organization_id=organization_id, rule_id=rule_id, **change)
    added = {name: getattr(RuleOutcomesRow, name) + by for name, by in change.items()}
    await session.execute(row.on_conflict_do_update(index_elements=["organization_id", "rule_id"], set_=added))


async def lessons(session: AsyncSession, organization_id: str) -> list[Lesson]:
    """Lessons of the newest decisions, by kind."""
    values = {"organization": organization_id, "newest": NEWEST, "times": LEARNED_AFTER}
    return [Lesson(kind, answer, ids) for kind, answer, ids in await session.execute(_LESSONS, values)]


async def decisions(session: AsyncSession, organization_id: str, ids: Sequence[str]) -> dict[str, DecisionRow]:
    """Decisions by their ids."""
    query = select(DecisionRow).where(DecisionRow.organization_id == organization_id, DecisionRow.id.in_(ids))
    return {row.id: row for row in await session.scalars(query)}


async def settle(session: AsyncSession, organization_id: str, kind: str, now: datetime) -> None:
    """Let only later answers teach a rule for this kind of conflict."""
    row = insert(RuleLessonRow).values(organization_id=organization_id, kind=kind, settled_at=now)
    await session.execute(
        row.on_conflict_do_update(
            index_elements=["organization_id", "kind"], set_={"settled_at": row.excluded.settled_at}
        )
    )


async def given(session: AsyncSession, organization_id: str, kind: str) -> list[Decided]:
    """The newest decisions by people about this kind of conflict."""
    query = (
        select(DecisionRow, ConflictRow.record, ConflictRow.child)
        .join(
            ConflictRow,
            (ConflictRow.organization_id == DecisionRow.organization_id) & (ConflictRow.id == DecisionRow.conflict_id),
        )
        .where(DecisionRow.organization_id == organization_id, DecisionRow.kind == kind, DecisionRow.rule_id.is_(None))
        .order_by(DecisionRow.decided_at.desc(), DecisionRow.id.desc())
        .limit(NEWEST)
    )
    return [Decided(*row) for row in await session.execute(query)]


async def was_overtaken(session: AsyncSession, organization_id: str, conflict_id: str) -> bool:
    """Whether a decision about the conflict was not carried out, after which a person decides."""
    query = select(overtaken(organization_id, conflict_id))
    return bool(await session.scalar(query))


async def answers_of_people(session: AsyncSession, organization_id: str, record_id: str) -> list[Given]:
    """People's carried out decisions about a record, the newest first."""
    query = (
        select(DecisionRow.choices, DecisionRow.fields)
        .join(
            ConflictRow,
            (ConflictRow.organization_id == DecisionRow.organization_id) & (ConflictRow.id == DecisionRow.conflict_id),
        )
        .where(
            ConflictRow.organization_id == organization_id,
            of_record(record_id),
            DecisionRow.rule_id.is_(None),
            DecisionRow.outcome == "applied",
        )
        .order_by(DecisionRow.decided_at.desc(), DecisionRow.id.desc())
        .limit(_ANSWERS)
    )
    return [(choices, fields) for choices, fields in await session.execute(query)]


def overtaken(organization_id: str, conflict_id: Any) -> Any:
    """The condition that a decision about this conflict was not carried out."""
    return exists().where(
        DecisionRow.organization_id == organization_id,
        DecisionRow.conflict_id == conflict_id,
        DecisionRow.outcome == "overtaken",
    )
