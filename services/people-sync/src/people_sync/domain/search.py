"""What somebody types to find people: names in either order, an e-mail or a part of one, a phone in any form."""

import re
import unicodedata
from dataclasses import dataclass
from typing import Final, Literal

import phonenumbers

from people_sync.domain.canonical import email_key, fold, visible

_BETWEEN: Final = re.compile(r"[\s,;]+")
_PHONE: Final = re.compile(r"[\d\s()+./‐-―-]+")
_LEAST_DIGITS: Final = 3
"""Digits alone that are fewer are part of a name."""
_TRIGRAM: Final = re.compile(r"[^\W_]{3}")
"""What an index of trigrams can look up."""


@dataclass(frozen=True, slots=True)
class Term:
    """A part of what was typed. All have to be found, each as one of its texts."""

    texts: tuple[str, ...]
    within: Literal["anything", "name", "email"] = "anything"
    """`anything` is name, e-mail or the digits of the phone. What is too short for that is looked for in one of them.
    """


def terms(typed: str, country: str | None) -> tuple[Term, ...]:
    """Take apart what was typed; nothing comes of punctuation alone. `country`: of phones, as in `canonical`."""
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
    """The number without what only leads to it: a country's code, a zero before the area's."""
    try:
        return {str(phonenumbers.parse(text, country).national_number)}
    except phonenumbers.NumberParseException:
        return set()
