"""The `search_*` filters of people, as measured against the vendor in 2026 (public People mirror).

They are anchored word-prefix matches per name field, not substring matches, and differ from one another in
undocumented ways; do not match records by them.
"""

import re
from collections.abc import Callable, Mapping

from pco_simulator.rows import Row, View, fold

Test = Callable[[Row], bool]

_NAMES = ("first_name", "last_name", "nickname", "given_name")


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def _name_fields(row: Row) -> list[str]:
    return [fold(value) for name in _NAMES if (value := row.attrs.get(name))]


def search_name(view: View, needle: str) -> Test:
    """Every word of the needle prefixes the word at its place of a name field, or of first name, last name and suffix
    together; not of the middle name, not of nickname and last name together."""
    words = fold(needle).split()

    def leads(text: str) -> bool:
        parts = text.split()
        return len(parts) >= len(words) and all(part.startswith(word) for part, word in zip(parts, words, strict=False))

    def test(row: Row) -> bool:
        first, last = row.attrs.get("first_name") or "", row.attrs.get("last_name") or ""
        suffix = view.get("NameSuffix", row.attrs.get("name_suffix_id"))
        named = f"{first} {last} {(suffix and suffix.get('value')) or ''}"
        return bool(words) and any(leads(text) for text in (*_name_fields(row), fold(named)))

    return test


def search_name_or_email(view: View, needle: str) -> Test:
    """`search_name`, or part of an email address; a needle of one word also matches inside a name."""
    bare = fold(needle).strip()
    by_name = search_name(view, needle)
    one_word = len(bare.split()) == 1

    def test(row: Row) -> bool:
        if not bare:
            return False
        if by_name(row) or (one_word and any(bare in text for text in _name_fields(row))):
            return True
        emails = view.children("Email", "person_id", row.id)
        return any(bare in fold(email.attrs["address"]) for email in emails)

    return test


def search_name_or_email_or_phone_number(view: View, needle: str) -> Test:
    """Matches by name, email address or phone number."""
    by_name = search_name_or_email(view, needle)
    by_phone = search_phone_number(view, needle)
    return lambda row: by_name(row) or by_phone(row)


def search_phone_number(view: View, needle: str) -> Test:
    """Matches the last digits of a number, with or without its country code."""
    wanted = _digits(needle)

    def numbers(row: Row) -> list[str]:
        phones = view.children("PhoneNumber", "person_id", row.id)
        return [_digits(phone.attrs.get(name) or "") for phone in phones for name in ("national", "number", "e164")]

    def test(row: Row) -> bool:
        return bool(wanted) and any(number.endswith(wanted) for number in numbers(row))

    return test


def search_phone_number_e164(view: View, needle: str) -> Test:
    """Matches the whole number, ignoring punctuation."""
    wanted = "+" + _digits(needle)

    def test(row: Row) -> bool:
        phones = view.children("PhoneNumber", "person_id", row.id)
        return any(phone.attrs.get("e164") == wanted for phone in phones)

    return test


SEARCHES: Mapping[str, Callable[[View, str], Test]] = {
    "search_name": search_name,
    "search_name_or_email": search_name_or_email,
    "search_name_or_email_or_phone_number": search_name_or_email_or_phone_number,
    "search_phone_number": search_phone_number,
    "search_phone_number_e164": search_phone_number_e164,
}
