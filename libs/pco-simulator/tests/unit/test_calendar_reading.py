"""Answers of Calendar to reads, one trap each."""

import operator
import random
from typing import Any

import pytest

from pco_simulator.direct import Direct, SetClock
from pco_simulator.human import Human
from pco_simulator.world import World

EVENTS, INSTANCES = "/calendar/v2/events", "/calendar/v2/event_instances"


@pytest.fixture
def calendar(world: World) -> Direct:
    """The administrator of the first church, without a version header."""
    login = world.logins[0]
    return Direct(world, login.organization_id, login.person_id, version=None, scopes=("calendar",))


@pytest.fixture
def church(calendar: Direct) -> str:
    return calendar.organization_id


def instances(calendar: Direct, event_id: str, more: str = "") -> list[dict[str, Any]]:
    answer = calendar.get(f"{EVENTS}/{event_id}/event_instances?order=starts_at&per_page=100{more}")
    assert answer.status == 200
    return list(answer.data)


def times(row: dict[str, Any]) -> tuple[str, str]:
    return row["attributes"]["starts_at"], row["attributes"]["ends_at"]


def everything(calendar: Direct, url: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    following: str | None = url
    while following:
        answer = calendar.get(following)
        rows += answer.data
        following = answer.body["links"].get("next")
    return rows


def test_events_have_no_dates_and_no_order(calendar: Direct) -> None:
    answer = calendar.get(f"{EVENTS}?order=-name")
    assert answer.headers["X-PCO-API-Processed-As-Version"] == "2022-07-07"
    assert not [name for name in answer.data[0]["attributes"] if name.startswith(("starts", "ends"))]
    assert "can_order_by" not in answer.body["meta"]
    assert answer.ids == sorted(answer.ids, key=int)


def test_the_lists_of_events_and_instances_differ(calendar: Direct) -> None:
    events = {row["id"] for row in everything(calendar, f"{EVENTS}?per_page=100")}
    rows = everything(calendar, f"{INSTANCES}?per_page=100&fields[EventInstance]=kind,event")
    of_instances = {row["relationships"]["event"]["data"]["id"] for row in rows}
    (empty,), (blockout,) = events - of_instances, of_instances - events
    assert instances(calendar, empty) == []
    assert calendar.get(f"{EVENTS}/{blockout}").status == 200
    assert [row["attributes"]["kind"] for row in rows].count("blockout") == 1
    assert calendar.get(f"{INSTANCES}?where[kind]=blockout").body["meta"]["total_count"] == 1


def test_a_window_finds_what_overlaps_it_in_order(calendar: Direct, church: str, human: Human) -> None:
    long = human.create_event(
        church, {"name": "Retreat", "starts_at": "2026-07-01", "ends_at": "2026-07-20", "all_day_event": True}
    )
    window = "where[starts_at][lte]=2026-07-14T04:00:00Z&where[ends_at][gte]=2026-07-07T04:00:00Z&order=starts_at"
    found = everything(calendar, f"{INSTANCES}?{window}&per_page=100")
    assert instances(calendar, long)[0]["id"] in [row["id"] for row in found]
    whole = everything(calendar, f"{INSTANCES}?per_page=100")
    overlapping = [r for r in whole if times(r)[0] <= "2026-07-14T04:00:00Z" and times(r)[1] >= "2026-07-07T04:00:00Z"]
    overlapping.sort(key=lambda row: (times(row)[0], int(row["id"])))
    assert [row["id"] for row in found] == [row["id"] for row in overlapping]
    assert len(found) > 2


def test_a_window_of_many_instances_is_a_stretch_of_the_index(world: World, calendar: Direct, church: str) -> None:
    tables = world.church(church).tables["EventInstance"]
    with world.change(church, "test") as change:
        event = change.create("Event", {"name": "Many"})
        for number in range(20_000):
            day, hour = divmod(number, 24)
            at = f"{2030 + day // 336}-{day % 336 // 28 + 1:02}-{day % 28 + 1:02}T{hour:02}"
            span = {"starts_at": f"{at}:00:00Z", "ends_at": f"{at}:59:00Z", "seconds": 3540, "slot": str(number)}
            change.create("EventInstance", {"event_id": event.id, **span})
    assert len(tables.rows) > 20_000
    window = "where[starts_at][lte]=2032-03-20T00:00:00Z&where[ends_at][gte]=2032-03-15T00:00:00Z"
    url = f"{INSTANCES}?{window}&order=starts_at&per_page=100"
    calendar.get(url)
    looked_at = [0]
    rows = tables.rows

    class Counting(dict[int, Any]):
        def get(self, *key: Any) -> Any:
            looked_at[0] += 1
            return super().get(*key)

    tables.rows = Counting(rows)
    world.church(church).version += 1
    answer = calendar.get(url)
    assert (answer.body["meta"]["total_count"], answer.body["meta"]["count"]) == (121, 100)
    assert looked_at[0] < 2_000


def test_every_combination_of_ranges_and_orders_finds_the_same_rows(
    world: World, calendar: Direct, church: str, human: Human, clock: SetClock
) -> None:
    """Whichever index answers, and in the recent past as well."""
    chance = random.Random(11)
    world.lag.filters_ms = 5_000
    view = world.view(church)
    before = {row.id: dict(row.attrs) for row in view.all("EventInstance")}
    for id_ in chance.sample(sorted(before), 20):
        human.edit(church, "EventInstance", str(id_), {"starts_at": f"2026-{chance.randrange(1, 13):02}-15T08:00"})
    now = {row.id: dict(row.attrs) for row in world.view(church).all("EventInstance")}
    compare = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}
    fields = ("starts_at", "ends_at", "created_at", "updated_at")
    for case in range(100):
        rows = before
        if case == 50:
            clock.advance(6)
        if case >= 50:
            rows = now
        wanted = [
            (
                chance.choice(fields),
                chance.choice(list(compare)),
                f"20{chance.randrange(25, 28)}-{chance.randrange(1, 13):02}-01T13:00:00Z",
            )
            for _ in range(chance.randrange(1, 4))
        ]
        wanted = list({(name, op): (name, op, value) for name, op, value in wanted}.values())
        name, down = chance.choice(fields), chance.random() < 0.3
        found = [
            id_ for id_, attrs in rows.items() if all(compare[op](attrs[field], value) for field, op, value in wanted)
        ]
        found.sort()
        found.sort(key=lambda id_: rows[id_][name], reverse=down)
        query = "&".join(f"where[{field}][{op}]={value}" for field, op, value in wanted)
        answer = calendar.get(
            f"{INSTANCES}?{query}&order={'-' if down else ''}{name}&per_page=100&fields[EventInstance]=id"
        )
        assert answer.body["meta"]["total_count"] == len(found), query
        assert answer.ids == [str(id_) for id_ in found[:100]], query


@pytest.mark.parametrize("name", ["description", "image_url", "kind"])
def test_some_attributes_come_only_when_named(calendar: Direct, name: str) -> None:
    assert name not in calendar.get(f"{INSTANCES}?per_page=1").data[0]["attributes"]
    named = calendar.get(f"{INSTANCES}?per_page=1&fields[EventInstance]=name,{name}").data[0]
    assert set(named["attributes"]) == {"name", name}
    assert "relationships" not in named


def test_pictures_have_signed_addresses_that_expire(calendar: Direct, clock: SetClock) -> None:
    def address() -> str | None:
        (row,) = calendar.get(f"{EVENTS}?per_page=1").data
        return str(row["attributes"]["image_url"])

    first = address()
    assert address() == first
    clock.advance(3600)
    assert address() != first


def test_included_levels(calendar: Direct) -> None:
    answer = calendar.get(
        f"{INSTANCES}?per_page=3&include=event,event.owner,event.tags,event_times,tags,resource_bookings"
    )
    types = {row["type"] for row in answer.body["included"]}
    assert {"Event", "Person", "EventTime", "Tag", "ResourceBooking"} == types
    event = next(row for row in answer.body["included"] if row["type"] == "Event")
    assert event["relationships"]["owner"]["data"]["type"] == "Person"
    assert answer.data[0]["relationships"]["event"]["data"]["id"] == event["id"]
    # `owner` of an instance is no include (planningcenter/developers#1356), and is ignored.
    plain = calendar.get(f"{INSTANCES}?per_page=1&include=owner").body
    assert plain["included"] == []
    assert "owner" not in plain["data"][0]["relationships"]


def test_setup_and_teardown_widen_the_times_but_not_the_public_ones(calendar: Direct) -> None:
    event_id = calendar.get(f"{EVENTS}?per_page=1").ids[0]
    first = instances(calendar, event_id)[0]
    shown = first["attributes"]
    assert (shown["starts_at"], shown["published_starts_at"]) == ("2026-01-04T13:00:00Z", "2026-01-04T14:00:00Z")
    assert (shown["published_ends_at"], shown["ends_at"]) == ("2026-01-04T15:15:00Z", "2026-01-04T15:45:00Z")
    rows = calendar.get(f"{INSTANCES}/{first['id']}/event_times?order=starts_at").data
    assert [row["attributes"]["name"] for row in rows] == ["Setup", None, "Teardown"]
    assert [row["attributes"]["visible_on_widget_and_ical"] for row in rows] == [False, True, False]
    assert calendar.get(f"{INSTANCES}/{first['id']}/event_times/{rows[0]['id']}").status == 404
    assert calendar.get(f"{INSTANCES}/{first['id']}/event_times/{rows[0]['id']}/event").data["id"] == event_id


def test_public_times_are_null_while_an_event_is_hidden(calendar: Direct, church: str, human: Human) -> None:
    event_id = human.create_event(church, {"name": "Board", "starts_at": "2026-05-01T19:00"})
    (row,) = instances(calendar, event_id)
    assert {row["attributes"][name] for name in ("published_starts_at", "published_ends_at", "church_center_url")} == {
        None
    }
    human.edit(church, "Event", event_id, {"visible_in_church_center": True})
    (row,) = instances(calendar, event_id)
    assert row["attributes"]["published_starts_at"] == "2026-05-01T23:00:00Z"


def test_single_registrations_have_no_event_times(calendar: Direct) -> None:
    (feed,) = calendar.get("/calendar/v2/feeds").data
    events = everything(calendar, f"{EVENTS}?where[feed_id]={feed['id']}")
    assert events
    for event in events:
        (row,) = instances(calendar, event["id"], "&include=event_times")
        assert row["relationships"]["event_times"]["data"] == []
        assert calendar.get(f"{EVENTS}/{event['id']}/feed").data["attributes"]["feed_type"] == "registrations"
    assert calendar.get(f"{EVENTS}/{calendar.get(EVENTS).ids[0]}/feed").status == 404


def test_recurrence_is_coarse_and_said_three_times(calendar: Direct, church: str, human: Human) -> None:
    fortnightly = {"name": "Group", "starts_at": "2026-04-07T19:00", "repeats": "weekly", "interval": 2, "count": 3}
    shown = instances(calendar, human.create_event(church, fortnightly))[1]["attributes"]
    assert shown["recurrence"] == "Weekly"
    assert shown["compact_recurrence_description"] == "Every 2 weeks on Tuesday"
    assert shown["recurrence_description"] == "Every 2 weeks on Tuesday, 3 times"
    single = instances(calendar, human.create_event(church, {"name": "Once", "starts_at": "2026-04-07T19:00"}))[0]
    assert single["attributes"]["recurrence"] == "None"


def test_filters(calendar: Direct, church: str, human: Human) -> None:
    past = human.create_event(church, {"name": "Past", "starts_at": "2025-12-01T10:00"})
    asked = human.request_event(church, {"name": "Asked", "starts_at": "2026-12-01T10:00"}, None)
    other = human.create_event(church, {"name": "Other", "starts_at": "2026-12-02T10:00", "approval_status": "R"})
    ids = {
        name: instances(calendar, id_)[0]["id"] for name, id_ in (("past", past), ("asked", asked), ("other", other))
    }

    def found(query: str) -> set[str]:
        rows = {row["id"] for row in everything(calendar, f"{INSTANCES}?per_page=100&{query}")}
        return {name for name, id_ in ids.items() if id_ in rows}

    assert found("filter=all") == found("") == {"past", "asked", "other"}
    assert found("filter=future") == {"asked", "other"}
    assert found("filter=approved") == {"past"}
    assert found("filter=pending_rejected,future") == {"asked", "other"}
    assert found("filter=not_pending_event_requests") == {"past", "other"}
    assert found("filter=subscriber") == found("filter=lost") == set()
    assert found("where[event_name]=other") == {"other"}
    assert found("where[event_name]=%25ther") == {"other"}
    events = [row["id"] for row in everything(calendar, f"{EVENTS}?filter=future&per_page=100")]
    assert asked in events
    assert past not in events
    assert calendar.get(f"{EVENTS}?where[approval_status]=R&where[name]=Other").ids == [other]


def test_owner_filters_are_of_the_caller(calendar: Direct, church: str, human: Human, world: World) -> None:
    second = world.logins[1].person_id
    theirs = human.create_event(church, {"name": "Theirs", "starts_at": "2026-12-01T10:00", "owner_id": second})
    other = Direct(world, church, second, version=None, scopes=("calendar",))
    assert [row["id"] for row in instances(calendar, theirs)] == other.get(f"{INSTANCES}?filter=owner").ids
    assert other.get("/calendar/v2/people?filter=event_owners").body["meta"]["total_count"] == 2


def test_tags_of_events_are_tags_of_instances(calendar: Direct) -> None:
    tags = {row["attributes"]["name"]: row["id"] for row in calendar.get("/calendar/v2/tags").data}
    tagged = calendar.get(f"{INSTANCES}?where[tag_ids]={tags['Youth']}&per_page=100&order=starts_at")
    assert tagged.body["meta"]["total_count"] >= 102
    first = tagged.data[0]
    assert calendar.get(f"{INSTANCES}/{first['id']}/tags").ids == [tags["Youth"]]
    assert (
        calendar.get(f"/calendar/v2/tags/{tags['Youth']}/event_instances").body["meta"]["total_count"]
        == tagged.body["meta"]["total_count"]
    )
    individual = calendar.get("/calendar/v2/tags?filter=individual")
    assert [row["attributes"]["name"] for row in individual.data] == ["Church-wide"]


def test_calendar_ids_work_without_being_listed(calendar: Direct) -> None:
    answer = calendar.get(f"{INSTANCES}?where[calendar_ids]=default")
    assert "calendar_ids" not in answer.body["meta"]["can_query_by"]
    assert answer.body["meta"]["total_count"] == calendar.get(INSTANCES).body["meta"]["total_count"]
    assert calendar.get(f"{INSTANCES}?where[calendar_ids]=99").body["meta"]["total_count"] == 0
    assert calendar.get("/calendar/v2/calendars/default").data["id"] == "default"


def test_unknown_filters_are_ignored(calendar: Direct) -> None:
    total = calendar.get(INSTANCES).body["meta"]["total_count"]
    for query in ("where[name]=x", "where[event][name]=x", "filter=upcoming", "where[starts_at][near]=2026"):
        assert calendar.get(f"{INSTANCES}?{query}").body["meta"]["total_count"] == total, query


def test_pages_end_at_a_hundred(calendar: Direct) -> None:
    body = calendar.get(f"{INSTANCES}?per_page=500").body
    assert body["meta"]["count"] == 100
    assert body["meta"]["next"] == {"offset": 100}
    assert body["meta"]["parent"] == {"id": calendar.organization_id, "type": "Organization"}


def test_ids_have_eight_and_nine_digits(calendar: Direct) -> None:
    ids = [row["id"] for row in everything(calendar, f"{INSTANCES}?per_page=100&fields[EventInstance]=name")]
    assert {len(id_) for id_ in ids} == {8, 9}
    assert ids == sorted(ids, key=int)


def test_versions(calendar: Direct) -> None:
    calendar.version = "2021-01-01"
    old = calendar.get(f"{EVENTS}?per_page=1").data[0]["attributes"]
    assert {"details", "archived_at"} <= old.keys()
    assert "summary" not in old
    assert "compact_recurrence_description" not in calendar.get(f"{INSTANCES}?per_page=1").data[0]["attributes"]
    calendar.version = "2026-06-22"
    newest = calendar.get(f"{EVENTS}?per_page=1")
    assert newest.headers["X-PCO-API-Processed-As-Version"] == "2026-06-22"
    assert "included" not in newest.body
    calendar.version = "2017-01-01"
    assert calendar.get(EVENTS).error["code"] == "unsupported_version_error"


def test_the_zone_has_the_name_that_rails_gives_it(calendar: Direct) -> None:
    assert calendar.get("/calendar/v2").data["attributes"]["time_zone"] == "Eastern Time (US & Canada)"
    assert "onboarding" in calendar.get("/calendar/v2?fields[Organization]=onboarding").data["attributes"]


def test_roles(world: World, human: Human, church: str) -> None:
    editor = next(login for login in world.logins if login.people_permissions == "Editor")
    api = Direct(world, church, editor.person_id, version=None, scopes=("calendar",))
    tag = {"name": "By role"}
    statuses = []
    for role in ("Editor", "Viewer", "No Access", "Administrator"):
        human.set_calendar_role(church, editor.person_id, role)
        statuses.append((api.get("/calendar/v2/me").status, api.post("/calendar/v2/tags", tag).status))
    assert statuses == [(200, 201), (200, 403), (403, 403), (200, 201)]
    viewer = next(login for login in world.logins if login.people_permissions == "Viewer")
    stranger = Direct(world, church, viewer.person_id, version=None)
    assert stranger.get(EVENTS).error["detail"] == "You do not have access to this resource"
    human.set_calendar_role(church, viewer.person_id, "Viewer")
    me = stranger.get("/calendar/v2/me").data["attributes"]
    assert (me["has_access"], me["event_permissions_type"], me["can_edit_rooms"]) == (True, "Viewer", False)
    with pytest.raises(ValueError, match="is none of"):
        human.set_calendar_role(church, viewer.person_id, "Deacon")


def test_reads_lag_as_those_of_people_do(
    world: World, calendar: Direct, church: str, human: Human, clock: SetClock
) -> None:
    world.lag.lists_ms = world.lag.filters_ms = 5_000
    event_id = human.create_event(church, {"name": "New", "starts_at": "2026-06-01T10:00"})
    assert calendar.get(f"{EVENTS}/{event_id}").status == 200
    assert instances(calendar, event_id) == []
    clock.advance(6)
    (row,) = instances(calendar, event_id)
    human.edit(church, "Event", event_id, {"name": "Newer"})
    human.edit(church, "EventInstance", row["id"], {"starts_at": "2026-06-02T10:00"})
    assert instances(calendar, event_id) == [row]
    assert calendar.get(f"{INSTANCES}/{row['id']}").data["attributes"]["name"] == "Newer"
    clock.advance(6)
    assert instances(calendar, event_id)[0]["attributes"]["starts_at"] == "2026-06-02T14:00:00Z"


def test_included_events_can_be_behind(world: World, calendar: Direct, church: str, human: Human) -> None:
    world.lag.past_ms = 60_000
    event_id = human.create_event(church, {"name": "New", "starts_at": "2026-06-01T10:00"})
    world.lag.includes_ms = 60_000
    answer = calendar.get(f"{EVENTS}/{event_id}/event_instances?include=event")
    assert answer.data[0]["relationships"]["event"]["data"]["id"] == event_id
    assert answer.body["included"] == []


def test_new_events_can_be_slow_to_appear(
    world: World, calendar: Direct, church: str, human: Human, clock: SetClock
) -> None:
    world.lag.created_ms = 5_000
    known = calendar.get(f"{EVENTS}?per_page=1").ids[0]
    event_id = human.create_event(church, {"name": "New", "starts_at": "2026-06-01T10:00"})
    human.edit(church, "Event", known, {"name": "Changed"})
    assert calendar.get(f"{EVENTS}/{event_id}").status == 404
    assert calendar.get(f"{EVENTS}/{known}").data["attributes"]["name"] == "Changed"
    clock.advance(6)
    assert calendar.get(f"{EVENTS}/{event_id}").status == 200
