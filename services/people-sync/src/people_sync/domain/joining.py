"""What two members of one person have, field by field, before they are joined."""

from collections.abc import Mapping

from people_sync.domain.canonical import identical
from people_sync.domain.inputs import is_empty
from people_sync.domain.values import FIELDS, Value


def filling(stays: Mapping[str, Value], joins: Mapping[str, Value]) -> tuple[str, ...]:
    """Fields that are empty on the one who stays, and have a value on the one who is joined."""
    return tuple(name for name in FIELDS if is_empty(stays[name]) and not is_empty(joins[name]))


def differing(stays: Mapping[str, Value], joins: Mapping[str, Value], country: str) -> tuple[str, ...]:
    """Fields of which both have a value, and not the same one. `country`: the church's own."""
    return tuple(
        name
        for name in FIELDS
        if not (is_empty(stays[name]) or is_empty(joins[name]) or identical(name, stays[name], joins[name], country))
    )
