"""The AsyncAPI document of this system's Kafka topics, made from the registry."""

from typing import Any, Final

from contracts.topics import TOPICS, Provision, Topic
from contracts.values import PLATFORM
from servicekit.kafka.provision import topic_configs
from webhook_gateway.api.examples import example_of
from webhook_gateway.api.payloads import payloads

DESCRIPTION: Final = (
    "Facts, in the past tense, each with the full state of what it is about and a `version` that grows with every "
    "state. Apply a fact only if its version is higher than the one you have: repeats, replays and late ones are then "
    "harmless. Skip types and fields that you do not know: they may come at any time. A breaking change is a new topic."
)
_HEADER: Final = {
    "ce_specversion": "CloudEvents' version: `1.0`.",
    "ce_id": "Id of the message. The same id is the same message, sent again.",
    "ce_type": "Which of the topic's messages it is.",
    "ce_source": "The service that published it.",
    "ce_time": "When it was published, RFC 3339.",
    "ce_correlationid": "The request or run that it belongs to.",
    "ce_causationid": "The message that it follows from, if it does.",
    "traceparent": "W3C trace context, where traces are recorded.",
    "content-type": "`application/json`.",
}
_NOT_ALWAYS: Final = {"ce_causationid", "traceparent"}


def make_document(*, version: str) -> dict[str, Any]:
    """Every topic with its messages, keys, headers and settings at the broker."""
    schemas, names = payloads(TOPICS.values())
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": "Planning Center integration: facts on Kafka",
            "version": version,
            "description": DESCRIPTION,
            "contact": {"name": "Whoever runs this installation"},
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in TOPICS.values()},
        "operations": dict(_operation(topic, service) for topic in TOPICS.values() for service in topic.producers),
        "components": {
            "schemas": schemas,
            "messages": {
                _message_name(topic, kind): _message(topic, kind, name, schemas)
                for topic in TOPICS.values()
                for kind, name in names[topic.name].items()
            },
        },
    }


def _message_name(topic: Topic, kind: str) -> str:
    return f"{topic.name}.{kind}"


def _channel(topic: Topic) -> dict[str, Any]:
    readers = sorted({*topic.consumers, *topic.broadcast} - {PLATFORM})
    return {
        "address": topic.name,
        "summary": f"Key: {topic.key}. {'Compacted.' if topic.compacted else 'Kept for a window of time.'}",
        "description": f"{_kept(topic)} Readers inside: {', '.join(readers) or 'none'}."
        f"{' Meant for other services of the platform, too.' if PLATFORM in topic.consumers else ''}",
        "messages": {
            event.__name__: {"$ref": f"#/components/messages/{_message_name(topic, event.__name__)}"}
            for event in topic.events
        },
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": _configuration(topic),
                "bindingVersion": "0.5.0",
            }
        },
    }


def _kept(topic: Topic) -> str:
    if not topic.compacted:
        return f"Messages are kept for {topic.retention_hours} hours."
    kept = topic.compaction
    return (
        "The last message of each key is kept; a removal is followed by a message with the same key and no value "
        f"(a tombstone). What was replaced is gone after about {kept.max_lag_hours} hours, tombstones after "
        f"{kept.tombstone_hours} hours: a consumer that was away longer builds its copy anew from the beginning."
    )


def _configuration(topic: Topic) -> dict[str, Any]:
    settings = topic_configs(Provision(topic.name, topic.partitions, topic.retention_hours, topic.compaction))
    policy = settings.pop("cleanup.policy")
    return {"cleanup.policy": [policy], **{name: int(value) for name, value in settings.items()}}


def _operation(topic: Topic, service: str) -> tuple[str, dict[str, Any]]:
    return f"{service}.sends.{topic.name}", {
        "action": "send",
        "channel": {"$ref": f"#/channels/{topic.name}"},
        "summary": f"{service} publishes what it owns.",
    }


def _message(topic: Topic, kind: str, schema: str, schemas: dict[str, Any]) -> dict[str, Any]:
    described = schemas[schema].get("description", "")
    example = example_of(schemas[schema], schemas, schema)
    return {
        "name": kind,
        "title": kind,
        "summary": described.partition("\n")[0],
        "description": described,
        "contentType": "application/json",
        "headers": {
            "type": "object",
            "properties": {
                name: {"type": "string", "description": text} | ({"const": kind} if name == "ce_type" else {})
                for name, text in _HEADER.items()
            },
            "required": [name for name in _HEADER if name not in _NOT_ALWAYS],
        },
        "payload": {"$ref": f"#/components/schemas/{schema}"},
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": f"The {topic.key}'s id, in UTF-8."},
                "bindingVersion": "0.5.0",
            }
        },
        "examples": [{"name": "typical", "payload": example}],
    }
