"""A rule in Chromium: learned from five answers, shown, turned on, at work, turned off.

The tests of this module are chapters: each continues where the one before ended.
"""

import re
from typing import Any

import pytest
from pages import Windows, accessible, approved, shot, tab_to
from playwright.sync_api import Locator, Page, expect
from sides import last_names, nothing_more

from local_stack.church import Church

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

NAME = "For last names, Planning Center is right"


@pytest.fixture(scope="module")
def people(church: Church) -> list[dict[str, Any]]:
    """Linked adults."""
    return [one for one in church.members(state="linked") if not one["child"]][:10]


@pytest.fixture
def rule(page: Page) -> Locator:
    """The rule's card on the page of all rules."""
    page.goto("/conflicts/rules")
    return page.get_by_role("main").get_by_role("region", name=NAME)


def disagree(church: Church, pco: str, people: list[dict[str, Any]]) -> None:
    """Give each of these members different last names on both sides, and sync until the conflicts are known."""
    for member in people:
        church.change_member(member, last_name=here_of(member))
        church.edit_there(pco, member["link"]["pco_id"], last_name=there_of(member))

    def known() -> bool:
        church.sync("incremental")
        return all(has_a_conflict(church, member) for member in people)

    church.eventually(known, "the conflicts are known")


def here_of(member: dict[str, Any]) -> str:
    """The last name that `disagree` gives here."""
    return f"Here-{member['link']['pco_id']}"


def there_of(member: dict[str, Any]) -> str:
    """The last name that `disagree` gives in Planning Center."""
    return f"There-{member['link']['pco_id']}"


def has_a_conflict(church: Church, member: dict[str, Any]) -> bool:
    """Open, being applied, or settled."""
    return any(
        church.get("/conflicts", record_id=member["id"], state=state)["items"]
        for state in ("open", "resolving", "resolved")
    )


def test_five_answers_offer_a_rule(page: Page, church: Church, pco: str, people: list[dict[str, Any]]) -> None:
    """By keys alone. The offer moves no element in use."""
    disagree(church, pco, people[:6])
    page.goto("/")
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


def test_a_rule_is_previewed(page: Page, church: Church, pco: str, people: list[dict[str, Any]]) -> None:
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
    # The rule can be narrowed, and the preview says so.
    tab_to(page, "link", "Children").press("Enter")
    expect(
        page.get_by_role("heading", name="For last names of children, Planning Center is right", level=1)
    ).to_be_visible()
    expect(main.get_by_role("region", name="What it decides now")).to_contain_text("No open conflict fits.")
    page.go_back()
    expect(page.get_by_role("heading", name=NAME, level=1)).to_be_visible()
    # Another conflict arrives during the preview, so the rule is not turned on.
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
        assert last_names(church, pco, member) == (there_of(member),) * 2


def test_a_new_conflict_is_decided_by_itself(
    page: Page, church: Church, pco: str, people: list[dict[str, Any]]
) -> None:
    member = people[7]
    disagree(church, pco, [member])
    name = there_of(member)
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
    nothing_more(church, pco)


def test_a_rules_decision_has_no_undo_of_its_own(page: Page, rule: Locator) -> None:
    """A conflict decided by a rule has no *Undo* of its own, and links to the rule."""
    rule.get_by_role("link", name="3 conflicts").press("Enter")
    main = page.get_by_role("main")
    expect(main.get_by_role("region", name=re.compile("There-"))).to_have_count(3)
    expect(main.get_by_role("button", name=re.compile("^Undo"))).to_have_count(0)
    main.get_by_role("link", name="Go to the rule").first.press("Enter")
    expect(rule.get_by_role("heading")).to_be_focused()
    # A conflict decided by a person has one.
    page.goto("/conflicts?state=resolved")
    expect(main.get_by_role("link", name="Go to the rule")).to_have_count(3)
    expect(main.get_by_role("button", name=re.compile("^Undo the decision"))).to_have_count(5)
    accessible(page)
    shot(page, "conflicts-settled")


def test_a_rule_is_reverted(page: Page, church: Church, pco: str, people: list[dict[str, Any]], rule: Locator) -> None:
    """Afterwards both sides have our values from before the rule; people's decisions and the rule stay."""
    [made] = church.get("/conflicts/rules")["items"]
    ids = [one["record"]["id"] for one in church.get("/conflicts", rule_id=made["id"], state="resolved")["items"]]
    decided = [one for one in people[:8] if one["id"] in ids]
    by_people = [one for one in people[:8] if one["id"] not in ids]
    assert (len(decided), len(by_people)) == (3, 5)
    edited = decided[0]
    church.change_member(church.get(f"/people/members/{edited['id']}"), last_name="Edited since")
    church.sync("incremental")
    button = rule.get_by_role("button", name=f"Revert what it did: {NAME}")
    button.press("Enter")
    dialog = page.get_by_role("dialog", name="Revert what this rule did?")
    expect(dialog).to_contain_text("Nothing is changed before you agree.")
    accessible(page)
    shot(page, "rule-revert")
    page.keyboard.press("Escape")
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    mark = church.control.summary()["last_seq"]
    dialog.get_by_role("button", name="Show what would be put back").press("Enter")
    expect(page.get_by_text("2 records would change")).to_be_visible()
    plan = page.get_by_role("list", name="Records of the plan")
    for member in decided:
        expect(plan).to_contain_text(member["first_name"])
    assert church.writes_since(mark, pco) == []
    assert last_names(church, pco, decided[1]) == (there_of(decided[1]),) * 2
    run = approved(page, church, "rule-revert-plan")
    assert (run["purpose"], run["counts"]["undone"]) == ("undo", 2)
    assert last_names(church, pco, edited) == ("Edited since",) * 2
    for member in decided[1:]:
        assert last_names(church, pco, member) == (here_of(member),) * 2
    for member in by_people:
        assert last_names(church, pco, member) == (there_of(member),) * 2
    nothing_more(church, pco)
    assert church.get("/conflicts/count")["open"] == 0
    page.goto(f"/people/{decided[1]['id']}")
    back = page.get_by_role("main").get_by_role("row", name=re.compile(f"^Last name {there_of(decided[1])} Here-"))
    expect(back.first).to_contain_text("Ada Moreno")
    accessible(page)
    shot(page, "member-rule-reverted")
    page.goto("/conflicts/rules")
    expect(rule.get_by_text("On", exact=True)).to_be_visible()
    expect(rule).to_contain_text("Reverted by Ada Moreno")
    expect(rule).to_contain_text("3 conflicts were settled.")
    expect(rule.get_by_role("button", name=f"Revert what it did since: {NAME}")).to_be_visible()
    # The rule stays on, as the page says, and decides new conflicts.
    fresh = people[9]
    disagree(church, pco, [fresh])
    church.eventually(lambda: last_names(church, pco, fresh) == (there_of(fresh),) * 2, "the rule has decided")
    church.eventually(lambda: church.get("/conflicts", state="resolving")["total"] == 0, "it is settled")
    nothing_more(church, pco)


def test_off_and_deleted(page: Page, church: Church, pco: str, people: list[dict[str, Any]], rule: Locator) -> None:
    main = page.get_by_role("main")
    rule.get_by_role("button", name=f"Turn off: {NAME}").press("Enter")
    expect(rule.get_by_text("Off", exact=True)).to_be_visible()
    expect(rule.get_by_role("heading")).to_be_focused()
    accessible(page)
    shot(page, "rule-off")
    disagree(church, pco, people[8:9])
    assert church.get("/conflicts/count")["open"] == 1
    # Turning on again is previewed, too.
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
    page.goto(f"/people/{people[9]['id']}")
    expect(main.get_by_role("row", name=re.compile("^Last name Here-"))).to_contain_text(f"A rule ({NAME})")
    # Its name and link stay in the history.
    page.goto("/conflicts?state=resolved")
    main.get_by_role("link", name="Go to the rule").first.press("Enter")
    expect(main.get_by_role("status")).to_contain_text("This rule was deleted. What it decided stays.")


def test_staff_see_rules_and_turn_none_on(window_of: Windows, church: Church) -> None:
    body = {"fields": ["email"], "answer": "theirs"}
    shown = church.call("POST", "/conflicts/rules/preview", json=body)
    church.call("POST", "/conflicts/rules", json=body | {"digest": shown["digest"]})
    sam = window_of("Sam")
    sam.goto("/conflicts/rules")
    rule = sam.get_by_role("main").get_by_role("region", name="For emails, Planning Center is right")
    expect(rule).to_contain_text("This rule has not decided anything yet.")
    expect(sam.get_by_role("main").get_by_role("button")).to_have_text(["Download as CSV"])
    sam.goto("/conflicts/rules/new?fields=phone")
    expect(sam.get_by_role("main")).to_contain_text("Only an administrator can turn on a rule.")
