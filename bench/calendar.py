"""Linked events: what a check of them asks of Planning Center, and how long a person waits for one or for a search."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.parameters import Parameters
from bench.table import Row
from bench.work import FREE, floor, organization, say, vendor
from contracts.values import AUTH_SERVICE, CALENDAR_SYNC, WEBHOOK_GATEWAY
from local_stack.church import ENDED, Church
from local_stack.stack import Stack

Shown = Callable[[Row], None]
_PER_PAGE: Final = 100
_OTHER_DATA: Final = 1
"""Requests of a check for data that no page of instances carries: the church's time zone, read once a day."""
_ROUND_TRIPS: Final = 3
_AT_ONCE: Final = 500
_LINKED_AT_ONCE: Final = 100
_ASKED: Final = 40
_CACHE: Final = Path(__file__).parents[1] / ".cache"
_WORDS: Final = ("Choir", "Youth", "Supper", "Prayer", "Council", "Rehearsal", "Study", "Outing")


@contextmanager
def _church() -> Iterator[Church]:
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as state,
        Stack(
            state,
            people=20,
            services=(AUTH_SERVICE, CALENDAR_SYNC, WEBHOOK_GATEWAY),
            simulator_settings={"journal_requests": 20_000, **FREE},
            cache=_CACHE,
        ) as stack,
        Church.of(stack) as admin,
    ):
        admin.connect("calendar")
        admin.eventually(lambda: admin.get("/calendar/status")["time_zone"], "the church's zone is known")
        yield admin


def links(asked: Parameters, shown: Shown) -> None:
    """A check of many linked events over a year, and the sync of single ones."""
    say(f"a church with {asked.links:,} linked events")
    with _church() as admin:
        begins = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(days=1)
        step = timedelta(days=350) / asked.links
        spans = [(begins + number * step, begins + number * step + timedelta(hours=1)) for number in range(asked.links)]
        there = _created(admin, [(f"Gathering {number}", *span) for number, span in enumerate(spans)])
        here = _added(admin, spans)
        for first in range(0, asked.links, _LINKED_AT_ONCE):
            pairs = zip(here[first : first + _LINKED_AT_ONCE], there[first : first + _LINKED_AT_ONCE], strict=True)
            body = {"links": [{"event_id": one, "pco_event_id": other} for one, other in pairs]}
            answer = admin.call("POST", "/calendar/links", json=body)
            if failed := [one for one in answer["items"] if one["sentence"]]:
                raise RuntimeError(f"not all were linked: {failed[:3]}")
        _check(asked, admin, shown)
        _now(admin, here, there, shown)


def _created(admin: Church, events: list[tuple[str, datetime, datetime]]) -> list[str]:
    """Events there; gives their ids."""
    ids: list[str] = []
    church = organization(admin)["id"]
    for first in range(0, len(events), _AT_ONCE):
        changes: list[dict[str, Any]] = [
            {
                "op": "create",
                "type": "Event",
                "attributes": {"name": name, "starts_at": _utc(starts), "ends_at": _utc(ends)},
            }
            for name, starts, ends in events[first : first + _AT_ONCE]
        ]
        ids += [one["id"] for one in admin.control.mutate(church, *changes)]
    return ids


def _utc(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def _added(admin: Church, spans: list[tuple[datetime, datetime]]) -> list[str]:
    """Events here; gives their ids."""
    for first in range(0, len(spans), _AT_ONCE):
        events = [
            {
                "external_id": f"e-{first + number}",
                "title": f"Ours {first + number}",
                "starts_at": _utc(starts),
                "ends_at": _utc(ends),
                "time_zone": "America/New_York",
            }
            for number, (starts, ends) in enumerate(spans[first : first + _AT_ONCE])
        ]
        admin.call("POST", "/calendar/bulk", json={"events": events})
    by_number = {one["external_id"]: one["id"] for one in admin.all("/calendar/events")}
    return [by_number[f"e-{number}"] for number in range(len(spans))]


def _check(asked: Parameters, admin: Church, shown: Shown) -> None:
    _ran(admin)  # learns how dense the calendar is
    vendor(admin, rate_limit=asked.limit, rate_period_seconds=asked.period, latency_ms=asked.latency_ms)
    # The vendor counts what was sent to make the links, too: a check by itself finds its period empty.
    time.sleep(asked.period)
    mark = admin.control.mark()
    run = _ran(admin)
    entries = admin.control.journal(after=mark, path="^/calendar/", limit=100_000)
    began = min(datetime.fromisoformat(one["at"]) for one in entries)
    ended = max(datetime.fromisoformat(one["at"]) + timedelta(milliseconds=one["duration_ms"]) for one in entries)
    seconds = (ended - began).total_seconds()
    fewest = ceil(_within(admin) / _PER_PAGE) + _OTHER_DATA
    ratio = len(entries) / fewest
    # The church's zone, the first page, and all others at once: each needs the answer before.
    latency = _ROUND_TRIPS * asked.latency_ms / 1000
    least = floor(len(entries), limit=asked.limit, period=asked.period, latency=latency)
    shown(
        Row(
            "check of linked events: requests ÷ fewest",
            f"{ratio:.3f}",
            "≤ 1.02",
            ratio <= 1.02,
            f"{asked.links:,} linked events over a year; {len(entries)} sent, {run['counts']}; the fewest are pages of "
            f"{_PER_PAGE} of all {_within(admin):,} instances of the church in that year, and the church itself",
        )
    )
    shown(
        Row(
            "check of linked events: wall ÷ floor",
            f"{seconds / least:.3f}",
            "≤ 1.05",
            seconds / least <= 1.05,
            f"{asked.latency_ms} ms, {asked.limit} requests per {asked.period} s: {seconds:.2f} s from the first "
            f"request to the last answer, floor {least:.2f} s for {_ROUND_TRIPS} round trips. After a pause the pacer "
            "sends one request, then two, four and so on, since others may use the same limit",
        )
    )
    vendor(admin, **FREE)


def _within(admin: Church) -> int:
    """Instances there from a day ago to a year ahead."""
    now = datetime.now(UTC)
    earliest, latest = _utc(now - timedelta(days=1)), _utc(now + timedelta(days=366))
    events = admin.control.events(organization(admin)["id"])
    return sum(
        one["ends_at"] >= earliest and one["starts_at"] < latest for event in events for one in event["instances"]
    )


def _ran(admin: Church) -> dict[str, Any]:
    run: dict[str, Any] = admin.call("POST", "/calendar/runs")
    admin.eventually(lambda: admin.get(f"/calendar/runs/{run['id']}")["state"] in ENDED, "the sync ends", 600)
    ended: dict[str, Any] = admin.get(f"/calendar/runs/{run['id']}")
    if ended["state"] != "done":
        raise RuntimeError(f"the sync ended as {ended['state']}: {ended['message']}")
    return ended


def _now(admin: Church, here: list[str], there: list[str], shown: Shown) -> None:
    church = organization(admin)["id"]
    took = []
    for number in range(_ASKED):
        admin.control.edit_event(church, there[number], name=f"Renamed {number}")
        began = time.monotonic()
        asked = admin.call("POST", f"/calendar/events/{here[number]}/sync")
        while admin.get(f"/calendar/syncs/{asked['id']}")["state"] != "done":
            time.sleep(0.005)
        took.append(time.monotonic() - began)
        if admin.get(f"/calendar/events/{here[number]}")["title"] != f"Renamed {number}":
            raise RuntimeError("the change is not here")
    p95 = sorted(took)[ceil(0.95 * len(took)) - 1]
    shown(
        Row(
            "sync this event now: p95",
            f"{p95 * 1000:.0f} ms",
            "< 200 ms",
            p95 < 0.2,
            f"{_ASKED} events renamed there, one after the other, by a vendor without latency: from the call to the "
            f"answer that it is done; median {median(took) * 1000:.0f} ms",
        )
    )


def there(asked: Parameters, shown: Shown) -> None:
    """A search in a large calendar of Planning Center."""
    say(f"a calendar of {asked.calendar:,} events in Planning Center")
    with _church() as admin:
        begins = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(days=1)
        spans = [begins + timedelta(minutes=10 * number) for number in range(asked.calendar)]
        names = [f"{_WORDS[number % len(_WORDS)]} {number}" for number in range(asked.calendar)]
        _created(admin, [(name, at, at + timedelta(hours=1)) for name, at in zip(names, spans, strict=True)])
        took = []
        for number in range(_ASKED):
            name = names[number * asked.calendar // _ASKED]
            query = (
                {"q": name} if number % 2 else {"q": name.split()[0], "first_day": f"{spans[number * 100]:%Y-%m-%d}"}
            )
            began = time.monotonic()
            found = admin.get("/calendar/there", last_day=f"{begins + timedelta(days=398):%Y-%m-%d}", **query)
            took.append(time.monotonic() - began)
            if not found["items"]:
                raise RuntimeError(f"{query} found nothing")
        p95 = sorted(took[1:])[ceil(0.95 * (len(took) - 1)) - 1]
        shown(
            Row(
                f"search in {asked.calendar:,} events of Planning Center: p95",
                f"{p95 * 1000:.0f} ms",
                "< 300 ms",
                p95 < 0.3,
                f"the vendor's own search, without latency: {len(took)} searches by a whole name, or by a word and a "
                f"day; median {median(took) * 1000:.0f} ms, the first one {took[0] * 1000:.0f} ms. A mirror would have "
                f"to read {ceil(asked.calendar / _PER_PAGE):,} pages again and again for links that few people make",
            )
        )
