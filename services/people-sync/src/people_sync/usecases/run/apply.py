"""Phase 1's writing half: takes Planning Center's changes over here in batches, each one transaction."""

from collections.abc import Sequence
from dataclasses import fields
from itertools import accumulate
from typing import Final

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import FAMILY, MEMBER
from people_sync.domain.sentences import CREATED_HERE, GONE, LATER, LEFT_OUT
from people_sync.storage import remote
from people_sync.storage.sync_tables import Change, HeldMatch, Remote
from people_sync.storage.tables import Link
from people_sync.usecases.held import no_longer_held
from people_sync.usecases.record.effects import Effects, publish
from people_sync.usecases.record.families_here import take_families_over
from people_sync.usecases.record.gone import end_link, lock_for_end
from people_sync.usecases.record.people_here import take_people_over
from people_sync.usecases.record.planned import Planned
from people_sync.usecases.run.context import RunContext
from people_sync.usecases.run.newcomers import take_newcomers_over
from people_sync.usecases.run.reads import read_or_list
from synckit.among import among

BATCHES: Final = {MEMBER: 500, FAMILY: 200}
"""Records in one transaction."""
_MOST_MEMBERS: Final = 1_200
"""Maximum members of the families in one transaction: each is published with the family, and conflicts as well."""


async def apply(context: RunContext) -> None:
    """Carry out the plans for this side: people, then families, then ended links.

    Known people come before new ones, who may turn out to be known meanwhile.
    """
    await _batches(context, MEMBER, Change.outcome != CREATED_HERE)
    await take_newcomers_over(context)
    await _batches(context, MEMBER)
    await _batches(context, FAMILY)
    await _gone(context)
    await _held_and_gone(context)


async def _batches(context: RunContext, kind: str, *where: ColumnElement[bool]) -> None:
    take_over = take_people_over if kind == MEMBER else take_families_over
    while True:
        async with context.step() as session:
            changes = (
                await session.scalars(
                    select(Change)
                    .where(
                        Change.run_id == context.run_id,
                        Change.kind == kind,
                        Change.here == "planned",
                        Change.outcome != GONE,
                        *where,
                    )
                    .order_by(Change.id)
                    .limit(BATCHES[kind])
                )
            ).all()
            more = len(changes) == BATCHES[kind]
            if kind == FAMILY and changes:
                fitting = await _as_many_as_fit(session, context, changes)
                more, changes = more or len(fitting) < len(changes), fitting
            plans = [planned_of(change) for change in changes]
            effects = Effects()
            await take_over(session, context, plans, effects)
            await publish(session, context, effects)
            later = [plan.pco_id for plan in plans if plan.outcome in {LATER, LEFT_OUT} and plan.pco_id]
            await remote.look_again(session, context.owner, kind, later)
            for change, plan in zip(changes, plans, strict=True):
                note(change, plan)
            await context.advance(session, len(changes))
        if not more:
            return


async def _as_many_as_fit(session: AsyncSession, context: RunContext, changes: Sequence[Change]) -> Sequence[Change]:
    """The first households that together have, or had, at most `_MOST_MEMBERS` people."""
    people_in = func.jsonb_array_length(Remote.snapshot["person_ids"])
    people_before = func.coalesce(func.jsonb_array_length(Link.agreed["members"]), 0)
    sizes: dict[str, int] = dict(
        (
            await session.execute(
                select(Remote.pco_id, people_in + people_before)
                .outerjoin(Link, remote.ITS_LINK)
                .where(
                    Remote.organization_id == context.organization_id,
                    Remote.pco_organization_id == context.pco_organization_id,
                    Remote.kind == FAMILY,
                    Remote.snapshot.is_not(None),
                    among(Remote.pco_id, [change.pco_id for change in changes]),
                )
            )
        ).all()
    )
    people = accumulate(sizes.get(str(change.pco_id), 0) for change in changes)
    fitting = sum(total <= _MOST_MEMBERS for total in people)
    return changes[: max(1, fitting)]


def planned_of(change: Change) -> Planned:
    """The plan in a change's row."""
    return Planned(**{field.name: getattr(change, field.name) for field in fields(Planned)})


def note(change: Change, plan: Planned) -> None:
    """Store a plan's outcome in the change's row."""
    for field in fields(Planned):
        setattr(change, field.name, getattr(plan, field.name))


async def _gone(context: RunContext) -> None:
    """End the links of missing records, each read by itself and not in the log of mergers."""
    while True:
        async with context.step() as session:
            changes = (
                await session.scalars(
                    select(Change)
                    .where(Change.run_id == context.run_id, Change.here == "planned", Change.outcome == GONE)
                    .order_by(Change.id)
                    .limit(BATCHES[FAMILY])
                )
            ).all()
            effects = Effects()
            plans = [planned_of(change) for change in changes]
            await lock_for_end(session, context, plans)
            for change, plan in zip(changes, plans, strict=True):
                await end_link(session, context, plan, effects)
                note(change, plan)
            await publish(session, context, effects)
            await context.advance(session, len(changes))
        if len(changes) < BATCHES[FAMILY]:
            return


async def _held_and_gone(context: RunContext) -> None:
    """Close held matches of people whom a complete pull did not meet, after reading each by itself."""
    if context.kind != "full":
        return
    async with context.job.sessions() as session:
        missing = (
            await session.scalars(
                select(HeldMatch.pco_id)
                .filter_by(**context.owner)
                .where(
                    HeldMatch.state.in_(["open", "later"]),
                    ~remote.sighted(context.run_id, MEMBER, HeldMatch.pco_id),
                )
                .order_by(HeldMatch.pco_id)
            )
        ).all()
    for pco_id in missing:
        found = await read_or_list(context, MEMBER, pco_id)
        if found is not None and found.document is None:
            async with context.step() as session:
                await no_longer_held(session, context.owner, [pco_id])
