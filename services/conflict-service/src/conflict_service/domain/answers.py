"""Choices for each field of a conflict, by a bulk answer."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeAlias

from contracts.conflicts import STATUS, Choice
from contracts.http.conflicts import BulkAnswer

Field: TypeAlias = Mapping[str, Any]
"""`contracts.conflicts.ConflictField` as JSON."""
Side: TypeAlias = Literal["ours", "theirs"]

_WHOLE: Final = timedelta(seconds=1)
"""Precision of Planning Center's edit times."""


def choices_for(fields: Sequence[Field], answer: BulkAnswer, only: str | None) -> dict[str, Choice] | None:
    """A choice for every field; None if the conflict cannot take this answer.

    An edit on one side alone is kept. `only`: the field that the answer applies to.
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
    """The only side that edited the field; None if both did, or no value was ever agreed."""
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
    """The side with the newest edit of the colliding fields; None if uncertain.

    An edit with only a latest possible time can count as the older one, never as the newer.
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
    """A field's time, given as datetime or JSON."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _answered(field: Field, answer: BulkAnswer) -> Choice | None:
    if answer != "filled":
        return answer
    ours, theirs = is_empty(field["ours"]), is_empty(field["theirs"])
    if ours == theirs:
        return None
    return "theirs" if ours else "ours"
