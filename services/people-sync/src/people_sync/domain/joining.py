"""Comparison, field by field, of two members of one person before they are joined."""

from collections.abc import Mapping

from people_sync.domain.canonical import identical
from people_sync.domain.inputs import is_empty
from people_sync.domain.values import FIELDS, Value


def filling(stays: Mapping[str, Value], joins: Mapping[str, Value]) -> tuple[str, ...]:
    """Fields that only the joined member has a value of."""
    return tuple(name for name in FIELDS if is_empty(stays[name]) and not is_empty(joins[name]))


def differing(stays: Mapping[str, Value], joins: Mapping[str, Value], country: str) -> tuple[str, ...]:
    """Fields of which both members have different values. `country`: the church's own."""
    return tuple(
        name
        for name in FIELDS
        if not (is_empty(stays[name]) or is_empty(joins[name]) or identical(name, stays[name], joins[name], country))
    )
