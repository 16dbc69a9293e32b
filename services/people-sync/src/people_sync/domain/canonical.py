"""Canonical values for comparison: formatting is not a change.

Phones compare as E.164 read with the church's own country, e-mails without case, all text in Unicode NFC with
collapsed whitespace and without invisible characters, an address without a country as one in the church's own.
Re-capitalising a name is a change, because a person typed it.
"""

import unicodedata
from collections.abc import Hashable
from datetime import date
from functools import lru_cache
from typing import Final

import phonenumbers

from contracts.people import Address
from people_sync.domain.values import Value
from synckit.text import ZWNJ, fold, visible

_GENERATIONS: Final = {
    "sr": 1,
    "senior": 1,
    "jr": 2,
    "junior": 2,
    "ii": 2,
    "2nd": 2,
    "iii": 3,
    "3rd": 3,
    "iv": 4,
    "4th": 4,
    "v": 5,
    "5th": 5,
}
"""Generational suffixes, folded, by generation."""


def canonical(field: str, value: Value, country: str) -> Hashable:
    """The canonical form: two values of a field are `identical` if and only if theirs are equal. None stands for empty.

    `country`: the church's own, ISO 3166-1 alpha-2.
    """
    if value is None or value is False or value is True:
        return value
    if isinstance(value, str):
        if field == "phone":
            return phone_key(value, country)
        if field == "email":
            return email_key(value)
        return text_key(value)
    if isinstance(value, Address):
        return _address_key(value, country)
    return value


def same(field: str, one: Value, other: Value, country: str) -> bool:
    """Whether two values of a field agree: equal except for formatting, or birthdates of which one has no year.

    Not transitive: 1885-05-03 agrees with every third of May, and these do not agree with each other.
    """
    keys = canonical(field, one, country), canonical(field, other, country)
    return keys[0] == keys[1] or same_day(*keys)


def identical(field: str, one: Value, other: Value, country: str) -> bool:
    """Whether two values of a field are equal except for formatting, as a written value and its read are."""
    return one == other or canonical(field, one, country) == canonical(field, other, country)


YEAR_UNKNOWN: Final = 1885
"""Planning Center's year of a birthdate without one (its help, 220345848 and 204263114)."""
EARLIEST: Final = date(1885, 1, 1)
"""The first valid date there (planningcenter/developers#454)."""


def year_known(value: object) -> bool:
    """Whether a birthdate has a real year."""
    return isinstance(value, date) and value.year != YEAR_UNKNOWN


def same_day(one: object, other: object) -> bool:
    """Whether two birthdates have equal month and day, and at least one has no year."""
    return (
        isinstance(one, date)
        and isinstance(other, date)
        and (one.month, one.day) == (other.month, other.day)
        and not (year_known(one) and year_known(other))
    )


def nothing_new(value: object, was: object) -> bool:
    """Whether a canonical value adds nothing to a former one: equal, or equal without the year."""
    return value == was or (same_day(value, was) and not year_known(value))


def text_key(value: str) -> str | None:
    """Text in NFC with collapsed whitespace and without invisible characters; None when empty."""
    return " ".join(unicodedata.normalize("NFC", visible(value)).split()) or None


def email_key(value: str | None) -> str | None:
    """The key of an e-mail for comparison and lookup: trimmed, lower case, visible characters. None when empty."""
    if not value:
        return None
    if not value.isascii():
        value = unicodedata.normalize("NFC", visible(value.replace(ZWNJ, "")))
    return value.strip().casefold() or None


@lru_cache(maxsize=4_096)
def phone_key(value: str, country: str) -> str | None:
    """A phone as E.164, with `;ext=` and the extension if it has one; letters and digits alone if it is no number.

    Parsing takes tens of microseconds, hence the cache.
    """
    text = unicodedata.normalize("NFKC", visible(value))
    fallback = "".join(character for character in text.casefold() if character.isalnum()) or text_key(text)
    try:
        number = phonenumbers.parse(text, country or None)
    except phonenumbers.NumberParseException:
        return fallback
    # Letters other than an extension carry information that the number alone would lose ("Mum 555 0100").
    if any(character.isalpha() for character in text) and not number.extension:
        return fallback
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return f"{e164};ext={number.extension}" if number.extension else e164


def _address_key(address: Address, country: str) -> tuple[str | None, ...] | None:
    # A line break of a street counts as whitespace, so that values agreed before the lines were split stay equal.
    street = " ".join(street_lines(address.street_line_1, address.street_line_2))
    parts = tuple(text_key(part) for part in (street, address.city, address.state, address.zip))
    if not any(parts):
        # A country alone is no address.
        return None
    return (*parts, address.country_code.strip().upper() or country.upper())


def street_lines(line_1: str, line_2: str) -> tuple[str, str]:
    """A street in two lines: the first line, and all others joined by commas.

    Lines without a line break stay unchanged.
    """
    if max(len(line_1.splitlines()), len(line_2.splitlines())) < 2 and "\n" not in line_1 + line_2:
        return line_1, line_2
    lines = [line.strip(" \t,") for line in (*line_1.splitlines(), *line_2.splitlines())]
    first, *others = [line for line in lines if line] or [""]
    return first, ", ".join(others)


def name_key(first_name: str, last_name: str) -> str:
    """The key by which a full name is looked up and lists are ordered. Empty without a name."""
    return f"{fold(first_name)} {fold(last_name)}".strip()


def generation(suffix: str) -> int | None:
    """The generation that a suffix names: 1 for Sr., 2 for Jr., II and 2nd, and so on; None for others, such as M.D."""
    return next((found for word in fold(suffix).split() if (found := _GENERATIONS.get(word))), None)


def without_suffix(key: str) -> tuple[str, int | None]:
    """A `name_key` without its generational suffix, and the suffix's generation (None without one)."""
    name, _, last = key.rpartition(" ")
    found = _GENERATIONS.get(last) if name else None
    return (name, found) if found else (key, None)


def with_suffix(name: str, generation: int) -> list[str]:
    """All lookup keys of a full name with the suffix of a generation."""
    return [f"{name} {suffix}" for suffix, found in _GENERATIONS.items() if found == generation]


GENERATIONS: Final = tuple(sorted(set(_GENERATIONS.values())))
