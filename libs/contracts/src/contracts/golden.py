"""Golden messages: the key and exact bytes that an example had on Kafka when its schema was new."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from contracts.base import Event
from contracts.schemas import EXAMPLES, schema_of, snapshots
from contracts.topics import Topic

GOLDEN: Final = Path(__file__).resolve().parents[2] / "golden"


def examples(topic: Topic, event: type[Event]) -> list[Path]:
    """The examples of one message."""
    return sorted((EXAMPLES / topic.name / event.__name__).glob("*.json"))


def golden_path(topic: Topic, event: type[Event], example: Path, schema: int) -> Path:
    """The path of an example's golden message: `golden/<topic>/<Event>/<number of the schema>.<example>.json`."""
    return GOLDEN / topic.name / event.__name__ / f"{schema:04}.{example.name}"


def golden_of(event: type[Event], example: Path) -> str:
    """Render the golden message of an example: key and value as today's code sends them."""
    message = event.model_validate_json(example.read_bytes())
    return json.dumps({"key": message.key, "value": message.model_dump_json()}, indent=2) + "\n"


def golden_breaks(topic: Topic, event: type[Event]) -> Iterator[str]:
    """One sentence for each golden message that today's code writes or reads differently."""
    known = snapshots(topic, event)
    if known and json.loads(known[-1].read_text()) == schema_of(event):
        for example in examples(topic, event):
            path = golden_path(topic, event, example, len(known))
            if path.is_file() and path.read_text() != golden_of(event, example):
                yield (
                    f"{path.name}: {example.name} has another key or other bytes now, and its schema is the same. Was "
                    "the example edited, put it back and add another one; if not, readers would find something else"
                )
    for path in sorted((GOLDEN / topic.name / event.__name__).glob("*.json")):
        golden = json.loads(path.read_text())
        try:
            message = event.model_validate_json(golden["value"])
        except ValidationError as error:
            yield f"{path.name}: can no longer be read: {', '.join(_place(part['loc']) for part in error.errors())}"
            continue
        if message.key != golden["key"]:
            yield f"{path.name}: the key was {golden['key']} and is {message.key} now"
        if lost := list(_lost(json.loads(golden["value"]), json.loads(message.model_dump_json()), "$")):
            yield f"{path.name}: is read as something else now: {', '.join(lost)}"


def _place(parts: tuple[int | str, ...]) -> str:
    return ".".join(["$", *map(str, parts)])


def _lost(old: Any, new: Any, where: str) -> Iterator[str]:
    """Places where both sides have a value and the two differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in old.keys() & new.keys():
            yield from _lost(old[name], new[name], f"{where}.{name}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _lost(before, after, f"{where}[{number}]")
    elif old != new:
        yield where
