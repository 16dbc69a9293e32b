"""Changes in Planning Center come here by themselves, and what is lost on the way is found and read again.

The tests of this module are chapters: each continues where the one before ended. No sync is started by hand after the
first.
"""

from typing import Any

import httpx
import pytest

from contracts.values import CALENDAR_SYNC, PEOPLE_SYNC
from local_stack.church import Church
from local_stack.stack import Stack

pytestmark = pytest.mark.e2e

WITHIN = 60
"""Seconds: far more than needed, on a busy machine."""
PERSON_UPDATED = "people.v2.events.person.updated"


@pytest.fixture(scope="module")
def processes() -> int:
    """One process of each service."""
    return 1


@pytest.fixture(scope="module")
def live() -> bool:
    """Changes come at once."""
    return True


@pytest.fixture(scope="module")
def vendor() -> dict[str, object]:
    """A vendor without lag, and with the events of Calendar that it does not have yet."""
    return {"rate_limit": 0, "calendar_event_hints": True}


def pco_of(church: Church) -> str:
    return str(church.control.organizations()[0]["id"])


def ours(church: Church) -> list[dict[str, Any]]:
    """Subscriptions in Planning Center."""
    return church.control.subscriptions(pco_of(church))


def statement(church: Church, product: str = "people") -> dict[str, Any]:
    return dict(church.get("/webhooks/status")[product])


def member(church: Church, pco_id: str) -> dict[str, Any] | None:
    """The member who is linked to a person."""
    return next((one for one in church.members() if (one["link"] or {}).get("pco_id") == pco_id), None)


def someone(church: Church, number: int) -> dict[str, Any]:
    """The linked member at a place in the list, who has an e-mail address."""
    return [one for one in church.members(state="linked") if one["email"]][number]


def comes(church: Church, true: Any, what: str) -> None:
    church.eventually(true, what, within=WITHIN)


def test_connecting_subscribes_to_every_change(ada: Church) -> None:
    ada.connect()
    ada.connect("calendar")
    ada.sync()
    for product in ("people", "calendar"):
        comes(ada, lambda product=product: statement(ada, product)["state"] == "live", f"{product} is live")
    names = {one["name"] for one in statement(ada)["names"]}
    assert {"people.v2.events.person.created", "people.v2.events.person_merger.created"} <= names
    assert {one["name"] for one in ours(ada) if one["active"]} >= names


def test_changes_of_people_come_by_themselves(ada: Church) -> None:
    pco, runs = pco_of(ada), len(ada.get("/people/runs")["items"])
    renamed, mailed, merged = (someone(ada, number) for number in (0, 1, 2))
    ada.control.edit_person(pco, renamed["link"]["pco_id"], last_name="Webster")
    comes(ada, lambda: member(ada, renamed["link"]["pco_id"])["last_name"] == "Webster", "a name")  # type: ignore[index]

    [email] = [
        row
        for row in ada.control.dump(pco)
        if row["type"] == "Email" and str(row["attributes"]["person_id"]) == mailed["link"]["pco_id"]
    ][:1]
    edit = {"op": "edit", "type": "Email", "id": email["id"], "attributes": {"address": "webster@example.org"}}
    ada.control.mutate(pco, edit)
    comes(ada, lambda: member(ada, mailed["link"]["pco_id"])["email"] == "webster@example.org", "an address")  # type: ignore[index]

    new = ada.control.create_person(pco, first_name="Willa", last_name="Webhook")
    comes(ada, lambda: member(ada, new) is not None, "a new person")
    ada.control.create_household(pco, "Webhook", new, renamed["link"]["pco_id"])
    comes(ada, lambda: any(one["name"] == "Webhook" for one in ada.families()), "a household")

    ada.control.merge_people(pco, renamed["link"]["pco_id"], merged["link"]["pco_id"])
    comes(
        ada,
        lambda: merged["id"] in {pair["joins"]["member"]["id"] for pair in ada.get("/people/merged")["items"]},
        "a merger",
    )
    assert len(ada.get("/people/runs")["items"]) <= runs + 1, "nobody started a sync"


def test_a_change_of_an_event_comes_by_itself(ada: Church) -> None:
    pco = pco_of(ada)
    there = ada.control.create_event(pco, "Supper", "2027-01-15T18:00", "2027-01-15T19:30")
    event = ada.call(
        "POST",
        "/calendar/events",
        json={
            "title": "Supper",
            "starts_at": "2027-01-15T18:00:00Z",
            "ends_at": "2027-01-15T19:30:00Z",
            "time_zone": "America/New_York",
        },
    )
    ada.call("POST", f"/calendar/events/{event['id']}/link", json={"pco_event_id": there})
    ada.control.edit_event(pco, there, name="Supper for all")
    comes(
        ada, lambda: ada.get(f"/calendar/events/{event['id']}")["title"] == "Supper for all", "the new name of an event"
    )


def test_a_subscription_killed_silently_is_found_and_its_gap_closed(ada: Church) -> None:
    pco = pco_of(ada)
    [dead] = [one for one in ours(ada) if one["name"] == PERSON_UPDATED]
    changed, untouched = someone(ada, 5), someone(ada, 6)
    before = ada.get(f"/people/members/{untouched['id']}/history")["items"]
    ada.control.set_subscription_active(pco, dead["id"], active=False)
    ada.control.edit_person(pco, changed["link"]["pco_id"], last_name="Unheard")
    assert not [one for one in ada.control.deliveries(pco) if changed["link"]["pco_id"] in one["payload"]]
    ada.call("POST", "/webhooks/people/verify")
    comes(ada, lambda: member(ada, changed["link"]["pco_id"])["last_name"] == "Unheard", "what was lost")  # type: ignore[index]
    comes(ada, lambda: all(gap["closed_at"] for gap in statement(ada)["gaps"]), "the gap is closed")
    [gap] = statement(ada)["gaps"]
    assert gap["closed_how"]
    assert gap["cause"]
    assert statement(ada)["state"] == "live"
    assert all(one["active"] for one in ours(ada))
    assert ada.get(f"/people/members/{untouched['id']}/history")["items"] == before


def test_disconnecting_removes_all_and_a_reconnect_has_another_address(ada: Church, stack: Stack) -> None:
    [before] = {one["url"] for one in ours(ada) if one["name"].startswith("people.")}
    ada.call("POST", "/connections/people/disconnect")
    comes(ada, lambda: ada.get("/connections/people/receipt")["finished_at"] is not None, "the disconnect has ended")
    lines = {line["step"]: line for line in ada.get("/connections/people/receipt")["lines"]}
    assert lines["subscriptions"]["outcome"] == "done", lines
    assert not [one for one in ours(ada) if one["name"].startswith("people.")]
    comes(ada, lambda: httpx.post(before, content=b"{}").status_code == 410, "the old address says that it is over")
    ada.connect()
    comes(ada, lambda: statement(ada)["state"] == "live", "people are live again")
    [after] = {one["url"] for one in ours(ada) if one["name"].startswith("people.")}
    assert after != before
    assert httpx.post(before, content=b"{}").status_code == 410
    assert httpx.post(after, content=b"{}").status_code == 401
    for service in (PEOPLE_SYNC, CALENDAR_SYNC):
        assert before.rpartition("/")[2] not in stack.process(service).log.read_text(errors="replace")
