"""Decides the changes that read people need on each side; writes only bookkeeping."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import MEMBER
from people_sync.domain.canonical import same
from people_sync.domain.matching import Held, LeftAlone, Matched
from people_sync.domain.merge import Merge, merge, takes_status, with_status
from people_sync.domain.planning_center import (
    RemotePerson,
    is_whom_we_sent,
    may_be_whom_we_sent,
    person_from_snapshot,
)
from people_sync.domain.sentences import (
    CONFLICT,
    CONVERGED,
    CREATED_HERE,
    CREATED_THERE,
    HELD,
    KEPT_OUT,
    LATER,
    LINKED,
    OUTCOMES,
    may_be_ours,
    updated,
)
from people_sync.domain.values import ACTIVE, PersonValues, as_dict, to_json, value_from_json
from people_sync.domain.writes import confirmed, person_believable_at
from people_sync.storage.effects import insert_effects
from people_sync.storage.kept_out import kept_out_among
from people_sync.storage.links import (
    agree,
    agreed_since,
    base_of,
    forget_equal,
    has_link,
    links_to,
    member_differences,
    status_agreed,
    without_status,
)
from people_sync.storage.records import full_name, values_of
from people_sync.storage.sync_tables import Alias, Conflict, Creation, HeldMatch, Remote
from people_sync.storage.tables import Family, Link, Member
from people_sync.storage.writes import settle, writes_of
from people_sync.usecases.conflicts import cannot_be_believed
from people_sync.usecases.held import no_longer_asked
from people_sync.usecases.record.claims import claimed_by_others
from people_sync.usecases.record.effects import carried_out
from people_sync.usecases.record.matching import candidates_of, why_left_alone
from people_sync.usecases.record.planned import Planned
from people_sync.usecases.record.strays import strays_among
from people_sync.usecases.record.writer import Writer
from synckit.among import among

DIFFERS: Final = "differs"
"""Cause of a change in which the organization's first-match choice decides at least one field."""
DOUBTFUL: Final = "doubtful"
"""Cause of postponing a person with the marker and a part of the name of an unanswered creation."""


async def decide_people(session: AsyncSession, writer: Writer, staged: Sequence[Remote]) -> list[Planned]:
    # Their last read was incomplete, or older than what is known; the mirror is already marked for another read.
    rows = await unread(session, writer, [row for row in staged if row.again or row.snapshot is None])
    people = {row.pco_id: person_from_snapshot(row.snapshot) for row in staged if row.snapshot and not row.again}
    read_at = {row.pco_id: row.read_at for row in staged}
    hashes = {row.pco_id: row.remote_hash for row in staged}
    linked = await _linked_members(session, writer, list(people))
    rows += await _kept_out(session, writer, linked, people)
    conflicts = await in_conflict(session, writer, [member.id for _, member in linked.values()])
    written = await writes_of(session, [link.id for link, _ in linked.values()])
    # The record's present writer settles it.
    busy = await claimed_by_others(
        session, writer, [member.id for link, member in linked.values() if link.id in written]
    )
    settled: dict[datetime, list[int]] = {}
    effects: list[dict[str, Any]] = []
    deleted: dict[str, RemotePerson] = {}
    for pco_id, (link, member) in linked.items():
        person = people.pop(pco_id)
        writes, reading = written.get(link.id, []), writer.reading(read_at[pco_id])
        if (
            member.id in busy
            or person_believable_at(writes, person.values, reading, writer.country, active=person.active)
            or agreed_since(link, person.values, read_at[pco_id], writer.country)
        ):
            rows.append(later(MEMBER, pco_id, name_of(person), record_id=member.id))
        elif member.deleted_at is not None:
            deleted[pco_id] = person
            link.remote_hash = hashes[pco_id]
        else:
            base = base_of(link, writes, person.values, writer.country)
            result = merge_person(writer, link, base, member, person)
            if lets_go(writer, conflicts.get(member.id), person, result, read_at[pco_id]):
                rows.append(later(MEMBER, pco_id, name_of(person), record_id=member.id))
                continue
            status = takes_status(result, link.agreed.get(ACTIVE), member.active, person.active, writer.policy)
            change = _person_change(result, member, person, member.id in conflicts, status)
            if change:
                rows.append(change)
            else:
                agreed = to_json(base | dict(result.agreed))
                if not without_status(link):
                    agreed[ACTIVE] = person.active
                agree(link, agreed, read_at[pco_id])
                forget_equal(link, equal_sides(values_of(member), person.values, writer.country))
                link.contacts = dict(person.contacts)
                compared(link, hashes[pco_id], member.version)
                if writes:
                    mine = confirmed(writes, person.values, writer.country)
                    effects += carried_out(writer, MEMBER, member.id, writes, mine)
                    settled.setdefault(read_at[pco_id], []).append(link.id)
    await settle_writes(session, writer, settled, effects)
    return rows + await _deleted_here(session, writer, deleted) + await _strangers(session, writer, people)


async def _kept_out(
    session: AsyncSession,
    writer: Writer,
    linked: dict[str, tuple[Link, Member]],
    people: dict[str, RemotePerson],
) -> list[Planned]:
    """Plan members kept out of the sync, and remove them from `linked` and `people`.

    Members deleted here are not removed: a member added again would wait for ever for its match.
    """
    here = [member.id for _, member in linked.values() if member.deleted_at is None]
    out = await kept_out_among(session, writer.organization_id, MEMBER, here)
    rows: list[Planned] = []
    for pco_id, (_, member) in list(linked.items()):
        if member.id in out:
            del linked[pco_id]
            rows.append(left_alone(MEMBER, pco_id, name_of(people.pop(pco_id)), record_id=member.id))
    return rows


async def _deleted_here(session: AsyncSession, writer: Writer, people: dict[str, RemotePerson]) -> list[Planned]:
    """Plan people linked to members deleted here: a member added again is linked to them, not duplicated there."""
    outcomes = await candidates_of(session, writer, list(people.values()), deleted_here=people.keys())
    rows: list[Planned] = []
    for pco_id, outcome in outcomes.items():
        if isinstance(outcome, Matched):
            rows.append(_linking(UUID(outcome.member_id), people[pco_id], LINKED))
        elif isinstance(outcome, Held):
            rows.append(_holding(people[pco_id], outcome))
        elif isinstance(outcome, LeftAlone):
            rows.append(await _left_alone(session, people[pco_id], outcome))
    return rows


def merge_person(writer: Writer, link: Link, base: Mapping[str, Any], member: Member, person: RemotePerson) -> Merge:
    """Merge the fields and the active status of two linked records."""
    result = merge(base, values_of(member), person.values, writer.policy, member_differences(link, person.values))
    if status_agreed(link):
        return result
    return with_status(result, member.active, person.active, writer.policy)


def _person_change(
    result: Merge, member: Member, person: RemotePerson, conflict_open: bool, status: bool
) -> Planned | None:
    """The change of a linked person; None when both sides agree. `status`: whether our side takes the status over."""
    ours = bool(result.to_ours or status)
    here = bool(ours or result.conflicts or conflict_open)
    there = bool(result.to_theirs)
    if not here and not there:
        return None
    return Planned(
        kind=MEMBER,
        record_id=member.id,
        pco_id=person.pco_id,
        name=name_of(person),
        here="planned" if here else "none",
        there="planned" if there else "none",
        outcome=CONFLICT if result.conflicts else updated(ours=ours, theirs=there, otherwise=CONVERGED),
        cause=DIFFERS if result.first_match else None,
    )


def compared(link: Link, remote_hash: bytes | None, version: int) -> None:
    """Note that both sides were compared and agree; no value changes."""
    link.remote_hash = remote_hash
    link.compared_version = version
    link.state, link.missing_since = "linked", None


async def settle_writes(
    session: AsyncSession, writer: Writer, settled: Mapping[datetime, Collection[int]], effects: list[dict[str, Any]]
) -> None:
    """`settled`: links by the time of their read. `effects`: confirmed effects of unanswered writes."""
    for read_at, link_ids in settled.items():
        await settle(session, link_ids, writer.reading(read_at))
    await insert_effects(session, effects)


async def _strangers(session: AsyncSession, writer: Writer, people: dict[str, RemotePerson]) -> list[Planned]:
    """Plan unlinked people: adopted from an unanswered creation, matched, held, or new."""
    merged = await session.scalars(
        select(Alias.removed_id).filter_by(**writer.owner).where(Alias.removed_id.in_(people.keys()))
    )
    # A lagging read can still show merged people.
    for pco_id in merged.all():
        del people[pco_id]
    for pco_id in await strays_among(session, writer, people):
        del people[pco_id]
    if not people:
        return []
    ours, doubtful = await _adopted(session, writer, people)
    adopted = await _adopting(session, writer, [(people.pop(pco_id), member) for pco_id, member in ours.items()])
    taken = {row.record_id for row in adopted if row.outcome != KEPT_OUT}
    rows: list[Planned] = []
    outcomes = await candidates_of(session, writer, list(people.values()), taken)
    for pco_id, person in people.items():
        outcome = outcomes[pco_id]
        if isinstance(outcome, Matched):
            rows.append(_linking(UUID(outcome.member_id), person, LINKED))
        elif isinstance(outcome, Held):
            rows.append(_holding(person, outcome))
        elif isinstance(outcome, LeftAlone):
            rows.append(await _left_alone(session, person, outcome))
        elif pco_id in doubtful:
            rows.append(_doubted(person, doubtful[pco_id]))
        else:
            rows.append(_linking(uuid4(), person, CREATED_HERE))
    await _ask_no_more(session, writer, rows)
    return adopted + rows


async def _adopting(session: AsyncSession, writer: Writer, ours: Sequence[tuple[RemotePerson, UUID]]) -> list[Planned]:
    """Link people created by us to their members; a member kept out of the sync is linked once that has ended."""
    out = await kept_out_among(session, writer.organization_id, MEMBER, [member for _, member in ours])
    return [
        left_alone(MEMBER, person.pco_id, name_of(person), record_id=member)
        if member in out
        else _linking(member, person, CREATED_THERE)
        for person, member in ours
    ]


async def _ask_no_more(session: AsyncSession, writer: Writer, rows: Sequence[Planned]) -> None:
    """Close the held matches of people who are left alone."""
    if alone := [row.pco_id for row in rows if row.outcome == KEPT_OUT]:
        of_church = [getattr(HeldMatch, name) == value for name, value in writer.owner.items()]
        await no_longer_asked(session, *of_church, among(HeldMatch.pco_id, alone))


async def _left_alone(session: AsyncSession, person: RemotePerson, outcome: LeftAlone) -> Planned:
    """Plan a person who may be a member kept out of the sync."""
    return left_alone(
        MEMBER, person.pco_id, name_of(person), record_id=None, sentence=await why_left_alone(session, outcome)
    )


def _holding(person: RemotePerson, outcome: Held) -> Planned:
    return Planned(
        kind=MEMBER,
        pco_id=person.pco_id,
        name=name_of(person),
        here="planned",
        outcome=HELD,
        sentence=" ".join(outcome.reasons),
    )


def _linking(member_id: UUID, person: RemotePerson, outcome: str) -> Planned:
    return Planned(
        kind=MEMBER,
        record_id=member_id,
        pco_id=person.pco_id,
        name=name_of(person),
        here="planned",
        outcome=outcome,
    )


def _doubted(person: RemotePerson, sent: Mapping[str, Any]) -> Planned:
    name, given = name_of(person), f"{sent.get('first_name') or ''} {sent.get('last_name') or ''}".strip()
    return Planned(MEMBER, name, LATER, pco_id=person.pco_id, cause=DOUBTFUL, sentence=may_be_ours(name, given))


async def _adopted(
    session: AsyncSession, writer: Writer, people: dict[str, RemotePerson]
) -> tuple[dict[str, UUID], dict[str, Mapping[str, Any]]]:
    """People created by unanswered intents: they carry the intent's marker and name.

    And, with the sent values, doubtful people who carry the marker and only a part of the name.
    """
    markers: dict[int, list[str]] = {}
    for pco_id, person in people.items():
        if person.remote_id is not None:
            markers.setdefault(person.remote_id, []).append(pco_id)
    rows = await session.execute(
        select(Creation.marker, Creation.record_id, Creation.content)
        .join(Member, Member.id == Creation.record_id)
        .where(
            Creation.organization_id == writer.organization_id,
            Creation.pco_organization_id == writer.pco_organization_id,
            Creation.kind == MEMBER,
            Creation.state == "sent",
            Creation.marker.in_(markers),
            ~has_link(writer.owner, MEMBER, Member, Link.state != "gone"),
        )
    )
    ours: dict[str, UUID] = {}
    doubtful: dict[str, Mapping[str, Any]] = {}
    for marker, record_id, content in rows:
        alike = [pco_id for pco_id in markers[marker] if may_be_whom_we_sent(people[pco_id], content or {})]
        found = next((pco_id for pco_id in alike if is_whom_we_sent(people[pco_id], content or {})), None)
        if found:
            ours[found] = record_id
        doubtful |= {pco_id: content for pco_id in alike if pco_id != found}
    return ours, doubtful


async def _linked_members(session: AsyncSession, writer: Writer, pco_ids: list[str]) -> dict[str, tuple[Link, Member]]:
    rows = await session.execute(
        links_to(writer.owner, MEMBER, Member)
        .where(Link.pco_id.in_(pco_ids))
        .order_by(Link.id)
        .with_for_update(of=Link)
    )
    return {link.pco_id: (link, member) for link, member in rows}


async def in_conflict(session: AsyncSession, writer: Writer, record_ids: Collection[UUID]) -> dict[UUID, Conflict]:
    """The open conflicts of these records, by record."""
    rows = await session.scalars(
        select(Conflict).where(
            Conflict.organization_id == writer.organization_id,
            Conflict.record_id.in_(record_ids),
            Conflict.state == "open",
        )
    )
    return {row.record_id: row for row in rows}


def equal_sides(ours: PersonValues, theirs: PersonValues, country: str) -> Callable[[str], bool]:
    """A predicate whether a field is equal on both sides."""
    here, there = as_dict(ours), as_dict(theirs)
    return lambda name: name in here and same(name, here[name], there[name], country)


def lets_go(
    writer: Writer, conflict: Conflict | None, person: RemotePerson, result: Merge, read_at: datetime
) -> datetime | None:
    """When a read that would end a member's conflict becomes conclusive; None if it is now."""
    if conflict is None:
        return None
    seen = {**to_json(person.values), ACTIVE: person.active}

    def equal(name: str, one: Any, other: Any) -> bool:
        return same(name, value_from_json(name, one), value_from_json(name, other), writer.country)

    return cannot_be_believed(conflict, seen, result.conflicts.keys(), writer.reading(read_at), equal)


def later(kind: str, pco_id: str, name: str, record_id: UUID | None = None) -> Planned:
    return Planned(
        kind=kind,
        record_id=record_id,
        pco_id=pco_id,
        name=name,
        outcome=LATER,
        sentence=OUTCOMES[LATER],
    )


def left_alone(
    kind: str, pco_id: str | None, name: str, *, record_id: UUID | None, sentence: str | None = None
) -> Planned:
    """Plan no change on either side for a record that is, or may be, kept out of the sync."""
    return Planned(kind, name, KEPT_OUT, record_id, pco_id, sentence=sentence or OUTCOMES[KEPT_OUT])


async def unread(session: AsyncSession, writer: Writer, staged: Sequence[Remote]) -> list[Planned]:
    """Postpone records of one kind whose last read proves nothing."""
    if not staged:
        return []
    kind = staged[0].kind
    links = select(Link.pco_id, Link.record_id).filter_by(**writer.owner, kind=kind)
    links = links.where(among(Link.pco_id, [row.pco_id for row in staged if not row.unread]))
    known: dict[str, UUID] = dict((await session.execute(links)).tuples().all())
    record: type[Member] | type[Family] = Member if kind == MEMBER else Family
    found: Any = await session.scalars(select(record).where(among(record.id, known.values())))
    records: dict[UUID | None, Member | Family] = {one.id: one for one in found}
    return [_unread(row, records.get(known.get(row.pco_id))) for row in staged]


def _unread(row: Remote, record: Member | Family | None) -> Planned:
    said = row.unread or {}
    name = said.get("name") or f"{'Person' if row.kind == MEMBER else 'Household'} {row.pco_id}"
    if record is not None:
        name = full_name(record) if isinstance(record, Member) else record.name
    sentence = said.get("sentence") or OUTCOMES[LATER]
    return Planned(row.kind, name, LATER, record.id if record else None, row.pco_id, sentence=sentence)


def name_of(person: RemotePerson) -> str:
    """The display name of a person in Planning Center."""
    return f"{person.values.first_name} {person.values.last_name}".strip() or f"Person {person.pco_id}"
