"""The values of a person that both sides keep equal."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, TypeAlias

from contracts.people import Address, MemberValues

Value: TypeAlias = str | date | bool | Address | None
"""What one field of a person can hold."""


@dataclass(frozen=True, slots=True)
class PersonValues:
    """One side's values of a person. Field names are those of `contracts.people.MemberValues`."""

    first_name: str
    last_name: str
    birthdate: date | None = None
    gender: str | None = None
    child: bool = False
    email: str | None = None
    phone: str | None = None
    address: Address | None = None


_HALF: Final = re.compile("[\ud800-\udfff]")
LONGEST: Final = 1_000
"""Characters of any one text: more is no name, address or number."""
_WIDEST: Final = 72
"""Bytes that one character can fold to: 18 letters in place of one ligature."""
LONGEST_KEY: Final = 2_000
"""Bytes in UTF-8 of what texts are looked up by. An index of PostgreSQL takes no entry above 2,704 bytes, and a few
ligatures fold to twenty times their length."""


def may_be_too_long(*texts: str) -> bool:
    """Whether a key of these texts may have more bytes than `LONGEST_KEY`: cheap, and mostly no."""
    return sum(map(len, texts)) * (1 if all(text.isascii() for text in texts) else _WIDEST) > LONGEST_KEY


def impossible(text: str) -> str | None:
    """Why a text cannot be kept, in words behind "it"; None when it can.

    PostgreSQL stores no NUL in text or jsonb, and a lone surrogate is no character in UTF-8; JSON can carry both.
    """
    if "\0" in text or (not text.isascii() and _HALF.search(text)):
        return "holds a character that does not exist"
    if len(text) > LONGEST:
        return f"is longer than {LONGEST:,} characters"
    return None


ACTIVE: Final = "active"
"""The status. Nobody types it in here, so it is not one of `FIELDS`; a merge decides about it with them."""

FIELDS: Final = ("first_name", "last_name", "birthdate", "gender", "child", "email", "phone", "address")


def as_dict(values: PersonValues) -> dict[str, Value]:
    """Field to value, in the order of `FIELDS`."""
    return {
        "first_name": values.first_name,
        "last_name": values.last_name,
        "birthdate": values.birthdate,
        "gender": values.gender,
        "child": values.child,
        "email": values.email,
        "phone": values.phone,
        "address": values.address,
    }


def value_to_json(value: Value) -> Any:
    """A field's value as JSON: a date as `YYYY-MM-DD`, an address as an object with every part."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Address):
        return value.model_dump()
    return value


def value_from_json(field: str, value: Any) -> Value:
    """The inverse of `value_to_json`. Raises ValueError or TypeError for what it never wrote."""
    if field == "birthdate" and value is not None:
        return date.fromisoformat(value)
    if field == "address" and value is not None:
        return Address(**value)
    return value  # type: ignore[no-any-return]


def to_json(values: PersonValues | Mapping[str, Value]) -> dict[str, Any]:
    """A JSON-able dict, in the order of `FIELDS`. Of a mapping only the fields that it has."""
    fields = as_dict(values) if isinstance(values, PersonValues) else values
    return {field: value_to_json(fields[field]) for field in FIELDS if field in fields}


def from_json(data: Mapping[str, Any]) -> PersonValues:
    """A person's values from `to_json(PersonValues)`."""
    return PersonValues(**partial_from_json(data))  # type: ignore[arg-type]


def partial_from_json(data: Mapping[str, Any] | None) -> dict[str, Value]:
    """The fields that are there: how last agreed values are read back. None gives an empty dict."""
    return {field: value_from_json(field, value) for field, value in (data or {}).items() if field in FIELDS}


def to_contract(values: PersonValues) -> MemberValues:
    """Into the shape of messages and answers."""
    return MemberValues.model_validate(as_dict(values))
