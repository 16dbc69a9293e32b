"""Calendar's pages for humans, and a church's subscription to a feed over HTTP."""

import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from pco_simulator.testing import Control, SimulatorError, SimulatorProcess

EVENTS = "/calendar/v2/events"


@pytest.fixture
def browser(simulator: SimulatorProcess) -> httpx.Client:
    return httpx.Client(base_url=simulator.base_url, follow_redirects=True)


def test_a_human_creates_moves_renames_and_deletes(
    browser: httpx.Client, api: httpx.Client, control: Control, church: str
) -> None:
    day = (datetime.now(UTC) + timedelta(days=30)).date()
    form = {
        "name": "Zzsupper", "starts_at": f"{day}T18:00", "ends_at": f"{day}T19:30", "location": "Hall",
        "repeats": "weekly", "interval": "1", "count": "3", "until": "", "visible_in_church_center": "on",
    }  # fmt: skip
    here = f"/churches/{church}/calendar"
    assert f'href="{here}"' in browser.get("/").text
    page = browser.post(f"{here}/events", data=form)
    assert "The event was created." in page.text
    event_page = page.url.path
    event_id = event_page.rsplit("/", 1)[1]
    assert browser.get(f"/events/{event_id}").url.path == event_page
    found = browser.get(here, params={"q": "zzsup"})
    assert re.findall(r'href="(/churches/[^"]+/events/\d+)"', found.text) == [event_page] * 3

    def occurrences() -> list[tuple[str, str, str]]:
        rows = api.get(f"{EVENTS}/{event_id}/event_instances", params={"order": "starts_at"}).json()["data"]
        return [(row["id"], row["attributes"]["starts_at"], row["attributes"]["name"]) for row in rows]

    before = occurrences()
    one = f"{event_page}/instances/{before[1][0]}"
    moved = day + timedelta(days=8)
    saved = browser.post(
        one, data={"do": "save", "name": "Zzpicnic", "starts_at": f"{moved}T12:00", "location": "Park"}
    )
    assert "The occurrence was saved." in saved.text
    assert occurrences()[1][2] == "Zzpicnic"
    assert occurrences()[1][1].startswith(str(moved))
    browser.post(event_page, data={"do": "save", "name": "Zzdinner", "summary": "New"})
    assert [name for _, _, name in occurrences()] == ["Zzdinner", "Zzpicnic", "Zzdinner"]
    page = browser.post(f"{event_page}/times", data={"starts_at": f"{day}T17:00", "ends_at": f"{day}T18:00"})
    assert "All occurrences were changed." in page.text
    assert occurrences()[0][1] < before[0][1]
    browser.post(f"{event_page}/series", data={"repeats": "weekly", "interval": "1", "count": "4", "until": ""})
    assert len(occurrences()) == 4
    assert [row[0] for row in occurrences()[:3]] == [row[0] for row in before]
    browser.post(one, data={"do": "delete"})
    assert api.get(f"/calendar/v2/event_instances/{before[1][0]}").status_code == 404
    browser.post(f"{event_page}/instances", data={"starts_at": f"{day}", "all_day_event": "on", "location": ""})
    (whole_day,) = [each for each in control.event(church, event_id)["instances"] if each.get("all_day_event")]  # type: ignore[index]
    assert (whole_day["first_day"], whole_day["last_day"]) == (f"{day}", f"{day}")
    browser.post(event_page, data={"do": "reject"})
    assert api.get(f"{EVENTS}/{event_id}").json()["data"]["attributes"]["approval_status"] == "R"
    assert "Approved" in browser.post(event_page, data={"do": "approve"}).text
    refused = browser.post(one.replace(before[1][0], before[0][0]), data={"do": "save", "starts_at": "soon"})
    assert 'role="alert"' in refused.text
    assert "starts_at is not a time" in refused.text
    refused = browser.post(f"{here}/events", data={"name": "X", "starts_at": f"{day}T18:00", "repeats": "daily"})
    assert "needs either a count or a last day" in refused.text
    gone = browser.post(event_page, data={"do": "delete"})
    assert "The event was deleted." in gone.text
    assert browser.get(event_page).status_code == api.get(f"{EVENTS}/{event_id}").status_code == 404


def test_unknown_pages(browser: httpx.Client, church: str) -> None:
    assert browser.get("/churches/1/calendar").status_code == 404
    for event in ("1", "x", "9" * 40):
        assert browser.get(f"/churches/{church}/calendar/events/{event}").status_code == 404
    assert browser.get("/events/1").status_code == 404
    assert browser.get(f"/churches/{church}/calendar?offset={'9' * 30}&from=soon").status_code == 200
    assert "Churches" in browser.get("/events/new").text


def test_a_role_is_taken_on_the_page(
    browser: httpx.Client, simulator: SimulatorProcess, control: Control, church: str
) -> None:
    login = next(each for each in control.organizations()[0]["logins"] if each["people_permissions"] == "Editor")
    with simulator.api(control.personal_access_token(church, people_permissions="Editor")) as editor:
        statuses = [editor.get("/calendar/v2").status_code]
        browser.post(f"/churches/{church}/calendar/roles/{login['person_id']}", data={"role": "No Access"})
        control.change_settings(error_hints=True)
        denied = editor.get("/calendar/v2")
        control.set_calendar_role(church, login["person_id"], "Editor")
        statuses += [denied.status_code, editor.get("/calendar/v2").status_code]
    assert statuses == [200, 403, 200]
    assert denied.json()["errors"][0]["code"] == "TRASH_PANDA"


FEED = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//platform//EN
BEGIN:VEVENT
UID:1@platform
DTSTART:{start:%Y%m%dT%H%M%SZ}
DTEND:{end:%Y%m%dT%H%M%SZ}
SUMMARY:{name}
END:VEVENT
END:VCALENDAR
"""


class _Feed(BaseHTTPRequestHandler):
    name = "Zzfeed"
    status = 200
    asked: list[str | None]

    def do_GET(self) -> None:
        self.asked.append(self.headers["If-None-Match"])
        start = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
        body = FEED.format(start=start, end=start + timedelta(hours=1), name=self.name).replace("\n", "\r\n").encode()
        etag = f'"{self.name}"'
        status = 304 if self.headers["If-None-Match"] == etag and self.status == 200 else self.status
        self.send_response(status)
        self.send_header("ETag", etag)
        self.send_header("Content-Length", "0" if status == 304 else str(len(body)))
        self.end_headers()
        if status != 304:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def feed() -> Iterator[tuple[type[_Feed], str]]:
    kind = type("_OneFeed", (_Feed,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield kind, f"http://127.0.0.1:{server.server_port}/feed.ics"
        server.shutdown()


def test_a_church_subscribes_to_a_feed(
    browser: httpx.Client, api: httpx.Client, control: Control, church: str, feed: tuple[type[_Feed], str]
) -> None:
    serving, url = feed
    form = {"url": url.replace("http:", "webcal:"), "name": "Platform", "published": "on"}
    page = browser.post(f"/churches/{church}/calendar/feeds", data=form)
    assert "1 events created, 0 changed, 0 deleted." in page.text
    (row,) = [each for each in control.call("GET", f"/organizations/{church}/feeds") if each.get("url") == form["url"]]
    names = {"where[feed_id]": row["id"]}
    (event,) = api.get(EVENTS, params=names).json()["data"]
    assert event["attributes"]["name"] == "Zzfeed"
    assert control.refresh_feed(church, row["id"]) == {"created": 0, "updated": 0, "deleted": 0}
    assert serving.asked == [None, '"Zzfeed"']
    serving.name = "Zzother"
    assert control.refresh_feed(church, row["id"])["updated"] == 1
    serving.status = 404
    with pytest.raises(SimulatorError, match="the feed answered 404"):
        control.refresh_feed(church, row["id"])
    assert api.get(EVENTS, params=names).json()["data"][0]["id"] == event["id"]
    page = browser.post(f"/churches/{church}/calendar/feeds/{row['id']}", data={"do": "end"})
    assert "its events were deleted" in page.text
    assert api.get(EVENTS, params=names).json()["data"] == []
    refused = browser.post(f"/churches/{church}/calendar/feeds", data={"url": "nonsense"})
    assert "the address of a feed begins with" in refused.text
