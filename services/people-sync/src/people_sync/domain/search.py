"""Parsing of search text: names in either order, an e-mail or a part of one, a phone in any form."""

import re
import unicodedata
from dataclasses import dataclass
from typing import Final, Literal

import phonenumbers

from people_sync.domain.canonical import email_key
from synckit.text import fold, visible

_BETWEEN: Final = re.compile(r"[\s,;]+")
_PHONE: Final = re.compile(r"[\d\s()+./‐-―-]+")
_LEAST_DIGITS: Final = 3
"""Minimum digits of a phone number; fewer count as part of a name."""
_TRIGRAM: Final = re.compile(r"[^\W_]{3}")
"""Three letters or digits in a row, which a trigram index can look up."""


@dataclass(frozen=True, slots=True)
class Term:
    """A search term. A record must match every term by at least one of its texts."""

    texts: tuple[str, ...]
    within: Literal["anything", "name", "email"] = "anything"
    """`anything`: name, e-mail or the phone's digits. Texts without a trigram search only one column."""


def terms(typed: str, country: str | None) -> tuple[Term, ...]:
    """Split search text into terms; punctuation alone gives none. `country`: for phones, as in `canonical`."""
    text = unicodedata.normalize("NFKC", visible(typed)).strip()
    if _PHONE.fullmatch(text) and len(digits := _digits(text)) >= _LEAST_DIGITS:
        return (Term(tuple(sorted({digits.lstrip("0") or digits, *_national(text, country)}))),)
    found = [term for word in _BETWEEN.split(text) for term in _of_word(word)]
    return tuple(dict.fromkeys(found))


def _of_word(word: str) -> list[Term]:
    if not any(map(str.isalnum, word)):
        return []
    if "@" in word:
        mail = email_key(word) or ""
        return [Term((mail,), "anything" if _TRIGRAM.search(mail) else "email")]
    return [Term((part,), "anything" if _TRIGRAM.search(part) else "name") for part in fold(word).split()]


def _digits(text: str) -> str:
    return "".join(str(unicodedata.decimal(character)) for character in text if character.isdecimal())


def _national(text: str, country: str | None) -> set[str]:
    """The number without country code or leading zero."""
    try:
        return {str(phonenumbers.parse(text, country).national_number)}
    except phonenumbers.NumberParseException:
        return set()
