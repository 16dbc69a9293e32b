"""Stores people-sync's facts."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from conflict_service.domain.conflict import is_new, take
from conflict_service.storage import queries, rules
from conflict_service.storage.tables import DecisionRow
from conflict_service.usecases import by_rule
from conflict_service.usecases.announce import announce
from contracts.events.people_conflict_v1 import ConflictDetected, ConflictFact, ResolutionApplied, ResolutionOvertaken


async def record(session: AsyncSession, fact: ConflictFact, now: datetime) -> None:
    """Store a fact's change, let rules decide a new conflict, and announce the change if needed."""
    # Lock rules before conflicts, so that turning a rule off waits for its decisions in progress.
    deciding = await by_rule.locked(session, fact) if isinstance(fact, ConflictDetected) else []
    await queries.lock_with_record(session, fact.organization_id, fact.record.id, fact.conflict_id)
    before = await queries.find(session, fact.organization_id, fact.conflict_id)
    if before is None and await queries.is_erased(session, fact.organization_id, fact.record.id):
        return  # a late fact, or a replayed dead letter
    change = take(before, fact)
    if change is not None:
        await queries.save(session, fact.organization_id, fact.conflict_id, change.after, is_new=before is None)
        if change.announce:
            await announce(session, fact.organization_id, fact.conflict_id, change.after)
        if deciding and is_new(before, change.after):
            await by_rule.decide(session, fact.organization_id, fact.conflict_id, change.after, deciding, now)
    if isinstance(fact, ResolutionApplied | ResolutionOvertaken):
        await _settle(session, fact)
    if before is not None and before.waiting and change is not None and change.after.waiting is None:
        row = await session.get_one(DecisionRow, (fact.organization_id, before.waiting))
        if row.outcome == "waiting":
            # The conflict closed without this decision or by another one.
            await _end(session, row, "not_needed", fact.occurred_at)


async def _settle(session: AsyncSession, fact: ResolutionApplied | ResolutionOvertaken) -> None:
    """Store a decision's outcome, once."""
    row = await session.get(DecisionRow, (fact.organization_id, fact.decision_id))
    if row is None or row.outcome in {"applied", "overtaken"}:
        return
    if isinstance(fact, ResolutionApplied):
        row.refused = list(fact.refused)
        await _end(session, row, "applied", fact.occurred_at)
    else:
        row.sentence = fact.sentence
        await _end(session, row, "overtaken", fact.occurred_at)


async def _end(session: AsyncSession, row: DecisionRow, outcome: str, at: datetime) -> None:
    if row.rule_id is not None:
        # Each transaction counts one outcome after its conflict's lock, so no deadlock is possible.
        await rules.count_end(session, row.organization_id, row.rule_id, row.outcome, outcome)
    row.outcome, row.settled_at = outcome, at
