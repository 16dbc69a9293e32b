"""Keyset pages: stable while rows come and go, equally fast at any depth."""

import base64
import binascii
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from servicekit.errors import Invalid

_BIGGEST: Final = 2**63 - 1
_BIGGEST_POSITION: Final = 2**31 - 1


def encode(*key: str | int) -> str:
    """The opaque value that a caller sends back as `after`."""
    return base64.urlsafe_b64encode(json.dumps(key, ensure_ascii=False).encode()).decode().rstrip("=")


def decode(after: str, *types: Callable[[Any], Any]) -> list[Any]:
    """The key of the last row before the page. Invalid (422) for a value that `encode` did not make."""
    try:
        key = json.loads(base64.urlsafe_b64decode(after + "=" * (-len(after) % 4)))
        if not isinstance(key, list) or len(key) != len(types):
            raise ValueError(after)
        return [kind(part) for kind, part in zip(types, key, strict=True)]
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError, binascii.Error) as error:
        raise unknown() from error


def unknown() -> Invalid:
    """The error for a key without a row."""
    return Invalid(
        "`after` is not from a page of this list: leave it out to begin at the start.",
        errors=[{"field": "after", "message": "is not the `next` of a page of this list"}],
    )


def number(part: Any) -> int:
    """Parser for `decode`: a part of a key that is compared with a bigint."""
    found = int(part)
    if abs(found) > _BIGGEST:
        raise ValueError(part)
    return found


def position(part: Any) -> int:
    """Parser for `decode`: a part of a key that is compared with an integer column."""
    found = number(part)
    if abs(found) > _BIGGEST_POSITION:
        raise ValueError(part)
    return found


def instant(part: Any) -> datetime:
    """Parser for `decode`: a part of a key that is compared with a time."""
    found = datetime.fromisoformat(part)
    if found.tzinfo is None:
        raise ValueError(part)
    return found.astimezone(UTC)


def string(part: Any) -> str:
    """Parser for `decode`: a part of a key that is compared with text."""
    found = str(part)
    found.encode()  # the database takes neither lone surrogates nor NUL
    if "\0" in found:
        raise ValueError(part)
    return found


def contains(text: str) -> str:
    """A LIKE pattern that finds the text anywhere; wildcards in the text are escaped."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
