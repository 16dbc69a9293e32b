"""Carries out a decision about a conflict: Planning Center's values become agreed, the chosen ones go to both sides.

A chosen value of Planning Center is taken over here in the same transaction. For a chosen value of ours, Planning
Center's becomes the last agreed one: ours is then an ordinary change, sent by this sync, or by the next one after a
crash. If a value has changed since the decision, the whole decision is dropped.
"""

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.conflicts import STATUS
from contracts.values import MEMBER
from people_sync.domain.canonical import name_key
from people_sync.domain.decisions import settle
from people_sync.domain.families import household_values
from people_sync.domain.merge import merge_family
from people_sync.domain.planning_center import household_from_snapshot, person_from_snapshot
from people_sync.domain.sentences import NOT_IN_HOUSEHOLD, not_sent
from people_sync.domain.values import partial_from_json, value_from_json
from people_sync.domain.writes import family_believable_at, person_believable_at
from people_sync.storage.families import family_values, linked_records, people_of
from people_sync.storage.kept_out import members_left_alone
from people_sync.storage.links import agree, agreed_since, base_of, decided_differences, family_base_of
from people_sync.storage.sync_tables import Conflict, Remote
from people_sync.storage.tables import Family, Link, Member
from people_sync.storage.writes import writes_of
from people_sync.usecases.conflicts import fields_of, is_half_done, open_conflicts_of, overtaken, same_values
from people_sync.usecases.decisions import DECIDED
from people_sync.usecases.history import KEPT
from people_sync.usecases.record.decide_families import concerned, family_lets_go
from people_sync.usecases.record.decide_people import lets_go, merge_person
from people_sync.usecases.record.effects import Effects, noted, publish, take_over, touch, touch_family
from people_sync.usecases.record.writer import Writer
from synckit.history import HERE


async def carry_out(session: AsyncSession, writer: Writer, row: Remote) -> None:
    """Carry out the pending decision, if any, about the record whose counterpart is `row`.

    The record is locked and was just read.
    """
    if row.again or row.snapshot is None:
        return
    of_record = select(Link).filter_by(**writer.owner, kind=row.kind, pco_id=row.pco_id)
    link = await session.scalar(of_record.with_for_update(), execution_options={"populate_existing": True})
    if link is None:
        return
    conflict = (await open_conflicts_of(session, writer.organization_id, [link.record_id])).get(link.record_id)
    if conflict is None or conflict.decision is None or is_half_done(conflict):
        return
    of_kind = _member if row.kind == MEMBER else _family
    await of_kind(session, writer, row, link, conflict, conflict.decision)


async def _member(
    session: AsyncSession, writer: Writer, row: Remote, link: Link, conflict: Conflict, decision: Mapping[str, Any]
) -> None:
    member = await session.get_one(Member, link.record_id, populate_existing=True)
    person = person_from_snapshot(row.snapshot or {})
    writes = (await writes_of(session, [link.id])).get(link.id, [])
    reading = writer.reading(row.read_at)
    stale = person_believable_at(writes, person.values, reading, writer.country, active=person.active)
    if member.deleted_at is not None or stale or agreed_since(link, person.values, row.read_at, writer.country):
        return
    base = base_of(link, writes, person.values, writer.country)
    result = merge_person(writer, link, base, member, person)
    if lets_go(writer, conflict, person, result, row.read_at):
        return
    if not same_values(conflict, fields_of(link, result.conflicts)):
        return
    taken = _agree(writer, link, conflict, decision)
    effects = Effects(rows=_rows(writer, link, conflict, taken, decision))
    take_over(member, {name: value_from_json(name, value) for name, value in taken.items() if name != STATUS})
    member.active = taken.get(STATUS, member.active)
    if taken:
        touch(writer, member, effects)
    left = merge_person(writer, link, partial_from_json(link.agreed), member, person)
    _only(conflict, left.to_theirs.keys())
    await publish(session, writer, effects)


async def _family(
    session: AsyncSession, writer: Writer, row: Remote, link: Link, conflict: Conflict, decision: Mapping[str, Any]
) -> None:
    family = await session.get_one(Family, link.record_id, populate_existing=True)
    household = household_from_snapshot(row.snapshot or {})
    theirs = household_values(household, await linked_records(session, writer.owner, household.person_ids))
    ours = (await family_values(session, writer.owner, [family]))[family.id]
    writes = (await writes_of(session, [link.id])).get(link.id, [])
    if family.deleted_at is not None or family_believable_at(writes, theirs, writer.reading(row.read_at)):
        return
    base = family_base_of(link, writes, theirs)
    alone = await members_left_alone(session, writer.organization_id, concerned(ours, theirs))
    result = merge_family(base, ours, theirs, writer.policy, decided_differences(link), left_alone=alone)
    if family_lets_go(writer, conflict, theirs, result, row.read_at):
        return
    if not same_values(conflict, fields_of(link, result.fields.conflicts)):
        return
    if await _cannot_be_contact(session, writer, family, decision):
        await publish(session, writer, Effects(conflicts=[overtaken(conflict, NOT_IN_HOUSEHOLD, writer.now())]))
        return
    taken = _agree(writer, link, conflict, decision)
    effects = Effects(rows=_rows(writer, link, conflict, taken, decision))
    if "name" in taken:
        family.name, family.name_key = taken["name"], name_key(taken["name"], "")
    if "primary_contact" in taken:
        family.primary_contact_id = UUID(taken["primary_contact"]) if taken["primary_contact"] else None
    if taken:
        touch_family(writer, family, effects)
    await publish(session, writer, effects)


async def _cannot_be_contact(
    session: AsyncSession, writer: Writer, family: Family, decision: Mapping[str, Any]
) -> bool:
    """Whether our primary contact was chosen but cannot be in the household."""
    if decision["choices"].get("primary_contact") != "ours":
        return False
    return str(family.primary_contact_id) not in await people_of(session, writer.owner, family)


def _only(conflict: Conflict, sent: Collection[str]) -> None:
    """The decision's values that are really sent; values that Planning Center already has are reported."""
    assert conflict.decision is not None
    sends = {name: value for name, value in conflict.decision["sends"].items() if name in sent}
    untold = [not_sent(name) for name in conflict.decision["sends"].keys() - sends.keys()]
    conflict.decision = {**conflict.decision, "sends": sends, "untold": untold}


def _agree(writer: Writer, link: Link, conflict: Conflict, decision: Mapping[str, Any]) -> dict[str, Any]:
    """Store the decision in link and conflict. Gives the values that our side takes over, JSON by field."""
    note = {"by_name": decision["by_name"], "at": writer.now().isoformat()}
    settled = settle(conflict.fields, decision["choices"], agreed=link.agreed, kept=link.decided, note=note)
    agree(link, settled.agreed, writer.now())
    link.decided = settled.kept
    # The decision also covers a contact left there when ours was cleared.
    link.kept_different = {name: kept for name, kept in link.kept_different.items() if name not in decision["choices"]}
    conflict.decision = {**decision, "sends": settled.sends}
    return settled.taken


def _rows(
    writer: Writer, link: Link, conflict: Conflict, taken: Mapping[str, Any], decision: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Effects of values that our side takes over, attributed to the person or rule that decided."""
    ours = {field["field"]: field["ours"] for field in conflict.fields}
    kept = [name for name, choice in decision["choices"].items() if choice == "both"]
    by = {
        "cause": "decision",
        "cause_id": decision["id"],
        "by": "person",
        "by_user_id": decision["by_user_id"],
        "by_name": decision["by_name"],
        "rule": DECIDED,
    }
    if rule_id := decision.get("rule_id"):
        by |= {"cause": "rule", "cause_id": rule_id, "by": "rule", "by_name": None, "rule": decision["by_name"]}
    return [
        noted(writer, link.kind, link.record_id, name, ours[name], value, side=HERE) | by
        for name, value in taken.items()
    ] + [
        noted(writer, link.kind, link.record_id, name, ours[name], ours[name], side=HERE) | by | {"rule": KEPT}
        for name in kept
    ]
