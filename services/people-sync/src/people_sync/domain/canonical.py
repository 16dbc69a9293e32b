"""What counts as equal: formatting is not a change.

Phones compare as E.164 read with the church's own country, e-mails without case, all text in Unicode NFC with
collapsed whitespace and without what is invisible, an address without a country as one in the church's own.
Re-capitalising a name is a change: somebody typed it.
"""

import re
import unicodedata
from collections.abc import Hashable
from datetime import date
from functools import lru_cache
from typing import Final

import phonenumbers

from contracts.people import Address
from people_sync.domain.values import Value

_ZWNJ: Final = "\u200c"
"""Zero width non-joiner: parts words where a space would part letters too far, in Persian names."""
_APOSTROPHES: Final = re.compile(r"['’‘`´ʼ]")
_COMBINING_MARKS: Final = re.compile("[\u0300-\u036f]")
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
_LETTERS: Final = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "æ": "ae", "œ": "oe", "þ": "th", "ı": "i"})


def canonical(field: str, value: Value, country: str) -> Hashable:
    """Two values of a field are `identical` if and only if this is equal. None stands for empty.

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
    """Whether two values of a field agree: equal but for formatting, or birthdates of which one has no year.

    Not transitive: 1885-05-03 agrees with every third of May, and these do not agree with each other.
    """
    keys = canonical(field, one, country), canonical(field, other, country)
    return keys[0] == keys[1] or same_day(*keys)


def identical(field: str, one: Value, other: Value, country: str) -> bool:
    """Whether two values of a field are equal but for formatting: whether a value that was written is there."""
    return one == other or canonical(field, one, country) == canonical(field, other, country)


YEAR_UNKNOWN: Final = 1885
"""How Planning Center stores a birthdate without a year (its help, 220345848 and 204263114)."""
EARLIEST: Final = date(1885, 1, 1)
"""No date before it is valid there (planningcenter/developers#454)."""


def year_known(value: object) -> bool:
    """Whether this is a birthdate with a year of its own."""
    return isinstance(value, date) and value.year != YEAR_UNKNOWN


def same_day(one: object, other: object) -> bool:
    """Whether two birthdates have one month and day, and one of them no year that could contradict."""
    return (
        isinstance(one, date)
        and isinstance(other, date)
        and (one.month, one.day) == (other.month, other.day)
        and not (year_known(one) and year_known(other))
    )


def nothing_new(value: object, was: object) -> bool:
    """Whether a value, as `canonical` gives it, says nothing beyond a former one: equal, or without its year."""
    return value == was or (same_day(value, was) and not year_known(value))


@lru_cache(maxsize=4_096)
def visible(text: str) -> str:
    """Without what has no width and no meaning: zero-width space and joiner, byte order mark, soft hyphen, marks of
    direction (Unicode's category Cf). A zero-width non-joiner counts as a space."""
    if text.isascii():
        return text
    return "".join(c for c in text.replace(_ZWNJ, " ") if unicodedata.category(c) != "Cf")


def text_key(value: str) -> str | None:
    """NFC, whitespace collapsed, nothing invisible; None when nothing is left."""
    return " ".join(unicodedata.normalize("NFC", visible(value)).split()) or None


def email_key(value: str | None) -> str | None:
    """How an e-mail is compared and looked up: trimmed, without case, nothing invisible. None when empty."""
    if not value:
        return None
    if not value.isascii():
        value = unicodedata.normalize("NFC", visible(value.replace(_ZWNJ, "")))
    return value.strip().casefold() or None


@lru_cache(maxsize=4_096)
def phone_key(value: str, country: str) -> str | None:
    """E.164, with `;ext=` behind it where there is an extension; letters and digits alone if it is no number.

    Parsing takes tens of microseconds, hence the cache.
    """
    text = unicodedata.normalize("NFKC", visible(value))
    fallback = "".join(character for character in text.casefold() if character.isalnum()) or text_key(text)
    try:
        number = phonenumbers.parse(text, country or None)
    except phonenumbers.NumberParseException:
        return fallback
    # Letters that are no extension say something that the number alone would lose ("Mum 555 0100").
    if any(character.isalpha() for character in text) and not number.extension:
        return fallback
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return f"{e164};ext={number.extension}" if number.extension else e164


def _address_key(address: Address, country: str) -> tuple[str | None, ...] | None:
    # Where a street is broken into lines is whitespace: what was agreed before the lines were split stays equal.
    street = " ".join(street_lines(address.street_line_1, address.street_line_2))
    parts = tuple(text_key(part) for part in (street, address.city, address.state, address.zip))
    if not any(parts):
        # A country alone is no address.
        return None
    return (*parts, address.country_code.strip().upper() or country.upper())


def street_lines(line_1: str, line_2: str) -> tuple[str, str]:
    """A street in two lines: the first one, and whatever else there is, parted by commas.

    As they are where neither holds a line break.
    """
    if max(len(line_1.splitlines()), len(line_2.splitlines())) < 2 and "\n" not in line_1 + line_2:
        return line_1, line_2
    lines = [line.strip(" \t,") for line in (*line_1.splitlines(), *line_2.splitlines())]
    first, *others = [line for line in lines if line] or [""]
    return first, ", ".join(others)


@lru_cache(maxsize=4_096)
def fold(text: str) -> str:
    """A name without case, accents, punctuation and what is invisible: `Émilie  O’Brien-Łuk` is `emilie obrien luk`."""
    decomposed = unicodedata.normalize("NFKD", _APOSTROPHES.sub("", visible(text))).casefold()
    # Only the combining diacritical marks go: the vowel signs of other scripts are letters of the name.
    plain = _COMBINING_MARKS.sub("", decomposed).translate(_LETTERS)
    return " ".join("".join(" " if unicodedata.category(c)[0] in "PSZC" else c for c in plain).split())


def name_key(first_name: str, last_name: str) -> str:
    """How a full name is looked up and lists are ordered. Empty when there is no name."""
    return f"{fold(first_name)} {fold(last_name)}".strip()


def generation(suffix: str) -> int | None:
    """Which generation a suffix names: 1 for Sr., 2 for Jr., II and 2nd, and so on; None for another, such as M.D."""
    return next((found for word in fold(suffix).split() if (found := _GENERATIONS.get(word))), None)


def without_suffix(key: str) -> tuple[str, int | None]:
    """A full name as `name_key` gives it, without the generational suffix behind it, and that one's generation."""
    name, _, last = key.rpartition(" ")
    found = _GENERATIONS.get(last) if name else None
    return (name, found) if found else (key, None)


def with_suffix(name: str, generation: int) -> list[str]:
    """Every way in which a full name is looked up with the suffix of a generation."""
    return [f"{name} {suffix}" for suffix, found in _GENERATIONS.items() if found == generation]


GENERATIONS: Final = tuple(sorted(set(_GENERATIONS.values())))
