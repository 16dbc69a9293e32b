"""The plan of a run: the writes of each change, field by field, before the first write.

It is made after the comparison by the merges of `apply` and `push`, in batches: people first, since a family's plan
shows which of them will be linked. The approved plan is the shown one: it is made again after the approval, and each
change that differs from it is left out and listed.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any, Final
from uuid import UUID

from sqlalchemy import delete, exists, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.http.plans import PlanField
from contracts.values import FAMILY, MEMBER
from people_sync.domain import plans
from people_sync.domain.families import household_values
from people_sync.domain.merge import FamilyValues, merge, merge_family, takes_status, with_status
from people_sync.domain.planning_center import MAILED_ABOUT, household_from_snapshot, person_from_snapshot
from people_sync.domain.plans import Fields, Person, Status
from people_sync.domain.sentences import (
    CONFLICT,
    CONVERGED,
    CREATED_HERE,
    CREATED_THERE,
    GONE,
    INACTIVATED_THERE,
    KEPT_OUT,
    LEFT_OUT,
    LINKED,
    OUTCOMES,
    UPDATED_BOTH,
    UPDATED_HERE,
    UPDATED_THERE,
)
from people_sync.domain.values import ACTIVE, as_dict, from_json, partial_from_json, to_json
from people_sync.storage import remote
from people_sync.storage.families import family_values
from people_sync.storage.kept_out import members_left_alone
from people_sync.storage.links import base_of, decided_differences, family_base_of, member_differences, status_agreed
from people_sync.storage.records import full_name, values_of
from people_sync.storage.sync_tables import Change, Creation, Remote, Shown
from people_sync.storage.tables import Family, FamilyMember, Link, Member
from people_sync.storage.writes import writes_of
from people_sync.usecases.record.families import people_unmet, record_ids
from people_sync.usecases.run.context import RunContext
from synckit.among import among

BATCH: Final = 500
_UPDATES: Final = frozenset({UPDATED_HERE, UPDATED_THERE, UPDATED_BOTH})
_ON_BOTH_SIDES: Final = frozenset({*_UPDATES, CONFLICT, CONVERGED, LINKED})
DOES: Final = (*sorted(_ON_BOTH_SIDES), CREATED_HERE, CREATED_THERE, GONE, INACTIVATED_THERE)
"""Outcomes with work to carry out, or with a question."""


async def make_plan(context: RunContext) -> None:
    """Store the plan of each change, and its shown form."""
    await _in_batches(context, approved=False)


async def keep_to_plan(context: RunContext) -> None:
    """Leave out, and list, changes that are not exactly as approved."""
    await _in_batches(context, approved=True)
    async with context.step() as session:
        await _vanished(session, context)


async def _in_batches(context: RunContext, *, approved: bool) -> None:
    for kind in (MEMBER, FAMILY):
        last = 0
        while True:
            async with context.step() as session:
                found = select(Change).where(
                    Change.run_id == context.run_id,
                    Change.kind == kind,
                    Change.planned.is_(None),
                    Change.outcome != KEPT_OUT,
                    Change.id > last,
                )
                changes = (await session.scalars(found.order_by(Change.id).limit(BATCH))).all()
                # The lock order is mirror before changes.
                with session.no_autoflush:
                    await (_people if kind == MEMBER else _families)(session, context, changes)
                    await (_leave_out if approved else _show)(session, context, changes)
            if len(changes) < BATCH:
                break
            last = changes[-1].id


def _plan(change: Change, fields: Fields, *, login: bool = False) -> None:
    change.plan = [one.model_dump(mode="json") for one in fields]
    # A touched record that is equal needs no write and is not shown.
    change.planned = None if change.outcome in _UPDATES and not fields else change.outcome
    sent = {one.field for one in fields if one.does == "there"}
    change.may_be_mailed = login and not MAILED_ABOUT.isdisjoint(sent)


# --- people ---------------------------------------------------------------------------------------------------------


async def _people(session: AsyncSession, context: RunContext, changes: Sequence[Change]) -> None:
    members = await _by_id(session, context, Member, changes)
    links, reads = await _counterparts(session, context, MEMBER, changes)
    written = await writes_of(session, [link.id for link in links.values()])
    sent = await _sent(session, context, [one for one in changes if one.outcome == CREATED_THERE and one.pco_id])
    for change in changes:
        member, row = members.get(change.record_id), reads.get(change.pco_id or "")
        link = links.get(change.pco_id or "")
        if link is not None and (member is None or link.record_id != member.id):
            link = None  # the link of a deleted member, which this member takes over
        change.name = full_name(member) if member is not None else change.name
        fields: Fields = ()
        if change.outcome == CREATED_HERE and row is not None and row.snapshot:
            person = person_from_snapshot(row.snapshot)
            fields = plans.created(as_dict(person.values) | {ACTIVE: person.active}, "here")
        elif member is None:
            pass
        elif change.outcome == CREATED_THERE and change.pco_id is None:
            fields = plans.created(as_dict(values_of(member)), "there")
        elif change.outcome == INACTIVATED_THERE:
            fields = plans.inactivated(link.agreed.get(ACTIVE) if link else None)
        elif change.outcome in _ON_BOTH_SIDES or change.outcome == CREATED_THERE:
            fields = _merged(context, member, link, row, written.get(link.id, []) if link else [], sent)
        _plan(change, fields, login=bool(row is not None and row.login))


def _merged(
    context: RunContext,
    member: Member,
    link: Link | None,
    row: Remote | None,
    writes: Sequence[Any],
    sent: dict[UUID, dict[str, Any]],
) -> Fields:
    ours = values_of(member)
    snapshot = row.snapshot if row is not None else None
    if snapshot is None:
        # Without a snapshot both sides agreed at the last read.
        theirs, active = from_json(to_json(ours) | (link.agreed if link else {})), member.active
    else:
        person = person_from_snapshot(snapshot)
        theirs, active = person.values, person.active
    if link is not None:
        base, before = base_of(link, writes, theirs, context.country), link.agreed.get(ACTIVE)
        result = merge(base, ours, theirs, context.policy, member_differences(link, theirs))
        known = status_agreed(link)
    else:
        content = sent.get(member.id, {})
        base, before, known = partial_from_json(content), True if content else None, bool(content)
        result = merge(base, ours, theirs, context.policy)
    if not known:
        result = with_status(result, member.active, active, context.policy)
    taken = takes_status(result, before, member.active, active, context.policy)
    return plans.of_person(base, ours, theirs, result, Status(before, member.active, active, taken))


async def _sent(session: AsyncSession, context: RunContext, changes: Sequence[Change]) -> dict[UUID, dict[str, Any]]:
    """Sent values of people created by unanswered intents."""
    rows = await session.execute(
        select(Creation.record_id, Creation.content)
        .filter_by(**context.owner, kind=MEMBER, state="sent")
        .where(among(Creation.record_id, [one.record_id for one in changes if one.record_id]))
    )
    return {record_id: content or {} for record_id, content in rows}


# --- families -------------------------------------------------------------------------------------------------------


async def _families(session: AsyncSession, context: RunContext, changes: Sequence[Change]) -> None:
    families = await _by_id(session, context, Family, changes)
    links, reads = await _counterparts(session, context, FAMILY, changes)
    written = await writes_of(session, [link.id for link in links.values()])
    households = {
        pco_id: household_from_snapshot(row.snapshot) for pco_id, row in reads.items() if row.snapshot is not None
    }
    known = await record_ids(session, context, [one for each in households.values() for one in each.person_ids])
    shown = {pco_id: household_values(household, known) for pco_id, household in households.items()}
    ours = await _our_families(session, context, list(families.values()))
    theirs = {one.id: _their_side(one, links, shown, ours) for one in changes}
    unmet = await people_unmet(
        session,
        context,
        {
            member
            for one in changes
            if one.record_id in ours and (side := theirs[one.id])
            for member in ours[one.record_id].members - side.members
        },
    )
    everybody = {
        member
        for side in (*ours.values(), *(one for one in theirs.values() if one))
        for member in (*side.members, side.primary_contact)
        if member
    }
    agreed = {str(one) for link in links.values() for one in link.agreed.get("members", ())}
    people = await _shown_people(session, context, everybody | agreed)
    alone = await members_left_alone(session, context.organization_id, everybody | agreed)
    for change in changes:
        family, side = families.get(change.record_id), theirs[change.id]
        change.name = family.name if family is not None else change.name
        fields: Fields = ()
        if change.outcome == CREATED_HERE and side is not None:
            primary = side.primary_contact if side.primary_contact in side.members else None
            fields = plans.family_created(side.name, side.members, primary, "here", people)
        elif family is None:
            pass
        elif change.outcome == CREATED_THERE and change.pco_id is None:
            mine = replace(ours[family.id], members=ours[family.id].members - alone)
            primary = mine.primary_contact if mine.primary_contact in mine.members else None
            primary = primary or await _first_adult(session, mine.members)
            fields = plans.family_created(family.name, mine.members, primary, "there", people)
        elif side is not None and (change.outcome in _ON_BOTH_SIDES or change.outcome == CREATED_THERE):
            link = links.get(change.pco_id or "")
            link = link if link is not None and link.record_id == family.id else None
            base = family_base_of(link, written.get(link.id, []), side) if link else {}
            differences = decided_differences(link) if link else {}
            result = merge_family(base, ours[family.id], side, context.policy, differences, unmet, alone)
            fields = plans.of_family(base, ours[family.id], side, result, people)
        _plan(change, fields)


def _their_side(
    change: Change, links: dict[str, Link], shown: dict[str, FamilyValues], ours: dict[UUID, FamilyValues]
) -> FamilyValues | None:
    """The household as read, else as agreed at the last read. None if unknown."""
    pco_id = change.pco_id or ""
    if pco_id in shown:
        return shown[pco_id]
    link = links.get(pco_id)
    mine = ours.get(link.record_id) if link else None
    if link is None or mine is None:
        return None
    agreed = link.agreed
    return FamilyValues(
        agreed.get("name", mine.name),
        frozenset(agreed.get("members", ())),
        agreed.get("primary_contact", mine.primary_contact),
    )


async def _our_families(
    session: AsyncSession, context: RunContext, families: Sequence[Family]
) -> dict[UUID, FamilyValues]:
    """Our side of families, as after this run's planned links and creations there."""
    linked = await family_values(session, context.owner, families)
    rows = await session.execute(
        select(FamilyMember.family_id, FamilyMember.member_id)
        .join(Member, Member.id == FamilyMember.member_id)
        .join(Change, (Change.record_id == Member.id) & (Change.kind == MEMBER))
        .where(
            among(FamilyMember.family_id, list(linked)),
            Member.deleted_at.is_(None),
            Change.run_id == context.run_id,
            Change.outcome.in_([LINKED, CREATED_THERE]),
        )
    )
    coming: dict[UUID, set[str]] = defaultdict(set)
    for family_id, member_id in rows:
        coming[family_id].add(str(member_id))
    return {
        family_id: FamilyValues(values.name, values.members | coming[family_id], values.primary_contact)
        for family_id, values in linked.items()
    }


async def _first_adult(session: AsyncSession, members: Collection[str]) -> str | None:
    """The household's primary contact if the family has none."""
    first = (
        select(Member.id)
        .where(among(Member.id, [UUID(one) for one in members]))
        .order_by(Member.child, Member.created_at, Member.id)
        .limit(1)
    )
    found = await session.scalar(first)
    return str(found) if found else None


async def _shown_people(session: AsyncSession, context: RunContext, ids: Collection[str]) -> dict[str, Person]:
    """Display of members by our id, including those that this run would add here."""
    wanted = [UUID(one) for one in ids if _is_uuid(one)]
    found: dict[str, Person] = {}
    of_run = select(Change.record_id, Change.pco_id, Change.name).where(
        Change.run_id == context.run_id, Change.kind == MEMBER, among(Change.record_id, wanted)
    )
    for record_id, pco_id, name in await session.execute(of_run):
        found[str(record_id)] = {"id": str(record_id), "pco_id": pco_id, "name": name}
    rows = await session.execute(
        select(Member, Link.pco_id)
        .outerjoin(
            Link,
            (Link.record_id == Member.id)
            & (Link.kind == MEMBER)
            & (Link.organization_id == context.organization_id)
            & (Link.pco_organization_id == context.pco_organization_id)
            & (Link.state != "gone"),
        )
        .where(Member.organization_id == context.organization_id, among(Member.id, wanted))
    )
    for member, pco_id in rows:
        known = found.get(str(member.id), {}).get("pco_id")
        found[str(member.id)] = {"id": str(member.id), "pco_id": pco_id or known, "name": full_name(member)}
    return found


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


# --- rows -----------------------------------------------------------------------------------------------------------


async def _by_id(session: AsyncSession, context: RunContext, record: Any, changes: Sequence[Change]) -> dict[Any, Any]:
    rows = await session.scalars(
        select(record).where(
            record.organization_id == context.organization_id,
            among(record.id, [one.record_id for one in changes if one.record_id]),
        )
    )
    return {row.id: row for row in rows}


async def _counterparts(
    session: AsyncSession, context: RunContext, kind: str, changes: Sequence[Change]
) -> tuple[dict[str, Link], dict[str, Remote]]:
    """Links and mirror rows, by Planning Center's id."""
    ids = [one.pco_id for one in changes if one.pco_id]
    links = await session.scalars(
        select(Link).filter_by(**context.owner, kind=kind).where(among(Link.pco_id, ids), Link.state != "gone")
    )
    reads = await session.scalars(select(Remote).filter_by(**context.owner, kind=kind).where(among(Remote.pco_id, ids)))
    return {link.pco_id: link for link in links}, {row.pco_id: row for row in reads}


# --- shown and approved ---------------------------------------------------------------------------------------------


def _key(change: Change) -> str:
    """Both ids; for a person to be added here only Planning Center's, since ours changes with each comparison."""
    record_id = None if change.outcome == CREATED_HERE else change.record_id
    return f"{change.pco_id or ''}:{record_id or ''}"


def _digest(context: RunContext, change: Change) -> str:
    fields = [PlanField.model_validate(one) for one in change.plan or ()]
    return plans.digest(change.kind, _key(change), change.outcome, fields, context.country)


async def _show(session: AsyncSession, context: RunContext, changes: Sequence[Change]) -> None:
    rows = [
        {
            "run_id": context.run_id,
            "kind": one.kind,
            "key": _key(one),
            "outcome": one.planned,
            "digest": _digest(context, one),
            "name": one.name,
            "record_id": None if one.outcome == CREATED_HERE else one.record_id,
            "pco_id": one.pco_id,
        }
        for one in changes
        if one.planned
    ]
    if rows:
        await session.execute(insert(Shown), rows)


async def _leave_out(session: AsyncSession, context: RunContext, changes: Sequence[Change]) -> None:
    due = [one for one in changes if "planned" in (one.here, one.there) and one.planned]
    rows = await session.execute(
        select(Shown.kind, Shown.key, Shown.outcome, Shown.digest).where(
            Shown.run_id == context.run_id, among(Shown.key, [_key(one) for one in due])
        )
    )
    approved = set(rows)
    out = [one for one in due if (one.kind, _key(one), one.planned, _digest(context, one)) not in approved]
    for kind in (MEMBER, FAMILY):
        ids = [one.pco_id for one in out if one.kind == kind and one.pco_id]
        await remote.look_again(session, context.owner, kind, ids)
    for one in out:
        one.here = one.there = "none"
        one.outcome, one.cause, one.sentence = LEFT_OUT, None, OUTCOMES[LEFT_OUT]


async def _vanished(session: AsyncSession, context: RunContext) -> None:
    """List approved changes that became unnecessary by an edit."""
    # A separate condition per id: with OR, PostgreSQL would compare every change with every shown row.
    same = (Change.record_id == Shown.record_id, Change.pco_id == Shown.pco_id)
    of_kind = (Change.run_id == context.run_id, Change.kind == Shown.kind, Change.planned.is_not(None))
    needs_nothing = (~exists().where(*of_kind, id_) for id_ in same)
    gone = (Shown.run_id == context.run_id, Shown.outcome.in_(DOES), *needs_nothing)
    # A record that was only touched has a row without a plan.
    touched = or_(*(exists().where(Shown.run_id == context.run_id, Shown.kind == Change.kind, id_) for id_ in same))
    await session.execute(
        update(Change)
        .where(Change.run_id == context.run_id, Change.planned.is_(None), Change.outcome != KEPT_OUT, touched)
        .values(here="none", there="none", outcome=LEFT_OUT, sentence=OUTCOMES[LEFT_OUT], planned=Change.outcome)
        .execution_options(synchronize_session=False)
    )
    row = {
        "organization_id": literal(context.organization_id),
        "run_id": Shown.run_id,
        "kind": Shown.kind,
        "record_id": Shown.record_id,
        "pco_id": Shown.pco_id,
        "name": Shown.name,
        "here": literal("none"),
        "there": literal("none"),
        "outcome": literal(LEFT_OUT),
        "sentence": literal(OUTCOMES[LEFT_OUT]),
        "plan": literal([], JSONB),
        "planned": Shown.outcome,
    }
    await session.execute(
        insert(Change).from_select(list(row), select(*row.values()).where(*gone)).on_conflict_do_nothing()
    )


async def forget_shown(session: AsyncSession, context: RunContext) -> None:
    """Delete the shown plan: the run compares again, and asks again."""
    await session.execute(delete(Shown).where(Shown.run_id == context.run_id))
    kept = update(Change).where(Change.run_id == context.run_id).values(plan=None, planned=None, may_be_mailed=False)
    await session.execute(kept.execution_options(synchronize_session=False))


async def digest_of(session: AsyncSession, context: RunContext) -> str:
    """Digest of the whole shown plan, computed row by row."""
    found = blake2b(digest_size=16)
    rows = await session.stream(
        select(Shown.kind, Shown.key, Shown.outcome, Shown.digest)
        .where(Shown.run_id == context.run_id)
        .order_by(Shown.kind, Shown.key, Shown.outcome)
        .execution_options(yield_per=1_000)
    )
    async for row in rows:
        found.update(repr(tuple(row)).encode())
    return found.hexdigest()


async def counts_of(session: AsyncSession, context: RunContext) -> dict[str, int]:
    """Numbers of the shown plan by outcome; and the number of people Planning Center may mail."""
    of_run = Change.run_id == context.run_id
    rows = await session.execute(
        select(Change.planned, func.count(Change.id))
        .where(of_run, Change.planned.is_not(None))
        .group_by(Change.planned)
    )
    mailed = await session.scalar(select(func.count(Change.id)).where(of_run, Change.may_be_mailed))
    found = {outcome: count for outcome, count in rows if outcome}
    return dict(sorted(found.items())) | ({"may_be_mailed": mailed} if mailed else {})
