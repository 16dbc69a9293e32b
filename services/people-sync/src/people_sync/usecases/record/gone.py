"""Ends the link of a record that is no longer in Planning Center."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import FAMILY, MEMBER
from people_sync.domain.sentences import GONE, KEPT_OUT, LATER, MERGED, OUTCOMES, kept_two, merged_here, never_there
from people_sync.storage import remote
from people_sync.storage.kept_out import kept_out_among
from people_sync.storage.links import in_no_household, was_supplied
from people_sync.storage.records import full_name
from people_sync.storage.sync_tables import Conflict, Remote
from people_sync.storage.tables import Family, FamilyMember, Link, Member
from people_sync.usecases.conflicts import withdraw
from people_sync.usecases.record.claims import claimed_by_others
from people_sync.usecases.record.effects import Effects, noted, touch, touch_family
from people_sync.usecases.record.planned import Planned
from people_sync.usecases.record.writer import Writer
from synckit.among import among

KINDS: Final[dict[str, type[Member] | type[Family]]] = {MEMBER: Member, FAMILY: Family}


async def lock_for_end(session: AsyncSession, writer: Writer, plans: Sequence[Planned]) -> None:
    """Lock the rows that ending links changes: mirror, members, families, then links."""
    for kind in KINDS:
        there = [str(plan.pco_id) for plan in plans if plan.kind == kind]
        read = select(Remote.pco_id).filter_by(**writer.owner, kind=kind).where(among(Remote.pco_id, there))
        await session.execute(read.order_by(Remote.pco_id).with_for_update())
    ids = {kind: [plan.record_id for plan in plans if plan.kind == kind and plan.record_id] for kind in KINDS}
    for kind, record in KINDS.items():
        await session.execute(
            select(record.id).where(among(record.id, ids[kind])).order_by(record.id).with_for_update()
        )
    families = select(FamilyMember.family_id).where(among(FamilyMember.member_id, ids[MEMBER]))
    await session.execute(
        select(Link.id)
        .filter_by(**writer.owner)
        .where(
            or_(
                (Link.kind == MEMBER) & among(Link.record_id, ids[MEMBER]),
                (Link.kind == FAMILY) & (among(Link.record_id, ids[FAMILY]) | Link.record_id.in_(families)),
            )
        )
        .order_by(Link.id)
        .with_for_update()
    )


async def end_link(session: AsyncSession, writer: Writer, plan: Planned, effects: Effects) -> None:
    """End a link, unless the record was linked to another counterpart, or read again, since it was found missing.

    Nor is a link ended while another worker writes the record, whose answers are newer.
    """
    plan.here = "done"
    record: Member | Family = await session.get_one(
        Member if plan.kind == MEMBER else Family, plan.record_id, with_for_update=True
    )
    link = await session.scalar(
        select(Link).filter_by(**writer.owner, kind=plan.kind, pco_id=plan.pco_id).with_for_update()
    )
    deleted = isinstance(record, Member) and record.deleted_at is not None
    if not deleted and await kept_out_among(session, writer.organization_id, plan.kind, [record.id]):
        plan.outcome, plan.sentence = KEPT_OUT, OUTCOMES[KEPT_OUT]
        return
    busy = await claimed_by_others(session, writer, [record.id])
    if busy or link is None or link.missing_since is None or link.state == "gone":
        plan.outcome, plan.sentence = LATER, OUTCOMES[LATER]
        return
    now = writer.now()
    link.state, link.gone_at, link.missing_since, link.create_again = "gone", now, None, False
    await remote.forget(session, writer.owner, plan.kind, [link.pco_id])
    effects.rows.append(noted(writer, plan.kind, record.id, "planning_center_id", plan.pco_id, None, rule="gone"))
    if isinstance(record, Member):
        await in_no_household(session, writer.owner, [record.id])
        touch(writer, record, effects)
    else:
        touch_family(writer, record, effects)
    effects.conflicts += await withdraw(session, writer.organization_id, now, Conflict.record_id == plan.record_id)
    plan.outcome, plan.sentence = await why_gone(session, link)


async def why_gone(session: AsyncSession, link: Link) -> tuple[str, str]:
    """Outcome and sentence of a record without its counterpart: merged, gone, or never there."""
    if link.merged_into is not None:
        one, other = await session.get_one(Member, link.record_id), await _kept_of(session, link)
        if other is not None:
            say = kept_two if link.kept_two else merged_here
            return MERGED, say(full_name(one), full_name(other))
    if not link.agreed and await was_supplied(session, link):
        return GONE, never_there(link.kind, link.pco_id)
    return GONE, OUTCOMES[GONE]


async def _kept_of(session: AsyncSession, link: Link) -> Member | None:
    """The member linked to the person who was kept in a merger."""
    kept = select(Link.record_id).filter_by(
        organization_id=link.organization_id,
        pco_organization_id=link.pco_organization_id,
        kind=MEMBER,
        pco_id=link.merged_into,
    )
    kept = kept.where(Link.state != "gone")
    statement = select(Member).where(Member.id.in_(kept), Member.deleted_at.is_(None))
    found: Member | None = await session.scalar(statement)
    return found
