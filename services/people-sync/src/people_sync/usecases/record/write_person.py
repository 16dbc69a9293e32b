"""Writes one member to Planning Center: creates, changes, or makes inactive.

Every part (the person, each contact) is a separate request that is answered or refused by itself: accepted values are
agreed at once, refused ones are taken back and listed, and the other parts are still sent.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.http.plans import PlanField
from contracts.values import MEMBER
from pco_client.errors import NotFound
from pco_client.jsonapi import Resource, write_body
from pco_client.query import Query, Where
from people_sync.domain.canonical import identical
from people_sync.domain.merge import Merge
from people_sync.domain.planning_center import (
    CONTACT_PATHS,
    Contact,
    RemotePerson,
    Unread,
    is_whom_we_sent,
    person_attributes,
    remote_person,
)
from people_sync.domain.plans import Status, allows, of_person
from people_sync.domain.plans import created as plan_of_created
from people_sync.domain.sentences import (
    CONFLICT,
    CREATED_THERE,
    DELETED_MEANWHILE,
    FIRST_SYNC_ASKS,
    INACTIVATED_THERE,
    INACTIVE_HERE,
    LATER,
    OUTCOMES,
    UNCHANGED,
    UPDATED_BOTH,
    UPDATED_THERE,
    WAITS_FOR_ANSWER,
    updated,
)
from people_sync.domain.values import ACTIVE, PersonValues, as_dict, to_json, value_to_json
from people_sync.domain.writes import confirmed, person_believable_at
from people_sync.planning_center import INCLUDE, PEOPLE, person_of
from people_sync.storage.effects import insert_effects
from people_sync.storage.held import waits_for_an_answer
from people_sync.storage.links import agree, base_of, ended, forget_equal, still_kept
from people_sync.storage.records import full_name, values_of
from people_sync.storage.sync_tables import Creation, Remote
from people_sync.storage.tables import Link, Member
from people_sync.storage.writes import Sent, announce, note_created, settle, writes_of
from people_sync.usecases.conflicts import open_conflict, open_conflicts_of
from people_sync.usecases.history import creator_there
from people_sync.usecases.record.answers import Parts, answer, locked_link, part
from people_sync.usecases.record.contacts import There, create_contact, left_when_cleared, write_contact
from people_sync.usecases.record.creations import Intent, Later, create_once
from people_sync.usecases.record.decide_people import equal_sides, in_conflict, lets_go, merge_person
from people_sync.usecases.record.effects import Effects, carried_out, change_here, noted, publish, tied, touch
from people_sync.usecases.record.gone import why_gone
from people_sync.usecases.record.matching import may_be_there
from people_sync.usecases.record.planned import LeftOut
from people_sync.usecases.record.reading import Read, raise_unread
from people_sync.usecases.record.refusals import Part, PartRefused
from people_sync.usecases.record.writer import Writer
from synckit.creations import Made
from synckit.errors import NotYet
from synckit.history import THERE
from synckit.staleness import Write, made_lately

_CONTACTS: Final = ("email", "phone", "address")
_NEVER: Final = 0
"""Below every version, so that the next run compares."""
RIGHT_BEFORE: Final = timedelta(seconds=1)
"""Maximum age of the read before a write; after a longer wait for a lock the person is read again."""


@dataclass(frozen=True, slots=True)
class _Local:
    """Our side at the begin of this write."""

    member: Member
    link: Link | None


async def write_person(
    writer: Writer,
    member_id: UUID,
    *,
    inactivate: bool = False,
    approved: Sequence[PlanField] | None = None,
    found: Read | None = None,
) -> str:
    """Write one member; gives the outcome.

    `inactivate`: make a member deleted here inactive there. `approved`: the only allowed writes, in an approved run.
    `found`: a fresh read of the person, if any. Raises NotYet, Later, LeftOut, PartRefused, and the client's errors
    that do not concern this record.
    """
    async with writer.job.sessions() as session:
        local = await _load(session, writer, member_id)
    link = local.link
    if local.member.deleted_at is not None:
        if link is None or not inactivate:
            if approved is not None:
                raise LeftOut
            return UNCHANGED
        return await _inactivate(writer, local.member, link)
    if link is None or link.state == "gone":
        return await _create(writer, local, approved)
    return await _update(writer, local.member, link, approved, found)


async def _load(session: AsyncSession, writer: Writer, member_id: UUID) -> _Local:
    member = await session.get_one(Member, member_id)
    link = await session.scalar(select(Link).filter_by(**writer.owner, kind=MEMBER, record_id=member.id))
    return _Local(member, link)


async def _look_before(writer: Writer, member: Member) -> None:
    """Raise Later if a person there who may be this member waits for an answer, or was found since the plan."""
    async with writer.job.sessions() as session:
        if await session.scalar(select(waits_for_an_answer(writer.owner)).where(Member.id == member.id)):
            raise Later(WAITS_FOR_ANSWER)
        sent = await session.scalar(
            select(Creation.id).filter_by(**writer.owner, kind=MEMBER, record_id=member.id, state="sent")
        )
        if sent is None and (why := await may_be_there(session, writer, member)):
            raise Later(why)


async def _create(writer: Writer, local: _Local, approved: Sequence[PlanField] | None) -> str:
    if local.link is not None and not local.link.create_again:
        async with writer.job.sessions() as session:
            raise Later((await why_gone(session, local.link))[1])
    values = values_of(local.member)
    if approved is not None and not allows(approved, plan_of_created(as_dict(values), "there"), writer.country):
        raise LeftOut
    await _look_before(writer, local.member)
    if not local.member.active:
        raise Later(INACTIVE_HERE)
    member = local.member
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
    outcome = Parts(complete=made.content == content)
    outcome.refusals.taken = True
    for name in _CONTACTS:
        value = as_dict(values)[name]
        if value is not None:
            async with part(writer, member, outcome, Part(name, (name,))):
                outcome.complete &= await create_contact(writer, member, made.pco_id, name, value, outcome)
    await _agree(writer, member, outcome)
    return CREATED_THERE


def _without_empty(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value not in {None, ""}}


async def _by_marker(writer: Writer, values: PersonValues, intent: Intent) -> str | None:
    """The person that an earlier attempt created, or None."""
    assert intent.marker is not None
    page = await writer.pco.list(PEOPLE, Query(where=(Where("remote_id", intent.marker),), per_page=10))
    rows = [row for row in page.data if row.id not in intent.strays]
    sent = {**to_json(values), **intent.content}
    ours = [row.id for row in rows if is_whom_we_sent(remote_person(row.id, row.attributes), sent)]
    if rows and len(ours) != 1:
        raise PartRefused.undecidable(
            f"We cannot tell whether {values.first_name} {values.last_name} was created in Planning Center: "
            f"the number {intent.marker} in the field Remote ID belongs to somebody else there. "
            "Look the person up in Planning Center; nothing more is created until this is settled."
        )
    return ours[0] if ours else None


async def _store_link(session: AsyncSession, writer: Writer, member: Member, values: PersonValues, made: Made) -> None:
    now = writer.now()
    coming = {name: value for name, value in to_json(values).items() if name in _CONTACTS and value is not None}
    row: dict[str, Any] = {
        "pco_id": made.pco_id,
        "state": "linked",
        "agreed": {},
        "agreed_at": {},
        "kept_different": {},
        "decided": {},
        "contacts": {},
        "remote_hash": None,
        "compared_version": _NEVER,
        "missing_since": None,
        "gone_at": None,
        "merged_into": None,
        "kept_two": False,
        "create_again": False,
    }
    locked = await session.get_one(Member, member.id, with_for_update=True, populate_existing=True)
    await _nobody_elses(session, writer, locked, made)
    by = await creator_there(session, writer.owner, member.id)
    link = await session.scalar(
        insert(Link)
        .values(**writer.owner, kind=MEMBER, record_id=member.id, **row)
        .on_conflict_do_update(
            index_elements=["organization_id", "pco_organization_id", "kind", "record_id"],
            set_=row,
            where=(Link.pco_id == made.pco_id) | ended(Link),
        )
        .returning(Link),
        execution_options={"populate_existing": True},
    )
    if link is None:
        # The platform supplied the counterpart meanwhile; that link counts.
        raise Later(OUTCOMES[LATER])
    agree(link, {**made.content, ACTIVE: True}, now)
    await note_created(session, link.id, now)
    await announce(session, link.id, [Sent(name, None, value) for name, value in coming.items()], now)
    # Publishes the link; no value has to be sent to Planning Center.
    unchanged = locked.version == member.version
    effects = Effects(rows=[tied(writer, MEMBER, link, created_by=by)])
    touch(writer, locked, effects)
    await publish(session, writer, effects)
    if unchanged:
        member.version = locked.version


async def _nobody_elses(session: AsyncSession, writer: Writer, member: Member, made: Made) -> None:
    """Raise PartRefused if the created person is linked to another member: renamed, they were taken for new."""
    taken = select(Link.record_id).filter_by(**writer.owner, kind=MEMBER, pco_id=made.pco_id)
    other = await session.scalar(taken.where(Link.record_id != member.id))
    if other is not None:
        name, second = full_name(member), full_name(await session.get_one(Member, other))
        raise PartRefused.undecidable(
            f"{name} was added in Planning Center, and who was added is linked to {second} here. If the two are one "
            "person, delete one of them here; otherwise look the person up in Planning Center."
        )


async def _update(
    writer: Writer, member: Member, link: Link, approved: Sequence[PlanField] | None, found: Read | None
) -> str:
    async with writer.job.sessions() as session:
        writes = (await writes_of(session, [link.id])).get(link.id, [])
        conflict = (await in_conflict(session, writer, [member.id])).get(member.id)
        if found is not None and not await _is_newest(session, writer, found):
            found = None
    there = await _read(writer, link, writes, found)
    person = there.person
    reading = writer.reading(there.read_at)
    if until := person_believable_at(writes, person.values, reading, writer.country, active=person.active):
        raise NotYet(until)
    base = base_of(link, writes, person.values, writer.country)
    result = _asked(writer, merge_person(writer, link, base, member, person))
    if until := lets_go(writer, conflict, person, result, there.read_at):
        raise NotYet(until)
    _keep_to(approved, writer, base, member, person, result)
    if result.conflicts or result.to_ours:
        result = await _moved_there(writer, member, there, approved)
        if not result.to_theirs:
            ours = bool(result.to_ours)
            return CONFLICT if result.conflicts else updated(ours=ours, theirs=False, otherwise=UNCHANGED)
    if not result.to_theirs:
        await _nothing_to_write(writer, member, base | dict(result.agreed), there)
        return UNCHANGED
    await _announce(writer, member, result, there)
    outcome = Parts(result.reasons)
    if sent := {name: value for name, value in result.to_theirs.items() if name not in _CONTACTS}:
        async with part(writer, member, outcome, Part(None, tuple(sent))):
            await _write_attributes(writer, member, link, sent, outcome)
    for name in _CONTACTS:
        if name in result.to_theirs:
            async with part(writer, member, outcome, Part(name, (name,))):
                outcome.complete &= await write_contact(
                    writer, member, link, there, name, result.to_theirs[name], outcome
                )
    await _agree(writer, member, outcome)
    return CONFLICT if result.conflicts else UPDATED_BOTH if result.to_ours else UPDATED_THERE


def _keep_to(
    approved: Sequence[PlanField] | None,
    writer: Writer,
    base: Mapping[str, Any],
    member: Member,
    person: RemotePerson,
    result: Merge,
) -> None:
    """Raise LeftOut if this write was not approved. The status is never written there, and was taken over before."""
    if approved is None:
        return
    status = Status(None, member.active, person.active, taken=False)
    if not allows(approved, of_person(base, values_of(member), person.values, result, status), writer.country):
        raise LeftOut


def _asked(writer: Writer, result: Merge) -> Merge:
    """The merge; Later if it needs the church's first-match choice, which was never made."""
    if result.first_match and not writer.chosen:
        raise Later(FIRST_SYNC_ASKS)
    return result


async def _is_newest(session: AsyncSession, writer: Writer, found: Read) -> bool:
    """Whether this read decided our side; a run may have stored a later one in the mirror, which then counted."""
    of_person = select(Remote.read_at).filter_by(**writer.owner, kind=MEMBER, pco_id=found.pco_id)
    return bool(await session.scalar(of_person) == found.read_at)


async def _read(writer: Writer, link: Link, writes: Sequence[Any], found: Read | None) -> There:
    """Read the person, unless `found` is fresh. Later edits there are not seen."""
    if found and found.document and found.pco_id == link.pco_id and writer.now() - found.read_at < RIGHT_BEFORE:
        document, read_at = found.document, found.read_at
    else:
        read_at = writer.now()
        try:
            document = await writer.pco.get(f"{PEOPLE}/{link.pco_id}", Query(include=INCLUDE))
        except NotFound:
            if until := made_lately(writes, writer.reading(read_at)):
                raise NotYet(until) from None  # the person is so new that a 404 proves nothing
            raise
    person = person_of(document.data, document.included)
    if isinstance(person, Unread):
        raise_unread(writer, person, read_at)
    contacts = {name: _contacts(document.included.many(document.data, path)) for name, path in CONTACT_PATHS.items()}
    return There(person, contacts, read_at)


def _contacts(rows: Iterable[Resource]) -> list[Contact]:
    return [Contact(row.id, row.attributes.get("primary") is True, row.attributes) for row in rows]


async def _announce(writer: Writer, member: Member, result: Merge, there: There) -> None:
    """Commit the values about to be overwritten there, by which stale reads are recognized even after a crash.

    Values agreed by now are stored as well, since the next announcement no longer knows this one's fields.
    """
    async with writer.transaction() as session:
        link = await locked_link(session, writer, member)
        writes = (await writes_of(session, [link.id])).get(link.id, [])
        mine = confirmed(writes, there.person.values, writer.country)
        base = base_of(link, writes, there.person.values, writer.country)
        agree(link, to_json(base | dict(result.agreed)), writer.now())
        await _settled(session, writer, member, link, writes, mine, there)
        link.remote_hash, link.missing_since = None, None
        link.contacts = dict(there.person.contacts)
        # Noted here instead of with the answer, because the answer may be lost.
        cleared = [name for name in _CONTACTS if name in result.to_theirs and result.to_theirs[name] is None]
        kept = {name: pair for name, pair in still_kept(link, there.person.values).items() if name not in cleared}
        link.kept_different = kept | left_when_cleared(there, cleared)
        sent = [
            Sent(name, value_to_json(result.replaced[name]), value_to_json(value))
            for name, value in result.to_theirs.items()
        ]
        await announce(session, link.id, sent, writer.now())


async def _write_attributes(
    writer: Writer, member: Member, link: Link, sent: Mapping[str, Any], outcome: Parts
) -> None:
    body = write_body("Person", person_attributes(sent), identity=link.pco_id)
    document = await writer.pco.patch(f"{PEOPLE}/{link.pco_id}", body)
    shown = as_dict(remote_person(link.pco_id, document.data.attributes).values)
    taken = {name: value for name, value in sent.items() if identical(name, shown[name], value, writer.country)}
    await answer(writer, member, outcome, taken, other=tuple(sent.keys() - taken.keys()))
    for name in sent.keys() - taken.keys():
        outcome.complete = False
        outcome.refusals.add(
            "undecidable",
            f"Planning Center took the change but shows another {name.replace('_', ' ')} than the one sent. "
            "Look at the person in Planning Center; the next sync compares both again.",
        )


async def _moved_there(writer: Writer, member: Member, there: There, approved: Sequence[PlanField] | None) -> Merge:
    """Process an edit there since the pull: take it over here or open a conflict, never overwrite it.

    Returns the merge with our present values; `member` has that version from here on.
    """
    person = there.person
    async with writer.transaction() as session:
        locked = await session.get_one(Member, member.id, with_for_update=True, populate_existing=True)
        if locked.deleted_at is not None:
            raise Later(DELETED_MEANWHILE)
        link = await locked_link(session, writer, member)
        writes = (await writes_of(session, [link.id])).get(link.id, [])
        base = base_of(link, writes, person.values, writer.country)
        result = _asked(writer, merge_person(writer, link, base, locked, person))
        _keep_to(approved, writer, base, locked, person, result)
        effects = Effects()
        # The mirror has an older read; clearing it makes a return to those values compare again.
        link.remote_hash = None
        change_here(writer, locked, result, effects)
        agree(link, to_json(base | dict(result.agreed) | dict(result.to_ours)), writer.now())
        if result.conflicts:
            conflict = (await open_conflicts_of(session, writer.organization_id, [member.id])).get(member.id)
            effects.conflicts += open_conflict(
                session,
                link,
                result.conflicts,
                conflict,
                updated_at=person.updated_at,
                read_at=there.read_at,
                now=writer.now(),
            )
        if not result.to_theirs:
            link.compared_version = locked.version
        await publish(session, writer, effects)
    member.version = locked.version
    return result


async def _nothing_to_write(writer: Writer, member: Member, agreed: Mapping[str, Any], there: There) -> None:
    async with writer.transaction() as session:
        link = await locked_link(session, writer, member)
        writes = (await writes_of(session, [link.id])).get(link.id, [])
        mine = confirmed(writes, there.person.values, writer.country)
        await _settled(session, writer, member, link, writes, mine, there)
        agree(link, {**link.agreed, **to_json(agreed)}, writer.now())
        forget_equal(link, equal_sides(values_of(member), there.person.values, writer.country))
        link.compared_version, link.contacts = member.version, dict(there.person.contacts)
        link.missing_since = None
        if link.remote_hash != there.person.hash:
            link.remote_hash = None
        await _forget_intents(session, writer, member, link)


async def _settled(
    session: AsyncSession,
    writer: Writer,
    member: Member,
    link: Link,
    writes: Sequence[Write],
    mine: Mapping[str, Any],
    there: There,
) -> None:
    """Close earlier writes by a conclusive read: values found there are noted, and no write stays open."""
    if rows := carried_out(writer, MEMBER, member.id, writes, mine):
        await insert_effects(session, rows)
    await settle(session, [link.id], writer.reading(there.read_at))


async def _agree(writer: Writer, member: Member, outcome: Parts) -> None:
    """Note that both sides have these values. A later edit here has a higher version and is pushed next time.

    Raises PartRefused if a part was refused.
    """
    async with writer.transaction() as session:
        link = await locked_link(session, writer, member)
        link.compared_version = member.version if outcome.complete else _NEVER
        await _forget_intents(session, writer, member, link)
    outcome.refusals.raise_any()


async def _forget_intents(session: AsyncSession, writer: Writer, member: Member, link: Link) -> None:
    """Close intents of contacts that are mapped now, which need no look for an earlier attempt."""
    await session.execute(
        delete(Creation)
        .filter_by(**writer.owner, record_id=member.id, state="sent")
        .where(Creation.kind.in_(link.contacts))
    )


async def _inactivate(writer: Writer, member: Member, link: Link) -> str:
    """Make a member deleted here inactive there; people are never deleted there."""
    if link.compared_version >= member.version:
        return INACTIVATED_THERE  # already done before a process died
    outcome = Parts()
    async with part(writer, member, outcome, Part(None, ())):
        body = write_body("Person", {"status": "inactive"}, identity=link.pco_id)
        await writer.pco.patch(f"{PEOPLE}/{link.pco_id}", body)
    outcome.refusals.raise_any()
    async with writer.transaction() as session:
        row = await session.get_one(Link, link.id, with_for_update=True)
        row.compared_version, row.remote_hash = member.version, None
        await insert_effects(session, [noted(writer, MEMBER, member.id, "active", True, False, side=THERE, by="rule")])
    return INACTIVATED_THERE
