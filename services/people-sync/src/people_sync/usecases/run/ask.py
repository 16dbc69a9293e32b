"""The two questions a run may ask before it writes: what wins on a first match, and whether so much may change."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Select, Text, cast, delete, exists, func, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.events.people_sync_run_v1 import SyncRunProgressed
from contracts.sync_runs import RunQuestion
from contracts.values import FAMILY, MEMBER
from people_sync.domain.families import household_values
from people_sync.domain.merge import FamilyValues, merge, merge_family, with_status
from people_sync.domain.planning_center import MAILED_ABOUT, household_from_snapshot, person_from_snapshot
from people_sync.domain.sentences import (
    CONFLICT,
    CREATED_HERE,
    CREATED_THERE,
    GONE,
    INACTIVATED_THERE,
    LINKED,
    UPDATED_BOTH,
    UPDATED_HERE,
    UPDATED_THERE,
    WAITING_FOR_FIRST_MATCH,
    WAITING_FOR_THRESHOLD,
)
from people_sync.domain.thresholds import exceeds
from people_sync.domain.values import ACTIVE, from_json, partial_from_json, to_json, value_to_json
from people_sync.storage import runs
from people_sync.storage.kept_out import is_kept_out, members_left_alone
from people_sync.storage.records import full_name, values_of
from people_sync.storage.sync_tables import Change, Remote, Shown
from people_sync.storage.tables import Family, Link, Member, Settings
from people_sync.usecases.record.decide_people import name_of
from people_sync.usecases.record.families import record_ids
from people_sync.usecases.run.context import RunContext
from servicekit.outbox import append

EXAMPLES: Final = 5
_KEY: Final = func.coalesce(cast(Change.record_id, Text), Change.pco_id)
_MATCHED: Final = (LINKED, UPDATED_HERE, UPDATED_THERE, UPDATED_BOTH, CONFLICT)
_STATUS_OPEN: Final = Link.agreed.has_key(ACTIVE) & Link.agreed[ACTIVE].astext.is_(None)
_UNAGREED: Final = (Remote.snapshot.is_not(None), or_(Link.id.is_(None), Link.agreed == {}, _STATUS_OPEN))
"""Read, and nothing was ever agreed about it, or about who is active."""
_CHANGES: Final = (UPDATED_HERE, UPDATED_THERE, UPDATED_BOTH, GONE, INACTIVATED_THERE)


async def ask(context: RunContext) -> bool:
    """Whether the run may go on. If not, it waits for an administrator and the job is given back."""
    async with context.job.sessions.begin() as session:
        await context.job.verify(session)
        context.job.stop_if_requested()
        settings = await session.get(Settings, context.organization_id)
        question = None
        if settings is None or settings.first_match is None:
            question = await _first_match(session, context)
        if question is None and await _grew(session, context):
            question = await _threshold(session, context)
        if question is None:
            return True
        if question.kind == "threshold":
            await _remember_shown(session, context)
        run = await runs.change(
            session,
            context.run_id,
            state="waiting",
            question=question.model_dump(mode="json"),
            waiting_for=WAITING_FOR_FIRST_MATCH if question.kind == "first_match" else WAITING_FOR_THRESHOLD,
        )
        await append(
            session,
            SyncRunProgressed(organization_id=context.organization_id, version=run.version, run=runs.render(run)),
        )
        await context.job.wait(session, context.checkpoint.to_json())
    return False


async def _first_match(session: AsyncSession, context: RunContext) -> RunQuestion | None:
    """Asked if at least one first match has a field with two different values. Nothing was written yet."""
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
    mailed = await _may_be_mailed(session, context, open_choice=True)
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
    """How many families are households by another name, or with another primary contact, and the first as examples."""
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
    counts = {outcome: await _count(session, context, outcome) for outcome in _CHANGES}
    percent, minimum = context.threshold
    if not exceeds(sum(counts.values()), linked or 0, percent, minimum):
        return None
    counts |= {outcome: await _count(session, context, outcome) for outcome in (CREATED_HERE, CREATED_THERE)}
    counts["may_be_mailed"] = await _may_be_mailed(session, context)
    rows = await session.scalars(
        select(Change)
        .where(Change.run_id == context.run_id, Change.outcome.in_(_CHANGES))
        .order_by(Change.id)
        .limit(EXAMPLES)
    )
    return RunQuestion(
        kind="threshold",
        counts={name: count for name, count in counts.items() if count} | {"linked_records": linked or 0},
        examples=tuple({"name": row.name, "field": row.outcome, "here": None, "planning_center": None} for row in rows),
        answers=("continue", "stop"),
    )


async def _may_be_mailed(session: AsyncSession, context: RunContext, *, open_choice: bool = False) -> int:
    """How many people who sign in at Planning Center would get another email or phone there.

    `open_choice`: it is not chosen yet which values count at a first match, so each of them may be ours.
    """
    rows = await session.stream(
        _planned(context, MEMBER, [LINKED, UPDATED_THERE, UPDATED_BOTH]).where(Remote.login.is_(True))
    )
    found = 0
    async for member, snapshot, agreed in rows:
        ours, base = values_of(member), partial_from_json(agreed or {})
        # Without a snapshot both sides agreed when it was last read.
        theirs = person_from_snapshot(snapshot).values if snapshot else from_json(to_json(ours) | (agreed or {}))
        result = merge(base, ours, theirs, context.policy)
        written = {*result.to_theirs, *(result.first_match if open_choice else ())}
        found += not written.isdisjoint(MAILED_ABOUT)
    return found


def _planned(context: RunContext, kind: str, outcomes: Sequence[str]) -> Select[tuple[Any, Any, Any]]:
    """Records that the run plans this for: the member or family, the snapshot there, and what was agreed, if linked."""
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
            # An agreement with a person who is gone says nothing about the person found now.
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


async def _grew(session: AsyncSession, context: RunContext) -> bool:
    """Whether there is a change that no answer covers: one that was not shown when the question was answered."""
    if "threshold" not in context.answers:
        return True
    shown = exists().where(
        Shown.run_id == Change.run_id, Shown.kind == Change.kind, Shown.key == _KEY, Shown.outcome == Change.outcome
    )
    beyond = select(Change.id).where(Change.run_id == context.run_id, Change.outcome.in_(_CHANGES), ~shown).limit(1)
    return await session.scalar(beyond) is not None


async def _remember_shown(session: AsyncSession, context: RunContext) -> None:
    await session.execute(delete(Shown).where(Shown.run_id == context.run_id))
    rows = select(Change.run_id, Change.kind, _KEY, Change.outcome).where(
        Change.run_id == context.run_id, Change.outcome.in_(_CHANGES)
    )
    await session.execute(insert(Shown).from_select(["run_id", "kind", "key", "outcome"], rows))


async def _count(session: AsyncSession, context: RunContext, outcome: str) -> int:
    statement = select(func.count(Change.id)).where(Change.run_id == context.run_id, Change.outcome == outcome)
    return await session.scalar(statement) or 0


def _words(value: Any) -> str | None:
    if isinstance(value, dict):
        return ", ".join(part for part in value.values() if part)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return None if value is None else str(value)
