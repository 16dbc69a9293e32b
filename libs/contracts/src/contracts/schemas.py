"""JSON Schemas of messages, and the differences between two versions that break a reader.

Inside a major version services are deployed apart (an old reader meets a new writer) and Kafka replays (a new reader
meets an old message), so only optional fields may come and go. Unknown keywords are refused.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from contracts.base import Event
from contracts.topics import Topic

SCHEMAS: Final = Path(__file__).resolve().parents[2] / "schemas"
EXAMPLES: Final = Path(__file__).resolve().parents[2] / "examples"

WORDS: Final = frozenset({"title", "description", "examples"})
"""Descriptive keywords, which may change freely."""
_COMPARED: Final = frozenset(
    {"$defs", "$ref", "additionalProperties", "anyOf", "default", "enum", "items", "properties", "required", "type"}
)
_BOUNDS: Final = (
    "const",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "maxItems",
    "maxLength",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "multipleOf",
    "pattern",
)
"""Bounds: new readers refuse old messages under a tighter one, old readers refuse new messages under a looser one."""
_NOTHING: Final = object()


@dataclass(frozen=True, slots=True)
class Break:
    """One difference that breaks readers."""

    where: str
    what: str
    old_reader: bool
    """True: a reader of the old schema cannot read a message of the new one; False: the other way round."""

    def __str__(self) -> str:
        order = "roll out consumers first" if self.old_reader else "old messages could not be read again"
        return f"{self.where}: {self.what} ({order}; a new major version of the topic is needed)"


def snapshots(topic: Topic, event: type[Event]) -> list[Path]:
    """The snapshots of one message, oldest first: `schemas/<topic>/<Event>/0001.json`, ..."""
    return sorted((SCHEMAS / topic.name / event.__name__).glob("*.json"))


def schema_of(event: type[Event]) -> dict[str, Any]:
    """The message's JSON Schema without descriptive keywords."""
    return _without_words(event.model_json_schema())


def breaks(old: dict[str, Any], new: dict[str, Any]) -> list[Break]:
    """The differences between two versions of a schema that break either direction."""
    return list(_compare(old, new, old, new, "$"))


def unknown_keywords(schema: dict[str, Any]) -> list[str]:
    """Keywords that the comparison does not know, each with its place."""
    return list(_unknown(schema, schema, "$", ()))


def rollout_order(old: dict[str, Any], new: dict[str, Any]) -> str:
    """The rollout order of a compatible change, printed when its snapshot is added."""
    before, after = set(_paths(old, old, "")), set(_paths(new, new, ""))
    said = []
    if added := after - before:
        said.append(f"new optional {', '.join(sorted(added))}: the producer, then consumers that want it")
    if gone := before - after:
        said.append(f"optional {', '.join(sorted(gone))} gone: consumers that used it, then the producer")
    return "; ".join(said) or "any order is safe"


def _without_words(schema: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for keyword, value in sorted(schema.items()):
        if keyword in {"properties", "$defs"}:  # keys are field names here, even `title`
            plain[keyword] = {name: _without_words(below) for name, below in sorted(value.items())}
        elif keyword in {"items", "additionalProperties"} and isinstance(value, dict):
            plain[keyword] = _without_words(value)
        elif keyword == "anyOf":
            plain[keyword] = [_without_words(option) for option in value]
        elif keyword not in WORDS:
            plain[keyword] = value
    return plain


def _unknown(schema: dict[str, Any], root: dict[str, Any], where: str, inside: tuple[str, ...]) -> Iterator[str]:
    for keyword in sorted(schema.keys() - WORDS - _COMPARED - set(_BOUNDS)):
        yield f"{where}: the keyword `{keyword}`"
    if (reference := schema.get("$ref")) in inside:
        yield f"{where}: a model that holds itself"
        return
    if reference:
        inside = (*inside, reference)
        schema = _resolve(schema, root)
    for name, below in _properties(schema).items():
        yield from _unknown(below, root, f"{where}.{name}", inside)
    for below in (schema.get("items"), schema.get("additionalProperties"), *schema.get("anyOf", ())):
        if isinstance(below, dict):
            yield from _unknown(below, root, where, inside)


def _properties(schema: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = schema.get("properties", {})
    return found


def _paths(schema: dict[str, Any], root: dict[str, Any], where: str) -> Iterator[str]:
    schema = _resolve(schema, root)
    for name, below in _properties(schema).items():
        yield f"{where}{name}"
        yield from _paths(below, root, f"{where}{name}.")
    for below in (schema.get("items"), schema.get("additionalProperties"), *schema.get("anyOf", ())):
        if isinstance(below, dict):
            yield from _paths(below, root, where)


def _resolve(node: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """The schema behind a reference; siblings of the reference (a default) stay."""
    while "$ref" in node:
        target: Any = root
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = {**target, **{keyword: value for keyword, value in node.items() if keyword != "$ref"}}
    return node


def _compare(
    old: dict[str, Any], new: dict[str, Any], old_root: dict[str, Any], new_root: dict[str, Any], where: str
) -> Iterator[Break]:
    old, new = _resolve(old, old_root), _resolve(new, new_root)
    yield from _compare_kinds(old, new, where)
    for name in sorted(set(old.get("required", ())) - set(_properties(new))):
        yield Break(f"{where}.{name}", "a required field was removed", old_reader=True)
    for name in sorted(set(new.get("required", ())) - set(old.get("required", ()))):
        yield Break(f"{where}.{name}", "a required field was added", old_reader=False)
    for name in sorted(set(old.get("required", ())) & set(_properties(new)) - set(new.get("required", ()))):
        yield Break(f"{where}.{name}", "a required field became optional", old_reader=True)
    for name in sorted(_properties(old).keys() & _properties(new).keys()):
        yield from _compare(_properties(old)[name], _properties(new)[name], old_root, new_root, f"{where}.{name}")
    for key in ("items", "additionalProperties"):
        before, after = old.get(key, _NOTHING), new.get(key, _NOTHING)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _compare(before, after, old_root, new_root, f"{where}[]")
        elif before != after:
            yield Break(where, f"{key} came, went or changed", old_reader=after is _NOTHING)
    options = old.get("anyOf", []), new.get("anyOf", [])
    if len(options[0]) != len(options[1]):
        yield Break(where, "the alternatives changed", old_reader=len(options[1]) > len(options[0]))
    else:
        for before, after in zip(*options, strict=True):
            yield from _compare(before, after, old_root, new_root, where)


def _said(default: Any) -> str:
    return "none" if default is _NOTHING else json.dumps(default)


def _compare_kinds(old: dict[str, Any], new: dict[str, Any], where: str) -> Iterator[Break]:
    if old.get("type") != new.get("type"):
        yield Break(where, f"the type changed from {old.get('type')} to {new.get('type')}", old_reader=True)
    if ("enum" in old) != ("enum" in new):
        yield Break(where, "an enum came or went", old_reader="enum" in old)
    elif grown := set(new.get("enum", ())) - set(old.get("enum", ())):
        yield Break(where, f"the enum grew by {sorted(grown)}", old_reader=True)
    elif shrunk := set(old.get("enum", ())) - set(new.get("enum", ())):
        yield Break(where, f"the enum lost {sorted(shrunk)}", old_reader=False)
    before, after = old.get("default", _NOTHING), new.get("default", _NOTHING)
    if before != after:
        yield Break(where, f"the default changed from {_said(before)} to {_said(after)}", old_reader=True)
    for bound in _BOUNDS:
        if old.get(bound) != new.get(bound):
            yield Break(where, f"{bound} changed from {old.get(bound)} to {new.get(bound)}", old_reader=True)
