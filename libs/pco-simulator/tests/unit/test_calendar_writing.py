"""Writes through Calendar's API: what the vendor refuses today, and the world in which events can be written."""

from typing import Any

import pytest

from pco_simulator.direct import Direct
from pco_simulator.world import Mutation, World

EVENTS, INSTANCES = "/calendar/v2/events", "/calendar/v2/event_instances"


@pytest.fixture
def calendar(world: World) -> Direct:
    login = world.logins[0]
    return Direct(world, login.organization_id, login.person_id, version=None, scopes=("calendar",))


@pytest.fixture
def event_id(calendar: Direct) -> str:
    return calendar.get(f"{EVENTS}?per_page=1").ids[0]


@pytest.fixture
def writable(world: World) -> World:
    world.calendar_writes = "writable"
    return world


BLANK = {
    "detail": "can't be blank",
    "status": "422",
    "title": "Validation Error",
    "source": {"parameter": "owner_id"},
    "meta": {"resource": "Event"},
}
FORBIDDEN = {"status": "422", "title": "Forbidden Attribute", "detail": "owner_id cannot be assigned"}


@pytest.mark.parametrize("role", [0, 1])
@pytest.mark.parametrize(
    ("attributes", "owner", "refusal"),
    [
        ({}, None, BLANK),
        ({"name": "New"}, None, BLANK),
        ({"name": "New", "owner_id": "1"}, None, FORBIDDEN),
        ({"name": "New"}, ("Person", "1"), FORBIDDEN),
    ],
)
def test_events_cannot_be_created(
    world: World, calendar: Direct, role: int, attributes: dict[str, str], owner: Any, refusal: dict[str, Any]
) -> None:
    caller = Direct(world, calendar.organization_id, world.logins[role].person_id, version=None)
    before = world.truth(calendar.organization_id)
    answer = caller.post(EVENTS, attributes, **({"owner": owner} if owner else {}))
    assert (answer.status, answer.body) == (422, {"errors": [refusal]})
    assert world.truth(calendar.organization_id) == before


def test_other_methods_of_events_are_no_routes(calendar: Direct, event_id: str) -> None:
    instance_id = calendar.get(f"{EVENTS}/{event_id}/event_instances?per_page=1").ids[0]
    for url in (
        f"{EVENTS}/{event_id}",
        f"{INSTANCES}/{instance_id}",
        "/calendar/v2/feeds/1",
        f"{EVENTS}/{event_id}/owner",
    ):
        for answer in (calendar.patch(url, {"name": "X"}), calendar.delete(url)):
            assert (answer.status, answer.content_type) == (404, "text/html; charset=utf-8")
    for url in (INSTANCES, f"{EVENTS}/{event_id}/event_instances", "/calendar/v2/feeds"):
        assert calendar.post(url, {"name": "X"}).status == 403
    assert calendar.call("PUT", EVENTS).content_type.startswith("text/html")
    assert calendar.call("POST", EVENTS, b"{").error["code"] == "invalid_json"
    assert calendar.call("POST", EVENTS, {}).error["code"] == "invalid_resource_payload"


def test_connections(calendar: Direct, event_id: str) -> None:
    url = f"{EVENTS}/{event_id}/event_connections"
    given = {
        "connected_to_id": "7",
        "connected_to_name": "Signup",
        "connected_to_type": "signup",
        "product_name": "registrations",
    }
    made = calendar.post(url, given)
    assert made.status == 201
    assert made.data["attributes"] == {
        **given,
        "connected_to_url": "https://registrations.planningcenteronline.com/events/7",
    }
    one = f"{url}/{made.data['id']}"
    assert calendar.patch(one, {"connected_to_name": "Other"}).data["attributes"]["connected_to_name"] == "Other"
    assert calendar.patch(one, {"promoted": True}).status == 200
    assert calendar.get(f"{one}?fields[EventConnection]=promoted").data["attributes"] == {"promoted": True}
    assert calendar.get(f"{url}?where[product_name]=registrations").ids == [made.data["id"]]
    assert calendar.patch(one, {"product_name": "ours"}).error["source"]["parameter"] == "product_name"
    assert (
        calendar.post(url, {**given, "connected_to_url": "https://us.example"}).error["detail"]
        == "connected_to_url cannot be assigned"
    )
    assert calendar.post(url, {"connected_to_type": "signup"}).error["source"]["parameter"] == "connected_to_id"
    assert calendar.delete(one).status == 204
    assert calendar.get(one).status == 404
    assert calendar.get("/calendar/v2/event_connections").status == 404


def test_tags(calendar: Direct, event_id: str) -> None:
    group = calendar.post("/calendar/v2/tag_groups", {"name": "Campus"}).data["id"]
    tag = calendar.post(f"/calendar/v2/tag_groups/{group}/tags", {"name": "North", "color": "#112233"})
    assert (tag.status, tag.data["attributes"]["color"]) == (201, "#112233")
    assert calendar.get(f"/calendar/v2/tags/{tag.data['id']}/tag_group").data["id"] == group
    given = calendar.post(f"{EVENTS}/{event_id}/tags", {"name": "Given"}).data["id"]
    assert given in calendar.get(f"{EVENTS}/{event_id}/tags").ids
    instance_id = calendar.get(f"{EVENTS}/{event_id}/event_instances?per_page=1").ids[0]
    own = calendar.post(f"{INSTANCES}/{instance_id}/tags", {"name": "Own"}).data["id"]
    assert {given, own} <= set(calendar.get(f"{INSTANCES}/{instance_id}/tags").ids)
    assert own not in calendar.get(f"{EVENTS}/{event_id}/tags").ids
    assert calendar.patch(f"/calendar/v2/tags/{given}", {"name": "Renamed"}).data["attributes"]["name"] == "Renamed"
    assert calendar.post("/calendar/v2/tags", {"color": "#1"}).error["source"]["parameter"] == "name"
    assert calendar.delete(f"{EVENTS}/{event_id}/tags/{given}").status == 204
    assert calendar.get(f"/calendar/v2/tags/{given}").status == 404
    assert given not in calendar.get(f"{EVENTS}/{event_id}/tags").ids
    assert calendar.delete(f"/calendar/v2/tag_groups/{group}").status == 204
    assert calendar.get(f"/calendar/v2/tags/{tag.data['id']}").status == 404


def test_where_events_can_be_written(writable: World, calendar: Direct) -> None:
    told: list[Mutation] = []
    writable.mutations.append(told.append)
    made = calendar.post(EVENTS, {"name": "Pushed", "summary": "From elsewhere"})
    assert made.status == 201
    event = f"{EVENTS}/{made.data['id']}"
    assert made.data["relationships"]["owner"]["data"]["id"] == calendar.person_id
    assert calendar.get(f"{event}/event_instances").data == []
    times = {"starts_at": "2026-11-01T13:00:00Z", "ends_at": "2026-11-01T15:00:00Z", "location": "Hall"}
    instance = calendar.post(f"{event}/event_instances", times)
    assert instance.status == 201
    shown = instance.data["attributes"]
    assert {name: shown[name] for name in times} == times
    assert (shown["name"], instance.data["relationships"]["event"]["data"]["id"]) == ("Pushed", made.data["id"])
    one = f"{INSTANCES}/{instance.data['id']}"
    moved = calendar.patch(one, {"starts_at": "2026-11-02T13:00:00Z", "name": "Other"}).data["attributes"]
    assert (moved["starts_at"], moved["ends_at"], moved["name"]) == (
        "2026-11-02T13:00:00Z",
        "2026-11-02T15:00:00Z",
        "Other",
    )
    assert calendar.patch(event, {"name": "Renamed"}).data["attributes"]["name"] == "Renamed"
    assert calendar.delete(one).status == calendar.delete(event).status == 204
    assert calendar.get(event).status == 404
    assert {each.by for each in told} == {"api:client"}


@pytest.mark.parametrize(
    ("attributes", "parameter"),
    [({}, "name"), ({"name": ""}, "name"), ({"name": "X", "tags_ids": "1"}, "tag_ids")],
)
def test_values_are_checked_where_events_can_be_written(
    writable: World, calendar: Direct, attributes: dict[str, str], parameter: str
) -> None:
    answer = calendar.post(EVENTS, attributes)
    assert (answer.status, answer.error["source"]["parameter"]) == (422, parameter)


@pytest.mark.parametrize("name", ["owner_id", "starts_at", "approval_status", "location"])
def test_what_no_world_assigns(writable: World, calendar: Direct, name: str) -> None:
    answer = calendar.post(EVENTS, {"name": "X", name: "1"})
    assert (answer.status, answer.error["detail"]) == (422, f"{name} cannot be assigned")
    assert calendar.post(EVENTS, {"name": "X"}, owner=("Person", "1")).error["detail"] == "owner_id cannot be assigned"


def test_a_body_that_no_world_accepts_tells_the_worlds_apart(world: World, calendar: Direct) -> None:
    """What a client can learn from without creating anything."""
    parameters = []
    for writes in ("read-only", "writable"):
        world.calendar_writes = writes
        parameters.append(calendar.post(EVENTS, {}).error["source"]["parameter"])
    assert parameters == ["owner_id", "name"]
