"""A rule in Chromium: learned from five answers, shown, turned on, at work, turned off.

The tests of this module are chapters: each goes on where the one before ended.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from pages import ROOT, accessible, shot, signed_in, tab_to
from playwright.sync_api import Browser, Page, Route, expect

from local_stack.church import Church
from local_stack.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

NAME = "For last names, Planning Center is right"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One process of every service, and a vendor whose lists lag."""
    with Stack(
        tmp_path_factory.mktemp("rules"),
        people=60,
        environment={"people-sync": {"PCO_STALENESS_HORIZON_SECONDS": "2"}},
        simulator_settings={"lists_lag_ms": 500},
        cache=ROOT / ".cache",
    ) as running:
        yield running


@pytest.fixture(scope="module")
def church(stack: Stack) -> Iterator[Church]:
    """The first church, connected and synced once."""
    with Church.of(stack) as ada:
        ada.connect()
        ada.sync()
        yield ada


@pytest.fixture(scope="module")
def pco(church: Church) -> str:
    """Its organization in Planning Center."""
    return str(church.control.organizations()[0]["id"])


@pytest.fixture(scope="module")
def people(church: Church) -> list[dict[str, Any]]:
    """Adults who are in both places."""
    return [one for one in church.members(state="linked") if not one["child"]][:9]


def disagree(church: Church, pco: str, people: list[dict[str, Any]]) -> None:
    """Give each of them another last name on either side, and sync until that is known."""
    for member in people:
        church.change_member(member, last_name=f"Here-{member['link']['pco_id']}")
        church.edit_there(pco, member["link"]["pco_id"], last_name=f"There-{member['link']['pco_id']}")

    def known() -> bool:
        church.sync("incremental")
        return all(has_a_conflict(church, member) for member in people)

    church.eventually(known, "the conflicts are known")


def has_a_conflict(church: Church, member: dict[str, Any]) -> bool:
    """Open, being applied, or settled."""
    return any(
        church.get("/conflicts", record_id=member["id"], state=state)["items"]
        for state in ("open", "resolving", "resolved")
    )


def last_names(church: Church, pco: str, member: dict[str, Any]) -> tuple[str, str]:
    """Here and there."""
    there = next(
        row["attributes"]["last_name"]
        for row in church.control.dump(pco)
        if row["type"] == "Person" and row["id"] == member["link"]["pco_id"]
    )
    return church.get(f"/people/members/{member['id']}")["last_name"], there


def test_five_answers_offer_a_rule(page: Page, church: Church, pco: str, people: list[dict[str, Any]]) -> None:
    """By keys alone. The offer moves nothing under the reader's hands."""
    disagree(church, pco, people[:6])
    page.goto("/")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name=re.compile("Ada")).click()
    page.get_by_role("link", name=re.compile("Conflicts")).first.click()
    main = page.get_by_role("main")
    cards = main.get_by_role("region", name=re.compile("Here-"))
    ended = main.get_by_role("region", name=re.compile("There-"))
    expect(cards).to_have_count(6)
    page.keyboard.press("j")
    for number in range(5):
        expect(page.get_by_role("note")).to_have_count(0)
        focused = page.locator(":focus")
        expect(focused).to_contain_text("Here-")
        page.keyboard.press("2")
        page.keyboard.press("Enter")
        expect(ended.get_by_text("Settled")).to_have_count(number + 1)
    before = page.locator(":focus").text_content()
    offer = page.get_by_role("note")
    expect(offer).to_contain_text("A rule is offered.")
    assert page.locator(":focus").text_content() == before
    accessible(page)
    shot(page, "rule-offered-meanwhile")
    tab_to(page, "button", "Show").press("Enter")
    card = main.get_by_role("region", name="A rule is offered")
    expect(card).to_contain_text(f"You gave the same answer 5 times in a row. A rule can give it from now on: {NAME}.")
    expect(card.get_by_role("link", name="See what it would decide")).to_be_focused()
    accessible(page)
    shot(page, "rule-offered")


def test_what_it_would_decide_is_shown_first(
    page: Page, church: Church, pco: str, people: list[dict[str, Any]]
) -> None:
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=NAME, level=1)).to_be_visible()
    main = page.get_by_role("main")
    past = main.get_by_role("region", name="What it would have decided")
    expect(past).to_contain_text("it would have made 5 in the same way and 0 differently.")
    same = past.get_by_role("list", name="Where people decided the same")
    expect(same.get_by_role("listitem")).to_have_count(5)
    expect(same).to_contain_text("Ada Moreno chose Last name: Planning Center's (There-")
    now = main.get_by_role("region", name="What it decides now")
    expect(now).to_contain_text("exactly this open conflict is decided, here and in Planning Center.")
    expect(now.get_by_role("listitem")).to_contain_text(
        re.compile("Last name becomes There-.* here, in place of Here-")
    )
    accessible(page)
    shot(page, "rule-shown")
    # It can be narrowed, and says so.
    tab_to(page, "link", "Children").press("Enter")
    expect(
        page.get_by_role("heading", name="For last names of children, Planning Center is right", level=1)
    ).to_be_visible()
    expect(main.get_by_role("region", name="What it decides now")).to_contain_text("No open conflict fits.")
    page.go_back()
    expect(page.get_by_role("heading", name=NAME, level=1)).to_be_visible()
    # Another conflict comes while it is looked at: nothing is turned on.
    button = main.get_by_role("button", name="Turn on, and decide 1 conflict")
    expect(button).to_be_visible()
    disagree(church, pco, people[6:7])
    tab_to(page, "button", "Turn on, and decide 1 conflict").press("Enter")
    expect(main.get_by_role("status").filter(has_text="so the rule was not turned on")).to_be_visible()
    assert church.get("/conflicts/rules")["items"] == []
    assert church.get("/conflicts/count")["open"] == 2
    tab_to(page, "button", "Turn on, and decide 2 conflicts").press("Enter")
    expect(page.get_by_role("heading", name="Rules", level=1)).to_be_visible()
    expect(main.get_by_role("region", name="What was answered")).to_contain_text("2 conflicts are settled.")
    rule = main.get_by_role("region", name=NAME)
    expect(rule).to_contain_text("Turned on by Ada Moreno")
    expect(rule.get_by_role("link", name="2 conflicts")).to_be_visible()
    accessible(page)
    shot(page, "rules")
    for member in people[5:7]:
        assert last_names(church, pco, member) == (f"There-{member['link']['pco_id']}",) * 2


def test_a_new_conflict_is_decided_by_itself(
    page: Page, church: Church, pco: str, people: list[dict[str, Any]]
) -> None:
    member = people[7]
    disagree(church, pco, [member])
    name = f"There-{member['link']['pco_id']}"
    church.eventually(lambda: last_names(church, pco, member) == (name, name), "the rule has decided")
    church.eventually(lambda: church.get("/conflicts", state="resolving")["total"] == 0, "it is settled")
    assert church.get("/conflicts/count")["open"] == 0
    page.goto(f"/people/{member['id']}")
    row = page.get_by_role("main").get_by_role("row", name=re.compile(f"^Last name Here-.* {name}"))
    expect(row).to_contain_text(f"A rule ({NAME})")
    accessible(page)
    shot(page, "member-decided-by-a-rule")
    page.goto("/conflicts/rules")
    rule = page.get_by_role("main").get_by_role("region", name=NAME)
    rule.get_by_role("link", name="3 conflicts").press("Enter")
    cards = page.get_by_role("main").get_by_role("region", name=re.compile("There-"))
    expect(cards).to_have_count(3)
    expect(cards.first).to_contain_text(f"The rule “{NAME}” chose Last name: Planning Center's")
    accessible(page)
    shot(page, "conflicts-decided-by-a-rule")
    mark = church.control.summary()["last_seq"]
    church.sync()
    assert church.writes_since(mark) == []
    assert church.differences(pco) == []


def test_revert_asks_for_a_plan_of_what_it_did(page: Page, church: Church) -> None:
    """The plan itself is people-sync's."""
    [rule] = church.get("/conflicts/rules")["items"]
    run = church.get("/people/runs")["items"][0]
    asked: list[Any] = []

    def answer(route: Route) -> None:
        asked.append(json.loads(route.request.post_data or "null"))
        route.fulfill(status=202, json=run)

    page.route("**/api/v1/people/undo", answer)
    page.goto("/conflicts/rules")
    button = page.get_by_role("button", name=f"Revert what it did: {NAME}")
    button.press("Enter")
    dialog = page.get_by_role("dialog", name="Revert what this rule did?")
    expect(dialog).to_contain_text("Nothing is changed before you agree.")
    accessible(page)
    shot(page, "rule-revert")
    page.keyboard.press("Escape")
    expect(button).to_be_focused()
    assert asked == []
    page.keyboard.press("Enter")
    dialog.get_by_role("button", name="Show what would be put back").press("Enter")
    expect(page).to_have_url(re.compile(f"/runs/{run['id']}"))
    assert asked == [{"rule_id": rule["id"]}]
    page.unroute("**/api/v1/people/undo")


def test_off_and_deleted(page: Page, church: Church, pco: str, people: list[dict[str, Any]]) -> None:
    page.goto("/conflicts/rules")
    main = page.get_by_role("main")
    rule = main.get_by_role("region", name=NAME)
    rule.get_by_role("button", name=f"Turn off: {NAME}").press("Enter")
    expect(rule.get_by_text("Off", exact=True)).to_be_visible()
    expect(rule.get_by_role("heading")).to_be_focused()
    accessible(page)
    shot(page, "rule-off")
    disagree(church, pco, people[8:9])
    assert church.get("/conflicts/count")["open"] == 1
    # On again is shown first, too.
    rule.get_by_role("link", name=f"Turn on again: {NAME}").press("Enter")
    expect(main.get_by_role("button", name="Turn on, and decide 1 conflict")).to_be_visible()
    page.go_back()
    rule.get_by_role("button", name=f"Delete: {NAME}").press("Enter")
    dialog = page.get_by_role("dialog", name="Delete this rule?")
    accessible(page)
    shot(page, "rule-delete")
    dialog.get_by_role("button", name="Delete the rule").press("Enter")
    expect(main.get_by_role("heading", name="No rules yet")).to_be_visible()
    accessible(page)
    shot(page, "rules-none")
    page.goto(f"/people/{people[7]['id']}")
    expect(main.get_by_role("row", name=re.compile("^Last name Here-"))).to_contain_text(f"A rule ({NAME})")


def test_staff_see_rules_and_turn_none_on(browser: Browser, stack: Stack, church: Church) -> None:
    body = {"fields": ["email"], "answer": "theirs"}
    shown = church.call("POST", "/conflicts/rules/preview", json=body)
    church.call("POST", "/conflicts/rules", json=body | {"digest": shown["digest"]})
    sam = signed_in(browser, stack, "Sam")
    sam.goto("/conflicts/rules")
    rule = sam.get_by_role("main").get_by_role("region", name="For emails, Planning Center is right")
    expect(rule).to_contain_text("It has not decided anything yet.")
    expect(sam.get_by_role("main").get_by_role("button")).to_have_count(0)
    sam.goto("/conflicts/rules/new?fields=phone")
    expect(sam.get_by_role("main")).to_contain_text("Only an administrator can turn on a rule.")
    sam.context.close()
