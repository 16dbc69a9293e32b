"""Finds, updates and closes conflicts. Decisions about them are made in conflict-service."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.base import Event
from contracts.conflicts import ConflictField, ConflictRecord
from contracts.events.people_conflict_v1 import (
    ConflictConverged,
    ConflictDetected,
    ConflictFact,
    ConflictWithdrawn,
    ResolutionApplied,
    ResolutionOvertaken,
)
from people_sync.domain.merge import ConflictValues
from people_sync.domain.sentences import MOVED_HALFWAY, VALUES_MOVED
from people_sync.domain.times import edited_there
from people_sync.domain.values import value_to_json
from people_sync.storage.effects import last_changed_here
from people_sync.storage.links import agreed_at
from people_sync.storage.records import full_name
from people_sync.storage.sync_tables import Conflict
from people_sync.storage.tables import Family, FamilyMember, Link, Member
from servicekit.kafka.outbox import append_all
from synckit.among import among
from synckit.staleness import Reading

_FACTS: Final[Mapping[str, type[ConflictFact]]] = {
    "open": ConflictDetected,
    "converged": ConflictConverged,
    "withdrawn": ConflictWithdrawn,
}

_TIMES_THERE: Final = ("theirs_changed_at", "theirs_changed_before")


async def open_conflicts_of(
    session: AsyncSession, organization_id: str, records: Collection[UUID]
) -> dict[UUID, Conflict]:
    """Locked open conflicts, by the record's id."""
    found = await session.scalars(_open(organization_id).where(among(Conflict.record_id, records)))
    return {conflict.record_id: conflict for conflict in found}


def open_conflict(
    session: AsyncSession,
    link: Link,
    values: Mapping[str, ConflictValues],
    conflict: Conflict | None,
    *,
    updated_at: Mapping[str, datetime],
    read_at: datetime,
    now: datetime,
) -> list[Conflict]:
    """Open a record's conflict, or update the open one. Returns the conflicts to publish.

    Every run compares the two sides again until they agree, whether or not they changed. `read_at`: time of the read;
    `updated_at`: Planning Center's times, as in `RemotePerson` and `RemoteHousehold`.
    """
    link.remote_hash = None
    fields = [field | _edited_there(link, field, conflict, updated_at, read_at) for field in fields_of(link, values)]
    if conflict is None:
        conflict = Conflict(
            id=uuid4(),
            organization_id=link.organization_id,
            pco_organization_id=link.pco_organization_id,
            kind=link.kind,
            record_id=link.record_id,
            pco_id=link.pco_id,
            name="",
            family_ids=[],
            fields=fields,
            state="open",
            version=1,
            values_version=1,
            theirs_read_at=read_at,
        )
        session.add(conflict)
        return [conflict]
    moved = not same_values(conflict, fields)
    known = [field.get("base_known", True) for field in conflict.fields] == [field["base_known"] for field in fields]
    half = is_half_done(conflict)
    timed = _times_there(conflict.fields) == _times_there(fields)
    if not moved and not half and known and timed and conflict.pco_id == link.pco_id:
        return []
    if _theirs(conflict.fields) != _theirs(fields):
        conflict.theirs_read_at = read_at
    conflict.fields, conflict.pco_id = fields, link.pco_id
    conflict.values_version += moved
    if conflict.decision is not None and (moved or half):
        _answer(conflict, sentence=MOVED_HALFWAY if half else VALUES_MOVED)
    _count(conflict, now)
    return [conflict]


def fields_of(link: Link, values: Mapping[str, ConflictValues]) -> list[dict[str, Any]]:
    """The fields as stored in a conflict: `contracts.conflicts.ConflictField` as JSON."""
    return [
        ConflictField(
            field=name,
            base=value_to_json(value.base),
            base_known=value.base_known,
            ours=value_to_json(value.ours),
            theirs=value_to_json(value.theirs),
            agreed_at=agreed_at(link, name) if value.base_known else None,
        ).model_dump(mode="json")
        for name, value in values.items()
    ]


def same_values(conflict: Conflict, fields: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a conflict still has these values."""
    return list(map(_values, conflict.fields)) == list(map(_values, fields))


def is_half_done(conflict: Conflict) -> bool:
    """Whether a decision was applied here and still has to be sent to Planning Center."""
    return conflict.decision is not None and "sends" in conflict.decision


def cannot_be_believed(
    conflict: Conflict | None,
    seen: Mapping[str, Any],
    collides: Collection[str],
    reading: Reading,
    same: Callable[[str, Any, Any], bool],
) -> datetime | None:
    """The time until which a read that would end the conflict may be stale, so that it must not end it; None if it may.

    `seen`: Planning Center's values, JSON by field; `collides`: the fields in conflict by this read.
    """
    if conflict is None or conflict.theirs_read_at is None:
        return None
    until = conflict.theirs_read_at + reading.horizon
    if reading.read_at >= until:
        return None
    for field in conflict.fields:
        name = field["field"]
        if name not in seen or same(name, seen[name], field["theirs"]):
            continue
        # If Planning Center has our value, even a stale read leads to no write.
        if not same(name, seen[name], field["ours"]) and (is_half_done(conflict) or name not in collides):
            return until
    return None


def _edited_there(
    link: Link,
    field: Mapping[str, Any],
    conflict: Conflict | None,
    updated_at: Mapping[str, datetime],
    read_at: datetime,
) -> dict[str, str | None]:
    """The time of the edit in Planning Center, as JSON, from the read that first showed the value.

    Later reads only have the time of some later edit there.
    """
    if field["base_known"] and field["base"] == field["theirs"]:
        return dict.fromkeys(_TIMES_THERE)
    seen_at = read_at
    if conflict is not None:
        before = next((one for one in conflict.fields if one["field"] == field["field"]), None)
        if before is not None and before["theirs"] == field["theirs"]:
            known = {name: before.get(name) for name in _TIMES_THERE}
            if any(known.values()):
                return known
            seen_at = conflict.theirs_read_at or read_at
    agreed = agreed_at(link, field["field"]) if field["base_known"] else None
    times = edited_there(field["field"], updated_at, agreed, seen_at)
    return {name: at.isoformat() if at else None for name, at in zip(_TIMES_THERE, times, strict=True)}


def _times_there(fields: Sequence[Mapping[str, Any]]) -> list[tuple[str | None, ...]]:
    return [tuple(field.get(name) for name in _TIMES_THERE) for field in fields]


def _theirs(fields: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {field["field"]: field["theirs"] for field in fields}


def _values(field: Mapping[str, Any]) -> tuple[Any, ...]:
    """The parts of a field that a decision is about, without its times."""
    return tuple(field[name] for name in ("field", "base", "ours", "theirs"))


def close(conflict: Conflict, state: Literal["converged", "withdrawn"], now: datetime) -> Conflict:
    """Close an open conflict. A pending decision about it is dropped."""
    conflict.state, conflict.decision = state, None
    _count(conflict, now)
    return conflict


def converged(conflict: Conflict | None, now: datetime) -> list[Conflict]:
    """Close a conflict whose sides no longer contradict each other, unless a half-done decision is the cause."""
    if conflict is None or is_half_done(conflict):
        return []
    return [close(conflict, "converged", now)]


def applied(conflict: Conflict, refused: Sequence[str], now: datetime) -> Conflict:
    """Close a conflict as decided. `refused`: what Planning Center did not accept, in words."""
    _answer(conflict, refused=list(refused))
    conflict.state = "resolved"
    _count(conflict, now)
    return conflict


def overtaken(conflict: Conflict, sentence: str, now: datetime) -> Conflict:
    """Keep a conflict open whose decision was not carried out, for the reason in `sentence`."""
    _answer(conflict, sentence=sentence)
    _count(conflict, now)
    return conflict


def _answer(conflict: Conflict, **said: Any) -> None:
    """Store the outcome of the decision, to be published with the conflict's next version."""
    assert conflict.decision is not None
    told = {"version": conflict.version + 1, **said}
    conflict.answered = {**conflict.answered, conflict.decision["id"]: told}
    conflict.decision = None


async def withdraw(
    session: AsyncSession, organization_id: str, now: datetime, *which: ColumnElement[bool], limit: int | None = None
) -> list[Conflict]:
    """Withdraw open conflicts that no longer need a decision. Returns the conflicts to publish."""
    found = await session.scalars(_open(organization_id).where(*which).limit(limit))
    return [close(conflict, "withdrawn", now) for conflict in found]


async def record_removed(session: AsyncSession, organization_id: str, record_id: UUID, now: datetime) -> None:
    """Withdraw the conflicts of a record that was deleted here."""
    withdrawn = await withdraw(session, organization_id, now, Conflict.record_id == record_id)
    await append_all(session, await facts(session, withdrawn, now))


async def renamed(
    session: AsyncSession, organization_id: str, records: Collection[UUID], now: datetime
) -> list[Conflict]:
    """Increment the versions of open conflicts whose record's name, families or child flag changed."""
    found = list((await open_conflicts_of(session, organization_id, records)).values())
    before = {conflict.id: (conflict.name, conflict.family_ids, conflict.child) for conflict in found}
    await _describe(session, found)
    moved = [one for one in found if (one.name, one.family_ids, one.child) != before[one.id]]
    for conflict in moved:
        _count(conflict, now)
    return moved


async def facts(session: AsyncSession, conflicts: Sequence[Conflict], now: datetime) -> list[Event]:
    """The facts about changed conflicts, in order."""
    await _describe(session, conflicts)
    return [_fact(conflict, now) for conflict in conflicts]


def told_again(conflict: Conflict) -> list[Event]:
    """The facts of the conflict's present state and of earlier decisions' outcomes. Consumers that know them ignore
    them.

    They carry the time of the conflict's last change, since no other is stored.
    """
    at = conflict.updated_at
    earlier = {told["version"] for told in conflict.answered.values()} - {conflict.version}
    return [_fact(conflict, at), *(_fact(conflict, at, version) for version in sorted(earlier))]


def _fact(conflict: Conflict, now: datetime, version: int | None = None) -> ConflictFact:
    version = version or conflict.version
    values: dict[str, Any] = {
        "organization_id": conflict.organization_id,
        "version": version,
        "conflict_id": str(conflict.id),
        "record": ConflictRecord(
            kind=conflict.kind,
            id=str(conflict.record_id),
            name=conflict.name,
            pco_id=conflict.pco_id,
            family_ids=tuple(conflict.family_ids),
            child=conflict.child,
        ),
        "fields": tuple(ConflictField.model_validate(field) for field in conflict.fields),
        "values_version": conflict.values_version,
        "occurred_at": now,
    }
    for decision_id, told in conflict.answered.items():
        if told["version"] == version and "refused" in told:
            return ResolutionApplied(**values, decision_id=decision_id, refused=tuple(told["refused"]))
        if told["version"] == version:
            return ResolutionOvertaken(**values, decision_id=decision_id, sentence=told["sentence"])
    return _FACTS[conflict.state](**values)


def _open(organization_id: str) -> Select[Any]:
    return (
        select(Conflict)
        .where(Conflict.organization_id == organization_id, Conflict.state == "open")
        .order_by(Conflict.id)
        .with_for_update()
    )


def _count(conflict: Conflict, now: datetime) -> None:
    conflict.version += 1
    conflict.updated_at = now


async def _describe(session: AsyncSession, conflicts: Sequence[Conflict]) -> None:
    """Store the present names and families of the records, and the times of our edits, by four queries."""
    if not conflicts:
        return
    records = [conflict.record_id for conflict in conflicts]
    members = (await session.scalars(select(Member).where(among(Member.id, records)))).all()
    names = {member.id: full_name(member) for member in members}
    children = {member.id: member.child for member in members}
    families: dict[UUID, list[str]] = {}
    for family in await session.scalars(select(Family).where(among(Family.id, records))):
        names[family.id] = family.name
        families[family.id] = [str(family.id)]
    memberships = select(FamilyMember.member_id, FamilyMember.family_id).where(among(FamilyMember.member_id, records))
    for member_id, family_id in await session.execute(memberships.order_by(FamilyMember.family_id)):
        families.setdefault(member_id, []).append(str(family_id))
    for conflict in conflicts:
        conflict.name, conflict.family_ids = names[conflict.record_id], families.get(conflict.record_id, [])
        conflict.child = children.get(conflict.record_id)
    changed = await last_changed_here(session, records)
    for conflict in conflicts:
        conflict.fields = [
            {**field, "ours_changed_at": changed.get((conflict.record_id, field["field"]))} for field in conflict.fields
        ]
