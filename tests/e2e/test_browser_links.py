"""Links of events with Planning Center in Chromium: made, synced, put back, pushed, handed off, taken away.

The tests of this module are chapters: each continues where the one before ended.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest
from pages import Windows, accessible, shot, tab_to, tab_until, typed
from playwright.sync_api import Dialog, Locator, Page, expect

from local_stack.church import Church
from local_stack.stack import Stack
from pco_simulator.testing import Control

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

ZONE: Final = "America/New_York"
WEEK: Final = timedelta(days=7)


@dataclass
class Town:
    """Ada of this file's church, and Planning Center's Calendar of it."""

    here: Church
    id: str
    """Id of the church in Planning Center."""
    login: int
    """Position of its administrator among all who can sign in there."""
    person: str
    """Their id."""

    @property
    def control(self) -> Control:
        return self.here.control

    def there(self, pco_event_id: str) -> dict[str, Any]:
        found = self.control.event(self.id, pco_event_id)
        assert found is not None
        return found

    def named(self, name: str) -> list[dict[str, Any]]:
        return [one for one in self.control.events(self.id) if one["name"] == name]

    def event(self, title: str) -> dict[str, Any]:
        """The one event here of this title."""
        found = [one for one in self.here.all("/calendar/events", q=title) if one["title"] == title]
        assert len(found) == 1, found
        return dict(self.here.get(f"/calendar/events/{found[0]['id']}"))

    def shown(self, event: dict[str, Any], pco_event_id: str, **there: str) -> None:
        """Wait until Planning Center's reads, which lag, show these values."""
        path = f"/calendar/events/{event['id']}/comparison"

        def compared() -> bool:
            fields = self.here.get(path, pco_event_id=pco_event_id)["fields"]
            return there.items() <= {one["field"]: one["there"] for one in fields}.items()

        self.here.eventually(compared, "Planning Center shows the edit")

    def add(self, title: str, starts_at: datetime, **more: Any) -> dict[str, Any]:
        ends = starts_at + timedelta(hours=1)
        body = {"title": title, "starts_at": starts_at.isoformat(), "ends_at": ends.isoformat(), "time_zone": ZONE}
        return dict(self.here.call("POST", "/calendar/events", json=body | more))

    def pair(self, title: str, at: datetime) -> tuple[dict[str, Any], str]:
        """A linked event, and its id there."""
        pco = self.control.create_event(self.id, title, iso(at), iso(at + timedelta(hours=1)))
        event = self.add(title, at)
        path = f"/calendar/events/{event['id']}/comparison"
        self.here.eventually(lambda: self.here.get(path, pco_event_id=pco)["note"] is None, "reads show its date")
        return dict(self.here.call("POST", f"/calendar/events/{event['id']}/link", json={"pco_event_id": pco})), pco

    def checked(self, town: Stack) -> None:
        """Wait until a check of linked events has begun and ended, which is due now."""
        before = self.here.get("/calendar/status")["checked_at"]
        self._due(town, "0 minutes")
        self.here.eventually(lambda: self.here.get("/calendar/status")["checked_at"] != before, "the check has ended")
        self.unhurried(town)

    def unhurried(self, town: Stack) -> None:
        """Begin no check during the next chapters: it would take over what they sync by hand."""
        self.here.eventually(lambda: self.here.get("/calendar/status")["checked_at"], "the first check has ended")
        self._due(town, "100 minutes")

    def _due(self, town: Stack, ahead: str) -> None:
        after = f"now() + interval '{ahead}' WHERE pco_organization_id = '{self.id}'"
        town.postgres.sql(f"UPDATE calendar_connection SET next_poll_at = {after}", "calendar_sync")


@pytest.fixture(scope="module")
def town_of(town: Stack, number: int) -> Iterator[Town]:
    with Church.of(town, f"ada{number}") as church:
        *before, mine = church.control.organizations()[:number]
        yield Town(church, str(mine["id"]), sum(len(one["logins"]) for one in before), mine["logins"][0]["person_id"])


def day(days: int, hour: int = 10) -> datetime:
    """An hour of the church's clocks, so many days ahead."""
    local = datetime.now(UTC).astimezone(ZoneInfo(ZONE)) + timedelta(days=days)
    return local.replace(hour=hour, minute=0, second=0, microsecond=0)


def iso(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def section(page: Page) -> Locator:
    return page.get_by_role("region", name="Planning Center", exact=True)


def connect(page: Page, town_of: Town) -> None:
    page.goto("/")
    tab_to(page, "button", "Connect Planning Center Calendar").press("Enter")
    page.get_by_role("radio").nth(town_of.login).check()
    page.get_by_role("button", name="Allow").press("Enter")
    expect(page.get_by_text(re.compile("^Planning Center Calendar is connected"))).to_be_visible()


def test_calendar_is_connected(page: Page, town_of: Town, town: Stack) -> None:
    card = page.get_by_role("region", name="Planning Center Calendar")
    expect(card).to_contain_text("Not connected")
    connect(page, town_of)
    expect(card.get_by_text("Connected", exact=True).first).to_be_visible()
    expect(card).to_contain_text("Begin with the first linked event")
    expect(card.get_by_role("button", name="Sync all linked events")).to_be_disabled()
    expect(card.get_by_role("link", name="View events")).to_have_attribute("href", "/events")
    accessible(page)
    shot(page, "links-card-connected")
    town_of.unhurried(town)


def test_what_is_overwritten_is_shown_before_a_link(page: Page, town_of: Town) -> None:
    at = day(10)
    pco = town_of.control.create_event(
        town_of.id, "Pumpkin Feast", iso(at + timedelta(hours=1)), location="Main Hall", summary="Bring a dish."
    )
    event = town_of.add("Pumpkin supper", at, location="Hall")
    page.goto(f"/events/{event['id']}")
    expect(section(page)).to_contain_text("This event is not linked")
    accessible(page)
    shot(page, "link-none")
    tab_to(page, "link", "Link to an existing event").press("Enter")
    expect(page.get_by_role("heading", name="Link Pumpkin supper")).to_be_focused()
    suggested = page.get_by_role("region", name="Suggestions")
    expect(suggested.get_by_role("heading", name="Pumpkin Feast")).to_be_visible()
    expect(suggested).to_contain_text("Same day")
    tab_to(page, "textbox", "Name")
    page.keyboard.type("pumpkin")
    page.keyboard.press("Enter")
    found = page.get_by_role("region", name="Search in Planning Center")
    expect(found.get_by_role("heading", name="Pumpkin Feast")).to_be_visible()
    expect(page.get_by_role("textbox", name="Name")).to_have_value("pumpkin")
    accessible(page)
    shot(page, "link-choose")
    tab_until(page, found.get_by_role("link", name=re.compile("^Compare ?: Pumpkin Feast$"))).press("Enter")
    compared = page.get_by_role("region", name="Comparison")
    expect(compared.get_by_role("row", name=re.compile("^Where"))).to_contain_text("Main Hall")
    expect(compared.get_by_role("row", name=re.compile("^Title"))).to_contain_text("Pumpkin supper")
    confirm = compared.get_by_role("button", name=re.compile("^Link and overwrite title, where, description and dates"))
    expect(confirm).to_be_visible()
    accessible(page)
    shot(page, "link-compare")
    # It moves there meanwhile: nothing is linked before that was seen.
    town_of.control.edit_event(town_of.id, pco, name="Pumpkin Dinner")
    town_of.shown(event, pco, title="Pumpkin Dinner")
    tab_until(page, confirm).press("Enter")
    expect(page.get_by_text(re.compile("Nothing was linked: look at it again"))).to_be_focused()
    expect(compared.get_by_role("row", name=re.compile("^Title"))).to_contain_text("Pumpkin Dinner")
    assert town_of.event("Pumpkin supper")["link"] is None
    tab_until(page, confirm).press("Enter")
    expect(page.get_by_role("heading", name="Pumpkin Dinner", level=1)).to_be_focused()
    expect(section(page)).to_contain_text(re.compile("Linked.*by Ada"))
    expect(section(page)).to_contain_text("Checked every 5 min, last complete check")
    expect(section(page).get_by_role("link", name=re.compile("^Open in Planning Center"))).to_have_attribute(
        "href", re.compile(f"/events/{pco}$")
    )
    assert town_of.event("Pumpkin Dinner")["starts_at"] == iso(at + timedelta(hours=1))
    accessible(page)
    shot(page, "link-linked")
    page.get_by_role("button", name="Edit", exact=True).press("Enter")
    expect(
        page.get_by_text(re.compile("^Title, dates, location and description come from Planning Center"))
    ).to_be_visible()


def test_it_is_synced_and_put_back(page: Page, town_of: Town) -> None:
    event = town_of.event("Pumpkin Dinner")
    pco = event["link"]["pco_event_id"]
    town_of.control.edit_event(town_of.id, pco, name="Pumpkin Night", location="Garden")
    town_of.shown(event, pco, title="Pumpkin Night", location="Garden")
    page.goto(f"/events/{event['id']}")
    tab_to(page, "button", "Sync this event now").press("Enter")
    expect(section(page)).to_contain_text("Title, dates, location and description are now those of Planning Center.")
    expect(page.get_by_role("heading", name="Pumpkin Night", level=1)).to_be_visible()
    there = town_of.there(pco)
    assert (town_of.event("Pumpkin Night")["location"], there["name"]) == ("Garden", "Pumpkin Night")
    row = page.get_by_role("row", name=re.compile("^Title.*Pumpkin Dinner.*Pumpkin Night"))
    tab_until(page, row.get_by_role("button", name="Put back: the former title")).press("Enter")
    tab_to(page, "button", "Put back").press("Enter")
    expect(page.get_by_role("heading", name="Pumpkin Dinner", level=1)).to_be_visible()
    expect(section(page)).to_contain_text("Differs from Planning Center: Title was put back here")
    expect(section(page)).not_to_contain_text("are now those of Planning Center")
    assert town_of.event("Pumpkin Dinner")["link"]["differs"] == ["title"]
    assert town_of.there(pco)["name"] == "Pumpkin Night"
    accessible(page)
    shot(page, "link-differs")
    tab_to(page, "button", "Sync this event now").press("Enter")
    expect(page.get_by_role("heading", name="Pumpkin Night", level=1)).to_be_visible()
    expect(section(page)).not_to_contain_text("Differs from Planning Center")


def test_a_series_is_found_with_its_occurrences(page: Page, town_of: Town) -> None:
    first = day(20, 19)
    pco = town_of.control.create_series(town_of.id, "Choir practice", iso(first), "weekly", count=14)
    rule = {"recurrence": "FREQ=WEEKLY;COUNT=3"}
    event = town_of.add("Choir", first + WEEK, **rule)
    page.goto(f"/events/{event['id']}/link")
    typed(page.get_by_role("textbox", name="Name"), "choir")
    page.keyboard.press("Tab")
    page.keyboard.type(f"{first + WEEK:%m%d%Y}")
    page.keyboard.press("Enter")
    found = page.get_by_role("region", name="Search in Planning Center")
    expect(found.get_by_role("listitem").filter(has_text="Compare this occurrence").first).to_be_visible()
    accessible(page)
    shot(page, "link-series")
    tab_until(page, found.get_by_role("link", name=re.compile("^Compare the whole series ?: Choir practice"))).press(
        "Enter"
    )
    compared = page.get_by_role("region", name="Comparison")
    expect(compared).to_contain_text("11 added")
    expect(compared).to_contain_text("1 more added")
    accessible(page)
    shot(page, "link-compare-series")
    tab_until(page, compared.get_by_role("button", name="Link and overwrite title and 11 dates")).press("Enter")
    expect(page.get_by_role("region", name="Values")).to_contain_text(
        "On the days that Planning Center lists: 14 occurrences"
    )
    starts = [one["starts_at"] for one in town_of.event("Choir practice")["occurrences"]]
    assert starts == [one["starts_at"] for one in town_of.there(pco)["instances"]]
    page.get_by_role("button", name="Edit", exact=True).press("Enter")
    expect(page.get_by_text("Its dates are changed in Planning Center")).to_be_visible()
    expect(page.get_by_role("combobox", name="Repeats")).to_be_disabled()
    shot(page, "link-edit-listed")
    # What is linked already is said, before anything is chosen.
    other = town_of.add("Other choir", first)
    page.goto(f"/events/{other['id']}/link?q=choir&search=1")
    expect(found).to_contain_text("Already linked to Choir practice, with all its occurrences.")
    page.goto(f"/events/{other['id']}/link?there={pco}")
    expect(page.get_by_text(re.compile("^This is already linked to Choir practice"))).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("^Link"))).to_have_count(0)
    town_of.here.call("DELETE", f"/calendar/events/{other['id']}")


def test_many_are_linked_at_once(page: Page, town_of: Town) -> None:
    pcos = {}
    for days, title in enumerate(("Bible study", "Food pantry", "Quilting"), 30):
        pcos[title] = town_of.control.create_event(
            town_of.id, title, iso(day(days)), iso(day(days) + timedelta(hours=1))
        )
        town_of.add(title, day(days))
    town_of.add("Only here", day(200))
    page.goto("/events/suggestions")
    expect(page.get_by_text("4 events that are not linked")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("^Only here"))).to_contain_text("Nothing like it")
    accessible(page)
    shot(page, "suggestions")
    box = tab_to(page, "checkbox", "Link Quilting with Quilting")
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Link 1 event")).to_be_enabled()
    page.keyboard.press("Space")
    expect(box).not_to_be_checked()
    page.get_by_role("button", name="Choose 3 very likely ones").press("Enter")
    expect(box).to_be_checked()
    # One of them is deleted there meanwhile: the others are linked.
    town_of.control.delete_event(town_of.id, pcos["Food pantry"])
    page.get_by_role("button", name="Link 3 events").press("Enter")
    shot(page, "suggestions-confirm")
    tab_until(page, page.get_by_role("dialog").get_by_role("button", name="Link 3 events")).press("Enter")
    outcome = page.get_by_role("region", name="Outcome")
    expect(outcome.get_by_role("heading", name="2 of 3 events linked.")).to_be_focused()
    expect(outcome.get_by_role("listitem").filter(has_text="Food pantry")).to_contain_text("Not linked")
    accessible(page)
    shot(page, "suggestions-outcome")
    links = {title: town_of.event(title)["link"] for title in pcos}
    assert {title: link and link["pco_event_id"] for title, link in links.items()} == pcos | {"Food pantry": None}


def test_all_linked_events_are_synced(page: Page, town_of: Town, window_of: Windows) -> None:
    event = town_of.event("Quilting")
    pco = event["link"]["pco_event_id"]
    town_of.control.edit_event(town_of.id, pco, location="Annex")
    town_of.shown(event, pco, location="Annex")
    page.goto("/")
    card = page.get_by_role("region", name="Planning Center Calendar")
    expect(card.get_by_role("link", name="4", exact=True)).to_have_attribute("href", "/events?state=linked")
    tab_to(page, "button", "Sync all linked events").press("Enter")
    expect(page.get_by_role("region", name="State")).to_contain_text("Done")
    counts = page.get_by_role("region", name="Counts by outcome")
    tab_until(page, counts.get_by_role("link", name=re.compile("Updated here"))).press("Enter")
    expect(page.get_by_role("row", name=re.compile("^Quilting"))).to_be_visible()
    accessible(page)
    shot(page, "links-run")
    assert town_of.event("Quilting")["location"] == town_of.there(pco)["instances"][0]["location"] == "Annex"
    page.goto("/events/syncs")
    expect(page.get_by_role("row", name=re.compile("All linked events"))).to_be_visible()
    accessible(page)
    shot(page, "links-runs")
    page.goto("/events?state=linked")
    expect(page.get_by_role("row", name=re.compile("Linked$"))).to_have_count(4)
    accessible(page)
    shot(page, "links-events")
    staff = window_of("Sam")
    staff.goto(f"/events/{town_of.event('Quilting')['id']}")
    expect(section(staff)).to_contain_text("Checked every 5 min")
    expect(section(staff).get_by_role("button")).to_have_count(0)


def test_settings_of_the_calendar(page: Page, town_of: Town, town: Stack, window_of: Windows) -> None:
    page.goto("/")
    tab_to(page, "link", "Calendar settings").press("Enter")
    expect(page.get_by_role("heading", name="Settings of the Calendar sync")).to_be_focused()
    minutes = page.get_by_role("spinbutton", name="Minutes between two checks")
    typed(minutes, "500")
    minutes.press("Enter")
    assert minutes.evaluate("input => input.validity.rangeOverflow")
    typed(minutes, "7")
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.message)
        dialog.dismiss()

    page.once("dialog", stay)
    page.get_by_role("link", name="Integrations").last.press("Enter")
    assert asked == ["What you typed is not saved. Leave without saving it?"]
    expect(minutes).to_have_value("7")
    page.route("**/calendar/settings", lambda route: route.abort())
    minutes.press("Enter")
    expect(page.get_by_role("alert")).to_be_visible()
    expect(minutes).to_have_value("7")
    accessible(page)
    page.unroute("**/calendar/settings")
    minutes.press("Enter")
    expect(page.get_by_text("Saved.")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.get_by_text("Checked every 7 min")).to_be_visible()
    assert town_of.here.get("/calendar/settings") == {"poll_minutes": 7}
    feed = page.get_by_role("region", name="Private calendar feed")
    expect(feed).to_contain_text("There is no address yet")
    tab_to(page, "button", "Make an address").press("Enter")
    address = feed.get_by_role("textbox", name="Address of the calendar feed")
    expect(address).to_have_value(re.compile(r"^http.*/calendar/feeds/.*\.ics$"))
    accessible(page)
    shot(page, "calendar-settings")
    staff = window_of("Sam")
    staff.goto("/settings/calendar")
    expect(staff.get_by_role("spinbutton", name="Minutes between two checks")).to_be_disabled()
    expect(staff.get_by_role("region", name="Private calendar feed")).to_contain_text(re.compile("Made.*by Ada"))
    expect(staff.get_by_role("main").get_by_role("button")).to_have_count(0)
    accessible(staff)
    shot(staff, "calendar-settings-staff")
    tab_to(page, "button", "Revoke the address").press("Enter")
    tab_until(page, page.get_by_role("dialog").get_by_role("button", name="Revoke the address")).press("Enter")
    expect(feed).to_contain_text("Revoked")
    expect(address).to_have_count(0)
    town_of.here.call("PATCH", "/calendar/settings", json={"poll_minutes": 5})
    town_of.unhurried(town)


def test_unlinked_both_stay(page: Page, town_of: Town) -> None:
    event = town_of.event("Quilting")
    page.goto(f"/events/{event['id']}")
    tab_to(page, "button", "Unlink").press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Both events stay")
    accessible(page)
    shot(page, "link-unlink")
    tab_until(page, dialog.get_by_role("button", name="Unlink")).press("Enter")
    expect(section(page)).to_contain_text("This event is not linked")
    assert town_of.event("Quilting")["link"] is None
    assert town_of.there(event["link"]["pco_event_id"])["name"] == "Quilting"


def test_what_is_refused_is_handed_off_and_linked_by_itself(page: Page, town_of: Town, town: Stack) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    at = day(40, 18)
    event = town_of.add("Harvest supper", at, location="Barn", description="Bring a dish.\nAnd a chair.")
    page.goto(f"/events/{event['id']}")
    push(page)
    expect(section(page).get_by_role("heading", name="Create it in Planning Center")).to_be_visible()
    expect(section(page)).to_contain_text("Not there yet")
    expect(section(page)).not_to_contain_text(re.compile("pushed", re.IGNORECASE))
    assert town_of.named("Harvest supper") == []
    new = section(page).get_by_role("link", name=re.compile("^Open the new-event page in Planning Center"))
    expect(new).to_have_attribute("href", re.compile("/events/new$"))
    tab_to(page, "button", "Copy: Title").press("Enter")
    expect(page.locator('[aria-live="polite"]')).to_have_text("Title was copied.")
    assert page.evaluate("navigator.clipboard.readText()") == "Harvest supper"
    summary = section(page).get_by_text("Let Planning Center read the calendar feed")
    tab_until(page, summary).press("Enter")
    tab_to(page, "button", "Make an address").press("Enter")
    address = section(page).get_by_role("textbox", name="Address of the calendar feed")
    expect(address).to_have_value(re.compile(r"^http.*/calendar/feeds/.*\.ics$"))
    accessible(page)
    shot(page, "link-hand-off")
    assert "Harvest supper" in page.request.get(address.input_value()).text()
    tab_to(page, "button", "Revoke the address").press("Enter")
    tab_until(page, page.get_by_role("dialog").get_by_role("button", name="Revoke the address")).press("Enter")
    expect(section(page)).to_contain_text("Revoked")
    # Somebody creates it there. The next check links it: the one after a reconnect comes at once.
    town_of.control.create_event(town_of.id, "Harvest supper", iso(at), iso(at + timedelta(hours=1)), location="Barn")
    page.goto("/")
    card = page.get_by_role("region", name="Planning Center Calendar")
    card.get_by_role("button", name="Disconnect").press("Enter")
    tab_until(page, page.get_by_role("dialog").get_by_role("button", name="Disconnect Planning Center Calendar")).press(
        "Enter"
    )
    expect(page.get_by_role("dialog")).to_contain_text("Disconnected from")
    page.keyboard.press("Escape")
    expect(card).to_contain_text("Connecting it again finds the linked events as before.")
    connect(page, town_of)
    expect(page.get_by_text("Events are linked as before.")).to_be_visible()
    page.goto(f"/events/{event['id']}")
    expect(section(page)).to_contain_text(re.compile("Linked.*by itself"))
    (there,) = town_of.named("Harvest supper")
    assert town_of.event("Harvest supper")["link"]["pco_event_id"] == there["id"]
    town_of.unhurried(town)


def push(page: Page) -> None:
    tab_to(page, "button", "Push to Planning Center").press("Enter")
    tab_until(page, page.get_by_role("dialog").get_by_role("button", name="Push to Planning Center")).press("Enter")


def test_where_it_is_allowed_it_is_created_there(page: Page, town_of: Town) -> None:
    at = day(50)
    event = town_of.add("Spring concert", at, location="Chapel")
    page.goto(f"/events/{event['id']}")
    town_of.control.change_settings(calendar_writes="writable")
    try:
        push(page)
        expect(section(page)).to_contain_text("The event was created in Planning Center and linked.")
    finally:
        town_of.control.change_settings(calendar_writes="read-only")
    expect(section(page)).to_contain_text(re.compile("Linked.*by Ada"))
    (there,) = town_of.named("Spring concert")
    assert there["instances"][0]["starts_at"] == iso(at)
    assert town_of.event("Spring concert")["link"]["pco_event_id"] == there["id"]
    accessible(page)
    shot(page, "link-pushed")


def test_deleted_there_it_is_kept_here(page: Page, town_of: Town) -> None:
    event = town_of.event("Spring concert")
    town_of.control.delete_event(town_of.id, event["link"]["pco_event_id"])
    page.goto(f"/events/{event['id']}")
    tab_to(page, "button", "Sync this event now").press("Enter")
    expect(section(page)).to_contain_text("Deleted in Planning Center on")
    accessible(page)
    shot(page, "link-gone")
    page.goto("/")
    gone = page.get_by_role("region", name="Planning Center Calendar").get_by_role("link", name="1", exact=True)
    expect(gone).to_have_attribute("href", "/events?state=gone")
    page.goto(f"/events/{event['id']}")
    tab_to(page, "button", "Keep here").press("Enter")
    expect(section(page)).to_contain_text("This event is not linked")
    assert town_of.event("Spring concert")["link"] is None


def test_one_occurrence_of_a_series_is_linked(page: Page, town_of: Town) -> None:
    first = day(60, 19)
    pco = town_of.control.create_series(town_of.id, "Evening prayer", iso(first), "weekly", count=4)
    event = town_of.add("Prayer", first, recurrence="FREQ=WEEKLY;COUNT=2")
    instance = town_of.there(pco)["instances"][1]
    page.goto(f"/events/{event['id']}/link?q=evening&search=1")
    found = page.get_by_role("region", name="Search in Planning Center")
    second = found.get_by_role("link", name=re.compile("^Compare this occurrence")).nth(1)
    tab_until(page, second).press("Enter")
    compared = page.get_by_role("region", name="Comparison")
    expect(compared).to_contain_text("Prayer here, and Evening prayer, one occurrence, in Planning Center")
    expect(compared).to_contain_text("Only this one date of it is linked")
    expect(compared.get_by_role("row", name=re.compile("^Repeats"))).to_contain_text("Does not repeat")
    expect(compared.get_by_role("heading", name="Dates: 1 taken out")).to_be_visible()
    accessible(page)
    shot(page, "link-compare-occurrence")
    tab_until(page, compared.get_by_role("button", name=re.compile("^Link and overwrite title"))).press("Enter")
    expect(page.get_by_role("heading", name="Evening prayer", level=1)).to_be_focused()
    expect(section(page)).to_contain_text("This event repeats in Planning Center. Only this one date of it is linked")
    expect(page.get_by_role("table", name="Occurrences")).to_have_count(0)
    accessible(page)
    shot(page, "link-occurrence")
    linked = town_of.event("Evening prayer")
    assert linked["link"]["pco_event_instance_id"] == instance["id"]
    assert [one["starts_at"] for one in linked["occurrences"]] == [instance["starts_at"]]
    # Another date of it changes nothing here.
    town_of.control.edit_instance(town_of.id, town_of.there(pco)["instances"][2]["id"], location="Elsewhere")
    tab_to(page, "button", "Sync this event now").press("Enter")
    expect(section(page)).to_contain_text("It was already as in Planning Center.")
    assert town_of.event("Evening prayer")["location"] is None


def test_deleted_there_it_is_removed_here(page: Page, town_of: Town) -> None:
    event, pco = town_of.pair("Yard sale", day(70))
    page.goto(f"/events/{event['id']}")
    expect(section(page)).to_contain_text("Linked")
    town_of.control.delete_event(town_of.id, pco)
    tab_to(page, "button", "Sync this event now").press("Enter")
    expect(section(page)).to_contain_text("Deleted in Planning Center on")
    tab_to(page, "button", "Remove here").press("Enter")
    dialog = page.get_by_role("dialog", name="Delete Yard sale?")
    accessible(page)
    shot(page, "link-remove-here")
    tab_until(page, dialog.get_by_role("button", name="Delete Yard sale")).press("Enter")
    expect(page.get_by_role("heading", name="Events", level=1)).to_be_focused()
    assert list(town_of.here.all("/calendar/events", q="Yard sale")) == []
    assert town_of.here.get("/calendar/status")["gone"] == 0


def test_it_is_no_longer_waited_for(page: Page, town_of: Town, town: Stack) -> None:
    event = town_of.add("Car wash", day(75))
    page.goto(f"/events/{event['id']}")
    push(page)
    expect(section(page)).to_contain_text("Not there yet")
    tab_to(page, "button", "Stop waiting").press("Enter")
    expect(section(page)).to_contain_text("This event is not linked")
    expect(page.get_by_role("heading", name="Planning Center", level=2)).to_be_focused()
    accessible(page)
    # It comes to be there all the same, and is not linked by itself.
    town_of.control.create_event(town_of.id, "Car wash", iso(day(75)), iso(day(75) + timedelta(hours=1)))
    town_of.checked(town)
    assert town_of.event("Car wash")["link"] is None
    assert town_of.here.get(f"/calendar/events/{event['id']}/push")["state"] == "none"


def test_of_several_that_match_none_is_taken(page: Page, town_of: Town, town: Stack) -> None:
    at = day(80, 15)
    event = town_of.add("Bake sale", at)
    page.goto(f"/events/{event['id']}")
    push(page)
    expect(section(page)).to_contain_text("Not there yet")
    pcos = [
        town_of.control.create_event(town_of.id, "Bake sale", iso(at), iso(at + timedelta(hours=1)), location=where)
        for where in ("Foyer", "Lawn")
    ]
    town_of.checked(town)
    expect(section(page)).to_contain_text("More than one event in Planning Center has this title and start")
    expect(section(page)).not_to_contain_text("Create it in Planning Center")
    accessible(page)
    shot(page, "link-several")
    assert town_of.event("Bake sale")["link"] is None
    tab_until(page, section(page).get_by_role("link", name="Link to an existing event")).press("Enter")
    suggested = page.get_by_role("region", name="Suggestions")
    lawn = suggested.get_by_role("listitem").filter(has_text="Lawn")
    expect(lawn).to_contain_text("Very likely")
    tab_until(page, lawn.get_by_role("link", name=re.compile("^Compare"))).press("Enter")
    tab_until(page, page.get_by_role("button", name="Link and overwrite where")).press("Enter")
    expect(section(page)).to_contain_text(re.compile("Linked.*by Ada"))
    expect(section(page)).not_to_contain_text("More than one event")
    linked = town_of.event("Bake sale")
    assert (linked["link"]["pco_event_id"], linked["location"]) == (pcos[1], "Lawn")


def test_a_long_sync_shows_its_progress_and_stops_safely(page: Page, town_of: Town) -> None:
    """Beyond the horizon of a check each event is read at its own address."""
    town_of.pair("Founders' day", day(100))
    for number in range(9):
        town_of.pair(f"Jubilee {number}", day(500 + number))
    total = town_of.here.get("/calendar/status")["linked"]
    held = town_of.control.add_fault({"kind": "hold"}, path=r"/events/\d+/event_instances", organization_id=town_of.id)
    try:
        page.goto("/")
        tab_to(page, "button", "Sync all linked events").press("Enter")
        state = page.get_by_role("region", name="State")
        expect(state).to_contain_text("events")
        path = f"/calendar/runs/{page.url.rsplit('/', 1)[-1]}"
        town_of.here.eventually(lambda: town_of.control.fault(held)["holding"] > 0, "events are read one by one")
        done = town_of.here.get(path)["progress"]["done"]
        expect(state).to_contain_text(f"{done} of {total} events")
        expect(state.get_by_role("progressbar")).to_have_attribute("value", str(done))
        accessible(page)
        shot(page, "links-run-progress")
        tab_to(page, "button", "Stop safely").press("Enter")
        expect(state).to_contain_text("Stopping")
    finally:
        town_of.control.remove_fault(held)
    expect(state).to_contain_text("Stopped safely. What was done stays.")
    expect(state.get_by_role("button")).to_have_count(0)
    run = town_of.here.get(path)
    left = run["counts"]["not_done"]
    assert run["progress"]["requests"] > 6, "also those that were sent when it was stopped"
    assert run["state"] == "stopped"
    assert sum(run["counts"].values()) == total
    assert 0 < done < total - left == run["progress"]["done"]
    counts = page.get_by_role("region", name="Counts by outcome")
    tab_until(page, counts.get_by_role("link", name=re.compile(f"^{left} ?Not done"))).press("Enter")
    expect(page.get_by_role("row").filter(has_text="The sync ended before this event")).to_have_count(left)
    accessible(page)
    shot(page, "links-run-stopped")


def test_another_tab_follows_and_loses_no_input(page: Page, town_of: Town, town: Stack, window_of: Windows) -> None:
    event = town_of.add("Hayride", day(90))
    pco = town_of.control.create_event(town_of.id, "Hay ride", iso(day(90)), location="Farm")
    reading, typing = window_of("Ada"), window_of("Ada")
    for window in (reading, typing):
        window.goto(f"/events/{event['id']}")
        window.evaluate("window.opened = true")
    expect(section(reading)).to_contain_text("This event is not linked")
    tab_to(typing, "button", "Edit").press("Enter")
    title = tab_to(typing, "textbox", "Title")
    typed(title, "Half a ti")
    page.goto(f"/events/{event['id']}/link?there={pco}")
    tab_until(page, page.get_by_role("button", name=re.compile("^Link and overwrite"))).press("Enter")
    expect(section(page)).to_contain_text(re.compile("Linked.*by Ada"))
    expect(reading.get_by_role("heading", name="Hay ride", level=1)).to_be_visible()
    expect(section(reading)).to_contain_text(re.compile("Linked.*by Ada"))
    told = typing.get_by_text("What you typed is still here.")
    expect(told).to_contain_text(re.compile("^Planning Center changed .*; Ada Moreno linked this event with Planning"))
    expect(title).to_have_value("Half a ti")
    expect(title).to_be_focused()
    accessible(typing)
    shot(typing, "link-edit-overtaken")
    # A sync by hand.
    town_of.control.edit_event(town_of.id, pco, location="Orchard")
    town_of.shown(event, pco, location="Orchard")
    tab_to(page, "button", "Sync this event now").press("Enter")
    expect(reading.get_by_role("region", name="Values")).to_contain_text("Orchard")
    # The check of linked events.
    town_of.control.edit_event(town_of.id, pco, name="Hay ride and fire")
    town_of.shown(event, pco, title="Hay ride and fire")
    town_of.checked(town)
    for window in (page, reading):
        expect(window.get_by_role("heading", name="Hay ride and fire", level=1)).to_be_visible()
        expect(window.get_by_role("row", name=re.compile("^Title.*Hay ride and fire")).first).to_be_visible()
    tab_to(page, "button", "Unlink").press("Enter")
    tab_until(page, page.get_by_role("dialog").get_by_role("button", name="Unlink")).press("Enter")
    expect(section(reading)).to_contain_text("This event is not linked")
    expect(title).to_have_value("Half a ti")
    assert [window.evaluate("window.opened") for window in (reading, typing)] == [True, True]
    title.press("Enter")
    expect(typing.get_by_role("alert")).to_contain_text("Nothing was saved; what you typed is still here.")
    assert town_of.event("Hay ride and fire")["link"] is None


def test_a_missing_role_is_said_on_the_card(page: Page, town_of: Town) -> None:
    town_of.control.set_calendar_role(town_of.id, town_of.person, "No Access")
    page.goto("/")
    card = page.get_by_role("region", name="Planning Center Calendar")
    tab_to(page, "button", "Sync all linked events").press("Enter")
    expect(page.get_by_role("heading", name="Sync of linked events")).to_be_visible()
    page.goto("/")
    expect(card).to_contain_text("Role missing")
    expect(card).to_contain_text("Give them the Calendar role Viewer")
    accessible(page)
    shot(page, "links-card-role")
    town_of.control.set_calendar_role(town_of.id, town_of.person, "Administrator")
