"""Planning Center's people and households as plain values, parsed from JSON:API attributes.

Our single e-mail, phone and address map to the primary ones there. None or several can be primary
(planningcenter/developers#460): the lowest id of the primaries counts, and without a primary the lowest id of all.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from hashlib import blake2b
from json import dumps
from typing import Any, Final, Literal

from contracts.people import Address
from people_sync.domain.canonical import email_key, street_lines
from people_sync.domain.matching import Theirs
from people_sync.domain.values import PersonValues, from_json, to_json
from synckit.text import fold


@dataclass(frozen=True, slots=True)
class Contact:
    """An e-mail, phone number or address of a person in Planning Center."""

    id: str
    primary: bool
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Unread:
    """A person or household that an answer shows incompletely: no decision uses it, and stored values stay."""

    pco_id: str
    why: Literal["incomplete", "unreadable"]
    """`incomplete`: a part is missing; read again, since `include` can lag for minutes after a write.
    `unreadable`: an impossible value, until someone corrects it there."""
    sentence: str
    """Fault and remedy for an administrator, without values."""
    name: str = ""
    """The readable part of the name."""
    person: "RemotePerson | None" = None
    """The readable part of the person, for matching alone; no merge uses it."""


@dataclass(frozen=True, slots=True)
class RemotePerson:
    """One person in Planning Center: synced values, and the ids of their contacts."""

    pco_id: str
    values: PersonValues
    given_name: str | None = None
    nickname: str | None = None
    active: bool = True
    remote_id: int | None = None
    contacts: Mapping[str, str] = field(default_factory=dict)
    """Ids of the contacts that our one e-mail, phone and address map to, by our field."""
    household_ids: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    """All e-mails, for matching."""
    middle_name: str | None = None
    suffix: str | None = None
    login: bool | None = None
    """Whether the person signs in at Planning Center; None if the answer does not say. Not compared, and not in
    `to_json`."""
    updated_at: Mapping[str, datetime] = field(default_factory=dict)
    """Planning Center's `updated_at`, if given: of contacts by our field, of the person by `RECORD`. Not compared."""

    def to_json(self) -> dict[str, Any]:
        """A plain dict that `from_snapshot` reads back."""
        return {
            "pco_id": self.pco_id,
            "values": to_json(self.values),
            "given_name": self.given_name,
            "nickname": self.nickname,
            "active": self.active,
            "remote_id": self.remote_id,
            "contacts": dict(self.contacts),
            "household_ids": list(self.household_ids),
            "emails": list(self.emails),
            "middle_name": self.middle_name,
            "suffix": self.suffix,
            "updated_at": _times_to_json(self.updated_at),
        }

    @property
    def times(self) -> dict[str, str]:
        """`updated_at` of the person (`RECORD`) and of each contact, by its id."""
        ids = {RECORD: RECORD} | {name: f"{name}:{contact}" for name, contact in self.contacts.items()}
        return {ids[name]: at for name, at in _times_to_json(self.updated_at).items() if name in ids}

    @property
    def hash(self) -> bytes:
        """A hash, equal for equal content including the fields of matching; households are compared separately.

        `updated_at` is excluded, since it moves without a change and vice versa.
        """
        content = self.to_json()
        del content["household_ids"], content["updated_at"]
        return _digest(content | {"contacts": sorted(self.contacts.items())})


@dataclass(frozen=True, slots=True)
class RemoteHousehold:
    """One household in Planning Center."""

    pco_id: str
    name: str
    person_ids: tuple[str, ...]
    primary_contact_id: str | None
    updated_at: Mapping[str, datetime] = field(default_factory=dict)
    """The household's `updated_at` by `RECORD`, if given. Not compared."""

    def to_json(self) -> dict[str, Any]:
        """A plain dict that `household_from_snapshot` reads back."""
        return {
            "pco_id": self.pco_id,
            "name": self.name,
            "person_ids": list(self.person_ids),
            "primary_contact_id": self.primary_contact_id,
            "updated_at": _times_to_json(self.updated_at),
        }

    @property
    def times(self) -> dict[str, str]:
        """`updated_at` by `RECORD`."""
        return _times_to_json(self.updated_at)

    @property
    def hash(self) -> bytes:
        """A hash, equal for equal content."""
        return _digest((self.name, sorted(self.person_ids), self.primary_contact_id))


def person_from_snapshot(snapshot: Mapping[str, Any]) -> RemotePerson:
    """Read the output of `RemotePerson.to_json`."""
    return RemotePerson(
        pco_id=snapshot["pco_id"],
        values=from_json(snapshot["values"]),
        given_name=snapshot["given_name"],
        nickname=snapshot["nickname"],
        active=snapshot["active"],
        remote_id=snapshot["remote_id"],
        contacts=snapshot["contacts"],
        household_ids=tuple(snapshot["household_ids"]),
        emails=tuple(snapshot["emails"]),
        # Snapshots of an older version lack these.
        middle_name=snapshot.get("middle_name"),
        suffix=snapshot.get("suffix"),
        updated_at=_times_from_json(snapshot),
    )


def household_from_snapshot(snapshot: Mapping[str, Any]) -> RemoteHousehold:
    """Read the output of `RemoteHousehold.to_json`."""
    return RemoteHousehold(
        pco_id=snapshot["pco_id"],
        name=snapshot["name"],
        person_ids=tuple(snapshot["person_ids"]),
        primary_contact_id=snapshot["primary_contact_id"],
        updated_at=_times_from_json(snapshot),
    )


def main_contact(contacts: Iterable[Contact]) -> Contact | None:
    """The contact that our field maps to."""
    return min(contacts, key=lambda contact: (not contact.primary, int(contact.id)), default=None)


def remote_person(
    pco_id: str,
    attributes: Mapping[str, Any],
    emails: Iterable[Contact] = (),
    phones: Iterable[Contact] = (),
    addresses: Iterable[Contact] = (),
    household_ids: Iterable[str] = (),
    suffix: str | None = None,
) -> RemotePerson:
    """Parse a person of the People API (version 2026-06-04) with the included contacts.

    Accepts every answer: a malformed text or date counts as empty. `people_sync.planning_center` checks before whether
    an answer is complete and storable.
    """
    emails = list(emails)
    email, phone, address = main_contact(emails), main_contact(phones), main_contact(addresses)
    found = {"email": email, "phone": phone, "address": address}
    return RemotePerson(
        pco_id=pco_id,
        values=PersonValues(
            first_name=_text(attributes.get("first_name")) or "",
            last_name=_text(attributes.get("last_name")) or "",
            birthdate=date_of(attributes.get("birthdate")),
            gender=_text(attributes.get("gender")),
            child=bool(attributes.get("child")),
            email=_text(email.attributes.get("address")) if email else None,
            phone=_text(phone.attributes.get("number")) if phone else None,
            address=address_of(address.attributes) if address else None,
        ),
        given_name=_text(attributes.get("given_name")),
        nickname=_text(attributes.get("nickname")),
        active=attributes.get("status") != "inactive",
        remote_id=_marker(attributes.get("remote_id")),
        contacts={name: contact.id for name, contact in found.items() if contact},
        household_ids=tuple(sorted(household_ids, key=int)),
        emails=tuple(one for contact in emails if (one := _text(contact.attributes.get("address")))),
        middle_name=_text(attributes.get("middle_name")),
        suffix=suffix,
        login=bool(attributes["login_identifier"]) if "login_identifier" in attributes else None,
        updated_at=times_of({RECORD: attributes} | {name: one.attributes for name, one in found.items() if one}),
    )


def times_of(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, datetime]:
    """`updated_at` of each of these attributes that has one, by the same name."""
    return {name: at for name, attributes in rows.items() if (at := _instant(attributes.get("updated_at")))}


def address_of(attributes: Mapping[str, Any]) -> Address | None:
    """Convert Planning Center's address to ours; None when every part is empty.

    `street_line_1` can hold several lines, from when one field showed them all (planningcenter/developers#718): the
    first stays, the others go in front of `street_line_2`, separated by commas. The result compares equal to the
    original (`canonical.street_lines`), so it is written back only with another change of the address.
    """
    parts = {name: _text(attributes.get(name)) or "" for name in ADDRESS_PARTS}
    parts["street_line_1"], parts["street_line_2"] = street_lines(parts["street_line_1"], parts["street_line_2"])
    if not any(value for name, value in parts.items() if name != "country_code"):
        return None
    return Address(**parts)


def person_attributes(values: Mapping[str, Any]) -> dict[str, Any]:
    """Person attributes of our fields (contacts are resources of their own)."""
    sent: dict[str, Any] = {}
    for name in ("first_name", "last_name", "gender", "child"):
        if name in values:
            sent[name] = values[name]
    if "birthdate" in values:
        birthdate: date | None = values["birthdate"]
        sent["birthdate"] = birthdate.isoformat() if birthdate else None
    return sent


def contact_attributes(name: str, value: Any) -> dict[str, Any]:
    """Attributes of a contact with our value."""
    if name == "email":
        return {"address": value}
    if name == "phone":
        return {"number": value}
    address: Address = value
    # Planning Center fills an empty country with the church's own.
    return {part: getattr(address, part) for part in ADDRESS_PARTS if part != "country_code" or address.country_code}


NEW_CONTACT: Final[Mapping[str, dict[str, Any]]] = {
    "email": {"location": "Home", "primary": True},
    "phone": {"location": "Mobile", "primary": True},
    "address": {"location": "Home", "primary": True},
}
"""Sent with a new contact. A phone without `location` is refused (planningcenter/developers#493)."""

RECORD: Final = "record"
"""Key of `updated_at` for the person or household itself."""

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

ADDRESS_PARTS: Final = tuple(Address.model_fields)

MAILED_ABOUT: Final = frozenset({"email", "phone"})
"""Our fields whose change Planning Center mails to a person who signs in there (vendor's help 204263114)."""

CONTACT_PATHS: Final[Mapping[str, str]] = {"email": "emails", "phone": "phone_numbers", "address": "addresses"}
CONTACT_TYPES: Final[Mapping[str, str]] = {"email": "Email", "phone": "PhoneNumber", "address": "Address"}


def to_match(person: RemotePerson) -> Theirs:
    """The person as input of matching."""
    return Theirs(
        pco_id=person.pco_id,
        first_name=person.values.first_name,
        last_name=person.values.last_name,
        given_name=person.given_name or "",
        nickname=person.nickname or "",
        birthdate=person.values.birthdate,
        child=person.values.child,
        emails=person.emails,
        suffix=person.suffix or "",
        middle_name=person.middle_name or "",
        active=person.active,
    )


def is_whom_we_sent(person: RemotePerson, content: Mapping[str, Any]) -> bool:
    """Whether a person with our marker is the one we sent: both names must agree, since a relative shares one.

    `content`: the sent values, JSON by field. The number alone proves nothing: a church may use Remote ID itself.
    """
    same_first, same_last = _same_names(person, content)
    return same_first and same_last


def may_be_whom_we_sent(person: RemotePerson, content: Mapping[str, Any]) -> bool:
    """Whether a person with our marker may be the one we sent: one of the names is equal."""
    same_first, same_last = _same_names(person, content)
    return bool((same_first and content.get("first_name")) or (same_last and content.get("last_name")))


def _same_names(person: RemotePerson, content: Mapping[str, Any]) -> tuple[bool, bool]:
    first, last = fold(content.get("first_name") or ""), fold(content.get("last_name") or "")
    other = {fold(name) for name in (person.given_name, person.nickname) if name}
    return first in {fold(person.values.first_name), *other}, last == fold(person.values.last_name)


def email_keys(person: RemotePerson) -> list[str]:
    """Lookup keys of all the person's e-mails."""
    return sorted({key for email in person.emails if (key := email_key(email))})


def _digest(content: Any) -> bytes:
    return blake2b(dumps(content).encode(), digest_size=16).digest()


def date_of(value: Any) -> date | None:
    """Parse Planning Center's `YYYY-MM-DD`; None for any other value."""
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        return None
    try:
        return date.fromisoformat(value)
    except ValueError:
        return None


def _text(value: Any) -> str | None:
    return value or None if isinstance(value, str) else None


def _instant(value: Any) -> datetime | None:
    """Parse an instant with its zone; None for any other value."""
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return at if at and at.tzinfo else None


def _times_to_json(times: Mapping[str, datetime]) -> dict[str, str]:
    return {name: at.isoformat() for name, at in times.items()}


def _times_from_json(snapshot: Mapping[str, Any]) -> dict[str, datetime]:
    return {name: datetime.fromisoformat(at) for name, at in snapshot.get("updated_at", {}).items()}


def _marker(value: Any) -> int | None:
    """`remote_id` if it can be a marker of ours: a number within bigint; else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None
