"""The questions of a run before it writes: the first-match choice, the threshold, and the approval of a plan."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Select, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.sync_runs import RunQuestion, RunThreshold
from contracts.values import FAMILY, MEMBER
from people_sync.domain.families import household_values
from people_sync.domain.merge import FamilyValues, merge, merge_family, with_status
from people_sync.domain.planning_center import MAILED_ABOUT, household_from_snapshot, person_from_snapshot
from people_sync.domain.sentences import (
    CONFLICT,
    GONE,
    INACTIVATED_THERE,
    LINKED,
    UPDATED_BOTH,
    UPDATED_HERE,
    UPDATED_THERE,
    WAITING_FOR_APPROVAL,
    WAITING_FOR_FIRST_MATCH,
    WAITING_FOR_THRESHOLD,
)
from people_sync.domain.thresholds import exceeds
from people_sync.domain.values import ACTIVE, from_json, partial_from_json, to_json, value_to_json
from people_sync.storage.kept_out import is_kept_out, members_left_alone
from people_sync.storage.records import full_name, values_of
from people_sync.storage.runs import PREVIEW, RUNS
from people_sync.storage.sync_tables import Change, Remote
from people_sync.storage.tables import Family, Link, Member, Settings
from people_sync.usecases.record.decide_people import name_of
from people_sync.usecases.record.families import record_ids
from people_sync.usecases.run.context import RunContext
from people_sync.usecases.run.plan import counts_of, digest_of, forget_shown, keep_to_plan, make_plan
from synckit import work

EXAMPLES: Final = 5
_WAITING: Final = {
    "first_match": WAITING_FOR_FIRST_MATCH,
    "threshold": WAITING_FOR_THRESHOLD,
    "plan": WAITING_FOR_APPROVAL,
}
_MATCHED: Final = (LINKED, UPDATED_HERE, UPDATED_THERE, UPDATED_BOTH, CONFLICT)
_STATUS_OPEN: Final = Link.agreed.has_key(ACTIVE) & Link.agreed[ACTIVE].astext.is_(None)
_UNAGREED: Final = (Remote.snapshot.is_not(None), or_(Link.id.is_(None), Link.agreed == {}, _STATUS_OPEN))
"""Changes with a read, without agreed values or without an agreed status."""
_CHANGES: Final = (UPDATED_HERE, UPDATED_THERE, UPDATED_BOTH, GONE, INACTIVATED_THERE)


async def ask(context: RunContext) -> bool:
    """Whether the run may go on. If not, it waits for an administrator and the job is released.

    Every question shows the plan. An approval covers exactly the shown plan: records that changed since are left out.
    """
    if context.approved:
        await keep_to_plan(context)
        return True
    async with context.job.sessions() as session:
        question = await _question(session, context)
    if question is None:
        return True
    await make_plan(context)
    async with context.job.sessions.begin() as session:
        await context.job.verify(session)
        context.job.stop_if_requested()
        # The settings may have changed by now.
        question = await _question(session, context)
        if question is None:
            await forget_shown(session, context)
            return True
        shown = {**question.counts, **await counts_of(session, context)} if question.kind != "first_match" else None
        question = question.model_copy(
            update={"digest": await digest_of(session, context), "counts": shown or question.counts}
        )
        checkpoint, waiting_for = context.checkpoint.to_json(), _WAITING[question.kind]
        await work.ask(session, RUNS, context.job, question, checkpoint, context.now(), waiting_for=waiting_for)
    return False


async def _question(session: AsyncSession, context: RunContext) -> RunQuestion | None:
    settings = await session.get(Settings, context.organization_id)
    question = None
    if settings is None or settings.first_match is None:
        question = await _first_match(session, context)
    if question is None and context.purpose == PREVIEW:
        question = RunQuestion(kind="plan", counts={}, answers=("approve", "stop"))
    return question or await _threshold(session, context)


async def _first_match(session: AsyncSession, context: RunContext) -> RunQuestion | None:
    """Asked if at least one first match has a field with two different values. No record is written yet."""
    rows = await session.stream(_planned(context, MEMBER, _MATCHED).where(*_UNAGREED))
    matched = people = fields = 0
    examples: list[dict[str, str | None]] = []
    async for member, snapshot, agreed in rows:
        person = person_from_snapshot(snapshot)
        result = merge(partial_from_json(agreed or {}), values_of(member), person.values, context.policy)
        result = with_status(result, member.active, person.active, context.policy)
        matched += 1
        if not result.first_match:
            continue
        people += 1
        fields += len(result.first_match)
        if len(examples) < EXAMPLES:
            name = result.first_match[0]
            sides = (member, person) if name == ACTIVE else (values_of(member), person.values)
            here, there = (_words(value_to_json(getattr(side, name))) for side in sides)
            examples.append({"name": name_of(person), "field": name, "here": here, "planning_center": there})
    families, named = await _families_with_differences(session, context)
    if not people and not families:
        return None
    mailed = await _may_be_mailed(session, context)
    return RunQuestion(
        kind="first_match",
        counts={
            "matched": matched,
            "people_with_differences": people,
            "differing_values": fields,
            "may_be_mailed": mailed,
        }
        | ({"families_with_differences": families} if families else {}),
        examples=tuple((examples + named)[:EXAMPLES]),
        answers=("planning_center", "ask", "ours"),
    )


async def _families_with_differences(
    session: AsyncSession, context: RunContext
) -> tuple[int, list[dict[str, str | None]]]:
    """Number of families that differ in name or primary contact from their household, and the first as examples."""
    found, examples = 0, list[dict[str, str | None]]()
    rows = await session.stream(_planned(context, FAMILY, _MATCHED).where(*_UNAGREED))
    async for batch in rows.partitions():
        pairs = [(family, household_from_snapshot(snapshot or {})) for family, snapshot, _ in batch]
        people = await record_ids(session, context, [one for _, household in pairs for one in household.person_ids])
        primaries = [str(family.primary_contact_id) for family, _ in pairs if family.primary_contact_id]
        everybody = [*primaries, *map(str, people.values())]
        alone = await members_left_alone(session, context.organization_id, everybody)
        for family, household in pairs:
            theirs = household_values(household, people)
            primary = str(family.primary_contact_id) if family.primary_contact_id else None
            ours = FamilyValues(family.name, theirs.members | ({primary} if primary else set()), primary)
            differs = merge_family({}, ours, theirs, context.policy, left_alone=alone).fields.first_match
            found += bool(differs)
            if differs and len(examples) < EXAMPLES:
                named = differs[0] == "name"
                examples.append(
                    {
                        "name": family.name,
                        "field": differs[0],
                        "here": ours.name if named else await _member_name(session, ours.primary_contact),
                        "planning_center": theirs.name
                        if named
                        else await _member_name(session, theirs.primary_contact),
                    }
                )
    return found, examples


async def _member_name(session: AsyncSession, member_id: str | None) -> str | None:
    member = await session.get(Member, UUID(member_id)) if member_id else None
    return full_name(member) if member else None


async def _threshold(session: AsyncSession, context: RunContext) -> RunQuestion | None:
    linked = await session.scalar(
        select(func.count(Link.id)).where(
            Link.organization_id == context.organization_id,
            Link.pco_organization_id == context.pco_organization_id,
            Link.state == "linked",
            ~is_kept_out(context.organization_id, Link.kind, Link.record_id),
        )
    )
    changes = await session.scalar(
        select(func.count(Change.id)).where(Change.run_id == context.run_id, Change.outcome.in_(_CHANGES))
    )
    percent, minimum = context.threshold
    if not exceeds(changes or 0, linked or 0, percent, minimum):
        return None
    return RunQuestion(
        kind="threshold",
        counts={"linked_records": linked or 0},
        answers=("continue", "stop"),
        threshold=RunThreshold(changed=changes or 0, linked=linked or 0, percent=percent, minimum=minimum),
    )


async def _may_be_mailed(session: AsyncSession, context: RunContext) -> int:
    """Maximum number of people who sign in at Planning Center and might get another email or phone there.

    The first-match choice is open, so each value may be ours.
    """
    rows = await session.stream(
        _planned(context, MEMBER, [LINKED, UPDATED_THERE, UPDATED_BOTH]).where(Remote.login.is_(True))
    )
    found = 0
    async for member, snapshot, agreed in rows:
        ours, base = values_of(member), partial_from_json(agreed or {})
        # Without a snapshot both sides agreed at the last read.
        theirs = person_from_snapshot(snapshot).values if snapshot else from_json(to_json(ours) | (agreed or {}))
        result = merge(base, ours, theirs, context.policy)
        found += not MAILED_ABOUT.isdisjoint({*result.to_theirs, *result.first_match})
    return found


def _planned(context: RunContext, kind: str, outcomes: Sequence[str]) -> Select[tuple[Any, Any, Any]]:
    """Records with this planned outcome: member or family, snapshot there, and agreed values if linked."""
    record: type[Member] | type[Family] = Member if kind == MEMBER else Family
    return (
        select(record, Remote.snapshot, Link.agreed)
        .join(Change, Change.record_id == record.id)
        .join(Remote, (Remote.kind == kind) & (Remote.pco_id == Change.pco_id))
        .outerjoin(
            Link,
            (Link.record_id == record.id)
            & (Link.organization_id == context.organization_id)
            & (Link.pco_organization_id == context.pco_organization_id)
            & (Link.kind == kind)
            # An agreement with a gone person does not concern the person found now.
            & (Link.pco_id == Change.pco_id),
        )
        .where(
            Change.run_id == context.run_id,
            Change.kind == kind,
            Change.outcome.in_(outcomes),
            Remote.organization_id == context.organization_id,
            Remote.pco_organization_id == context.pco_organization_id,
        )
        .order_by(Change.id)
        .execution_options(yield_per=200)
    )


def _words(value: Any) -> str | None:
    if isinstance(value, dict):
        return ", ".join(part for part in value.values() if part)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return None if value is None else str(value)
