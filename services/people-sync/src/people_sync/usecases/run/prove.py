"""The end of a proof, a full comparison without writes: the reason for each differing record.

The planned outcome becomes the reason, in the run's own list. Links without a plan are compared value by value,
independently of the merge, so that unexplained differences are found.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import structlog
from prometheus_client import Counter
from sqlalchemy import Text, and_, case, cast, exists, func, null, or_, select, true, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import FAMILY, MEMBER
from people_sync.domain.proof import APART, PLANNED, Facts, next_night, why_different
from people_sync.domain.sentences import (
    CREATED_HERE,
    CREATED_THERE,
    GONE,
    INACTIVATED_THERE,
    KEPT_OUT,
    LATER,
    LINKED,
    ONE_SIDE,
    UNCHANGED,
    UNEXPLAINED,
    UPDATED_BOTH,
    UPDATED_HERE,
    UPDATED_THERE,
    WAITS_FOR_YOU,
)
from people_sync.storage import runs
from people_sync.storage.held import waits_for_an_answer
from people_sync.storage.joined import asked_about
from people_sync.storage.links import has_link, links_to
from people_sync.storage.records import full_name
from people_sync.storage.sync_tables import Change, Run
from people_sync.storage.tables import Connection, Family, Link, Member
from people_sync.usecases.proof import FAMILIES, IDENTICAL, PEOPLE, family_facts, member_facts
from people_sync.usecases.run.context import RunContext, plan_found
from servicekit.telemetry import REGISTRY
from synckit.runs import change

PROVE: Final = "prove"
"""The last phase of a proof, in place of those that write."""
BATCH: Final = 500
_MOST_RUNS: Final = 1000
_CHANGED: Final = (
    CREATED_HERE,
    CREATED_THERE,
    UPDATED_HERE,
    UPDATED_THERE,
    UPDATED_BOTH,
    LINKED,
    GONE,
    INACTIVATED_THERE,
)
_RECORDS: Final[dict[str, type[Member] | type[Family]]] = {MEMBER: Member, FAMILY: Family}

unexplained = Counter(
    "people_sync_unexplained_differences", "Records that differ without a reason that is known.", registry=REGISTRY
)
log = structlog.get_logger(__name__)


async def is_proof(context: RunContext) -> bool:
    """Whether the run is still a proof: *Sync Now* can turn it into a sync until this is checked."""
    async with context.step() as session:
        run = await session.get_one(Run, context.run_id, with_for_update=True)
        context.purpose = run.purpose
        if run.purpose == runs.PROOF:
            context.checkpoint.phase = PROVE
            await change(session, runs.RUNS, context.run_id, phase=PROVE, done=0, total=await _total(session, context))
        return run.purpose == runs.PROOF


async def prove(context: RunContext) -> None:
    """Store the reason for every differing record."""
    for kind in _RECORDS:
        while await _next_links(context, kind):
            pass
    async with context.step() as session:
        await _name_the_rest(session, context)


async def _total(session: AsyncSession, context: RunContext) -> int:
    found = select(func.count(Link.id)).filter_by(**context.owner).where(Link.state != "gone")
    return await session.scalar(found) or 0


async def _next_links(context: RunContext, kind: str) -> bool:
    """Check the next links in the order of their ids; False when none are left."""
    record, proved = _RECORDS[kind], context.checkpoint.compared.proved
    async with context.step() as session:
        rows = await session.execute(
            links_to(context.owner, kind, record)
            .add_columns(Change)
            .outerjoin(
                Change, (Change.run_id == context.run_id) & (Change.kind == kind) & (Change.record_id == record.id)
            )
            .where(Link.id > proved.get(kind, 0), Link.state != "gone", record.deleted_at.is_(None))
            .order_by(Link.id)
            .limit(BATCH)
        )
        found = rows.all()
        changes = {record.id: change for _, record, change in found if change is not None}
        # The run could not compare a missing person while the reason is unknown.
        planned = {record.id: LATER for link, record, _ in found if link.missing_since is not None}
        planned |= {id_: change.outcome for id_, change in changes.items() if change.outcome in PLANNED}
        pairs: list[Any] = [(link, record) for link, record, _ in found]
        if kind == MEMBER:
            facts = await member_facts(session, context.owner, context.country, pairs, planned)
        else:
            facts = await family_facts(session, context.owner, pairs, planned)
        await _name(session, context, kind, pairs, facts, changes)
        if pairs:
            context.checkpoint.compared.proved = {**proved, kind: pairs[-1][0].id}
        await context.advance(session, len(pairs))
    return len(pairs) == BATCH


async def _name(
    session: AsyncSession,
    context: RunContext,
    kind: str,
    pairs: Sequence[tuple[Link, Any]],
    facts: Mapping[UUID, Facts],
    changes: Mapping[UUID, Change],
) -> None:
    new: list[dict[str, Any]] = []
    for link, record in pairs:
        change, why = changes.get(record.id), why_different(facts[record.id])
        if change is not None and change.outcome == KEPT_OUT:
            continue
        if why is None:
            if change is not None:
                await session.delete(change)
            continue
        reason, sentence = why
        # The comparison may have used Planning Center's name.
        name = full_name(record) if kind == MEMBER else record.name
        if reason == UNEXPLAINED:
            unexplained.inc()
            log.error(
                "unexplained difference", kind=kind, record=str(record.id), fields=list(facts[record.id].differing)
            )
        if reason == UNEXPLAINED or facts[record.id].without_an_edit:
            # Cleared, so that the next sync compares the record again.
            link.remote_hash = None
        if change is not None:
            change.here = change.there = "none"
            change.outcome, change.sentence, change.cause = reason, sentence, None
            change.name = name
            continue
        new.append(
            {
                "organization_id": context.organization_id,
                "run_id": context.run_id,
                "kind": kind,
                "record_id": record.id,
                "pco_id": link.pco_id,
                "name": name,
                "here": "none",
                "there": "none",
                "outcome": reason,
                "sentence": sentence,
            }
        )
    if new:
        await session.execute(insert(Change).on_conflict_do_nothing(), new)


async def _name_the_rest(session: AsyncSession, context: RunContext) -> None:
    """List records that exist on one side only, in bulk: planned for both sides, or staying so."""
    planned = and_(Change.run_id == context.run_id, Change.outcome.in_(PLANNED))
    await session.execute(
        update(Change)
        .where(planned)
        .values(
            outcome=case({name: reason for name, (reason, _) in PLANNED.items()}, value=Change.outcome),
            sentence=case({name: said for name, (_, said) in PLANNED.items()}, value=Change.outcome),
            here="none",
            there="none",
        )
        .execution_options(synchronize_session=False)
    )
    alone = ~has_link(context.owner, MEMBER, Member, Link.state != "gone")
    of_members = (Member.organization_id == context.organization_id, Member.deleted_at.is_(None), alone)
    name = func.trim(func.concat(Member.first_name, " ", Member.last_name))
    members: Any = select(Member.id, cast(null(), Text), name).where(*of_members)
    asked = or_(waits_for_an_answer(context.owner), Member.id.in_(asked_about(context.organization_id)[1]))
    await plan_found(session, context, MEMBER, members.where(asked), WAITS_FOR_YOU, there="none")
    await plan_found(session, context, MEMBER, members, ONE_SIDE, there="none")
    families: Any = select(Family.id, cast(null(), Text), Family.name).where(
        Family.organization_id == context.organization_id,
        Family.deleted_at.is_(None),
        ~has_link(context.owner, FAMILY, Family, Link.state != "gone"),
    )
    await plan_found(session, context, FAMILY, families, ONE_SIDE, there="none")


async def conclude(
    session: AsyncSession, context: RunContext, connection: Connection
) -> tuple[dict[str, int], dict[str, Any]]:
    """The numbers of the statement, from the run's counts. Also sets the time of the next comparison."""
    rows = await session.execute(
        select(Change.kind, Change.outcome, func.count(Change.id))
        .where(Change.run_id == context.run_id, Change.outcome.in_(APART))
        .group_by(Change.kind, Change.outcome)
    )
    apart: dict[str, dict[str, int]] = {MEMBER: {}, FAMILY: {}}
    for kind, reason, count in rows:
        apart[kind][reason] = count
    told: dict[str, Any] = {"people_apart": apart[MEMBER], "changed": await _changed_since(session, context)}
    for kind, noun in ((MEMBER, PEOPLE), (FAMILY, FAMILIES)):
        identical = await _identical(session, context, kind)
        told |= {noun: identical + sum(apart[kind].values()), noun + IDENTICAL: identical}
    listed = await session.execute(
        select(Change.outcome, func.count(Change.id)).where(Change.run_id == context.run_id).group_by(Change.outcome)
    )
    counts = dict(listed.all()) | {UNCHANGED: told[PEOPLE + IDENTICAL] + told[FAMILIES + IDENTICAL]}
    connection.next_proof_at = next_night(context.now(), connection.time_zone, context.organization_id)
    return counts, told


async def _identical(session: AsyncSession, context: RunContext, kind: str) -> int:
    record = _RECORDS[kind]
    named = exists().where(Change.run_id == context.run_id, Change.kind == kind, Change.record_id == record.id)
    found = links_to(context.owner, kind, record).where(Link.state != "gone", record.deleted_at.is_(None), ~named)
    return await session.scalar(select(func.count()).select_from(found.subquery())) or 0


async def _changed_since(session: AsyncSession, context: RunContext) -> int:
    """Number of records that syncs have changed since the previous statement."""
    of_church = Run.organization_id == context.organization_id
    before = await session.scalar(
        select(func.max(Run.created_at)).where(of_church, Run.purpose == runs.PROOF, Run.state == "done")
    )
    found = await session.scalars(
        select(Run.counts)
        .where(of_church, Run.purpose != runs.PROOF, true() if before is None else Run.created_at >= before)
        .order_by(Run.created_at.desc())
        .limit(_MOST_RUNS)
    )
    return sum(counts.get(name, 0) for counts in found for name in _CHANGED)
