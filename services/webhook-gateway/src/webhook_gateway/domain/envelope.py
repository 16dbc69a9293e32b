"""The deliveries in a body, read as hints (pco-api.md 6.3). Nothing here raises: an unreadable delivery has a sentence.

Every text returned can be stored in PostgreSQL, has a bounded length, and may stand in an address.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

NOT_JSON: Final = "Planning Center sent something that cannot be read."
HOLDS_NOTHING: Final = "Planning Center sent a message without any change in it."
NOT_A_CHANGE: Final = "Planning Center's message does not have the form of a change."
NO_ID: Final = "Planning Center's message has no readable ID of its own."
NO_NAME: Final = "Planning Center's message does not say what happened."
ANOTHER_ORGANIZATION: Final = "Planning Center's message is about another organization than the connected one."
NO_CONTENTS: Final = "The contents of Planning Center's message cannot be read."
NO_RECORD: Final = "Planning Center's message does not say which record it is about."
NO_MERGED_PEOPLE: Final = "Planning Center's message does not say which people were merged."
TOO_MANY: Final = "Planning Center's message holds more changes than one message can."

MERGER: Final = "PersonMerger"
_UNKNOWN_ORGANIZATION: Final = "0"
"""Seen in recordings from before the envelope had the organization (pco-api.md 6.3)."""
_DELIVERY_ID: Final = re.compile(r"[!-~]{1,200}", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9_.\-]{1,200}", re.ASCII)
_TYPE: Final = re.compile(r"[A-Za-z0-9_]{1,100}", re.ASCII)
_ID: Final = re.compile(r"[A-Za-z0-9_\-]{1,100}", re.ASCII)
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_LARGEST_NUMBER: Final = 10**18
_MOST: Final = 5_000
"""Deliveries of a body. Real ones have more than 200 bytes each, so that 1 MiB holds no more; without a limit it would
be half a million rows, for which all other churches wait.
"""


@dataclass(frozen=True, slots=True)
class Hint:
    """One delivery: something happened to one resource."""

    position: int
    """Place in the body, from 0."""
    delivery_id: str = ""
    """`data[].id`; empty if it cannot be read."""
    name: str = ""
    resource_type: str | None = None
    resource_id: str | None = None
    person_id: str | None = None
    """The person that a contact belongs to. Of a merger: the person kept."""
    merged_person_id: str | None = None
    event_time: datetime | None = None
    unreadable: str | None = None
    """Why it cannot be used, in words: the same text for the same cause."""

    @property
    def uuid(self) -> UUID | None:
        """The delivery's id, if it is a UUID, as the vendor's are."""
        return UUID(self.delivery_id) if _UUID.fullmatch(self.delivery_id) else None


def read(body: bytes, pco_organization_id: str) -> list[Hint]:
    """The deliveries in a verified body of one organization; at least one."""
    try:
        document = _parse(body.decode())
    except ValueError:
        return [Hint(0, unreadable=NOT_JSON)]
    deliveries = _mapping(document).get("data")
    if not isinstance(deliveries, list):
        return [Hint(0, unreadable=NOT_A_CHANGE)]
    if len(deliveries) > _MOST:
        return [Hint(0, unreadable=TOO_MANY)]
    return [_read(delivery, position, pco_organization_id) for position, delivery in enumerate(deliveries)] or [
        Hint(0, unreadable=HOLDS_NOTHING)
    ]


def _read(delivery: Any, position: int, pco_organization_id: str) -> Hint:
    attributes = _mapping(_mapping(delivery).get("attributes"))
    hint = Hint(
        position,
        delivery_id=_text(_mapping(delivery).get("id"), _DELIVERY_ID) or "",
        name=_text(attributes.get("name"), _NAME) or "",
    )
    if not attributes:
        return replace(hint, unreadable=NOT_A_CHANGE)
    if not hint.delivery_id:
        return replace(hint, unreadable=NO_ID)
    if not hint.name:
        return replace(hint, unreadable=NO_NAME)
    whose = _relation(delivery, "organization").get("id")
    if whose is not None and _id(whose) not in {_UNKNOWN_ORGANIZATION, pco_organization_id}:
        return replace(hint, unreadable=ANOTHER_ORGANIZATION)
    payload = attributes.get("payload")
    try:
        # The vendor sends the payload as text. What came as an object already says the same.
        contents = _mapping(_parse(payload) if isinstance(payload, str) else payload)
    except ValueError:
        contents = {}
    return _about(hint, contents) if contents else replace(hint, unreadable=NO_CONTENTS)


def _about(hint: Hint, contents: Mapping[str, Any]) -> Hint:
    data = _mapping(contents.get("data"))
    hint = replace(
        hint,
        resource_type=_text(data.get("type"), _TYPE),
        resource_id=_id(data.get("id")),
        event_time=_time(_mapping(contents.get("meta")).get("event_time")),
    )
    if hint.resource_type is None or hint.resource_id is None:
        return replace(hint, unreadable=NO_RECORD)
    if hint.resource_type != MERGER:
        return replace(hint, person_id=_person(data, "person") or _person(data, "customizable"))
    # Their attributes are numbers in webhooks, and text elsewhere.
    attributes = _mapping(data.get("attributes"))
    kept = _id(attributes.get("person_to_keep_id")) or _person(data, "person_to_keep")
    removed = _id(attributes.get("person_to_remove_id")) or _person(data, "person_to_remove")
    if kept is None or removed is None:
        return replace(hint, person_id=kept, merged_person_id=removed, unreadable=NO_MERGED_PEOPLE)
    return replace(hint, person_id=kept, merged_person_id=removed)


def _parse(text: str) -> Any:
    """ValueError for what is no JSON, or too deep or too large to read."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("too deep") from error


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any, form: re.Pattern[str]) -> str | None:
    return value if isinstance(value, str) and form.fullmatch(value) else None


def _id(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if 0 <= value < _LARGEST_NUMBER else None
    return _text(value, _ID)


def _relation(data: Any, name: str) -> Mapping[str, Any]:
    return _mapping(_mapping(_mapping(_mapping(data).get("relationships")).get(name)).get("data"))


def _person(data: Any, name: str) -> str | None:
    related = _relation(data, name)
    return _id(related.get("id")) if related.get("type") == "Person" else None


def _time(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
