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
    """What a caller sends back as `after`: opaque to it."""
    return base64.urlsafe_b64encode(json.dumps(key, ensure_ascii=False).encode()).decode().rstrip("=")


def decode(after: str, *types: Callable[[Any], Any]) -> list[Any]:
    """The key of the last row before the page. Invalid (422) for what `encode` never made."""
    try:
        key = json.loads(base64.urlsafe_b64decode(after + "=" * (-len(after) % 4)))
        if not isinstance(key, list) or len(key) != len(types):
            raise ValueError(after)
        return [kind(part) for kind, part in zip(types, key, strict=True)]
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError, binascii.Error) as error:
        raise unknown() from error


def unknown() -> Invalid:
    """For a key that leads to no row."""
    return Invalid(
        "`after` is not from a page of this list: leave it out to begin at the start.",
        errors=[{"field": "after", "message": "is not the `next` of a page of this list"}],
    )


def number(part: Any) -> int:
    """A part of a key that is compared with a bigint; for `decode`."""
    found = int(part)
    if abs(found) > _BIGGEST:
        raise ValueError(part)
    return found


def position(part: Any) -> int:
    """A part of a key that is compared with an integer column; for `decode`."""
    found = number(part)
    if abs(found) > _BIGGEST_POSITION:
        raise ValueError(part)
    return found


def instant(part: Any) -> datetime:
    """A part of a key that is compared with a time; for `decode`."""
    found = datetime.fromisoformat(part)
    if found.tzinfo is None:
        raise ValueError(part)
    return found.astimezone(UTC)


def string(part: Any) -> str:
    """A part of a key that is compared with text; for `decode`."""
    found = str(part)
    found.encode()  # halves of surrogate pairs cannot be sent to the database, and NUL is no text to it
    if "\0" in found:
        raise ValueError(part)
    return found


def contains(text: str) -> str:
    """A LIKE pattern for text anywhere, its own wildcards taken literally."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
