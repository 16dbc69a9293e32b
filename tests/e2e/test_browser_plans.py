"""A plan is reviewed before the first write, approved or discarded, in Chromium; exactly that plan is carried out.

The tests of this module are chapters: each continues where the one before ended.
"""

import csv
import re
from typing import Any

import pytest
from pages import Windows, accessible, shot, tab_to
from playwright.sync_api import Locator, Page, expect
from sides import disagree, last_names, nothing_more, there

from local_stack.church import Church

pytestmark = [pytest.mark.e2e, pytest.mark.browser]


@pytest.fixture(scope="module")
def church(connected: Church) -> Church:
    """A church that is connected and never synced."""
    connected.call("PATCH", "/people/settings", json={"first_match": "planning_center"})
    return connected


@pytest.fixture(scope="module")
def nora(church: Church) -> dict[str, Any]:
    """A member who exists only here."""
    return church.add_member(first_name="Nora", last_name="Newcome", email="nora.newcome@example.org")


def records(page: Page) -> Locator:
    """The shown records of the plan."""
    return page.get_by_role("list", name="Records of the plan").get_by_role("listitem")


def record(page: Page, first_name: str) -> Locator:
    """One record of the plan, by either side's last name."""
    return records(page).filter(has=page.get_by_role("heading", name=re.compile(f"^{first_name} ")))


def test_the_very_first_sync_is_previewed_by_keys_alone(
    page: Page, church: Church, pco: str, nora: dict[str, Any]
) -> None:
    mark = church.control.summary()["last_seq"]
    page.goto("/")
    card = page.get_by_role("region", name="Planning Center People")
    # Before the first sync, Preview comes first.
    expect(card.get_by_role("button", name=re.compile("^(Preview|Sync Now)$")).first).to_have_text("Preview")
    tab_to(page, "button", "Preview").press("Enter")
    expect(page.get_by_role("heading", name="Preview", level=1)).to_be_visible()
    expect(page.get_by_role("heading", name="Should these changes be made?")).to_be_visible(timeout=60_000)
    expect(records(page)).to_have_count(25)
    assert church.writes_since(mark, pco) == []
    assert [member["id"] for member in church.members()] == [nora["id"]]
    accessible(page)
    shot(page, "plan-first")
    # Load more: the first new record gets the focus.
    tab_to(page, "button", "Load more").press("Enter")
    expect(records(page)).to_have_count(50)
    expect(records(page).nth(25).get_by_role("heading")).to_be_focused()
    # One kind alone, by the address.
    filters = page.get_by_role("navigation", name="The plan by what would be done")
    filters.get_by_role("link", name=re.compile("Would be added in Planning Center")).press("Enter")
    expect(records(page)).to_have_count(1)
    assert "plan=created_there" in page.url
    email = record(page, "Nora").get_by_role("row", name=re.compile("^Email Never agreed"))
    expect(email).to_contain_text("nora.newcome@example.org")
    expect(email).to_contain_text("changes in Planning Center")
    page.reload()
    expect(records(page)).to_have_count(1)
    # The answer is in the tab order.
    approve = page.get_by_role("button", name=re.compile("^Make these [0-9]+ changes$"))
    approve.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Done", exact=True)).to_be_visible(timeout=120_000)
    expect(page.get_by_role("heading", name="Previewed sync", level=1)).to_be_visible()
    run = church.get("/people/runs")["items"][0]
    assert (run["purpose"], run["state"], run["counts"].get("left_out")) == ("preview", "done", None)
    assert church.differences(pco) == []
    # The filter is still in the address: the plan is shown with its outcomes.
    expect(page.get_by_role("heading", name="What was planned")).to_be_visible()
    expect(record(page, "Nora")).to_contain_text("Added in Planning Center.")
    page.goto("/")
    expect(card.get_by_role("button", name=re.compile("^(Preview|Sync Now)$")).first).to_have_text("Sync Now")


def test_who_moves_in_between_is_left_out_and_named(
    page: Page, church: Church, pco: str, nora: dict[str, Any], window_of: Windows
) -> None:
    nora = church.get(f"/people/members/{nora['id']}")
    others = [one for one in church.members(state="linked") if one["id"] != nora["id"] and not one["child"]][:3]
    for member in (nora, *others):
        church.change_member(member, last_name="Renamed")
    church.add_member(first_name="Eve", last_name='=cmd|"x"', email="eve@example.org")
    mark = church.control.summary()["last_seq"]
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("heading", name="Should these changes be made?")).to_be_visible(timeout=60_000)
    expect(page.get_by_text("5 records would change")).to_be_visible()
    row = record(page, "Nora").get_by_role("row", name=re.compile("^Last name Newcome Renamed Newcome Renamed"))
    expect(row).to_be_visible()
    assert church.writes_since(mark, pco) == []
    # The file.
    with page.expect_download() as coming:
        page.get_by_role("button", name="Download as CSV").click()
    with coming.value.path().open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    (line,) = [line for line in lines if line["Name"].startswith("Nora ")]
    assert (line["Field"], line["Last agreed"], line["Here"], line["Planning Center"], line["After"]) == (
        "last_name",
        "Newcome",
        "Renamed",
        "Newcome",
        "Renamed",
    )
    assert {line["Here"] for line in lines if line["Field"] == "last_name"} == {"Renamed", '\'=cmd|"x"'}
    accessible(page)
    shot(page, "plan")
    # Staff see the plan, and cannot answer.
    sam = window_of("Sam")
    sam.goto(page.url)
    expect(record(sam, "Nora")).to_be_visible()
    expect(sam.get_by_text("Nothing is written until an administrator approves it.")).to_be_visible()
    expect(sam.get_by_role("button", name=re.compile("^Make these"))).to_have_count(0)
    # While the plan waits, the card and Sync Now lead to it.
    page.goto("/")
    card = page.get_by_role("region", name="Planning Center People")
    expect(card.get_by_role("link", name="Look at the plan and answer")).to_be_visible()
    card.get_by_role("button", name="Sync Now").click()
    expect(page.get_by_role("heading", name="Should these changes be made?")).to_be_visible()
    church.change_member(nora, last_name="Again")
    page.get_by_role("button", name="Make these 5 changes").click()
    expect(page.get_by_text("Done", exact=True)).to_be_visible(timeout=120_000)
    page.get_by_role("link", name=re.compile("Left as they are")).click()
    expect(page.get_by_role("table", name="Left as they are")).to_contain_text("Nora ")
    expect(page.get_by_role("main")).to_contain_text(
        "This has changed since the plan was shown, so it was left as it is."
    )
    accessible(page)
    shot(page, "plan-left-out")
    assert there(church, pco, nora)["last_name"] == "Newcome"
    assert {there(church, pco, one)["last_name"] for one in others} == {"Renamed"}
    page.get_by_role("link", name="See what was planned, and what became of it").click()
    expect(record(page, "Nora")).to_contain_text("This has changed since the plan was shown")
    accessible(page)
    church.sync()
    nothing_more(church, pco)


def test_a_plan_is_discarded_and_another_browser_is_told(
    page: Page, church: Church, pco: str, nora: dict[str, Any], window_of: Windows
) -> None:
    nora = church.get(f"/people/members/{nora['id']}")
    church.change_member(nora, last_name="Never")
    run = church.preview()
    page.goto(f"/runs/{run['id']}")
    expect(page.get_by_text("1 record would change")).to_be_visible()
    other = window_of("Ada")
    other.goto(f"/runs/{run['id']}")
    expect(other.get_by_role("button", name="Make this change")).to_be_visible()
    mark = church.control.summary()["last_seq"]
    page.get_by_role("button", name="Discard this plan").click()
    said = "The plan was discarded. Nothing was written, here or in Planning Center."
    expect(page.get_by_text(said)).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text("answered: Discard")
    expect(page.get_by_role("heading", name="Preview", level=1)).to_be_visible()
    expect(other.get_by_text(said)).to_be_visible()
    expect(other.get_by_role("button", name="Make this change")).to_have_count(0)
    shot(page, "plan-discarded")
    assert church.writes_since(mark, pco) == []
    assert there(church, pco, nora)["last_name"] == "Again"
    # Both sides agree now: the next plan is empty, and says so.
    church.eventually(lambda: church.sync()["counts"].keys() == {"unchanged"}, "both sides are the same")
    run = church.preview()
    page.goto(f"/runs/{run['id']}")
    expect(page.get_by_text("Nothing would change: both sides are the same.")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("^Make"))).to_have_count(0)
    accessible(page)
    page.get_by_role("button", name="Discard this plan").click()
    expect(page.get_by_text(said)).to_be_visible()


def test_what_waits_in_conflict_is_no_change(page: Page, church: Church, pco: str, nora: dict[str, Any]) -> None:
    nora = church.get(f"/people/members/{nora['id']}")
    disagree(church, pco, nora, {"last_name": "Ours"}, {"last_name": "Theirs"})
    page.goto("/")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_text("Nothing would change.", exact=True)).to_be_visible(timeout=60_000)
    expect(
        page.get_by_text("1 record would wait in conflict, as it is on both sides, until you decide.")
    ).to_be_visible()
    accessible(page)
    shot(page, "plan-conflict")
    page.get_by_role("button", name="Open 1 conflict for an answer").click()
    expect(page.get_by_text("Done", exact=True)).to_be_visible(timeout=60_000)
    assert last_names(church, pco, nora) == ("Ours", "Theirs")
    assert church.get("/conflicts/count")["open"] == 1
