"""Between reading and writing: stage the whole difference as `change` rows before anything is written.

People first, then families, then what only changed here. A change says who needs something and on which side; what
exactly is decided again, by the same pure functions, at the moment it is applied: both sides may have moved by then.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import (
    ColumnElement,
    Exists,
    Select,
    Text,
    Uuid,
    any_,
    cast,
    exists,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from contracts.values import FAMILY, MEMBER
from people_sync.domain.families import household_values, is_created, match_family
from people_sync.domain.matching import Held, Local, Matched, Outcome, Peer, match_all
from people_sync.domain.merge import FamilyMerge, Merge, merge, merge_family
from people_sync.domain.planning_center import (
    RemoteHousehold,
    RemotePerson,
    household_from_snapshot,
    is_whom_we_sent,
    person_from_snapshot,
    to_match,
)
from people_sync.domain.sentences import (
    CONFLICT,
    CONVERGED,
    CREATED_HERE,
    CREATED_THERE,
    GONE,
    HELD,
    INACTIVATED_THERE,
    LATER,
    LINKED,
    OUTCOMES,
    UNDECIDED,
    UPDATED_THERE,
    updated,
)
from people_sync.domain.values import to_json
from people_sync.domain.writes import confirmed, confirmed_of_family, family_believable_at, person_believable_at
from people_sync.storage import remote
from people_sync.storage.families import among, family_values, pco_ids_of
from people_sync.storage.held import waits_for_an_answer
from people_sync.storage.links import agree, base_of, ended, family_base_of, kept_different
from people_sync.storage.records import full_name, values_of
from people_sync.storage.tables import (
    Change,
    Conflict,
    Creation,
    Effect,
    Family,
    FamilyMember,
    HeldMatch,
    Link,
    Member,
    Remote,
)
from people_sync.storage.writes import settle, writes_of
from people_sync.usecases.conflicts import withdraw
from people_sync.usecases.record.effects import Effects, carried_out, publish
from people_sync.usecases.run.context import RunContext

BATCH: Final = 500
COMPARED: Final = frozenset({"compared_people", "compared_households", "parts"})
"""What of the checkpoint says how far the comparison is."""
DIFFERS: Final = "differs"
"""Cause of a change in which the organization's first-match choice decides at least one field."""

Rows = list[dict[str, Any]]


async def compare(context: RunContext) -> None:
    """Stage every difference of the run."""
    await _withdraw_conflicts(context)
    await _in_batches(context, "compared_people", MEMBER, _people)
    await _in_batches(context, "compared_households", FAMILY, _households)
    for part in (_gone, _changed_here, _created_here, _deleted_here, _families_changed_here, _families_created_here):
        if part.__name__ not in context.data.get("parts", []):
            async with context.step() as session:
                await _add(session, context, await part(session, context))
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
    decide: Callable[[AsyncSession, RunContext, Sequence[Remote]], Awaitable[Rows]],
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
                await _add(session, context, await decide(session, context, staged))
                await context.advance(session, len(staged))
                context.data[mark] = staged[-1].pco_id
        if len(staged) < BATCH:
            return


async def _add(session: AsyncSession, context: RunContext, rows: Rows) -> None:
    """Stage changes; one that the run has already (a record reached from two sides) stays as it is."""
    base = {
        "organization_id": context.organization_id,
        "run_id": context.run_id,
        "record_id": None,
        "pco_id": None,
        "here": "none",
        "there": "none",
        "cause": None,
        "sentence": None,
    }
    if rows:
        await session.execute(insert(Change).on_conflict_do_nothing(), [base | row for row in rows])


# --- people ---------------------------------------------------------------------------------------------------------


async def _people(session: AsyncSession, context: RunContext, staged: Sequence[Remote]) -> Rows:
    rows: Rows = []
    people: dict[str, RemotePerson] = {}
    for row in staged:
        if row.again or row.snapshot is None:
            # The read did not carry everything: the mirror remembers to read this one again.
            rows.append(_later(MEMBER, row.pco_id, f"Person {row.pco_id}"))
        else:
            people[row.pco_id] = person_from_snapshot(row.snapshot)
    read_at = {row.pco_id: row.read_at for row in staged}
    hashes = {row.pco_id: row.remote_hash for row in staged}
    linked = await _linked_members(session, context, list(people))
    conflicts = await _in_conflict(session, context, [member.id for _, member in linked.values()])
    written = await writes_of(session, [link.id for link, _ in linked.values()])
    settled: dict[datetime, list[int]] = {}
    effects: Rows = []
    for pco_id, (link, member) in linked.items():
        person = people.pop(pco_id)
        writes = written.get(link.id, [])
        if person_believable_at(writes, person.values, context.reading(read_at[pco_id]), context.country):
            rows.append(_later(MEMBER, pco_id, name_of(person), record_id=member.id))
        elif member.deleted_at is not None:
            link.remote_hash = hashes[pco_id]
        else:
            base = base_of(link, writes, person.values, context.country)
            result = merge(
                base,
                values_of(member),
                person.values,
                context.policy,
                kept_different(link),
            )
            change = _person_change(result, member, person, member.id in conflicts)
            if change:
                rows.append(change)
            else:
                agree(link, to_json(base | dict(result.agreed)), read_at[pco_id])
                link.contacts = dict(person.contacts)
                _compared(link, hashes[pco_id], member.version)
                if writes:
                    mine = confirmed(writes, person.values, context.country)
                    effects += carried_out(context, MEMBER, member.id, writes, mine)
                    settled.setdefault(read_at[pco_id], []).append(link.id)
    await settle_writes(session, context, settled, effects)
    return rows + await _strangers(session, context, people)


def _person_change(result: Merge, member: Member, person: RemotePerson, conflict_open: bool) -> dict[str, Any] | None:
    """What a linked person needs; None when both sides agree on everything."""
    ours = bool(result.to_ours or member.active != person.active)
    here = bool(ours or result.conflicts or conflict_open)
    there = bool(result.to_theirs)
    if not here and not there:
        return None
    return {
        "kind": MEMBER,
        "record_id": member.id,
        "pco_id": person.pco_id,
        "name": name_of(person),
        "here": "planned" if here else "none",
        "there": "planned" if there else "none",
        "outcome": CONFLICT if result.conflicts else updated(ours=ours, theirs=there, otherwise=CONVERGED),
        "cause": DIFFERS if result.first_match else None,
    }


def _compared(link: Link, remote_hash: bytes | None, version: int) -> None:
    """Note that both sides were compared and agree: bookkeeping, no value of anybody changes."""
    link.remote_hash = remote_hash
    link.compared_version = version
    link.state, link.missing_since = "linked", None


async def settle_writes(
    session: AsyncSession, context: RunContext, settled: Mapping[datetime, Collection[int]], effects: Rows
) -> None:
    """`settled`: links by when they were read. `effects`: what writes without an answer evidently did."""
    for read_at, link_ids in settled.items():
        await settle(session, link_ids, context.reading(read_at))
    if effects:
        await session.execute(insert(Effect), effects)


async def _strangers(session: AsyncSession, context: RunContext, people: dict[str, RemotePerson]) -> Rows:
    """People who are not linked: ours whose answer was lost, matches, doubtful ones, new ones."""
    if not people:
        return []
    adopted = [
        _linking(member, people.pop(pco_id), CREATED_THERE)
        for pco_id, member in (await _adopted(session, context, people)).items()
    ]
    # At once, so that nobody else is found to be one of them.
    await _add(session, context, adopted)
    rows: Rows = []
    outcomes = await candidates_of(session, context, list(people.values()))
    for pco_id, person in people.items():
        outcome = outcomes[pco_id]
        if isinstance(outcome, Matched):
            rows.append(_linking(UUID(outcome.member_id), person, LINKED))
        elif isinstance(outcome, Held):
            rows.append(
                {
                    "kind": MEMBER,
                    "pco_id": pco_id,
                    "name": name_of(person),
                    "here": "planned",
                    "outcome": HELD,
                    "sentence": " ".join(outcome.reasons),
                }
            )
        else:
            rows.append(_linking(uuid4(), person, CREATED_HERE))
    return rows


def _linking(member_id: UUID, person: RemotePerson, outcome: str) -> dict[str, Any]:
    return {
        "kind": MEMBER,
        "record_id": member_id,
        "pco_id": person.pco_id,
        "name": name_of(person),
        "here": "planned",
        "outcome": outcome,
    }


async def _adopted(session: AsyncSession, context: RunContext, people: dict[str, RemotePerson]) -> dict[str, UUID]:
    """People made by us whose answer was lost: they carry the marker, and the name, of an intent without an answer."""
    markers = {person.remote_id: pco_id for pco_id, person in people.items() if person.remote_id is not None}
    rows = await session.execute(
        select(Creation.marker, Creation.record_id, Creation.content)
        .join(Member, Member.id == Creation.record_id)
        .where(
            Creation.organization_id == context.organization_id,
            Creation.pco_organization_id == context.pco_organization_id,
            Creation.kind == MEMBER,
            Creation.state == "sent",
            Creation.marker.in_(markers),
            ~_has_link(context, MEMBER, Member, Link.state != "gone"),
        )
    )
    return {
        markers[marker]: record_id
        for marker, record_id, content in rows.tuples()
        if is_whom_we_sent(people[markers[marker]], content or {})
    }


async def candidates_of(
    session: AsyncSession, context: RunContext, people: Sequence[RemotePerson]
) -> dict[str, Outcome]:
    """The matching outcomes of people who are not linked, as they stand now."""
    if not people:
        return {}
    by_email, by_name, peers = await _candidates(session, context, people)
    refused = await said_different(session, context, [person.pco_id for person in people])
    return match_all(
        [to_match(person) for person in people],
        by_email,
        by_name,
        peers=peers,
        different=[(pco_id, member) for pco_id, members in refused.items() for member in members],
    )


async def _candidates(
    session: AsyncSession, context: RunContext, people: Sequence[RemotePerson]
) -> tuple[dict[str, list[Local]], dict[str, list[Local]], list[Peer]]:
    """Members by e-mail (all) and by name (not linked), and everybody in Planning Center with one of the e-mails."""
    asked = [to_match(person) for person in people]
    emails = sorted({key for person in asked for key in person.email_keys()})
    names = sorted({key for person in asked for key in person.name_keys()})
    taken = or_(
        # A member whose counterpart is gone stays a candidate: somebody may have added them there again.
        _has_link(context, MEMBER, Member, ~ended(Link)),
        # Whom this run would create there is still to be had: the person there may be the same.
        exists().where(
            Change.run_id == context.run_id,
            Change.kind == MEMBER,
            Change.record_id == Member.id,
            Change.pco_id.is_not(None),
        ),
    )
    statement = select(Member, taken.label("taken")).where(
        Member.organization_id == context.organization_id,
        Member.deleted_at.is_(None),
        or_(Member.email_key.in_(emails), Member.name_key.in_(names)),
    )
    by_email: dict[str, list[Local]] = {}
    by_name: dict[str, list[Local]] = {}
    for member, linked in await session.execute(statement):
        local = local_of(member, linked=linked)
        if member.email_key:
            by_email.setdefault(member.email_key, []).append(local)
        if not linked:
            by_name.setdefault(member.name_key, []).append(local)
    return by_email, by_name, await remote.peers(session, context.owner, emails)


def local_of(member: Member, *, linked: bool = False) -> Local:
    """A member as matching looks at one."""
    return Local(
        str(member.id), member.first_name, member.last_name, member.birthdate, member.child, member.email, linked
    )


async def _linked_members(
    session: AsyncSession, context: RunContext, pco_ids: list[str]
) -> dict[str, tuple[Link, Member]]:
    rows = await session.execute(
        _links(context, MEMBER, Member).where(Link.pco_id.in_(pco_ids)).with_for_update(of=Link)
    )
    return {link.pco_id: (link, member) for link, member in rows}


def _links(context: RunContext, kind: str, record: type[Member] | type[Family]) -> Select[Any]:
    statement: Select[Any] = select(Link).add_columns(record)
    return statement.join(record, record.id == Link.record_id).where(
        Link.organization_id == context.organization_id,
        Link.pco_organization_id == context.pco_organization_id,
        Link.kind == kind,
    )


def _has_link(
    context: RunContext,
    kind: str,
    record: type[Member] | type[Family],
    *where: ColumnElement[bool],
    link: type[Link] = Link,
) -> Exists:
    """Whether a record of the statement around it has a link in this Planning Center organization."""
    return exists().where(
        link.record_id == record.id,
        link.kind == kind,
        link.organization_id == context.organization_id,
        link.pco_organization_id == context.pco_organization_id,
        *where,
    )


async def said_different(session: AsyncSession, context: RunContext, pco_ids: list[str]) -> dict[str, list[str]]:
    """Ids of members whom an administrator called somebody else than these people, by Planning Center's id."""
    rows = await session.execute(
        select(HeldMatch.pco_id, HeldMatch.different_from)
        .filter_by(**context.owner)
        .where(HeldMatch.pco_id.in_(pco_ids))
    )
    return {row.pco_id: row.different_from for row in rows}


async def _in_conflict(session: AsyncSession, context: RunContext, record_ids: list[UUID]) -> set[UUID]:
    """Which of these records have an open conflict."""
    rows = await session.scalars(
        select(Conflict.record_id).where(
            Conflict.organization_id == context.organization_id,
            Conflict.record_id.in_(record_ids),
            Conflict.state == "open",
        )
    )
    return set(rows)


# --- households -----------------------------------------------------------------------------------------------------


async def _households(session: AsyncSession, context: RunContext, staged: Sequence[Remote]) -> Rows:
    households = {row.pco_id: household_from_snapshot(row.snapshot or {}) for row in staged}
    hashes = {row.pco_id: row.remote_hash for row in staged}
    read_at = {row.pco_id: row.read_at for row in staged}
    people = await record_ids(session, context, [pco_id for h in households.values() for pco_id in h.person_ids])
    found = await session.execute(
        _links(context, FAMILY, Family).where(Link.pco_id.in_(list(households))).with_for_update(of=Link)
    )
    pairs = found.all()
    ours = await family_values(session, context.owner, [family for _, family in pairs])
    conflicts = await _in_conflict(session, context, [family.id for _, family in pairs])
    written = await writes_of(session, [link.id for link, _ in pairs])
    settled: dict[datetime, list[int]] = {}
    effects: Rows = []
    rows: Rows = []
    for link, family in pairs:
        household = households.pop(link.pco_id)
        theirs = household_values(household, people)
        if family.deleted_at is not None:
            link.remote_hash = hashes[link.pco_id]
            continue
        writes = written.get(link.id, [])
        if family_believable_at(writes, theirs, context.reading(read_at[link.pco_id])):
            rows.append(_later(FAMILY, link.pco_id, household.name, record_id=family.id))
            continue
        base = family_base_of(link, writes, theirs)
        result = merge_family(base, ours[family.id], theirs, context.policy, kept_different(link))
        result = without_unmet(result, await people_met(session, context, result.remove_from_ours))
        unknown = bool(set(household.person_ids) - people.keys())
        change = _family_change(result, family, household, family.id in conflicts)
        if change:
            rows.append(change)
        elif not unknown:
            members = sorted(result.agreed_members)
            agree(link, {**base, **result.fields.agreed, "members": members}, read_at[household.pco_id])
            _compared(link, hashes[household.pco_id], family.version)
            if writes:
                effects += carried_out(context, FAMILY, family.id, writes, confirmed_of_family(writes, theirs))
                settled.setdefault(read_at[household.pco_id], []).append(link.id)
    await settle_writes(session, context, settled, effects)
    return rows + await _strange_households(session, context, households, people)


def _family_change(
    result: FamilyMerge, family: Family, household: RemoteHousehold, conflict_open: bool
) -> dict[str, Any] | None:
    fields = result.fields
    ours = bool(fields.to_ours or result.add_to_ours or result.remove_from_ours)
    here = bool(ours or fields.conflicts or conflict_open)
    there = bool(fields.to_theirs or result.add_to_theirs or result.remove_from_theirs)
    if not here and not there:
        return None
    return {
        "kind": FAMILY,
        "record_id": family.id,
        "pco_id": household.pco_id,
        "name": household.name,
        "here": "planned" if here else "none",
        "there": "planned" if there else "none",
        "outcome": CONFLICT if fields.conflicts else updated(ours=ours, theirs=there, otherwise=CONVERGED),
    }


async def _strange_households(
    session: AsyncSession, context: RunContext, households: dict[str, RemoteHousehold], people: dict[str, UUID]
) -> Rows:
    """Households without a link: ours whose answer was lost, the family of the same people, or a new one."""
    adopted = await _adopted_households(session, context, list(households.values()))
    rows: Rows = [_home(family, households.pop(pco_id), CREATED_THERE) for pco_id, family in adopted.items()]
    await _add(session, context, rows)
    members = {people[pco_id] for household in households.values() for pco_id in household.person_ids & people.keys()}
    families = await unlinked_families(session, context, members)
    rows = []
    taken: set[UUID] = set()
    for household in sorted(households.values(), key=lambda household: int(household.pco_id)):
        theirs = _known(household, people)
        family = match_family(household.name, theirs, {k: v for k, v in families.items() if k not in taken})
        if family is not None:
            taken.add(family)
        if theirs or family is not None:
            rows.append(_home(family or uuid4(), household, LINKED if family else CREATED_HERE))
    return rows


def _home(family_id: UUID, household: RemoteHousehold, outcome: str) -> dict[str, Any]:
    return {
        "kind": FAMILY,
        "record_id": family_id,
        "pco_id": household.pco_id,
        "name": household.name,
        "here": "planned",
        "outcome": outcome,
    }


async def _adopted_households(
    session: AsyncSession, context: RunContext, households: Sequence[RemoteHousehold]
) -> dict[str, UUID]:
    """Households made by us whose answer was lost, by Planning Center's id: an intent without an answer fits them."""
    creations = await session.execute(
        select(Creation.record_id, Creation.content)
        .filter_by(**context.owner, kind=FAMILY, state="sent")
        .join(Family, Family.id == Creation.record_id)
        .where(Creation.content.is_not(None), ~_has_link(context, FAMILY, Family, Link.state != "gone"))
    )
    sent = {record_id: content or {} for record_id, content in creations.tuples()}
    pco_ids = await pco_ids_of(
        session, context.owner, {member for content in sent.values() for member in content["members"]}
    )
    found: dict[str, UUID] = {}
    for record_id, content in sent.items():
        people = frozenset(pco_ids[member] for member in content["members"] if member in pco_ids)
        for household in households:
            there = frozenset(household.person_ids)
            if household.pco_id not in found and is_created(content["name"], people, household.name, there):
                found[household.pco_id] = record_id
                break
    return found


async def still_new(
    session: AsyncSession, context: RunContext, households: Sequence[RemoteHousehold], people: dict[str, UUID]
) -> set[str]:
    """Of households without a family when they were compared, those without one now, by Planning Center's id.

    One with somebody in it about whom this run could not decide is left out: that person's family may be the one.
    """
    if not households:
        return set()
    everybody = [pco_id for household in households for pco_id in household.person_ids]
    strangers = [pco_id for pco_id in everybody if pco_id not in people]
    undecided = set(
        await session.scalars(
            select(Change.pco_id).where(
                Change.run_id == context.run_id,
                Change.kind == MEMBER,
                Change.outcome == LATER,
                Change.pco_id == any_(literal(strangers, ARRAY(Text))),
            )
        )
    )
    families = await unlinked_families(session, context, {people[pco_id] for pco_id in everybody if pco_id in people})
    found: set[str] = set()
    for household in households:
        theirs = _known(household, people)
        known = match_family(household.name, theirs, families)
        if theirs and known is None and undecided.isdisjoint(household.person_ids):
            found.add(household.pco_id)
    return found


async def unlinked_families(
    session: AsyncSession, context: RunContext, members: set[UUID]
) -> dict[UUID, tuple[str, frozenset[UUID]]]:
    taken = or_(
        _has_link(context, FAMILY, Family, Link.state != "gone"),
        exists().where(
            Change.run_id == context.run_id,
            Change.kind == FAMILY,
            Change.record_id == Family.id,
            Change.pco_id.is_not(None),
        ),
    )
    concerned = select(FamilyMember.family_id).where(
        FamilyMember.member_id == any_(literal(list(members), ARRAY(Uuid)))
    )
    return await _families_where(session, context, Family.id.in_(concerned), ~taken)


async def not_created_yet(session: AsyncSession, context: RunContext, kind: str, record_ids: Collection[UUID]) -> None:
    """Leave records that this run would create in Planning Center to the next one: they may be there already."""
    if not record_ids:
        return
    await session.execute(
        update(Change)
        .where(
            Change.run_id == context.run_id,
            Change.kind == kind,
            Change.pco_id.is_(None),
            Change.there == "planned",
            Change.record_id == any_(literal(list(record_ids), ARRAY(Uuid))),
        )
        .values(there="later", outcome=LATER, sentence=UNDECIDED),
        execution_options={"synchronize_session": False},
    )


async def still_matched(
    session: AsyncSession, context: RunContext, households: Mapping[UUID, RemoteHousehold], people: dict[str, UUID]
) -> set[UUID]:
    """Of families that were found to be these households, those of which it is true by now."""
    if not households:
        return set()
    families = await _families_where(session, context, Family.id == any_(literal(list(households), ARRAY(Uuid))))
    return {
        family_id
        for family_id, family in families.items()
        if match_family(households[family_id].name, _known(households[family_id], people), {family_id: family})
    }


async def _families_where(
    session: AsyncSession, context: RunContext, *where: ColumnElement[bool]
) -> dict[UUID, tuple[str, frozenset[UUID]]]:
    rows = await session.execute(
        select(Family.id, Family.name, func.array_agg(FamilyMember.member_id).label("members"))
        .join(FamilyMember, FamilyMember.family_id == Family.id)
        .where(Family.organization_id == context.organization_id, Family.deleted_at.is_(None), *where)
        .group_by(Family.id)
    )
    return {row.id: (row.name, frozenset(row.members)) for row in rows}


def _known(household: RemoteHousehold, people: dict[str, UUID]) -> frozenset[UUID]:
    return frozenset(people[pco_id] for pco_id in household.person_ids if pco_id in people)


async def people_met(session: AsyncSession, context: RunContext, member_ids: Collection[str]) -> set[str]:
    """Of these members those whose people this run has read."""
    if not member_ids:
        return set()
    rows = await session.scalars(
        select(Link.record_id)
        .filter_by(**context.owner, kind=MEMBER)
        .where(
            Link.record_id == among([UUID(one) for one in member_ids]),
            remote.sighted(context.run_id, MEMBER, Link.pco_id),
        )
    )
    return set(map(str, rows))


def without_unmet(result: FamilyMerge, met: set[str]) -> FamilyMerge:
    """Nobody leaves a family here for no longer being in Planning Center: who was not met may be gone."""
    return replace(result, remove_from_ours=result.remove_from_ours & met)


async def record_ids(session: AsyncSession, context: RunContext, pco_ids: list[str]) -> dict[str, UUID]:
    """Our ids of people in Planning Center: linked, or about to be by this run."""
    linked = select(Link.pco_id, Link.record_id).where(
        Link.organization_id == context.organization_id,
        Link.pco_organization_id == context.pco_organization_id,
        Link.kind == MEMBER,
        Link.state != "gone",
        Link.pco_id.in_(pco_ids),
    )
    planned = select(Change.pco_id, Change.record_id).where(
        Change.run_id == context.run_id,
        Change.kind == MEMBER,
        Change.outcome.in_([LINKED, CREATED_HERE, CREATED_THERE]),
        Change.pco_id.in_(pco_ids),
    )
    return {row.pco_id: row.record_id for row in await session.execute(linked.union(planned))}


# --- what only moved here -------------------------------------------------------------------------------------------


async def _gone(session: AsyncSession, context: RunContext) -> Rows:
    """Linked people and households that are not there: a complete pull has asked for each of them by itself."""
    if context.kind != "full":
        return []
    rows: Rows = []
    for kind, record, name in (
        (MEMBER, Member, func.concat(Member.first_name, " ", Member.last_name)),
        (FAMILY, Family, Family.name),
    ):
        missing = (
            _links(context, kind, record)
            .with_only_columns(Link.record_id, Link.pco_id, name.label("name"))
            .where(Link.state != "gone", Link.missing_since.is_not(None), record.deleted_at.is_(None))
        )
        rows += [
            {
                "kind": kind,
                "record_id": row.record_id,
                "pco_id": row.pco_id,
                "name": row.name,
                "here": "planned",
                "outcome": GONE,
            }
            for row in await session.execute(missing)
        ]
    return rows


async def _changed_here(session: AsyncSession, context: RunContext) -> Rows:
    rows = await session.execute(
        _links(context, MEMBER, Member).where(
            Link.state == "linked", Member.deleted_at.is_(None), Member.version > Link.compared_version
        )
    )
    return [_there(MEMBER, member.id, link.pco_id, full_name(member), UPDATED_THERE) for link, member in rows]


async def _created_here(session: AsyncSession, context: RunContext) -> Rows:
    """Members without a link; not those whom a held match may stand for, nor those gone in Planning Center."""
    again = _has_link(context, MEMBER, Member, Link.state == "gone", Link.create_again.is_(True))
    rows = await session.scalars(
        select(Member).where(
            Member.organization_id == context.organization_id,
            Member.deleted_at.is_(None),
            Member.active,
            or_(~_has_link(context, MEMBER, Member), again),
            ~waits_for_an_answer(context.owner),
        )
    )
    return [_there(MEMBER, member.id, None, full_name(member), CREATED_THERE) for member in rows]


async def _deleted_here(session: AsyncSession, context: RunContext) -> Rows:
    if not context.inactivate_deleted:
        return []
    rows = await session.execute(
        _links(context, MEMBER, Member).where(
            Link.state == "linked", Member.deleted_at.is_not(None), Member.version > Link.compared_version
        )
    )
    return [_there(MEMBER, member.id, link.pco_id, full_name(member), INACTIVATED_THERE) for link, member in rows]


async def _families_changed_here(session: AsyncSession, context: RunContext) -> Rows:
    """Families that were edited, or of whom somebody is known there only now."""
    person = aliased(Link)
    known = or_(
        _has_link(context, MEMBER, Member, person.state != "gone", link=person),
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
        _links(context, FAMILY, Family).where(
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


async def _families_created_here(session: AsyncSession, context: RunContext) -> Rows:
    somebody = exists().where(
        FamilyMember.family_id == Family.id, Member.id == FamilyMember.member_id, Member.deleted_at.is_(None)
    )
    rows = await session.scalars(
        select(Family).where(
            Family.organization_id == context.organization_id,
            Family.deleted_at.is_(None),
            ~_has_link(context, FAMILY, Family),
            somebody,
        )
    )
    return [_there(FAMILY, family.id, None, family.name, CREATED_THERE) for family in rows]


def _there(kind: str, record_id: UUID, pco_id: str | None, name: str, outcome: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "record_id": record_id,
        "pco_id": pco_id,
        "name": name,
        "there": "planned",
        "outcome": outcome,
    }


def _later(kind: str, pco_id: str, name: str, record_id: UUID | None = None) -> dict[str, Any]:
    return {
        "kind": kind,
        "record_id": record_id,
        "pco_id": pco_id,
        "name": name,
        "outcome": LATER,
        "sentence": OUTCOMES[LATER],
    }


def name_of(person: RemotePerson) -> str:
    """The display name of a person in Planning Center."""
    return f"{person.values.first_name} {person.values.last_name}".strip() or f"Person {person.pco_id}"
