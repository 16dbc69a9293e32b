"""Undo in Chromium: where it is offered, what it is refused with, and that both sides are as before afterwards.

The tests of this module are chapters: each goes on where the one before ended.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from pages import ROOT, accessible, shot, signed_in, tab_to
from playwright.sync_api import Browser, Page, expect

from local_stack.church import Church
from local_stack.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.browser]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One process of every service."""
    with Stack(
        tmp_path_factory.mktemp("undo"),
        people=60,
        environment={"people-sync": {"PCO_STALENESS_HORIZON_SECONDS": "1"}},
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
def nora(church: Church) -> dict[str, Any]:
    """A member who is in both places, and in a family."""
    nora = church.add_member(first_name="Nora", last_name="Newcome", email="nora.newcome@example.org")
    church.call("POST", "/people/families", json={"name": "Newcome Family", "member_ids": [nora["id"]]})
    church.sync("incremental")
    return dict(church.get(f"/people/members/{nora['id']}"))


def last_names(church: Church, pco: str, member: dict[str, Any]) -> tuple[str, str]:
    """Here and in Planning Center."""
    there = next(
        row["attributes"]["last_name"]
        for row in church.control.dump(pco)
        if row["type"] == "Person" and row["id"] == member["link"]["pco_id"]
    )
    return church.get(f"/people/members/{member['id']}")["last_name"], there


def edited_there(church: Church, pco: str, member: dict[str, Any], last_name: str) -> dict[str, Any]:
    """Edit a person there, and sync until it is here; the run that brought it."""
    church.edit_there(pco, member["link"]["pco_id"], last_name=last_name)
    brought: list[dict[str, Any]] = []

    def known() -> bool:
        brought.append(church.sync("incremental"))
        return last_names(church, pco, member)[0] == last_name

    church.eventually(known, "the edit is here")
    return brought[-1]


def approved(page: Page, church: Church) -> dict[str, Any]:
    """Wait for the plan on the page of its run, and approve it; the run at its end."""
    expect(page.get_by_role("region", name="State")).to_contain_text("Waiting for your answer")
    run_id = page.url.rsplit("/", 1)[-1]
    expect(page.get_by_role("heading", name="Should these changes be undone?")).to_be_visible()
    accessible(page)
    shot(page, "undo-plan")
    page.get_by_role("button", name=re.compile("^Undo th")).press("Enter")
    expect(page.get_by_role("region", name="State")).to_contain_text("Done")
    return dict(church.get(f"/people/runs/{run_id}"))


def nothing_more(church: Church, pco: str) -> None:
    """Both sides agree, and a sync writes nothing."""
    mark = church.control.summary()["last_seq"]
    church.sync()
    assert church.writes_since(mark) == []
    assert church.differences(pco) == []


def test_a_sync_is_undone_from_its_page(page: Page, church: Church, pco: str, nora: dict[str, Any]) -> None:
    run = edited_there(church, pco, nora, "Changed")
    page.goto("/")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name=re.compile("Ada")).click()
    expect(page.get_by_role("heading", name="Integrations", level=1)).to_be_visible()
    page.goto(f"/runs/{run['id']}")
    button = page.get_by_role("button", name="Undo this sync")
    expect(button).to_be_visible()
    accessible(page)
    shot(page, "undo-offered")
    tab_to(page, "button", "Undo this sync")
    page.keyboard.press("Enter")
    ended = approved(page, church)
    assert ended["counts"]["undone"] == 1
    assert last_names(church, pco, nora) == ("Newcome", "Newcome")
    counts = page.get_by_role("region", name="Counts by outcome")
    counts.get_by_role("link", name=re.compile("Put back")).click()
    expect(page.get_by_role("table", name="Put back").get_by_role("row", name=re.compile("^Nora "))).to_be_visible()
    expect(page.get_by_role("button", name="Undo this undo")).to_be_visible()
    accessible(page)
    shot(page, "undo-done")
    nothing_more(church, pco)


def test_a_person_and_a_family_are_undone_from_their_pages(
    page: Page, church: Church, pco: str, nora: dict[str, Any]
) -> None:
    church.edit_there(pco, nora["link"]["pco_id"], gender="Female")

    def known() -> bool:
        church.sync("incremental")
        return bool(church.get(f"/people/members/{nora['id']}")["gender"] == "Female")

    church.eventually(known, "the edit is here")
    page.goto(f"/people/{nora['id']}")
    button = page.get_by_role("button", name="Undo what syncs changed")
    expect(button).to_be_visible()
    accessible(page)
    shot(page, "undo-offered-person")
    button.press("Enter")
    approved(page, church)
    assert church.get(f"/people/members/{nora['id']}")["gender"] is None
    nothing_more(church, pco)
    page.goto(f"/families/{nora['family_ids'][0]}")
    button = page.get_by_role("button", name="Undo what syncs changed of this family and its people")
    expect(button).to_be_visible()
    accessible(page)
    shot(page, "undo-offered-family")
    button.press("Enter")
    expect(page.get_by_role("region", name="State")).to_contain_text("Waiting for your answer")
    run_id = page.url.rsplit("/", 1)[-1]
    asked = church.get(f"/people/runs/{run_id}")["question"]
    # A sync has added her there: that is all there is left to ask about.
    assert asked["counts"] == {"created_there": 1, "left_out": 1, "may_be_mailed": 0}
    expect(page.get_by_role("button", name="Make the 1 person inactive in Planning Center")).to_be_visible()
    accessible(page)
    shot(page, "undo-added-there")
    page.get_by_role("button", name="Discard this plan").press("Enter")
    expect(page.get_by_role("region", name="State")).to_contain_text("The plan was discarded. Nothing was written")


def test_a_decision_is_undone_where_it_was_taken(page: Page, church: Church, pco: str, nora: dict[str, Any]) -> None:
    church.change_member(church.get(f"/people/members/{nora['id']}"), last_name="Ours")
    church.edit_there(pco, nora["link"]["pco_id"], last_name="Theirs")

    def opened() -> bool:
        church.sync("incremental")
        return bool(church.get("/conflicts", record_id=nora["id"])["items"])

    church.eventually(opened, "the conflict is open")
    page.goto("/conflicts")
    card = page.get_by_role("region", name=re.compile("^Nora "))
    expect(card.get_by_role("row", name=re.compile("^Last name "))).to_contain_text("Not chosen yet")
    page.keyboard.press("j")
    expect(card.get_by_role("heading")).to_be_focused()
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    expect(card.get_by_text("Settled")).to_be_visible()
    accessible(page)
    shot(page, "undo-decision")
    card.get_by_role("button", name=re.compile("^Undo the decision about Nora")).press("Enter")
    approved(page, church)
    assert last_names(church, pco, nora) == ("Ours", "Ours")
    nothing_more(church, pco)


def test_what_is_refused_is_said_beside_the_button(
    page: Page, browser: Browser, stack: Stack, church: Church, pco: str, nora: dict[str, Any]
) -> None:
    run = edited_there(church, pco, nora, "Again")
    waiting = church.call("POST", "/people/undo", json={"run_id": run["id"]})
    page.goto(f"/people/{nora['id']}")
    page.get_by_role("button", name="Undo what syncs changed").press("Enter")
    expect(
        page.get_by_text("A sync is on. Nothing was started: wait for its end or stop it, then undo.")
    ).to_be_visible()
    accessible(page)
    church.eventually(
        lambda: church.get(f"/people/runs/{waiting['id']}")["state"] == "waiting", "the plan waits for an answer"
    )
    church.call("POST", f"/people/runs/{waiting['id']}/stop")
    assert last_names(church, pco, nora) == ("Again", "Again")
    staff = signed_in(browser, stack, "Sam")
    for path in (f"/runs/{run['id']}", f"/people/{nora['id']}", f"/families/{nora['family_ids'][0]}"):
        staff.goto(path)
        expect(staff.get_by_role("heading", level=1)).to_be_visible()
        expect(staff.get_by_role("button", name=re.compile("^Undo"))).to_have_count(0)
