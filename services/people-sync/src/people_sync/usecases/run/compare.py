"""Between reading and writing: plan the whole difference as `change` rows before anything is written.

People first, then families, then what only changed here. A change says who needs something and on which side; what
exactly is decided again, by the same functions, at the moment it is applied: both sides may have moved by then.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import Text, Uuid, any_, cast, exists, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from contracts.values import FAMILY, MEMBER
from people_sync.domain.sentences import CREATED_THERE, GONE, INACTIVATED_THERE, LATER, UPDATED_THERE
from people_sync.storage.held import waits_for_an_answer
from people_sync.storage.links import has_link, links_to
from people_sync.storage.records import full_name
from people_sync.storage.sync_tables import Change, Conflict, Remote
from people_sync.storage.tables import Family, FamilyMember, Link, Member
from people_sync.usecases.conflicts import withdraw
from people_sync.usecases.record.decide_families import decide_households
from people_sync.usecases.record.decide_people import decide_people
from people_sync.usecases.record.effects import Effects, publish
from people_sync.usecases.record.planned import Planned
from people_sync.usecases.run.context import RunContext, add_planned

BATCH: Final = 500
COMPARED: Final = frozenset({"compared_people", "compared_households", "parts"})
"""What of the checkpoint says how far the comparison is."""


async def compare(context: RunContext) -> None:
    """Stage every difference of the run."""
    await _withdraw_conflicts(context)
    await _in_batches(context, "compared_people", MEMBER, decide_people)
    await _in_batches(context, "compared_households", FAMILY, decide_households)
    for part in (_gone, _changed_here, _created_here, _deleted_here, _families_changed_here, _families_created_here):
        if part.__name__ not in context.data.get("parts", []):
            async with context.step() as session:
                await add_planned(session, context, await part(session, context))
                context.data["parts"] = [*context.data.get("parts", []), part.__name__]


async def _withdraw_conflicts(context: RunContext) -> None:
    """Those about a record that was deleted here, or has no counterpart in the organization that is connected now."""
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
    mark: str,
    kind: str,
    decide: Callable[[AsyncSession, RunContext, Sequence[Remote]], Awaitable[list[Planned]]],
) -> None:
    """Go through what was staged and had changed, in a stable order, a transaction for each batch."""
    while True:
        async with context.step() as session:
            staged = (
                await session.scalars(
                    select(Remote)
                    .filter_by(**context.owner, kind=kind)
                    .where(
                        Remote.run_id == context.run_id,
                        Remote.pco_id > context.data.get(mark, ""),
                        or_(Remote.snapshot.is_not(None), Remote.again),
                    )
                    .order_by(Remote.pco_id)
                    .limit(BATCH)
                )
            ).all()
            if staged:
                await add_planned(session, context, await decide(session, context, staged))
                await context.advance(session, len(staged))
                context.data[mark] = staged[-1].pco_id
        if len(staged) < BATCH:
            return


async def _gone(session: AsyncSession, context: RunContext) -> list[Planned]:
    """Linked people and households that are not there: a complete pull has asked for each of them by itself."""
    if context.kind != "full":
        return []
    rows: list[Planned] = []
    for kind, record, name in (
        (MEMBER, Member, func.concat(Member.first_name, " ", Member.last_name)),
        (FAMILY, Family, Family.name),
    ):
        missing = (
            links_to(context.owner, kind, record)
            .with_only_columns(Link.record_id, Link.pco_id, name.label("name"))
            .where(Link.state != "gone", Link.missing_since.is_not(None), record.deleted_at.is_(None))
        )
        rows += [
            Planned(
                kind=kind,
                record_id=row.record_id,
                pco_id=row.pco_id,
                name=row.name,
                here="planned",
                outcome=GONE,
            )
            for row in await session.execute(missing)
        ]
    return rows


async def _changed_here(session: AsyncSession, context: RunContext) -> list[Planned]:
    rows = await session.execute(
        links_to(context.owner, MEMBER, Member).where(
            Link.state == "linked", Member.deleted_at.is_(None), Member.version > Link.compared_version
        )
    )
    return [_there(MEMBER, member.id, link.pco_id, full_name(member), UPDATED_THERE) for link, member in rows]


async def _created_here(session: AsyncSession, context: RunContext) -> list[Planned]:
    """Members without a link; not those whom a held match may stand for, nor those gone in Planning Center."""
    again = has_link(context.owner, MEMBER, Member, Link.state == "gone", Link.create_again.is_(True))
    rows = await session.scalars(
        select(Member).where(
            Member.organization_id == context.organization_id,
            Member.deleted_at.is_(None),
            Member.active,
            or_(~has_link(context.owner, MEMBER, Member), again),
            ~waits_for_an_answer(context.owner),
        )
    )
    return [_there(MEMBER, member.id, None, full_name(member), CREATED_THERE) for member in rows]


async def _deleted_here(session: AsyncSession, context: RunContext) -> list[Planned]:
    if context.inactivate_since is None:
        return []
    rows = await session.execute(
        links_to(context.owner, MEMBER, Member).where(
            Link.state == "linked",
            Member.deleted_at >= context.inactivate_since,
            Member.version > Link.compared_version,
        )
    )
    return [_there(MEMBER, member.id, link.pco_id, full_name(member), INACTIVATED_THERE) for link, member in rows]


async def _families_changed_here(session: AsyncSession, context: RunContext) -> list[Planned]:
    """Families that were edited, or of whom somebody is known there only now."""
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
    found = await session.execute(
        links_to(context.owner, FAMILY, Family).where(
            Link.state == "linked",
            Family.deleted_at.is_(None),
            or_(Family.version > Link.compared_version, newcomer),
        )
    )
    rows = found.all()
    # What the household's own comparison could not see: who is only about to be created there.
    await session.execute(
        update(Change)
        .where(
            Change.run_id == context.run_id,
            Change.kind == FAMILY,
            Change.record_id == any_(literal([family.id for _, family in rows], ARRAY(Uuid))),
            Change.outcome != LATER,
        )
        .values(there="planned"),
        execution_options={"synchronize_session": False},
    )
    return [_there(FAMILY, family.id, link.pco_id, family.name, UPDATED_THERE) for link, family in rows]


async def _families_created_here(session: AsyncSession, context: RunContext) -> list[Planned]:
    somebody = exists().where(
        FamilyMember.family_id == Family.id, Member.id == FamilyMember.member_id, Member.deleted_at.is_(None)
    )
    rows = await session.scalars(
        select(Family).where(
            Family.organization_id == context.organization_id,
            Family.deleted_at.is_(None),
            ~has_link(context.owner, FAMILY, Family),
            somebody,
        )
    )
    return [_there(FAMILY, family.id, None, family.name, CREATED_THERE) for family in rows]


def _there(kind: str, record_id: UUID, pco_id: str | None, name: str, outcome: str) -> Planned:
    return Planned(
        kind=kind,
        record_id=record_id,
        pco_id=pco_id,
        name=name,
        there="planned",
        outcome=outcome,
    )
