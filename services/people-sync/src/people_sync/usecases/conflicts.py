"""Conflicts as people-sync finds and closes them. What people decide about them is conflict-service's."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Literal
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Uuid, any_, literal, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.base import Event
from contracts.conflicts import ConflictField, ConflictRecord
from contracts.events.people_conflict_v1 import ConflictConverged, ConflictDetected, ConflictFact, ConflictWithdrawn
from contracts.values import FAMILY, MEMBER
from people_sync.domain.merge import ConflictValues
from people_sync.domain.values import value_to_json
from people_sync.storage.records import full_name
from people_sync.storage.tables import Conflict, Family, FamilyMember, Link, Member
from servicekit.outbox import append_all

_FACTS: Final[Mapping[str, type[ConflictFact]]] = {
    "open": ConflictDetected,
    "converged": ConflictConverged,
    "withdrawn": ConflictWithdrawn,
}


def open_conflict(
    session: AsyncSession, link: Link, values: Mapping[str, ConflictValues], conflict: Conflict | None, now: datetime
) -> list[Conflict]:
    """Open a record's conflict, or give the open one fresh values; what there is to publish."""
    fields = [
        ConflictField(
            field=name,
            base=value_to_json(value.base),
            ours=value_to_json(value.ours),
            theirs=value_to_json(value.theirs),
        ).model_dump(mode="json")
        for name, value in values.items()
    ]
    if conflict is None:
        conflict = Conflict(
            id=uuid4(),
            organization_id=link.organization_id,
            kind=link.kind,
            record_id=link.record_id,
            pco_id=link.pco_id,
            fields=fields,
            state="open",
            version=1,
        )
        session.add(conflict)
        return [conflict]
    if (conflict.fields, conflict.pco_id) == (fields, link.pco_id):
        return []
    conflict.fields, conflict.pco_id = fields, link.pco_id
    conflict.version += 1
    conflict.updated_at = now
    return [conflict]


def close(conflict: Conflict, state: Literal["converged", "withdrawn"], now: datetime) -> Conflict:
    """Close an open conflict without a decision."""
    conflict.state = state
    conflict.version += 1
    conflict.updated_at = now
    return conflict


async def withdraw(
    session: AsyncSession, organization_id: str, now: datetime, *which: ColumnElement[bool], limit: int | None = None
) -> list[Conflict]:
    """Close open conflicts about which there is nothing to decide any more; what there is to publish.

    The link of a record in conflict has no `remote_hash`: if it is ever in use again, the two sides are compared anew.
    """
    found = await session.scalars(
        select(Conflict)
        .where(Conflict.organization_id == organization_id, Conflict.state == "open", *which)
        .order_by(Conflict.id)
        .limit(limit)
        .with_for_update()
    )
    return [close(conflict, "withdrawn", now) for conflict in found]


async def record_removed(session: AsyncSession, organization_id: str, record_id: UUID, now: datetime) -> None:
    """Nothing is left to decide about a record that was deleted here."""
    withdrawn = await withdraw(session, organization_id, now, Conflict.record_id == record_id)
    await append_all(session, await facts(session, withdrawn, now))


async def facts(session: AsyncSession, conflicts: Sequence[Conflict], now: datetime) -> list[Event]:
    """The facts about conflicts that changed, in their order. Three queries for all."""
    if not conflicts:
        return []
    records = _among([conflict.record_id for conflict in conflicts])
    names: dict[tuple[str, UUID], str] = {}
    for member in await session.scalars(select(Member).where(Member.id == records)):
        names[MEMBER, member.id] = full_name(member)
    for family_id, name in (await session.execute(select(Family.id, Family.name).where(Family.id == records))).tuples():
        names[FAMILY, family_id] = name
    families: dict[UUID, list[str]] = {}
    memberships = select(FamilyMember.member_id, FamilyMember.family_id).where(FamilyMember.member_id == records)
    for member_id, family_id in (await session.execute(memberships.order_by(FamilyMember.family_id))).tuples():
        families.setdefault(member_id, []).append(str(family_id))
    return [
        _FACTS[conflict.state](
            organization_id=conflict.organization_id,
            version=conflict.version,
            conflict_id=str(conflict.id),
            record=ConflictRecord(
                kind=conflict.kind,
                id=str(conflict.record_id),
                name=names[conflict.kind, conflict.record_id],
                pco_id=conflict.pco_id,
                family_ids=(str(conflict.record_id),)
                if conflict.kind == FAMILY
                else tuple(families.get(conflict.record_id, ())),
            ),
            fields=tuple(ConflictField.model_validate(field) for field in conflict.fields),
            occurred_at=now,
        )
        for conflict in conflicts
    ]


def _among(ids: Sequence[UUID]) -> ColumnElement[bool]:
    """An array: a statement of its own for every number of ids would be kept by every connection."""
    return any_(literal(ids, ARRAY(Uuid)))
