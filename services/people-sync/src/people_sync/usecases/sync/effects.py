"""What a batch changes here: versions counted once, facts published in one call at its end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.base import Event
from contracts.events.people_record_v1 import FamilyChanged, MemberChanged
from people_sync.domain.canonical import email_key, name_key
from people_sync.storage.records import render_families, render_members
from people_sync.storage.tables import Conflict, Family, History, Member
from people_sync.usecases import conflicts
from people_sync.usecases.sync.context import Work
from servicekit.outbox import append_all

_COLUMNS: Final = ("first_name", "last_name", "birthdate", "gender", "child", "email", "phone")


@dataclass(slots=True)
class Effects:
    """What a batch changed, published once at its end."""

    members: dict[UUID, Member] = field(default_factory=dict)
    families: dict[UUID, Family] = field(default_factory=dict)
    conflicts: list[Conflict] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    """Rows of `History`, inserted together: as objects they would make a statement of every number of them."""


async def publish(session: AsyncSession, work: Work, effects: Effects) -> None:
    """Append the facts of all records that changed, in one call."""
    await session.flush()
    if effects.history:
        await session.execute(insert(History), effects.history)
    now = work.resources.clock.now()
    facts: list[Event] = [
        MemberChanged(organization_id=work.organization_id, version=member.version, member=member, changed_at=now)
        for member in await render_members(session, [one for one in effects.members.values() if one.deleted_at is None])
    ]
    facts += [
        FamilyChanged(organization_id=work.organization_id, version=family.version, family=family, changed_at=now)
        for family in await render_families(
            session, [one for one in effects.families.values() if one.deleted_at is None]
        )
    ]
    facts += await conflicts.facts(session, effects.conflicts, now)
    changed = [*effects.members, *effects.families]
    renamed = await conflicts.renamed(session, work.organization_id, changed, now)
    await append_all(session, facts + await conflicts.facts(session, renamed, now))


def noted(
    work: Work, kind: str, record_id: UUID, name: str, old: Any, new: Any, rule: str, by: str = "planning_center"
) -> dict[str, Any]:
    """A row of `History`, values as JSON."""
    return {
        "organization_id": work.organization_id,
        "kind": kind,
        "record_id": record_id,
        "field": name,
        "old": old,
        "new": new,
        "by": by,
        "rule": rule,
        "run_id": work.run_id,
    }


def take_over(member: Member, values: Mapping[str, Any]) -> None:
    """Set values and the keys that they are looked up by."""
    for name in _COLUMNS:
        if name in values:
            setattr(member, name, values[name])
    if "address" in values:
        address = values["address"]
        member.address = address.model_dump() if address else None
    member.name_key = name_key(member.first_name, member.last_name)
    member.email_key = email_key(member.email)


def touch(work: Work, member: Member, effects: Effects) -> None:
    """Count the record's version, once per batch."""
    if member.id not in effects.members:
        member.version += 1
        member.updated_at = work.resources.clock.now()
        effects.members[member.id] = member


def touch_family(work: Work, family: Family, effects: Effects) -> None:
    """The same of a family."""
    if family.id not in effects.families:
        family.version += 1
        family.updated_at = work.resources.clock.now()
        effects.families[family.id] = family
