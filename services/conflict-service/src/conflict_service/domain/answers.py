"""Choices for each field of a conflict, by one answer to many."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeAlias

from contracts.conflicts import STATUS, Choice
from contracts.http.conflicts import BulkAnswer

Field: TypeAlias = Mapping[str, Any]
"""`contracts.conflicts.ConflictField` as JSON."""
Side: TypeAlias = Literal["ours", "theirs"]

_WHOLE: Final = timedelta(seconds=1)
"""Planning Center tells the second in which something was edited."""


def choices_for(fields: Sequence[Field], answer: BulkAnswer, only: str | None) -> dict[str, Choice] | None:
    """A choice for every field; None if the conflict cannot have this answer.

    An edit that collides with nothing is kept, whichever side made it. `only`: the field that the answer is for.
    """
    found: dict[str, Choice] = {}
    for field in fields:
        name = field["field"]
        choice = collides_with_nothing(field) if name != only else None
        if choice is None and only is not None and name != only:
            return None
        choice = choice or _answered(field, answer)
        if choice is None or (name == STATUS and choice == "ours"):
            return None
        found[name] = choice
    return found


def collides_with_nothing(field: Field) -> Choice | None:
    """The side that alone has edited the field; None if both have, or nothing was ever agreed."""
    if not field["base_known"] or field["field"] == STATUS:
        return None
    if field["base"] == field["theirs"]:
        return "ours"
    return "theirs" if field["base"] == field["ours"] else None


def one_side_empty(fields: Sequence[Field]) -> bool:
    """Whether a side has no value in one of the fields."""
    return any(is_empty(field["ours"]) != is_empty(field["theirs"]) for field in fields)


def is_empty(value: Any) -> bool:
    """Whether a side has no value."""
    return value is None or value == ""


def newer_side(fields: Sequence[Field]) -> Side | None:
    """The side that made the newest edit of the fields that collide; None where that is not certain.

    An edit that is only known to be no later than a time can be the older one, never the newer.
    """
    colliding = [field for field in fields if collides_with_nothing(field) is None]
    ours = [instant_of(field["ours_changed_at"]) for field in colliding]
    theirs = [instant_of(field["theirs_changed_at"]) for field in colliding]
    latest = [at or instant_of(field["theirs_changed_before"]) for at, field in zip(theirs, colliding, strict=True)]
    here = max((at for at in ours if at), default=None)
    there = max((at for at in theirs if at), default=None)
    if here and all(at and here >= at + _WHOLE for at in latest):
        return "ours"
    return "theirs" if there and all(at and there > at for at in ours) else None


def instant_of(value: Any) -> datetime | None:
    """A time of a field, as a value or as JSON."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _answered(field: Field, answer: BulkAnswer) -> Choice | None:
    if answer != "filled":
        return answer
    ours, theirs = is_empty(field["ours"]), is_empty(field["theirs"])
    if ours == theirs:
        return None
    return "theirs" if ours else "ours"
