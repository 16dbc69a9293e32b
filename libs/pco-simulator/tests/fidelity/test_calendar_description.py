"""Compares Calendar with the vendor's own OpenAPI description of 2022-07-07 and with the one recorded event."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pco_simulator.calendar.catalog import COLLECTIONS, KINDS
from pco_simulator.calendar.kind import ROOT
from pco_simulator.calendar.organization import ORGANIZATION
from pco_simulator.calendar.person import PERSON
from pco_simulator.direct import Direct, SetClock
from pco_simulator.kind import NOTHING, Context
from pco_simulator.rows import Row
from pco_simulator.state import open_world
from pco_simulator.world import World

DATA = Path(__file__).parents[5] / "shared" / "pco-data"
FILE = DATA / "openapi" / "calendar-2022-07-07.json"
EVENT = DATA / "calendar" / "recorded-event-2025-12.json"

pytestmark = pytest.mark.skipif(
    not FILE.is_file(), reason="THE VENDOR'S OPENAPI DESCRIPTION IS ABSENT: nothing is compared"
)

DESCRIBED = [
    *(kind for kind in KINDS.values() if kind.type not in ("CalendarAccess", "EventRequest")),
    PERSON,
    ORGANIZATION,
]
OUTSIDE = {
    "attachments", "conflicts", "job_statuses", "report_templates", "resource_approval_groups", "resource_folders",
    "resource_questions", "room_setups",
}  # fmt: skip
"""Collections that are always empty here."""


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text())
    return found


@pytest.fixture(scope="module")
def world() -> World:
    return open_world(None, people=100, seed=3, clock=SetClock(datetime(2026, 3, 1, tzinfo=UTC)))


@pytest.fixture(scope="module")
def api(world: World) -> Direct:
    login = world.logins[0]
    return Direct(world, login.organization_id, login.person_id, version="2022-07-07", scopes=("calendar",))


def schema(description: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = description["components"]["schemas"][name]
    return found


@pytest.mark.parametrize("kind", DESCRIBED, ids=lambda kind: kind.type)
def test_attributes_relationships_and_links(description: dict[str, Any], world: World, kind: Any) -> None:
    organization_id = next(iter(world.organizations))
    view = world.view(organization_id)
    described = schema(description, f"{kind.type.lower()}_resource")["properties"]
    attributes = schema(description, f"{kind.type.lower()}_attributes")["properties"]
    everything = Context(view, "2022-07-07", ROOT, {kind.type: frozenset(kind.only_with_fields)}, int(organization_id))
    row = next(iter(view.tables[kind.source.type].rows.values()), Row(1, {}))
    assert set(kind.attributes(everything, row)) == set(attributes)
    rarely = {name for name, value in attributes.items() if "Only available when requested" in str(value)}
    usual = Context(view, "2022-07-07", ROOT, {}, int(organization_id))
    assert set(kind.attributes(usual, row)) == set(attributes) - rarely
    assert set(kind.relationships(usual, row)) == set(described.get("relationships", {}).get("properties", {}))
    assert set(kind.links(usual, row)) | {"self"} == set(described["links"]["properties"])


@pytest.mark.parametrize("collection", sorted(COLLECTIONS.keys() - OUTSIDE))
def test_queries_orders_includes_and_filters(description: dict[str, Any], api: Direct, collection: str) -> None:
    described = schema(description, f"organization_{collection}_collection_envelope")["properties"]["meta"][
        "properties"
    ]
    meta = api.get(f"{ROOT}/{collection}").body["meta"]
    for name in ("can_query_by", "can_order_by", "can_include", "can_filter"):
        theirs = described[name]["enum"][0] if name in described else []
        assert sorted(meta.get(name, [])) == sorted(theirs), name


def test_every_described_path_answers(description: dict[str, Any], api: Direct, world: World) -> None:
    """Paths with an id of an existing record answer 200; those to an edge that is empty or unset answer 404."""
    view = world.view(api.organization_id)
    instance = next(
        row for row in view.all("EventInstance") if view.children("ResourceBooking", "event_instance_id", row.id)
    )
    times = view.children("EventTime", "event_instance_id", instance.id)
    bookings = view.children("ResourceBooking", "event_instance_id", instance.id)
    event = view.get("Event", instance.attrs["event_id"])
    assert event is not None
    feed, group = next(iter(view.all("Feed"))), next(iter(view.all("TagGroup")))
    tag = next(row for row in view.all("Tag") if row.attrs.get("tag_group_id"))
    connected = next(iter(view.all("EventConnection")))
    request = next(iter(view.all("EventResourceRequest")))
    ids = {
        "event_id": event.id, "event_instance_id": instance.id, "event_time_id": times[0].id, "feed_id": feed.id,
        "tag_id": tag.id, "tag_group_id": group.id, "calendar_id": "default", "person_id": api.person_id,
        "owner_id": api.person_id, "created_by_id": api.person_id, "updated_by_id": api.person_id,
        "organization_id": api.organization_id, "resource_id": bookings[0].attrs["resource_id"],
        "resource_booking_id": bookings[0].id, "event_resource_request_id": request.id,
        "event_connection_id": connected.id,
    }  # fmt: skip
    statuses: dict[str, int] = {}
    for path, methods in description["paths"].items():
        if "get" in methods:
            url = re.sub(r"\{(\w+)\}", lambda found: str(ids.get(found[1], 1)), path)
            statuses[path] = api.get(ROOT + url).status
    unanswered = {path for path, status in statuses.items() if status == 404}
    assert set(statuses.values()) == {200, 404}
    mine = {path for path in unanswered if not (OUTSIDE | {"required_approvals"}) & set(path.split("/"))}
    assert mine == {
        # Not from a feed; without a folder and room setup.
        "/events/{event_id}/feed",
        "/events/{event_id}/feed/{feed_id}",
        "/resources/{resource_id}/resource_folder",
        "/resources/{resource_id}/resource_folder/{resource_folder_id}",
        "/event_resource_requests/{event_resource_request_id}/room_setup",
        "/event_resource_requests/{event_resource_request_id}/room_setup/{room_setup_id}",
        # Records whose ids belong to other ones.
        "/events/{event_id}/event_connections/{event_connection_id}",
        "/events/{event_id}/tags/{tag_id}",
        "/event_instances/{event_instance_id}/tags/{tag_id}",
        "/tags/{tag_id}/event_instances/{event_instance_id}",
        "/tags/{tag_id}/events/{event_id}",
        "/tag_groups/{tag_group_id}/events/{event_id}",
        "/people/{person_id}/event_resource_requests/{event_resource_request_id}",
        "/event_resource_requests/{event_resource_request_id}/answers/{answer_id}",
    }


def test_the_recorded_event(api: Direct) -> None:
    recorded = json.loads(EVENT.read_text())["response"]["data_0"]
    shown = api.get(f"{ROOT}/events").data[0]
    # Not there in 2025-12, described since.
    assert set(shown["attributes"]) == {*recorded["attributes"], "link_only"}
    assert list(shown["attributes"]) == sorted(shown["attributes"])
    assert shown["relationships"]["calendar"] == recorded["relationships"]["calendar"]
    assert set(shown["relationships"]) == set(recorded["relationships"])
    ours, theirs = (
        re.sub(r"\d+|=[0-9a-f]{40}|signature=removed", "", re.sub(r"(key=uploads%2F).*?&", r"\1&", str(url)))
        for url in (shown["attributes"]["image_url"], recorded["attributes"]["image_url"])
    )
    assert sorted(ours.replace("signature", "").split("&")) == sorted(theirs.split("&"))


def test_only_read_methods_are_described_for_events(description: dict[str, Any], api: Direct) -> None:
    for path in ("/events", "/events/{event_id}", "/event_instances", "/event_instances/{event_instance_id}"):
        assert not {"post", "patch", "delete"} & description["paths"][path].keys()
    assert NOTHING in COLLECTIONS.values()
