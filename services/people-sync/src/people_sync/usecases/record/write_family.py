"""Writes one family to Planning Center as a household: creation, name, primary contact and memberships.

As with people, every request is answered or refused by itself; each membership is a separate request.
"""

from collections.abc import AsyncIterator, Container, Mapping, Sequence, Set
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.http.plans import PlanField
from contracts.values import FAMILY, MEMBER
from pco_client.errors import NotFound, Unavailable
from pco_client.jsonapi import Document, Identifier, write_body
from pco_client.query import Query
from pco_client.walk import list_all
from people_sync.domain.families import Home, household_values, is_the_same
from people_sync.domain.merge import FamilyMerge, merge_family
from people_sync.domain.planning_center import RemoteHousehold, Unread
from people_sync.domain.plans import PRIMARY_CONTACT, allows, created, family_created, of_family
from people_sync.domain.sentences import (
    CONFLICT,
    CREATED_THERE,
    DELETED_MEANWHILE,
    FIRST_SYNC_ASKS,
    FOUND_THERE,
    LATER,
    LINKED,
    NOBODY_THERE_YET,
    ONLY_KEPT_OUT,
    OUTCOMES,
    UNCHANGED,
    UPDATED_THERE,
)
from people_sync.domain.writes import confirmed_of_family, family_believable_at, membership, with_written
from people_sync.planning_center import HOUSEHOLDS, household_of
from people_sync.storage.effects import insert_effects
from people_sync.storage.families import family_values, linked_records, pco_ids_of, people_of
from people_sync.storage.kept_out import members_left_alone
from people_sync.storage.links import agree, decided_differences, family_base_of, tie
from people_sync.storage.strays import MEMBERSHIP
from people_sync.storage.sync_tables import Creation
from people_sync.storage.tables import Family, Link, LinkWrite, Member
from people_sync.storage.writes import Sent, announce, answered, left_again, note_created, settle, taken_back, writes_of
from people_sync.usecases.conflicts import open_conflict, open_conflicts_of
from people_sync.usecases.record.creations import Intent, Later, create_once
from people_sync.usecases.record.decide_families import concerned, family_lets_go
from people_sync.usecases.record.decide_people import in_conflict
from people_sync.usecases.record.effects import Effects, carried_out, noted, publish, tied, touch_family
from people_sync.usecases.record.planned import LeftOut
from people_sync.usecases.record.reading import raise_unread
from people_sync.usecases.record.refusals import DEFINITE, Part, Refusals
from people_sync.usecases.record.writer import Writer
from synckit.among import among
from synckit.creations import Content, Made
from synckit.errors import NotYet
from synckit.history import THERE
from synckit.staleness import CREATED, Reading, made_lately
from synckit.text import fold


async def write_family(writer: Writer, family_id: UUID, *, approved: Sequence[PlanField] | None = None) -> str:
    """Write one family; gives the outcome. `approved` and errors as for `write_person`."""
    async with writer.job.sessions() as session:
        family = await session.get_one(Family, family_id)
        link = await session.scalar(select(Link).filter_by(**writer.owner, kind=FAMILY, record_id=family.id))
        known = await people_of(session, writer.owner, family)
        alone = await members_left_alone(session, writer.organization_id, known)
    people = {member: pco_id for member, pco_id in known.items() if member not in alone}
    if family.deleted_at is not None:
        if approved is not None:
            raise LeftOut
        return UNCHANGED
    if link is None:
        if known and not people:
            raise Later(ONLY_KEPT_OUT)
        return await _create(writer, family, people, approved)
    if link.state == "gone":
        return UNCHANGED
    return await _update(writer, family, link, people, approved)


# --- create ---------------------------------------------------------------------------------------------------------


async def _create(
    writer: Writer, family: Family, people: Mapping[str, str], approved: Sequence[PlanField] | None
) -> str:
    if not people:
        raise Later(NOBODY_THERE_YET)
    primary = await _primary(writer, family, people)
    if approved is not None:
        _keep_to(approved, _to_be_created(family, people, approved), writer.country)
    wanted = frozenset(people.values())
    content: Content = {"name": family.name, "primary_contact": primary, "members": sorted(people)}
    # People created by this run are in no household yet; for others an existing household is looked up first.
    # A household from an earlier attempt is looked up by its sent values.
    known = await _all_new(writer, people) or await _unanswered(writer, family)
    existing = None if known else await _existing(writer, family, people[primary], wanted)
    if existing is not None:
        same = frozenset(existing.person_ids) == wanted and fold(existing.name) == fold(family.name)
        same &= existing.primary_contact_id == people[primary]
        made = Made(existing.pco_id, content if same else {})
        async with writer.transaction() as session:
            await _store_link(session, writer, family, content, made, found=True)
        if not same:
            raise Later(FOUND_THERE)
        return LINKED

    async def look(intent: Intent) -> str | None:
        sent = intent.content or content
        async with writer.job.sessions() as session:
            people = await pco_ids_of(session, writer.owner, sent["members"])
        return await _made_before(writer, sent["name"], frozenset(people.values()), intent.strays)

    async def post(_: Intent) -> Document:
        relationships: dict[str, Identifier | list[Identifier]] = {
            "people": [Identifier("Person", pco_id) for pco_id in sorted(wanted, key=int)],
            "primary_contact": Identifier("Person", people[primary]),
        }
        return await writer.pco.create(
            HOUSEHOLDS, write_body("Household", {"name": family.name}, relationships=relationships)
        )

    async def created(session: AsyncSession, made: Made) -> None:
        await _store_link(session, writer, family, content, made)

    await create_once(writer, FAMILY, family.id, content, look=look, post=post, created=created)
    return CREATED_THERE


def _to_be_created(family: Family, people: Mapping[str, str], approved: Sequence[PlanField]) -> tuple[PlanField, ...]:
    """Plan fields of a new household. Its primary contact may differ from ours, if that person is not there."""
    contact = str(family.primary_contact_id) if family.primary_contact_id else None
    planned = next((one.here for one in approved if one.field == PRIMARY_CONTACT), None)
    theirs = planned if contact is None or contact not in people else {"id": contact, "pco_id": people[contact]}
    shown = {one: {"id": one, "pco_id": pco_id, "name": ""} for one, pco_id in people.items()}
    fields = family_created(family.name, people, None, "there", shown)
    return fields if theirs is None else (*fields, *created({PRIMARY_CONTACT: theirs}, "there"))


async def _all_new(writer: Writer, people: Mapping[str, str]) -> bool:
    """Whether we created all these people just now, so that no household there can have them."""
    lately = writer.now() - writer.resources.horizon
    async with writer.job.sessions() as session:
        made = await session.scalar(
            select(func.count(Link.id.distinct()))
            .filter_by(**writer.owner, kind=MEMBER)
            .join(LinkWrite, (LinkWrite.link_id == Link.id) & (LinkWrite.field == CREATED))
            .where(among(Link.record_id, [UUID(one) for one in people]), LinkWrite.answered_at > lately)
        )
    return made == len(people)


async def _unanswered(writer: Writer, family: Family) -> bool:
    async with writer.job.sessions() as session:
        intent = select(Creation.id).filter_by(**writer.owner, kind=FAMILY, record_id=family.id, state="sent")
        return await session.scalar(intent) is not None


async def _primary(writer: Writer, family: Family, people: Mapping[str, str]) -> str:
    """Member id of the primary contact if in Planning Center, else of an adult, else of any member."""
    if str(family.primary_contact_id) in people:
        return str(family.primary_contact_id)
    async with writer.job.sessions() as session:
        first = await session.scalar(
            select(Member.id)
            .where(Member.id.in_([UUID(one) for one in people]))
            .order_by(Member.child, Member.created_at, Member.id)
            .limit(1)
        )
    return str(first)


async def _existing(writer: Writer, family: Family, primary: str, wanted: frozenset[str]) -> RemoteHousehold | None:
    """An existing household of the same people, or of most of them and the same name; else None."""
    for household in await _free_households(writer, primary):
        if is_the_same(Home(family.name, wanted), Home(household.name, frozenset(household.person_ids))):
            return household
    return None


async def _made_before(writer: Writer, name: str, wanted: frozenset[str], strays: Container[str]) -> str | None:
    """The household that an earlier attempt created."""
    for pco_id in sorted(wanted, key=int):
        try:
            households = await _free_households(writer, pco_id)
        except NotFound:
            continue  # deleted there since
        for household in households:
            if household.pco_id in strays:
                continue
            if is_the_same(Home(name, wanted), Home(household.name, frozenset(household.person_ids))):
                return household.pco_id
    return None


async def _free_households(writer: Writer, pco_id: str) -> list[RemoteHousehold]:
    """The person's households, without those linked to another family here.

    A household whose family was deleted here is free, for the family that is added again.
    """
    try:
        document = await writer.pco.get(f"/people/v2/people/{pco_id}", Query(include=("households",)))
    except NotFound:
        await _maybe_stale(writer, pco_id)
        raise
    if document.included.missing(document.data, "households"):
        raise NotYet(writer.now() + writer.resources.horizon)
    households: list[RemoteHousehold] = []
    for row in document.included.many(document.data, "households"):
        household = household_of(row)
        if isinstance(household, Unread):
            raise_unread(writer, household, writer.now())
        households.append(household)
    async with writer.job.sessions() as session:
        linked = await session.scalars(
            select(Link.pco_id)
            .filter_by(**writer.owner, kind=FAMILY)
            .join(Family, Family.id == Link.record_id)
            .where(among(Link.pco_id, [household.pco_id for household in households]), Family.deleted_at.is_(None))
        )
        taken = set(linked)
    return [household for household in households if household.pco_id not in taken]


async def _maybe_stale(writer: Writer, pco_id: str) -> None:
    """Raise NotYet if the person was written so recently that a 404 proves nothing."""
    async with writer.job.sessions() as session:
        link_id = await session.scalar(select(Link.id).filter_by(**writer.owner, kind=MEMBER, pco_id=pco_id))
        writes = (await writes_of(session, [link_id])).get(link_id, []) if link_id is not None else []
    if until := made_lately(writes, writer.reading(writer.now())):
        raise NotYet(until)


async def _store_link(
    session: AsyncSession, writer: Writer, family: Family, content: Content, made: Made, *, found: bool = False
) -> None:
    """`found`: the household existed and was not created by us."""
    now = writer.now()
    agreed = made.content
    locked = await session.get_one(Family, family.id, with_for_update=True, populate_existing=True)
    unchanged = locked.version == family.version
    effects = Effects()
    if not found:
        effects.rows.append(noted(writer, FAMILY, family.id, CREATED, None, made.pco_id, side=THERE, by="platform"))
    touch_family(writer, locked, effects)
    if unchanged:
        # Publishes the link; no value has to be sent to Planning Center.
        family.version = locked.version
    link = await tie(session, writer.owner, FAMILY, family.id, made.pco_id)
    if agreed.get("primary_contact") and locked.primary_contact_id is None:
        # A household needs a primary contact, so our side takes the one it was created with.
        locked.primary_contact_id = UUID(agreed["primary_contact"])
        effects.rows.append(
            noted(writer, FAMILY, family.id, "primary_contact", None, agreed["primary_contact"], rule="filled")
        )
    if link is None:
        # The platform linked the family to another household meanwhile; that link counts.
        raise Later(OUTCOMES[LATER])
    if agreed:
        agree(link, agreed, now)
        link.compared_version = family.version if agreed == content else 0
    await session.flush()
    if found:
        effects.rows.append(tied(writer, FAMILY, link))
    else:
        await _note_made(session, link, agreed, now)
    await publish(session, writer, effects)


async def _note_made(session: AsyncSession, link: Link, agreed: Content, now: datetime) -> None:
    """Note the created household and memberships, which reads may not show for a while."""
    await note_created(session, link.id, now)
    moves = [Sent(membership(one), before=False, after=True) for one in agreed.get("members", ())]
    await announce(session, link.id, moves, now)
    await answered(session, link.id, [move.field for move in moves], now)


# --- change ---------------------------------------------------------------------------------------------------------


async def _update(
    writer: Writer, family: Family, link: Link, people: Mapping[str, str], approved: Sequence[PlanField] | None
) -> str:
    path = f"{HOUSEHOLDS}/{link.pco_id}"
    read_at = writer.now()
    household = household_of((await writer.pco.get(path)).data)
    if isinstance(household, Unread):
        raise_unread(writer, household, read_at)
    async with writer.job.sessions() as session:
        known = await linked_records(session, writer.owner, household.person_ids)
        ours = (await family_values(session, writer.owner, [family]))[family.id]
        writes = (await writes_of(session, [link.id])).get(link.id, [])
        conflict = (await in_conflict(session, writer, [family.id])).get(family.id)
        theirs = household_values(household, known)
        alone = await members_left_alone(session, writer.organization_id, concerned(ours, theirs))
    if until := family_believable_at(writes, theirs, writer.reading(read_at)):
        raise NotYet(until)
    base = family_base_of(link, writes, theirs)
    result = merge_family(base, ours, theirs, writer.policy, decided_differences(link), left_alone=alone)
    if until := family_lets_go(writer, conflict, theirs, result, read_at):
        raise NotYet(until)
    if result.fields.first_match and not writer.chosen:
        raise Later(FIRST_SYNC_ASKS)
    _keep_to(approved, of_family(base, ours, theirs, replace(result, remove_from_ours=frozenset())), writer.country)
    joining = result.add_to_theirs & people.keys()
    if result.fields.conflicts:
        await _conflict(writer, family, result, household, read_at)
    leaving = {str(member): pco_id for pco_id, member in known.items() if str(member) in result.remove_from_theirs}
    sent = {
        name: value
        for name, value in result.fields.to_theirs.items()
        # A primary contact who is not there, or no longer a member here, cannot be sent.
        if name != "primary_contact" or value in people
    }
    written = bool(sent or joining or leaving)
    mine = carried_out(writer, FAMILY, family.id, writes, confirmed_of_family(writes, theirs))
    await _announce(writer, family, base, result, sent, joining, leaving.keys(), mine, writer.reading(read_at))
    refusals = Refusals()
    # Joins come first and leaves last, since a primary contact must be in the household.
    for member in sorted(joining):
        async with _part(writer, family, refusals, {membership(member): True}):
            await _join(writer, family, path, people[member], UUID(member))
    for name, value in sent.items():
        async with _part(writer, family, refusals, {name: value}):
            await writer.pco.patch(path, write_body("Household", _attribute(people, name, value), identity=link.pco_id))
    there = await memberships(writer, path) if leaving else {}
    for member, person in leaving.items():
        # A person may have duplicate memberships.
        if rows := [row for row, one in there.items() if one == person]:
            async with _part(writer, family, refusals, {membership(member): False}):
                for row in rows:
                    await _leave(writer, f"{path}/household_memberships/{row}")
    left = {membership(member): False for member, person in leaving.items() if person not in there.values()}
    await _agree(writer, family, left, complete=not refusals.found)
    refusals.raise_any()
    return CONFLICT if result.fields.conflicts else UPDATED_THERE if written else UNCHANGED


def _keep_to(approved: Sequence[PlanField] | None, now: Sequence[PlanField], country: str) -> None:
    """Raise LeftOut if this write was not approved.

    `now` has no leaves on our side: without reading each person they may be gone there, which is not checked here.
    """
    if approved is not None and not allows(approved, now, country):
        raise LeftOut


async def _announce(
    writer: Writer,
    family: Family,
    base: Mapping[str, Any],
    result: FamilyMerge,
    fields_sent: Mapping[str, Any],
    joining: Set[str],
    leaving: Set[str],
    mine: list[dict[str, Any]],
    reading: Reading,
) -> None:
    """Commit the announced changes, by which stale reads are recognized, and the values agreed by now."""
    fields = result.fields
    sent = [Sent(name, fields.replaced[name], value) for name, value in fields_sent.items()]
    sent += [Sent(membership(member), before=False, after=True) for member in sorted(joining)]
    sent += [Sent(membership(member), before=True, after=False) for member in sorted(leaving)]
    async with writer.transaction() as session:
        link = await _locked_link(session, writer, family)
        agree(link, {**base, **fields.agreed, "members": sorted(result.agreed_members)}, writer.now())
        link.remote_hash = None
        await insert_effects(session, mine)
        await settle(session, [link.id], reading)
        await announce(session, link.id, sent, writer.now())


@asynccontextmanager
async def _part(writer: Writer, family: Family, refusals: Refusals, written: Mapping[str, Any]) -> AsyncIterator[None]:
    """Send one request and note its answer; a definite refusal concerns this part alone."""
    try:
        yield
    except DEFINITE as error:
        async with writer.transaction() as session:
            await taken_back(session, (await _locked_link(session, writer, family)).id, written.keys())
        await refusals.refused(writer, Part(None, tuple(written), FAMILY), error)
    except Unavailable as error:
        if error.outcome_unknown:
            async with writer.transaction() as session:
                link = await _locked_link(session, writer, family)
                await left_again(session, link.id, written.keys(), writer.now())
        raise
    else:
        refusals.taken = True
        async with writer.transaction() as session:
            await _store_answer(session, writer, family, written)


async def _store_answer(session: AsyncSession, writer: Writer, family: Family, written: Mapping[str, Any]) -> Link:
    """Note these changes as accepted by Planning Center, and so agreed."""
    link = await _locked_link(session, writer, family)
    # A change that a read has confirmed meanwhile is already noted.
    writes = (await writes_of(session, [link.id])).get(link.id, [])
    replaced = {one.field: one.before for one in writes if one.answered_at is None}
    await answered(session, link.id, written.keys(), writer.now())
    agree(link, with_written(link.agreed, written), writer.now())
    rows = [
        noted(writer, FAMILY, family.id, name, replaced[name], value, side=THERE, by="platform")
        for name, value in written.items()
        if name in replaced
    ]
    await insert_effects(session, rows)
    return link


def _attribute(people: Mapping[str, str], name: str, value: str) -> dict[str, str]:
    return {"primary_contact_id": people[value]} if name == "primary_contact" else {name: value}


async def _join(writer: Writer, family: Family, path: str, pco_id: str, member_id: UUID) -> None:
    """Add a membership, not pending, since a pending one can mail the person (planningcenter/developers#371)."""

    async def look(intent: Intent) -> str | None:
        theirs = (row for row, person in (await memberships(writer, path)).items() if person == pco_id)
        return next((row for row in theirs if row not in intent.strays), None)

    async def post(_: Intent) -> Document:
        body = write_body(
            "HouseholdMembership", {"pending": False}, relationships={"person": Identifier("Person", pco_id)}
        )
        return await writer.pco.create(f"{path}/household_memberships", body)

    async def created(session: AsyncSession, _: Made) -> None:
        await _locked_link(session, writer, family)

    intent_id = uuid5(family.id, str(member_id))
    await create_once(writer, MEMBERSHIP, intent_id, {}, of_record=family.id, look=look, post=post, created=created)


async def _leave(writer: Writer, path: str) -> None:
    with suppress(NotFound):  # already left there
        await writer.pco.delete(path)


async def memberships(writer: Writer, path: str) -> dict[str, str]:
    """The people in a household, by membership. NotYet if a membership lacks its person."""
    read_at = writer.now()
    rows = (await list_all(writer.pco, f"{path}/household_memberships")).data
    if not all(row.has_relationship("person") for row in rows):
        raise NotYet(read_at + writer.resources.horizon)
    return {row.id: person.id for row in rows if (person := row.to_one("person"))}


async def _agree(writer: Writer, family: Family, left: Mapping[str, bool], *, complete: bool) -> None:
    """Note that the household equals our family. `left`: members who had left there before."""
    async with writer.transaction() as session:
        link = await _locked_link(session, writer, family)
        await answered(session, link.id, left.keys(), writer.now())
        agree(link, with_written(link.agreed, left), writer.now())
        link.compared_version, link.remote_hash = family.version if complete else 0, None


async def _conflict(
    writer: Writer, family: Family, result: FamilyMerge, household: RemoteHousehold, read_at: datetime
) -> None:
    async with writer.transaction() as session:
        locked = await session.get_one(Family, family.id, with_for_update=True, populate_existing=True)
        if locked.deleted_at is not None:
            raise Later(DELETED_MEANWHILE)
        link = await _locked_link(session, writer, family)
        conflict = (await open_conflicts_of(session, writer.organization_id, [family.id])).get(family.id)
        opened = open_conflict(
            session,
            link,
            result.fields.conflicts,
            conflict,
            updated_at=household.updated_at,
            read_at=read_at,
            now=writer.now(),
        )
        await publish(session, writer, Effects(conflicts=opened))


async def _locked_link(session: AsyncSession, writer: Writer, family: Family) -> Link:
    statement = select(Link).filter_by(**writer.owner, kind=FAMILY, record_id=family.id).with_for_update()
    return (await session.scalars(statement)).one()
