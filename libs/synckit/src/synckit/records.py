"""Checks that the calls of every record share: its id in a path, and the version that somebody saw."""

from typing import Final
from uuid import UUID

from servicekit.errors import Conflict, NotFound

READ_AGAIN: Final = "Read it again and repeat the change on what is there now."


def parse_id(text: str, kind: str) -> UUID:
    """An id from a path. NotFound (404) if it is malformed."""
    try:
        return UUID(text)
    except ValueError as error:
        raise NotFound(f"There is no such {kind}.") from error


def check_version(seen: int | None, now: int, kind: str) -> None:
    """Conflict (409) if the record changed since the version that the caller saw."""
    if seen is not None and seen != now:
        raise Conflict(
            f"Somebody changed this {kind} since you read it (you saw version {seen}, it is {now} now). {READ_AGAIN}",
            slug="version-conflict",
            version=now,
        )
