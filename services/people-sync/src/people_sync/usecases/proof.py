"""Proof of sync: statements, their facts, and the reason why a record differs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.http.common import Page, PageQuery
from contracts.http.proof import Statement, WhyDifferent
from contracts.values import FAMILY, MEMBER
from people_sync.domain.canonical import same, text_key
from people_sync.domain.families import household_values
from people_sync.domain.merge import FamilyValues
from people_sync.domain.planning_center import (
    RemoteHousehold,
    RemotePerson,
    household_from_snapshot,
    person_from_snapshot,
)
from people_sync.domain.proof import APART, PLANNED, Facts, statement, why_different
from people_sync.domain.sentences import (
    CREATED_THERE,
    INACTIVE_HERE,
    KEPT_OUT,
    ONE_SIDE,
    OUTCOMES,
    REJECTED,
    UPDATED_BOTH,
    WAITS_FOR_ANSWER,
    WAITS_FOR_SYNC,
    WAITS_FOR_YOU,
)
from people_sync.domain.values import ACTIVE, as_dict, partial_from_json
from people_sync.domain.writes import family_since, taken_since
from people_sync.planning_center import DEFAULT_COUNTRY
from people_sync.storage import runs
from people_sync.storage.families import family_values, linked_records
from people_sync.storage.held import waits_for_an_answer
from people_sync.storage.joined import asked_about
from people_sync.storage.kept_out import kept_out_among, members_left_alone
from people_sync.storage.links import links_to
from people_sync.storage.records import values_of
from people_sync.storage.sync_tables import Change, Conflict, Remote, Run
from people_sync.storage.tables import Connection, Family, Link, Member
from people_sync.storage.writes import writes_of
from people_sync.usecases.directory import current_link, existing
from people_sync.usecases.record.gone import why_gone
from servicekit.http import paging
from synckit.among import among

Owner = Mapping[str, str]
PEOPLE = "people"
FAMILIES = "families"
IDENTICAL = "_identical"
_SAME = "Both sides have the same values."


async def member_facts(
    session: AsyncSession,
    owner: Owner,
    country: str,
    pairs: Sequence[tuple[Link, Member]],
    planned: Mapping[UUID, str],
) -> dict[UUID, Facts]:
    """The facts about linked members, by our id. `planned`: a comparison's planned outcomes, by our id."""
    shown = await _shown(session, owner, MEMBER, [link.pco_id for link, _ in pairs])
    writes = await writes_of(session, [link.id for link, _ in pairs if link.pco_id in shown])
    conflicts = await _in_conflict(session, owner, [member.id for _, member in pairs])
    refused = await _refused(session, owner, planned.keys())
    found: dict[UUID, Facts] = {}
    for link, member in pairs:
        ours = as_dict(values_of(member))
        seen = shown.get(link.pco_id)
        if seen is not None:
            person = person_from_snapshot(seen.snapshot)
            taken = taken_since(writes.get(link.id, ()), seen.read_at)
            theirs: dict[str, Any] = as_dict(person.values) | partial_from_json(taken)
            active: bool | None = taken.get(ACTIVE, person.active)
        else:
            # The read equalled our values, so the link has Planning Center's values, unless the link itself is wrong.
            # For a kept difference it has the values agreed before.
            theirs = ours | partial_from_json(link.agreed) | _kept_there(link)
            active = link.agreed.get(ACTIVE)
        differing = [name for name, value in ours.items() if not same(name, value, theirs[name], country)]
        if active is not None and active is not member.active:
            differing.append(ACTIVE)
        found[member.id] = Facts(
            differing=differing,
            kept=_kept(link),
            in_conflict=conflicts.get(member.id, ()),
            planned=planned.get(member.id),
            refused=refused.get(member.id),
            moved=_moved(link, member, seen),
            edited=member.version > link.compared_version,
        )
    return found


async def family_facts(
    session: AsyncSession, owner: Owner, pairs: Sequence[tuple[Link, Family]], planned: Mapping[UUID, str]
) -> dict[UUID, Facts]:
    """The facts about linked families, as `member_facts`."""
    shown = await _shown(session, owner, FAMILY, [link.pco_id for link, _ in pairs])
    writes = await writes_of(session, [link.id for link, _ in pairs if link.pco_id in shown])
    households = {pco_id: household_from_snapshot(seen.snapshot) for pco_id, seen in shown.items()}
    people = await linked_records(session, owner, [one for home in households.values() for one in home.person_ids])
    ours = await family_values(session, owner, [family for _, family in pairs])
    everybody = {member for values in ours.values() for member in values.members} | set(map(str, people.values()))
    everybody |= {member for link, _ in pairs for member in link.agreed.get("members", ())}
    alone = await members_left_alone(session, owner["organization_id"], everybody)
    conflicts = await _in_conflict(session, owner, [family.id for _, family in pairs])
    refused = await _refused(session, owner, planned.keys())
    found: dict[UUID, Facts] = {}
    for link, family in pairs:
        seen = shown.get(link.pco_id)
        if seen is not None:
            known = household_values(households[link.pco_id], people)
            theirs = family_since(known, writes.get(link.id, ()), seen.read_at)
        else:
            theirs = _agreed_family(link, ours[family.id])
        # A member linked since the last comparison joins the household without an edit of the family.
        joins = not ours[family.id].members <= {*link.agreed.get("members", ())}
        found[family.id] = Facts(
            differing=_family_differences(ours[family.id], theirs, alone),
            kept=_kept(link),
            in_conflict=conflicts.get(family.id, ()),
            planned=planned.get(family.id),
            refused=refused.get(family.id),
            moved=joins or _moved(link, family, seen),
            edited=family.version > link.compared_version,
        )
    return found


async def not_as_here(
    session: AsyncSession,
    owner: Owner,
    country: str,
    read: Mapping[tuple[str, str], RemotePerson | RemoteHousehold],
) -> list[tuple[str, str]]:
    """Linked people and households whose values, just read, differ from ours.

    By kind and Planning Center's id, like `read`. A fixed number of queries.
    """
    people = {pco_id: one for (_, pco_id), one in read.items() if isinstance(one, RemotePerson)}
    members = await session.execute(
        links_to(owner, MEMBER, Member).where(among(Link.pco_id, people), Member.deleted_at.is_(None))
    )
    apart: list[tuple[str, str]] = []
    for link, member in members:
        person = people[link.pco_id]
        ours, theirs = as_dict(values_of(member)), as_dict(person.values)
        if person.active is not member.active or any(
            not same(name, value, theirs[name], country) for name, value in ours.items()
        ):
            apart.append((MEMBER, link.pco_id))
    households = {pco_id: one for (_, pco_id), one in read.items() if isinstance(one, RemoteHousehold)}
    found = await session.execute(
        links_to(owner, FAMILY, Family).where(among(Link.pco_id, households), Family.deleted_at.is_(None))
    )
    pairs = found.all()
    known = await linked_records(session, owner, {one for home in households.values() for one in home.person_ids})
    families = await family_values(session, owner, [family for _, family in pairs])
    everybody = {*map(str, known.values()), *(one for values in families.values() for one in values.members)}
    alone = await members_left_alone(session, owner["organization_id"], everybody)
    for link, family in pairs:
        household = household_values(households[link.pco_id], known)
        if _family_differences(families[family.id], household, alone):
            apart.append((FAMILY, link.pco_id))
    return apart


@dataclass(frozen=True, slots=True)
class _Seen:
    """A record as last read."""

    snapshot: dict[str, Any]
    remote_hash: bytes | None
    read_at: datetime


def _moved(link: Link, record: Member | Family, seen: _Seen | None) -> bool:
    """Whether either side may have changed since the two were compared."""
    unmoved = seen is not None and seen.remote_hash == link.remote_hash and record.version == link.compared_version
    return not unmoved or link.remote_hash is None


def _agreed_family(link: Link, ours: FamilyValues) -> FamilyValues:
    agreed = {"name": ours.name, "primary_contact": ours.primary_contact} | link.agreed | _kept_there(link)
    return FamilyValues(agreed["name"], frozenset(agreed.get("members", ours.members)), agreed["primary_contact"])


def _family_differences(ours: FamilyValues, theirs: FamilyValues, alone: frozenset[str]) -> list[str]:
    """Differing fields, without a primary contact unknown to the other side, and without members kept out."""
    found = ["name"] if text_key(ours.name) != text_key(theirs.name) else []
    both = {None, *((ours.members & theirs.members) - alone)}
    if {ours.primary_contact, theirs.primary_contact} <= both and ours.primary_contact != theirs.primary_contact:
        found.append("primary_contact")
    return [*found, "members"] if (ours.members ^ theirs.members) - alone else found


def _kept(link: Link) -> dict[str, str | None]:
    decided = {name: kept.get("by_name") or "an administrator" for name, kept in link.decided.items()}
    return {**dict.fromkeys(link.kept_different), **decided}


def _kept_there(link: Link) -> dict[str, Any]:
    """Planning Center's values of kept differences."""
    there = {name: pair[1] for name, pair in link.kept_different.items()}
    there |= {name: kept["theirs"] for name, kept in link.decided.items()}
    return there if link.kind == FAMILY else dict(partial_from_json(there))


async def _shown(session: AsyncSession, owner: Owner, kind: str, pco_ids: Collection[str]) -> dict[str, _Seen]:
    rows = await session.execute(
        select(Remote.pco_id, Remote.snapshot, Remote.remote_hash, Remote.read_at)
        .filter_by(**owner, kind=kind)
        .where(among(Remote.pco_id, pco_ids), Remote.snapshot.is_not(None))
    )
    return {pco_id: _Seen(snapshot, *told) for pco_id, snapshot, *told in rows if snapshot is not None}


async def _in_conflict(session: AsyncSession, owner: Owner, records: Collection[UUID]) -> dict[UUID, list[str]]:
    rows = await session.execute(
        select(Conflict.record_id, Conflict.fields)
        .filter_by(**owner, state="open")
        .where(among(Conflict.record_id, records))
    )
    return {record_id: [field["field"] for field in fields] for record_id, fields in rows}


async def _refused(session: AsyncSession, owner: Owner, records: Collection[UUID]) -> dict[UUID, str]:
    """Planning Center's reasons for refusing these records in the last sync, in words."""
    if not records:
        return {}
    last = (
        select(Run.id)
        .filter_by(**owner)
        .where(Run.finished_at.is_not(None), runs.IS_SYNC)
        .order_by(Run.created_at.desc(), Run.id.desc())
        .limit(1)
    )
    rows = await session.execute(
        select(Change.record_id, Change.sentence).where(
            Change.run_id == last.scalar_subquery(), Change.outcome == REJECTED, among(Change.record_id, records)
        )
    )
    return {record_id: sentence for record_id, sentence in rows if record_id and sentence}


# --- as the API shows it ----------------------------------------------------------------------------------------------


async def statements(session: AsyncSession, organization_id: str, query: PageQuery) -> Page[Statement]:
    """The results of nightly comparisons, newest first."""
    rows = select(Run).where(Run.organization_id == organization_id, Run.purpose == runs.PROOF, Run.state == "done")
    if query.after:
        created, last = paging.decode(query.after, paging.instant, UUID)
        rows = rows.where(func.row(Run.created_at, Run.id) < func.row(created, last))
    rows = rows.order_by(Run.created_at.desc(), Run.id.desc()).limit(query.limit + 1)
    found = (await session.scalars(rows)).all()
    shown = found[: query.limit]
    return Page[Statement](
        items=tuple(_statement(run) for run in shown),
        next=paging.encode(shown[-1].created_at.isoformat(), str(shown[-1].id)) if len(found) > query.limit else None,
    )


def _statement(run: Run) -> Statement:
    told = run.subject or {}
    people, identical = told[PEOPLE], told[PEOPLE + IDENTICAL]
    return Statement(
        run_id=str(run.id),
        at=run.finished_at or run.created_at,
        sentence=statement(people, identical, told["people_apart"]),
        people=people,
        people_identical=identical,
        families=told[FAMILIES],
        families_identical=told[FAMILIES + IDENTICAL],
        apart={reason: count for reason in APART if (count := run.counts.get(reason, 0))},
        kept_out=run.counts.get(KEPT_OUT, 0),
        changed=told["changed"],
    )


async def of_record(session: AsyncSession, organization_id: str, kind: str, record_id: str) -> WhyDifferent:
    """*Why different?* of a member or family, from stored data alone. NotFound (404)."""
    table: type[Member] | type[Family] = Member if kind == MEMBER else Family
    record: Member | Family = await session.get_one(table, await existing(session, organization_id, kind, record_id))
    if await kept_out_among(session, organization_id, kind, [record.id]):
        return WhyDifferent(reason=KEPT_OUT, sentence=OUTCOMES[KEPT_OUT])
    link = await session.scalar(current_link(organization_id, kind).where(Link.record_id == record.id))
    if link is None or link.state == "gone":
        return await _on_one_side(session, organization_id, record, link)
    owner = {"organization_id": organization_id, "pco_organization_id": link.pco_organization_id}
    read_at = await session.scalar(select(Remote.read_at).filter_by(**owner, kind=kind, pco_id=link.pco_id))
    if link.state != "linked" or (not link.agreed and read_at is None):
        return WhyDifferent(reason=WAITS_FOR_SYNC, sentence="The two were not compared yet; the next sync does that.")
    # Only a comparison knows which fields changed; here it is enough to know that something differs.
    guessed = {record.id: UPDATED_BOTH}
    if isinstance(record, Member):
        connection = await session.get_one(Connection, organization_id)
        country = connection.country_code or DEFAULT_COUNTRY
        facts = (await member_facts(session, owner, country, [(link, record)], guessed))[record.id]
    else:
        facts = (await family_facts(session, owner, [(link, record)], guessed))[record.id]
    return _why(facts, read_at)


def _why(facts: Facts, read_at: datetime | None) -> WhyDifferent:
    moved = [name for name in facts.differing if name not in facts.kept and name != ACTIVE]
    known = facts if moved else Facts(facts.differing, facts.kept, facts.in_conflict)
    found = why_different(known)
    if found is None:
        return WhyDifferent(sentence=_SAME, as_of=read_at)
    reason, sentence = found
    if reason == WAITS_FOR_SYNC:
        sentence = "Changed since the last sync; the next sync compares the two sides."
    return WhyDifferent(reason=reason, sentence=sentence, as_of=read_at)


def _asked_about(organization_id: str, member_id: UUID) -> ColumnElement[bool]:
    """Whether an administrator must still say if the member is joined to another one or is somebody else."""
    return (Member.id == member_id) & Member.id.in_(asked_about(organization_id)[1])


async def _on_one_side(
    session: AsyncSession, organization_id: str, record: Member | Family, link: Link | None
) -> WhyDifferent:
    """The reason for a record without a counterpart."""
    if link is not None and await session.scalar(select(Member.id).where(_asked_about(organization_id, record.id))):
        return WhyDifferent(reason=WAITS_FOR_YOU, sentence=(await why_gone(session, link))[1])
    if link is not None:
        sentence = "Not in Planning Center any more."
        if isinstance(record, Member):
            _, sentence = await why_gone(session, link)
        return WhyDifferent(reason=ONE_SIDE, sentence=sentence)
    connection = await session.get(Connection, organization_id)
    if isinstance(record, Member) and connection is not None:
        owner = {"organization_id": organization_id, "pco_organization_id": connection.pco_organization_id}
        if await session.scalar(select(waits_for_an_answer(owner)).where(Member.id == record.id)):
            return WhyDifferent(reason=WAITS_FOR_YOU, sentence=WAITS_FOR_ANSWER)
        if not record.active:
            return WhyDifferent(reason=ONE_SIDE, sentence=INACTIVE_HERE)
    return WhyDifferent(reason=WAITS_FOR_SYNC, sentence=PLANNED[CREATED_THERE][1])
