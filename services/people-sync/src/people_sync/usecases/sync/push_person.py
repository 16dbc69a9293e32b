"""One member to Planning Center: created, changed, or made inactive. See `push` for the rules of writing."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import MEMBER
from pco_client.errors import NotFound
from pco_client.jsonapi import Document, write_body
from pco_client.query import Query, Where
from people_sync.domain.canonical import same
from people_sync.domain.merge import Merge, merge
from people_sync.domain.planning_center import (
    CONTACT_PATHS,
    CONTACT_TYPES,
    NEW_CONTACT,
    Contact,
    RemotePerson,
    Unread,
    contact_attributes,
    is_inconclusive,
    person_attributes,
    remote_person,
)
from people_sync.domain.sentences import (
    CONFLICT,
    CREATED_THERE,
    DELETED_MEANWHILE,
    INACTIVATED_THERE,
    LATER,
    UNCHANGED,
    UPDATED_BOTH,
    UPDATED_THERE,
    WAITS_FOR_ANSWER,
    together,
)
from people_sync.domain.values import PersonValues, as_dict, to_json, value_from_json, value_to_json
from people_sync.planning_center import INCLUDE, PEOPLE, person_of
from people_sync.storage.links import base_of, kept_different
from people_sync.storage.records import values_of
from people_sync.storage.tables import Change, Creation, History, Link, Member
from people_sync.usecases.conflicts import open_conflict, open_conflicts_of
from people_sync.usecases.sync.apply import change_here
from people_sync.usecases.sync.compare import waits_for_an_answer
from people_sync.usecases.sync.context import Work
from people_sync.usecases.sync.creations import Intent, Later, Made, NotYet, Undecidable, create_once
from people_sync.usecases.sync.effects import Effects, noted, publish, touch

_CONTACTS: Final = ("email", "phone", "address")
_NEVER: Final = 0
"""Before every version: the next run compares."""


@dataclass(frozen=True, slots=True)
class _Local:
    """Our side as it was when this push began."""

    member: Member
    link: Link | None
    waits: bool


async def push_person(work: Work, change: Change) -> str:
    """Write one member. Returns the outcome; raises what `push` turns into one."""
    async with work.job.sessions() as session:
        local = await _load(session, work, change)
    link = local.link
    if local.member.deleted_at is not None:
        if link is None or change.outcome != INACTIVATED_THERE:
            return UNCHANGED
        return await _inactivate(work, local.member, link)
    if link is None or link.state == "gone":
        return await _create(work, local)
    return together(change.outcome, await _update(work, local.member, link))


async def _load(session: AsyncSession, work: Work, change: Change) -> _Local:
    member = await session.get_one(Member, change.record_id)
    link = await session.scalar(select(Link).filter_by(**work.owner, kind=MEMBER, record_id=member.id))
    waits = await session.scalar(select(waits_for_an_answer(work)).where(Member.id == member.id))
    return _Local(member, link, bool(waits))


# --- create ---------------------------------------------------------------------------------------------------------


async def _create(work: Work, local: _Local) -> str:
    if local.waits:
        raise Later(WAITS_FOR_ANSWER)
    if local.link is not None and not local.link.create_again:
        return LATER
    member, values = local.member, values_of(local.member)
    content = {name: value for name, value in to_json(values).items() if name not in _CONTACTS or value is None}
    made = await create_once(
        work,
        MEMBER,
        member.id,
        content,
        look=lambda intent: _by_marker(work, values, intent),
        post=lambda intent: work.pco.create(
            PEOPLE,
            write_body("Person", _without_empty(person_attributes(as_dict(values))) | {"remote_id": intent.marker}),
        ),
        created=lambda session, made: _store_link(session, work, member, values, made),
    )
    as_it_is = made.content == content
    for name in _CONTACTS:
        if as_dict(values)[name] is not None:
            as_it_is &= await _create_contact(work, member, made.pco_id, name, as_dict(values)[name])
    await _agree(work, member, member.version if as_it_is else _NEVER, {})
    return CREATED_THERE


def _without_empty(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value not in {None, ""}}


async def _by_marker(work: Work, values: PersonValues, intent: Intent) -> str | None:
    """The person whom an earlier attempt created; None when there is none."""
    assert intent.marker is not None
    page = await work.pco.list(PEOPLE, Query(where=(Where("remote_id", intent.marker),), per_page=2))
    if not page.data:
        return None
    found = remote_person(page.data[0].id, page.data[0].attributes)
    sent = intent.content.get("last_name", values.last_name)
    if len(page.data) > 1 or not same("last_name", found.values.last_name, sent, work.country):
        raise Undecidable(
            f"We cannot tell whether {values.first_name} {values.last_name} was created in Planning Center: "
            f"the number {intent.marker} in the field Remote ID belongs to somebody else there. "
            "Look the person up in Planning Center; nothing more is created until this is settled."
        )
    return page.data[0].id


async def _store_link(session: AsyncSession, work: Work, member: Member, values: PersonValues, made: Made) -> None:
    coming = {name: as_dict(values)[name] for name in _CONTACTS if as_dict(values)[name] is not None}
    row = {
        "pco_id": made.pco_id,
        "state": "linked",
        "agreed": dict(made.content),
        "kept_different": {},
        "contacts": {},
        "remote_hash": None,
        "compared_version": _NEVER,
        "written_at": work.resources.clock.now(),
        "written_before": dict.fromkeys(coming),
        "written_after": to_json(coming) or None,
        "gone_at": None,
        "create_again": False,
    }
    locked = await session.get_one(Member, member.id, with_for_update=True, populate_existing=True)
    await session.execute(
        insert(Link)
        .values(**work.owner, kind=MEMBER, record_id=member.id, **row)
        .on_conflict_do_update(index_elements=["organization_id", "pco_organization_id", "kind", "record_id"], set_=row)
    )
    # The platform learns of the link; no value moved that Planning Center would have to get.
    unchanged = locked.version == member.version
    effects = Effects()
    touch(work, locked, effects)
    await publish(session, work, effects)
    if unchanged:
        member.version = locked.version


# --- change ---------------------------------------------------------------------------------------------------------


async def _update(work: Work, member: Member, link: Link) -> str:
    read_at = work.resources.clock.now()
    horizon = work.resources.horizon
    try:
        document = await work.pco.get(f"{PEOPLE}/{link.pco_id}", Query(include=INCLUDE))
    except NotFound:
        if link.written_at is not None and link.written_at + horizon > read_at:
            raise NotYet(link.written_at + horizon) from None  # made so lately that a 404 proves nothing
        raise
    person = person_of(document.data, document.included)
    if isinstance(person, Unread):
        raise NotYet(read_at + horizon)
    written_at = work.written_at(link)
    if is_inconclusive(link.written_before, written_at, person.values, read_at, horizon, work.country):
        raise NotYet((written_at or read_at) + horizon)
    base = base_of(link, person.values, work.country)
    result = merge(base, values_of(member), person.values, work.policy, kept_different(link))
    if result.conflicts or result.to_ours:
        result, base = await _moved_there(work, member, person), {}
        if not result.to_theirs:
            return CONFLICT if result.conflicts else UPDATED_BOTH
    if not result.to_theirs:
        await _agree(work, member, member.version, base | dict(result.agreed), person)
        return UNCHANGED
    await _announce(work, member, result, person)
    await _write_person(work, link, result)
    agreed = base | dict(result.agreed) | dict(result.to_theirs)
    version = member.version
    for name in _CONTACTS:
        if name in result.to_theirs and not await _write_contact(
            work, member, link, person, name, result.to_theirs[name]
        ):
            version = _NEVER
            del agreed[name]
    await _agree(work, member, version, agreed)
    return CONFLICT if result.conflicts else UPDATED_BOTH if result.to_ours else UPDATED_THERE


async def _announce(work: Work, member: Member, result: Merge, person: RemotePerson) -> None:
    """Commit what is about to be overwritten there, so that a stale read is known as one after a crash too.

    A value that the church's choice for first matches overwrites there goes into the history, to be undone.
    """
    async with work.job.sessions.begin() as session:
        await work.job.verify(session)
        link = await _locked_link(session, work, member)
        link.written_at = work.resources.clock.now()
        link.written_before = {name: value_to_json(result.replaced[name]) for name in result.to_theirs}
        link.written_after = to_json(result.to_theirs)
        link.remote_hash = None
        link.contacts = dict(person.contacts)
        replaced = [
            noted(work, MEMBER, member.id, name, link.written_before[name], link.written_after[name], rule, by="rule")
            for name, rule in result.reasons.items()
            if rule == "first_match" and name in result.to_theirs
        ]
        if replaced:
            await session.execute(insert(History), replaced)


async def _write_person(work: Work, link: Link, result: Merge) -> None:
    attributes = person_attributes(result.to_theirs)
    if not attributes:
        return
    document = await work.pco.patch(f"{PEOPLE}/{link.pco_id}", write_body("Person", attributes, identity=link.pco_id))
    written = as_dict(remote_person(link.pco_id, document.data.attributes).values)
    for name, value in result.to_theirs.items():
        if name not in _CONTACTS and not same(name, written[name], value, work.country):
            raise Undecidable(
                f"Planning Center took the change but shows another {name.replace('_', ' ')} than the one sent. "
                "Look at the person in Planning Center; the next sync compares both again."
            )


async def _write_contact(work: Work, member: Member, link: Link, person: RemotePerson, name: str, value: Any) -> bool:
    """Our one e-mail, phone or address is the one that was mapped; all others there are never touched.

    Gives what `_create_contact` gives.
    """
    contact_id = person.contacts.get(name)
    path = f"/people/v2/{CONTACT_PATHS[name]}/{contact_id}"
    if contact_id is None:
        return value is None or await _create_contact(work, member, link.pco_id, name, value)
    if value is None:
        with suppress(NotFound):  # deleted there too
            await work.pco.delete(path)
    else:
        await work.pco.patch(
            path, write_body(CONTACT_TYPES[name], contact_attributes(name, value), identity=contact_id)
        )
    return True


async def _create_contact(work: Work, member: Member, pco_id: str, name: str, value: Any) -> bool:
    """False if an earlier attempt, whose answer was lost, had created it with another value: that one is agreed."""
    content = {name: value_to_json(value)}

    async def look(intent: Intent) -> str | None:
        sent = value_from_json(name, intent.content.get(name, content[name]))
        document = await work.pco.get(f"{PEOPLE}/{pco_id}", Query(include=(CONTACT_PATHS[name],)))
        if document.included.missing(document.data, CONTACT_PATHS[name]):
            raise NotYet(work.resources.clock.now() + work.resources.horizon)
        for contact in document.included.many(document.data, CONTACT_PATHS[name]):
            there = as_dict(_with_contact(name, contact.attributes))[name]
            if same(name, there, sent, work.country):
                return contact.id
        return None

    async def post(_: Intent) -> Document:
        body = write_body(CONTACT_TYPES[name], contact_attributes(name, value) | NEW_CONTACT[name])
        return await work.pco.create(f"{PEOPLE}/{pco_id}/{CONTACT_PATHS[name]}", body)

    async def created(session: AsyncSession, made: Made) -> None:
        link = await _locked_link(session, work, member)
        link.contacts = link.contacts | {name: made.pco_id}
        link.agreed = {**link.agreed, **made.content}
        link.written_at = work.resources.clock.now()

    made = await create_once(work, name, member.id, content, look=look, post=post, created=created)
    return made.content == content


def _with_contact(name: str, attributes: Mapping[str, Any]) -> PersonValues:
    contact = [Contact("1", True, attributes)]
    return remote_person(
        "0",
        {},
        emails=contact if name == "email" else (),
        phones=contact if name == "phone" else (),
        addresses=contact if name == "address" else (),
    ).values


async def _moved_there(work: Work, member: Member, person: RemotePerson) -> Merge:
    """Somebody changed the person there since the pull: take that over here, or open a conflict, never overwrite.

    Returns what was decided, with our values of this moment: `member` is of this version from here on.
    """
    async with work.job.sessions.begin() as session:
        await work.job.verify(session)
        locked = await session.get_one(Member, member.id, with_for_update=True, populate_existing=True)
        if locked.deleted_at is not None:
            raise Later(DELETED_MEANWHILE)
        link = await _locked_link(session, work, member)
        base = base_of(link, person.values, work.country)
        result = merge(base, values_of(locked), person.values, work.policy, kept_different(link))
        effects = Effects()
        change_here(work, locked, result, effects)
        link.agreed = to_json(base | dict(result.agreed) | dict(result.to_ours))
        if result.conflicts:
            conflict = (await open_conflicts_of(session, work.organization_id, [member.id])).get(member.id)
            now = work.resources.clock.now()
            effects.conflicts += open_conflict(session, link, result.conflicts, conflict, now)
        if not result.to_theirs:
            link.compared_version = locked.version
        await publish(session, work, effects)
    member.version = locked.version
    return result


async def _agree(
    work: Work, member: Member, version: int, agreed: Mapping[str, Any], person: RemotePerson | None = None
) -> None:
    """Both sides have these values now. What was typed here meanwhile has a higher version and is pushed next time."""
    async with work.job.sessions.begin() as session:
        await work.job.verify(session)
        link = await _locked_link(session, work, member)
        link.agreed = link.agreed | to_json(agreed)
        link.written_after = None
        link.compared_version = version
        if person is None:
            link.written_at = work.resources.clock.now()
        else:
            link.contacts = dict(person.contacts)
        # A contact that is known now needs no look for what an earlier attempt may have made.
        await session.execute(
            delete(Creation)
            .filter_by(**work.owner, record_id=member.id, state="sent")
            .where(Creation.kind.in_(link.contacts))
        )


async def _locked_link(session: AsyncSession, work: Work, member: Member) -> Link:
    statement = select(Link).filter_by(**work.owner, kind=MEMBER, record_id=member.id).with_for_update()
    return (await session.scalars(statement)).one()


# --- inactivate -----------------------------------------------------------------------------------------------------


async def _inactivate(work: Work, member: Member, link: Link) -> str:
    """A member deleted here becomes inactive there; nobody is ever deleted there."""
    await work.pco.patch(f"{PEOPLE}/{link.pco_id}", write_body("Person", {"status": "inactive"}, identity=link.pco_id))
    async with work.job.sessions.begin() as session:
        await work.job.verify(session)
        row = await session.get_one(Link, link.id, with_for_update=True)
        row.compared_version, row.remote_hash = member.version, None
    return INACTIVATED_THERE
