"""Calendar over HTTP: edits by staff, faults, journal, limits and lag as for People."""

import httpx
import pytest

from pco_simulator.testing import Control, SimulatorError

EVENTS, INSTANCES = "/calendar/v2/events", "/calendar/v2/event_instances"


def test_staff_edit_events(api: httpx.Client, control: Control, church: str) -> None:
    before = control.truth(church)
    event_id = control.create_series(church, "Choir", "2027-03-07T09:00", "weekly", count=3, location="Hall")
    event = control.event(church, event_id)
    assert event is not None
    assert [row["starts_at"] for row in event["instances"]] == [
        "2027-03-07T14:00:00Z",
        "2027-03-14T13:00:00Z",
        "2027-03-21T13:00:00Z",
    ]
    first, second, third = (row["id"] for row in event["instances"])
    control.edit_event(church, event_id, name="Choirs", location="Chapel")
    control.edit_instance(church, second, starts_at="2027-03-15T09:00", name="Moved")
    control.delete_instance(church, third)
    added = control.create_instance(church, event_id, "2027-04-01T10:00:00Z", ends_at="2027-04-01T11:00:00Z")
    rows = api.get(f"{EVENTS}/{event_id}/event_instances", params={"order": "starts_at"}).json()["data"]
    names = [(row["id"], row["attributes"]["name"], row["attributes"]["location"]) for row in rows]
    assert names == [(first, "Choirs", "Chapel"), (second, "Moved", "Chapel"), (added, "Choirs", None)]
    asked = control.request_event(church, "Wedding", "2027-05-01T15:00")
    single = control.create_event(church, "Day out", "2027-05-02", all_day_event=True)
    assert control.truth(church)["events"] == before["events"] + 3
    for id_ in (event_id, asked, single):
        control.delete_event(church, id_)
        assert control.event(church, id_) is None
    assert control.truth(church) == before
    with pytest.raises(SimulatorError, match="404"):
        control.delete_event(church, event_id)
    with pytest.raises(SimulatorError, match="ends_at must be after"):
        control.create_event(church, "Odd", "2027-05-02T10:00", "2027-05-02T09:00")


def test_both_worlds_are_a_setting(api: httpx.Client, control: Control) -> None:
    body = {"data": {"type": "Event", "attributes": {"name": "Pushed"}}}
    assert api.post(EVENTS, json=body).json()["errors"][0]["detail"] == "can't be blank"
    control.change_settings(calendar_writes="writable")
    seq = control.mark()
    made = api.post(EVENTS, json=body)
    assert made.status_code == 201
    (entry,) = control.journal(after=seq)
    assert (entry["created_id"], entry["kind"]) == (made.json()["data"]["id"], f"POST {EVENTS}")
    assert api.delete(f"{EVENTS}/{entry['created_id']}").status_code == 204


def test_an_occurrence_moves_while_a_window_is_paged(api: httpx.Client, control: Control, church: str) -> None:
    event_id = control.create_series(church, "Paged", "2029-01-01T09:00", "daily", count=4)
    rows = control.event(church, event_id)["instances"]  # type: ignore[index]
    move = {"op": "edit", "type": "EventInstance", "id": rows[0]["id"], "attributes": {"starts_at": "2029-02-01T09:00"}}
    control.add_fault({"kind": "mutate", "when": "after", "mutations": [move]}, path="event_instances", nth=1)
    seen = []
    for offset in (0, 2):
        query = f"where[starts_at][gte]=2029-01-01T00:00:00Z&order=starts_at&per_page=2&offset={offset}"
        seen += [row["id"] for row in api.get(f"{INSTANCES}?{query}").json()["data"]]
    # The third was skipped, the first came twice.
    assert seen == [rows[0]["id"], rows[1]["id"], rows[3]["id"], rows[0]["id"]]
    control.delete_event(church, event_id)


def test_faults_limits_and_lag_hold_for_calendar(api: httpx.Client, control: Control, church: str) -> None:
    control.omit(included="Event", times=1)
    query = {"include": "event", "per_page": "1"}
    assert "included" not in api.get(INSTANCES, params=query).json()
    assert api.get(INSTANCES, params=query).json()["included"]
    control.add_fault({"kind": "respond", "status": 503}, path="event_instances", times=1)
    assert api.get(INSTANCES).status_code == 503
    control.set_lag(lists_ms=60_000)
    event_id = control.create_event(church, "Late", "2029-01-01T09:00")
    assert api.get(f"{EVENTS}/{event_id}/event_instances").json()["data"] == []
    control.set_lag()
    assert len(api.get(f"{EVENTS}/{event_id}/event_instances").json()["data"]) == 1
    control.change_settings(rate_limit=1)
    api.get(EVENTS)
    assert api.get(EVENTS).status_code == 429
    control.delete_event(church, event_id)
