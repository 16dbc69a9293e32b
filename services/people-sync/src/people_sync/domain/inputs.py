"""Validation of a person's input beyond its shape, the same for one member and for bulk."""

import re
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, Final

import phonenumbers

from contracts.people import Address
from people_sync.domain.canonical import EARLIEST, text_key
from people_sync.domain.values import LONGEST_KEY, impossible
from synckit.text import fold, visible

_EXTENSION: Final = re.compile(r"[\s,;.(-]*(?:;?ext(?:ension|n)?|x|#)[\s.:=-]*[0-9]{1,9}[)\s]*$", re.IGNORECASE)
"""English notations of an extension: `x12`, `ext. 12`, `#12`, `;ext=12`."""
_TOO_EARLY: Final = (
    "lies before 1885, and Planning Center knows no earlier date: give all four digits of the year, or 1885 if it is "
    "not known"
)
NAMES: Final = ("first_name", "last_name")


def problems(values: Mapping[str, Any], country: str | None, today: date) -> list[tuple[str, str]]:
    """(field, fault and remedy in words) for each invalid field; empty when all are valid.

    `country`: the church's own, if known. Without it a phone number must carry its country code, or be digits only.
    Names are checked when both are given, since Planning Center has people with only one.
    """
    found = []
    if values.keys() >= set(NAMES) and all(is_empty(values[name]) for name in NAMES):
        found.append(("first_name", "cannot be empty when the last name is too: give at least one of the two"))
    found += [
        (name, f"{problem}: write it again")
        for name in ("first_name", "last_name", "email", "phone", "gender")
        if isinstance(text := values.get(name), str) and (problem := text_problem(text))
    ]
    phone = values.get("phone")
    if phone and (wrong := _phone_problem(phone, country)):
        found.append(("phone", wrong))
    address = values.get("address")
    parts = (getattr(address, part) for part in Address.model_fields) if address else ()
    if problem := next((problem for part in parts if (problem := text_problem(part))), None):
        found.append(("address", f"{problem}: write it again"))
    if address and address.country_code and address.country_code not in phonenumbers.SUPPORTED_REGIONS:
        found.append(("address", "has an unknown country: give its code, such as US, or none for the church's own"))
    birthdate = values.get("birthdate")
    # A day of slack: the caller's time zone may be a day ahead.
    if birthdate and birthdate > today + timedelta(days=1):
        found.append(("birthdate", "lies in the future: give the day of birth"))
    if birthdate and birthdate < EARLIEST:
        found.append(("birthdate", _TOO_EARLY))
    return found


def is_empty(value: Any) -> bool:
    """Whether a text has no visible character: a record with such a name could not be found again."""
    return value is None or (isinstance(value, str) and text_key(value) is None)


def text_problem(text: str) -> str | None:
    """Why a text cannot be stored or looked up, in words that follow the field's name; None when it can."""
    if problem := impossible(text):
        return problem
    # The lookup key covers the full name.
    return "is too long" if len(fold(text).encode()) * 2 > LONGEST_KEY else None


def _phone_problem(phone: str, country: str | None) -> str | None:
    try:
        number = phonenumbers.parse(phone, country)
    except phonenumbers.NumberParseException:
        number_alone = _EXTENSION.sub("", visible(phone))
        digits = sum(c.isdigit() for c in number_alone)
        if country is None and 5 <= digits <= 15 and not any(c.isalpha() for c in number_alone):
            # The number is read with the church's country once that is known.
            return None
        return "is not a phone number: write it like +1 212 555 0143"
    reason = phonenumbers.is_possible_number_with_reason(number)
    if reason == phonenumbers.ValidationResult.TOO_SHORT:
        return "has too few digits for a phone number: check it"
    if reason not in {phonenumbers.ValidationResult.IS_POSSIBLE, phonenumbers.ValidationResult.IS_POSSIBLE_LOCAL_ONLY}:
        return "has too many digits, or an unknown country, for a phone number: check it"
    return None
