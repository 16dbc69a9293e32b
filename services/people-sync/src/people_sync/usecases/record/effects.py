"""Changes of a batch here: versions counted once per record, facts published in one call at its end."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from contracts.base import Event
from contracts.events.people_record_v1 import FamilyChanged, MemberChanged
from contracts.values import MEMBER
from people_sync.domain.canonical import email_key, name_key
from people_sync.domain.merge import Merge
from people_sync.domain.values import value_to_json
from people_sync.storage.effects import insert_effects
from people_sync.storage.records import render_families, render_members
from people_sync.storage.sync_tables import Conflict
from people_sync.storage.tables import Family, Link, Member
from people_sync.usecases import conflicts
from people_sync.usecases.record.writer import Writer
from servicekit.kafka.outbox import append_all
from synckit.history import HERE, THERE, Actor
from synckit.staleness import CREATED, Write

_COLUMNS: Final = ("first_name", "last_name", "birthdate", "gender", "child", "email", "phone")


@dataclass(slots=True)
class Effects:
    """The changes of a batch, published once at its end."""

    members: dict[UUID, Member] = field(default_factory=dict)
    families: dict[UUID, Family] = field(default_factory=dict)
    conflicts: list[Conflict] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    """Rows of `Effect`, made by `noted`."""


async def publish(session: AsyncSession, writer: Writer, effects: Effects) -> None:
    """Append the facts of all changed records in one call."""
    await session.flush()
    await insert_effects(session, effects.rows)
    now = writer.now()
    facts: list[Event] = [
        MemberChanged(organization_id=writer.organization_id, version=member.version, member=member, changed_at=now)
        for member in await render_members(session, [one for one in effects.members.values() if one.deleted_at is None])
    ]
    facts += [
        FamilyChanged(organization_id=writer.organization_id, version=family.version, family=family, changed_at=now)
        for family in await render_families(
            session, [one for one in effects.families.values() if one.deleted_at is None]
        )
    ]
    facts += await conflicts.facts(session, effects.conflicts, now)
    changed = [*effects.members, *effects.families]
    renamed = await conflicts.renamed(session, writer.organization_id, changed, now)
    await append_all(session, facts + await conflicts.facts(session, renamed, now))


def noted(
    writer: Writer,
    kind: str,
    record_id: UUID,
    name: str,
    before: Any,
    after: Any,
    *,
    side: str = HERE,
    by: str = "planning_center",
    rule: str | None = None,
) -> dict[str, Any]:
    """A row of `Effect` as JSON."""
    return {
        "organization_id": writer.organization_id,
        "cause": writer.cause.kind,
        "cause_id": str(writer.cause.id),
        "kind": kind,
        "record_id": str(record_id),
        "side": side,
        "field": name,
        "before": before,
        "after": after,
        "by": by,
        "rule": rule,
        "at": writer.now().isoformat(),
    }


def tied(writer: Writer, kind: str, link: Link, *, created_by: Actor | None = None) -> dict[str, Any]:
    """The effect of a new link. `created_by`: whose wish created the counterpart; None if it was matched."""
    if created_by is not None:
        told = noted(writer, kind, link.record_id, CREATED, None, link.pco_id, side=THERE, by=created_by.by)
        return told | {"by_user_id": created_by.user_id, "by_name": created_by.name}
    return noted(writer, kind, link.record_id, "planning_center_id", None, link.pco_id, by="rule", rule="matched")


def carried_out(
    writer: Writer, kind: str, record_id: UUID, writes: Iterable[Write], fields: Collection[str]
) -> list[dict[str, Any]]:
    """Effects of unanswered writes that a read confirms, one for each field."""
    found = {write.field: write for write in writes if write.answered_at is None and write.field in fields}
    return [
        noted(writer, kind, record_id, write.field, write.before, write.after, side=THERE, by="platform")
        for write in found.values()
    ]


def change_here(writer: Writer, member: Member, result: Merge, effects: Effects) -> None:
    """Take Planning Center's values over, and add the replaced ones to the effects."""
    if not result.to_ours:
        return
    effects.rows += [
        noted(
            writer,
            MEMBER,
            member.id,
            name,
            value_to_json(result.replaced[name]),
            value_to_json(value),
            rule=result.reasons[name],
        )
        for name, value in result.to_ours.items()
    ]
    take_over(member, result.to_ours)
    touch(writer, member, effects)


def take_over(member: Member, values: Mapping[str, Any]) -> None:
    """Set values and their lookup keys."""
    for name in _COLUMNS:
        if name in values:
            setattr(member, name, values[name])
    if "address" in values:
        address = values["address"]
        member.address = address.model_dump() if address else None
    member.name_key = name_key(member.first_name, member.last_name)
    member.email_key = email_key(member.email)


def touch(writer: Writer, member: Member, effects: Effects) -> None:
    """Count a member's version, once per batch."""
    if member.id not in effects.members:
        member.version += 1
        member.updated_at = writer.now()
        effects.members[member.id] = member


def touch_family(writer: Writer, family: Family, effects: Effects) -> None:
    """Count a family's version, once per batch."""
    if family.id not in effects.families:
        family.version += 1
        family.updated_at = writer.now()
        effects.families[family.id] = family
