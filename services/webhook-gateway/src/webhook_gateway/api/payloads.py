"""Schemas of Kafka's messages under unique names, for both documents."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from contracts.topics import Topic


def payloads(topics: Iterable[Topic]) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
    """Schemas by name, and the name of each message's schema by topic and type.

    A type that several topics share gets its topic's context as prefix.
    """
    topics = list(topics)
    counted = Counter(event.__name__ for topic in topics for event in topic.events)
    schemas: dict[str, Any] = {}
    names: dict[str, dict[str, str]] = {}
    for topic in topics:
        for event in topic.events:
            context = topic.name.partition(".")[0].title() if counted[event.__name__] > 1 else ""
            name = context + event.__name__
            schema = event.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
            schemas |= schema.pop("$defs", {})
            schemas[name] = schema
            names.setdefault(topic.name, {})[event.__name__] = name
    return schemas, names
