"""Between reading and writing: plans all differences as `change` rows before the first write.

People first, then families, then records that changed only here. A change names the record and the side to write; the
values are decided again by the same functions when it is applied, since both sides may have changed by then.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from sqlalchemy import Select, Text, cast, exists, func, null, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from contracts.values import FAMILY, MEMBER
from people_sync.domain.sentences import (
    CREATED_THERE,
    GONE,
    INACTIVATED_THERE,
    KEPT_OUT,
    LATER,
    REJECTED,
    UPDATED_THERE,
)
from people_sync.storage.held import waits_for_an_answer
from people_sync.storage.kept_out import anybody_kept_out, holds_its_place, is_kept_out
from people_sync.storage.links import has_link, links_to
from people_sync.storage.sync_tables import Change, Conflict, KeptOut, Remote
from people_sync.storage.tables import Family, FamilyMember, Link, Member
from people_sync.usecases.conflicts import withdraw
from people_sync.usecases.record.decide_families import decide_households
from people_sync.usecases.record.decide_people import decide_people
from people_sync.usecases.record.effects import Effects, publish
from people_sync.usecases.record.gone import KINDS, end_link, lock_for_end
from people_sync.usecases.record.planned import Planned
from people_sync.usecases.run.context import RunContext, add_planned, plan_found, plan_next
from people_sync.usecases.run.newcomers import plan_newcomers, plan_their_households

BATCH: Final = 500


async def compare(context: RunContext) -> None:
    """Plan every difference of the run."""
    await _withdraw_conflicts(context)
    await _kept_out(context)
    await plan_newcomers(context)
    await _in_batches(context, MEMBER, decide_people)
    await plan_their_households(context)
    await _in_batches(context, FAMILY, decide_households)
    for part in (
        _gone_and_deleted,
        _gone,
        _gone_families,
        _changed_here,
        _created_here,
        _deleted_here,
        _families_changed_here,
        _families_created_here,
    ):
        more = part.__name__ not in context.checkpoint.compared.parts
        while more:
            async with context.step() as session:
                more = await part(session, context)
                if not more:
                    context.checkpoint.compared.parts.append(part.__name__)


async def _kept_out(context: RunContext) -> None:
    """List all records kept out of the sync. A listed record gets no other plan in this run."""
    if "kept_out" in context.checkpoint.compared.parts:
        return
    async with context.step() as session:
        context.checkpoint.compared.parts.append("kept_out")
        for kind, record in KINDS.items():
            out = is_kept_out(context.organization_id, kind, Change.record_id)
            # Neighbours of synced records are read as well, and such a read may have been refused.
            refused = (Change.run_id == context.run_id, Change.kind == kind, Change.outcome == REJECTED, out)
            await session.execute(
                update(Change).where(*refused).values(outcome=KEPT_OUT, cause=None, sentence=None),
                execution_options={"synchronize_session": False},
            )
            of_record = (Link.record_id == record.id) & (Link.kind == kind)
            of_record &= Link.organization_id == context.organization_id
            of_record &= Link.pco_organization_id == context.pco_organization_id
            name = _MEMBER_NAME if kind == MEMBER else Family.name
            found: Any = (
                select(record.id, Link.pco_id, name)
                .join(KeptOut, (KeptOut.record_id == record.id) & (KeptOut.kind == kind))
                .outerjoin(Link, of_record)
                .where(KeptOut.organization_id == context.organization_id, record.deleted_at.is_(None))
                .order_by(record.id)
            )
            await plan_found(session, context, kind, found, KEPT_OUT, there="none")


async def _withdraw_conflicts(context: RunContext) -> None:
    """Conflicts of records deleted here, or without a counterpart in the connected organization."""
    in_use = select(Link).filter_by(**context.owner).where(Link.record_id == Conflict.record_id, Link.state != "gone")
    obsolete = or_(
        Conflict.pco_organization_id != context.pco_organization_id,
        ~in_use.exists(),
        exists().where(Member.id == Conflict.record_id, Member.deleted_at.is_not(None)),
        exists().where(Family.id == Conflict.record_id, Family.deleted_at.is_not(None)),
    )
    while True:
        async with context.step() as session:
            now = context.resources.clock.now()
            closed = await withdraw(session, context.organization_id, now, obsolete, limit=BATCH)
            await publish(session, context, Effects(conflicts=closed))
        if len(closed) < BATCH:
            return


async def _in_batches(
    context: RunContext,
    kind: str,
    decide: Callable[[AsyncSession, RunContext, Sequence[Remote]], Awaitable[list[Planned]]],
) -> None:
    """Process the changed records in a stable order, one transaction per batch."""
    mark, compared = "people" if kind == MEMBER else "households", context.checkpoint.compared
    while True:
        async with context.step() as session:
            staged = (
                await session.scalars(
                    select(Remote)
                    .filter_by(**context.owner, kind=kind)
                    .where(
                        Remote.run_id == context.run_id,
                        Remote.pco_id > getattr(compared, mark),
                        or_(Remote.snapshot.is_not(None), Remote.again),
                        ~exists().where(
                            Change.run_id == context.run_id, Change.kind == kind, Change.pco_id == Remote.pco_id
                        ),
                    )
                    .order_by(Remote.pco_id)
                    .limit(BATCH)
                )
            ).all()
            if staged:
                await add_planned(session, context, await decide(session, context, staged))
                await context.advance(session, len(staged))
                setattr(compared, mark, staged[-1].pco_id)
        if len(staged) < BATCH:
            return


_MEMBER_NAME: Final = func.trim(func.concat(Member.first_name, " ", Member.last_name))


def _members(*where: Any) -> Select[Any]:
    return select(Member.id, null().cast(Text), _MEMBER_NAME).where(*where)


def _linked(context: RunContext, kind: str, *where: Any) -> Select[Any]:
    record: type[Member] | type[Family] = Member if kind == MEMBER else Family
    name = _MEMBER_NAME if kind == MEMBER else Family.name
    return links_to(context.owner, kind, record).with_only_columns(Link.record_id, Link.pco_id, name).where(*where)


# Each part plans its next records in a separate transaction, and gives False when none are left.


async def _gone_and_deleted(session: AsyncSession, context: RunContext) -> bool:
    """End the links of records deleted on both sides, without a plan, since there is no news."""
    if context.kind != "full":
        return False
    plans: list[Planned] = []
    for kind, record in KINDS.items():
        neither = (Link.state == "missing", record.deleted_at.is_not(None))
        synced = ~holds_its_place(context.organization_id, kind, Link.record_id)
        found = _linked(context, kind, *neither, synced).limit(BATCH)
        plans += [Planned(kind, name, GONE, *ids) for *ids, name in (await session.execute(found))]
    await lock_for_end(session, context, plans)
    effects = Effects()
    for plan in plans:
        await end_link(session, context, plan, effects)
    await publish(session, context, effects)
    return len(plans) >= BATCH and any(plan.outcome == GONE for plan in plans)


async def _gone(session: AsyncSession, context: RunContext) -> bool:
    """Plan linked people who are missing; a complete pull has read each of them by itself."""
    return await _not_there(session, context, MEMBER, Member.deleted_at.is_(None))


async def _gone_families(session: AsyncSession, context: RunContext) -> bool:
    return await _not_there(session, context, FAMILY, Family.deleted_at.is_(None))


async def _not_there(session: AsyncSession, context: RunContext, kind: str, known: Any) -> bool:
    if context.kind != "full":
        return False
    found = _linked(context, kind, Link.state == "missing", known)
    return await plan_next(session, context, kind, found, GONE, here="planned", there="none")


async def _changed_here(session: AsyncSession, context: RunContext) -> bool:
    changed = (Link.state == "linked", Member.deleted_at.is_(None), Member.version > Link.compared_version)
    return await plan_next(session, context, MEMBER, _linked(context, MEMBER, *changed), UPDATED_THERE)


async def _created_here(session: AsyncSession, context: RunContext) -> bool:
    """Plan members without a link, except candidates of held matches and members gone in Planning Center."""
    again = has_link(context.owner, MEMBER, Member, Link.state == "gone", Link.create_again.is_(True))
    found = _members(
        Member.organization_id == context.organization_id,
        Member.deleted_at.is_(None),
        Member.active,
        or_(~has_link(context.owner, MEMBER, Member), again),
        ~waits_for_an_answer(context.owner),
    )
    return await plan_next(session, context, MEMBER, found, CREATED_THERE)


async def _deleted_here(session: AsyncSession, context: RunContext) -> bool:
    if context.inactivate_since is None:
        return False
    deleted = (
        Link.state == "linked",
        Member.deleted_at >= context.inactivate_since,
        Member.version > Link.compared_version,
        ~is_kept_out(context.organization_id, MEMBER, Member.id),
    )
    return await plan_next(session, context, MEMBER, _linked(context, MEMBER, *deleted), INACTIVATED_THERE)


async def _families_changed_here(session: AsyncSession, context: RunContext) -> bool:
    """Whether a family was edited here, or one of its members was linked, since the last comparison."""
    person = aliased(Link)
    known = or_(
        has_link(context.owner, MEMBER, Member, person.state != "gone", link=person),
        exists().where(
            Change.run_id == context.run_id,
            Change.kind == MEMBER,
            Change.record_id == Member.id,
            Change.outcome == CREATED_THERE,
        ),
    )
    newcomer = exists().where(
        FamilyMember.family_id == Family.id,
        Member.id == FamilyMember.member_id,
        Member.deleted_at.is_(None),
        ~Link.agreed["members"].has_key(cast(Member.id, Text)),
        known,
    )
    if await anybody_kept_out(session, context.organization_id):
        newcomer = newcomer.where(~is_kept_out(context.organization_id, MEMBER, Member.id))
    found = _linked(
        context,
        FAMILY,
        Link.state == "linked",
        Family.deleted_at.is_(None),
        or_(Family.version > Link.compared_version, newcomer),
    )
    if not context.checkpoint.compared.record:
        # The comparison of a household ignores members whom this run has yet to create there.
        await session.execute(
            update(Change)
            .where(
                Change.run_id == context.run_id,
                Change.kind == FAMILY,
                Change.record_id.in_(select(found.subquery().columns[0])),
                Change.outcome.not_in((LATER, KEPT_OUT)),
            )
            .values(there="planned"),
            execution_options={"synchronize_session": False},
        )
    return await plan_next(session, context, FAMILY, found, UPDATED_THERE)


async def _families_created_here(session: AsyncSession, context: RunContext) -> bool:
    somebody = exists().where(
        FamilyMember.family_id == Family.id, Member.id == FamilyMember.member_id, Member.deleted_at.is_(None)
    )
    found: Any = select(Family.id, null().cast(Text), Family.name).where(
        Family.organization_id == context.organization_id,
        Family.deleted_at.is_(None),
        ~has_link(context.owner, FAMILY, Family),
        somebody,
    )
    return await plan_next(session, context, FAMILY, found, CREATED_THERE)
