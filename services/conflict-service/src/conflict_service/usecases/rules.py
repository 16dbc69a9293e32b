"""Rules: learned from people's answers, shown, turned on and off."""

from datetime import datetime
from typing import Final, cast, get_args

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from conflict_service.domain.rules import LEARNED_AFTER, Answered, Condition, choices_by, fits, learned, name_of
from conflict_service.storage import queries, rules
from conflict_service.storage.rules import Decided, Outcomes, condition_of
from conflict_service.storage.tables import BulkRow, ConflictRow, RuleRow
from conflict_service.usecases import bulk
from contracts.conflicts import Choice, ConflictField, ConflictRecord
from contracts.http.common import Page
from contracts.http.rules import (
    DeclineOffer,
    Rule,
    RuleCondition,
    RuleField,
    RuleOffer,
    RulePast,
    RulePastSample,
    RulePreview,
    TurnOnRule,
)
from contracts.identity import UserIdentity
from servicekit.errors import Conflict as Refused
from servicekit.errors import Invalid, NotFound
from servicekit.ids import uuid7

MOST: Final = 100
"""Rules of one organization."""
_FIELDS: Final = frozenset(get_args(RuleField))


async def every(session: AsyncSession, organization_id: str) -> Page[Rule]:
    """All rules, newest first, with the numbers of their decisions."""
    rows = await rules.every(session, organization_id)
    outcomes = await rules.outcomes(session, organization_id, [row.id for row in rows])
    return Page[Rule](items=tuple(_render(row, outcomes) for row in rows), total=len(rows))


async def offers(session: AsyncSession, organization_id: str) -> Page[RuleOffer]:
    """Rules learned from the newest answers that do not exist yet."""
    lessons = [one for one in await rules.lessons(session, organization_id) if _FIELDS.issuperset(one.kind.split(","))]
    decisions = await rules.decisions(session, organization_id, [id_ for one in lessons for id_ in one.decision_ids])
    on = {condition_of(row) for row in await rules.every(session, organization_id) if row.is_on}
    found = []
    for kind, answer, ids in lessons:
        given = [Answered(decisions[id_].fields, decisions[id_].decided_at) for id_ in ids]
        condition = learned(kind, answer, given)
        if condition.allowed and condition not in on:
            found.append(RuleOffer(name=name_of(condition), condition=_shown(condition), times=LEARNED_AFTER))
    return Page[RuleOffer](items=tuple(found), total=len(found))


async def decline(session: AsyncSession, organization_id: str, body: DeclineOffer, now: datetime) -> Page[RuleOffer]:
    """Offer no rule for this kind until it is answered alike as often again."""
    await rules.settle(session, organization_id, ",".join(sorted(set(body.fields))), now)
    return await offers(session, organization_id)


async def preview(session: AsyncSession, organization_id: str, body: RuleCondition, now: datetime) -> RulePreview:
    """Preview a rule's past and present decisions. Invalid (422)."""
    condition = _condition(body)
    row = await _open(session, organization_id, condition, now)
    return RulePreview(
        name=name_of(condition),
        condition=_shown(condition),
        digest=row.digest,
        past=_past(condition, await rules.given(session, organization_id, condition.kind)),
        count=len(row.conflict_ids),
        left_out=row.left_out,
        samples=await bulk.samples(session, row),
    )


async def turn_on(
    session: AsyncSession, organization_id: str, body: TurnOnRule, user: UserIdentity, now: datetime
) -> Rule:
    """Turn a rule on, creating it if new, and start deciding the shown open conflicts.

    Conflict (409) if these changed, another bulk answer is at work, or there are too many rules; Invalid (422).
    """
    condition = _condition(body)
    await queries.lock(session, organization_id, "rules")
    answer = await _open(session, organization_id, condition, now)
    if answer.digest != body.digest:
        raise Refused(
            "The open conflicts have changed since this was shown, so the rule was not turned on. Look at what it "
            "would decide now, and turn it on again.",
            slug="rule-moved",
        )
    if answer.conflict_ids:
        await bulk.begin(session, answer)
    row = await rules.same(session, organization_id, condition)
    if row is None:
        row = await _make(session, organization_id, condition, user, now)
    row.made_by, row.made_by_name = user.user_id, user.name
    if not row.is_on:
        row.is_on, row.changed_at = True, now
    if answer.conflict_ids:
        row.bulk_id, answer.rule_id, answer.state = answer.id, row.id, "working"
        answer.decided_by, answer.decided_by_name = user.user_id, row.name
        session.add(answer)
    await rules.settle(session, organization_id, condition.kind, now)
    await session.flush()
    return _render(row, await rules.outcomes(session, organization_id, [row.id]))


async def turn_off(session: AsyncSession, organization_id: str, rule_id: str, now: datetime) -> Rule:
    """Turn a rule off; idempotent. NotFound (404)."""
    row = await _find(session, organization_id, rule_id)
    if row.is_on:
        row.is_on, row.changed_at = False, now
    return _render(row, await rules.outcomes(session, organization_id, [row.id]))


async def remove(session: AsyncSession, organization_id: str, rule_id: str, now: datetime) -> None:
    """Delete a rule; its decisions stay, with its name. NotFound (404)."""
    row = await _find(session, organization_id, rule_id)
    row.is_on, row.changed_at, row.deleted_at = False, now, now
    await rules.settle(session, organization_id, row.kind, now)


async def _make(
    session: AsyncSession, organization_id: str, condition: Condition, user: UserIdentity, now: datetime
) -> RuleRow:
    if len(await rules.every(session, organization_id)) >= MOST:
        raise Refused(
            f"There are {MOST} rules, the most there can be. Delete one that you no longer need, then turn this on.",
            slug="too-many-rules",
        )
    row = RuleRow(
        organization_id=organization_id,
        id=str(uuid7()),
        kind=condition.kind,
        fields=sorted(condition.fields),
        answer=condition.answer,
        older_than_days=condition.older_than_days,
        empty=condition.empty,
        child=condition.child,
        name=name_of(condition),
        is_on=True,
        made_by=user.user_id,
        made_by_name=user.name,
        made_at=now,
        changed_at=now,
    )
    session.add(row)
    return row


async def _open(session: AsyncSession, organization_id: str, condition: Condition, now: datetime) -> BulkRow:
    """The rule's answer to the open conflicts it would decide now, not stored."""
    row = bulk.new_row(organization_id, condition.answer, None, now)
    others = [
        other
        for other in map(condition_of, await rules.on_for(session, organization_id, condition.kind))
        if other.answer != condition.answer
    ]
    names = sorted(condition.fields)
    statement = (
        select(
            ConflictRow.id,
            ConflictRow.values_version,
            ConflictRow.fields,
            ConflictRow.child,
            ConflictRow.record["name"].astext,
            rules.overtaken(organization_id, ConflictRow.id),
        )
        .where(
            *queries.fitting(organization_id, "open", queries.EVERY),
            ConflictRow.field_names.contains(names),
            ConflictRow.field_names.contained_by(names),
        )
        .order_by(ConflictRow.opened_at.desc(), ConflictRow.id.desc())
    )
    found = await session.stream(statement.execution_options(yield_per=bulk.READ_AT_ONCE))
    async for conflict_id, version, fields, child, name, overtaken in found:
        if not fits(condition, fields, child=child, at=now):
            continue
        contested = any(fits(other, fields, child=child, at=now) for other in others)
        if overtaken or contested or len(row.conflict_ids) == bulk.MOST:
            row.left_out += 1
            continue
        row.conflict_ids.append(conflict_id)
        row.values_versions.append(version)
        row.names.append(name)
    row.digest = bulk.digest_of(row, name_of(condition), condition.kind)
    return row


def _past(condition: Condition, given: list[Decided]) -> RulePast:
    wanted = dict(choices_by(condition))
    fitting = [
        one for one in given if fits(condition, one.decision.fields, child=one.child, at=one.decision.decided_at)
    ]
    same = [one for one in fitting if one.decision.choices == wanted]
    different = [one for one in fitting if one.decision.choices != wanted]
    return RulePast(
        looked_at=len(given),
        same=len(same),
        different=len(different),
        same_samples=tuple(map(_sample, same[: bulk.SAMPLES])),
        different_samples=tuple(map(_sample, different[: bulk.SAMPLES])),
    )


def _sample(one: Decided) -> RulePastSample:
    return RulePastSample(
        conflict_id=one.decision.conflict_id,
        record=ConflictRecord.model_validate(one.record),
        fields=tuple(ConflictField.model_validate(field) for field in one.decision.fields),
        choices=cast("dict[str, Choice]", one.decision.choices),
        decided_by_name=one.decision.decided_by_name,
        decided_at=one.decision.decided_at,
    )


async def _find(session: AsyncSession, organization_id: str, rule_id: str) -> RuleRow:
    row = await rules.find(session, organization_id, rule_id)
    if row is None:
        raise NotFound("There is no such rule.")
    return row


def _condition(body: RuleCondition) -> Condition:
    condition = Condition(
        fields=frozenset(body.fields),
        answer=body.answer,
        older_than_days=body.older_than_days,
        empty=body.empty,
        child=body.child,
    )
    if not condition.allowed:
        raise Invalid(
            "No sync changes whether somebody is active in Planning Center. Choose Planning Center's side, or other "
            "fields.",
            errors=[{"field": "answer", "message": "must be `theirs` for `active`"}],
        )
    return condition


def _shown(condition: Condition) -> RuleCondition:
    return RuleCondition(
        fields=cast("tuple[RuleField, ...]", tuple(sorted(condition.fields))),
        answer=condition.answer,
        older_than_days=condition.older_than_days,
        empty=condition.empty,
        child=condition.child,
    )


def _render(row: RuleRow, outcomes: dict[str, Outcomes]) -> Rule:
    return Rule(
        id=row.id,
        name=row.name,
        condition=_shown(condition_of(row)),
        on=row.is_on,
        made_by_name=row.made_by_name,
        made_at=row.made_at,
        changed_at=row.changed_at,
        **outcomes[row.id]._asdict(),
        bulk_id=row.bulk_id,
    )
