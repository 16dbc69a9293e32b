"""The statement of a church after every kind of answer, in Chromium: exactly the differing records.

The tests of this module are chapters: each continues where the one before ended. Last names tell people's roles.
"""

import re
from typing import Any

import pytest
from pages import accessible, approved, shot
from playwright.sync_api import Locator, Page, expect
from sides import disagree, edited_there, last_names, merged, there, writes_nothing

from local_stack.church import Church

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

Member = dict[str, Any]
ANSWERED = ("ours", "theirs", "field by field", "both", "nobody", "bulk one", "bulk two", "a rule", "the rule again")
"""Answers to the conflicts by last name; None leaves one open."""
OTHERS = ("previewed", "undone", "kept out")
BORN: tuple[Member, Member] = ({"birthdate": "1981-02-03"}, {"birthdate": "1982-03-04"})
"""Values here and in Planning Center of the person whose conflict is answered field by field."""


@pytest.fixture(scope="module")
def people(church: Church) -> dict[str, Member]:
    """Linked adults by role."""
    adults = [one for one in church.members(state="linked") if not one["child"]]
    return dict(zip((*ANSWERED, *OTHERS), adults, strict=False))


def named(church: Church, member: Member) -> str:
    """Their present names."""
    now = church.get(f"/people/members/{member['id']}")
    return f"{now['first_name']} {now['last_name']}"


def test_conflicts_one_by_one(page: Page, church: Church, pco: str, people: dict[str, Member]) -> None:
    """Answers ours, theirs, field by field, and both; one conflict stays open."""
    for how in ANSWERED[:5]:
        born_here, born_there = BORN if how == "field by field" else ({}, {})
        church.change_member(people[how], last_name=f"Here {how}", **born_here)
        church.edit_there(pco, people[how]["link"]["pco_id"], last_name=f"There {how}", **born_there)

    def opened() -> bool:
        church.sync("incremental")
        return bool(church.get("/conflicts/count")["open"] == 5)

    church.eventually(opened, "the conflicts are open")
    page.goto("/conflicts")
    main = page.get_by_role("main")

    def card(how: str) -> Locator:
        return main.get_by_role("region", name=re.compile(f"(Here|There) {how}$"))

    for how, button in (("ours", "Keep ours"), ("theirs", "Keep Planning Center's"), ("both", "Keep both different")):
        card(how).get_by_role("button", name=f"{button}, in every field of").click()
        card(how).get_by_role("button", name=re.compile("^Apply to")).click()
        expect(card(how).get_by_text("Settled")).to_be_visible()
    fields = card("field by field")
    for field, whose in (("Last name", "Here"), ("Birthdate", "Planning Center")):
        group = fields.get_by_role("group", name=re.compile(f"^{field} of "))
        group.get_by_role("radio", name=whose).check()
    fields.get_by_role("button", name=re.compile("^Apply to")).click()
    expect(fields.get_by_text("Settled")).to_be_visible()
    assert last_names(church, pco, people["ours"]) == ("Here ours",) * 2
    assert last_names(church, pco, people["theirs"]) == ("There theirs",) * 2
    assert last_names(church, pco, people["both"]) == ("Here both", "There both")
    both = there(church, pco, people["field by field"])
    assert (both["last_name"], both["birthdate"]) == ("Here field by field", "1982-03-04")
    page.goto(f"/people/{people['both']['id']}")
    expect(main.get_by_role("row").filter(has_text="keeps it different from")).to_contain_text("not changed")


def test_conflicts_by_one_answer_and_by_a_rule(page: Page, church: Church, pco: str, people: dict[str, Member]) -> None:
    for how in ("bulk one", "bulk two"):
        disagree(church, pco, people[how], {"birthdate": "1983-01-01"}, {"birthdate": "1984-01-01"})
    page.goto("/conflicts?field=birthdate")
    main = page.get_by_role("main")
    main.get_by_role("button", name="All: keep Planning Center's").click()
    page.get_by_role("dialog").get_by_role("button", name="Answer 2 conflicts").click()
    expect(main.get_by_role("region", name="What was answered")).to_contain_text("2 conflicts are settled.")
    disagree(church, pco, people["a rule"], {"first_name": "Herefirst"}, {"first_name": "Therefirst"})
    page.goto("/conflicts/rules/new?fields=first_name&answer=ours")
    main.get_by_role("button", name="Turn on, and decide 1 conflict").click()
    expect(main.get_by_role("region", name="What was answered")).to_contain_text("1 conflict is settled.")
    again = people["the rule again"]
    church.change_member(again, first_name="Hereagain")
    church.edit_there(pco, again["link"]["pco_id"], first_name="Thereagain")

    def decided() -> bool:
        church.sync("incremental")
        return bool(there(church, pco, again)["first_name"] == "Hereagain")

    church.eventually(decided, "the rule has decided")
    for how in ("bulk one", "bulk two"):
        assert church.get(f"/people/members/{people[how]['id']}")["birthdate"] == "1984-01-01"


def test_previewed_undone_and_kept_out(page: Page, church: Church, pco: str, people: dict[str, Member]) -> None:
    church.change_member(people["previewed"], last_name="Here previewed")
    page.goto("/")
    page.get_by_role("button", name="Preview").click()
    page.get_by_role("button", name=re.compile("^Make th")).click(timeout=60_000)
    expect(page.get_by_role("region", name="State")).to_contain_text("Done")
    assert last_names(church, pco, people["previewed"]) == ("Here previewed",) * 2
    undone = people["undone"]
    run = edited_there(church, pco, undone, last_name="There undone")
    page.goto(f"/runs/{run['id']}")
    page.get_by_role("button", name="Undo this sync").click()
    approved(page, church, "statement-undo-plan")
    assert last_names(church, pco, undone) == (undone["last_name"],) * 2
    out = people["kept out"]
    page.goto(f"/people/{out['id']}")
    page.get_by_role("button", name="Keep out of the sync").click()
    page.get_by_role("dialog").get_by_role("button", name="Keep out of the sync").click()
    expect(page.get_by_text("Kept out of the sync by Ada Moreno")).to_be_visible()
    church.change_member(out, last_name="Here kept out")
    church.edit_there(pco, out["link"]["pco_id"], first_name="Theresa")
    church.sync("incremental")
    assert last_names(church, pco, out) == ("Here kept out", out["last_name"])


def test_two_are_joined_and_one_is_held(page: Page, church: Church, pco: str) -> None:
    two = [church.add_member(first_name=name, last_name="Here joined") for name in ("Maria", "Mary")]
    church.sync("incremental")
    merged(church, pco, *(dict(church.get(f"/people/members/{one['id']}")) for one in two))
    page.goto("/held")
    card = page.get_by_role("region", name="Mary Here joined and Maria Here joined")
    card.get_by_role("button", name="Join them here").click()
    page.get_by_role("dialog").get_by_role("button", name="Join them here").click()
    expect(card).to_have_count(0)
    church.add_member(first_name="Tess", last_name="Held", email="tess@example.org")
    church.control.create_person(pco, first_name="Tess", last_name="Held", middle_name="Quill")
    church.eventually(lambda: church.sync()["counts"].get("held"), "Tess is held")


def compared(page: Page) -> None:
    """*Compare now*, to its end, and the result."""
    page.goto("/")
    page.get_by_role("link", name="Proof of sync").press("Enter")
    page.get_by_role("button", name="Compare now").press("Enter")
    expect(page.get_by_text("This comparison wrote nothing")).to_be_visible(timeout=60_000)
    page.get_by_role("link", name="Proof of sync").press("Enter")


def only_on_one_side(church: Church, pco: str, side: str) -> list[str]:
    """Lines about people who exist on one side only."""
    return [line for line in church.differences(pco) if re.match(f"person .* is only {side}$", line)]


def test_the_statement_names_every_difference_and_only_those(
    page: Page, church: Church, pco: str, people: dict[str, Member]
) -> None:
    """Compares the statement with members here and Planning Center's rows, field by field."""
    kept, open_, out = people["both"], people["nobody"], people["kept out"]
    assert church.apart(pco) == {
        kept["id"]: ["last_name"],
        open_["id"]: ["last_name"],
        out["id"]: ["first_name", "last_name"],
    }
    assert only_on_one_side(church, pco, "here") == ["person Tess Held is only here"]
    assert len(only_on_one_side(church, pco, "there")) == 1
    identical = len(church.members(state="linked")) - 3
    mark = church.control.summary()["last_seq"]
    compared(page)
    assert church.writes_since(mark, pco) == []
    said = page.get_by_role("region", name=f"{identical} of {identical + 4} people identical on both sides")
    expect(said.get_by_role("heading")).to_contain_text(
        "1 differs because you keep it different, 3 wait for your answer."
    )
    families = len(church.families())
    expect(said).to_contain_text(f"{families} of {families} families identical.")
    waiting = [named(church, open_), "Tess Held", "Tess Held"]
    lists = {
        "Kept different: 1 record": [named(church, kept)],
        "Waiting for your answer: 3 records": waiting,
        "Kept out of the sync: 1 record": [named(church, out)],
    }
    expect(said.get_by_role("listitem")).to_have_text(list(lists))
    accessible(page)
    shot(page, "statement")
    for label, names in lists.items():
        said.get_by_role("link", name=label).press("Enter")
        table = page.get_by_role("table", name=label.partition(":")[0])
        expect(table.get_by_role("rowheader").get_by_role("link")).to_have_count(len(names))
        expect(page.get_by_role("button", name=re.compile("^Undo"))).to_have_count(0)
        assert sorted(table.get_by_role("rowheader").all_inner_texts()) == sorted(names)
        accessible(page)
        shot(page, f"statement-{label.partition(':')[0].lower().replace(' ', '-')}")
        page.get_by_role("link", name="Proof of sync").press("Enter")


def test_the_rest_is_answered_and_nothing_is_left_to_write(
    page: Page, church: Church, pco: str, people: dict[str, Member]
) -> None:
    kept, open_, out = people["both"], people["nobody"], people["kept out"]
    page.goto("/conflicts")
    card = page.get_by_role("region", name=named(church, open_))
    card.get_by_role("button", name="Keep ours, in every field of").click()
    card.get_by_role("button", name=re.compile("^Apply to")).click()
    expect(card.get_by_text("Settled")).to_be_visible()
    page.goto("/held")
    page.get_by_role("region", name="Tess Held").get_by_role("button", name="Same person").click()
    page.get_by_role("dialog").get_by_role("button", name="Same person").click()
    expect(page.get_by_role("heading", name="No held matches")).to_be_visible()
    church.eventually(lambda: church.sync()["counts"].keys() <= {"unchanged", "kept_out"}, "both sides agree")
    writes_nothing(church, pco)
    assert church.apart(pco) == {kept["id"]: ["last_name"], out["id"]: ["first_name", "last_name"]}
    assert only_on_one_side(church, pco, "here") == only_on_one_side(church, pco, "there") == []
    identical = len(church.members()) - 2
    compared(page)
    said = f"{identical} of {identical + 1} people identical on both sides, 1 differs because you keep it different."
    expect(page.get_by_role("heading", name=said)).to_be_visible()
    accessible(page)
    shot(page, "statement-answered")
