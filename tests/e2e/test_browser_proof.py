"""Proof of sync in Chromium: the statement names every difference and only those, and the person's page says why."""

import re

import pytest
from pages import accessible, shot
from playwright.sync_api import Page, expect

from local_stack.church import Church

pytestmark = [pytest.mark.e2e, pytest.mark.browser]


def test_the_statement_names_what_differs(page: Page, church: Church) -> None:
    """An edit here is named until the next sync, and the statement after that omits it."""
    member = church.get("/people/members", limit=1, state="linked")["items"][0]
    church.change_member(member, last_name="Changed")
    page.goto("/runs")
    page.get_by_role("main").get_by_role("link", name="Integrations").press("Enter")
    page.get_by_role("link", name="Proof of sync").press("Enter")
    expect(page.get_by_role("heading", name="Proof of sync", level=1)).to_be_focused()
    expect(page.get_by_role("heading", name="No comparison yet")).to_be_visible()
    for _ in range(2):
        page.get_by_role("button", name="Compare now").press("Enter")
        expect(page.get_by_text("This comparison wrote nothing")).to_be_visible(timeout=60_000)
        expect(page.get_by_role("link", name=re.compile("Waiting for the next sync"))).to_be_visible()
        expect(page.get_by_role("button", name="Undo this sync")).to_have_count(0)
        accessible(page)
        page.get_by_role("link", name="Proof of sync").press("Enter")
    expect(
        page.get_by_role("heading", name=re.compile("identical on both sides, 1 waits for the next"))
    ).to_be_visible()
    expect(page.get_by_role("img", name="People who differed: 1, 1")).to_be_visible()
    file = page.get_by_role("button", name="Download as CSV").bounding_box()
    assert file is not None
    assert file["width"] < 300
    page.get_by_text("The same numbers as a table").press("Enter")
    expect(page.get_by_role("table")).to_be_visible()
    accessible(page)
    shot(page, "proof")
    page.get_by_role("link", name="Waiting for the next sync: 1 record").press("Enter")
    page.get_by_role("link", name=re.compile("Changed$")).press("Enter")
    expect(page.get_by_role("heading", name="Why different?")).to_be_visible()
    expect(page.get_by_text("Changed since the last sync")).to_be_visible()
    accessible(page)
    shot(page, "why-different")
    church.sync()
    expect(page.get_by_text("Both sides have the same values")).to_be_visible(timeout=30_000)
