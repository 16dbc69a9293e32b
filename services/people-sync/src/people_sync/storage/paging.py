"""Keyset pages: stable while rows come and go, equally fast at any depth."""

import base64
import binascii
import json
from collections.abc import Callable
from typing import Any

from servicekit.errors import Invalid


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
        raise Invalid(
            "`after` is not from a page of this list: leave it out to begin at the start.",
            errors=[{"field": "after", "message": "is not the `next` of a page of this list"}],
        ) from error


def contains(text: str) -> str:
    """A LIKE pattern for text anywhere, its own wildcards taken literally."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
