"""The People story in Chromium: things are found by role and name only, and every page is left as a screenshot."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from local_stack.church import Church
from local_stack.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "screenshots"
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
QUIET += ["--disable-sync", "--no-first-run", "--disable-quic"]
PEOPLE = 400
expect.set_options(timeout=20_000)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One process of every service: what `make run` starts."""
    with Stack(
        tmp_path_factory.mktemp("browser"),
        people=PEOPLE,
        environment={"people-sync": {"PCO_STALENESS_HORIZON_SECONDS": "2"}},
        # Slow enough to be seen at work, lagging as the vendor does.
        simulator_settings={"latency_ms": 250, "rate_limit": 3, "rate_period_seconds": 1, "lists_lag_ms": 500},
        cache=ROOT / ".cache",
    ) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium from the system's packages."""
    path = shutil.which("chromium")
    assert path is not None
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    """Ada's browser, through all chapters. Anything written to the console as an error fails the module."""
    context = browser.new_context(base_url=stack.url(), locale="en-US", timezone_id="America/New_York")
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield page
    context.close()
    assert [error for error in errors if "Failed to load resource" not in error] == []


def shot(page: Page, name: str) -> None:
    """The page light, dark and as wide as a phone, for people to look at."""
    SCREENSHOTS.mkdir(exist_ok=True)
    size = page.viewport_size
    for kind in ("light", "dark"):
        page.emulate_media(color_scheme=kind)
        page.screenshot(path=SCREENSHOTS / f"{name}-{kind}.png", full_page=True)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 390, "height": 844})
    page.screenshot(path=SCREENSHOTS / f"{name}-phone.png", full_page=True)
    if size:
        page.set_viewport_size(size)


def test_sign_in(page: Page) -> None:
    page.goto("/")
    shot(page, "sign-in")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name=re.compile("Ada")).click()
    expect(page.get_by_role("heading", name="Integrations", level=1)).to_be_visible()
    expect(page.get_by_text("Ada Moreno").first).to_be_visible()
    shot(page, "integrations-not-connected")


def test_connect(page: Page) -> None:
    page.get_by_role("button", name="Connect Planning Center People").click()
    page.get_by_role("radio").first.check()
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


def test_a_member_added_here_appears_there(page: Page, stack: Stack) -> None:
    page.get_by_role("link", name="People").first.click()
    page.get_by_role("link", name="Add a person").click()
    page.get_by_label("First name").fill("Nora")
    page.get_by_label("Last name").fill("Newcome")
    page.get_by_label(re.compile("E-?mail")).fill("nora.newcome@example.org")
    page.get_by_label("Phone").fill("202-555-0188")
    page.get_by_label(re.compile("Street", re.IGNORECASE)).first.fill("5 Mill Lane")
    page.get_by_label("City").fill("Dover")
    shot(page, "member-new")
    page.get_by_role("button", name="Add this person").click()
    expect(page.get_by_role("heading", name="Nora Newcome")).to_be_visible()
    shot(page, "member")
    with Church.of(stack) as church:
        [nora] = church.members(q="nora.newcome@example.org")
        church.add_family("Newcome", nora)
        church.sync()
        rows = list(church.control.dump(church.control.organizations()[0]["id"]))
    person = next(row for row in rows if row["type"] == "Person" and row["attributes"].get("last_name") == "Newcome")
    assert any(row["type"] == "Email" and row["attributes"]["address"] == "nora.newcome@example.org" for row in rows)
    assert any(row["type"] == "PhoneNumber" and row["attributes"].get("e164") == "+12025550188" for row in rows)
    assert any(row["type"] == "Address" and row["attributes"].get("street_line_1") == "5 Mill Lane" for row in rows)
    assert any(row["type"] == "Household" and row["attributes"]["name"] == "Newcome" for row in rows)
    assert person["attributes"]["first_name"] == "Nora"


def test_an_edit_there_appears_here(page: Page, stack: Stack) -> None:
    with Church.of(stack) as church:
        [nora] = church.members(q="nora.newcome@example.org")
        organization = church.control.organizations()[0]["id"]
        church.edit_there(organization, nora["link"]["pco_id"], first_name="Eleonora")
        church.sync()
    page.get_by_role("link", name="People").first.click()
    page.get_by_role("searchbox").fill("Newcome")
    page.keyboard.press("Enter")
    expect(page.get_by_role("table")).to_contain_text("Eleonora")


def test_edited_on_both_sides_is_a_conflict_on_the_badge(page: Page, stack: Stack) -> None:
    with Church.of(stack) as church:
        [nora] = church.members(q="nora.newcome@example.org")
        organization = church.control.organizations()[0]["id"]
        church.change_member(nora, last_name="Ours")
        church.edit_there(organization, nora["link"]["pco_id"], last_name="Theirs")
        church.sync()
        church.eventually(lambda: church.get("/conflicts/count")["open"] == 1, "the conflict is counted")
        assert church.get(f"/people/members/{nora['id']}")["last_name"] == "Ours"
    conflicts = page.get_by_role("link", name=re.compile("Conflicts")).first
    expect(conflicts).to_contain_text("1")
    conflicts.click()
    expect(page.get_by_role("heading", name="Conflicts", level=1)).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text("Theirs")
    shot(page, "conflicts")
    page.get_by_role("link", name="Integrations").first.click()
    expect(page.get_by_role("region", name="Planning Center People")).to_contain_text("1")
    shot(page, "integrations-with-conflict")


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
    expect(page.get_by_role("heading", name="Integrations", level=1)).to_be_visible()
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


def test_what_was_written_is_small(page: Page, stack: Stack) -> None:
    """Under 100 KB for the first page."""
    sizes: list[int] = []
    page.on("response", lambda response: sizes.append(len(response.body())) if response.ok else None)
    page.goto("/")
    expect(page.get_by_role("heading", name="Integrations", level=1)).to_be_visible()
    assert 0 < sum(sizes) < 100_000


def test_staff_see_no_actions(browser: Browser, stack: Stack) -> None:
    context = browser.new_context(base_url=stack.url())
    page = context.new_page()
    page.goto("/")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name=re.compile("Sam")).click()
    expect(page.get_by_role("heading", name="Integrations", level=1)).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("Connect Planning Center"))).to_have_count(0)
    expect(page.get_by_role("button", name="Sync Now")).to_have_count(0)
    shot(page, "staff")
    context.close()
