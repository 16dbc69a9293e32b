"""The simulator's own pages of Calendar in Chromium: by keyboard alone, and nothing that axe finds."""

import re
from collections.abc import Iterator

import pytest
from pages import accessible
from playwright.sync_api import Browser, expect

from pco_simulator.testing import SimulatorProcess

pytestmark = [pytest.mark.e2e, pytest.mark.browser]


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess(people=40) as running:
        yield running


def test_staff_make_and_change_an_event_by_keyboard(simulator: SimulatorProcess, browser: Browser) -> None:
    church = simulator.control.organizations()[0]["id"]
    simulator.control.subscribe_feed(church, "http://127.0.0.1:9/feed.ics", "Platform")
    page = browser.new_page()
    page.goto(f"{simulator.base_url}/churches/{church}/calendar")
    accessible(page)
    new = page.get_by_role("region", name="New event")
    new.get_by_label("Name").focus()
    page.keyboard.type("Harvest Supper")
    page.keyboard.press("Tab")
    page.keyboard.type("12052026")
    page.keyboard.press("Tab")
    page.keyboard.type("0600PM")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("The event was created.")
    accessible(page)
    event_id = page.url.rsplit("/", 1)[1].partition("?")[0]
    (made,) = simulator.control.event(church, event_id)["instances"]  # type: ignore[index]
    assert made["starts_at"] == "2026-12-05T23:00:00Z"
    occurrence = page.get_by_role("form", name=re.compile("Occurrence of 2026-12-05"))
    occurrence.get_by_label("Location").focus()
    page.keyboard.type("Hall")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.get_by_role("status")).to_have_text("The occurrence was saved.")
    assert simulator.control.event(church, event_id)["instances"][0]["location"] == "Hall"  # type: ignore[index]
    page.get_by_role("button", name="Delete event").press("Enter")
    expect(page.get_by_role("status")).to_have_text("The event was deleted.")
    assert simulator.control.event(church, event_id) is None
    series = next(event["id"] for event in simulator.control.events(church) if event.get("rule"))
    page.goto(f"{simulator.base_url}/events/{series}")
    expect(page.get_by_role("heading", name="Sunday Service", level=1)).to_be_visible()
    accessible(page)
    page.close()
