"""The private iCal feed: its address, who may read it, and what is in it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import httpx
import icalendar
import pytest
import pytest_asyncio
from fastapi import FastAPI
from sqlalchemy import event as sql
from sqlalchemy import text, update

from calendar_sync.storage.feed import Window, entries, read
from calendar_sync.storage.tables import Event, Feed
from calendar_sync.usecases.feed import Written, _write, content
from contracts.feeds import FEED_BY_KEY, FEEDS, feed_key
from contracts.values import CALENDAR_SYNC, PEOPLE_SYNC, WEBHOOK_GATEWAY
from servicekit.db.tables import KEPT_ANSWER
from servicekit.testing import KeyRing

Anyone = Callable[..., Any]
SOON: Final = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(days=7)


class Gateway:
    """webhook-gateway as it asks for feeds."""

    def __init__(self, app: FastAPI, keys: KeyRing) -> None:
        token = keys.service_token(WEBHOOK_GATEWAY, CALENDAR_SYNC)
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://calendar-sync",
            headers={"Authorization": f"Bearer {token}"},
        )

    async def ask(self, path: str, *, method: str = "GET", tag: str = "") -> httpx.Response:
        key = feed_key(path.removeprefix(f"{FEEDS}/")).hex()
        return await self.http.request(method, FEED_BY_KEY.format(key=key), headers={"if-none-match": tag})

    async def titles(self, path: str) -> list[str]:
        answer = await self.ask(path)
        assert answer.status_code == 200
        found = icalendar.Calendar.from_ical(answer.content).walk("VEVENT")
        return sorted(str(one["SUMMARY"]) for one in found if "RECURRENCE-ID" not in one)


@pytest.fixture
def gateway(quiet: FastAPI, keys: KeyRing) -> Gateway:
    return Gateway(quiet, keys)


@pytest_asyncio.fixture(autouse=True)
async def handed_off(quiet: FastAPI) -> AsyncIterator[None]:
    """Every event is handed off as soon as it is added."""
    sessions = quiet.state.runtime.sessions
    function = "BEGIN NEW.handed_off := true; RETURN NEW; END"
    async with sessions.begin() as session:
        await session.execute(
            text(f"CREATE FUNCTION hand_off() RETURNS trigger LANGUAGE plpgsql AS $f$ {function} $f$")
        )
        await session.execute(
            text("CREATE TRIGGER hand_off BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION hand_off()")
        )
    yield
    async with sessions.begin() as session:
        await session.execute(text("DROP FUNCTION hand_off CASCADE"))


def at(begins: datetime, hours: float = 1) -> dict[str, Any]:
    ends = begins + timedelta(hours=hours)
    return {"starts_at": begins.isoformat(), "ends_at": ends.isoformat(), "recurrence": None}


async def test_an_address_is_shown_once_and_kept_nowhere(church: Any, gateway: Gateway) -> None:
    none = await church.call("GET", "/feed")
    assert none == dict.fromkeys(("created_at", "created_by_name", "last_read_at", "revoked_at")) | {"active": False}
    answer = await church.http.post("/api/v1/calendar/feed", headers={"Idempotency-Key": "once"})
    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    secret = made["path"].removeprefix(f"{FEEDS}/").removesuffix(".ics")
    assert len(secret) >= 43, "256 bits"
    shown = await church.call("GET", "/feed")
    assert shown == {name: value for name, value in made.items() if name != "path"}
    assert (shown["active"], shown["created_by_name"], shown["last_read_at"]) == (True, "Test User", None)
    (row,) = await church.rows(Feed)
    assert row.key == feed_key(f"{secret}.ics")
    async with church.app.state.runtime.sessions() as session:
        assert (await session.execute(KEPT_ANSWER.select())).all() == []
        for table in ("feed", "outbox", "kept_answer", "effect"):
            rows = await session.execute(text(f"SELECT {table}::text FROM {table}"))
            assert secret not in str(rows.all())
    assert (await gateway.ask(made["path"])).status_code == 200
    assert (await church.call("GET", "/feed"))["last_read_at"] is not None


async def test_one_address_lives_at_a_time(church: Any, gateway: Gateway) -> None:
    first = (await church.call("POST", "/feed", status=201))["path"]
    second = (await church.call("POST", "/feed", status=201))["path"]
    assert first != second
    unknown = await gateway.ask(f"{FEEDS}/unknown.ics")
    ended = await gateway.ask(first)
    assert (await gateway.ask(second)).status_code == 200
    await church.call("DELETE", "/feed", status=204)
    await church.call("DELETE", "/feed", status=204)
    revoked = await gateway.ask(second)
    gone = await church.call("GET", "/feed")
    assert not gone["active"]
    assert gone["revoked_at"] is not None
    for answer in (ended, revoked):
        assert answer.status_code == unknown.status_code == 404
        assert told(answer) == told(unknown)
    third = (await church.call("POST", "/feed", status=201))["path"]
    assert (await gateway.ask(third)).status_code == 200


def told(answer: httpx.Response) -> tuple[Any, Any]:
    """All that an answer says but the id of the request itself."""
    own = {"instance", "x-correlation-id"}
    return (
        {name: value for name, value in answer.json().items() if name not in own},
        {name: value for name, value in answer.headers.items() if name not in own},
    )


async def test_only_administrators_and_the_gateway_may(
    church: Any, another: Anyone, gateway: Gateway, keys: KeyRing
) -> None:
    path = (await church.call("POST", "/feed", status=201))["path"]
    staff = another("org-1", "staff")
    for method in ("POST", "DELETE"):
        await staff.call(method, "/feed", status=403)
    seen = await staff.call("GET", "/feed")
    assert (seen["active"], path in str(seen), "path" in seen) == (True, False, False)
    key = feed_key(path.removeprefix(f"{FEEDS}/")).hex()
    address = FEED_BY_KEY.format(key=key)
    for token in (keys.service_token(PEOPLE_SYNC, CALENDAR_SYNC), keys.user_token(CALENDAR_SYNC), "nonsense"):
        answer = await gateway.http.get(address, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401
    for wrong in (key.upper(), key[:-1], f"{key}0", "x" * 64, "%00", "é" * 64):
        assert (await gateway.http.get(FEED_BY_KEY.format(key=wrong))).status_code in {404, 422}


async def test_a_feed_has_its_churchs_events_of_its_time_alone(church: Any, another: Anyone, gateway: Gateway) -> None:
    path = (await church.call("POST", "/feed", status=201))["path"]
    day = timedelta(days=1)
    other = another("org-2")
    await other.add(title="Theirs", **at(SOON))
    await church.add(title="Soon", **at(SOON))
    await church.add(title="Last month", **at(SOON - 60 * day))
    await church.add(title="Long ago", **at(SOON - 120 * day))
    await church.add(title="Far ahead", **at(SOON + 800 * day))
    deleted = await church.add(title="Deleted", **at(SOON))
    await church.call("DELETE", f"/events/{deleted['id']}", status=204)
    series = {**at(SOON - 300 * day), "recurrence": "FREQ=WEEKLY;COUNT=60"}
    await church.add(title="Since last year", **series)
    assert await gateway.titles(path) == ["Last month", "Since last year", "Soon"]
    theirs = (await other.call("POST", "/feed", status=201))["path"]
    assert await gateway.titles(theirs) == ["Theirs"]


async def test_only_what_was_handed_off_is_in_the_feed(church: Any, gateway: Gateway) -> None:
    path = (await church.call("POST", "/feed", status=201))["path"]
    events = {title: await church.add(title=title, **at(SOON)) for title in ("Handed off", "Ours alone")}
    before = (await gateway.ask(path)).headers["etag"]
    async with church.app.state.runtime.sessions.begin() as session:
        ours = update(Event).where(Event.id == UUID(events["Ours alone"]["id"]))
        await session.execute(ours.values(handed_off=False))
    assert (await gateway.ask(path, tag=before)).status_code == 200
    assert await gateway.titles(path) == ["Handed off"]


async def test_what_did_not_change_is_not_sent_again(church: Any, gateway: Gateway) -> None:
    path = (await church.call("POST", "/feed", status=201))["path"]
    one = await church.add(title="Soon", **at(SOON) | {"recurrence": "FREQ=WEEKLY;COUNT=3"})
    first = await gateway.ask(path)
    assert first.headers["content-type"] == "text/calendar; charset=utf-8"
    assert first.headers["cache-control"] == "no-store"
    tag = first.headers["etag"]
    for sent in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
        unchanged = await gateway.ask(path, tag=sent)
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        assert unchanged.headers["etag"] == tag
    assert (await gateway.ask(path, tag='"other"')).content == first.content, "the same events are the same bytes"
    head = await gateway.ask(path, method="HEAD")
    assert (head.status_code, head.headers["etag"]) == (200, tag)
    assert head.headers["content-type"] == first.headers["content-type"]
    assert (await gateway.ask(path, method="HEAD", tag=tag)).status_code == 304

    async def changed(call: Any) -> str:
        nonlocal tag
        await call
        answer = await gateway.ask(path, tag=tag)
        assert answer.status_code == 200, "changed"
        assert answer.headers["etag"] != tag
        tag = answer.headers["etag"]
        return answer.text

    event, key = f"/events/{one['id']}", one["occurrences"][1]["key"]
    assert "SUMMARY:Later" in await changed(church.call("PATCH", event, {"title": "Later"}))
    assert "EXDATE" in await changed(church.call("DELETE", f"{event}/occurrences/{key}"))
    assert "SUMMARY:Another" in await changed(church.add(title="Another", **at(SOON)))
    assert "Later" not in await changed(church.call("DELETE", event, status=204))
    assert "SEQUENCE:1" in await changed(church.call("POST", "/bulk", {"events": [bulk("Bulk")]}))
    assert "SEQUENCE:2" in await changed(church.call("POST", "/bulk", {"events": [bulk("Bulk again")]}))
    untouched = await church.call("POST", "/bulk", {"events": [bulk("Bulk again")]})
    assert untouched["unchanged"] == 1
    assert (await gateway.ask(path, tag=tag)).status_code == 304


def bulk(title: str) -> dict[str, Any]:
    return {"external_id": "e-1", "title": title, "time_zone": "America/New_York", **at(SOON)}


async def test_an_unchanged_feed_costs_its_address_and_its_state(church: Any, gateway: Gateway, quiet: FastAPI) -> None:
    path = (await church.call("POST", "/feed", status=201))["path"]
    for number in range(3):
        await church.add(title=f"Event {number}", **at(SOON))
    tag = (await gateway.ask(path)).headers["etag"]
    sent: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        sent.append(statement)

    engine = quiet.state.runtime.engine.sync_engine
    sql.listen(engine, "before_cursor_execute", note)
    try:
        assert (await gateway.ask(path, tag=tag)).status_code == 304
        unchanged, sent = sent, []
        assert (await gateway.ask(path)).status_code == 200
        written, sent = sent, []
        assert (await gateway.ask(f"{FEEDS}/unknown.ics")).status_code == 404
    finally:
        sql.remove(engine, "before_cursor_execute", note)
    assert len([one for one in unchanged if "set_config" not in one]) == 2, unchanged
    assert not [one for one in written if " occurrence" in one], "written once, and remembered since"
    assert len([one for one in sent if "set_config" not in one]) == 1, sent


async def test_a_large_feed_lets_others_through(church: Any, gateway: Gateway) -> None:
    """Many occurrences with something of their own, read twice at the same time."""
    path = (await church.call("POST", "/feed", status=201))["path"]
    moved = [{"key": (SOON + timedelta(days=n)).strftime("%Y%m%d"), "title": f"Day {n}"} for n in range(400)]
    many = {**bulk("Many"), "time_zone": "UTC", "recurrence": "FREQ=DAILY;COUNT=400", "moved": moved}
    events = [many | {"external_id": f"e-{n}"} for n in range(2)]
    assert (await church.call("POST", "/bulk", {"events": events}))["created"] == 2
    answer, again = await asyncio.gather(gateway.ask(path), gateway.ask(path))
    assert answer.content == again.content
    assert len(icalendar.Calendar.from_ical(answer.content).walk("VEVENT")) == 2 * 401
    window = Window.at(datetime.now(UTC))
    async with church.app.state.runtime.sessions() as session:
        listed = await entries(session, "org-1", window)
        found = await read(session, "org-1", window, listed)
    turns = 0

    async def beside() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(beside())
    assert len([one async for one in _write(found, Written())]) == 2
    other.cancel()
    assert turns > 10, "others get their turn while nothing but this computes"


async def test_what_changes_while_it_is_read_is_there_once_with_its_zone(church: Any, gateway: Gateway) -> None:
    await church.call("POST", "/feed", status=201)
    one = await church.add(title="Renamed", **at(SOON))
    gone = await church.add(title="Deleted", **at(SOON))
    await church.add(title="Same", **at(SOON))
    (row,) = await church.rows(Feed)
    now, runtime = datetime.now(UTC), church.app.state.runtime
    async with runtime.sessions() as session:
        listed = await entries(session, "org-1", Window.at(now))
    await church.call("PATCH", f"/events/{one['id']}", {"title": "Moved", "time_zone": "Asia/Tokyo"})
    await church.call("DELETE", f"/events/{gone['id']}", status=204)
    body = b"".join([part async for part in content(runtime.sessions, Written(), row, listed, now)])
    found = icalendar.Calendar.from_ical(body)
    assert sorted(str(event["SUMMARY"]) for event in found.walk("VEVENT")) == ["Moved", "Same"]
    assert {str(zone["TZID"]) for zone in found.walk("VTIMEZONE")} == {"America/New_York", "Asia/Tokyo"}


def test_what_was_written_is_forgotten_by_its_last_use() -> None:
    written, first, second, third = Written(limit=10), UUID(int=1), UUID(int=2), UUID(int=3)
    for event_id in (first, second, first):
        written.keep(event_id, 1, b"12345")
    written.keep(third, 1, b"123")
    assert [written.get(event_id, 1) for event_id in (first, second, third)] == [b"12345", None, b"123"]
    assert written.size == 8
