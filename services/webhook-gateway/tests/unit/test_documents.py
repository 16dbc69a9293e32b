"""The API's documents match the contracts, and every problem type has a page."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from contracts.http.problems import PROBLEM_TYPES
from contracts.routes import ROUTES
from contracts.topics import TOPICS
from webhook_gateway.api.documents import make_documents
from webhook_gateway.api.examples import UNKNOWN
from webhook_gateway.api.openapi import PUBLIC
from webhook_gateway.usecases.live import LIVE_TOPICS

DOCUMENTS = make_documents()
OPENAPI, ASYNCAPI = DOCUMENTS["openapi.json"], DOCUMENTS["asyncapi.json"]
ROOT = Path(__file__).parents[4]
SOURCES = [*ROOT.glob("services/*/src/**/*.py"), *ROOT.glob("libs/servicekit/src/**/*.py")]


def test_every_example_is_accepted_by_its_contract() -> None:
    for route in ROUTES:
        operation = OPENAPI["paths"][route.path][route.method.lower()]
        answer = operation["responses"][str(route.status)]
        for model, described in ((route.request, operation.get("requestBody")), (route.response, answer)):
            if model is not None:
                TypeAdapter(model).validate_python(described["content"]["application/json"]["example"], strict=False)


def test_every_message_has_a_valid_example() -> None:
    for topic in TOPICS.values():
        messages = ASYNCAPI["channels"][topic.name]["messages"]
        for event in topic.events:
            message = ASYNCAPI["components"]["messages"][messages[event.__name__]["$ref"].rpartition("/")[2]]
            assert event.model_validate(message["examples"][0]["payload"]).key
            assert message["headers"]["properties"]["ce_type"]["const"] == event.__name__


def test_every_field_has_a_sample() -> None:
    assert re.findall(f"{UNKNOWN} [\\w.]+", json.dumps(DOCUMENTS)) == [], "add them to api/examples.py"


def test_the_live_stream_tells_every_fact_that_it_carries() -> None:
    events = OPENAPI["components"]["schemas"]["LiveEvent"]["oneOf"]
    told = {
        event["properties"]["event"]["const"]: {
            fact["properties"]["type"]["const"] for fact in event["properties"]["data"].get("oneOf", ())
        }
        for event in events
    }
    assert told == {"hello": set(), "expired": set()} | {
        name: {event.__name__ for event in TOPICS[name].events} for name in LIVE_TOPICS
    }


def test_only_public_routes_need_no_token() -> None:
    operations = [(path, operation) for path, methods in OPENAPI["paths"].items() for operation in methods.values()]
    assert {path for path, operation in operations if not operation["security"]} == set(PUBLIC)


def slugs() -> Iterator[str]:
    for path in SOURCES:
        text = path.read_text()
        yield from re.findall(r'slug(?:: [\w\[\]]+)? ?= ?"([a-z-]+)"', text)
        yield from re.findall(r'"(authorization-[a-z-]+)"', text)
        yield from re.findall(r'_refuse\(\s*session, found, "([a-z-]+)"', text)


def test_every_type_of_problem_is_described() -> None:
    assert len(SOURCES) > 100
    assert set(slugs()) - PROBLEM_TYPES.keys() == set(), "describe them in contracts.http.problems"
    assert {"busy", "answered", "version-conflict", "session-ended", "authorization-used"} <= set(slugs())


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for below in node.values():
            yield from references(below)
    elif isinstance(node, list):
        for below in node:
            yield from references(below)


def test_every_reference_leads_somewhere() -> None:
    for document in (OPENAPI, ASYNCAPI):
        for reference in set(references(document)):
            target: Any = document
            for part in reference.removeprefix("#/").split("/"):
                target = target[part]
