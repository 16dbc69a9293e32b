"""A change on Planning Center's page is seen on the open page of the console, without a reload.

The tests of this module are chapters: each continues where the one before ended.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from pages import shot, sign_in, watched
from playwright.sync_api import Browser, Page, expect

from local_stack.church import Church
from local_stack.stack import SIMULATOR, Stack

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

WITHIN_MS = 60_000
"""Far more than needed, on a busy machine."""


@pytest.fixture(scope="module")
def processes() -> int:
    """One process of each service."""
    return 1


@pytest.fixture(scope="module")
def live() -> bool:
    """Changes come at once."""
    return True


@pytest.fixture(scope="module")
def people() -> int:
    """Few, since nothing here depends on their number."""
    return 60


@pytest.fixture(scope="module")
def vendor() -> dict[str, object]:
    """A vendor without lag, and with the events of Calendar that it does not have yet."""
    return {"rate_limit": 0, "calendar_event_hints": True}


@pytest.fixture(scope="module")
def church(stack: Stack) -> Iterator[Church]:
    """A church that was synced once, and hears of changes."""
    with Church.of(stack) as admin:
        admin.connect()
        admin.connect("calendar")
        admin.sync()
        for product in ("people", "calendar"):
            admin.eventually(
                lambda product=product: admin.get("/webhooks/status")[product]["state"] == "live", f"{product} is live"
            )
        yield admin


@pytest.fixture(scope="module")
def page(browser: Browser, stack: Stack, church: Church) -> Iterator[Page]:
    """Ada's browser, through all chapters."""
    with watched(browser, stack) as window:
        sign_in(window, "Ada")
        yield window


@pytest.fixture(scope="module")
def there(browser: Browser, stack: Stack) -> Iterator[Page]:
    """Planning Center in another window."""
    window = browser.new_page(base_url=stack.url(SIMULATOR))
    yield window
    window.close()


def someone(church: Church, number: int) -> dict[str, Any]:
    """The linked member at a place in the list, who has an e-mail address."""
    return [one for one in church.members(state="linked") if one["email"]][number]


def seen(page: Page, text: str) -> None:
    """The open page shows a text; it was not loaded again since it was marked."""
    expect(page.get_by_role("main")).to_contain_text(text, timeout=WITHIN_MS)
    assert page.evaluate("window.stays === true"), "the page was loaded again"


def opened(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.evaluate("window.stays = true")


def test_a_person_and_a_contact(page: Page, there: Page, church: Church) -> None:
    one = someone(church, 0)
    opened(page, f"/people/{one['id']}")
    there.goto(f"/people/AC{one['link']['pco_id']}")
    profile = there.get_by_role("region", name="Profile")
    profile.get_by_label("Last name", exact=True).fill("Seenlive")
    profile.get_by_role("button", name="Save person").click()
    seen(page, "Seenlive")
    mail = there.get_by_role("region", name="Email").first
    mail.get_by_label("Address").first.fill("seen.live@example.org")
    mail.get_by_role("button", name="Save email").first.click()
    seen(page, "seen.live@example.org")
    shot(page, "live-person")


def test_a_household(page: Page, there: Page, church: Church) -> None:
    family = next(one for one in church.families() if (one["link"] or {}).get("state") == "linked")
    linked = {one["id"]: one["link"]["pco_id"] for one in church.members(state="linked")}
    member_id = next(one for one in family["member_ids"] if one in linked)
    opened(page, f"/families/{family['id']}")
    there.goto(f"/people/AC{linked[member_id]}")
    households = there.get_by_role("region", name="Households")
    households.get_by_label("Household name").first.fill("The Live Household")
    households.get_by_role("button", name="Save household").first.click()
    seen(page, "The Live Household")


def test_a_merge(page: Page, there: Page, church: Church) -> None:
    kept, removed = someone(church, -1), someone(church, -2)
    opened(page, f"/people/{removed['id']}")
    there.goto(f"/people/AC{kept['link']['pco_id']}")
    merge = there.get_by_role("region", name="Merge and delete")
    merge.get_by_label("Id of the person merged into this one").fill(removed["link"]["pco_id"])
    merge.get_by_role("button", name="Merge people").click()
    seen(page, "merged")


def test_an_event(page: Page, there: Page, church: Church) -> None:
    pco = str(church.control.organizations()[0]["id"])
    event_id = church.control.create_event(pco, "Supper", "2027-01-15T18:00", "2027-01-15T19:30")
    times = {"starts_at": "2027-01-15T18:00:00Z", "ends_at": "2027-01-15T19:30:00Z"}
    event = church.call("POST", "/calendar/events", json={"title": "Supper", "time_zone": "America/New_York", **times})
    church.call("POST", f"/calendar/events/{event['id']}/link", json={"pco_event_id": event_id})
    opened(page, f"/events/{event['id']}")
    there.goto(f"/events/{event_id}")
    content = there.get_by_role("region", name="Event", exact=True)
    content.get_by_label("Name").fill("Supper for everybody")
    content.get_by_role("button", name="Save event").click()
    seen(page, "Supper for everybody")
