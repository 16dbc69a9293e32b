"""Schema snapshots: append-only copies of every message's JSON Schema, and the check that both directions hold.

Inside a major version services are deployed apart (an old reader meets a new writer) and Kafka replays (a new reader
meets an old message), so only optional fields may come and go. `python -m contracts.schemas` writes a new snapshot
for every message whose schema differs from its last one, and refuses if a difference breaks a direction.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.base import Event
from contracts.topics import TOPICS, Topic

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@dataclass(frozen=True, slots=True)
class Break:
    """One difference that breaks readers."""

    where: str
    what: str
    old_reader: bool
    """True: a reader of the old schema cannot take a message of the new one; False: the other way round."""

    def __str__(self) -> str:
        order = "roll out consumers first" if self.old_reader else "old messages could not be read again"
        return f"{self.where}: {self.what} ({order}; a new major version of the topic is needed)"


def snapshots(topic: Topic, event: type[Event]) -> list[Path]:
    """The snapshots of one message, oldest first: `schemas/<topic>/<Event>/0001.json`, ..."""
    return sorted((SCHEMAS / topic.name / event.__name__).glob("*.json"))


def schema_of(event: type[Event]) -> dict[str, Any]:
    """The message's JSON Schema without words: titles and descriptions may change freely."""
    plain: dict[str, Any] = _without_words(event.model_json_schema())
    return plain


def breaks(old: dict[str, Any], new: dict[str, Any]) -> list[Break]:
    """What breaks a direction between two versions of one message's schema."""
    return list(_compare(old, new, old, new, "$"))


def rollout_order(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Who must be rolled out first for a change that breaks nothing: said when a snapshot is added."""
    added = set(_properties(new)) - set(_properties(old))
    gone = set(_properties(old)) - set(_properties(new))
    if added:
        return f"new optional {', '.join(sorted(added))}: consumers that want it after the producer, any order is safe"
    if gone:
        return f"optional {', '.join(sorted(gone))} gone: consumers that used it first, then the producer"
    return "any order is safe"


def _without_words(node: Any) -> Any:
    if isinstance(node, dict):
        return {
            key: _without_words(value)
            for key, value in sorted(node.items())
            if not (key in {"title", "description"} and isinstance(value, str))
        }
    if isinstance(node, list):
        return [_without_words(item) for item in node]
    return node


def _properties(schema: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = schema.get("properties", {})
    return found


def _resolve(node: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        target: Any = root
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


def _compare(
    old: dict[str, Any], new: dict[str, Any], old_root: dict[str, Any], new_root: dict[str, Any], where: str
) -> Iterator[Break]:
    old, new = _resolve(old, old_root), _resolve(new, new_root)
    yield from _compare_kinds(old, new, where)
    for name in set(old.get("required", ())) - set(_properties(new)):
        yield Break(f"{where}.{name}", "a required field was removed", old_reader=True)
    for name in set(new.get("required", ())) - set(old.get("required", ())):
        yield Break(f"{where}.{name}", "a required field was added", old_reader=False)
    for name in set(old.get("required", ())) & set(_properties(new)) - set(new.get("required", ())):
        yield Break(f"{where}.{name}", "a required field became optional", old_reader=True)
    for name in _properties(old).keys() & _properties(new).keys():
        yield from _compare(_properties(old)[name], _properties(new)[name], old_root, new_root, f"{where}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(old.get(key), dict) and isinstance(new.get(key), dict):
            yield from _compare(old[key], new[key], old_root, new_root, f"{where}[]")
    options = old.get("anyOf", []), new.get("anyOf", [])
    if len(options[0]) != len(options[1]):
        yield Break(where, "the alternatives changed", old_reader=len(options[1]) > len(options[0]))
    else:
        for before, after in zip(*options, strict=True):
            yield from _compare(before, after, old_root, new_root, where)


# What a schema narrows by. A tighter bound refuses old messages, a looser one is refused by old readers.
_BOUNDS = ("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern", "format", "const")


def _compare_kinds(old: dict[str, Any], new: dict[str, Any], where: str) -> Iterator[Break]:
    if old.get("type") != new.get("type"):
        yield Break(where, f"the type changed from {old.get('type')} to {new.get('type')}", old_reader=True)
    grown = set(new.get("enum", ())) - set(old.get("enum", ()))
    shrunk = set(old.get("enum", ())) - set(new.get("enum", ()))
    if grown and "enum" in old:
        yield Break(where, f"the enum grew by {sorted(grown)}", old_reader=True)
    if shrunk and "enum" in new:
        yield Break(where, f"the enum lost {sorted(shrunk)}", old_reader=False)
    for bound in _BOUNDS:
        if old.get(bound) != new.get(bound):
            yield Break(where, f"{bound} changed from {old.get(bound)} to {new.get(bound)}", old_reader=True)


def main() -> int:
    """Write the snapshots that are missing; 1 if a change is refused."""
    refused = 0
    for topic in TOPICS.values():
        for event in topic.events:
            new = schema_of(event)
            existing = snapshots(topic, event)
            if existing and json.loads(existing[-1].read_text()) == new:
                continue
            found = [found for path in existing for found in breaks(json.loads(path.read_text()), new)]
            for problem in found:
                sys.stderr.write(f"{topic.name} {event.__name__} {problem}\n")
            if found:
                refused = 1
                continue
            path = SCHEMAS / topic.name / event.__name__ / f"{len(existing) + 1:04}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(new, indent=2) + "\n")
            order = rollout_order(json.loads(existing[-1].read_text()), new) if existing else "first snapshot"
            sys.stdout.write(f"{path.relative_to(SCHEMAS.parent)}: {order}\n")
    return refused


if __name__ == "__main__":
    sys.exit(main())
