"""Planning Center People as this service reads it: which fields and includes, and what makes an answer whole.

Absent is not empty: an attribute, relationship or included record that did not come says nothing, and taken for empty
it would clear a value here. A value that cannot exist is that record's alone. Both give an `Unread` in place of the
record; no reader raises for what an answer holds.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final, Literal

import orjson

from contracts.http.people import LARGEST_FAMILY
from pco_client.client import PlanningCenter
from pco_client.errors import UnexpectedAnswer
from pco_client.jsonapi import Document, Identifier, Included, Page, Resource
from pco_client.query import Query
from people_sync.domain.canonical import email_key, name_key
from people_sync.domain.planning_center import (
    ADDRESS_PARTS,
    RECORD,
    Contact,
    RemoteHousehold,
    RemotePerson,
    Unread,
    date_of,
    remote_person,
    times_of,
)
from people_sync.domain.values import LONGEST_KEY, impossible, may_be_too_long

PEOPLE: Final = "/people/v2/people"
DEFAULT_COUNTRY: Final = "US"
"""Of a church whose organization does not say."""
HOUSEHOLDS: Final = "/people/v2/households"
MERGERS: Final = "/people/v2/person_mergers"
INCLUDE: Final = ("emails", "phone_numbers", "addresses", "households", "name_suffix")
_TEXTS: Final = ("first_name", "last_name", "given_name", "nickname", "middle_name", "gender", "status")
FIELDS: Final = {
    "Person": (
        *(*_TEXTS, "birthdate", "child", "remote_id", "login_identifier"),
        *("created_at", "updated_at", *INCLUDE),
    ),
    "Email": ("address", "primary", "updated_at"),
    "PhoneNumber": ("number", "primary", "updated_at"),
    "Address": (*ADDRESS_PARTS, "primary", "updated_at"),
    "Household": ("name", "people", "primary_contact", "updated_at"),
    "NameSuffix": ("value",),
}
"""What is read of a record, relationships included: the rest is most of an answer, and somebody's private data."""

_WORDS: Final[Mapping[str, str]] = {
    "address": "email address",
    "number": "phone number",
    "zip": "postal code",
    "country_code": "country",
    "people": "people in it",
    "members": "list of people",
    "street_line_1": "street",
    "street_line_2": "second line of the street",
    "child": "child setting",
    "remote_id": "Remote ID",
    "primary": "choice of the primary contact",
}
"""What an administrator calls a part; the others are called by their own name."""
_READING: Final = 3
"""Of how a record is read: to be raised with every change of that, so that all are read once more."""
NUMBER: Final = "[0-9]{1,18}"
"""The form of Planning Center's ids. No request is made for an id of another form."""
_ID: Final = re.compile(NUMBER)
_IDS: Final = "number in Planning Center"


class _Wrong(Exception):
    """Why a record cannot be read."""

    def __init__(self, why: Literal["incomplete", "unreadable"], part: str, problem: str = "") -> None:
        self.why, self.part, self.problem = why, _WORDS.get(part, part.replace("_", " ")), problem

    def unread(self, row: Resource, kind: str) -> Unread:
        parts = ("first_name", "last_name") if kind == "person" else ("name",)
        name = " ".join(text for part in parts if isinstance(text := row.attributes.get(part), str))
        sentence = (
            f"Planning Center did not send everything about this {kind} ({self.part} missing). "
            "Nothing was changed; we read it again."
            if self.why == "incomplete"
            else f"Planning Center has a value for this {kind} that we cannot read: {self.part}, it {self.problem}. "
            "Nothing was changed. Correct it in Planning Center; the next sync reads it again."
        )
        return Unread(_possible(row.id, 40), self.why, sentence, _possible(name, 200))


def person_of(row: Resource, included: Included) -> RemotePerson | Unread:
    """The person with contacts and the ids of households, or why the answer does not say them all."""
    try:
        return _person(row, included)
    except _Wrong as wrong:
        return replace(wrong.unread(row, "person"), person=_as_far_as_known(row, included))


def fingerprint_of(row: Resource, included: Included) -> bytes | None:
    """Equal for answers that `person_of`, or `household_of`, reads the same from; None for one that is not whole.

    Cheaper than reading: most records of a full run are as they were in the one before.
    """
    parts: list[Any] = [_READING, row.attributes, row.relationships]
    try:
        for name in INCLUDE if row.type == "Person" else ():
            data = row.relationships[name]["data"]
            for one in data if isinstance(data, list) else [data] if data else []:
                found = included.index[Identifier(one["type"], one["id"])]
                parts.append(found.attributes if name != "households" else None)
        return blake2b(orjson.dumps(parts), digest_size=16).digest()
    except (KeyError, TypeError, orjson.JSONEncodeError):
        return None


def is_id(pco_id: str) -> bool:
    """Whether an id has the form of Planning Center's ids, so that a record can be asked for by it."""
    return _ID.fullmatch(pco_id) is not None


def times_of_read(document: Document) -> dict[tuple[str, str], datetime | None]:
    """`updated_at` of the record and each record included with it, by type and id; None if it does not say.

    Households come with a person, but their state is read at their own address.
    """
    included = (
        [] if document.data.type == "Household" else [one for one in document.included if one.type != "Household"]
    )
    return {(one.type, one.id): times_of({RECORD: one.attributes}).get(RECORD) for one in (document.data, *included)}


def stored_id(row: Resource) -> str:
    """The record's id as far as it can be stored; one that is no number makes the record unreadable."""
    return _possible(row.id, 40)


def household_of(row: Resource) -> RemoteHousehold | Unread:
    """The household with its people, or why the answer does not say them all.

    Both relationships come with every household, without `include` (recorded on 2026-06-04).
    """
    try:
        return _household(row)
    except _Wrong as wrong:
        return wrong.unread(row, "household")


def _person(row: Resource, included: Included) -> RemotePerson:
    attributes = row.attributes
    _id(row.id)
    _texts(row, *_TEXTS)
    _present(row, "birthdate", "child", "remote_id")
    if attributes["birthdate"] not in (None, "") and date_of(attributes["birthdate"]) is None:
        raise _Wrong("unreadable", "birthdate", "is no date")
    if not isinstance(attributes["child"], bool | None):
        raise _Wrong("unreadable", "child", "is neither yes nor no")
    middle, last = attributes["middle_name"] or "", attributes["last_name"] or ""
    for part in ("first_name", "given_name", "nickname"):
        first = attributes[part] or ""
        if may_be_too_long(first, middle, last):
            _key(part, name_key(f"{first} {middle}", last))
    households = [household.id for household in _whole(row, included, "households")]
    for household_id in households:
        _id(household_id)
    return remote_person(
        row.id,
        attributes,
        emails=_contacts(row, included, "emails", "address"),
        phones=_contacts(row, included, "phone_numbers", "number"),
        addresses=_contacts(row, included, "addresses", *ADDRESS_PARTS),
        household_ids=households,
        suffix=_suffix(row, included),
    )


def _as_far_as_known(row: Resource, included: Included) -> RemotePerson:
    """Read who a person is from an incomplete answer: parts that did not come, or cannot be stored, are left out."""
    known: dict[str, Any] = {name: _kept(row.attributes.get(name)) for name in _TEXTS}
    known |= {"birthdate": row.attributes.get("birthdate"), "child": row.attributes.get("child") is True}
    try:
        emails = [one.attributes.get("address") for one in included.many(row, "emails")]
    except UnexpectedAnswer:
        emails = []
    try:
        suffix = _suffix(row, included)
    except _Wrong:
        suffix = None
    person = remote_person(_possible(row.id, 40), known, suffix=suffix)
    return replace(person, emails=tuple(text for email in emails if (text := _kept(email))))


def _kept(value: Any) -> str | None:
    return value if isinstance(value, str) and not impossible(value) else None


def _suffix(row: Resource, included: Included) -> str | None:
    """Jr. and the like, a record of its own. It decides nothing but matching, so an answer without it will do."""
    if not row.has_relationship("name_suffix"):
        return None
    try:
        identifier = row.to_one("name_suffix")
    except UnexpectedAnswer:
        raise _Wrong("unreadable", "name_suffix", "has an unexpected form") from None
    if identifier is None:
        return None
    suffix = included.get(identifier)
    if suffix is None:
        raise _Wrong("incomplete", "name_suffix")
    _texts(suffix, "value")
    value: str | None = suffix.attributes["value"]
    return value


def _household(row: Resource) -> RemoteHousehold:
    _id(row.id)
    _texts(row, "name")
    name = row.attributes["name"] or ""
    if may_be_too_long(name):
        _key("name", name_key(name, ""))
    try:
        if not row.has_relationship("people") or row.relationships["people"]["data"] is None:
            raise _Wrong("incomplete", "people")
        if not row.has_relationship("primary_contact"):
            raise _Wrong("incomplete", "primary_contact")
        primary, people = row.to_one("primary_contact"), row.to_many("people")
    except UnexpectedAnswer:
        raise _Wrong("unreadable", "people", "has an unexpected form") from None
    if len(people) > LARGEST_FAMILY:
        raise _Wrong("unreadable", "members", f"has more than the {LARGEST_FAMILY:,} people that a family can have")
    for pco_id in (*(person.id for person in people), *([primary.id] if primary else [])):
        _id(pco_id)
    return RemoteHousehold(
        pco_id=row.id,
        name=name,
        person_ids=tuple(sorted({person.id for person in people}, key=int)),
        primary_contact_id=primary.id if primary else None,
        updated_at=times_of({RECORD: row.attributes}),
    )


def _contacts(row: Resource, included: Included, relationship: str, *texts: str) -> list[Contact]:
    contacts: list[Contact] = []
    for one in _whole(row, included, relationship):
        _id(one.id)
        _texts(one, *texts)
        _present(one, "primary")
        if relationship == "emails" and may_be_too_long(address := one.attributes["address"] or ""):
            _key("address", email_key(address) or "")
        contacts.append(Contact(one.id, one.attributes["primary"] is True, one.attributes))
    return contacts


def _whole(row: Resource, included: Included, relationship: str) -> list[Resource]:
    try:
        # A to-many relationship that is null does not say "none", which is an empty list.
        if not row.has_relationship(relationship) or row.relationships[relationship]["data"] is None:
            raise _Wrong("incomplete", relationship)
        found = included.whole(row, relationship)
    except UnexpectedAnswer:
        raise _Wrong("unreadable", relationship, "has an unexpected form") from None
    if found is None:
        raise _Wrong("incomplete", relationship)
    return found


def _present(row: Resource, *attributes: str) -> None:
    for name in attributes:
        if name not in row.attributes:
            raise _Wrong("incomplete", name)


def _texts(row: Resource, *attributes: str) -> None:
    """Each of them came, and is a text that can be kept, or null."""
    _present(row, *attributes)
    for name in attributes:
        value: Any = row.attributes[name]
        if value is not None and not isinstance(value, str):
            raise _Wrong("unreadable", name, "is no text")
        if value and (problem := impossible(value)):
            raise _Wrong("unreadable", name, problem)


def _key(part: str, key: str) -> None:
    if len(key.encode()) > LONGEST_KEY:
        raise _Wrong("unreadable", part, "is too long")


def _id(value: str) -> None:
    if not is_id(value):
        raise _Wrong("unreadable", _IDS, "is no number")


def _possible(text: str, longest: int) -> str:
    """As far as it can be stored and shown."""
    return "".join(
        "\ufffd" if character == "\0" or 0xD800 <= ord(character) <= 0xDFFF else character
        for character in text[:longest]
    )


async def newest_person(pco: PlanningCenter, *include: str) -> Page:
    """Who was changed last there; nobody in an empty church."""
    fields = {"Person": ("updated_at", *include)}
    return await pco.list(PEOPLE, Query(order="-updated_at", per_page=1, include=include, fields=fields))


def latest(rows: Sequence[Resource], before: str | None = None) -> str | None:
    """The newest `updated_at`, by Planning Center's clock: the cursor of the next incremental run."""
    seen = [at for row in rows if isinstance(at := row.attributes.get("updated_at"), str) and at]
    return max([*seen, *([before] if before else [])], default=None)


async def organization_of(pco: PlanningCenter, page: Page) -> Resource:
    """As it came with a person, else asked for: an empty church shows nobody."""
    included = next((page.included.one(person, "organization") for person in page.data), None)
    if included is not None and "country_code" in included.attributes:
        return included
    return (await pco.get("/people/v2")).data
