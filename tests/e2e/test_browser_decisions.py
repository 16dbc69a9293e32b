"""Conflicts settled in Chromium, by keys and by mouse, during concurrent changes.

The tests of this module are chapters: each continues where the one before ended.
"""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import asyncpg
import pytest
from pages import Windows, accessible, picture, shot, words_are_whole
from playwright.sync_api import Locator, Page, Route, expect
from sides import disagree, nothing_more, there

from contracts.values import CONFLICT_SERVICE
from local_stack.church import Church
from local_stack.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.browser]


def row_of(card: Locator, field: str) -> Locator:
    """A field of a conflict."""
    return card.get_by_role("row", name=re.compile(f"^{field} "))


def group(card: Locator, field: str) -> Locator:
    """The choices of a field."""
    return card.get_by_role("group", name=re.compile(f"^{field} of "))


def test_a_conflict_is_settled_by_keys_alone(page: Page, church: Church, pco: str, nora: dict[str, Any]) -> None:
    disagree(church, pco, nora, {"last_name": "Ours"}, {"last_name": "Theirs"})
    page.goto("/")
    badge = page.get_by_role("link", name=re.compile("Conflicts")).first
    expect(badge).to_contain_text("1 open")
    expect(page.get_by_role("region", name="Planning Center People")).to_contain_text("Last sync")
    picture(page, "integrations", page.get_by_role("main"))
    badge.click()
    card = page.get_by_role("region", name=re.compile("^Nora "))
    last_name = row_of(card, "Last name")
    expect(last_name).to_contain_text("Not chosen yet")
    there = card.get_by_role("link", name=re.compile("^Open in Planning Center"))
    expect(there).to_have_attribute("href", re.compile(f"/people/AC{nora['link']['pco_id']}$"))
    picture(page, "conflicts", page.get_by_text("1 open conflict", exact=True))
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keys")
    expect(dialog).to_contain_text("Keep ours, in every field")
    accessible(page)
    shot(page, "conflict-keys")
    # The next key may come before the page handles the dialog's close event.
    page.evaluate(
        """() => {
            document.querySelector("dialog").close();
            document.querySelector("main").dispatchEvent(new KeyboardEvent("keydown", { key: "j", bubbles: true }));
        }"""
    )
    expect(page.locator("dialog")).to_have_count(0)
    expect(card.get_by_role("heading")).to_be_focused()
    page.keyboard.press("?")
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    expect(card.get_by_role("heading")).to_be_focused()
    page.keyboard.press("Enter")
    expect(card.get_by_role("alert")).to_contain_text("Choose what to keep for last name. Nothing was changed yet.")
    expect(card.get_by_role("radio", name="Here")).to_be_focused()
    page.keyboard.press("1")
    expect(last_name).to_contain_text("On both sides: Ours")
    page.keyboard.press("2")
    expect(card.get_by_role("radio", name="Planning Center")).to_be_checked()
    expect(last_name).to_contain_text("On both sides: Theirs")
    accessible(page)
    shot(page, "conflict-chosen")
    page.keyboard.press("Enter")
    expect(card).to_contain_text("Ada Moreno chose Last name: Planning Center's (Theirs), just now")
    expect(card.get_by_text("Settled")).to_be_visible()
    expect(there).to_be_visible()
    expect(badge).not_to_contain_text("open")
    accessible(page)
    shot(page, "conflict-settled")
    assert church.get(f"/people/members/{nora['id']}")["last_name"] == "Theirs"
    page.goto(f"/people/{nora['id']}")
    changed = page.get_by_role("table").get_by_role("row", name=re.compile("^Last name Ours Theirs"))
    expect(changed).to_contain_text("Ada Moreno (decided a conflict)")
    nothing_more(church, pco)


def test_values_that_change_under_the_reader(page: Page, church: Church, pco: str, nora: dict[str, Any]) -> None:
    """Half-made choices stay, except for changed values; an overtaken decision is reported with its reason."""
    disagree(church, pco, nora, {"last_name": "Here", "gender": "Female"}, {"last_name": "There"})
    page.goto("/conflicts")
    card = page.get_by_role("region", name=re.compile("^Nora "))
    # Edited on one side alone, so no conflict.
    expect(group(card, "Gender").get_by_role("radio", name="Here")).to_be_checked()
    group(card, "Last name").get_by_role("radio", name="Both different").check()
    expect(row_of(card, "Last name")).to_contain_text("Each side keeps its own")
    group(card, "Gender").get_by_role("radio", name="Planning Center").check()
    church.edit_there(pco, nora["link"]["pco_id"], last_name="Elsewhere")
    church.call("POST", f"/people/members/{nora['id']}/sync")
    expect(row_of(card, "Last name")).to_contain_text("Elsewhere")
    expect(row_of(card, "Last name")).to_contain_text("Not chosen yet")
    expect(card.get_by_role("status").filter(has_text="last name changed just now. Choose again.")).to_be_visible()
    expect(group(card, "Gender").get_by_role("radio", name="Planning Center")).to_be_checked()
    # The value changes once more, unread by us, so the decision is not applied.
    group(card, "Last name").get_by_role("radio", name="Here").check()
    church.edit_there(pco, nora["link"]["pco_id"], last_name="Yonder")
    card.get_by_role("button", name="Apply").click()
    expect(card).to_contain_text("Ada Moreno chose")
    expect(card).to_contain_text("A value changed before the decision could be carried out")
    expect(row_of(card, "Last name")).to_contain_text("Yonder")
    assert church.get(f"/people/members/{nora['id']}")["last_name"] == "Here"
    assert there(church, pco, nora)["last_name"] == "Yonder"
    accessible(page)
    shot(page, "conflict-overtaken")


def test_somebody_else_is_faster(page: Page, window_of: Windows, church: Church, pco: str, nora: Any) -> None:
    """A decision in another window: the reader sees choice and author."""
    card = page.get_by_role("region", name=re.compile("^Nora "))
    group(card, "Last name").get_by_role("radio", name="Planning Center").check()
    [conflict] = church.get("/conflicts", record_id=nora["id"])["items"]
    choices = {"last_name": "ours", "gender": "ours"}
    church.call(
        "POST",
        f"/conflicts/{conflict['id']}/decision",
        json={"values_version": conflict["values_version"], "choices": choices},
    )
    expect(card).to_contain_text("Last name: ours")
    expect(card.get_by_text("Settled")).to_be_visible()
    assert (there(church, pco, nora)["last_name"], there(church, pco, nora)["gender"]) == ("Here", "Female")
    nothing_more(church, pco)


def test_both_kept_different_and_a_refused_part(page: Page, church: Church, pco: str, nora: dict[str, Any]) -> None:
    disagree(church, pco, nora, {"last_name": "Mine", "gender": "Male"}, {"last_name": "Yours"})
    who_is_active_has_no_here_and_says_why(page)
    page.goto("/conflicts")
    card = page.get_by_role("region", name=re.compile("^Nora "))
    refusal = church.control.refuse("gender", "validation", organization_id=pco)
    group(card, "Last name").get_by_role("radio", name="Both different").check()
    card.get_by_role("button", name="Apply").click()
    expect(card.get_by_text("Settled")).to_be_visible()
    expect(card).to_contain_text("Not everything went to Planning Center.")
    accessible(page)
    shot(page, "conflict-refused")
    assert there(church, pco, nora)["last_name"] == "Yours"
    assert church.get(f"/people/members/{nora['id']}")["last_name"] == "Mine"
    church.control.remove_fault(refusal)
    church.eventually(lambda: church.sync()["counts"].get("updated_there") == 1, "the rest is sent")
    assert there(church, pco, nora)["gender"] == "Male"
    page.goto(f"/people/{nora['id']}")
    main = page.get_by_role("main")
    kept = main.get_by_role("listitem").filter(has_text="Last name: here Mine, in Planning Center Yours")
    expect(kept).to_contain_text("decided by Ada Moreno")
    row = main.get_by_role("row", name=re.compile("^Last name Mine not changed"))
    expect(row).to_contain_text("Ada Moreno (keeps it different from Planning Center's)")
    accessible(page)
    shot(page, "member-kept-different")
    kept.get_by_role("button", name="Decide again about last name").press("Enter")
    expect(kept).to_have_count(0)
    expect(main.get_by_text("In conflict", exact=True)).to_be_visible()
    main.get_by_role("link", name="View the conflict").click()
    group(page.get_by_role("region", name=re.compile("^Nora ")), "Last name").get_by_role("radio", name="Here").check()
    page.get_by_role("button", name=re.compile("^Apply to Nora")).click()
    expect(page.get_by_role("region", name=re.compile("^Nora ")).get_by_text("Settled")).to_be_visible()
    nothing_more(church, pco)


def who_is_active_has_no_here_and_says_why(page: Page) -> None:
    """The open conflict, shown as one about who is active, which only a first match opens."""

    def active(route: Route) -> None:
        found = route.fetch().json()
        for one in found["items"]:
            one["fields"] = [one["fields"][0] | {"field": "active", "base_known": False, "ours": True, "theirs": False}]
        route.fulfill(json=found)

    page.route("**/api/v1/conflicts?*", active)
    page.goto("/conflicts")
    choice = group(page.get_by_role("region", name=re.compile("^Nora ")), "Active")
    expect(choice.get_by_role("radio")).to_have_count(2)
    expect(choice).to_contain_text("A sync never changes in Planning Center who is active.")
    accessible(page)
    page.unroute("**/api/v1/conflicts?*")


def test_a_key_that_is_held_settles_nothing(page: Page, church: Church, pco: str) -> None:
    """Each side has edited a different field: all choices are preselected, and Enter asks for confirmation."""
    people = [one for one in church.members(state="linked") if not one["gender"]][:2]
    for member in people:
        disagree(church, pco, member, {"last_name": "Preselected"}, {"gender": "Female"})
    page.goto("/conflicts")
    expect(page.get_by_role("region", name=re.compile("Preselected"))).to_have_count(2)
    first = page.get_by_role("region", name=re.compile("Preselected")).first
    page.keyboard.press("j")
    for _ in range(5):
        page.keyboard.down("Enter")  # a second `down` without `up` is a key repeat
    page.keyboard.up("Enter")
    expect(first.get_by_role("status")).to_contain_text("Press Enter again to apply it.")
    assert church.get("/conflicts/count")["open"] == 2
    page.keyboard.press("Enter")
    expect(first.get_by_text("Settled")).to_be_visible()
    assert church.get("/conflicts/count")["open"] == 1
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    church.eventually(lambda: church.get("/conflicts/count")["open"] == 0, "both are settled")
    church.eventually(lambda: church.get("/conflicts", state="resolving")["total"] == 0, "both are applied")
    nothing_more(church, pco)


def test_a_whole_family_with_one_answer(page: Page, church: Church, pco: str) -> None:
    """The answer covers exactly the shown conflicts: one that changes before it is skipped and named."""
    family = next(one for one in church.families() if len(one["member_ids"]) >= 3)
    people = [church.get(f"/people/members/{one}") for one in family["member_ids"][:3]]
    for number, member in enumerate(people):
        church.change_member(member, last_name=f"Here{number}")
        church.edit_there(pco, member["link"]["pco_id"], last_name=f"There{number}")

    def opened() -> bool:
        church.sync("incremental")
        return bool(church.get("/conflicts", family_id=family["id"])["total"] == 3)

    church.eventually(opened, "the conflicts are open")
    page.goto(f"/families/{family['id']}")
    page.get_by_role("link", name="3 open conflicts of this family").click()
    main = page.get_by_role("main")
    expect(main.get_by_role("region", name=re.compile("Here"))).to_have_count(3)
    accessible(page)
    shot(page, "conflicts-of-a-family")
    words_are_whole(page, main.get_by_role("region", name=re.compile("Here")), (390, 760, 900, 1100, 1280))
    page.get_by_role("button", name="All: keep Planning Center's").click()
    dialog = page.get_by_role("dialog", name="Answer 3 conflicts: keep Planning Center's?")
    expect(
        dialog.get_by_role("listitem").filter(has_text="Last name becomes There0 here, in place of Here0")
    ).to_be_visible()
    accessible(page)
    shot(page, "conflicts-answer-all")
    moved = people[1]
    church.edit_there(pco, moved["link"]["pco_id"], last_name="Moved")
    church.call("POST", f"/people/members/{moved['id']}/sync")
    church.eventually(
        lambda: church.get("/conflicts", record_id=moved["id"])["items"][0]["values_version"] == 2, "one has moved"
    )
    dialog.get_by_role("button", name="Answer 3 conflicts").click()
    told = main.get_by_role("region", name="What was answered")
    expect(told).to_contain_text("2 conflicts are settled.")
    expect(told.get_by_role("listitem")).to_contain_text("A value changed since it was shown.")
    accessible(page)
    shot(page, "conflicts-answered")
    now = [church.get(f"/people/members/{one['id']}")["last_name"] for one in people]
    assert now == ["There0", "Here1", "There2"]
    assert [there(church, pco, one)["last_name"] for one in people] == ["There0", "Moved", "There2"]
    [left] = church.get("/conflicts", family_id=family["id"])["items"]
    body = {"values_version": left["values_version"], "choices": {"last_name": "ours"}}
    church.call("POST", f"/conflicts/{left['id']}/decision", json=body)
    church.eventually(lambda: there(church, pco, moved)["last_name"] == "Here1", "the last one is settled")
    nothing_more(church, pco)


def edit_phones(church: Church, pco: str, member: dict[str, Any], *, newer: Literal["ours", "theirs"]) -> None:
    """Edit a member's phone on both sides, at least a second apart."""
    began = datetime.now(UTC)
    church.eventually(lambda: datetime.now(UTC) - began > timedelta(seconds=2), "some time is behind the last sync")
    ours_at = datetime.now(UTC)
    church.change_member(member, phone="(212) 555-0150")
    if newer == "ours":
        at = ours_at.replace(microsecond=0) - timedelta(seconds=1)
    else:
        at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
        church.eventually(lambda: datetime.now(UTC) > at, "a second has gone by")
    [phone] = [
        row
        for row in church.control.dump(pco)
        if row["type"] == "PhoneNumber" and str(row["attributes"]["person_id"]) == member["link"]["pco_id"]
    ]
    edited = {"number": "(212) 555-0160", "updated_at": at.isoformat().replace("+00:00", "Z")}
    church.control.set_raw(pco, "PhoneNumber", phone["id"], **edited)


def test_the_filter_by_newest_edit(page: Page, church: Church, pco: str) -> None:
    """By keys: the filter is in the address, and one answer covers the filtered conflicts."""
    phones = [row["attributes"]["person_id"] for row in church.control.dump(pco) if row["type"] == "PhoneNumber"]
    linked = church.members(state="linked")
    people = [one for one in linked if phones.count(int(one["link"]["pco_id"])) == 1 and one["phone"]][:3]
    for member in people[:2]:
        edit_phones(church, pco, member, newer="theirs")
    edit_phones(church, pco, people[2], newer="ours")
    named = next(one for one in linked if one not in people and one["last_name"])
    church.change_member(named, last_name="Hereford")
    church.edit_there(pco, named["link"]["pco_id"], last_name="Thereford")

    def opened() -> bool:
        church.sync("incremental")
        return bool(church.get("/conflicts")["total"] == 4)

    church.eventually(opened, "the conflicts are open")
    page.goto("/conflicts")
    main = page.get_by_role("main")
    last_name = row_of(main.get_by_role("region", name=re.compile("Hereford")), "Last name")
    expect(last_name.get_by_role("cell").nth(1)).to_contain_text(re.compile("Changed .* ago|Changed just now"))
    expect(last_name.get_by_role("cell").nth(2)).to_contain_text(re.compile("Changed .* or before"))
    shot(page, "conflicts-with-times")
    wanted = page.get_by_role("navigation", name="Newest edit").get_by_role("link", name="Newer in Planning Center")
    for _ in range(60):
        page.keyboard.press("Tab")
        if wanted.evaluate("link => link === document.activeElement"):
            break
    page.keyboard.press("Enter")
    expect(main.get_by_role("status").filter(has_text="2 open conflicts")).to_be_visible()
    expect(page).to_have_url(re.compile("newer=theirs"))
    expect(main).to_contain_text("Only conflicts where this is certain are shown.")
    cards = main.get_by_role("region").filter(has=page.get_by_role("row", name=re.compile("^Phone ")))
    expect(cards).to_have_count(2)
    expect(row_of(cards.first, "Phone").get_by_role("cell").nth(2)).not_to_contain_text("or before")
    accessible(page)
    shot(page, "conflicts-newer-there")
    page.get_by_role("button", name="All: keep Planning Center's").press("Enter")
    dialog = page.get_by_role("dialog", name="Answer 2 conflicts: keep Planning Center's?")
    expect(dialog.get_by_role("listitem")).to_have_count(2)
    dialog.get_by_role("button", name="Answer 2 conflicts").press("Enter")
    expect(main.get_by_role("region", name="What was answered")).to_contain_text("2 conflicts are settled.")
    page.goto("/conflicts?newer=ours")
    expect(cards).to_have_count(1)
    expect(main.get_by_role("status").filter(has_text="1 open conflict")).to_be_visible()
    phones_here = [church.get(f"/people/members/{one['id']}")["phone"] for one in people]
    assert phones_here == ["(212) 555-0160", "(212) 555-0160", "(212) 555-0150"]
    for left in church.get("/conflicts")["items"]:
        choices = dict.fromkeys((field["field"] for field in left["fields"]), "theirs")
        body = {"values_version": left["values_version"], "choices": choices}
        church.call("POST", f"/conflicts/{left['id']}/decision", json=body)
    church.eventually(lambda: church.get("/conflicts", state="resolving")["total"] == 0, "the others are settled")
    nothing_more(church, pco)


def test_staff_look_and_do_not_decide(window_of: Windows, church: Church, pco: str, nora: Any) -> None:
    disagree(church, pco, nora, {"last_name": "Left"}, {"last_name": "Right"})
    sam = window_of("Sam")
    sam.goto("/conflicts")
    card = sam.get_by_role("region", name=re.compile("^Nora "))
    expect(row_of(card, "Last name")).to_contain_text("Right")
    expect(sam.get_by_role("main")).to_contain_text("until an administrator decides")
    expect(card.get_by_role("radio")).to_have_count(0)
    expect(card.get_by_role("button")).to_have_count(0)
    sam.keyboard.press("j")
    sam.keyboard.press("1")
    sam.keyboard.press("Enter")
    assert church.get("/conflicts", record_id=nora["id"])["items"][0]["decision"] is None
    sam.goto("/conflicts?field=birthdate")
    expect(sam.get_by_role("heading", name="No conflicts fit these filters")).to_be_visible()
    expect(sam.get_by_role("main")).not_to_contain_text("you decide")


MANY = """
    INSERT INTO conflict (
        organization_id, id, record, family_ids, fields, state, source_version, version, values_version, opened_at,
        updated_at, child, field_names, one_side_empty, together, placed_at
    )
    SELECT $1, 'many-' || number,
        jsonb_build_object(
            'kind', 'member', 'id', $2::text, 'name', 'Person ' || number, 'pco_id', number::text,
            'family_ids', jsonb_build_array(family), 'child', false
        ),
        ARRAY[family],
        jsonb_build_array(jsonb_build_object(
            'field', 'email', 'base', 'old', 'base_known', true,
            'ours', 'ours-' || number, 'theirs', 'theirs-' || number
        )),
        'open', 1, 1, 1, now() - number * interval '10 s', now(), false, ARRAY['email'], false, family,
        now() - (number / 4) * interval '40 s'
    FROM generate_series(1, $3::int) AS number,
        LATERAL (SELECT CASE WHEN number < 4 THEN $4::text ELSE 'family-' || number / 4 END AS family) AS its
"""
"""Insert thousands of open conflicts, four to a family; the newest belong to an existing family."""


def test_thousands_are_a_list_of_few_rows(page: Page, town: Stack, church: Church, nora: dict[str, Any]) -> None:
    """By keys, in the order shown; after opening a person, Back returns to the row and its choice."""
    family = church.families()[0]
    organization = str(church.get("/me")["user"]["organization_id"])

    async def fill() -> None:
        connection = await asyncpg.connect(town.database_url(CONFLICT_SERVICE, driver="postgresql"))
        await connection.execute(MANY, organization, nora["id"], 3000, family["id"])
        await connection.close()

    with ThreadPoolExecutor(1) as aside:
        aside.submit(lambda: asyncio.run(fill())).result()
    # The page drops an unknown filter from address and list.
    page.goto("/conflicts?field=email&state=settled")
    main = page.get_by_role("main")
    expect(main.get_by_role("status").filter(has_text="3,000 open conflicts")).to_be_visible()
    expect(page).to_have_url(re.compile(r"/conflicts\?field=email$"))
    expect(main.get_by_role("heading", name=f"{family['name']} 3 conflicts", level=2)).to_be_visible()
    expect(main.get_by_role("region", name="Person 1", exact=True).get_by_role("heading", level=3)).to_be_visible()
    accessible(page)
    shot(page, "conflicts-by-family")
    page.goto("/conflicts?field=email&rows=3000")
    regions = main.get_by_role("region", name=re.compile("^Person "))
    expect(main.get_by_role("region", name="Person 1", exact=True)).to_be_visible()
    order = [one["record"]["name"] for one in church.get("/conflicts", field="email", limit=40)["items"]]
    for name in order:
        page.keyboard.press("j")
        expect(page.locator(":focus")).to_have_text(name)
        assert regions.count() < 40
    page.keyboard.press("k")
    name = order[-2]
    focused = page.locator(":focus")
    expect(focused).to_have_text(name)
    expect(focused).to_be_in_viewport()
    page.keyboard.press("1")
    number = name.removeprefix("Person ")
    expect(main.get_by_role("region", name=name, exact=True)).to_contain_text(f"On both sides: ours-{number}")
    page.keyboard.press("o")
    expect(page.get_by_role("heading", name=re.compile("^Nora "), level=1)).to_be_visible()
    page.go_back()
    expect(focused).to_have_text(name)
    expect(focused).to_be_in_viewport()
    expect(main.get_by_role("region", name=name, exact=True)).to_contain_text(f"On both sides: ours-{number}")
    assert regions.count() < 40
    # The end of the list, and its first row again.
    page.keyboard.press("End")
    expect(main.get_by_role("region", name="Person 3000", exact=True)).to_be_in_viewport()
    # The focused row stays in the document.
    expect(focused).to_have_text(name)
    assert regions.count() < 40
    page.keyboard.press("Home")
    expect(main.get_by_role("region", name=order[0], exact=True)).to_be_in_viewport()
    # Settled by another person, far down: shown once the reader scrolls there.
    body = {"values_version": 1, "choices": {"email": "theirs"}}
    church.call("POST", "/conflicts/many-2999/decision", json=body)
    expect(main.get_by_role("status").filter(has_text="2,999 open conflicts")).to_be_visible()
    page.keyboard.press("End")
    expect(main.get_by_role("region", name="Person 2999", exact=True)).to_contain_text("Being applied")
    page.keyboard.press("Home")
    church.call("POST", "/conflicts/many-1/decision", json=body)
    expect(main.get_by_role("heading", name=f"{family['name']} 2 of 3 conflicts open", level=2)).to_be_visible()
