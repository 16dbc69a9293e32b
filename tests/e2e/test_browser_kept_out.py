"""People and families kept out of the sync in Chromium, by keys.

The tests of this module are chapters: each continues where the one before ended.
"""

import re
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from pages import Windows, accessible, shot
from playwright.sync_api import Page, expect
from sides import there, writes_nothing

from local_stack.church import Church

pytestmark = [pytest.mark.e2e, pytest.mark.browser]


def names_there(church: Church, pco: str, member: dict[str, Any]) -> tuple[str, str]:
    """The value in Planning Center."""
    person = there(church, pco, member)
    return person["first_name"], person["last_name"]


def test_a_person_is_kept_out_by_keys(page: Page, church: Church, pco: str, nora: dict[str, Any]) -> None:
    page.goto(f"/people/{nora['id']}")
    button = page.get_by_role("button", name="Keep out of the sync")
    button.press("Enter")
    dialog = page.get_by_role("dialog", name="Keep Nora Newcome out of the sync?")
    expect(dialog).to_contain_text("nothing is sent to Planning Center, and nothing is taken over from there")
    accessible(page)
    shot(page, "kept-out-question")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(button).to_be_focused()
    assert church.get(f"/people/members/{nora['id']}")["kept_out"] is False
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(dialog.get_by_role("button", name="Keep out of the sync")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Kept out of the sync by Ada Moreno")).to_be_visible()
    expect(page.get_by_role("button", name="Sync again")).to_be_visible()
    expect(page.get_by_role("button", name="Sync this person now")).to_have_count(0)
    expect(page.get_by_role("row", name=re.compile("^Kept out of the sync No Yes"))).to_contain_text("Ada Moreno")
    accessible(page)
    shot(page, "kept-out-person")


def test_a_person_kept_out_is_counted_and_listed_apart(
    page: Page, church: Church, pco: str, nora: dict[str, Any]
) -> None:
    church.change_member(nora, last_name="Ours")
    church.edit_there(pco, nora["link"]["pco_id"], first_name="Norah")
    mark = church.control.summary()["last_seq"]
    run = church.sync()
    assert church.writes_since(mark, pco) == []
    assert names_there(church, pco, nora) == ("Norah", "Newcome")
    page.goto("/")
    page.get_by_role("link", name="1 person kept out of the sync").press("Enter")
    row = page.get_by_role("row", name=re.compile("Nora Ours"))
    expect(row).to_contain_text("Kept out of the sync")
    expect(page.get_by_role("table").get_by_role("row")).to_have_count(2)
    accessible(page)
    shot(page, "kept-out-people")
    page.goto(f"/runs/{run['id']}")
    page.get_by_role("link", name="Kept out of the sync").press("Enter")
    expect(page.get_by_role("row", name=re.compile("Nora Ours"))).to_contain_text("left as it is on both sides")
    assert run["counts"].keys() == {"unchanged", "kept_out"}
    expect(page.get_by_role("button", name="Undo this sync")).to_have_count(0)
    accessible(page)
    shot(page, "kept-out-run")


def test_synced_again_both_sides_are_compared(page: Page, church: Church, pco: str, nora: dict[str, Any]) -> None:
    """Each side has an edit, which is a conflict without an overwrite."""
    page.goto(f"/people/{nora['id']}")
    page.get_by_role("button", name="Sync again").press("Enter")
    dialog = page.get_by_role("dialog", name="Sync Nora Ours again?")
    expect(dialog).to_contain_text("compared with what they last agreed on")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Kept out of the sync by")).to_have_count(0)
    expect(page.get_by_text("In conflict", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Sync this person now")).to_be_visible()
    assert names_there(church, pco, nora) == ("Norah", "Newcome")


def test_a_family_with_its_people(
    page: Page, window_of: Windows, church: Church, pco: str, nora: dict[str, Any]
) -> None:
    """Check that another reader's page follows at once."""
    family = next(one for one in church.families() if len(one["member_ids"]) > 1)
    names = {one["id"]: f"{one['first_name']} {one['last_name']}" for one in church.members()}
    other = window_of("Sam")
    other.goto(f"/families/{family['id']}")
    expect(other.get_by_role("button", name="Keep out of the sync")).to_have_count(0)
    page.goto(f"/families/{family['id']}")
    page.get_by_role("button", name="Keep out of the sync").press("Enter")
    dialog = page.get_by_role("dialog")
    for member in family["member_ids"]:
        expect(dialog).to_contain_text(names[member])
    expect(dialog).to_contain_text(f"{len(family['member_ids'])} people in it now")
    accessible(page)
    shot(page, "kept-out-family-question")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(
        page.get_by_text(f"The sync leaves the family and {len(family['member_ids'])} people as they are")
    ).to_be_visible()
    expect(other.get_by_text("Kept out of the sync by Ada Moreno")).to_be_visible()
    accessible(page)
    shot(page, "kept-out-family")
    page.goto(f"/people/{family['member_ids'][0]}")
    expect(page.get_by_text(f"Kept out of the sync with {family['name']} by Ada Moreno")).to_be_visible()
    page.get_by_role("link", name=family["name"]).first.press("Enter")
    page.get_by_role("button", name="Sync again").press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text(f"{len(family['member_ids'])} people kept out with it")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Kept out of the sync by")).to_have_count(0)
    expect(other.get_by_text("Kept out of the sync by")).to_have_count(0)
    assert church.get("/people/status")["kept_out"] == 0
    writes_nothing(church, pco)


def test_a_short_search_says_that_more_people_match(page: Page, church: Church) -> None:
    names = [f"{one['first_name']} {one['last_name']}".lower() for one in church.members()]
    pairs = Counter(pair for name in names for pair in {first + second for first, second in pairwise(name)})
    [(common, found)] = Counter({pair: many for pair, many in pairs.items() if pair.isalpha()}).most_common(1)
    assert found > 8
    page.goto("/families/new")
    search = page.get_by_role("searchbox", name="Find people to add")
    more = page.get_by_text("More people match: type more of the name.")
    search.press_sequentially(common)
    expect(more).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("^Add .*"))).to_have_count(9)
    search.press_sequentially(" nobody has this name")
    expect(page.get_by_text("Nobody else matches.")).to_be_visible()
    expect(more).to_have_count(0)
