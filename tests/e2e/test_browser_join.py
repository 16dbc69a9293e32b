"""Two people here who are one person in Planning Center, in Chromium: compared, joined, kept as two.

The tests of this module are chapters: each continues where the one before ended.
"""

import re
from copy import deepcopy
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pages import Windows, accessible, shot
from playwright.sync_api import Page, Route, expect
from sides import merged, person_there, writes_nothing

from local_stack.church import Church

pytestmark = [pytest.mark.e2e, pytest.mark.browser]


def two_riveras(church: Church, pco: str, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Linked Maria, and Mary, whose person was merged into Maria's; Mary has a family and more values."""
    maria = church.add_member(first_name="Maria", last_name=f"Rivera{number}", email=f"maria{number}@example.org")
    mary = church.add_member(first_name="Mary", last_name=f"Rivera{number}", external_id=f"mary-{number}")
    church.add_family(f"Riveras {number}", mary)
    church.sync("incremental")
    pair = [dict(church.get(f"/people/members/{one['id']}")) for one in (maria, mary)]
    merged(church, pco, *pair)
    church.change_member(church.get(f"/people/members/{mary['id']}"), birthdate="1980-02-03")
    return pair[0], pair[1]


def settled(church: Church, pco: str) -> None:
    """Check that both sides agree, and that a sync writes nothing."""
    church.eventually(lambda: church.sync()["counts"].keys() <= {"unchanged"}, "both sides agree")
    writes_nothing(church, pco)


def test_two_are_joined_by_keys_alone(page: Page, church: Church, pco: str) -> None:
    maria, mary = two_riveras(church, pco, 1)
    page.goto("/")
    page.get_by_role("link", name=re.compile("1 held match")).first.click()
    card = page.get_by_role("region", name="Mary Rivera1 and Maria Rivera1")
    expect(card).to_contain_text("Mary Rivera1 and Maria Rivera1 are one person in Planning Center")
    name = card.get_by_role("row", name=re.compile("^First name "))
    expect(name.get_by_role("strong")).to_have_text("Mary")
    expect(name).to_contain_text("you choose")
    expect(card.get_by_role("row", name=re.compile("^Birthdate ")).get_by_role("insertion")).to_be_visible()
    expect(card.get_by_role("row", name=re.compile("^Families "))).to_contain_text("Riveras 1")
    accessible(page)
    shot(page, "merged-pair")
    card.get_by_role("button", name="Join them here").focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Join Mary Rivera1 to Maria Rivera1?")
    for told in ("in Riveras 1", "mary-1", "History:", "birthdate", "This cannot be taken back"):
        expect(dialog).to_contain_text(told)
    group = dialog.get_by_role("group", name="First name afterwards")
    expect(group.get_by_role("radio", name="Maria")).to_be_checked()
    accessible(page)
    shot(page, "merged-join")
    # Escape changes no data and returns the focus.
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(card.get_by_role("button", name="Join them here")).to_be_focused()
    page.keyboard.press("Enter")
    group.get_by_role("radio", name="Maria").focus()
    page.keyboard.press("ArrowDown")
    expect(group.get_by_role("radio", name="Mary")).to_be_checked()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(dialog.get_by_role("button", name="Join them here")).to_be_focused()
    page.keyboard.press("Enter")
    expect(card).to_have_count(0)
    expect(page.get_by_role("heading", name="Held matches", level=1)).to_be_focused()
    expect(page.get_by_role("heading", name="No held matches")).to_be_visible()
    answered = page.get_by_role("main").get_by_text("was joined to")
    expect(answered.get_by_role("link", name=re.compile("^See Maria "))).to_be_visible()
    stays = church.get(f"/people/members/{maria['id']}")
    assert (stays["first_name"], stays["birthdate"], stays["external_id"]) == ("Mary", "1980-02-03", "mary-1")
    assert len(stays["family_ids"]) == 1
    church.eventually(
        lambda: (person_there(church, pco, maria["link"]["pco_id"]) or {}).get("birthdate") == "1980-02-03",
        "Planning Center has it",
    )
    settled(church, pco)
    # The joined member's address leads to the one who stays, with a notice.
    page.goto(f"/people/{mary['id']}")
    expect(page).to_have_url(re.compile(f"/people/{maria['id']}"))
    main = page.get_by_role("main")
    expect(main.get_by_text("The record that you opened was joined to this one")).to_be_visible()
    row = main.get_by_role("row", name=re.compile("^Joined with"))
    expect(row).to_contain_text("Mary Rivera1")
    expect(row).to_contain_text("Ada Moreno")
    expect(main.get_by_role("row", name=re.compile("^Birthdate of Mary Rivera1"))).to_be_visible()
    accessible(page)
    shot(page, "member-joined")


def test_a_member_that_changes_under_the_reader(page: Page, church: Church, pco: str) -> None:
    """One of the two changes while the dialog is open: they are not joined, and the notice offers the next step."""
    _, mary = two_riveras(church, pco, 2)
    page.goto(f"/people/{mary['id']}")
    main = page.get_by_role("main")
    expect(main.get_by_text("Merged with Maria Rivera2 in Planning Center, and kept here.")).to_be_visible()
    accessible(page)
    shot(page, "member-merged")
    main.get_by_role("link", name="Say whether the two are one person").click()
    card = page.get_by_role("region", name="Mary Rivera2 and Maria Rivera2")
    card.get_by_role("button", name="Join them here").click()
    dialog = page.get_by_role("dialog", name="Join Mary Rivera2 to Maria Rivera2?")
    church.change_member(church.get(f"/people/members/{mary['id']}"), gender="Female")
    dialog.get_by_role("button", name="Join them here").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Somebody changed one of the two since you read them.")
    accessible(page)
    shot(page, "merged-moved")
    dialog.get_by_role("button", name="Show them as they are now").click()
    expect(dialog).to_have_count(0)
    expect(card.get_by_role("row", name=re.compile("^Gender "))).to_contain_text("Female")
    assert church.get(f"/people/members/{mary['id']}")["link"]["state"] == "gone"


def test_two_are_kept_asked_about_again_and_created_again(page: Page, church: Church, pco: str) -> None:
    [pair] = church.get("/people/merged")["items"]
    mary = pair["joins"]["member"]
    page.goto("/held")
    card = page.get_by_role("region", name="Mary Rivera2 and Maria Rivera2")
    card.get_by_role("button", name="Keep two").press("Enter")
    expect(card).to_have_count(0)
    page.get_by_role("link", name="Different people").click()
    expect(card).to_contain_text("Kept as two people")
    accessible(page)
    shot(page, "merged-kept")
    card.get_by_role("button", name="Ask again").press("Enter")
    expect(card).to_have_count(0)
    page.goto("/held")
    card.get_by_role("button", name="Keep two").press("Enter")
    expect(card).to_have_count(0)
    page.goto(f"/people/{mary['id']}")
    main = page.get_by_role("main")
    expect(main.get_by_text("An administrator said that they are two people.")).to_be_visible()
    accessible(page)
    main.get_by_role("button", name="Create again in Planning Center").press("Enter")
    church.eventually(
        lambda: church.get(f"/people/members/{mary['id']}")["link"]["state"] == "linked", "Mary is there again"
    )
    made = church.get(f"/people/members/{mary['id']}")["link"]["pco_id"]
    assert made != pair["pco_id"]
    assert (person_there(church, pco, made) or {})["first_name"] == "Mary"
    settled(church, pco)


def test_staff_look_and_do_not_answer(window_of: Windows, church: Church, pco: str) -> None:
    two_riveras(church, pco, 3)
    sam = window_of("Sam")
    sam.goto("/held")
    card = sam.get_by_role("region", name="Mary Rivera3 and Maria Rivera3")
    expect(card).to_be_visible()
    expect(sam.get_by_role("main")).to_contain_text("until an administrator answers")
    expect(card.get_by_role("button")).to_have_count(0)
    more_pairs_have_the_focus(sam, church.get("/people/merged")["items"][0])


def more_pairs_have_the_focus(page: Page, pair: dict[str, Any]) -> None:
    """The first pair of the next page is focused; a stub answers with 30 pairs."""
    every = [deepcopy(pair) for _ in range(30)]
    for number, one in enumerate(every):
        one["joins"]["member"] |= {"id": f"joins-{number}", "first_name": f"Mary {number}"}

    def answer(route: Route) -> None:
        most = int(parse_qs(urlsplit(route.request.url).query)["limit"][0])
        route.fulfill(json={"items": every[:most], "next": "more" if most < len(every) else None, "total": len(every)})

    page.route("**/api/v1/people/merged?*", answer)
    page.goto("/held")
    button = page.get_by_role("button", name="Load more pairs")
    button.press("Enter")
    expect(button).to_have_count(0)
    expect(page.get_by_role("heading", name="Mary 25 Rivera3 and Maria Rivera3")).to_be_focused()
    accessible(page)
