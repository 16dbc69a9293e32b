"""The scope of an undo as conditions on effects, and the present state of its records."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, String, Uuid, and_, cast, exists, func, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import FAMILY, MEMBER
from people_sync.domain.sentences import RESTORED, TAKEN_BACK
from people_sync.domain.undo import MEMBER as MEMBERSHIP
from people_sync.domain.undo import PRIMARY_CONTACT, Standing, Was
from people_sync.domain.values import to_json
from people_sync.storage.records import values_of
from people_sync.storage.sync_tables import Change, KeptOut
from people_sync.storage.tables import Effect, Family, FamilyMember, Link, Member
from synckit.among import among

KEPT: Final = timedelta(days=30)
"""Age of the oldest effects that an undo covers."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The effects to undo: those of one cause, or on one record."""

    what: str
    """Kind of the scope: `run`, `decision`, `rule`, `member`, `family`."""
    id: UUID


def of_scope(organization_id: str, scope: Scope, since: datetime) -> ColumnElement[bool]:
    """Whether an effect belongs to the scope."""
    of_organization = and_(Effect.organization_id == organization_id, Effect.at > since)
    if scope.what not in {MEMBER, FAMILY}:
        return and_(of_organization, Effect.cause == scope.what, Effect.cause_id == scope.id)
    records: ColumnElement[bool] = Effect.record_id == scope.id
    if scope.what == FAMILY:
        # One set of ids: with OR, PostgreSQL would scan every effect of the organization.
        everybody = select(literal(scope.id, Uuid)).union_all(
            select(FamilyMember.member_id)
            .join(Member, Member.id == FamilyMember.member_id)
            .where(
                FamilyMember.family_id == scope.id,
                FamilyMember.organization_id == organization_id,
                Member.deleted_at.is_(None),
            )
        )
        records = Effect.record_id.in_(everybody)
    return and_(of_organization, Effect.cause != "edit", records)


async def effects_of(
    session: AsyncSession, organization_id: str, scope: Scope, since: datetime, records: Collection[UUID]
) -> dict[UUID, list[Was]]:
    """All effects on these records since `since`, in order, by record. `records`: the scope's records as listed.

    Members listed with a family stay in its scope even when the undo has removed them from it or deleted the family.
    """
    mine: ColumnElement[bool] = Effect.cause != "edit"
    if scope.what not in {MEMBER, FAMILY}:
        mine = of_scope(organization_id, scope, since)
    rows = await session.execute(
        select(
            Effect.record_id,
            Effect.id,
            Effect.side,
            Effect.field,
            Effect.before,
            Effect.after,
            mine.label("mine"),
            func.concat(Effect.cause, ":", cast(Effect.cause_id, String)),
            Effect.rule,
        )
        .where(Effect.organization_id == organization_id, Effect.at > since, among(Effect.record_id, records))
        .order_by(Effect.record_id, Effect.id)
    )
    found: dict[UUID, list[Was]] = defaultdict(list)
    for record_id, *values in rows:
        found[record_id].append(Was(*values))
    return found


async def members_now(
    session: AsyncSession, owner: Mapping[str, str], run_id: UUID, members: Sequence[Member]
) -> dict[UUID, Standing]:
    """The present state of members. Families that the same undo deletes do not count."""
    ids = [member.id for member in members]
    links = await _linked_to(session, owner, MEMBER, ids)
    goes = exists().where(
        Change.run_id == run_id,
        Change.kind == FAMILY,
        Change.record_id == FamilyMember.family_id,
        Change.outcome == TAKEN_BACK,
    )
    homes = await session.scalars(
        select(FamilyMember.member_id)
        .join(Family, Family.id == FamilyMember.family_id)
        .where(among(FamilyMember.member_id, ids), Family.deleted_at.is_(None), ~goes)
        .distinct()
    )
    staying = set(homes)
    kept_out = await _kept_out(session, owner, ids)
    return {
        member.id: Standing(
            values=to_json(values_of(member)),
            deleted=member.deleted_at is not None,
            linked_to=links.get(member.id),
            supplied=member.external_id is not None,
            homes_stay=member.id in staying,
            kept_out=kept_out,
        )
        for member in members
    }


async def families_now(
    session: AsyncSession,
    owner: Mapping[str, str],
    run_id: UUID,
    families: Sequence[Family],
    former: Mapping[UUID, Collection[str]],
) -> dict[UUID, Standing]:
    """The present state of families. `former`: ids of members whom an undo may bring back, by family.

    Members that the same undo restores count as present.
    """
    ids = [family.id for family in families]
    links = await _linked_to(session, owner, FAMILY, ids)
    people: dict[UUID, set[str]] = defaultdict(set)
    rows = await session.execute(
        select(FamilyMember.family_id, FamilyMember.member_id)
        .join(Member, Member.id == FamilyMember.member_id)
        .where(among(FamilyMember.family_id, ids), Member.deleted_at.is_(None))
    )
    for family_id, member_id in rows:
        people[family_id].add(str(member_id))
    wanted = {UUID(one) for of_family in former.values() for one in of_family}
    comes = exists().where(
        Change.run_id == run_id,
        Change.kind == MEMBER,
        Change.record_id == Member.id,
        Change.here == "planned",
        Change.outcome == RESTORED,
    )
    here = await session.scalars(
        select(Member.id).where(
            Member.organization_id == owner["organization_id"],
            among(Member.id, wanted),
            or_(Member.deleted_at.is_(None), comes),
        )
    )
    present = {str(one) for one in here}
    kept_out = await _kept_out(session, owner, [*ids, *wanted])
    return {
        family.id: Standing(
            values={
                "name": family.name,
                PRIMARY_CONTACT: str(family.primary_contact_id) if family.primary_contact_id else None,
                **{f"{MEMBERSHIP}{one}": True for one in people[family.id]},
            },
            deleted=family.deleted_at is not None,
            linked_to=links.get(family.id),
            supplied=family.external_id is not None,
            absent=frozenset(set(former.get(family.id, ())) - present),
            kept_out=kept_out,
        )
        for family in families
    }


async def _kept_out(session: AsyncSession, owner: Mapping[str, str], ids: Collection[UUID]) -> frozenset[str]:
    found = select(KeptOut.record_id).where(
        KeptOut.organization_id == owner["organization_id"], among(KeptOut.record_id, ids)
    )
    return frozenset(str(one) for one in await session.scalars(found))


async def _linked_to(
    session: AsyncSession, owner: Mapping[str, str], kind: str, ids: Collection[UUID]
) -> dict[UUID, str]:
    rows = await session.execute(
        select(Link.record_id, Link.pco_id)
        .filter_by(**owner, kind=kind)
        .where(Link.state == "linked", among(Link.record_id, ids))
    )
    return dict(rows.all())


def anything(organization_id: str, scope: Scope, since: datetime) -> Any:
    """Select one effect of the scope that changed something."""
    return select(literal(1)).where(of_scope(organization_id, scope, since), Effect.before != Effect.after).limit(1)
