"""The gate of contracts: `python -m contracts.gate` writes snapshots of changes, or says why a change is refused.

Snapshots of schemas and of topics' settings and golden messages are append-only: `make contracts` adds files, and git's
history shows whether a file was edited or deleted since its first commit.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from contracts.base import Event
from contracts.golden import GOLDEN, examples, golden_breaks, golden_of, golden_path
from contracts.history import read_history
from contracts.plain import faults
from contracts.schemas import SCHEMAS, breaks, rollout_order, schema_of, snapshots, unknown_keywords
from contracts.settings import FOLDER, setting_breaks, setting_order, setting_snapshots, settings_of
from contracts.topics import TOPICS, Topic
from contracts.values import PLATFORM

APPEND_ONLY = (SCHEMAS, GOLDEN)


def refusals() -> Iterator[str]:
    """One sentence for each property of today's registry that would break readers of another version."""
    for topic in TOPICS.values():
        yield from (
            f"{topic.name}: {problem}; a new major version of the topic is needed"
            for path in setting_snapshots(topic)[-1:]
            for problem in setting_breaks(json.loads(path.read_text()), settings_of(topic))
        )
        for event in topic.events:
            yield from (f"{topic.name} {event.__name__} {problem}" for problem in _refused(topic, event))
        known = {FOLDER, *(event.__name__ for event in topic.events)}
        for gone in sorted({folder.name for folder in (SCHEMAS / topic.name).glob("*")} - known):
            yield f"{topic.name} {gone}: went, and messages of it could not be read again; keep it in the registry"


def _refused(topic: Topic, event: type[Event]) -> Iterator[str]:
    yield from faults(event)
    schema = schema_of(event)
    yield from (f"{keyword} is none that two versions are compared by" for keyword in unknown_keywords(schema))
    # Older snapshots too: a removed field must not return with another meaning.
    yield from dict.fromkeys(
        str(problem) for path in snapshots(topic, event) for problem in breaks(json.loads(path.read_text()), schema)
    )
    yield from golden_breaks(topic, event)


def tampered() -> tuple[list[str], str | None]:
    """Files edited or deleted since their commit, and why git could not be asked (None if it was)."""
    histories = [read_history(folder) for folder in APPEND_ONLY]
    edited = [sentence for history in histories if not history.missing for sentence in history.edited()]
    return edited, histories[0].missing


def missing() -> Iterator[tuple[Path, str, str]]:
    """Snapshots and golden messages to be added: path, content, and the rollout order of the change."""
    for topic in TOPICS.values():
        known, now = setting_snapshots(topic), settings_of(topic)
        if (last := _last(known)) != now:
            order = setting_order(last, now) if last else "first snapshot of the topic's settings: provision it"
            yield SCHEMAS / topic.name / FOLDER / f"{len(known) + 1:04}.json", _text(now), order
        for event in topic.events:
            yield from _missing(topic, event)


def _missing(topic: Topic, event: type[Event]) -> Iterator[tuple[Path, str, str]]:
    known, now = snapshots(topic, event), schema_of(event)
    last = _last(known)
    number = len(known)
    if last != now:
        number += 1
        order = rollout_order(last, now) if last else _first(topic)
        yield SCHEMAS / topic.name / event.__name__ / f"{number:04}.json", _text(now), order
    for example in examples(topic, event):
        path = golden_path(topic, event, example, number)
        if not path.exists():
            yield path, golden_of(event, example), "its example as it is sent"


def _first(topic: Topic) -> str:
    readers = sorted({*topic.consumers, *topic.broadcast} - {PLATFORM})
    told = ", with the platform's own consumers told" if PLATFORM in topic.consumers else ""
    first = f"roll out {', '.join(readers)} first{told}: a version that does not know it sets it aside"
    return f"new type, {first}; then {', '.join(topic.producers)}"


def _last(paths: list[Path]) -> dict[str, Any] | None:
    last: dict[str, Any] | None = json.loads(paths[-1].read_text()) if paths else None
    return last


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"


def main() -> int:
    """Write missing snapshots and golden messages; gives 1 and writes no file if a change is refused."""
    edited, blind = tampered()
    if refused := [*edited, *refusals()]:
        sys.stderr.write("".join(f"{problem}\n" for problem in refused))
        return 1
    for path, content, order in list(missing()):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        sys.stdout.write(f"{path.relative_to(SCHEMAS.parent)}: {order}\n")
    if blind:
        sys.stdout.write(f"Not compared with what was committed: {blind}. Edits in place were not looked for.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
