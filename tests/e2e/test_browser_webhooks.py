"""Activity in Chromium: messages from Planning Center by hour and one by one, looked into, sent again, archived.

The tests of this module are chapters: each continues where the one before ended.
"""

import asyncio
import json
import re
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from pages import Windows, accessible, shot, tab_to, tab_until, words_are_whole
from playwright.sync_api import Browser, Page, expect

from contracts.events.webhooks_outcome_v1 import WebhookApplied
from contracts.values import PEOPLE_SYNC, WEBHOOK_GATEWAY
from local_stack.church import Church
from local_stack.stack import SIMULATOR, Stack
from servicekit.ids import uuid7
from servicekit.testing.facts import publish

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

UPDATED = "people.v2.events.person.updated"
GIVEN_UP = "Planning Center refused to show this person five times."
UNREADABLE = "The message is not JSON."
Stored = Callable[..., int]

_DELIVERY = """
    INSERT INTO delivery (organization_id, product, generation, body_id, position, delivery_id, name, resource_type,
        resource_id, person_id, state, received_at, verified_at, published_at, applied_at, outcome, outcome_by,
        sentence, record_kind, record_id)
    VALUES ($1, $2, 1, $3, 0, $4, $5, $6, $7, $8, $9, $10, $10, $11, $12, $13, 'people-sync', $14, $15, $16)
    RETURNING id
"""
_BODY = """
    INSERT INTO webhook_body (id, organization_id, key_id, subscription_id, body, received_at)
    VALUES ($1, $2, 1, $1, $3, $4)
"""


def inside(work: Coroutine[Any, Any, Any]) -> Any:
    """Playwright's loop has the main thread."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


@pytest.fixture(scope="module")
def organization(connected: Church) -> str:
    """Id of this file's church at the platform."""
    return str(connected.get("/me")["user"]["organization_id"])


@pytest.fixture(scope="module")
def stored(town: Stack, organization: str) -> Stored:
    """Stores a delivery as the intake does, and gives its number."""

    def store(*, age: timedelta = timedelta(), body: bytes | None = None, **values: Any) -> int:
        row = {
            "product": "people",
            "name": UPDATED,
            "resource_type": "Person",
            "resource_id": "5001",
            "person_id": None,
            "state": "applied",
            "outcome": "changed",
            "sentence": "The last name was taken over from Planning Center.",
            "record_kind": None,
            "record_id": None,
            **values,
        }
        at, body_id = datetime.now(UTC) - age, uuid7()
        person = {"type": "Person", "id": row["resource_id"]}
        attributes = {"first_name": "Mira", "last_name": "Xenakis", "child": False, "birthdate": "1980-02-03"}
        payload = json.dumps({"data": {**person, "attributes": attributes}, "included": [], "meta": {}})
        message = {"id": str(uuid4()), "type": "EventDelivery", "attributes": {"name": UPDATED, "payload": payload}}
        content = body or json.dumps({"data": [message]}).encode()

        async def insert() -> int:
            connection = await asyncpg.connect(town.database_url(WEBHOOK_GATEWAY, driver="postgresql"))
            try:
                await connection.execute(_BODY, body_id, organization, content, at)
                waits = row["state"] == "waiting"
                number = await connection.fetchval(
                    _DELIVERY,
                    *(organization, row["product"], body_id, message["id"], row["name"], row["resource_type"]),
                    *(row["resource_id"], row["person_id"], row["state"], at, at),
                    *(None if waits else at, None if waits else row["outcome"], None if waits else row["sentence"]),
                    *(row["record_kind"], row["record_id"]),
                )
                return int(number)
            finally:
                await connection.close()

        return int(inside(insert()))

    return store


def test_without_messages_the_page_says_what_would_be_here(page: Page, connected: Church) -> None:
    connected.eventually(
        lambda: connected.get("/webhooks/status")["people"]["state"] == "live", "changes of People come at once"
    )
    page.goto("/integrations")
    card = page.get_by_role("region", name="Planning Center People")
    expect(card).to_contain_text("Live")
    expect(page.get_by_role("region", name="Planning Center Calendar")).not_to_contain_text("Live")
    accessible(page)
    shot(page, "integrations-live")
    page.get_by_role("link", name="Activity").first.press("Enter")
    expect(page.get_by_role("heading", name="Activity", level=1)).to_be_focused()
    expect(page.get_by_role("heading", name="No message yet")).to_be_visible()
    expect(page.get_by_role("region", name="Problems")).to_contain_text("None")
    expect(page.get_by_role("link", name="Sync history")).to_have_attribute("href", "/runs")
    accessible(page)
    shot(page, "activity-empty")


def test_the_log_is_filled_and_filtered(page: Page, stored: Stored, connected: Church) -> None:
    member = connected.add_member(first_name="Mira", last_name="Xenakis")
    for hour in range(0, 20, 3):
        for number in range(hour % 5 + 1):
            stored(age=timedelta(hours=hour), resource_id=str(6000 + number))
    stored(record_kind="member", record_id=member["id"])
    stored(name="people.v2.events.email.created", resource_type="Email", resource_id="91", person_id="5001")
    stored(
        outcome="unchanged",
        sentence="Nothing differs.",
        name="people.v2.events.household.updated",
        resource_type="Household",
        resource_id="77",
    )
    for number in range(3):
        stored(state="failed", outcome="failed", sentence=GIVEN_UP, resource_id=str(7000 + number))
    stored(
        state="failed",
        outcome="unreadable",
        sentence=UNREADABLE,
        name="",
        resource_type=None,
        resource_id=None,
        body=b"\x00 no JSON",
    )
    page.reload()
    table = page.get_by_role("table", name="Messages from Planning Center")
    expect(table.get_by_role("row").nth(1)).to_contain_text("A message that cannot be read")
    chart = page.get_by_role("img", name=re.compile("^Messages of the last 24 hours by hour"))
    expect(chart).to_be_visible()
    page.get_by_text("The same as a table").press("Enter")
    hours = page.get_by_role("table", name=re.compile("^Messages of the last 24 hours by the hour"))
    expect(hours.get_by_role("row")).to_have_count(26)
    page.get_by_text("Each kind of change").first.press("Enter")
    accessible(page)
    page.emulate_media(color_scheme="dark")
    accessible(page)
    page.emulate_media(color_scheme="light")
    words_are_whole(page, page.get_by_role("main"), (390, 720))
    page.get_by_text("The same as a table").press("Enter")
    page.get_by_text("Each kind of change").first.press("Enter")
    shot(page, "activity")
    tab_until(page, page.get_by_role("navigation", name="What it is about").get_by_role("link", name="Emails"))
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 message", exact=True)).to_be_visible()
    expect(page).to_have_url(re.compile(r"resource_type=Email"))
    page.reload()
    expect(table.get_by_role("row")).to_have_count(2)
    page.get_by_role("link", name="Everything").press("Enter")
    page.get_by_role("searchbox", name="ID in Planning Center").fill("77")
    page.keyboard.press("Enter")
    expect(table.get_by_role("row").nth(1)).to_contain_text("Household 77")
    page.get_by_role("link", name="Failed", exact=True).press("Enter")
    expect(page.get_by_role("heading", name="No message fits")).to_be_visible()
    page.get_by_role("link", name="Show every message").press("Enter")
    expect(page).to_have_url(re.compile(r"/activity$"))


def test_a_message_appears_and_is_applied_on_the_open_page(
    page: Page, stored: Stored, town: Stack, organization: str
) -> None:
    page.goto("/activity")
    table = page.get_by_role("table", name="Messages from Planning Center")
    expect(table).to_be_visible()
    page.mouse.move(0, 0)
    number = stored(state="waiting", resource_id="8123")

    def applied() -> WebhookApplied:
        return WebhookApplied(
            organization_id=organization,
            version=number,
            delivery_id=str(uuid4()),
            outcome="changed",
            by=PEOPLE_SYNC,
            applied_at=datetime.now(UTC),
            sentence="The phone number was taken over.",
        )

    inside(publish(town.kafka.bootstrap_servers, applied(), PEOPLE_SYNC))
    row = table.get_by_role("row").filter(has_text="Person 8123")
    expect(row).to_contain_text("Applied")
    expect(row).to_contain_text("Changed here")


def test_one_message_step_by_step(page: Page, connected: Church) -> None:
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="See the person"))
    row.get_by_role("link", name=UPDATED).press("Enter")
    expect(page.get_by_role("heading", name=UPDATED, level=1)).to_be_focused()
    steps = page.get_by_role("region", name="Steps").get_by_role("listitem")
    expect(steps).to_have_text(
        [re.compile(f"^{step}") for step in ("Received", "Verified", "Stored", "Handed on", "Applied")]
    )
    contents = page.get_by_role("region", name="Contents")
    expect(contents).to_contain_text('"first_name": "•••"')
    expect(contents).not_to_contain_text("Xenakis")
    accessible(page)
    shot(page, "delivery")
    tab_to(page, "button", "Show values").press("Enter")
    dialog = page.get_by_role("dialog", name="Show the values in this message?")
    accessible(page)
    shot(page, "delivery-look")
    expect(dialog.get_by_role("textbox", name="Reason")).to_be_focused()
    page.keyboard.type("Mira asks why her name changed.")
    tab_until(page, dialog.get_by_role("button", name="Show values")).press("Enter")
    expect(contents).to_contain_text('"last_name": "Xenakis"')
    looks = page.get_by_role("region", name="Who saw the values")
    expect(looks).to_contain_text(re.compile("Ada Moreno.*: Mira asks why her name changed."))
    expect(page.get_by_role("button", name="Hide values")).to_be_focused()
    accessible(page)
    page.get_by_role("button", name="Hide values").press("Enter")
    expect(contents).not_to_contain_text("Xenakis")
    page.get_by_role("link", name="See the person").press("Enter")
    expect(page.get_by_role("heading", name="Mira Xenakis", level=1)).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name=UPDATED, level=1)).to_be_visible()


def test_a_message_is_sent_again(page: Page) -> None:
    tab_to(page, "button", "Send again").press("Enter")
    dialog = page.get_by_role("dialog", name="Send this message again?")
    expect(dialog).to_be_visible()
    dialog.get_by_role("button", name="Send it again").press("Enter")
    sent = page.get_by_role("region", name="Messages sent again")
    expect(sent).to_contain_text("1 message was sent again")
    expect(page.get_by_role("region", name="What it is about")).to_contain_text("1 time")
    accessible(page)
    shot(page, "delivery-again")


def test_problems_are_sent_again_or_archived_by_cause(page: Page) -> None:
    page.goto("/activity")
    problems = page.get_by_role("region", name="Problems")
    causes = problems.get_by_role("heading", level=3)
    expect(causes).to_have_text([GIVEN_UP, UNREADABLE])
    expect(problems.get_by_role("button", name=f"Send again: {UNREADABLE}")).to_have_count(0)
    problems.get_by_role("button", name=f"Archive: {UNREADABLE}").press("Enter")
    dialog = page.get_by_role("dialog", name="Archive 1 message?")
    dialog.get_by_role("textbox", name=re.compile("^Note")).fill("A test of theirs.")
    accessible(page)
    shot(page, "activity-archive")
    dialog.get_by_role("button", name="Archive 1 message").press("Enter")
    expect(causes).to_have_text([GIVEN_UP])
    problems.get_by_role("button", name=f"Send again: {GIVEN_UP}").press("Enter")
    dialog = page.get_by_role("dialog", name="Send 3 messages again?")
    expect(dialog).to_contain_text("Exactly these 3 are handed on once more.")
    accessible(page)
    dialog.get_by_role("button", name="Send 3 messages again").press("Enter")
    sent = page.get_by_role("region", name="Messages sent again")
    expect(sent).to_contain_text("3 messages were sent again")
    expect(problems).to_contain_text("None")
    accessible(page)
    sent.get_by_role("button", name="Close").press("Enter")
    expect(sent).to_have_count(0)
    page.get_by_role("link", name="Archived", exact=True).press("Enter")
    page.get_by_role("link", name="A message that cannot be read").press("Enter")
    expect(page.get_by_role("region", name="What it is about")).to_contain_text("by Ada Moreno: A test of theirs.")
    expect(page.get_by_role("button", name="Send again")).to_have_count(0)


def test_staff_see_everything_and_change_nothing(window_of: Windows, page: Page) -> None:
    sam = window_of("Sam")
    sam.goto("/activity")
    expect(sam.get_by_role("table", name="Messages from Planning Center")).to_be_visible()
    for name in ("Send", "Archive:", "Check"):
        expect(sam.get_by_role("button", name=re.compile(f"^{name}"))).to_have_count(0)
    sam.get_by_role("row").filter(has_text="Email 91").get_by_role("link").first.press("Enter")
    expect(sam.get_by_role("region", name="Contents")).to_contain_text("•••")
    expect(sam.get_by_role("button", name="Show values")).to_have_count(0)


def test_the_church_chooses_how_long_messages_are_kept(page: Page, connected: Church) -> None:
    page.goto("/activity")
    page.get_by_role("link", name="Settings of the log").press("Enter")
    days = page.get_by_role("spinbutton", name="Days for which messages are kept")
    expect(days).to_have_value("30")
    days.fill("60")
    accessible(page)
    shot(page, "activity-settings")
    page.get_by_role("button", name="Save settings").press("Enter")
    expect(page.get_by_role("status").filter(has_text="Saved.")).to_be_visible()
    assert connected.get("/webhooks/settings") == {"kept_days": 60}


def test_a_subscription_that_died_silently_is_mended_on_request(
    page: Page, browser: Browser, town: Stack, connected: Church, pco: str
) -> None:
    there = browser.new_page()
    there.goto(f"{town.url(SIMULATOR)}/churches/{pco}/webhooks")
    accessible(there)
    shot(there, "simulator-webhooks")
    there.get_by_role("button", name=f"Deactivate {UPDATED}").press("Enter")
    expect(there.get_by_role("status")).to_have_text("The subscription was deactivated.")
    accessible(there)
    there.close()
    page.goto("/activity")
    people = page.get_by_role("region", name="Planning Center People")
    expect(people).to_contain_text("Live")
    people.get_by_role("button", name="Check now: Planning Center People").press("Enter")
    expect(people).to_contain_text(re.compile("Messages that may be missing.*1 time"))
    expect(people.get_by_role("list").filter(has_text="may be missing")).to_have_count(1)
    accessible(page)
    shot(page, "activity-gap")
    active = {one["name"]: one["active"] for one in connected.control.subscriptions(pco)}
    assert active[UPDATED] is True
