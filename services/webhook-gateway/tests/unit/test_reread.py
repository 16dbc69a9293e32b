"""Which reads the facts of the live stream are about."""

import json
import re
from importlib.resources import files

import pytest

from contracts.events.people_record_v1 import MemberChanged
from contracts.events.people_sync_run_v1 import HeldMatchesAnswered, SyncRunProgressed
from contracts.routes import ROUTES
from webhook_gateway.usecases.live import LIVE_TOPICS, greeting, reads_about

CONSOLE = files("webhook_gateway") / "console"


def reread(*topics: str) -> list[str]:
    found: list[str] = json.loads(greeting(topics))["reread"]
    return found


@pytest.mark.parametrize("topic", sorted(LIVE_TOPICS))
def test_the_reads_of_a_topic_are_reads_of_the_api(topic: str) -> None:
    assert set(reads_about(topic)) <= {route.path for route in ROUTES if route.method == "GET"}


def test_one_type_may_be_about_fewer_reads_than_its_topic() -> None:
    assert reads_about("people.sync-run.v1", HeldMatchesAnswered) == (
        "/api/v1/people/held-matches",
        "/api/v1/people/status",
    )
    assert reads_about("people.sync-run.v1", SyncRunProgressed) == reads_about("people.sync-run.v1")
    assert reads_about("people.record.v1", MemberChanged) == reads_about("people.record.v1")


def test_a_greeting_names_each_read_of_its_topics_once() -> None:
    found = reread("people.record.v1", "people.sync-run.v1")
    assert found.count("/api/v1/people/status") == 1
    assert set(found) == {*reads_about("people.record.v1"), *reads_about("people.sync-run.v1")}
    assert reread("calendar.event.v1") == [
        "/api/v1/calendar/events",
        "/api/v1/calendar/occurrences",
        "/api/v1/calendar/status",
    ]
    assert reread("calendar.sync-run.v1") == ["/api/v1/calendar/status", "/api/v1/calendar/runs"]


def test_whatever_the_console_follows_is_told_by_some_topic() -> None:
    scripts = [
        script.read_text()
        for folder in (CONSOLE, CONSOLE / "pages", CONSOLE / "parts")
        for script in folder.iterdir()
        if script.name.endswith(".js")
    ]
    followed = {
        path
        for script in scripts
        for found in re.findall(r"follows: \[([^\]]*)\]|\bfollow\(\s*(\"[^\"]+\")", script)
        for path in re.findall(r'"([^"]+)"', "".join(found))
    }
    assert len(followed) > 5
    assert {f"/api/v1{path}" for path in followed} <= set(reread(*LIVE_TOPICS))


def test_the_console_asks_for_every_topic_of_the_stream() -> None:
    script = (CONSOLE / "live.js").read_text()
    listed = re.search(r"const TOPICS = \[(.*?)\];\n", script, re.DOTALL)
    records = re.search(r'const RECORDS = ("[^"]+");', script)
    assert listed
    assert records
    assert set(re.findall(r'"([^"]+)"', listed[1] + records[1])) == LIVE_TOPICS
