"""Stores people-sync's facts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from conflict_service.domain.conflict import Change, Conflict, is_new, take
from conflict_service.storage import queries, rules
from conflict_service.storage.queries import Key
from conflict_service.storage.tables import DecisionRow
from conflict_service.usecases import by_rule
from conflict_service.usecases.announce import announcement
from contracts.events.people_conflict_v1 import ConflictFact, ResolutionApplied, ResolutionOvertaken
from servicekit.kafka import outbox
from servicekit.kafka.subscriptions import Fact


@dataclass(frozen=True, slots=True)
class _Taken:
    """A fact, and what it makes of its conflict."""

    key: Key
    fact: Fact[ConflictFact]
    kind: by_rule.Kind | None
    before: Conflict | None
    change: Change | None


async def record(session: AsyncSession, facts: Sequence[Fact[ConflictFact]], now: datetime) -> None:
    """Store what facts change, each of another record, let the rules decide what is new, and announce what those who
    follow have to hear. As many statements for all as for one, save for what was decided."""
    # Lock rules before conflicts, so that turning a rule off waits for its decisions in progress.
    kinds = [by_rule.kind(fact.event) for fact in facts]
    deciding = await by_rule.locked(session, kinds)
    taken, rows = await _take(session, facts, kinds)
    changes = [(one, one.change.after) for one in taken if one.change is not None]
    await queries.save_all(session, {one.key: after for one, after in changes}, rows)
    await _announce(session, taken)
    for one, after in changes:
        if one.kind is not None and one.kind in deciding and is_new(one.before, after):
            with one.fact.flow():
                await by_rule.decide(session, *one.key, after, deciding[one.kind], now)
    ends = [end for one in taken for end in await _settled(session, one)]
    # In the order of rules: two transactions that count ends of several do not wait for each other.
    for end in sorted(ends):
        await rules.count_end(session, *end)


async def _take(
    session: AsyncSession, facts: Sequence[Fact[ConflictFact]], kinds: Sequence[by_rule.Kind | None]
) -> tuple[list[_Taken], dict[Key, Row[Any]]]:
    events = [fact.event for fact in facts]
    await queries.lock_with_records(
        session, [(event.organization_id, event.record.id, event.conflict_id) for event in events]
    )
    rows = await queries.find_all(session, [(event.organization_id, event.conflict_id) for event in events])
    new = {
        (event.organization_id, event.record.id)
        for event in events
        if (event.organization_id, event.conflict_id) not in rows
    }
    erased = await queries.erased(session, new)
    taken = []
    for fact, kind in zip(facts, kinds, strict=True):
        event = fact.event
        key = (event.organization_id, event.conflict_id)
        if key not in rows and (event.organization_id, event.record.id) in erased:
            continue  # late, or a dead letter that was sent again
        before = queries.value_of(rows[key]) if key in rows else None
        taken.append(_Taken(key, fact, kind, before, take(before, event)))
    return taken, rows


async def _announce(session: AsyncSession, taken: Sequence[_Taken]) -> None:
    announced = []
    for one in taken:
        if one.change is not None and one.change.announce:
            with one.fact.flow():
                announced += announcement(session, *one.key, one.change.after)
    await outbox.append_outgoing(session, announced)


async def _settled(session: AsyncSession, one: _Taken) -> list[rules.End]:
    """Note what became of a decision, once. Returns what is to be counted."""
    event, ends = one.fact.event, []
    if isinstance(event, ResolutionApplied | ResolutionOvertaken):
        row = await session.get(DecisionRow, (event.organization_id, event.decision_id))
        if row is not None and row.outcome not in {"applied", "overtaken"}:
            if isinstance(event, ResolutionApplied):
                row.refused = list(event.refused)
            else:
                row.sentence = event.sentence
            outcome = "applied" if isinstance(event, ResolutionApplied) else "overtaken"
            ends += _end(row, outcome, event.occurred_at)
    before, change = one.before, one.change
    if before is not None and before.waiting and change is not None and change.after.waiting is None:
        row = await session.get_one(DecisionRow, (event.organization_id, before.waiting))
        if row.outcome == "waiting":
            # The conflict closed without this decision, or by another one.
            ends += _end(row, "not_needed", event.occurred_at)
    return ends


def _end(row: DecisionRow, outcome: str, at: datetime) -> list[rules.End]:
    counted = [rules.End(row.organization_id, row.rule_id, row.outcome, outcome)] if row.rule_id is not None else []
    row.outcome, row.settled_at = outcome, at
    return counted
