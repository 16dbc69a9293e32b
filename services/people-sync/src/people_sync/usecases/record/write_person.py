"""One member to Planning Center: created, changed, or made inactive.

Every part (the person, each contact) is a request of its own and is answered, or refused, by itself: what Planning
Center took is agreed at once, what it refused is taken back and listed, the other parts are sent all the same.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import MEMBER
from pco_client.errors import NotFound, PlanningCenterError, Unavailable
from pco_client.jsonapi import Document, Resource, write_body
from pco_client.query import Query, Where
from people_sync.domain.canonical import identical
from people_sync.domain.merge import Merge, merge
from people_sync.domain.planning_center import (
    CONTACT_PATHS,
    CONTACT_TYPES,
    NEW_CONTACT,
    Contact,
    RemotePerson,
    Unread,
    contact_attributes,
    main_contact,
    person_attributes,
    remote_person,
)
from people_sync.domain.sentences import (
    CONFLICT,
    CREATED_THERE,
    DELETED_MEANWHILE,
    GONE,
    INACTIVATED_THERE,
    OUTCOMES,
    UNCHANGED,
    UNDECIDED,
    UPDATED_BOTH,
    UPDATED_THERE,
    WAITS_FOR_ANSWER,
)
from people_sync.domain.values import PersonValues, as_dict, to_json, value_from_json, value_to_json
from people_sync.domain.writes import CREATED, confirmed, made_lately, person_believable_at
from people_sync.planning_center import INCLUDE, PEOPLE, person_of
from people_sync.storage.held import waits_for_an_answer
from people_sync.storage.links import agree, base_of, kept_different
from people_sync.storage.records import values_of
from people_sync.storage.tables import Creation, Effect, Link, Member
from people_sync.storage.writes import Sent, announce, answered, left_again, note_created, taken_back, writes_of
from people_sync.usecases.conflicts import open_conflict, open_conflicts_of
from people_sync.usecases.history import THERE
from people_sync.usecases.record.creations import Intent, Later, Made, NotYet, create_once
from people_sync.usecases.record.effects import Effects, carried_out, change_here, noted, publish, touch
from people_sync.usecases.record.matching import may_be_there
from people_sync.usecases.record.refusals import DEFINITE, Part, PartRefused, Refusals
from people_sync.usecases.record.writer import Writer

_CONTACTS: Final = ("email", "phone", "address")
_NEVER: Final = 0
"""Before every version: the next run compares."""


@dataclass(frozen=True, slots=True)
class _Local:
    """Our side as it was when this write began."""

    member: Member
    link: Link | None
    waits: bool
    """For an answer, since they may be somebody who is there already."""


@dataclass(frozen=True, slots=True)
class _There:
    """A person as read right before the write, with every contact."""

    person: RemotePerson
    contacts: Mapping[str, Sequence[Contact]]
    """All of them, by our field."""
    read_at: datetime

    def others(self, name: str) -> list[Contact]:
        """Those that ours does not map to."""
        mapped = self.person.contacts.get(name)
        return [contact for contact in self.contacts[name] if contact.id != mapped]


@dataclass(slots=True)
class _Outcome:
    """What becomes of the parts of one member."""

    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why each field is written."""
    refusals: Refusals = field(default_factory=Refusals)
    complete: bool = True
    """Whether everything of our version is there now."""


async def write_person(writer: Writer, member_id: UUID, *, inactivate: bool = False) -> str:
    """Write one member; gives the outcome.

    `inactivate`: a member deleted here becomes inactive there. Raises NotYet, Later, Undecidable, PartRefused, and what
    the client raises for reasons that are not this record's.
    """
    async with writer.job.sessions() as session:
        local = await _load(session, writer, member_id)
    link = local.link
    if local.member.deleted_at is not None:
        if link is None or not inactivate:
            return UNCHANGED
        return await _inactivate(writer, local.member, link)
    if link is None or link.state == "gone":
        return await _create(writer, local)
    return await _update(writer, local.member, link)


async def _load(session: AsyncSession, writer: Writer, member_id: UUID) -> _Local:
    member = await session.get_one(Member, member_id)
    link = await session.scalar(select(Link).filter_by(**writer.owner, kind=MEMBER, record_id=member.id))
    waits = await session.scalar(select(waits_for_an_answer(writer.owner)).where(Member.id == member.id))
    return _Local(member, link, bool(waits))


async def _look_before(writer: Writer, member: Member) -> None:
    """Later if somebody who may be this member came to be known there since the plan was made."""
    async with writer.job.sessions() as session:
        sent = await session.scalar(
            select(Creation.id).filter_by(**writer.owner, kind=MEMBER, record_id=member.id, state="sent")
        )
        if sent is None and await may_be_there(session, writer, member):
            raise Later(UNDECIDED)


# --- create ---------------------------------------------------------------------------------------------------------


async def _create(writer: Writer, local: _Local) -> str:
    if local.waits:
        raise Later(WAITS_FOR_ANSWER)
    if local.link is not None and not local.link.create_again:
        raise Later(OUTCOMES[GONE])
    await _look_before(writer, local.member)
    member, values = local.member, values_of(local.member)
    content = {name: value for name, value in to_json(values).items() if name not in _CONTACTS or value is None}
    made = await create_once(
        writer,
        MEMBER,
        member.id,
        content,
        look=lambda intent: _by_marker(writer, values, intent),
        post=lambda intent: writer.pco.create(
            PEOPLE,
            write_body("Person", _without_empty(person_attributes(as_dict(values))) | {"remote_id": intent.marker}),
        ),
        created=lambda session, made: _store_link(session, writer, member, values, made),
    )
    outcome = _Outcome(complete=made.content == content)
    for name in _CONTACTS:
        value = as_dict(values)[name]
        if value is not None:
            async with _part(writer, member, outcome, Part(name, (name,))):
                outcome.complete &= await _create_contact(writer, member, made.pco_id, name, value, outcome)
    await _agree(writer, member, outcome)
    return CREATED_THERE


def _without_empty(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value not in {None, ""}}


async def _by_marker(writer: Writer, values: PersonValues, intent: Intent) -> str | None:
    """The person whom an earlier attempt created; None when there is none."""
    assert intent.marker is not None
    page = await writer.pco.list(PEOPLE, Query(where=(Where("remote_id", intent.marker),), per_page=2))
    if not page.data:
        return None
    found = remote_person(page.data[0].id, page.data[0].attributes)
    sent = intent.content.get("last_name", values.last_name)
    if len(page.data) > 1 or not identical("last_name", found.values.last_name, sent, writer.country):
        raise PartRefused.undecidable(
            f"We cannot tell whether {values.first_name} {values.last_name} was created in Planning Center: "
            f"the number {intent.marker} in the field Remote ID belongs to somebody else there. "
            "Look the person up in Planning Center; nothing more is created until this is settled."
        )
    return page.data[0].id


async def _store_link(session: AsyncSession, writer: Writer, member: Member, values: PersonValues, made: Made) -> None:
    now = writer.now()
    coming = {name: value for name, value in to_json(values).items() if name in _CONTACTS and value is not None}
    row: dict[str, Any] = {
        "pco_id": made.pco_id,
        "state": "linked",
        "agreed": {},
        "agreed_at": {},
        "kept_different": {},
        "contacts": {},
        "remote_hash": None,
        "compared_version": _NEVER,
        "gone_at": None,
        "create_again": False,
    }
    locked = await session.get_one(Member, member.id, with_for_update=True, populate_existing=True)
    link = await session.scalar(
        insert(Link)
        .values(**writer.owner, kind=MEMBER, record_id=member.id, **row)
        .on_conflict_do_update(index_elements=["organization_id", "pco_organization_id", "kind", "record_id"], set_=row)
        .returning(Link),
        execution_options={"populate_existing": True},
    )
    assert link is not None
    agree(link, made.content, now)
    await note_created(session, link.id, now)
    await announce(session, link.id, [Sent(name, None, value) for name, value in coming.items()], now)
    # The platform learns of the link; no value moved that Planning Center would have to get.
    unchanged = locked.version == member.version
    effects = Effects(rows=[noted(writer, MEMBER, member.id, CREATED, None, made.pco_id, side=THERE, by="platform")])
    touch(writer, locked, effects)
    await publish(session, writer, effects)
    if unchanged:
        member.version = locked.version


# --- change ---------------------------------------------------------------------------------------------------------


async def _update(writer: Writer, member: Member, link: Link) -> str:
    async with writer.job.sessions() as session:
        writes = (await writes_of(session, [link.id])).get(link.id, [])
    there = await _read(writer, link, writes)
    person = there.person
    if until := person_believable_at(writes, person.values, writer.reading(there.read_at), writer.country):
        raise NotYet(until)
    base = base_of(link, writes, person.values, writer.country)
    result = merge(base, values_of(member), person.values, writer.policy, kept_different(link))
    if result.conflicts or result.to_ours:
        result = await _moved_there(writer, member, there)
        if not result.to_theirs:
            return CONFLICT if result.conflicts else UPDATED_BOTH
    if not result.to_theirs:
        await _nothing_to_write(writer, member, base | dict(result.agreed), person)
        return UNCHANGED
    await _announce(writer, member, result, there)
    outcome = _Outcome(result.reasons)
    if sent := {name: value for name, value in result.to_theirs.items() if name not in _CONTACTS}:
        async with _part(writer, member, outcome, Part(None, tuple(sent))):
            await _write_attributes(writer, member, link, sent, outcome)
    for name in _CONTACTS:
        if name in result.to_theirs:
            async with _part(writer, member, outcome, Part(name, (name,))):
                outcome.complete &= await _write_contact(
                    writer, member, link, there, name, result.to_theirs[name], outcome
                )
    await _agree(writer, member, outcome)
    return CONFLICT if result.conflicts else UPDATED_BOTH if result.to_ours else UPDATED_THERE


async def _read(writer: Writer, link: Link, writes: Sequence[Any]) -> _There:
    read_at = writer.now()
    try:
        document = await writer.pco.get(f"{PEOPLE}/{link.pco_id}", Query(include=INCLUDE))
    except NotFound:
        if until := made_lately(writes, writer.reading(read_at)):
            raise NotYet(until) from None  # made so lately that a 404 proves nothing
        raise
    person = person_of(document.data, document.included)
    if isinstance(person, Unread):
        raise NotYet(read_at + writer.resources.horizon)
    contacts = {name: _contacts(document.included.many(document.data, path)) for name, path in CONTACT_PATHS.items()}
    return _There(person, contacts, read_at)


def _contacts(rows: Iterable[Resource]) -> list[Contact]:
    return [Contact(row.id, row.attributes.get("primary") is True, row.attributes) for row in rows]


async def _announce(writer: Writer, member: Member, result: Merge, there: _There) -> None:
    """Commit what is about to be overwritten there, so that a stale read is known as one after a crash too.

    What is known by now to be agreed is stored with it: the next announcement knows no more of this one's fields.
    """
    async with writer.transaction() as session:
        link = await _locked_link(session, writer, member)
        writes = (await writes_of(session, [link.id])).get(link.id, [])
        mine = confirmed(writes, there.person.values, writer.country)
        base = base_of(link, writes, there.person.values, writer.country)
        agree(link, to_json(base | dict(result.agreed)), writer.now())
        if mine:
            await session.execute(insert(Effect), carried_out(writer, MEMBER, member.id, writes, mine))
            await answered(session, link.id, mine.keys(), writer.now())
        link.remote_hash = None
        link.contacts = dict(there.person.contacts)
        sent = [
            Sent(name, value_to_json(result.replaced[name]), value_to_json(value))
            for name, value in result.to_theirs.items()
        ]
        await announce(session, link.id, sent, writer.now())


async def _write_attributes(
    writer: Writer, member: Member, link: Link, sent: Mapping[str, Any], outcome: _Outcome
) -> None:
    body = write_body("Person", person_attributes(sent), identity=link.pco_id)
    document = await writer.pco.patch(f"{PEOPLE}/{link.pco_id}", body)
    shown = as_dict(remote_person(link.pco_id, document.data.attributes).values)
    taken = {name: value for name, value in sent.items() if identical(name, shown[name], value, writer.country)}
    await _answered(writer, member, outcome, taken, other=tuple(sent.keys() - taken.keys()))
    for name in sent.keys() - taken.keys():
        outcome.complete = False
        outcome.refusals.add(
            "undecidable",
            f"Planning Center took the change but shows another {name.replace('_', ' ')} than the one sent. "
            "Look at the person in Planning Center; the next sync compares both again.",
        )


async def _write_contact(
    writer: Writer, member: Member, link: Link, there: _There, name: str, value: Any, outcome: _Outcome
) -> bool:
    """Our one e-mail, phone or address is the one that was mapped; the others there are never touched.

    One of them that has our value already is the same contact: it becomes the primary one. Gives what
    `_create_contact` gives.
    """
    contact_id = there.person.contacts.get(name)
    others = there.others(name)
    equal = next((one for one in others if value is not None and _holds(name, one, value, writer.country)), None)
    if value is None:
        if contact_id is not None:
            with suppress(NotFound):  # deleted there too
                await writer.pco.delete(_path(name, contact_id))
        await _answered(
            writer, member, outcome, {name: None}, contacts={name: None}, left=_value_of(name, main_contact(others))
        )
        return True
    if equal is not None:
        contact_id = equal.id
        await writer.pco.patch(
            _path(name, equal.id), write_body(CONTACT_TYPES[name], {"primary": True}, identity=equal.id)
        )
    elif contact_id is None:
        return await _create_contact(writer, member, link.pco_id, name, value, outcome)
    else:
        await writer.pco.patch(
            _path(name, contact_id),
            write_body(CONTACT_TYPES[name], contact_attributes(name, value), identity=contact_id),
        )
    await _answered(writer, member, outcome, {name: value}, contacts={name: contact_id})
    return True


def _path(name: str, contact_id: str) -> str:
    return f"/people/v2/{CONTACT_PATHS[name]}/{contact_id}"


async def _create_contact(
    writer: Writer, member: Member, pco_id: str, name: str, value: Any, outcome: _Outcome
) -> bool:
    """False if an earlier attempt, whose answer was lost, had created it with another value: that one is agreed."""
    content = {name: value_to_json(value)}

    async def look(intent: Intent) -> str | None:
        sent = value_from_json(name, intent.content.get(name, content[name]))
        document = await writer.pco.get(f"{PEOPLE}/{pco_id}", Query(include=(CONTACT_PATHS[name],)))
        if document.included.missing(document.data, CONTACT_PATHS[name]):
            raise NotYet(writer.now() + writer.resources.horizon)
        for contact in document.included.many(document.data, CONTACT_PATHS[name]):
            if _holds(name, Contact(contact.id, primary=True, attributes=contact.attributes), sent, writer.country):
                return contact.id
        return None

    async def post(_: Intent) -> Document:
        body = write_body(CONTACT_TYPES[name], contact_attributes(name, value) | NEW_CONTACT[name])
        return await writer.pco.create(f"{PEOPLE}/{pco_id}/{CONTACT_PATHS[name]}", body)

    async def created(session: AsyncSession, made: Made) -> None:
        await _store_answer(session, writer, member, outcome, made.content, contacts={name: made.pco_id})

    made = await create_once(writer, name, member.id, content, look=look, post=post, created=created)
    return made.content == content


def _holds(name: str, contact: Contact, value: Any, country: str) -> bool:
    return identical(name, _value_of(name, contact), value, country)


def _value_of(name: str, contact: Contact | None) -> Any:
    """What a contact says, as a value of our field."""
    if contact is None:
        return None
    values = remote_person(
        "0",
        {},
        emails=[contact] if name == "email" else (),
        phones=[contact] if name == "phone" else (),
        addresses=[contact] if name == "address" else (),
    ).values
    return as_dict(values)[name]


async def _moved_there(writer: Writer, member: Member, there: _There) -> Merge:
    """Somebody changed the person there since the pull: take that over here, or open a conflict, never overwrite.

    Returns what was decided, with our values of this moment: `member` is of this version from here on.
    """
    person = there.person
    async with writer.transaction() as session:
        locked = await session.get_one(Member, member.id, with_for_update=True, populate_existing=True)
        if locked.deleted_at is not None:
            raise Later(DELETED_MEANWHILE)
        link = await _locked_link(session, writer, member)
        writes = (await writes_of(session, [link.id])).get(link.id, [])
        base = base_of(link, writes, person.values, writer.country)
        result = merge(base, values_of(locked), person.values, writer.policy, kept_different(link))
        effects = Effects()
        change_here(writer, locked, result, effects)
        agree(link, to_json(base | dict(result.agreed) | dict(result.to_ours)), writer.now())
        if result.conflicts:
            conflict = (await open_conflicts_of(session, writer.organization_id, [member.id])).get(member.id)
            effects.conflicts += open_conflict(session, link, result.conflicts, conflict, writer.now())
        if not result.to_theirs:
            link.compared_version = locked.version
        await publish(session, writer, effects)
    member.version = locked.version
    return result


# --- what becomes of a part -----------------------------------------------------------------------------------------


@asynccontextmanager
async def _part(writer: Writer, member: Member, outcome: _Outcome, part: Part) -> AsyncIterator[None]:
    """One request and its answer: a definite refusal is this part's alone."""
    try:
        yield
    except DEFINITE as error:
        await _taken_back(writer, member, part.fields)
        outcome.complete = False
        await outcome.refusals.refused(writer, part, error)
    except Unavailable as error:
        if error.outcome_unknown:
            # It may still be under way: reads can be believed a horizon after now.
            async with writer.transaction() as session:
                link = await _locked_link(session, writer, member)
                await left_again(session, link.id, part.fields, writer.now())
        raise
    except PlanningCenterError:
        raise


async def _answered(
    writer: Writer,
    member: Member,
    outcome: _Outcome,
    taken: Mapping[str, Any],
    *,
    contacts: Mapping[str, str | None] | None = None,
    other: Sequence[str] = (),
    left: Any = None,
) -> None:
    async with writer.transaction() as session:
        link = await _store_answer(session, writer, member, outcome, to_json(taken), contacts=contacts or {})
        await answered(session, link.id, other, writer.now())
        for name, contact_id in (contacts or {}).items():
            if contact_id is None and left is not None:
                # Another contact of the person stays there, and is not taken over in place of the one cleared.
                link.kept_different = {**link.kept_different, name: [None, value_to_json(left)]}


async def _store_answer(
    session: AsyncSession,
    writer: Writer,
    member: Member,
    outcome: _Outcome,
    taken: Mapping[str, Any],
    *,
    contacts: Mapping[str, str | None],
) -> Link:
    """Planning Center took these fields (JSON): both sides have them now."""
    link = await _locked_link(session, writer, member)
    replaced = {one.field: one.before for one in (await writes_of(session, [link.id])).get(link.id, [])}
    await answered(session, link.id, taken.keys(), writer.now())
    agree(link, {**link.agreed, **taken}, writer.now())
    merged = {**link.contacts, **contacts}
    link.contacts = {name: contact for name, contact in merged.items() if contact is not None}
    link.kept_different = {name: kept for name, kept in link.kept_different.items() if name not in taken}
    rows = []
    for name, value in taken.items():
        rule = "first_match" if outcome.reasons.get(name) == "first_match" else None
        # The church's choice for first matches is a rule; everything else was typed here.
        by = "rule" if rule else "platform"
        rows.append(noted(writer, MEMBER, member.id, name, replaced.get(name), value, side=THERE, by=by, rule=rule))
    if rows:
        await session.execute(insert(Effect), rows)
    return link


async def _taken_back(writer: Writer, member: Member, fields: Sequence[str]) -> None:
    async with writer.transaction() as session:
        link = await _locked_link(session, writer, member)
        await taken_back(session, link.id, fields)


async def _nothing_to_write(writer: Writer, member: Member, agreed: Mapping[str, Any], person: RemotePerson) -> None:
    async with writer.transaction() as session:
        link = await _locked_link(session, writer, member)
        agree(link, {**link.agreed, **to_json(agreed)}, writer.now())
        link.compared_version, link.contacts = member.version, dict(person.contacts)
        await _forget_intents(session, writer, member, link)


async def _agree(writer: Writer, member: Member, outcome: _Outcome) -> None:
    """Both sides have these values now. What was typed here meanwhile has a higher version and is pushed next time.

    Raises PartRefused if something of it was refused.
    """
    async with writer.transaction() as session:
        link = await _locked_link(session, writer, member)
        link.compared_version = member.version if outcome.complete else _NEVER
        await _forget_intents(session, writer, member, link)
    outcome.refusals.raise_any()


async def _forget_intents(session: AsyncSession, writer: Writer, member: Member, link: Link) -> None:
    """A contact that is known now needs no look for what an earlier attempt may have made."""
    await session.execute(
        delete(Creation)
        .filter_by(**writer.owner, record_id=member.id, state="sent")
        .where(Creation.kind.in_(link.contacts))
    )


async def _locked_link(session: AsyncSession, writer: Writer, member: Member) -> Link:
    statement = select(Link).filter_by(**writer.owner, kind=MEMBER, record_id=member.id).with_for_update()
    return (await session.scalars(statement)).one()


# --- inactivate -----------------------------------------------------------------------------------------------------


async def _inactivate(writer: Writer, member: Member, link: Link) -> str:
    """A member deleted here becomes inactive there; nobody is ever deleted there."""
    outcome = _Outcome()
    async with _part(writer, member, outcome, Part(None, ())):
        body = write_body("Person", {"status": "inactive"}, identity=link.pco_id)
        await writer.pco.patch(f"{PEOPLE}/{link.pco_id}", body)
    outcome.refusals.raise_any()
    async with writer.transaction() as session:
        row = await session.get_one(Link, link.id, with_for_update=True)
        row.compared_version, row.remote_hash = member.version, None
        await session.execute(
            insert(Effect), [noted(writer, MEMBER, member.id, "active", True, False, side=THERE, by="rule")]
        )
    return INACTIVATED_THERE
