"""One family to Planning Center, as a household. See `push` for the rules of writing."""

from collections.abc import Mapping, Set
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import FAMILY, MEMBER
from pco_client.errors import NotFound
from pco_client.jsonapi import Document, Identifier, Resource, write_body
from pco_client.query import Query
from pco_client.walk import list_all
from people_sync.domain.canonical import fold
from people_sync.domain.families import is_created
from people_sync.domain.merge import FamilyMerge, merge_family
from people_sync.domain.planning_center import RemoteHousehold, Unread, is_inconclusive_family
from people_sync.domain.sentences import (
    CONFLICT,
    CREATED_THERE,
    DELETED_MEANWHILE,
    LATER,
    UNCHANGED,
    UPDATED_THERE,
    together,
)
from people_sync.planning_center import household_of
from people_sync.storage.links import family_base_of, kept_different
from people_sync.storage.tables import Change, Creation, Family, FamilyMember, Link, Member
from people_sync.usecases.conflicts import open_conflict, open_conflicts_of
from people_sync.usecases.sync.compare import family_values, household_values, pco_ids_of, record_ids
from people_sync.usecases.sync.context import Work
from people_sync.usecases.sync.creations import Content, Intent, Later, Made, NotYet, create_once
from people_sync.usecases.sync.effects import Effects, publish, touch_family

HOUSEHOLDS = "/people/v2/households"
MEMBERSHIP = "membership"


async def push_family(work: Work, change: Change) -> str:
    """Write one family. Returns the outcome; raises what `push` turns into one."""
    async with work.job.sessions() as session:
        family = await session.get_one(Family, change.record_id)
        link = await session.scalar(select(Link).filter_by(**work.owner, kind=FAMILY, record_id=family.id))
        people = await _people(session, work, family)
    if family.deleted_at is not None:
        return UNCHANGED
    if link is None:
        return await _create(work, family, people)
    if link.state == "gone":
        return UNCHANGED
    return together(change.outcome, await _update(work, family, link, people))


async def _people(session: AsyncSession, work: Work, family: Family) -> dict[str, str]:
    """Our members' ids to Planning Center's, of the family's members who are linked and not deleted here."""
    rows = await session.execute(
        select(Link.record_id, Link.pco_id)
        .join(FamilyMember, FamilyMember.member_id == Link.record_id)
        .join(Member, Member.id == Link.record_id)
        .filter(
            Link.organization_id == work.organization_id,
            Link.pco_organization_id == work.pco_organization_id,
            Link.kind == MEMBER,
            Link.state != "gone",
            FamilyMember.family_id == family.id,
            Member.deleted_at.is_(None),
        )
        .order_by(Link.pco_id)
    )
    return {str(row.record_id): row.pco_id for row in rows}


# --- create ---------------------------------------------------------------------------------------------------------


async def _create(work: Work, family: Family, people: Mapping[str, str]) -> str:
    if not people:
        return LATER  # nobody of them is in Planning Center yet
    primary = await _primary(work, family, people)
    wanted = frozenset(people.values())
    content: Content = {"name": family.name, "primary_contact": primary, "members": sorted(people)}
    # People made by this very run are in no household yet; everybody else is looked up before a second one is made.
    # So is what an earlier attempt may have made: that one is looked for by what was sent.
    known = await _all_new(work, people) or await _unanswered(work, family)
    existing = None if known else await _existing(work, family, people[primary], wanted)
    if existing is not None:
        async with work.job.sessions.begin() as session:
            await work.job.verify(session)
            await _store_link(session, work, family, content, Made(existing, content))
        return CREATED_THERE

    async def look(intent: Intent) -> str | None:
        sent = intent.content or content
        async with work.job.sessions() as session:
            people = await pco_ids_of(session, work, sent["members"])
        return await _made_before(work, sent["name"], frozenset(people.values()))

    async def post(_: Intent) -> Document:
        relationships: dict[str, Identifier | list[Identifier]] = {
            "people": [Identifier("Person", pco_id) for pco_id in sorted(wanted, key=int)],
            "primary_contact": Identifier("Person", people[primary]),
        }
        return await work.pco.create(
            HOUSEHOLDS, write_body("Household", {"name": family.name}, relationships=relationships)
        )

    async def created(session: AsyncSession, made: Made) -> None:
        await _store_link(session, work, family, content, made)

    await create_once(work, FAMILY, family.id, content, look=look, post=post, created=created)
    return CREATED_THERE


async def _all_new(work: Work, people: Mapping[str, str]) -> bool:
    async with work.job.sessions() as session:
        made = await session.scalar(
            select(func.count(Change.id)).where(
                Change.run_id == work.run_id,
                Change.kind == MEMBER,
                Change.outcome == CREATED_THERE,
                Change.record_id.in_([UUID(one) for one in people]),
            )
        )
    return made == len(people)


async def _unanswered(work: Work, family: Family) -> bool:
    async with work.job.sessions() as session:
        intent = select(Creation.id).filter_by(**work.owner, kind=FAMILY, record_id=family.id, state="sent")
        return await session.scalar(intent) is not None


async def _primary(work: Work, family: Family, people: Mapping[str, str]) -> str:
    """The family's primary contact if they are in Planning Center, else an adult, else anybody: the member's id."""
    if str(family.primary_contact_id) in people:
        return str(family.primary_contact_id)
    async with work.job.sessions() as session:
        first = await session.scalar(
            select(Member.id)
            .where(Member.id.in_([UUID(one) for one in people]))
            .order_by(Member.child, Member.created_at, Member.id)
            .limit(1)
        )
    return str(first)


async def _existing(work: Work, family: Family, primary: str, wanted: frozenset[str]) -> str | None:
    """A household of this name with exactly these people; None when there is none."""
    for household in await _free_households(work, primary):
        if frozenset(household.person_ids) == wanted and fold(household.name) == fold(family.name):
            return household.pco_id
    return None


async def _made_before(work: Work, name: str, wanted: frozenset[str]) -> str | None:
    """What an earlier attempt created."""
    for pco_id in sorted(wanted, key=int):
        try:
            households = await _free_households(work, pco_id)
        except NotFound:
            continue  # gone there since
        for household in households:
            if is_created(name, wanted, household.name, frozenset(household.person_ids)):
                return household.pco_id
    return None


async def _free_households(work: Work, pco_id: str) -> list[RemoteHousehold]:
    """The person's households, without those that are another family's."""
    try:
        document = await work.pco.get(f"/people/v2/people/{pco_id}", Query(include=("households",)))
    except NotFound:
        await _maybe_stale(work, pco_id)
        raise
    if document.included.missing(document.data, "households"):
        raise NotYet(work.resources.clock.now() + work.resources.horizon)
    found = [household_of(row) for row in document.included.many(document.data, "households")]
    households = [household for household in found if isinstance(household, RemoteHousehold)]
    if len(households) < len(found):
        raise NotYet(work.resources.clock.now() + work.resources.horizon)
    async with work.job.sessions() as session:
        linked = await session.scalars(
            select(Link.pco_id)
            .filter_by(**work.owner, kind=FAMILY)
            .where(Link.pco_id.in_([household.pco_id for household in households]))
        )
        taken = set(linked)
    return [household for household in households if household.pco_id not in taken]


async def _maybe_stale(work: Work, pco_id: str) -> None:
    """NotYet if the person was written so lately that a 404 proves nothing."""
    async with work.job.sessions() as session:
        written = await session.scalar(select(Link.written_at).filter_by(**work.owner, kind=MEMBER, pco_id=pco_id))
    if written is not None and written + work.resources.horizon > work.resources.clock.now():
        raise NotYet(written + work.resources.horizon)


async def _store_link(session: AsyncSession, work: Work, family: Family, content: Content, made: Made) -> None:
    agreed = made.content or {"members": []}
    locked = await session.get_one(Family, family.id, with_for_update=True, populate_existing=True)
    unchanged = locked.version == family.version
    effects = Effects()
    touch_family(work, locked, effects)
    if unchanged:
        # The platform learns of the link; no value moved that Planning Center would have to get.
        family.version = locked.version
    await session.execute(
        insert(Link)
        .values(
            **work.owner,
            kind=FAMILY,
            record_id=family.id,
            pco_id=made.pco_id,
            state="linked",
            agreed=dict(agreed),
            kept_different={},
            contacts={},
            remote_hash=None,
            compared_version=family.version if agreed == content else 0,
            written_at=work.resources.clock.now(),
            written_before={"joined": agreed["members"]},
            create_again=False,
        )
        .on_conflict_do_nothing()
    )
    await publish(session, work, effects)


# --- change ---------------------------------------------------------------------------------------------------------


async def _update(work: Work, family: Family, link: Link, people: Mapping[str, str]) -> str:
    path = f"{HOUSEHOLDS}/{link.pco_id}"
    read_at, horizon = work.resources.clock.now(), work.resources.horizon
    household = household_of((await work.pco.get(path)).data)
    if isinstance(household, Unread):
        raise NotYet(read_at + horizon)
    async with work.job.sessions() as session:
        known = await record_ids(session, work, list(household.person_ids))
        ours = (await family_values(session, work, [family]))[family.id]
    theirs = household_values(household, known)
    written_at = work.written_at(link)
    if is_inconclusive_family(link.written_before, written_at, theirs, read_at, horizon):
        raise NotYet((written_at or read_at) + horizon)
    base = family_base_of(link, theirs)
    result = merge_family(base, ours, theirs, work.policy, kept_different(link))
    joining = result.add_to_theirs & people.keys()
    if result.fields.conflicts:
        await _conflict(work, family, result)
    written = bool(result.fields.to_theirs or joining or result.remove_from_theirs)
    if written:
        await _announce(work, family, result, joining)
    await _write_fields(work, path, people, result)
    for member in sorted(joining):
        await _join(work, family, path, people[member], UUID(member))
    leaving = {pco_id for pco_id, member in known.items() if str(member) in result.remove_from_theirs}
    if leaving:
        await _leave(work, path, leaving)
    await _agree(work, family, base, result, joining, written=written)
    return CONFLICT if result.fields.conflicts else UPDATED_THERE if written else UNCHANGED


async def _announce(work: Work, family: Family, result: FamilyMerge, joining: Set[str]) -> None:
    """Commit what is about to change there, so that a stale read is known as one."""
    async with work.job.sessions.begin() as session:
        await work.job.verify(session)
        link = await _locked_link(session, work, family)
        link.written_at, link.remote_hash = work.resources.clock.now(), None
        moves = {"joined": sorted(joining), "left": sorted(result.remove_from_theirs)}
        link.written_before = {name: result.fields.replaced[name] for name in result.fields.to_theirs} | moves
        link.written_after = dict(result.fields.to_theirs) | moves


async def _write_fields(work: Work, path: str, people: Mapping[str, str], result: FamilyMerge) -> None:
    attributes: dict[str, Any] = {}
    if "name" in result.fields.to_theirs:
        attributes["name"] = result.fields.to_theirs["name"]
    primary = result.fields.to_theirs.get("primary_contact")
    if primary is not None and primary in people:
        attributes["primary_contact_id"] = people[primary]
    if attributes:
        await work.pco.patch(path, write_body("Household", attributes, identity=path.rsplit("/", 1)[1]))


async def _join(work: Work, family: Family, path: str, pco_id: str, member_id: UUID) -> None:
    """`pending: false`, since a pending membership can mail the person (planningcenter/developers#371)."""

    async def look(_: Intent) -> str | None:
        return next((row.id for row in await _memberships(work, path) if _person(row) == pco_id), None)

    async def post(_: Intent) -> Document:
        body = write_body(
            "HouseholdMembership", {"pending": False}, relationships={"person": Identifier("Person", pco_id)}
        )
        return await work.pco.create(f"{path}/household_memberships", body)

    async def created(session: AsyncSession, _: Made) -> None:
        link = await _locked_link(session, work, family)
        link.agreed = link.agreed | {"members": sorted({*link.agreed.get("members", ()), str(member_id)})}

    membership = uuid5(family.id, str(member_id))
    await create_once(work, MEMBERSHIP, membership, {}, look=look, post=post, created=created)


async def _leave(work: Work, path: str, leaving: set[str]) -> None:
    for row in await _memberships(work, path):
        if _person(row) in leaving:
            try:
                await work.pco.delete(f"{path}/household_memberships/{row.id}")
            except NotFound:
                continue  # has left there too


async def _memberships(work: Work, path: str) -> list[Resource]:
    return (await list_all(work.pco, f"{path}/household_memberships")).data


def _person(membership: Resource) -> str | None:
    person = membership.to_one("person")
    return person.id if person else None


async def _agree(
    work: Work, family: Family, base: Mapping[str, Any], result: FamilyMerge, joined: Set[str], *, written: bool
) -> None:
    async with work.job.sessions.begin() as session:
        await work.job.verify(session)
        link = await _locked_link(session, work, family)
        members = (result.agreed_members - result.remove_from_theirs) | joined
        link.agreed = {**base, **result.fields.agreed, **result.fields.to_theirs, "members": sorted(members)}
        link.compared_version, link.remote_hash = family.version, None
        link.written_after = None
        if written:
            link.written_at = work.resources.clock.now()


async def _conflict(work: Work, family: Family, result: FamilyMerge) -> None:
    async with work.job.sessions.begin() as session:
        await work.job.verify(session)
        locked = await session.get_one(Family, family.id, with_for_update=True, populate_existing=True)
        if locked.deleted_at is not None:
            raise Later(DELETED_MEANWHILE)
        link = await _locked_link(session, work, family)
        conflict = (await open_conflicts_of(session, work.organization_id, [family.id])).get(family.id)
        now = work.resources.clock.now()
        effects = Effects(conflicts=open_conflict(session, link, result.fields.conflicts, conflict, now))
        await publish(session, work, effects)


async def _locked_link(session: AsyncSession, work: Work, family: Family) -> Link:
    statement = select(Link).filter_by(**work.owner, kind=FAMILY, record_id=family.id).with_for_update()
    return (await session.scalars(statement)).one()
