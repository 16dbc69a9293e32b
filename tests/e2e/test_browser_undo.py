"""Undo in Chromium: its buttons, its refusals, and the former values on both sides afterwards.

The tests of this module are chapters: each continues where the one before ended.
"""

import re
from typing import Any

import pytest
from pages import Windows, accessible, approved, shot, tab_to
from playwright.sync_api import Page, expect
from sides import disagree, edited_there, last_names, nothing_more

from local_stack.church import Church

pytestmark = [pytest.mark.e2e, pytest.mark.browser]


@pytest.fixture(scope="module")
def nora(church: Church, nora: dict[str, Any]) -> dict[str, Any]:
    """A linked member with a family."""
    church.add_family("Newcome Family", nora)
    church.sync("incremental")
    return dict(church.get(f"/people/members/{nora['id']}"))


def test_a_sync_is_undone_from_its_page(page: Page, church: Church, pco: str, nora: dict[str, Any]) -> None:
    run = edited_there(church, pco, nora, last_name="Changed")
    page.goto(f"/runs/{run['id']}")
    button = page.get_by_role("button", name="Undo this sync")
    expect(button).to_be_visible()
    accessible(page)
    shot(page, "undo-offered")
    tab_to(page, "button", "Undo this sync")
    page.keyboard.press("Enter")
    ended = approved(page, church, "undo-plan")
    assert ended["counts"]["undone"] == 1
    assert last_names(church, pco, nora) == ("Newcome", "Newcome")
    counts = page.get_by_role("region", name="Counts by outcome")
    counts.get_by_role("link", name=re.compile("Put back")).click()
    expect(page.get_by_role("table", name="Put back").get_by_role("row", name=re.compile("^Nora "))).to_be_visible()
    expect(page.get_by_role("button", name="Undo this undo")).to_be_visible()
    accessible(page)
    shot(page, "undo-done")
    nothing_more(church, pco)


def test_a_person_and_a_family_are_undone_from_their_pages(
    page: Page, church: Church, pco: str, nora: dict[str, Any]
) -> None:
    edited_there(church, pco, nora, gender="Female")
    page.goto(f"/people/{nora['id']}")
    button = page.get_by_role("button", name="Undo what syncs changed")
    expect(button).to_be_visible()
    accessible(page)
    shot(page, "undo-offered-person")
    button.press("Enter")
    approved(page, church, "undo-plan-person")
    assert church.get(f"/people/members/{nora['id']}")["gender"] is None
    nothing_more(church, pco)
    page.goto(f"/families/{nora['family_ids'][0]}")
    button = page.get_by_role("button", name="Undo what syncs changed of this family and its people")
    expect(button).to_be_visible()
    accessible(page)
    shot(page, "undo-offered-family")
    button.press("Enter")
    expect(page.get_by_role("region", name="State")).to_contain_text("Waiting for your answer")
    run_id = page.url.rsplit("/", 1)[-1]
    asked = church.get(f"/people/runs/{run_id}")["question"]
    # A sync has added her there, which is the only question left.
    assert asked["counts"] == {"created_there": 1, "left_out": 1, "may_be_mailed": 0}
    expect(page.get_by_role("button", name="Make the 1 person inactive in Planning Center")).to_be_visible()
    expect(page.get_by_text("No value would be put back.")).to_be_visible()
    accessible(page)
    shot(page, "undo-added-there")
    page.get_by_role("button", name="Discard this plan").press("Enter")
    expect(page.get_by_role("region", name="State")).to_contain_text("The plan was discarded. Nothing was written")


def test_a_decision_is_undone_where_it_was_taken(page: Page, church: Church, pco: str, nora: dict[str, Any]) -> None:
    disagree(church, pco, nora, {"last_name": "Ours"}, {"last_name": "Theirs"})
    page.goto("/conflicts")
    card = page.get_by_role("region", name=re.compile("^Nora "))
    expect(card.get_by_role("row", name=re.compile("^Last name "))).to_contain_text("Not chosen yet")
    page.keyboard.press("j")
    expect(card.get_by_role("heading")).to_be_focused()
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    expect(card.get_by_text("Settled")).to_be_visible()
    accessible(page)
    shot(page, "undo-decision")
    card.get_by_role("button", name=re.compile("^Undo the decision about Nora")).press("Enter")
    approved(page, church, "undo-plan-decision")
    assert last_names(church, pco, nora) == ("Ours", "Ours")
    # Undo is not offered a second time.
    page.goto("/conflicts?state=resolved")
    expect(card.first).to_contain_text("Undone by Ada Moreno")
    expect(card.first.get_by_role("button", name=re.compile("^Undo"))).to_have_count(0)
    accessible(page)
    nothing_more(church, pco)


def test_a_refusal_is_shown_beside_the_button(
    page: Page, window_of: Windows, church: Church, pco: str, nora: dict[str, Any]
) -> None:
    run = edited_there(church, pco, nora, last_name="Again")
    waiting = church.call("POST", "/people/undo", json={"run_id": run["id"]})
    page.goto(f"/people/{nora['id']}")
    page.get_by_role("button", name="Undo what syncs changed").press("Enter")
    expect(
        page.get_by_text("A sync is running. Nothing was started: wait until it ends or stop it, then undo.")
    ).to_be_visible()
    accessible(page)
    church.eventually(
        lambda: church.get(f"/people/runs/{waiting['id']}")["state"] == "waiting", "the plan waits for an answer"
    )
    church.call("POST", f"/people/runs/{waiting['id']}/stop")
    assert last_names(church, pco, nora) == ("Again", "Again")
    staff = window_of("Sam")
    for path in (f"/runs/{run['id']}", f"/people/{nora['id']}", f"/families/{nora['family_ids'][0]}"):
        staff.goto(path)
        expect(staff.get_by_role("heading", level=1)).to_be_visible()
        expect(staff.get_by_role("button", name=re.compile("^Undo"))).to_have_count(0)
