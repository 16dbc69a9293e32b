"""Events changed by staff at Planning Center, and what reads show of it."""

from typing import Any

import pytest

from pco_simulator.direct import Direct, SetClock
from pco_simulator.human import Human
from pco_simulator.state import open_world
from pco_simulator.world import Mutation, World

EVENTS, INSTANCES = "/calendar/v2/events", "/calendar/v2/event_instances"


@pytest.fixture
def calendar(world: World) -> Direct:
    login = world.logins[0]
    return Direct(world, login.organization_id, login.person_id, version=None, scopes=("calendar",))


@pytest.fixture
def church(calendar: Direct) -> str:
    return calendar.organization_id


@pytest.fixture
def told(world: World) -> list[Mutation]:
    """What listeners are told."""
    heard: list[Mutation] = []
    world.mutations.append(heard.append)
    return heard


def instances(calendar: Direct, event_id: str) -> list[dict[str, Any]]:
    return list(calendar.get(f"{EVENTS}/{event_id}/event_instances?order=starts_at&per_page=100").data)


def starts(calendar: Direct, event_id: str) -> list[str]:
    return [row["attributes"]["starts_at"] for row in instances(calendar, event_id)]


def series(human: Human, church: str, **more: Any) -> str:
    """Four Sundays at 9 around the end of DST in New York, 2026-11-01."""
    event = {"name": "Service", "starts_at": "2026-10-18T09:00", "repeats": "weekly", "count": 4, "location": "Hall"}
    return human.create_event(church, {**event, **more})


def test_one_event(calendar: Direct, church: str, human: Human, told: list[Mutation]) -> None:
    event_id = human.create_event(
        church,
        {"name": "Supper", "starts_at": "2026-11-01T18:00", "ends_at": "2026-11-01T19:30", "summary": "Bring a dish"},
    )
    shown = calendar.get(f"{EVENTS}/{event_id}").data
    assert (shown["attributes"]["name"], shown["attributes"]["summary"]) == ("Supper", "Bring a dish")
    assert shown["relationships"]["owner"]["data"]["id"] == calendar.person_id
    (row,) = instances(calendar, event_id)
    attributes = row["attributes"]
    assert (attributes["starts_at"], attributes["ends_at"]) == ("2026-11-01T23:00:00Z", "2026-11-02T00:30:00Z")
    assert (attributes["name"], attributes["location"]) == ("Supper", None)
    assert [(each.type, each.kind, each.by) for each in told] == [
        ("Event", "created", "person"),
        ("EventInstance", "created", "person"),
        ("EventTime", "created", "person"),
    ]


def test_a_series_stays_at_its_hour_when_dst_ends(calendar: Direct, church: str, human: Human) -> None:
    event_id = series(human, church)
    assert starts(calendar, event_id) == [
        "2026-10-18T13:00:00Z",
        "2026-10-25T13:00:00Z",
        "2026-11-01T14:00:00Z",
        "2026-11-08T14:00:00Z",
    ]
    assert len({row["id"] for row in instances(calendar, event_id)}) == 4


@pytest.mark.parametrize("changed", [{"name": "Renamed"}, {"summary": "New"}, {"description": "<b>New</b>"}])
def test_updated_at_ignores_content(
    calendar: Direct, church: str, human: Human, clock: SetClock, changed: dict[str, str]
) -> None:
    event_id = series(human, church)
    before = calendar.get(f"{EVENTS}/{event_id}").data, instances(calendar, event_id)
    clock.advance(60)
    human.edit(church, "Event", event_id, changed)
    after = calendar.get(f"{EVENTS}/{event_id}").data, instances(calendar, event_id)
    assert after[0]["attributes"] == {**before[0]["attributes"], **changed}
    assert after[0]["attributes"]["updated_at"] == before[0]["attributes"]["updated_at"]
    assert [row["attributes"]["updated_at"] for row in after[1]] == [
        row["attributes"]["updated_at"] for row in before[1]
    ]
    if "name" in changed:
        assert {row["attributes"]["name"] for row in after[1]} == {"Renamed"}


def test_updated_at_of_instances_ignores_name_and_location_and_sees_times(
    calendar: Direct, church: str, human: Human, clock: SetClock, world: World
) -> None:
    event_id = series(human, church)
    first = instances(calendar, event_id)[0]

    def stamp() -> tuple[str, Any, Any]:
        shown = calendar.get(f"{INSTANCES}/{first['id']}").data["attributes"]
        return shown["updated_at"], shown["name"], shown["location"]

    clock.advance(60)
    human.edit(church, "EventInstance", first["id"], {"name": "Family Service", "location": "Park"})
    assert stamp() == (first["attributes"]["updated_at"], "Family Service", "Park")
    human.edit(church, "EventInstance", first["id"], {"name": None})
    assert stamp()[1] == "Service"
    human.edit(church, "EventInstance", first["id"], {"starts_at": "2026-10-18T10:00"})
    moved = stamp()[0]
    assert moved > first["attributes"]["updated_at"]
    world.content_touches_updated_at = True
    clock.advance(60)
    human.edit(church, "EventInstance", first["id"], {"location": "Hall"})
    assert stamp()[0] > moved


def test_one_occurrence_moves_and_keeps_its_length_and_id(calendar: Direct, church: str, human: Human) -> None:
    event_id = series(human, church, ends_at="2026-10-18T10:15", setup_minutes=30)
    third = instances(calendar, event_id)[2]
    human.edit(church, "EventInstance", third["id"], {"starts_at": "2026-11-03T18:00"})
    shown = calendar.get(f"{INSTANCES}/{third['id']}?include=event_times").body
    attributes = shown["data"]["attributes"]
    assert (attributes["starts_at"], attributes["ends_at"]) == ("2026-11-03T22:30:00Z", "2026-11-04T00:15:00Z")
    assert [row["attributes"]["name"] for row in shown["included"]] == ["Setup", None]
    assert shown["included"][1]["attributes"]["starts_at"] == "2026-11-03T23:00:00Z"
    # The whole series by an hour: the moved one goes with it.
    before = {row["id"]: row["attributes"]["starts_at"] for row in instances(calendar, event_id)}
    human.edit(church, "Event", event_id, {"starts_at": "2026-10-18T10:00"})
    after = {row["id"]: row["attributes"]["starts_at"] for row in instances(calendar, event_id)}
    assert after.keys() == before.keys()
    assert [int(after[id_][11:13]) - int(before[id_][11:13]) for id_ in after] == [1, 1, 1, 1]


def test_a_deleted_occurrence_just_disappears(
    calendar: Direct, church: str, human: Human, told: list[Mutation]
) -> None:
    event_id = series(human, church)
    second = instances(calendar, event_id)[1]["id"]
    total = calendar.get(INSTANCES).body["meta"]["total_count"]
    told.clear()
    human.delete(church, "EventInstance", second)
    answer = calendar.get(f"{INSTANCES}/{second}")
    assert (answer.status, answer.error["detail"]) == (404, "The resource you requested could not be found")
    assert calendar.get(INSTANCES).body["meta"]["total_count"] == total - 1
    assert [(each.type, each.kind) for each in told] == [("EventTime", "destroyed"), ("EventInstance", "destroyed")]
    # It stays away when the series is edited.
    human.edit(church, "Event", event_id, {"count": 5})
    assert len(instances(calendar, event_id)) == 4
    human.edit(church, "Event", event_id, {"starts_at": "2026-10-25T09:00"})
    moved = starts(calendar, event_id)
    assert (moved[0], len(moved)) == ("2026-10-25T13:00:00Z", 4)
    human.edit(church, "Event", event_id, {"count": 6})
    assert "2026-11-01T14:00:00Z" not in starts(calendar, event_id)
    assert len(instances(calendar, event_id)) == 5


def test_an_event_outlives_its_only_occurrence(calendar: Direct, church: str, human: Human) -> None:
    event_id = human.create_event(church, {"name": "Once", "starts_at": "2026-06-01T10:00"})
    human.delete(church, "EventInstance", instances(calendar, event_id)[0]["id"])
    assert calendar.get(f"{EVENTS}/{event_id}").status == 200
    assert instances(calendar, event_id) == []
    human.edit(church, "Event", event_id, {"starts_at": "2026-06-02T10:00"})
    assert starts(calendar, event_id) == ["2026-06-02T14:00:00Z"]


def test_a_deleted_event_takes_everything_along(calendar: Direct, church: str, human: Human, world: World) -> None:
    first = calendar.get(f"{EVENTS}?per_page=1").ids[0]
    ids = [row["id"] for row in instances(calendar, first)]
    human.delete(church, "Event", first)
    assert calendar.get(f"{EVENTS}/{first}").status == 404
    assert {calendar.get(f"{INSTANCES}/{id_}").status for id_ in ids} == {404}
    view = world.view(church)
    for type_ in ("EventInstance", "EventTime", "ResourceBooking", "EventResourceRequest", "EventConnection"):
        assert not [row for row in view.all(type_) if row.attrs.get("event_id") == int(first)], type_


def test_a_changed_series_keeps_the_ids_of_what_stays(calendar: Direct, church: str, human: Human) -> None:
    event_id = series(human, church)
    rows = instances(calendar, event_id)
    human.edit(church, "EventInstance", rows[1]["id"], {"location": "Park"})
    human.edit(church, "Event", event_id, {"count": 6})
    longer = instances(calendar, event_id)
    assert [row["id"] for row in longer[:4]] == [row["id"] for row in rows]
    assert [row["attributes"]["location"] for row in longer] == ["Hall", "Park", "Hall", "Hall", "Hall", "Hall"]
    human.edit(church, "Event", event_id, {"until": "2026-10-31"})
    assert [row["id"] for row in instances(calendar, event_id)] == [rows[0]["id"], rows[1]["id"]]
    human.edit(church, "Event", event_id, {"repeats": "never"})
    assert [row["id"] for row in instances(calendar, event_id)] == [rows[0]["id"]]
    assert instances(calendar, event_id)[0]["attributes"]["recurrence"] == "None"


def test_a_reissued_series_has_new_ids(calendar: Direct, church: str, human: Human) -> None:
    event_id = series(human, church)
    rows = instances(calendar, event_id)
    human.edit(church, "EventInstance", rows[1]["id"], {"location": "Park"})
    human.edit(church, "Event", event_id, {"reissue": True})
    again = instances(calendar, event_id)
    assert not {row["id"] for row in rows} & {row["id"] for row in again}
    assert [row["attributes"]["starts_at"] for row in again] == [row["attributes"]["starts_at"] for row in rows]
    assert again[1]["attributes"]["location"] == "Park"


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("local_midnight", ("2026-10-31T04:00:00Z", "2026-11-02T05:00:00Z")),
        ("last_second", ("2026-10-31T04:00:00Z", "2026-11-02T04:59:59Z")),
        ("utc_midnight", ("2026-10-31T00:00:00Z", "2026-11-02T00:00:00Z")),
    ],
)
def test_whole_days(
    world: World, calendar: Direct, church: str, human: Human, style: str, expected: tuple[str, str]
) -> None:
    world.all_day_times = style
    days = {"name": "Camp", "starts_at": "2026-10-31", "ends_at": "2026-11-01", "all_day_event": True}
    event_id = human.create_event(church, days)
    (row,) = instances(calendar, event_id)
    assert row["attributes"]["all_day_event"] is True
    assert (row["attributes"]["starts_at"], row["attributes"]["ends_at"]) == expected
    # Back to hours, and to whole days again.
    hours = {"all_day_event": False, "starts_at": "2026-10-31T10:00", "ends_at": "2026-10-31T11:00"}
    human.edit(church, "EventInstance", row["id"], hours)
    assert starts(calendar, event_id) == ["2026-10-31T14:00:00Z"]
    human.edit(church, "EventInstance", row["id"], {"all_day_event": True})
    (row,) = instances(calendar, event_id)
    assert row["attributes"]["starts_at"] == expected[0]


def test_requests_are_told_like_the_vendor_tells_them(
    calendar: Direct, church: str, human: Human, told: list[Mutation], world: World
) -> None:
    asker = next(str(row.id) for row in world.view(church).all("Person"))
    event_id = human.request_event(church, {"name": "Wedding", "starts_at": "2026-06-20T15:00"}, asker)
    shown = calendar.get(f"{EVENTS}/{event_id}").data["attributes"]
    assert (shown["approval_status"], shown["percent_approved"]) == ("P", 0)
    human.edit(church, "Event", event_id, {"approval_status": "A"})
    assert calendar.get(f"{EVENTS}/{event_id}").data["attributes"]["percent_approved"] == 100
    human.delete(church, "Event", event_id)
    assert [each.kind for each in told if each.type == "EventRequest"] == [
        "created",
        "updated",
        "approved",
        "destroyed",
    ]


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"name": "", "starts_at": "2026-06-20T15:00"}, "name can't be blank"),
        ({"name": "X"}, "starts_at can't be blank"),
        ({"name": "X", "starts_at": "soon"}, "starts_at is not a time"),
        ({"name": "X", "starts_at": "2026-06-20T15:00", "ends_at": "2026-06-20T14:00"}, "ends_at must be after"),
        ({"name": "X", "starts_at": "2026-06-20T15:00", "repeats": "daily"}, "needs either a count or a last day"),
        ({"name": "X", "starts_at": "2026-06-20T15:00", "color": "red"}, "nothing that can be set"),
        ({"name": "X", "starts_at": "2026-06-20T15:00", "owner_id": "1"}, "could not be found"),
        ({"name": "X", "starts_at": "2026-06-20T15:00", "approval_status": "Z"}, "not included in the list"),
    ],
)
def test_refusals_change_nothing(
    church: str, human: Human, told: list[Mutation], attributes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        human.create_event(church, attributes)
    assert not told


def test_raw_values_are_delivered(calendar: Direct, church: str, human: Human) -> None:
    event_id = human.create_event(church, {"name": "Odd", "starts_at": "2026-06-20T15:00"})
    (row,) = instances(calendar, event_id)
    human.set_raw(church, "Event", event_id, {"name": None})
    human.set_raw(church, "EventInstance", row["id"], {"ends_at": "2026-06-20T12:00:00Z"})
    shown = calendar.get(f"{INSTANCES}/{row['id']}").data["attributes"]
    assert (shown["name"], shown["ends_at"] < shown["starts_at"]) == (None, True)
    with pytest.raises(ValueError, match="must look like a date"):
        human.set_raw(church, "EventInstance", row["id"], {"starts_at": "soon"})


def test_a_restart_finds_the_calendar(tmp_path: Any, clock: SetClock) -> None:
    world = open_world(tmp_path, people=40, seed=7, clock=clock)
    church = next(iter(world.organizations))
    human = Human(world)
    event_id = human.create_event(
        church, {"name": "Kept", "starts_at": "2026-06-20T15:00", "repeats": "daily", "count": 3}
    )
    first = next(iter(world.view(church).all("Event")))
    human.delete(church, "Event", str(first.id))
    editor = next(login for login in world.logins if login.people_permissions == "Viewer")
    human.set_calendar_role(church, editor.person_id, "Viewer")
    before = [list(world.dump(id_)) for id_ in world.organizations]
    world.close()
    again = open_world(tmp_path, people=40, seed=7, clock=clock)
    assert [list(again.dump(id_)) for id_ in again.organizations] == before
    assert again.login(church, editor.person_id).calendar_role == "Viewer"  # type: ignore[union-attr]
    newer = Human(again).create_event(church, {"name": "Newer", "starts_at": "2026-06-20T15:00"})
    assert int(newer) > int(event_id)
