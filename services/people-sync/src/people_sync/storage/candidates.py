"""Rows and counts for matching, bounded even when thousands share an email or name."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Text, column, exists, func, literal, or_, select, true
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import FAMILY, MEMBER
from people_sync.domain.matching import HOUSEHOLD, Local, Sharers, Theirs, rows_needed
from people_sync.domain.planning_center import RemotePerson, household_from_snapshot, person_from_snapshot, to_match
from people_sync.storage import remote
from people_sync.storage.families import linked_records
from people_sync.storage.kept_out import anybody_kept_out, is_kept_out
from people_sync.storage.links import ended, has_link
from people_sync.storage.sync_tables import Remote
from people_sync.storage.tables import FamilyMember, Link, Member
from synckit.among import among

Owner = Mapping[str, str]


async def sharers_of(session: AsyncSession, owner: Owner, people: Sequence[Theirs]) -> dict[str, Sharers]:
    """The sharers of the people's emails on both sides, counted by the database."""
    emails = sorted({key for person in people for key in person.email_keys()})
    if not emails:
        return {}
    names = sorted({key for person in people for key in person.name_keys()})
    ours = (Member.organization_id == owner["organization_id"], Member.deleted_at.is_(None))
    here = await _counts(
        session,
        select(Member.email_key, func.count()).where(*ours, among(Member.email_key, emails)).group_by(Member.email_key),
    )
    mails = func.unnest(Remote.email_keys).table_valued(column("email", Text)).render_derived(name="mails")
    email = mails.c.email
    theirs = select(email).select_from(Remote).join(mails, true())
    theirs = theirs.where(
        Remote.organization_id == owner["organization_id"],
        Remote.pco_organization_id == owner["pco_organization_id"],
        Remote.kind == MEMBER,
        remote.has_key(owner, "email", emails),
        among(email, emails),
    )
    there = await _counts(session, theirs.add_columns(func.count()).group_by(email))
    few = [one for one in emails if max(here.get(one, 0), there.get(one, 0)) <= HOUSEHOLD]
    names_here: dict[str, dict[str, int]] = defaultdict(dict)
    rows = await session.execute(
        select(Member.email_key, Member.name_key, func.count())
        .where(*ours, among(Member.email_key, emails), or_(among(Member.email_key, few), among(Member.name_key, names)))
        .group_by(Member.email_key, Member.name_key)
    )
    for key, name, count in rows:
        names_here[str(key)][name] = count
    names_there: dict[str, dict[str, int]] = defaultdict(dict)
    spelt = func.unnest(Remote.name_keys).table_valued(column("name", Text)).render_derived(name="spelt")
    their_name = spelt.c.name
    found = await session.execute(
        theirs.add_columns(their_name, func.count())
        .join(spelt, true())
        .where(or_(among(email, few), among(their_name, names)))
        .group_by(email, their_name)
    )
    for key, one, count in found:
        names_there[key][one] = count
    return {one: Sharers(here.get(one, 0), there.get(one, 0), names_here[one], names_there[one]) for one in emails}


def _is_free(owner: Owner, *, kept_out: bool = False) -> tuple[ColumnElement[bool], ...]:
    """Conditions of free members: not linked, or with a counterpart that is gone, who stay candidates.

    `kept_out`: also members kept out of the sync, linked or not, since people who may be one of them are left alone.
    """
    free: ColumnElement[bool] = ~has_link(owner, MEMBER, Member, ~ended(Link))
    if kept_out:
        free |= is_kept_out(owner["organization_id"], MEMBER, Member.id)
    return (Member.organization_id == owner["organization_id"], Member.deleted_at.is_(None), free)


async def anybody_free(session: AsyncSession, owner: Owner) -> bool:
    """Whether matching is needed at all: some member is free or kept out of the sync."""
    if await anybody_kept_out(session, owner["organization_id"]):
        return True
    return await session.scalar(select(Member.id).where(*_is_free(owner)).limit(1)) is not None


async def with_candidates(session: AsyncSession, owner: Owner, people: Sequence[Theirs]) -> list[Theirs]:
    """The people who share an email, or a lookup name of `free_members`, with a member who is free or kept out of the
    sync."""
    free = _is_free(owner, kept_out=await anybody_kept_out(session, owner["organization_id"]))
    names = {person.pco_id: person.lookup_keys() for person in people}
    emails = {person.pco_id: person.email_keys() for person in people}
    named = await _shared_by_free(session, free, Member.name_key, frozenset().union(*names.values()))
    mailed = await _shared_by_free(session, free, Member.email_key, frozenset().union(*emails.values()))
    return [
        person
        for person in people
        if not (names[person.pco_id].isdisjoint(named) and emails[person.pco_id].isdisjoint(mailed))
    ]


async def _shared_by_free(
    session: AsyncSession, free: Sequence[ColumnElement[bool]], column: Any, keys: Collection[str]
) -> set[str]:
    """The keys that a free member has. Each key is looked up separately, so that neither the directory's size nor the
    planner's statistics matter."""
    asked = func.unnest(literal(sorted(keys), ARRAY(Text))).table_valued("key").render_derived(name="asked")
    somebody = select(literal(1)).where(*free, column == asked.c.key).limit(1).lateral()
    return set(await session.scalars(select(asked.c.key).join(somebody, true())))


async def free_members(
    session: AsyncSession,
    owner: Owner,
    people: Sequence[Theirs],
    emails: Mapping[str, Sharers],
    *,
    taken: ColumnElement[bool],
    refused: int,
    kept_out: bool,
) -> list[Local]:
    """Free members for `domain.matching.match_people`. `taken`: condition of members to exclude as well.

    `kept_out`: whether to include members kept out of the sync.
    """
    few = [key for key, sharers in emails.items() if not sharers.office]
    names = sorted({key for person in people for key in person.lookup_keys()})
    own_names = sorted({key for person in people for key in person.name_keys()})
    needed = rows_needed(len(people), refused)
    free = (*_is_free(owner, kept_out=kept_out), ~taken)
    group: dict[str, Any] = {"partition_by": (Member.name_key, Member.child, Member.birthdate)}
    named = (
        select(
            Member.id,
            func.row_number().over(**group, order_by=Member.id).label("nth"),
            func.count().over(**group).label("size"),
        )
        .where(*free, among(Member.name_key, names))
        .subquery()
    )
    found: dict[UUID, int] = {}
    for id_, nth, size in await session.execute(select(named).where(named.c.nth <= needed)):
        found[id_] = max(0, size - needed) if nth == 1 else 0
    mailed = (
        select(
            Member.id,
            func.row_number().over(partition_by=(Member.email_key, Member.name_key), order_by=Member.id).label("nth"),
        )
        .where(*free, among(Member.email_key, emails), among(Member.name_key, own_names))
        .subquery()
    )
    for statement in (
        select(mailed.c.id).where(mailed.c.nth <= needed),
        select(Member.id).where(*free, among(Member.email_key, few)),
    ):
        found |= {id_: found.get(id_, 0) for id_ in await session.scalars(statement)}
    members = list(await session.scalars(select(Member).where(among(Member.id, found))))
    locals_ = await locals_of(session, owner, members)
    return [replace(local, others=found[UUID(local.member_id)]) for local in locals_]


async def locals_of(session: AsyncSession, owner: Owner, members: Sequence[Member]) -> list[Local]:
    """Members as inputs of matching; children with their families."""
    children = [member.id for member in members if member.child]
    families: dict[UUID, set[str]] = defaultdict(set)
    relatives: dict[str, set[str]] = defaultdict(set)
    if children:
        of_children = select(FamilyMember.family_id).where(among(FamilyMember.member_id, children))
        rows = await session.execute(
            select(FamilyMember.family_id, FamilyMember.member_id).where(FamilyMember.family_id.in_(of_children))
        )
        for family_id, member_id in rows:
            families[member_id].add(str(family_id))
            relatives[str(family_id)].add(str(member_id))
    gone = set(
        await session.scalars(
            select(Link.record_id)
            .filter_by(**owner, kind=MEMBER)
            .where(ended(Link), among(Link.record_id, [member.id for member in members]))
        )
    )
    return [
        Local(
            str(member.id),
            member.first_name,
            member.last_name,
            member.birthdate,
            member.child,
            member.email,
            active=member.active,
            family_ids=frozenset(families[member.id]) if member.child else frozenset(),
            family_members=frozenset(one for family in families[member.id] for one in relatives[family])
            if member.child
            else frozenset(),
            gone=member.id in gone,
        )
        for member in members
    ]


async def theirs_of(
    session: AsyncSession, owner: Owner, people: Sequence[RemotePerson], deleted_here: Collection[str] = ()
) -> list[Theirs]:
    """People as inputs of matching; children with the known facts about their households.

    `deleted_here`: Planning Center's ids of people linked to members deleted here.
    """
    children = [person for person in people if person.values.child]
    household_ids = sorted({one for person in children for one in person.household_ids})
    families: dict[str, str] = {}
    named: dict[str, set[str]] = defaultdict(set)
    members: dict[str, set[str]] = defaultdict(set)
    if household_ids:
        links = await session.execute(
            select(Link.pco_id, Link.record_id, Link.agreed)
            .filter_by(**owner, kind=FAMILY)
            .where(Link.state != "gone", among(Link.pco_id, household_ids))
        )
        for pco_id, record_id, agreed in links:
            families[pco_id] = str(record_id)
            members[pco_id] |= set(agreed.get("members", ()))
        rows = await session.execute(
            select(Remote.pco_id, Remote.snapshot)
            .filter_by(**owner, kind=FAMILY)
            .where(Remote.snapshot.is_not(None), among(Remote.pco_id, household_ids))
        )
        for pco_id, snapshot in rows:
            named[pco_id] |= set(household_from_snapshot(snapshot or {}).person_ids)
        known = await linked_records(session, owner, sorted({one for ids in named.values() for one in ids}))
        for pco_id, ids in named.items():
            members[pco_id] |= {str(known[one]) for one in ids if one in known}
    found = []
    for person in people:
        theirs = replace(to_match(person), deleted_here=person.pco_id in deleted_here)
        if person.values.child:
            theirs = replace(
                theirs,
                household_members=frozenset(one for id_ in person.household_ids for one in members[id_]),
                household_people=frozenset(one for id_ in person.household_ids for one in named[id_]) - {person.pco_id},
                family_ids=frozenset(families[id_] for id_ in person.household_ids if id_ in families),
            )
        found.append(theirs)
    return found


async def _counts(session: AsyncSession, statement: Any) -> dict[str, int]:
    return dict((await session.execute(statement)).all())


async def maybe_replaced(session: AsyncSession, owner: Owner, run_id: UUID) -> list[int]:
    """Ids of links whose counterpart a stranger of this run may replace, or whose member may have been added again.

    The member has a stranger's name, the family has a person of a stranger household, or the deleted member is marked
    by `links.look_for_deleted`.
    """
    rows = await session.execute(
        select(Remote.kind, Remote.snapshot)
        .filter_by(**owner, run_id=run_id)
        .where(Remote.snapshot.is_not(None), ~exists().where(remote.ITS_LINK))
    )
    read = [(kind, snapshot or {}) for kind, snapshot in rows]
    people = [to_match(person_from_snapshot(snapshot)) for kind, snapshot in read if kind == MEMBER]
    names = {key for person in people for key in person.lookup_keys()}
    households = [household_from_snapshot(snapshot) for kind, snapshot in read if kind == FAMILY]
    members = await linked_records(session, owner, [pco_id for one in households for pco_id in one.person_ids])
    named = select(Member.id).where(
        Member.organization_id == owner["organization_id"], Member.deleted_at.is_(None), among(Member.name_key, names)
    )
    deleted = select(Member.id).where(
        Member.organization_id == owner["organization_id"], Member.deleted_at.is_not(None)
    )
    theirs = select(FamilyMember.family_id).where(among(FamilyMember.member_id, members.values()))
    found = await session.scalars(
        select(Link.id)
        .filter_by(**owner, state="linked")
        .where(
            or_(
                (Link.kind == MEMBER) & Link.record_id.in_(named),
                (Link.kind == MEMBER) & Link.remote_hash.is_(None) & Link.record_id.in_(deleted),
                (Link.kind == FAMILY) & Link.record_id.in_(theirs),
            )
        )
    )
    return list(found)
