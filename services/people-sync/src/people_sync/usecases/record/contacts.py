"""A member's one email, phone and address in Planning Center, where a person may have several of each."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from pco_client.errors import NotFound
from pco_client.jsonapi import Document, write_body
from pco_client.query import Query
from people_sync.domain.canonical import identical
from people_sync.domain.planning_center import (
    CONTACT_PATHS,
    CONTACT_TYPES,
    NEW_CONTACT,
    Contact,
    RemotePerson,
    contact_attributes,
    main_contact,
    remote_person,
)
from people_sync.domain.values import as_dict, value_from_json, value_to_json
from people_sync.planning_center import PEOPLE
from people_sync.storage.tables import Link, Member
from people_sync.usecases.record.answers import Parts, answer, store_answer
from people_sync.usecases.record.creations import Intent, create_once
from people_sync.usecases.record.writer import Writer
from synckit.creations import Made
from synckit.errors import NotYet


@dataclass(frozen=True, slots=True)
class There:
    """A person read right before the write, with all contacts."""

    person: RemotePerson
    contacts: Mapping[str, Sequence[Contact]]
    """All contacts by our field."""
    read_at: datetime

    def others(self, name: str) -> list[Contact]:
        """Contacts that our field does not map to."""
        mapped = self.person.contacts.get(name)
        return [contact for contact in self.contacts[name] if contact.id != mapped]


async def write_contact(
    writer: Writer, member: Member, link: Link, there: There, name: str, value: Any, outcome: Parts
) -> bool:
    """Write our e-mail, phone or address to its mapped contact; other contacts there are never changed.

    A contact that already has our value becomes the mapped and primary one. Gives the result of `create_contact`.
    """
    contact_id = there.person.contacts.get(name)
    others = there.others(name)
    equal = next((one for one in others if value is not None and _holds(name, one, value, writer.country)), None)
    if value is None:
        if contact_id is not None:
            with suppress(NotFound):  # already deleted there
                await writer.pco.delete(contact_path(name, contact_id))
        await answer(writer, member, outcome, {name: None}, contacts={name: None})
        return True
    if equal is not None:
        contact_id = equal.id
        await writer.pco.patch(
            contact_path(name, equal.id), write_body(CONTACT_TYPES[name], {"primary": True}, identity=equal.id)
        )
    elif contact_id is None:
        return await create_contact(writer, member, link.pco_id, name, value, outcome)
    else:
        await writer.pco.patch(
            contact_path(name, contact_id),
            write_body(CONTACT_TYPES[name], contact_attributes(name, value), identity=contact_id),
        )
    await answer(writer, member, outcome, {name: value}, contacts={name: contact_id})
    return True


def left_when_cleared(there: There, names: Iterable[str]) -> dict[str, list[Any]]:
    """Differences to keep (JSON) once these are cleared: another contact of the person stays there and must not replace
    the cleared one."""
    left = {name: value_to_json(value_of(name, main_contact(there.others(name)))) for name in names}
    return {name: [None, value, "announced"] for name, value in left.items() if value is not None}


def contact_path(name: str, contact_id: str) -> str:
    """Path of one contact."""
    return f"/people/v2/{CONTACT_PATHS[name]}/{contact_id}"


async def create_contact(writer: Writer, member: Member, pco_id: str, name: str, value: Any, outcome: Parts) -> bool:
    """Create a contact. False if an earlier unanswered attempt created it with another value, which is then agreed."""
    content = {name: value_to_json(value)}

    async def look(intent: Intent) -> str | None:
        sent = value_from_json(name, intent.content.get(name, content[name]))
        document = await writer.pco.get(f"{PEOPLE}/{pco_id}", Query(include=(CONTACT_PATHS[name],)))
        if document.included.missing(document.data, CONTACT_PATHS[name]):
            raise NotYet(writer.now() + writer.resources.horizon)
        for row in document.included.many(document.data, CONTACT_PATHS[name]):
            contact = Contact(row.id, primary=True, attributes=row.attributes)
            if row.id not in intent.strays and _holds(name, contact, sent, writer.country):
                return row.id
        return None

    async def post(_: Intent) -> Document:
        body = write_body(CONTACT_TYPES[name], contact_attributes(name, value) | NEW_CONTACT[name])
        return await writer.pco.create(f"{PEOPLE}/{pco_id}/{CONTACT_PATHS[name]}", body)

    async def created(session: AsyncSession, made: Made) -> None:
        await store_answer(session, writer, member, outcome, made.content, contacts={name: made.pco_id})

    made = await create_once(writer, name, member.id, content, look=look, post=post, created=created)
    return made.content == content


def _holds(name: str, contact: Contact, value: Any, country: str) -> bool:
    return identical(name, value_of(name, contact), value, country)


def value_of(name: str, contact: Contact | None) -> Any:
    """The contact's value in the form of our field."""
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
