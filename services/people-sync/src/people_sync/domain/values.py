"""The values of a person that both sides keep equal."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, TypeAlias

from contracts.people import Address, MemberValues

Value: TypeAlias = str | date | bool | Address | None
"""A value of one field of a person."""


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
"""Maximum characters of a text; longer ones are no name, address or number."""
_WIDEST: Final = 72
"""Maximum bytes that one character folds to: 18 letters for one ligature."""
LONGEST_KEY: Final = 2_000
"""Maximum UTF-8 bytes of a lookup key. A PostgreSQL index takes no entry above 2,704 bytes, and a few ligatures fold
to twenty times their length."""


def may_be_too_long(*texts: str) -> bool:
    """Whether the key of these texts may exceed `LONGEST_KEY`: a cheap check that is mostly false."""
    return sum(map(len, texts)) * (1 if all(text.isascii() for text in texts) else _WIDEST) > LONGEST_KEY


def impossible(text: str) -> str | None:
    """Why a text cannot be stored, in words that follow "it"; None when it can.

    PostgreSQL stores no NUL in text or jsonb, and a lone surrogate is no character in UTF-8; JSON can carry both.
    """
    if "\0" in text or (not text.isascii() and _HALF.search(text)):
        return "holds a character that does not exist"
    if len(text) > LONGEST:
        return f"is longer than {LONGEST:,} characters"
    return None


ACTIVE: Final = "active"
"""The active status. It cannot be typed in here, so it is not one of `FIELDS`, but a merge decides it with them."""

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
    """The inverse of `value_to_json`. Raises ValueError or TypeError for other JSON."""
    if field == "birthdate" and value is not None:
        return date.fromisoformat(value)
    if field == "address" and value is not None:
        return Address(**value)
    return value  # type: ignore[no-any-return]


def to_json(values: PersonValues | Mapping[str, Value]) -> dict[str, Any]:
    """A JSON-able dict in the order of `FIELDS`; of a mapping only its fields."""
    fields = as_dict(values) if isinstance(values, PersonValues) else values
    return {field: value_to_json(fields[field]) for field in FIELDS if field in fields}


def from_json(data: Mapping[str, Any]) -> PersonValues:
    """A person's values from `to_json(PersonValues)`."""
    return PersonValues(**partial_from_json(data))  # type: ignore[arg-type]


def partial_from_json(data: Mapping[str, Any] | None) -> dict[str, Value]:
    """The present fields, as last agreed values are read back. None gives an empty dict."""
    return {field: value_from_json(field, value) for field, value in (data or {}).items() if field in FIELDS}


def to_contract(values: PersonValues) -> MemberValues:
    """Convert to the shape of messages and answers."""
    return MemberValues.model_validate(as_dict(values))
