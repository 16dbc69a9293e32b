"""Settles strays under the claim of their record's next writer: duplicates are removed, and shown in the history.

A duplicate contact or membership is deleted there. A duplicate person is made inactive and a household emptied, and
both stay for an administrator to check: people are never deleted there.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import FAMILY, MEMBER
from pco_client.errors import NotFound
from pco_client.jsonapi import write_body
from people_sync.domain.canonical import identical
from people_sync.domain.planning_center import CONTACT_PATHS, CONTACT_TYPES, Contact, Unread
from people_sync.domain.sentences import (
    DOUBLED_MEMBERSHIP,
    NOT_TAKEN_BACK,
    doubled_contact,
    doubled_family,
    doubled_person,
)
from people_sync.domain.strays import Kept, contacts_to_keep, fate_of_record, is_doubled_membership
from people_sync.domain.values import as_dict, value_from_json
from people_sync.domain.writes import person_believable_at
from people_sync.planning_center import HOUSEHOLDS, PEOPLE, person_of
from people_sync.storage.effects import insert_effects
from people_sync.storage.families import pco_ids_of
from people_sync.storage.records import full_name, values_of
from people_sync.storage.strays import MEMBERSHIP, of_record, record_kind
from people_sync.storage.sync_tables import Creation, Stray
from people_sync.storage.tables import Family, Link, Member
from people_sync.storage.writes import Sent, announce, answered, writes_of
from people_sync.usecases.held import no_longer_held
from people_sync.usecases.record.contacts import contact_path, value_of
from people_sync.usecases.record.effects import noted
from people_sync.usecases.record.reading import Read, raise_unread, read
from people_sync.usecases.record.refusals import DEFINITE, PartRefused
from people_sync.usecases.record.write_family import memberships
from people_sync.usecases.record.writer import Writer
from synckit.errors import NotYet
from synckit.history import THERE

DOUBLED: Final = "doubled"
"""Rule of an effect: a duplicate there was removed."""


async def settle_strays(writer: Writer, record_id: UUID) -> list[str]:
    """Settle a record's strays; gives sentences for an administrator.

    Raises NotYet while a read may not show a stray yet, and the client's errors that do not concern the stray.
    """
    async with writer.job.sessions() as session:
        strays = await of_record(session, writer.owner, record_id)
    said: list[str] = []
    for stray in strays:
        try:
            said += await _settle(writer, stray)
        except _CounterpartGone:
            continue
        except (PartRefused, *DEFINITE):
            said.append(NOT_TAKEN_BACK)
    return said


class _CounterpartGone(Exception):
    """The record's own counterpart is missing; its sync decides about that before the stray is settled."""


async def _settle(writer: Writer, stray: Stray) -> list[str]:
    async with writer.job.sessions() as session:
        of_intent = select(Creation).filter_by(**writer.owner, kind=stray.kind, record_id=stray.intent_id)
        intent = await session.scalar(of_intent)
        kind = record_kind(stray.kind)
        link = await session.scalar(select(Link).filter_by(**writer.owner, kind=kind, record_id=stray.record_id))
        other = await session.scalar(select(Link.record_id).filter_by(**writer.owner, kind=kind, pco_id=stray.pco_id))
        unanswered = intent is not None and intent.state in {"sent", "intended"}
        if unanswered and await _will_be_carried_out(session, writer, stray, link):
            return []  # the intent's next attempt adopts the stray or finds another
    if link is None or link.state in {"gone", "missing"}:
        await _forget(writer, stray)
        return []
    if stray.kind in _RECORDS:
        if unanswered:
            await _close_intent(writer, stray, link)
        another = other is not None and other != stray.record_id
        fate = fate_of_record(stray.pco_id, counterpart=link.pco_id, another_record=another)
        if fate == "take_back":
            return await _RECORDS[stray.kind](writer, stray, link)
        await _forget(writer, stray)
        return []
    if stray.kind == MEMBERSHIP:
        return await _membership(writer, stray, link)
    return await _contact(writer, stray, link, intent.pco_id if intent else None)


async def _close_intent(writer: Writer, stray: Stray, link: Link) -> None:
    """Close an intent whose record was linked to another counterpart, so that no worker carries it out."""
    async with writer.transaction() as session:
        of_intent = update(Creation).filter_by(**writer.owner, kind=stray.kind, record_id=stray.intent_id)
        await session.execute(of_intent.values(state="created", pco_id=link.pco_id, content=None))


async def _will_be_carried_out(session: AsyncSession, writer: Writer, stray: Stray, link: Link | None) -> bool:
    """Whether the record's writer will still carry out the stray's intent."""
    if link is None:
        if stray.kind == FAMILY:
            return (await session.get_one(Family, stray.record_id)).deleted_at is None
        member = await session.get_one(Member, stray.record_id)
        return stray.kind == MEMBER and member.deleted_at is None and member.active
    if stray.kind not in CONTACT_TYPES or link.state != "linked":
        return False
    member = await session.get_one(Member, stray.record_id)
    value = None if member.deleted_at else as_dict(values_of(member))[stray.kind]
    agreed = value_from_json(stray.kind, link.agreed.get(stray.kind))
    return value is not None and not identical(stray.kind, value, agreed, writer.country)


# --- people and households --------------------------------------------------------------------------------------------


async def _person(writer: Writer, stray: Stray, link: Link) -> list[str]:
    found = await _both_there(writer, MEMBER, stray, link)
    if found is None:
        return []
    if _attributes(found).get("status") != "inactive":
        body = write_body("Person", {"status": "inactive"}, identity=stray.pco_id)
        await writer.pco.patch(f"{PEOPLE}/{stray.pco_id}", body)
    async with writer.transaction() as session:
        name = full_name(await session.get_one(Member, stray.record_id))
        await no_longer_held(session, writer.owner, [stray.pco_id])
        await _taken_back(session, writer, stray, [(MEMBER, stray.record_id, "planning_center_id")])
    return [doubled_person(name, stray.pco_id)]


async def _household(writer: Writer, stray: Stray, link: Link) -> list[str]:
    """Remove the people that we put into the duplicate household; others stay."""
    found = await _both_there(writer, FAMILY, stray, link)
    if found is None:
        return []
    members = list(stray.content.get("members", ()))
    async with writer.job.sessions() as session:
        people = set((await pco_ids_of(session, writer.owner, members)).values())
    path = f"{HOUSEHOLDS}/{stray.pco_id}"
    ours = [row for row, person in (await memberships(writer, path)).items() if person in people]
    if len(ours) < len(people):
        # The household is too new for reads to show all its people.
        _wait_for_reads(writer, stray)
    for row in ours:
        with suppress(NotFound):
            await writer.pco.delete(f"{path}/household_memberships/{row}")
    async with writer.transaction() as session:
        name = (await session.get_one(Family, stray.record_id)).name
        # A family has no visible history of its own, so its people's histories show it.
        rows = [(FAMILY, stray.record_id, "planning_center_id"), *((MEMBER, UUID(one), "families") for one in members)]
        await _taken_back(session, writer, stray, rows)
    return [doubled_family(name, stray.pco_id)]


_RECORDS: Final[Mapping[str, Callable[[Writer, Stray, Link], Awaitable[list[str]]]]] = {
    MEMBER: _person,
    FAMILY: _household,
}


async def _both_there(writer: Writer, kind: str, stray: Stray, link: Link) -> Read | None:
    """A read of the stray, None unless the counterpart exists as well: after a merger of the two, one is gone."""
    found = await read(writer, kind, stray.pco_id)
    if found.document is None:
        await _not_there(writer, stray)
        return None
    if (await read(writer, kind, link.pco_id)).document is None:
        raise _CounterpartGone
    return found


def _attributes(found: Read) -> Mapping[str, Any]:
    assert found.document is not None
    return found.document.data.attributes


async def _taken_back(
    session: AsyncSession, writer: Writer, stray: Stray, records: list[tuple[str, UUID, str]]
) -> None:
    """Mark the stray as settled, and add it to the history of these records (kind, id, field)."""
    row = await session.get_one(
        Stray, (*writer.owner.values(), stray.kind, stray.pco_id), with_for_update=True, populate_existing=True
    )
    row.settled_at = writer.now()
    effects = [
        noted(writer, kind, record_id, field, stray.pco_id, None, side=THERE, by="rule", rule=DOUBLED)
        for kind, record_id, field in records
    ]
    await insert_effects(session, effects)


# --- contacts and memberships -----------------------------------------------------------------------------------------


async def _contact(writer: Writer, stray: Stray, link: Link, answer: str | None) -> list[str]:
    name = stray.kind
    there = await _contacts_of(writer, name, link)
    if stray.pco_id not in there:
        await _not_there(writer, stray)
        return []
    agreed = value_from_json(name, link.agreed.get(name))
    kept = contacts_to_keep(
        name,
        {one.id: value_of(name, one) for one in there.values()},
        stray=stray.pco_id,
        answered=answer,
        sent=value_from_json(name, stray.content.get(name)),
        agreed=agreed,
        country=writer.country,
    )
    for contact_id in sorted(kept.take_back):
        with suppress(NotFound):
            await writer.pco.delete(contact_path(name, contact_id))
    if kept.keep is not None and not there[kept.keep].primary and kept.take_back:
        body = write_body(CONTACT_TYPES[name], {"primary": True}, identity=kept.keep)
        await writer.pco.patch(contact_path(name, kept.keep), body)
    await _contact_settled(writer, stray, name, kept)
    return [doubled_contact(name)] if kept.take_back else []


async def _contacts_of(writer: Writer, name: str, link: Link) -> dict[str, Contact]:
    """Contacts by id, from a read after our last write: in a stale read our contact would look like an unwanted one."""
    async with writer.job.sessions() as session:
        writes = (await writes_of(session, [link.id])).get(link.id, [])
    found = await read(writer, MEMBER, link.pco_id)
    if found.document is None:
        raise _CounterpartGone
    person = person_of(found.document.data, found.document.included)
    if isinstance(person, Unread):
        raise_unread(writer, person, found.read_at)
    reading = writer.reading(found.read_at)
    if until := person_believable_at(writes, person.values, reading, writer.country, active=person.active):
        raise NotYet(until)
    rows = found.document.included.many(found.document.data, CONTACT_PATHS[name])
    return {row.id: Contact(row.id, row.attributes.get("primary") is True, row.attributes) for row in rows}


async def _contact_settled(writer: Writer, stray: Stray, name: str, kept: Kept) -> None:
    async with writer.transaction() as session:
        of_member = select(Link).filter_by(**writer.owner, kind=MEMBER, record_id=stray.record_id).with_for_update()
        link = (await session.scalars(of_member)).one()
        if kept.take_back:
            others = {field: id_ for field, id_ in link.contacts.items() if field != name}
            link.contacts = {**others, name: kept.keep} if kept.keep else others
            link.remote_hash = None
            sent, agreed = stray.content.get(name), link.agreed.get(name)
            now = writer.now()
            # A lagging read may still show the removed contact, which must not count as an edit.
            await announce(session, link.id, [Sent(name, sent, agreed)], now)
            await answered(session, link.id, [name], now)
            row = noted(writer, MEMBER, stray.record_id, name, sent, sent, side=THERE, by="rule", rule=DOUBLED)
            await insert_effects(session, [row])
        await session.execute(_this(writer, stray))


async def _membership(writer: Writer, stray: Stray, link: Link) -> list[str]:
    path = f"{HOUSEHOLDS}/{link.pco_id}"
    try:
        people = await memberships(writer, path)
    except NotFound:
        raise _CounterpartGone from None
    if stray.pco_id not in people:
        await _not_there(writer, stray)
        return []
    doubled = is_doubled_membership(stray.pco_id, people)
    if doubled:
        with suppress(NotFound):
            await writer.pco.delete(f"{path}/household_memberships/{stray.pco_id}")
    await _forget(writer, stray)
    return [DOUBLED_MEMBERSHIP] if doubled else []


async def _not_there(writer: Writer, stray: Stray) -> None:
    """Process a stray that a read does not show: NotYet if it is too new; otherwise someone there deleted it."""
    _wait_for_reads(writer, stray)
    await _forget(writer, stray)


def _wait_for_reads(writer: Writer, stray: Stray) -> None:
    until = stray.made_at + writer.resources.horizon
    if writer.now() < until:
        raise NotYet(until)


async def _forget(writer: Writer, stray: Stray) -> None:
    async with writer.transaction() as session:
        await session.execute(_this(writer, stray))


def _this(writer: Writer, stray: Stray) -> Any:
    return delete(Stray).filter_by(**writer.owner, kind=stray.kind, pco_id=stray.pco_id)
