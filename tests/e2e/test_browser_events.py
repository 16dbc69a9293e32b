"""Events in Chromium: added, listed, shown as a month, changed alone and as a series, deleted, by keys.

The tests of this module are chapters: each continues where the one before ended.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from pages import Windows, accessible, shot, tab_to, tab_until, typed, words_are_whole
from playwright.sync_api import Locator, Page, expect

from local_stack.church import Church
from local_stack.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

MONTH = "/events?view=month&month=2099-04&zone=America/New_York"


@pytest.fixture(scope="module")
def ours(town: Stack, number: int) -> Iterator[Church]:
    """Ada of this file's church, not connected."""
    with Church.of(town, f"ada{number}") as church:
        yield church


def only(ours: Church, title: str) -> dict[str, Any]:
    """The one event of this title."""
    [found] = ours.get("/calendar/events", q=title)["items"]
    return dict(ours.get(f"/calendar/events/{found['id']}"))


def test_an_empty_list_says_what_would_be_here(page: Page) -> None:
    page.get_by_role("link", name="Events").press("Enter")
    expect(page.get_by_role("heading", name="No events yet")).to_be_visible()
    expect(page.get_by_role("link", name="Integrations page")).to_have_attribute("href", "/integrations")
    accessible(page)
    shot(page, "events-empty")


def test_a_series_is_added_by_keys(page: Page, ours: Church) -> None:
    tab_to(page, "link", "Add an event").press("Enter")
    expect(page.get_by_role("heading", name="Add an event", level=1)).to_be_focused()
    tab_to(page, "textbox", "Title")
    page.keyboard.type("Worship")
    tab_until(page, page.get_by_label("Starts"))
    page.keyboard.type("04052099")
    page.keyboard.type("0900A")
    expect(page.get_by_label("Ends", exact=True)).to_have_value("2099-04-05T10:00")
    expect(page.get_by_role("combobox", name="Time zone")).to_have_value("America/New_York")
    tab_until(page, page.get_by_role("combobox", name="Repeats"))
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("checkbox", name="Sunday")).to_be_checked()
    tab_until(page, page.get_by_label("Last day of the series"))
    page.keyboard.type("05312099")
    tab_to(page, "textbox", "Where")
    page.keyboard.type("Sanctuary")
    tab_to(page, "textbox", "Description")
    page.keyboard.type("Songs and a sermon.")
    page.keyboard.press("Enter")
    page.keyboard.type("Coffee afterwards.")
    accessible(page)
    shot(page, "event-form")
    tab_to(page, "button", "Add this event").press("Enter")
    expect(page.get_by_role("heading", name="Worship", level=1)).to_be_focused()
    values = page.get_by_role("region", name="Values")
    expect(values).to_contain_text(re.compile(r"Sun, Apr 5, 2099, 9:00.*10:00.AM EDT"))
    expect(values).to_contain_text("Every week on Sunday until May 31, 2099: 9 occurrences")
    expect(values).to_contain_text("Eastern Time (America/New_York)")
    expect(page.get_by_role("row", name=re.compile("^Added here"))).to_contain_text("Ada Moreno")
    event = only(ours, "Worship")
    assert (event["starts_at"], event["recurrence"]) == ("2099-04-05T13:00:00Z", "FREQ=WEEKLY;UNTIL=20990531;BYDAY=SU")
    assert event["description"] == "Songs and a sermon.\nCoffee afterwards."


def test_what_the_api_refuses_stands_at_its_field(page: Page, ours: Church) -> None:
    page.goto("/events/new?day=2099-03-08")
    tab_to(page, "textbox", "Title")
    page.keyboard.type("Night watch")
    ends = page.get_by_label("Ends", exact=True)
    tab_until(page, ends)
    page.keyboard.type("03072099")
    tab_to(page, "button", "Add this event").press("Enter")
    expect(ends).to_be_focused()
    expect(ends).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_text("Ends lies before Starts")).to_be_visible()
    # Clocks skip from 2 to 3 on this day.
    starts = page.get_by_label("Starts")
    starts.focus()
    page.keyboard.type("030820990230A")
    expect(page.get_by_text("Clocks skip this time on that day: it becomes 3:30").first).to_be_visible()
    tab_until(page, page.get_by_role("combobox", name="Repeats"))
    page.keyboard.press("End")
    tab_to(page, "textbox", "Rule")
    page.keyboard.type("FREQ=WEEKLY;BYDAY=MO;COUNT=3")
    tab_to(page, "button", "Add this event").press("Enter")
    expect(page.get_by_text("Repeats does not begin with the event")).to_be_visible()
    expect(page.get_by_role("combobox", name="Repeats")).to_be_focused()
    accessible(page)
    shot(page, "event-refused")
    page.keyboard.press("Home")
    zone = tab_zone(page)
    typed(zone, "Nowhere/City")
    expect(page.get_by_text(re.compile("^This browser knows no time zone of this name"))).to_be_visible()
    typed(zone, "America/Chicago")
    tab_to(page, "button", "Add this event").press("Enter")
    # The wall clock holds in the new zone.
    expect(page.get_by_role("region", name="Values")).to_contain_text(re.compile("3:30.AM CDT|3:30.*CDT"))
    assert only(ours, "Night watch")["starts_at"] == "2099-03-08T08:30:00Z"


def tab_zone(page: Page) -> Locator:
    """The field of the zone, by Tab from the top."""
    page.get_by_role("textbox", name="Title").focus()
    return tab_until(page, page.get_by_role("combobox", name="Time zone"))


def test_a_month_by_keys(page: Page, ours: Church) -> None:
    for title, first, last in (("Youth camp", "2099-04-09", "2099-04-13"), ("Easter", "2099-04-12", "2099-04-12")):
        days = {"first_day": first, "last_day": last, "time_zone": "America/New_York"}
        ours.call("POST", "/calendar/events", json={"title": title, **days})
    for hour in range(12, 17):
        times = {"starts_at": f"2099-04-12T{hour}:00:00Z", "ends_at": f"2099-04-12T{hour + 1}:00:00Z"}
        body = {"title": f"Baptism {hour}", **times, "time_zone": "America/New_York", "location": "River"}
        ours.call("POST", "/calendar/events", json=body)
    page.goto(MONTH)
    grid = page.get_by_role("grid", name="April 2099")
    expect(page.get_by_text("11 occurrences in April 2099")).to_be_visible()
    expect(page.get_by_text("Days are those of Eastern Time (America/New_York).")).to_be_visible()
    easter = grid.get_by_role("gridcell", name=re.compile("Sunday, April 12, 2099, 8 events"))
    expect(easter.get_by_role("button", name="5 more on Sunday, April 12, 2099")).to_be_visible()
    expect(grid.get_by_role("link", name="Youth camp")).to_have_count(5)
    accessible(page)
    shot(page, "events-month")
    tab_until(page, grid.get_by_role("button", name=re.compile("April 1, 2099")))
    for key, day in (
        ("ArrowRight", "April 2"),
        ("ArrowDown", "April 9"),
        ("Home", "April 5"),
        ("End", "April 11"),
        ("PageDown", "May 11"),
        ("PageUp", "April 11"),
        ("ArrowLeft", "April 10"),
        ("ArrowUp", "April 3"),
        ("ArrowUp", "March 27"),
    ):
        page.keyboard.press(key)
        expect(page.get_by_role("button", name=re.compile(f"^[A-Za-z]+, {day}, 2099"))).to_be_focused()
    expect(page).to_have_url(re.compile("month=2099-03"))
    page.keyboard.press("PageDown")
    for key in ("ArrowUp", "Home", "Enter"):
        page.keyboard.press(key)
    dialog = page.get_by_role("dialog", name="Sunday, April 19, 2099")
    expect(dialog.get_by_role("link", name="Worship")).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    page.keyboard.press("ArrowUp")
    expect(easter.get_by_role("button").first).to_be_focused()
    tab_until(page, easter.get_by_role("button", name="5 more on Sunday, April 12, 2099"))
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Sunday, April 12, 2099")
    expect(dialog.get_by_role("listitem")).to_have_count(8)
    accessible(page)
    shot(page, "events-day")
    # The address holds the day: Back leads into it again.
    dialog.get_by_role("link", name="Baptism 14").press("Enter")
    expect(page.get_by_role("heading", name="Baptism 14", level=1)).to_be_visible()
    page.go_back()
    expect(dialog.get_by_role("listitem")).to_have_count(8)
    # Who adds no event after all is back at the day.
    tab_until(page, dialog.get_by_role("link", name="Add an event on this day")).press("Enter")
    expect(page.get_by_role("heading", name="Add an event", level=1)).to_be_focused()
    expect(page.get_by_label("Starts")).to_have_value("2099-04-12T09:00")
    expect(page.get_by_role("link", name="Back to the month")).to_be_visible()
    tab_to(page, "link", "Cancel").press("Enter")
    expect(grid).to_be_visible()
    expect(easter.get_by_role("button").first).to_be_focused()
    expect(page).to_have_url(re.compile("view=month&month=2099-04&zone=America"))
    expect(page).not_to_have_url(re.compile("(day|at)="))
    page.get_by_role("button", name="Today").press("Enter")
    expect(page.get_by_role("gridcell").get_by_role("button", name=re.compile(", today, "))).to_have_count(1)


def test_the_list_is_searched_and_a_row_opened(page: Page) -> None:
    page.goto("/events")
    expect(page.get_by_text("9 events")).to_be_visible()
    words_are_whole(page, page.get_by_role("table"), (740, 900, 1280))
    accessible(page)
    shot(page, "events-list")
    search = page.get_by_role("searchbox", name="Search events")
    typed(search, "worsh")
    search.press("Enter")
    expect(page.get_by_text("1 event", exact=True)).to_be_visible()
    row = page.get_by_role("row", name=re.compile("^Worship"))
    expect(row).to_contain_text("Every week on Sunday until May 31, 2099")
    tab_to(page, "link", "Worship").press("Enter")
    expect(page.get_by_role("heading", name="Worship", level=1)).to_be_visible()


def test_one_occurrence_is_changed_taken_out_and_brought_back(page: Page, ours: Church) -> None:
    row = page.get_by_role("row", name=re.compile("^Sun, Apr 19, 2099"))
    row.get_by_role("button", name=re.compile("^Change")).press("Enter")
    dialog = page.get_by_role("dialog", name=re.compile("^Change Sun, Apr 19"))
    tab_until(page, dialog.get_by_label("Starts"))
    page.keyboard.type("041920990500P")
    expect(dialog.get_by_label("Ends")).to_have_value("2099-04-19T18:00")
    typed(tab_until(page, dialog.get_by_role("textbox", name="Where")), "Hall")
    accessible(page)
    shot(page, "occurrence-change")
    tab_until(page, dialog.get_by_role("button", name="Save")).press("Enter")
    expect(dialog).to_have_count(0)
    moved = page.get_by_role("row", name=re.compile("^Sun, Apr 19, 2099, 5:00"))
    expect(moved).to_contain_text("Moved from Sun, Apr 19, 2099, 9:00 AM")
    expect(moved).to_contain_text("Hall")
    expect(moved.get_by_role("button", name=re.compile("^Change"))).to_be_focused()
    out = page.get_by_role("row", name=re.compile("^Sun, Apr 26, 2099"))
    tab_until(page, out.get_by_role("button", name=re.compile("^Take out"))).press("Enter")
    dialog = page.get_by_role("dialog", name=re.compile("^Take out Sun, Apr 26"))
    expect(dialog).to_contain_text("can be brought back")
    accessible(page)
    shot(page, "occurrence-take-out")
    tab_until(page, dialog.get_by_role("button", name="Take out")).press("Enter")
    expect(out).to_contain_text("Taken out")
    expect(out.get_by_role("button", name=re.compile("^Bring back"))).to_be_focused()
    expect(page.get_by_role("region", name="Values")).to_contain_text("8 occurrences, 1 taken out, 1 moved")
    history = page.get_by_role("row", name=re.compile("^One occurrence")).last
    expect(history).to_contain_text(re.compile("Sun, Apr 19, 2099, 9:00.AM: moved to Sun, Apr 19.*at Hall"))
    accessible(page)
    shot(page, "event-page")
    page.keyboard.press("Enter")
    expect(out).to_contain_text("Upcoming")
    expect(out.get_by_role("button", name=re.compile("^Change"))).to_be_focused()
    assert [one["cancelled"] for one in only(ours, "Worship")["occurrences"]] == [False] * 9


def test_a_change_elsewhere_loses_no_input(page: Page, window_of: Windows, ours: Church) -> None:
    """Another admin's page follows at once, and a save says who changed what."""
    event = only(ours, "Worship")
    other = window_of("Sam")
    other.goto(f"/events/{event['id']}?at=20990510T090000")
    expect(other.get_by_role("rowheader", name=re.compile("^Sun, May 10, 2099"))).to_be_focused()
    expect(other.get_by_role("button", name="Edit")).to_have_count(0)
    expect(other.get_by_role("button", name=re.compile("^Take out"))).to_have_count(0)
    month = window_of("Ada")
    month.goto(MONTH)
    expect(month.get_by_role("link", name=re.compile("Worship"))).to_have_count(3)
    tab_to(page, "button", "Edit").press("Enter")
    title = tab_to(page, "textbox", "Title")
    typed(title, "Worship service")
    ours.call("PATCH", f"/calendar/events/{event['id']}", json={"title": "Sunday worship", "location": "Chapel"})
    told = page.get_by_text("Ada Moreno changed ")
    expect(told).to_contain_text(re.compile("(title and where|where and title) meanwhile"))
    expect(title).to_have_value("Worship service")
    expect(title).to_be_focused()
    expect(other.get_by_role("heading", name="Sunday worship", level=1)).to_be_visible()
    expect(other.get_by_role("rowheader", name=re.compile("^Sun, May 10, 2099"))).to_be_focused()
    expect(month.get_by_role("link", name=re.compile("Sunday worship"))).to_have_count(3)
    # What would move under the pointer waits for a button.
    month.get_by_role("gridcell", name=re.compile("April 22")).hover()
    ours.call("DELETE", f"/calendar/events/{only(ours, 'Youth camp')['id']}")
    expect(month.get_by_text("Updated just now")).to_be_visible()
    expect(month.get_by_role("link", name="Youth camp")).to_have_count(5)
    month.get_by_role("button", name="Show", exact=True).press("Enter")
    expect(month.get_by_role("link", name="Youth camp")).to_have_count(0)
    expect(month.get_by_text("10 occurrences in April 2099")).to_be_visible()
    title.press("Enter")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Nothing was saved; what you typed is still here.")
    expect(alert).to_contain_text("Ada Moreno changed")
    accessible(page)
    shot(page, "event-conflict")
    page.once("dialog", lambda dialog: dialog.accept())
    tab_until(page, alert.get_by_role("button", name="Show the newest values")).press("Enter")
    expect(title).to_have_value("Sunday worship")
    typed(title, "Worship")
    title.press("Enter")
    expect(page.get_by_role("heading", name="Worship", level=1)).to_be_visible()
    assert only(ours, "Worship")["location"] == "Chapel"
    expect(other.get_by_role("heading", name="Worship", level=1)).to_be_visible()


def test_a_dialog_that_is_open_survives_a_change(page: Page, ours: Church) -> None:
    """What an occurrence became elsewhere is shown with one button."""
    row = page.get_by_role("row", name=re.compile("^Sun, May 3, 2099"))
    row.get_by_role("button", name=re.compile("^Change")).press("Enter")
    dialog = page.get_by_role("dialog")
    typed(dialog.get_by_role("textbox", name="Title"), "Picnic")
    event = only(ours, "Worship")
    ours.call("PATCH", f"/calendar/events/{event['id']}/occurrences/20990503T090000", json={"location": "Park"})
    expect(row).to_contain_text("Park")
    dialog.get_by_role("textbox", name="Title").press("Enter")
    alert = dialog.get_by_role("alert")
    expect(alert).to_contain_text("Ada Moreno changed one occurrence meanwhile. Nothing was saved")
    expect(dialog.get_by_role("textbox", name="Title")).to_have_value("Picnic")
    accessible(page)
    shot(page, "occurrence-conflict")
    tab_until(page, alert.get_by_role("button", name="Show it as it is now")).press("Enter")
    expect(dialog).to_have_count(0)
    expect(row).to_contain_text("Park")
    expect(row.get_by_role("button", name=re.compile("^Change"))).to_be_focused()
    assert [one["title"] for one in only(ours, "Worship")["occurrences"]] == [None] * 9


def test_a_narrow_screen_has_an_agenda(page: Page) -> None:
    size = page.viewport_size
    page.goto(MONTH)
    expect(page.get_by_role("grid", name="April 2099")).to_be_visible()
    # 1,280 pixels at 400 %.
    page.set_viewport_size({"width": 320, "height": 256})
    expect(page.get_by_role("heading", name="Sunday, April 12, 2099", level=3)).to_be_visible()
    expect(page.get_by_role("grid")).to_have_count(0)
    for address in (MONTH, "/events", "/events/new"):
        page.goto(address)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        accessible(page)
        shot(page, f"events-zoom-{address.rsplit('/', 1)[-1][:5]}")
        page.set_viewport_size({"width": 320, "height": 256})
        assert page.evaluate("document.documentElement.scrollWidth <= 320"), address
    if size:
        page.set_viewport_size(size)


def test_a_series_is_edited_and_single_occurrences_keep_what_they_have(page: Page, ours: Church) -> None:
    page.goto(f"/events/{only(ours, 'Worship')['id']}")
    tab_to(page, "button", "Edit").press("Enter")
    expect(page.get_by_text("2 occurrences that were changed alone keep their own values")).to_be_visible()
    tab_until(page, page.get_by_label("Starts"))
    page.keyboard.type("04052099")
    page.keyboard.type("1030A")
    expect(page.get_by_label("Ends", exact=True)).to_have_value("2099-04-05T11:30")
    typed(tab_until(page, page.get_by_role("spinbutton", name="Every how many weeks")), "2")
    tab_to(page, "button", "Save").press("Enter")
    values = page.get_by_role("region", name="Values")
    expect(values).to_contain_text("Every 2 weeks on Sunday until May 31, 2099: 5 occurrences, 1 moved")
    expect(values).to_contain_text(re.compile("Apr 5, 2099, 10:30.*11:30.AM EDT"))
    expect(page.get_by_role("row", name=re.compile("^Sun, Apr 19, 2099, 5:00"))).to_contain_text("Moved from")
    row = page.get_by_role("row", name=re.compile("^Repeats"))
    expect(row).to_contain_text("Every week on Sunday until May 31, 2099")
    expect(row).to_contain_text("Every 2 weeks on Sunday until May 31, 2099")
    starts = [one["starts_at"] for one in only(ours, "Worship")["occurrences"]]
    assert starts[:3] == ["2099-04-05T14:30:00Z", "2099-04-19T21:00:00Z", "2099-05-03T14:30:00Z"]


def test_a_series_is_deleted_after_it_is_told_what_goes(page: Page, ours: Church) -> None:
    event = only(ours, "Worship")
    page.goto(f"/events/{event['id']}")
    tab_to(page, "button", "Delete").press("Enter")
    dialog = page.get_by_role("dialog", name="Delete Worship?")
    expect(dialog).to_contain_text("The series is deleted here with 5 occurrences: 5 still to come, 0 past.")
    accessible(page)
    shot(page, "event-delete")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Delete")).to_be_focused()
    page.keyboard.press("Enter")
    tab_until(page, dialog.get_by_role("button", name="Delete Worship")).press("Enter")
    expect(page.get_by_role("heading", name="Events", level=1)).to_be_focused()
    page.goto(f"/events/{event['id']}")
    expect(page.get_by_role("heading", name="There is no such event")).to_be_visible()


def test_the_card_of_a_connected_calendar_leads_to_the_events(page: Page, connected: Church, number: int) -> None:
    before = connected.control.organizations()[: number - 1]
    connected.connect("calendar", login=sum(len(one["logins"]) for one in before))
    page.goto("/integrations")
    card = page.get_by_role("region", name="Planning Center Calendar")
    card.get_by_role("link", name="View events").press("Enter")
    expect(page.get_by_role("heading", name="Events", level=1)).to_be_focused()
