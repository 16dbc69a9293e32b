"""Compares Webhooks with the vendor's own OpenAPI description of 2022-10-20."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pco_simulator.direct import Answer, Direct, SetClock
from pco_simulator.human import Human
from pco_simulator.settings import Settings
from pco_simulator.state import open_world
from pco_simulator.webhooks.kind import DELIVERY, EVENT
from pco_simulator.webhooks.sender import Webhooks

FILE = Path(__file__).parents[5] / "shared" / "pco-data" / "openapi" / "webhooks-2022-10-20.json"
NAME = "people.v2.events.person.updated"

pytestmark = pytest.mark.skipif(
    not FILE.is_file(), reason="THE VENDOR'S OPENAPI DESCRIPTION IS ABSENT: nothing is compared"
)


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text())
    return found


@pytest.fixture(scope="module")
def api() -> Direct:
    """One subscription, 1, with one event, 1, that was tried once, 1."""
    world = open_world(None, people=20, seed=3, clock=SetClock(datetime(2026, 3, 1, tzinfo=UTC)))
    Webhooks(world, Settings())
    login = world.logins[0]
    scopes = ("webhooks", "people")
    api = Direct(world, login.organization_id, login.person_id, version="2022-10-20", scopes=scopes)
    url = "https://platform.example/"
    made = api.post("/webhooks/v2/webhook_subscriptions", {"name": NAME, "url": url, "active": True})
    assert made.data["id"] == "1"
    Human(world).edit_person(login.organization_id, login.person_id, {"nickname": "A"})
    with world.change(login.organization_id, "webhooks") as change:
        (event,) = change.view.all(EVENT)
        tried = {"subscription_id": 1, "event_id": event.id, "attempt": 1, "request_headers": {}, "status": 503}
        change.create(DELIVERY, {**tried, "timing": 0.25, "response_body": "", "created_at": "2026-03-01T00:00:00Z"})
    return api


def call(api: Direct, method: str, path: str) -> Answer:
    for name in ("webhook_subscription_id", "event_id", "delivery_id"):
        path = path.replace(f"{{{name}}}", "1")
    return api.call(method, f"/webhooks/v2{path}", {"data": {"attributes": {}}} if method != "GET" else None)


def resource(description: dict[str, Any], type_: str) -> dict[str, Any]:
    found: dict[str, Any] = description["components"]["schemas"][f"{type_.lower()}_resource"]["properties"]
    return found


@pytest.mark.parametrize("type_", ["WebhookSubscription", "Event", "Delivery", "AvailableEvent"])
def test_resources_have_the_described_members(description: dict[str, Any], api: Direct, type_: str) -> None:
    paths = [
        path
        for path, operations in description["paths"].items()
        if "get" in operations and _type_at(api, path) == type_
    ]
    assert paths
    attributes = description["components"]["schemas"][f"{type_.lower()}_attributes"]["properties"]
    for path in paths:
        data = call(api, "GET", path).data
        row, listed = (data[0], True) if isinstance(data, list) else (data, False)
        assert set(row["attributes"]) == set(attributes)
        described = resource(description, type_)
        assert set(row.get("relationships", {})) == set(described.get("relationships", {}).get("properties", {}))
        links = set(described["links"]["properties"])
        assert set(row["links"]) == ({"self"} if listed else links)


def _type_at(api: Direct, path: str) -> str:
    data = call(api, "GET", path).data
    type_: str = (data[0] if isinstance(data, list) else data)["type"]
    return type_


def test_every_described_operation_exists(description: dict[str, Any], api: Direct) -> None:
    for path, operations in description["paths"].items():
        for method in ("get", "post", "patch"):
            if method in operations:
                answer = call(api, method.upper(), path)
                assert answer.status in (200, 201, 422), (method, path)
                if answer.status != 422:
                    assert str(answer.status) in operations[method]["responses"]
    assert call(api, "DELETE", "/webhook_subscriptions/{webhook_subscription_id}").status == 204


def test_statuses_are_described(description: dict[str, Any]) -> None:
    text = description["components"]["schemas"]["event_attributes"]["properties"]["status"]["description"]
    for status in ("pending", "delivered", "failed", "skipped", "ignored_failed", "ignored_skipped"):
        assert f"`{status}`" in text
