"""Planning Center's people and households as the sync sees them: plain values out of JSON:API attributes.

A church's one e-mail, phone and address here map to the primary ones there. Nothing or several can be primary
(planningcenter/developers#460): the lowest id of the primaries is taken, and without a primary the lowest id at all.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from hashlib import blake2b
from json import dumps
from typing import Any, Final, Literal

from contracts.people import Address
from people_sync.domain.canonical import email_key, fold, street_lines
from people_sync.domain.matching import Theirs
from people_sync.domain.values import PersonValues, from_json, to_json


@dataclass(frozen=True, slots=True)
class Contact:
    """An e-mail, phone number or address of a person in Planning Center."""

    id: str
    primary: bool
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Unread:
    """A person or household of whom an answer does not say everything: nothing is decided by it, and nothing lost."""

    pco_id: str
    why: Literal["incomplete", "unreadable"]
    """`incomplete`: a part did not come; read again, since `include` can lag behind for minutes after a write.
    `unreadable`: a value that cannot exist; it stays until somebody corrects it there."""
    sentence: str
    """What is wrong and what to do, for an administrator; holds no value."""
    name: str = ""
    """The name, as far as it can be read."""
    person: "RemotePerson | None" = None
    """Who the person is, as far as it can be read: matching looks for them by this, and no merge compares it."""


@dataclass(frozen=True, slots=True)
class RemotePerson:
    """One person in Planning Center: what is kept equal, and where its parts are."""

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
    """All of them: matching looks at every one."""
    middle_name: str | None = None
    suffix: str | None = None
    login: bool | None = None
    """Whether the person signs in at Planning Center; None if the answer does not say. No content: not compared, and
    not in `to_json`."""
    updated_at: Mapping[str, datetime] = field(default_factory=dict)
    """Planning Center's own times, as far as it told them: of the contacts by our field, of the person by `RECORD`. No
    content: not compared."""

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
    def hash(self) -> bytes:
        """Equal for equal content, matching's included; households are compared by themselves.

        `updated_at` is no part of it, since it moves without a change and vice versa.
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
    """The household's own time by `RECORD`, if Planning Center told it. No content: not compared."""

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
    def hash(self) -> bytes:
        """Equal for equal content."""
        return _digest((self.name, sorted(self.person_ids), self.primary_contact_id))


def person_from_snapshot(snapshot: Mapping[str, Any]) -> RemotePerson:
    """What `RemotePerson.to_json` wrote."""
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
        # Snapshots of an older version have none of these.
        middle_name=snapshot.get("middle_name"),
        suffix=snapshot.get("suffix"),
        updated_at=_times_from_json(snapshot),
    )


def household_from_snapshot(snapshot: Mapping[str, Any]) -> RemoteHousehold:
    """What `RemoteHousehold.to_json` wrote."""
    return RemoteHousehold(
        pco_id=snapshot["pco_id"],
        name=snapshot["name"],
        person_ids=tuple(snapshot["person_ids"]),
        primary_contact_id=snapshot["primary_contact_id"],
        updated_at=_times_from_json(snapshot),
    )


def main_contact(contacts: Iterable[Contact]) -> Contact | None:
    """The contact that ours maps to."""
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
    """A person as read from the People API (version 2026-06-04), with the contacts that came with it.

    Takes every answer: what is no text or no date counts as none. Whether an answer is whole and can be kept is
    decided before, in `people_sync.planning_center`.
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
    """Planning Center's address as ours; None when every part is empty.

    `street_line_1` can hold several lines, from when one field showed them all (planningcenter/developers#718): the
    first stays, the others go before what `street_line_2` holds, parted by commas. That compares equal to what is
    there (`canonical.street_lines`), so it is written back only with another change of the address.
    """
    parts = {name: _text(attributes.get(name)) or "" for name in ADDRESS_PARTS}
    parts["street_line_1"], parts["street_line_2"] = street_lines(parts["street_line_1"], parts["street_line_2"])
    if not any(value for name, value in parts.items() if name != "country_code"):
        return None
    return Address(**parts)


def person_attributes(values: Mapping[str, Any]) -> dict[str, Any]:
    """What to send of our fields in a Person's attributes (contacts are resources of their own)."""
    sent: dict[str, Any] = {}
    for name in ("first_name", "last_name", "gender", "child"):
        if name in values:
            sent[name] = values[name]
    if "birthdate" in values:
        birthdate: date | None = values["birthdate"]
        sent["birthdate"] = birthdate.isoformat() if birthdate else None
    return sent


def contact_attributes(name: str, value: Any) -> dict[str, Any]:
    """What to send of our e-mail, phone or address."""
    if name == "email":
        return {"address": value}
    if name == "phone":
        return {"number": value}
    address: Address = value
    # An empty country is the church's own, which Planning Center fills in.
    return {part: getattr(address, part) for part in ADDRESS_PARTS if part != "country_code" or address.country_code}


NEW_CONTACT: Final[Mapping[str, dict[str, Any]]] = {
    "email": {"location": "Home", "primary": True},
    "phone": {"location": "Mobile", "primary": True},
    "address": {"location": "Home", "primary": True},
}
"""Sent with a new contact. A phone without `location` is refused (planningcenter/developers#493)."""

RECORD: Final = "record"
"""In `updated_at`: the person or household itself."""

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

ADDRESS_PARTS: Final = tuple(Address.model_fields)

MAILED_ABOUT: Final = frozenset({"email", "phone"})
"""Our fields whose change Planning Center mails to a person who signs in there (vendor's help 204263114)."""

CONTACT_PATHS: Final[Mapping[str, str]] = {"email": "emails", "phone": "phone_numbers", "address": "addresses"}
CONTACT_TYPES: Final[Mapping[str, str]] = {"email": "Email", "phone": "PhoneNumber", "address": "Address"}


def to_match(person: RemotePerson) -> Theirs:
    """The person as matching looks at it."""
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
    """Whether a person with our marker is the one whom we sent: by both names, since a relative has one of them.

    `content`: what was sent, JSON by field. A number alone proves nothing: a church may use the field Remote ID too.
    """
    same_first, same_last = _same_names(person, content)
    return same_first and same_last


def may_be_whom_we_sent(person: RemotePerson, content: Mapping[str, Any]) -> bool:
    """Whether a person with our marker may be the one whom we sent: one of the names is the same."""
    same_first, same_last = _same_names(person, content)
    return bool((same_first and content.get("first_name")) or (same_last and content.get("last_name")))


def _same_names(person: RemotePerson, content: Mapping[str, Any]) -> tuple[bool, bool]:
    first, last = fold(content.get("first_name") or ""), fold(content.get("last_name") or "")
    other = {fold(name) for name in (person.given_name, person.nickname) if name}
    return first in {fold(person.values.first_name), *other}, last == fold(person.values.last_name)


def email_keys(person: RemotePerson) -> list[str]:
    """All of the person's e-mails as they are looked up."""
    return sorted({key for email in person.emails if (key := email_key(email))})


def _digest(content: Any) -> bytes:
    return blake2b(dumps(content).encode(), digest_size=16).digest()


def date_of(value: Any) -> date | None:
    """A day as Planning Center writes one, `YYYY-MM-DD`; None for anything else."""
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        return None
    try:
        return date.fromisoformat(value)
    except ValueError:
        return None


def _text(value: Any) -> str | None:
    return value or None if isinstance(value, str) else None


def _instant(value: Any) -> datetime | None:
    """An instant with its zone; None for anything else."""
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
    """`remote_id` as far as it can be one of ours: a number that a bigint holds."""
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None
