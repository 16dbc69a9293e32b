"""A person is erased in Chromium by keys, with a receipt that every service has filled, and is let back.

The tests of this module are chapters: each continues where the one before ended.
"""

import re
from typing import Any

import pytest
from pages import accessible, shot
from playwright.sync_api import Page, expect
from sides import there

from local_stack.church import Church

pytestmark = [pytest.mark.e2e, pytest.mark.browser]


def test_an_administrator_erases_somebody_by_keys(page: Page, church: Church, pco: str, nora: dict[str, Any]) -> None:
    page.goto(f"/people/{nora['id']}")
    button = page.get_by_role("button", name="Erase for good")
    button.press("Enter")
    dialog = page.get_by_role("dialog", name="Erase Nora Newcome for good?")
    expect(dialog).to_contain_text("Planning Center is not touched.")
    expect(dialog).to_contain_text("This cannot be taken back.")
    accessible(page)
    shot(page, "erase-question")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    erase = dialog.get_by_role("button", name="Erase Nora Newcome")
    erase.press("Enter")
    expect(dialog).to_contain_text("Say on whose request. Nothing was erased.")
    assert church.get(f"/people/members/{nora['id']}")["first_name"] == "Nora"
    own = dialog.get_by_label("At the person's own request")
    expect(own).to_be_focused()
    own.press("Space")
    erase.press("Enter")

    receipt = page.get_by_role("region", name="A person was erased")
    expect(page).to_have_url(re.compile("/people/erased"))
    expect(receipt.get_by_role("heading", level=2)).to_be_focused()
    # conflict-service learns of the erasure through Kafka, and its counts come back the same way.
    expect(receipt).to_contain_text("Complete")
    expect(receipt).to_contain_text("At the person's own request, by Ada Moreno")
    untouched = receipt.get_by_role("listitem").filter(has_text="Planning Center was not touched.")
    expect(untouched).to_contain_text("Not erased here")
    expect(page.get_by_role("main")).not_to_contain_text("Nora")
    accessible(page)
    shot(page, "erase-receipt")
    assert there(church, pco, nora)["first_name"] == "Nora"


def test_no_sync_brings_them_back_until_they_are_let_back(
    page: Page, church: Church, pco: str, nora: dict[str, Any]
) -> None:
    church.sync()
    assert church.members(q="Newcome") == []
    page.goto("/people")
    page.get_by_role("link", name="Erased people").press("Enter")
    page.get_by_role("button", name="Let back: syncs may add this person again").press("Enter")
    dialog = page.get_by_role("dialog", name="Let this person back?")
    dialog.get_by_role("button", name="Let back").press("Enter")
    expect(page.get_by_text("Let back by Ada Moreno")).to_be_visible()
    expect(page.get_by_role("button", name="Let back: syncs may add this person again")).to_have_count(0)
    church.sync()
    page.goto("/people?q=Newcome")
    expect(page.get_by_role("row", name=re.compile("Nora Newcome"))).to_be_visible()


def test_another_organization_may_come_after_a_refusal(page: Page) -> None:
    """An answered refusal goes, and what follows from the answer is in view."""
    page.goto("/")
    page.get_by_role("button", name="Disconnect").press("Enter")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Disconnect Planning Center People").press("Enter")
    dialog.get_by_role("button", name="Close").press("Enter", timeout=60_000)
    page.goto("/oauth/callback?state=never&code=begun")
    refusal = page.get_by_role("status").filter(has_text="Nothing was stored.")
    expect(refusal).to_be_visible()
    page.set_viewport_size({"width": 390, "height": 600})
    page.get_by_role("button", name="Connect another organization").press("Enter")
    hint = dialog.get_by_text(re.compile("^Type .* to confirm.$")).inner_text()
    name = hint.removeprefix("Type ").removesuffix(" to confirm.")
    typed = dialog.get_by_label("Name of the former organization")
    typed.press_sequentially(name[:-1])
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text(f'Name of the former organization differs from "{name}"')
    typed.press_sequentially(name[-1])
    page.keyboard.press("Enter")
    expect(page.get_by_text("Another Planning Center organization can be connected now.")).to_be_in_viewport()
    expect(refusal).to_have_count(0)
