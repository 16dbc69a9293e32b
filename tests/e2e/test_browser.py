"""The People story in Chromium: elements are found by role and name only, and every page can be saved as a picture."""

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pages import AXE, ROOT, SAID, accessible, shot, sign_in, tab_to, typed, watched, with_back_cache
from playwright.sync_api import Browser, Page, Route, expect
from silence import silence

from local_stack.church import Church
from local_stack.stack import Stack
from servicekit.testing import preloaded

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

PEOPLE = 400
TRANSFERRED = """() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
    .reduce((sum, one) => sum + one.transferSize, 0)"""
"""Bytes that the page has loaded so far, without what came from the cache."""


@pytest.fixture(scope="module")
def stack(state_of: Callable[[str], Path]) -> Iterator[Stack]:
    """One process of every service, like `make run`."""
    with Stack(
        state_of("browser"),
        people=PEOPLE,
        environment={"people-sync": {"PCO_STALENESS_HORIZON_SECONDS": "2"}},
        # Slow enough to show progress, with the vendor's lag.
        simulator_settings={"latency_ms": 250, "rate_limit": 3, "rate_period_seconds": 1, "lists_lag_ms": 500},
        cache=ROOT / ".cache",
        spawn=preloaded.spawn,
    ) as running:
        silence(running)
        yield running


@pytest.fixture(scope="module")
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    """Ada's browser, through all chapters."""
    with watched(browser, stack) as window:
        yield window


@pytest.fixture
def staff(browser: Browser, stack: Stack) -> Iterator[Page]:
    """The browser of a staff member."""
    with watched(browser, stack) as window:
        sign_in(window, "Sam")
        yield window


def test_sign_in(page: Page) -> None:
    page.goto("/")
    shot(page, "sign-in")
    card, window = page.locator(".card").bounding_box(), page.viewport_size
    assert card is not None
    assert window is not None
    assert abs(card["x"] * 2 + card["width"] - window["width"]) < 2
    assert abs(card["y"] * 2 + card["height"] - window["height"]) < 2
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name=re.compile("Ada")).click()
    expect(page.get_by_role("heading", name="Integrations", level=1)).to_be_visible()
    expect(page.get_by_text("Ada Moreno").first).to_be_visible()
    shot(page, "integrations-not-connected")


def test_connect(page: Page) -> None:
    page.get_by_role("button", name="Connect Planning Center People").click()
    page.get_by_role("radio").first.check()
    accessible(page)
    page.get_by_role("button", name="Allow").click()
    expect(page.get_by_role("heading", name="Integrations", level=1)).to_be_visible()
    card = page.get_by_role("region", name="Planning Center People")
    expect(card.get_by_text("Connected", exact=True).first).to_be_visible()
    expect(
        page.get_by_role("region", name="Planning Center Calendar").get_by_text("Needs Authorization")
    ).to_be_visible()
    assert "code=" not in page.url
    shot(page, "integrations-connected")


def test_sync_now_and_watch(page: Page, stack: Stack) -> None:
    page.get_by_role("button", name="Sync Now").click()
    bar = page.get_by_role("progressbar").first
    expect(bar).to_be_visible()
    link = page.get_by_role("link", name=re.compile("progress|details|Watch", re.IGNORECASE)).first
    if link.is_visible():
        link.click()
    seen: set[str] = set()

    def moving() -> bool:
        seen.add(page.get_by_role("main").inner_text())
        return len(seen) >= 4

    with Church.of(stack) as church:
        church.eventually(moving, "the progress moves")
        shot(page, "run-in-progress")
        run = church.get("/people/runs")["items"][0]
        church.wait(run["id"])
        truth = church.control.truth(church.control.organizations()[0]["id"])
    expect(page.get_by_text("Done", exact=False).first).to_be_visible()
    page.goto(f"/runs/{run['id']}")
    total = truth["people"] + truth["households"]
    expect(page.get_by_role("main")).to_contain_text(f"{total:,}")
    expect(page.get_by_text("Unchanged")).to_be_visible()
    expect(page.get_by_role("link", name=re.compile("Unchanged"))).to_have_count(0)
    shot(page, "run-done")


def test_the_directory_shows_everybody(page: Page, stack: Stack) -> None:
    page.get_by_role("link", name="People").first.click()
    expect(page.get_by_role("heading", name="People", level=1)).to_be_visible()
    with Church.of(stack) as church:
        truth = church.control.truth(church.control.organizations()[0]["id"])
    expect(page.get_by_role("main")).to_contain_text(f"{truth['people']:,}")
    expect(page.get_by_role("table").get_by_role("row").nth(5)).to_be_visible()
    shot(page, "people")
    page.get_by_role("link", name="Families").first.click()
    expect(page.get_by_role("heading", name="Families", level=1)).to_be_visible()
    expect(page.get_by_role("table").get_by_role("row").nth(5)).to_be_visible()
    shot(page, "families")


def test_pages_that_were_left_keep_no_connection(browser: Browser, stack: Stack) -> None:
    """Cached pages kept their live streams, and a browser has six connections: the next page was blank for most of a
    minute."""
    with with_back_cache(browser) as usual, watched(usual, stack) as window:
        sign_in(window, "Ada")
        title = window.get_by_role("main").get_by_role("heading", level=1)
        for address in ("/people", "/families", "/conflicts", "/activity", "/runs", "/held", "/families", "/people"):
            window.goto(address)
            expect(title).to_be_visible()
            expect(window.get_by_role("link", name="Integrations").first).to_be_visible()


def test_the_address_holds_what_is_shown(page: Page, stack: Stack) -> None:
    page.goto("/people")
    page.get_by_role("button", name="Load more").click()
    expect(page).to_have_url(re.compile("rows=100"))
    main = page.get_by_role("main")
    focused = page.locator(":focus")
    with Church.of(stack) as church:
        names = [
            f"{one['first_name']} {one['last_name']}".strip()
            for one in church.get("/people/members", limit=200)["items"]
        ]
    expect(focused).to_have_text(names[50])
    # Back returns to the row last opened, and a reload to the same position.
    focused.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(names[50])
    page.go_back()
    expect(focused).to_have_text(names[50])
    expect(focused).to_be_in_viewport()
    where = page.evaluate("scrollY")
    page.reload()
    expect(page.get_by_text(re.compile("^100 of "))).to_be_visible()
    expect(focused).to_have_text(names[50])
    assert where > 0
    assert page.evaluate("scrollY") == where
    # A second tab needs no sign-in.
    with page.context.expect_page() as opened:
        focused.click(modifiers=["Control"])
    expect(opened.value.get_by_role("heading", level=1)).to_have_text(names[50])
    opened.value.close()
    # Of a long list only the rows near the screen are in the document.
    page.goto("/people?rows=10000")
    everybody = main.get_by_role("status").filter(has_text=re.compile(r"^\d+ people$"))
    expect(everybody).to_be_visible()
    rows = main.get_by_role("table").get_by_role("row")
    assert rows.count() < 100
    page.keyboard.press("End")
    with Church.of(stack) as church:
        last = church.members()[-1]
    expect(main.get_by_role("link", name=f"{last['first_name']} {last['last_name']}".strip()).last).to_be_in_viewport()
    assert rows.count() < 100
    accessible(page)
    for unknown in ("/people?state=bogus", "/people?child=bogus", "/runs?state=bogus", f"/families?q={'x' * 3000}"):
        page.goto(unknown)
        expect(page.get_by_role("table").get_by_role("row").nth(1)).to_be_visible()
        expect(page).not_to_have_url(re.compile("bogus|xxx"))
        expect(page.get_by_role("alert")).to_have_count(0)
    page.goto("/held?state=waiting")
    expect(page.get_by_role("heading", name="No held matches")).to_be_visible()
    for kind, above in (("person", "Go to People"), ("family", "Go to Families"), ("sync", "sync history")):
        page.goto({"person": "/people", "family": "/families", "sync": "/runs"}[kind] + "/not-an-id")
        expect(page.get_by_role("heading")).to_have_text([f"There is no such {kind}"])
        expect(page.get_by_role("main").get_by_role("link", name=re.compile(above))).to_be_visible()
        expect(page.get_by_role("alert")).to_have_count(0)


def test_a_page_that_cannot_be_read_is_tried_again(page: Page) -> None:
    page.goto("/people")
    away = re.compile(r"/pages/held\.js$")
    page.route(away, lambda route: route.abort())
    page.get_by_role("link", name="Held matches").click()
    expect(page.get_by_role("alert")).to_contain_text("This page can't be read from the server right now.")
    expect(page.get_by_role("alert")).not_to_contain_text("module")
    page.unroute(away)
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("heading", name="No held matches")).to_be_visible()
    expect(page.get_by_role("heading", name="Held matches", level=1)).to_be_visible()
    # A page opened while the server is unreachable recovers by itself.
    page.route("**/api/v1/**", lambda route: route.abort())
    page.goto("/people")
    expect(page.get_by_role("alert")).to_contain_text("This page goes on by itself as soon as it can.")
    page.unroute("**/api/v1/**")
    page.evaluate("dispatchEvent(new Event('online'))")
    expect(page.get_by_role("table").get_by_role("row").nth(5)).to_be_visible()
    page.route("**/api/v1/people/**", lambda route: route.abort())
    page.get_by_role("link", name="Families").first.click()
    expect(page.get_by_role("alert")).to_contain_text("The server can't be reached right now.")
    page.unroute("**/api/v1/people/**")
    page.evaluate("dispatchEvent(new Event('online'))")
    expect(page.get_by_role("table").get_by_role("row").nth(5)).to_be_visible()


def test_a_member_added_here_appears_there(page: Page, stack: Stack) -> None:
    page.get_by_role("link", name="People").first.click()
    page.get_by_role("link", name="Add a person").click()
    typed(page.get_by_label("First name"), "Nora")
    typed(page.get_by_label("Last name"), "Newcome")
    typed(page.get_by_label(re.compile("E-?mail")), "nora.newcome@example.org")
    typed(page.get_by_label("Phone"), "202-555-0188")
    typed(page.get_by_label(re.compile("Street", re.IGNORECASE)).first, "5 Mill Lane")
    typed(page.get_by_label("City"), "Dover")
    shot(page, "member-new")
    page.get_by_label("Country code").press_sequentially("USA")
    page.get_by_role("button", name="Add this person").click()
    expect(page.get_by_text("Two letters, such as US.", exact=True)).to_be_visible()
    typed(page.get_by_label("Country code"), "US")
    typed(page.get_by_label("City"), "")
    typed(page.get_by_label(re.compile("Street", re.IGNORECASE)).first, "")
    expect(page.get_by_text("A country alone is not kept")).to_be_visible()
    typed(page.get_by_label(re.compile("Street", re.IGNORECASE)).first, "5 Mill Lane")
    typed(page.get_by_label("City"), "Dover")
    typed(page.get_by_label("First name"), "N" * 101)
    expect(page.get_by_text("At most 100 characters; there are 101.")).to_be_visible()
    typed(page.get_by_label("First name"), "Nora")
    page.get_by_role("button", name="Add this person").click()
    expect(page.get_by_role("heading", name="Nora Newcome")).to_be_visible()
    shot(page, "member")
    with Church.of(stack) as church:
        add_a_family(page, "Newcome", "Nora Newcome")
        church.sync()
        rows = list(church.control.dump(church.control.organizations()[0]["id"]))
    person = next(row for row in rows if row["type"] == "Person" and row["attributes"].get("last_name") == "Newcome")
    assert any(row["type"] == "Email" and row["attributes"]["address"] == "nora.newcome@example.org" for row in rows)
    assert any(row["type"] == "PhoneNumber" and row["attributes"].get("e164") == "+12025550188" for row in rows)
    assert any(row["type"] == "Address" and row["attributes"].get("street_line_1") == "5 Mill Lane" for row in rows)
    assert any(row["type"] == "Household" and row["attributes"]["name"] == "Newcome" for row in rows)
    assert person["attributes"]["first_name"] == "Nora"


def add_a_family(page: Page, name: str, person: str) -> None:
    """A double click on a found person adds only that person."""
    page.get_by_role("link", name="Families").first.click()
    page.get_by_role("link", name="Add a family").click()
    typed(page.get_by_label("Family name"), name)
    search = page.get_by_role("searchbox", name="Find people to add")
    typed(search, person)
    search.press("Tab")
    expect(search).not_to_be_focused()
    page.get_by_role("button", name=f"Add {person}").dblclick()
    expect(page.get_by_role("button", name=f"Added {person}")).to_be_disabled()
    expect(page.get_by_role("heading", name="Add a family")).to_be_visible()
    shot(page, "family-new")
    page.get_by_role("button", name="Add this family").click()
    expect(page.get_by_role("heading", name=name, level=1)).to_be_visible()


def test_long_words_stay_inside_the_window(page: Page, stack: Stack) -> None:
    with Church.of(stack) as church:
        long = church.add_member(first_name="Q" * 100, last_name="W" * 100, email=f"{'e' * 60}@example.org")
        long = church.change_member(long, first_name="Z" * 100)
        family = church.add_family("F" * 200, long)
        for address in ("/people?q=zzz", f"/people/{long['id']}", f"/people/{long['id']}?edit=1", "/families?q=fff"):
            stays_inside(page, address)
        stays_inside(page, f"/families/{family['id']}")
        church.call("DELETE", f"/people/families/{family['id']}")
        church.call("DELETE", f"/people/members/{long['id']}")


def stays_inside(page: Page, address: str) -> None:
    """No element is wider than the window, on desktop and phone."""
    size = page.viewport_size
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 800})
        page.goto(address)
        expect(page.get_by_role("main")).to_contain_text("FFF" if "families" in address else "ZZZ")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, address
        expect(page.get_by_text("Riverbend Community Church", exact=True)).to_be_in_viewport()
        label = page.get_by_role("link", name="Integrations").first
        assert float(label.evaluate("link => parseFloat(getComputedStyle(link).fontSize)")) >= 12
    if size:
        page.set_viewport_size(size)


def test_a_setting_that_was_changed_elsewhere_stays(page: Page, stack: Stack) -> None:
    page.goto("/settings")
    hours = page.get_by_label("Hours between syncs of changes")
    typed(hours, "6")
    with Church.of(stack) as church:
        church.call("PATCH", "/people/settings", json={"threshold_percent": 31, "inactivate_deleted": True})
        page.get_by_role("button", name="Save settings").click()
        expect(page.get_by_text("Saved.")).to_be_visible()
        expect(page.get_by_label("Percent of linked records")).to_have_value("31")
        expect(page.get_by_label("Make the person inactive")).to_be_checked()
        saved = church.get("/people/settings")
    assert (saved["schedule_hours"], saved["threshold_percent"], saved["inactivate_deleted"]) == (6, 31, True)
    shot(page, "settings")


def test_an_edit_that_somebody_else_overtook(page: Page, stack: Stack) -> None:
    with Church.of(stack) as church:
        otis = church.add_member(first_name="Otis", last_name="Overtaken", address={"city": "Dover"})
        page.goto(f"/people/{otis['id']}?edit=1")
        typed(page.get_by_label("City"), "Dublin")
        church.change_member(otis, phone="202-555-0189")
    page.get_by_role("button", name="Save").click()
    refused = page.get_by_role("alert")
    expect(refused).to_contain_text("Somebody else changed this person meanwhile.")
    expect(page.get_by_label("City")).to_have_value("Dublin")
    shot(page, "overtaken")
    page.once("dialog", lambda dialog: dialog.accept())
    refused.get_by_role("button", name="Show the newest values").click()
    expect(page.get_by_label("Phone")).to_have_value("202-555-0189")
    expect(page.get_by_label("City")).to_have_value("Dover")


SYNC_PERSON = "Sync this person now"


def test_one_person_is_synced_during_a_full_run(page: Page, stack: Stack) -> None:
    with Church.of(stack) as church:
        organization = church.control.organizations()[0]["id"]
        someone = next(one for one in church.members(state="linked") if one["family_ids"] and not one["child"])
        church.edit_there(organization, someone["link"]["pco_id"], first_name="Prudence")
        page.goto(f"/people/{someone['id']}")
        # Of a limit of three, one held request and two foreign ones leave no slot.
        church.control.change_settings(rate_limit=30)
        held = church.control.add_fault({"kind": "hold"}, method="GET", path="^/people/v2/people$", skip=2, times=1)
        run_id = church.start()
        church.eventually(lambda: church.control.fault(held)["holding"] == 1, "the run is at work")
        button = tab_to(page, "button", SYNC_PERSON)
        page.evaluate(SAID)
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        done = page.get_by_role("main").get_by_text("Changed here, as in Planning Center.")
        expect(done).to_be_visible()
        expect(button).to_be_focused()
        expect(page.get_by_role("heading", level=1)).to_have_text(f"Prudence {someone['last_name']}")
        assert page.evaluate("window.said") == ["Asking Planning Center…", "Changed here, as in Planning Center."]
        expect(page.get_by_role("table").get_by_role("row", name=re.compile("First name.*Prudence"))).to_be_visible()
        assert church.run(run_id)["state"] == "running"
        accessible(page)
        shot(page, "member-synced")
        church.control.release(held, carry_out=True)
        counts = church.wait(run_id)["counts"]
        church.control.change_settings(rate_limit=3)
        truth = church.control.truth(organization)
        assert sum(counts.values()) == truth["people"] + truth["households"]
        page.goto(f"/runs/{run_id}")
        shown = page.get_by_role("region", name="Counts by outcome")
        for amount in counts.values():
            expect(shown).to_contain_text(f"{amount:,}")
        accessible(page)
        page.goto(f"/families/{someone['family_ids'][0]}")
        tab_to(page, "button", "Sync this family now")
        page.keyboard.press("Enter")
        expect(page.get_by_role("main").get_by_text("Equal on both sides.")).to_be_visible()
        accessible(page)
        shot(page, "family-synced")
        a_family_is_not_emptied_without_a_word(page, church, someone["family_ids"][0])


def a_family_is_not_emptied_without_a_word(page: Page, church: Church, family_id: str) -> None:
    """The people who would leave, here and in Planning Center, are named before the save."""
    family = church.get(f"/people/families/{family_id}")
    people = [church.get(f"/people/members/{one}") for one in family["member_ids"]]
    page.get_by_role("button", name="Edit").click()
    for _ in people:
        page.get_by_role("button", name=re.compile("^Remove ")).first.click()
    page.get_by_role("searchbox", name="Find people to add").press_sequentially(people[0]["last_name"])
    expect(page.get_by_role("list", name="People found").get_by_role("button").first).to_be_visible()
    accessible(page)
    page.get_by_role("button", name="Save").click()
    dialog = page.get_by_role("dialog", name=f"out of {family['name']}?")
    for one in people:
        expect(dialog).to_contain_text(f"{one['first_name']} {one['last_name']}".strip())
    expect(dialog).to_contain_text("out of the household in Planning Center")
    expect(dialog).to_contain_text("Nobody is left in the family.")
    accessible(page)
    shot(page, "family-emptied")
    dialog.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name="Save")).to_be_focused()
    assert church.get(f"/people/families/{family_id}")["member_ids"] == family["member_ids"]
    page.once("dialog", lambda asked: asked.accept())
    page.get_by_role("link", name="Cancel").click()
    page.get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog", name=f"Delete {family['name']}?")
    for one in people:
        expect(dialog).to_contain_text(f"{one['first_name']} {one['last_name']}".strip())
    dialog.get_by_role("button", name="Cancel").click()


def test_a_sync_that_is_looked_at_again_says_when(page: Page, stack: Stack) -> None:
    """Against a stub of the routes, since the vendor's lag cannot be timed."""
    with Church.of(stack) as church:
        someone = church.members(state="linked")[0]
    now = datetime.now(UTC)
    sync: dict[str, object] = {
        "id": "one",
        "record_kind": "member",
        "record_id": someone["id"],
        "state": "queued",
        "outcome": None,
        "sentence": "Asking Planning Center.",
        "again_at": None,
        "requested_at": now.isoformat(),
        "finished_at": None,
    }
    looks: list[float] = []
    posts: list[str] = []
    away = False

    def asked(route: Route) -> None:
        posts.append(route.request.url)
        route.fulfill(status=202, json=sync)

    def looked_at(route: Route) -> None:
        looks.append(time.monotonic())
        if away:
            route.fulfill(status=503, json={"detail": "People can't be reached right now."})
        else:
            route.fulfill(json=sync)

    page.route("**/api/v1/people/members/*/sync", asked)
    page.route("**/api/v1/people/syncs/one", looked_at)
    page.goto(f"/people/{someone['id']}")
    main = page.get_by_role("main")
    button = main.get_by_role("button", name=SYNC_PERSON)
    page.evaluate(SAID)
    button.click()
    expect(main.get_by_text("Asking Planning Center.")).to_be_visible()
    shot(page, "member-syncing")
    away = True
    button.click()
    expect(main.get_by_text("People can't be reached right now.")).to_be_visible()
    away = False
    expect(main.get_by_text("Asking Planning Center.")).to_be_visible()
    assert len(posts) == 2
    assert len(looks) < 4 + 2 * (looks[-1] - looks[0])  # about one a second
    page.get_by_role("link", name="All people").click()
    expect(page.get_by_role("heading", name="People", level=1)).to_be_visible()
    left = len(looks)
    page.wait_for_timeout(3000)
    assert len(looks) == left
    again = now + timedelta(minutes=5)
    sync |= {"sentence": "Planning Center does not show the newest state yet.", "again_at": again.isoformat()}
    page.go_back()
    waits = main.get_by_text(re.compile("^We try again in [45] minutes"))
    expect(waits).to_contain_text(str(again.year))
    expect(main.get_by_role("time").filter(has_text="minutes").last).to_have_attribute(
        "title", re.compile(str(again.year))
    )
    accessible(page)
    shot(page, "member-looked-at-again")
    page.unroute("**/api/v1/people/members/*/sync")
    page.unroute("**/api/v1/people/syncs/one")
    page.goto("/people")


def test_only_what_was_changed_is_sent(page: Page, stack: Stack) -> None:
    """Guards against forms that send their own normalization as an edit: a street of two lines was joined and sent."""
    street = "12 Mill Lane\r\nFlat 3"
    sent: list[object] = []
    with Church.of(stack) as church:
        otto = church.add_member(first_name="Otto", last_name="Oneline", address={"city": "Dover"})
        kin = church.add_member(first_name="Ida", last_name="Oneline")
        family = church.add_family("Oneline", otto, kin)
        version = church.get(f"/people/members/{otto['id']}")["version"]

    def with_lines(route: Route) -> None:
        if route.request.method == "PATCH":
            sent.append(route.request.post_data_json)
            return route.continue_()
        answer = route.fetch()
        member = answer.json()
        if not member["address"]["street_line_1"]:
            member["first_name"], member["address"]["street_line_1"] = "Otto\n the  Great ", street
        return route.fulfill(response=answer, json=member)

    def seen() -> None:
        expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("^Otto"))
        expect(page.get_by_role("link", name="Oneline", exact=True)).to_be_visible()

    page.route(f"**/api/v1/people/members/{otto['id']}", with_lines)
    page.goto(f"/people/{otto['id']}?edit=1")
    expect(page.get_by_label("Street", exact=True)).to_have_value("12 Mill Lane")
    expect(page.get_by_label("Street, second line")).to_have_value("Flat 3")
    typed(page.get_by_label("Email"), "otto@example.org")
    page.get_by_role("button", name="Save").click()
    seen()
    assert sent == [{"email": "otto@example.org", "version": version}]
    # An edit back to the same value is no change.
    page.goto(f"/people/{otto['id']}?edit=1")
    typed(page.get_by_label("City"), "Durham")
    typed(page.get_by_label("City"), "Dover ")
    page.get_by_role("button", name="Save").click()
    seen()
    assert len(sent) == 1
    page.goto(f"/people/{otto['id']}?edit=1")
    typed(page.get_by_label("City"), "Durham")
    page.get_by_role("button", name="Save").click()
    seen()
    address = {"street_line_1": "12 Mill Lane", "street_line_2": "Flat 3", "city": "Durham"}
    assert sent[1:] == [{"address": {"state": "", "zip": "", "country_code": ""} | address, "version": version + 1}]
    page.unroute(f"**/api/v1/people/members/{otto['id']}")

    def kept(route: Route) -> None:
        if route.request.method == "PATCH":
            sent.append(route.request.post_data_json)
        route.continue_()

    page.route(f"**/api/v1/people/families/{family['id']}", kept)
    page.goto(f"/families/{family['id']}?edit=1")
    page.get_by_role("radio", name=re.compile("Primary contact.*Ida Oneline")).check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("link", name="All families")).to_be_visible()
    assert sent[2:] == [{"primary_contact_id": kin["id"], "version": family["version"]}]
    page.goto(f"/families/{family['id']}?edit=1")
    page.get_by_role("button", name="Remove Otto Oneline").click()
    typed(page.get_by_role("searchbox", name="Find people to add"), "Otto Oneline")
    page.get_by_role("button", name="Add Otto Oneline").click()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("link", name="All families")).to_be_visible()
    assert len(sent) == 3
    page.unroute(f"**/api/v1/people/families/{family['id']}")


def test_a_family_of_a_hundred_and_fifty_loses_one_and_gains_one(page: Page, stack: Stack) -> None:
    """Guards against limits below real families. Only the changed members are sent."""
    people = [{"external_id": f"l-{n}", "first_name": f"L{n:03}", "last_name": "Crowd"} for n in range(151)]
    for number in (0, 1):
        people[number] |= {"first_name": "Abi", "email": f"abi-{number}@example.org"}
    family = {"external_id": "crowd", "name": "Crowd", "member_external_ids": [f"l-{n}" for n in range(150)]}
    sent: list[object] = []
    with Church.of(stack) as church:
        church.call("PUT", "/people/bulk", json={"members": people, "families": [family]})
        (crowd,) = [one for one in church.families() if one["name"] == "Crowd"]
        ids = {one["external_id"]: one["id"] for one in church.members(q="Crowd")}

        def kept(route: Route) -> None:
            if route.request.method == "PATCH":
                sent.append(route.request.post_data_json)
            route.continue_()

        page.route(f"**/api/v1/people/families/{crowd['id']}", kept)
        page.goto(f"/families/{crowd['id']}")
        expect(page.get_by_role("heading", name="150 members")).to_be_visible()
        page.get_by_role("button", name="Edit").click()
        page.get_by_role("button", name="Remove L003 Crowd").click()
        typed(page.get_by_role("searchbox", name="Find people to add"), "Crowd")
        page.get_by_role("button", name="Add L150 Crowd").click()
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("heading", name="150 members")).to_be_visible()
        expect(page.get_by_role("link", name="L150 Crowd")).to_be_visible()
        expect(page.get_by_role("link", name="L003 Crowd")).to_have_count(0)
        touched = {"add_member_ids": [ids["l-150"]], "remove_member_ids": [ids["l-3"]]}
        assert sent == [touched | {"version": crowd["version"]}]
        page.unroute(f"**/api/v1/people/families/{crowd['id']}")
        accessible(page)
        namesakes_are_told_apart(page)
        church.call("DELETE", f"/people/families/{crowd['id']}")
        for member in ids.values():
            church.call("DELETE", f"/people/members/{member}")


def namesakes_are_told_apart(page: Page) -> None:
    """The dialog tells which of two members with the same name leaves."""
    page.get_by_role("button", name="Edit").click()
    page.get_by_role("button", name="Remove Abi Crowd, abi-1@example.org").click()
    page.get_by_role("button", name="Remove L004 Crowd").click()
    page.get_by_role("button", name="Save").click()
    dialog = page.get_by_role("dialog", name="Take 2 people out of Crowd?")
    expect(dialog).to_contain_text("Abi Crowd, abi-1@example.org")
    expect(dialog.get_by_role("listitem").filter(has_text="stay in it")).to_contain_text("Abi Crowd, abi-0@example.org")
    dialog.get_by_role("button", name="Cancel").click()
    page.once("dialog", lambda asked: asked.accept())
    page.get_by_role("link", name="Cancel").click()
    expect(page.get_by_role("button", name="Edit")).to_be_visible()


def test_one_name_and_keys_are_enough(page: Page) -> None:
    page.goto("/people/new")
    tab_to(page, "textbox", "First name")
    page.keyboard.type("Cher")
    page.keyboard.press("Backspace")
    for _ in range(3):
        page.keyboard.press("Backspace")
    said = page.get_by_text("Give a first name or a last name.")
    expect(said).to_be_visible()
    accessible(page)
    shot(page, "member-without-a-name")
    tab_to(page, "textbox", "Last name")
    page.keyboard.type("Cher")
    expect(said).to_have_count(0)
    for name in ("Email", "Phone"):
        tab_to(page, "textbox", name)
    tab_to(page, "checkbox", "Child")
    for name in ("Street", "Street, second line", "City", "State", "ZIP code", "Country code"):
        tab_to(page, "textbox", name)
    tab_to(page, "button", "Add this person")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Cher", level=1, exact=True)).to_be_visible()
    tab_to(page, "button", "Edit")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Edit Cher")).to_be_visible()
    tab_to(page, "textbox", "First name")
    page.keyboard.type("Cher")
    tab_to(page, "textbox", "Last name")
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    page.keyboard.press("Enter")
    expect(page.get_by_role("definition").first).to_have_text("Cher")
    expect(page.get_by_role("heading", name="Cher", level=1, exact=True)).to_be_visible()


def test_a_sync_that_ended_early_tells_only_what_was_done(page: Page, stack: Stack) -> None:
    """Guards against planned work shown as done. Against a stub of one run, since a stop cannot be timed."""
    with Church.of(stack) as church:
        run = church.get("/people/runs")["items"][0]
    done = {"record_kind": "member", "record_id": None, "pco_id": None, "cause": None, "name": "Paul Planned"}
    not_done = "The sync ended before this record was done; the next sync goes on with it."
    sentences = {"created_there": "Added in Planning Center.", "not_done": not_done}

    def items(route: Route) -> None:
        outcome = route.request.url.rpartition("outcome=")[2].partition("&")[0]
        item = done | {"outcome": outcome, "sentence": sentences[outcome]}
        route.fulfill(json={"items": [item], "next": None, "total": 1})

    page.route(f"**/api/v1/people/runs/{run['id']}", lambda route: route.fulfill(json=run))
    page.route(f"**/api/v1/people/runs/{run['id']}/items?*", items)
    for state, until in (("stopped", "Until it was stopped"), ("failed", "Until it failed")):
        run |= {"state": state, "counts": {"created_there": 1, "not_done": 1}}
        page.goto(f"/runs/{run['id']}")
        expect(page.get_by_role("heading", name=until)).to_be_visible()
        page.get_by_role("link", name=re.compile("Not done, the sync ended before")).click()
        expect(page.get_by_role("heading", name="Not done, the sync ended before")).to_be_visible()
        expect(page.get_by_role("table").get_by_role("row", name=re.compile("Paul"))).to_contain_text(not_done)
        expect(page.get_by_role("table")).not_to_contain_text("Added in Planning Center")
        accessible(page)
        shot(page, f"run-{state}")
    page.unroute_all(behavior="wait")


def test_a_question_says_how_many_may_be_mailed(page: Page, stack: Stack) -> None:
    """Against a stub of one run, since this church has finished its first match."""
    with Church.of(stack) as church:
        run = church.get("/people/runs")["items"][0]
    counts = {"matched": 12, "people_with_differences": 4, "differing_values": 5, "may_be_mailed": 3}
    answers = ["planning_center", "ask", "ours"]
    run |= {"state": "waiting", "finished_at": None}
    run["question"] = {"kind": "first_match", "counts": counts, "examples": [], "answers": answers}
    page.route(f"**/api/v1/people/runs/{run['id']}", lambda route: route.fulfill(json=run))
    page.goto(f"/runs/{run['id']}")
    question = page.get_by_role("region", name="Which details should we keep?")
    expect(question).to_contain_text("4 people have different details here and in Planning Center.")
    expect(question).to_contain_text("Your answer becomes the setting for people who match later")
    expect(question.get_by_role("link", name="Settings of the People sync")).to_have_attribute("href", "/settings")
    said = "What is done stays, and is not done twice. The next sync reads from the beginning."
    expect(page.get_by_role("main")).to_contain_text(said)
    expect(question).to_contain_text("Planning Center may mail up to 3 people: they sign in there")
    expect(question.get_by_role("definition")).to_have_text(["12", "4", "5"])
    question.get_by_role("radio", name="Ask me").check()
    said = "Ben Ito has answered this: Keep ours. That answer stays."
    refused = {"type": "/problems/answered", "title": "Conflict", "status": 409, "detail": said}
    page.route(f"**/api/v1/people/runs/{run['id']}/answer", lambda route: route.fulfill(status=409, json=refused))
    question.get_by_role("button", name="Go on, and ask me about each").press("Enter")
    expect(question.get_by_role("alert")).to_contain_text(said)
    accessible(page)
    shot(page, "question-first-match")
    answer = {"question": "first_match", "answer": "ours", "by_name": "Ben Ito"}
    run |= {
        "state": "running",
        "question": None,
        "answered": [answer | dict.fromkeys(("asked_at", "answered_at"), run["created_at"])],
    }
    question.get_by_role("button", name="Show the sync as it is now").click()
    told = page.get_by_role("list", name="Answers")
    expect(told).to_contain_text("Which details should we keep? Ben Ito answered: Keep ours")
    expect(question).to_have_count(0)
    page.unroute_all(behavior="wait")


def test_differences_since_a_first_match(page: Page) -> None:
    """Against a stub, since this church has finished its first match."""
    now = datetime.now(UTC).isoformat()
    home = {"zip": "08077", "city": "Riverton", "state": "NJ", "country_code": "US"}
    home |= {"street_line_1": "4419 Grove St", "street_line_2": ""}
    times = dict.fromkeys(("ours_changed_at", "theirs_changed_at", "theirs_changed_before", "agreed_at"))
    phone = {"field": "phone", "base": None, "base_known": False, "ours": "555 0100", "theirs": "555 0199"}
    address = {"field": "address", "base": home, "base_known": True, "ours": None, "theirs": home}
    record: dict[str, Any] = {"kind": "member", "id": "pia", "name": "Pia Pine", "pco_id": "1", "family_ids": []}
    conflict: dict[str, Any] = {
        "id": "one",
        "record": record,
        "fields": [phone | times, address | times],
        "state": "open",
    }
    conflict |= {"version": 1, "values_version": 1, "opened_at": now, "updated_at": now}
    answer = {"items": [conflict], "next": None, "total": 1}
    page.route("**/api/v1/conflicts?*", lambda route: route.fulfill(json=answer))
    page.goto("/conflicts")
    main = page.get_by_role("main")
    expect(main.get_by_role("row", name=re.compile("^Address"))).to_contain_text(
        "4419 Grove St, Riverton, NJ, 08077, US"
    )
    expect(main.get_by_role("row", name=re.compile("^Phone"))).to_contain_text(
        "Nothing yet: they differed when they were matched"
    )
    expect(main.get_by_role("row", name=re.compile("^Phone"))).not_to_contain_text("empty")
    expect(main).to_contain_text("Until then both keep their own value.")
    accessible(page)
    shot(page, "conflict-of-a-first-match")
    page.unroute_all(behavior="wait")


def test_conflicts_that_ended_without_a_decision(page: Page) -> None:
    """Against stubs: neither text claims an unknown reason, or a settlement."""
    now = datetime.now(UTC).isoformat()
    record: dict[str, Any] = {"kind": "member", "id": "pia", "name": "Pia Pine", "pco_id": "1", "family_ids": []}
    conflict: dict[str, Any] = {"id": "one", "record": record, "fields": [], "state": "withdrawn", "decision": None}
    conflict |= {"version": 2, "values_version": 1, "opened_at": now, "updated_at": now}
    answer = {"items": [conflict], "next": None, "total": 1}
    page.route("**/api/v1/conflicts?*", lambda route: route.fulfill(json=answer))
    page.goto("/conflicts?state=withdrawn")
    main = page.get_by_role("main")
    expect(main.get_by_role("region", name="Pia Pine")).to_contain_text(
        "Nothing is left to decide: the record was deleted, is kept out of the sync, or is not linked any more."
    )
    name = "For phones, Planning Center is right"
    condition = {"fields": ["phone"], "answer": "theirs", "older_than_days": None, "empty": None, "child": None}
    rule: dict[str, Any] = {"id": "one", "name": name, "condition": condition, "on": True, "made_by_name": "Ada"}
    rule |= {"made_at": now, "changed_at": now, "waiting": 0, "applied": 2, "not_needed": 1, "overtaken": 0}
    rules = {"items": [rule | {"bulk_id": None}], "next": None, "total": 1}
    page.route("**/api/v1/conflicts/rules", lambda route: route.fulfill(json=rules))
    page.goto("/conflicts/rules")
    said = main.get_by_role("list", name="What it decided").get_by_role("listitem")
    expect(said).to_have_text(
        ["2 conflicts are settled.", "1 conflict was over before its turn: nothing was left to apply."]
    )
    accessible(page)
    shot(page, "rule-not-needed")
    page.unroute_all(behavior="wait")


def test_a_person_requested_again_is_not_called_gone(page: Page, stack: Stack) -> None:
    """Against a stub of one person who is gone there and requested again."""
    with Church.of(stack) as church:
        someone = church.members(state="linked")[0]
    now = datetime.now(UTC).isoformat()
    gone = "No longer in Planning Center. Kept here, and not added there again unless an administrator asks."
    link = {"pco_id": "1", "state": "gone", "gone_at": now, "create_again": False}
    member = someone | {"link": link}
    sync = {"id": "one", "record_kind": "member", "record_id": someone["id"], "state": "done", "outcome": "gone"}
    sync |= {"sentence": gone, "again_at": None, "requested_at": now, "finished_at": now}
    page.route(f"**/api/v1/people/members/{someone['id']}", lambda route: route.fulfill(json=member))
    page.route("**/api/v1/people/members/*/sync", lambda route: route.fulfill(status=202, json=sync))
    again = member | {"link": link | {"create_again": True}}
    page.route("**/api/v1/people/members/*/create-again", lambda route: route.fulfill(json=again))
    page.goto(f"/people/{someone['id']}")
    main = page.get_by_role("main")
    main.get_by_role("button", name=SYNC_PERSON).click()
    expect(main.get_by_text(gone)).to_be_visible()
    main.get_by_role("button", name="Create again in Planning Center").click()
    expect(main.get_by_text("This person is added in Planning Center again")).to_be_visible()
    expect(main.get_by_text(gone)).to_have_count(0)
    page.unroute_all(behavior="wait")


def a_held_match(someone: dict[str, Any], number: int = 0) -> dict[str, Any]:
    """Of somebody there who may be `someone`."""
    nothing = ("birthdate", "gender", "email", "phone", "address", "middle_name", "suffix")
    theirs: dict[str, Any] = dict.fromkeys(nothing) | {"active": True, "child": False}
    theirs |= {"first_name": "Tim", "last_name": f"Twin{number or ''}"}
    held: dict[str, Any] = {"id": f"held{number}", "pco_id": "1", "theirs": theirs, "state": "open"}
    held |= {"reasons": ["Same name."]}
    held |= {"candidates": [{"member": someone, "reasons": [], "suffix": None}], "more": 0, "version": 1}
    return held | {"created_at": datetime.now(UTC).isoformat()}


def test_answers_to_a_held_match_have_equal_weight(page: Page, stack: Stack) -> None:
    """Against a stub of one held match."""
    with Church.of(stack) as church:
        held = a_held_match(church.members(state="linked")[0])
    bulk = {"id": "all", "answer": "same", "digest": "d", "count": 1, "left_out": 0, "may_be_mailed": 0, "done": 0}
    bulk |= {"state": "shown", "skipped": 0, "created_at": held["created_at"], "finished_at": None, "samples": []}
    found = {"items": [held], "next": None, "total": 1}
    page.route("**/api/v1/people/held-matches?*", lambda route: route.fulfill(json=found))
    page.route("**/api/v1/people/held-matches/bulk", lambda route: route.fulfill(json=bulk))
    page.goto("/held")
    match = page.get_by_role("region", name="Tim Twin")
    colours = {
        match.get_by_role("button", name=name).evaluate("button => getComputedStyle(button).backgroundColor")
        for name in ("Same person", "Different people", "Later")
    }
    assert len(colours) == 1
    dialog = page.get_by_role("dialog")
    for answer, told in (
        ("Same person", "your settings decide: one of them is kept, or a conflict is opened"),
        ("Different people", "Both people stay, and each is added on the side where they are missing."),
    ):
        match.get_by_role("button", name=answer).click()
        expect(dialog).to_contain_text(told)
        expect(dialog).to_contain_text("You can take your answer back until the sync has acted on it")
        accessible(page)
        dialog.get_by_role("button", name="Cancel").click()
    columns = match.get_by_role("columnheader")
    expect(columns.nth(1)).to_contain_text("Here")
    expect(columns.nth(2)).to_have_text("Planning Center")
    page.get_by_role("button", name="All: same person").click()
    expect(dialog).to_contain_text("Changes in Planning Center that we have not read yet are not noticed.")
    dialog.get_by_role("button", name="Cancel").click()
    page.unroute_all(behavior="wait")


def test_held_matches_that_come_later_and_the_way_back(page: Page, stack: Stack) -> None:
    """Against a stub of more than a page of them."""
    with Church.of(stack) as church:
        someone = church.members(state="linked")[0]
    every = [a_held_match(someone, number) for number in range(1, 31)]

    def answer(route: Route) -> None:
        limit = int(parse_qs(urlsplit(route.request.url).query)["limit"][0])
        further = "further" if limit < len(every) else None
        route.fulfill(json={"items": every[:limit], "next": further, "total": len(every)})

    page.route("**/api/v1/people/held-matches?*", answer)
    page.goto("/held")
    page.get_by_role("button", name="Load more").press("Enter")
    focused = page.locator(":focus")
    expect(focused).to_have_text("Tim Twin26")
    name = f"{someone['first_name']} {someone['last_name']}".strip()
    page.get_by_role("region", name="Tim Twin28").get_by_role("link", name=name, exact=True).press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    page.go_back()
    expect(focused).to_have_text("Tim Twin28")
    expect(focused).to_be_in_viewport()
    page.unroute_all(behavior="wait")


def test_a_birthdate_has_a_year_of_four_digits(page: Page) -> None:
    page.goto("/people/new")
    day = page.get_by_label("Birthdate")
    day.press_sequentially("0315120201")
    assert re.fullmatch(r"(\d{4}-\d\d-\d\d)?", day.input_value())
    day.fill("")


def test_a_person_merged_away_is_not_created_again(page: Page, stack: Stack) -> None:
    with Church.of(stack) as church:
        organization = church.control.organizations()[0]["id"]
        kept, merged = [
            church.add_member(first_name=name, last_name="Merged", email=f"{name.lower()}@example.org")
            for name in ("Mia", "Nell")
        ]
        church.sync("incremental")
        there = [church.get(f"/people/members/{one['id']}")["link"]["pco_id"] for one in (kept, merged)]
        church.control.merge_people(organization, *there)
        church.sync()
    page.goto(f"/people/{merged['id']}")
    main = page.get_by_role("main")
    expect(main.get_by_text("Merged with Mia Merged in Planning Center, and kept here.")).to_be_visible()
    expect(main.get_by_role("link", name="Mia Merged")).to_have_attribute("href", f"/people/{kept['id']}")
    expect(main).not_to_contain_text("Gone in Planning Center")
    expect(page.get_by_role("button", name="Create again in Planning Center")).to_have_count(0)
    sent = main.get_by_role("table").get_by_role("row", name=re.compile("^Email in Planning Center"))
    expect(sent).to_contain_text("nell@example.org")
    expect(sent).to_contain_text("The sync")
    accessible(page)
    shot(page, "member-merged")
    page.get_by_role("button", name="Sync this person now").click()
    expect(main).to_contain_text("Nell Merged was merged with Mia Merged in Planning Center.")
    expect(main.get_by_role("link", name="Mia Merged")).to_be_visible()


def test_an_edit_there_appears_here(page: Page, stack: Stack) -> None:
    with Church.of(stack) as church:
        [nora] = church.members(q="nora.newcome@example.org")
        organization = church.control.organizations()[0]["id"]
        church.edit_there(organization, nora["link"]["pco_id"], first_name="Eleonora")
        church.add_member(first_name="Tess", last_name="Twofold")
        church.control.create_person(organization, first_name="Tess", last_name="Twofold")
        church.sync()
    page.get_by_role("link", name="People").first.click()
    typed(page.get_by_role("searchbox"), "Newcome")
    page.keyboard.press("Enter")
    expect(page.get_by_role("table")).to_contain_text("Eleonora")


def test_a_held_match_is_found_again_and_asked_about(page: Page, staff: Page, stack: Stack) -> None:
    page.get_by_role("link", name="Integrations").first.click()
    # Tess, and the pair that is one person in Planning Center.
    page.get_by_role("link", name="2 held matches").click()
    held = page.get_by_role("region", name="Tess Twofold")
    heads, names = held.get_by_role("columnheader"), held.get_by_role("rowheader")
    head, name = heads.first.bounding_box(), names.first.bounding_box()
    assert head is not None
    assert name is not None
    assert head["y"] + head["height"] <= name["y"] + 1, "the head of the table covers its first row"
    # Another tab follows; after a lost race the notice names the faster person and links to the answer.
    staff.goto("/held")
    theirs = staff.get_by_role("region", name="Tess Twofold")
    expect(theirs).to_be_visible()
    dialog = page.get_by_role("dialog")
    held.get_by_role("button", name="Same person").click()
    with Church.of(stack) as church:
        tess = next(one for one in church.all("/people/held-matches"))
        church.call("POST", f"/people/held-matches/{tess['id']}/answer", json={"answer": "different"})
        expect(theirs).to_have_count(0)
        dialog.get_by_role("button", name="Same person").click()
        expect(dialog.get_by_role("alert")).to_contain_text("Ada Moreno has answered this: Different people.")
        dialog.get_by_role("button", name="Show it as it is now").click()
        expect(held).to_contain_text("Ada Moreno answered: different people")
        accessible(page)
        shot(page, "held-answered")
        held.get_by_role("button", name="Take the answer back").press("Enter")
        expect(held.get_by_role("button", name="Different people")).to_be_visible()
        expect(theirs).to_be_visible()
        assert church.get(f"/people/held-matches/{tess['id']}")["state"] == "open"
    page.get_by_role("link", name="Show all held matches").click()
    held.get_by_role("button", name="Later").click()
    expect(held.get_by_role("button", name="Later")).to_have_count(0)
    page.get_by_role("link", name="Waiting", exact=True).click()
    page.get_by_role("link", name="1 held match is unanswered: show it").click()
    held.get_by_role("button", name="Same person").click()
    expect(dialog).to_contain_text("Tess Twofold here and Tess Twofold in Planning Center become one person")
    shot(page, "held-dialog")
    dialog.get_by_role("button", name="Cancel").click()
    expect(held).to_be_visible()
    held.get_by_role("button", name="Same person").click()
    dialog.get_by_role("button", name="Same person").click()
    expect(page.get_by_role("heading", name="No other held matches")).to_be_visible()


def test_one_answer_to_all_that_are_shown(page: Page, stack: Stack) -> None:
    with Church.of(stack) as church:
        organization = church.control.organizations()[0]["id"]
        names = ["Hank", "Hedy", "Hetty", "Hiram", "Hope", "Hugh"]
        for name in names:
            added = church.add_member(first_name=name, last_name="Twofold", email=f"{name.lower()}@example.org")
            church.control.create_person(organization, first_name=name, last_name="Twofold", middle_name="Quill")
        church.add_member(first_name="Hope", last_name="Twofold", email="hope.two@example.org")
        family = church.add_family("Twofold", added)
        church.sync()
        page.goto(f"/families/{family['id']}")
        page.get_by_role("link", name="1 held match of this family").click()
        expect(page.get_by_text("Only those of one family.")).to_be_visible()
        expect(page.get_by_role("region", name="Hugh Twofold")).to_be_visible()
        page.get_by_role("link", name="Show all families").click()
        expect(page.get_by_text("6 held matches", exact=True)).to_be_visible()
        page.get_by_role("link", name="Same name", exact=True).click()
        hank = page.get_by_role("region", name="Hank Twofold")
        expect(hank.get_by_role("row", name=re.compile("Middle name.*Quill"))).to_be_visible()
        expect(hank.get_by_role("row", name=re.compile("Status.*Active.*Active"))).to_be_visible()
        accessible(page)
        shot(page, "held-matches")
        tab_to(page, "button", "All: same person")
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("Exactly these 5 are answered.")
        expect(dialog).to_contain_text("1 held match is left as it is, because several people may be meant: those")
        expect(dialog).to_contain_text("Hank Twofold here and Hank Twofold in Planning Center become one person")
        accessible(page)
        shot(page, "held-all-dialog")
        # Another person answers one of the matches first.
        hedy = next(one for one in church.all("/people/held-matches") if one["theirs"]["first_name"] == "Hedy")
        church.call("POST", f"/people/held-matches/{hedy['id']}/answer", json={"answer": "different"})
        page.evaluate(SAID)
        tab_to(page, "button", "Answer 5 held matches")
        page.keyboard.press("Enter")
        said = page.get_by_role("region", name="What was answered")
        expect(said).to_contain_text("4 held matches were answered: same person.")
        expect(said).to_contain_text("1 held match changed meanwhile and was left as it is.")
        expect(said.get_by_role("listitem")).to_have_text(re.compile("Hedy Twofold: Somebody else answered it"))
        expect(page.get_by_role("region", name="Hank Twofold")).to_have_count(0)
        expect(page.get_by_role("region", name="Hope Twofold")).to_be_visible()
        assert any("4 held matches were answered" in sentence for sentence in page.evaluate("window.said"))
        accessible(page)
        shot(page, "held-all-answered")
        page.reload()
        expect(said).to_contain_text("4 held matches were answered: same person.")
        tab_to(page, "button", "All: same person")
        page.keyboard.press("Enter")
        refused = page.get_by_role("alert")
        expect(refused).to_contain_text("None of these can have the answer")
        tab_to(page, "button", "Close")
        page.keyboard.press("Enter")
        expect(said).to_have_count(0)
        tab_to(page, "button", "All: different people")
        page.keyboard.press("Enter")
        tab_to(page, "button", "Answer 1 held match")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="No held matches fit these filters")).to_be_visible()
    page.goto("/")


def test_edited_on_both_sides_is_a_conflict_on_the_badge(page: Page, stack: Stack) -> None:
    with Church.of(stack) as church:
        [nora] = church.members(q="nora.newcome@example.org")
        organization = church.control.organizations()[0]["id"]
        church.change_member(nora, last_name="Ours")
        church.edit_there(organization, nora["link"]["pco_id"], last_name="Theirs")
        [tess] = church.members(q="Tess Twofold")
        church.control.delete_person(organization, tess["link"]["pco_id"])
        run = church.sync()
        church.eventually(lambda: church.get("/conflicts/count")["open"] == 1, "the conflict is counted")
        assert church.get(f"/people/members/{nora['id']}")["last_name"] == "Ours"
    conflicts = page.get_by_role("link", name=re.compile("Conflicts")).first
    expect(conflicts).to_contain_text("1")
    conflicts.click()
    expect(page.get_by_role("heading", name="Conflicts", level=1)).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text("Theirs")
    expect(page.get_by_role("row", name=re.compile("Last name"))).to_contain_text(re.compile(r"Last agreed on \w+ \d"))
    accessible(page)
    shot(page, "conflicts")
    page.get_by_role("link", name="Integrations").first.click()
    expect(page.get_by_role("region", name="Planning Center People")).to_contain_text("1")
    shot(page, "integrations-with-conflict")
    page.goto(f"/runs/{run['id']}?outcome=conflict")
    row = page.get_by_role("table").get_by_role("row", name=re.compile("^Eleonora"))
    there = row.get_by_role("link", name=re.compile("Open in Planning Center")).get_attribute("href") or ""
    assert nora["first_name"] in page.request.get(there).text()
    accessible(page)
    shot(page, "run-conflicts")
    row.get_by_role("link").first.click()
    expect(page.get_by_role("region", name=re.compile("^Eleonora"))).to_contain_text("Theirs")
    page.goto(f"/people/{nora['id']}")
    expect(page.get_by_text("In conflict", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name=re.compile("Open in Planning Center"))).to_have_attribute("href", there)
    shot(page, "member-in-conflict")
    page.get_by_role("link", name="View the conflict").click()
    expect(page.get_by_role("table")).to_contain_text("Theirs")
    page.goto(f"/people/{tess['id']}")
    page.get_by_role("button", name="Create again in Planning Center").click()
    main = page.get_by_role("main")
    said = main.get_by_text("This person is added in Planning Center again, at the latest by the next sync.")
    expect(said).to_be_visible()
    shot(page, "member-gone")
    expect(main.get_by_text("Linked", exact=True).first).to_be_visible(timeout=60_000)
    expect(main.get_by_role("button", name=SYNC_PERSON)).to_be_visible()


def test_a_sync_that_changes_a_lot_asks_who_may_answer(page: Page, staff: Page, stack: Stack) -> None:
    with Church.of(stack) as church:
        organization = church.control.organizations()[0]["id"]
        church.call("PATCH", "/people/settings", json={"threshold_percent": 1, "threshold_minimum": 1})
        for member in church.members(state="linked", child="true")[:8]:
            church.control.edit_person(organization, member["link"]["pco_id"], last_name="Renamed")
        run_id = church.start()
        church.eventually(lambda: church.run(run_id)["state"] == "waiting", "the sync asks")
        page.goto("/")
        card = page.get_by_role("region", name="Planning Center People")
        expect(card.get_by_text("Waiting for your answer")).to_be_visible()
        expect(card).not_to_contain_text("left")
        shot(page, "integrations-waiting")
        staff.goto(f"/runs/{run_id}")
        expect(staff.get_by_text("Waiting for an administrator", exact=True)).to_be_visible()
        expect(staff.get_by_role("main")).not_to_contain_text("your answer")
        card.get_by_role("link", name="Look at the plan and answer").click()
        expect(page.get_by_role("heading", name="This sync would change a lot")).to_be_visible()
        expect(page.get_by_role("list", name="Records of the plan").get_by_role("listitem").first).to_be_visible()
        expect(page.get_by_role("main")).to_contain_text("Your settings ask above 1 % and from 1 record on.")
        accessible(page)
        shot(page, "run-asks")
        page.get_by_role("button", name=re.compile("^Make these [0-9]+ changes$")).click()
        expect(page.get_by_text("Done", exact=True)).to_be_visible(timeout=60_000)
        assert church.run(run_id)["counts"]["updated_here"] > 4
        answers = page.get_by_role("list", name="Answers")
        expect(answers).to_contain_text("Should so much change? Ada Moreno answered: Make these changes")
        expect(page.get_by_role("main")).to_contain_text("without the time it waited for an answer")


def test_access_that_ended_says_where_to_give_it_again(page: Page, stack: Stack) -> None:
    with Church.of(stack) as church:
        church.control.end_tokens()
        run_id = church.start("incremental")
        page.goto(f"/runs/{run_id}")
        page.get_by_role("link", name="See the connection on the Integrations page").click(timeout=60_000)
        card = page.get_by_role("region", name="Planning Center People")
        expect(card).to_contain_text("Reconnect to go on.")
        expect(card).to_contain_text("Once Planning Center is connected again")
        expect(card).not_to_contain_text("Ask an administrator")
        shot(page, "reconnect")
        church.connect()
        church.wait(run_id)


def test_every_other_page_can_be_looked_at(page: Page) -> None:
    for name in ("Events", "Activity"):
        page.get_by_role("link", name=name).first.click()
        expect(page.get_by_role("heading", name=name, level=1)).to_be_visible()
        shot(page, name.lower())
    page.goto("/integrationz")
    expect(page.get_by_role("heading", name="There is no such page", level=1)).to_be_visible()
    shot(page, "no-such-page")


def test_a_keyboard_is_enough(page: Page) -> None:
    page.goto("/")
    expect(page.get_by_role("button", name="Sync Now")).to_be_visible()
    names: list[str] = []
    for _ in range(40):
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement?.textContent?.trim() ?? ''"))
    assert any("Sync Now" in name for name in names)
    assert any("Disconnect" in name for name in names)


def test_disconnect_with_a_receipt(page: Page, stack: Stack) -> None:
    page.goto("/")
    card = page.get_by_role("region", name="Planning Center People")
    card.get_by_role("button", name=re.compile("Disconnect")).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    shot(page, "disconnect-dialog")
    page.keyboard.press("Escape")
    expect(dialog).not_to_be_visible()
    card.get_by_role("button", name=re.compile("Disconnect")).click()
    dialog.get_by_role("button", name="Disconnect Planning Center People").click()
    expect(page.get_by_text(re.compile("receipt", re.IGNORECASE)).first).to_be_visible(timeout=60_000)
    with Church.of(stack) as church:
        there = church.get("/people/status")
    expect(dialog).to_contain_text(f"{there['members']:,} members, {there['linked_members']:,} of them linked")
    shot(page, "receipt")
    expect(card.get_by_role("button", name="Connect Planning Center People")).to_be_visible(timeout=90_000)
    shot(page, "disconnected")
    another = card.get_by_role("button", name="Connect another organization")
    dialog.get_by_role("button", name="Close").click()
    expect(another).to_be_visible()
    with Church.of(stack) as church:
        church.connect("calendar")
    expect(card).to_contain_text("Planning Center Calendar uses the same organization")
    expect(another).to_have_count(0)
    page.goto("/people/new")
    expect(page.get_by_role("main")).to_contain_text("Planning Center People is not connected")
    with Church.of(stack) as church:
        someone = church.members(state="linked")[0]
    page.goto(f"/people/{someone['id']}")
    expect(page.get_by_role("button", name=SYNC_PERSON)).to_be_disabled()
    expect(page.get_by_role("button", name=SYNC_PERSON)).to_have_accessible_description(re.compile("not connected"))
    accessible(page)
    shot(page, "member-not-connected")


def test_the_first_page_is_small(page: Page, stack: Stack) -> None:
    """The first page needs less than 100 KB, for a browser that has nothing of it yet."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("Network.clearBrowserCache")
    page.goto("/")
    expect(page.get_by_role("heading", name="Integrations", level=1)).to_be_visible()
    assert 10_000 < page.evaluate(TRANSFERRED) < 100_000
    script = page.request.get("/app.js", headers={"Accept-Encoding": "gzip"})
    assert script.headers["content-encoding"] == "gzip"


def test_staff_see_no_actions(staff: Page, stack: Stack) -> None:
    expect(staff.get_by_role("button", name=re.compile("Connect Planning Center"))).to_have_count(0)
    expect(staff.get_by_role("button", name="Sync Now")).to_have_count(0)
    shot(staff, "staff")
    with Church.of(stack) as church:
        someone = church.members(state="linked")[0]
    staff.goto(f"/people/{someone['id']}")
    expect(staff.get_by_role("definition").first).to_have_text(someone["first_name"])
    expect(staff.get_by_role("button", name=SYNC_PERSON)).to_have_count(0)


def test_axe_has_looked_at_the_pages() -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not installed, so no page was looked at with it: run `make console` first")
