"""Decisions by rules, in the transaction that stores the conflict's fact."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TypeAlias

from sqlalchemy.ext.asyncio import AsyncSession

from conflict_service.domain.conflict import Conflict
from conflict_service.domain.rules import agree, choices_by, fits, kept_by_a_person, kind_of
from conflict_service.storage import rules as stored
from conflict_service.storage.tables import RuleRow
from conflict_service.usecases.decide import Decider, take
from contracts.events.people_conflict_v1 import ConflictDetected, ConflictFact

Kind: TypeAlias = tuple[str, str]
"""An organization and a kind of conflict in it."""


def kind(fact: ConflictFact) -> Kind | None:
    """The kind of a conflict that was detected; None if no rule is about it."""
    if not isinstance(fact, ConflictDetected):
        return None
    found = kind_of([field.model_dump(mode="json") for field in fact.fields])
    return None if found is None else (fact.organization_id, found)


async def locked(session: AsyncSession, kinds: Iterable[Kind | None]) -> Mapping[Kind, Sequence[RuleRow]]:
    """Lock the rules for these kinds of conflict, so that none is turned off before this transaction ends."""
    return await stored.all_on(session, {each for each in kinds if each is not None})


async def decide(
    session: AsyncSession,
    organization_id: str,
    conflict_id: str,
    conflict: Conflict,
    rules: Sequence[RuleRow],
    now: datetime,
) -> None:
    """Decide a locked new conflict if a rule fits and all fitting rules agree.

    Rules do not decide a conflict again after a decision was not carried out, nor values that a person kept different
    and wants to decide again.
    """
    fitting = deciding(rules, conflict, conflict.updated_at)
    if not fitting:
        return
    fields = [field.model_dump(mode="json") for field in conflict.fields]
    if kept_by_a_person(fields, await stored.answers_of_people(session, organization_id, conflict.record.id)):
        return
    if await stored.was_overtaken(session, organization_id, conflict_id):
        return
    rule = fitting[0]
    choices = choices_by(stored.condition_of(rule))
    await take(session, organization_id, conflict_id, conflict, choices, decider(rule), now)


def deciding(rules: Sequence[RuleRow], conflict: Conflict, at: datetime) -> list[RuleRow]:
    """The rules that fit a conflict, empty if their answers differ. `at`: end of our values' age."""
    found = [rule for rule in rules if decides(rule, conflict, at)]
    return found if agree(map(stored.condition_of, found)) else []


def decides(rule: RuleRow, conflict: Conflict, at: datetime) -> bool:
    """Whether a rule fits a conflict. `at`: end of our values' age."""
    fields = [field.model_dump(mode="json") for field in conflict.fields]
    return fits(stored.condition_of(rule), fields, child=conflict.record.child, at=at)


def decider(rule: RuleRow, bulk_id: str | None = None) -> Decider:
    """A rule as author of a decision."""
    return Decider(rule.made_by, rule.name, bulk_id, rule.id)
