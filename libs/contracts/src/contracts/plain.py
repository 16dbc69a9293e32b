"""Allowed building blocks of messages, checked on pydantic's own core schema.

JSON Schema does not show whether a field is strict, has a validator, accepts an instant without an offset or is
written in another form than it is read. All of these can refuse or change messages of another version while the schemas
are equal. So every construct not listed here is refused: to use one, add it with a comparison of two versions.
"""

from collections.abc import Iterator
from typing import Any, Final

from contracts.base import Event, Model

_BOUNDS: Final = {"ge", "gt", "le", "lt", "multiple_of"}  # shown in JSON Schema, so versions are compared by them
_PARTS: Final[dict[str, set[str]]] = {
    "model": {"cls", "config", "custom_init", "root_model", "schema"},
    "model-fields": {"computed_fields", "fields", "model_name"},
    "model-field": {"schema"},
    "default": {"default", "default_factory", "default_factory_takes_data", "schema"},
    "nullable": {"schema"},
    "definitions": {"definitions", "schema"},
    "definition-ref": {"schema_ref"},
    "str": {"max_length", "min_length", "pattern"},
    "int": _BOUNDS,
    "float": _BOUNDS,
    "bool": set(),
    "date": set(),
    "datetime": {"microseconds_precision", "tz_constraint"},
    "literal": {"expected"},
    "tuple": {"items_schema", "max_length", "min_length", "variadic_item_index"},
    "dict": {"keys_schema", "values_schema"},
    "any": set(),
}
_EMPTY: Final = (None, dict, list, tuple)  # factories that can make one value only
_ANYWHERE: Final = {"type", "ref", "metadata"}
_CONFIG: Final = dict(Model.model_config)


def faults(event: type[Event]) -> list[str]:
    """One sentence for each construct in `event` that could break readers unseen."""
    return list(dict.fromkeys(_faults(event.__pydantic_core_schema__, event.__name__)))


def _faults(part: Any, where: str) -> Iterator[str]:
    kind = part["type"]
    if kind not in _PARTS:
        yield f"{where}: {_named(kind)} is nothing that two versions can be compared by"
        return
    for option in sorted(part.keys() - _PARTS[kind] - _ANYWHERE):
        yield f"{where}: `{option}` of {kind} shows in no schema"
    if kind == "datetime" and part.get("tz_constraint") != "aware":
        yield f"{where}: an instant without an offset means another time at each reader; use Timestamp"
    if kind == "default" and part.get("default_factory") not in _EMPTY:
        yield f"{where}: a default that is made by a function shows in no schema"
    if kind == "model":
        yield from _own_behaviour(part, where)
    for name, field in _below(part):
        yield from _faults(field, f"{where}.{name}" if name else where)


def _own_behaviour(part: Any, where: str) -> Iterator[str]:
    model = part["cls"]
    for option in sorted(model.model_config.keys() | _CONFIG.keys()):
        if model.model_config.get(option) != _CONFIG.get(option):
            yield f"{where}: {model.__name__} has {option}={model.model_config.get(option)!r} of its own"
    if part.get("custom_init") or part.get("root_model") or part["schema"].get("computed_fields"):
        yield f"{where}: {model.__name__} is made or written in a way of its own"


def _below(part: Any) -> Iterator[tuple[str, Any]]:
    yield from part.get("fields", {}).items()
    for key in ("schema", "keys_schema", "values_schema"):
        if key in part:
            yield "", part[key]
    for key in ("items_schema", "definitions"):
        yield from (("", item) for item in part.get(key, ()))


def _named(kind: str) -> str:
    return "a validator of its own" if kind.startswith("function-") else f"`{kind}`"
