"""The figures. Each function measures some of them, with their floors and peers."""

import asyncio
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any, Final, Self

import httpx
import orjson
import psutil
import pypco

from bench.parameters import Parameters
from bench.table import Row
from bench.work import (
    COPIED,
    FREE,
    INCLUDE,
    Ran,
    church,
    copied,
    floor,
    organization,
    say,
    spent,
    sync,
    vendor,
)
from contracts.values import PEOPLE_SYNC, WEBHOOK_GATEWAY
from local_stack.church import Church
from local_stack.stack import SERVICES, SIMULATOR, Stack
from people_sync.domain.matching import Local, Peer, Sharers, Theirs, match_people
from servicekit.local.process import RememberedFile, free_port, kill_tree

_ROOT: Final = Path(__file__).parents[1]
_OTHER_DATA: Final = 1
"""Requests for data that no page of people carries: the log of mergers."""
_PARALLEL: Final = 16
_PER_CALL: Final = 250
_MATCHED: Final = 500
"""People in one batch of a run."""
_ENOUGH: Final = 20
"""Number of single syncs during a run, enough for a 95th percentile."""
_START_SECONDS: Final = 180
_MIB: Final = 1024 * 1024

Shown = Callable[[Row], None]


def reading(asked: Parameters, shown: Shown) -> None:
    """pull, nochange, pypco and now: one church, read by us and by pypco."""
    first = _paced(asked) if {"pull", "pypco"} & set(asked.figures) else FREE
    with church(asked.people, **first) as (stack, admin):
        people = admin.control.truth(organization(admin)["id"])["people"]
        ran = sync(admin)
        if "pull" in asked.figures:
            _pull(asked, people, ran, shown)
        if "nochange" in asked.figures:
            _nochange(asked, people, stack, admin, shown)
        if "pypco" in asked.figures:
            _pypco(asked, stack, admin, ran, shown)
        if "now" in asked.figures:
            _now(asked, admin, shown)


def _paced(asked: Parameters) -> dict[str, Any]:
    return {"rate_limit": asked.limit, "rate_period_seconds": asked.period, "latency_ms": asked.latency_ms}


def _pull(asked: Parameters, people: int, ran: Ran, shown: Shown) -> None:
    least = floor(ran.requests, limit=asked.limit, period=asked.period, latency=asked.latency_ms / 1000)
    pages = ceil(people / 100)
    ratio, fewest = ran.exchange_seconds / least, pages + _OTHER_DATA
    shown(
        Row(
            "full pull: wall ÷ floor",
            f"{ratio:.3f}",
            "≤ 1.05",
            ratio <= 1.05,
            f"{people:,} people, {asked.latency_ms} ms, {asked.limit} requests per {asked.period} s: "
            f"{ran.exchange_seconds:.1f} s from the first request to the last answer, floor {least:.2f} s for "
            f"{ran.requests} requests; the whole first run took {ran.seconds:.0f} s",
        )
    )
    whole = ran.seconds / least
    shown(
        Row(
            "first full run: wall ÷ floor of its pull",
            f"{whole:.2f}",
            "≤ 1.25",
            whole <= 1.25,
            f"the same run: {ran.seconds:.1f} s from its start to its end, {sum(ran.run['counts'].values()):,} records "
            f"({ran.shown()})",
        )
    )
    shown(
        Row(
            "full pull: requests ÷ fewest",
            f"{ran.requests / fewest:.3f}",
            "≤ 1.02",
            ran.requests / fewest <= 1.02,
            f"{ran.requests} sent; the fewest are {pages} pages of 100 people and one of mergers "
            f"({ran.requests / pages:.3f} to pages alone)",
        )
    )


def _nochange(asked: Parameters, people: int, stack: Stack, admin: Church, shown: Shown) -> None:
    vendor(admin, **FREE)
    runs = [sync(admin) for _ in range(asked.repeat)]
    changed = [ran.run["counts"] for ran in runs if set(ran.run["counts"]) != {"unchanged"}]
    if changed:
        raise RuntimeError(f"these runs had something to change: {changed}")
    seconds = median(ran.seconds for ran in runs)
    records = runs[0].run["counts"]["unchanged"]
    bare = asyncio.run(_bare(stack, admin, ceil((people - 1) / 99)))
    shown(
        Row(
            "nothing to change: records/s",
            f"{records / seconds:,.0f}",
            "≥ 5,000",
            records / seconds >= 5000,
            f"{people:,} people and {records - people:,} households in {seconds:.1f} s (median of "
            f"{', '.join(f'{ran.seconds:.1f}' for ran in runs)}), {people / seconds:,.0f} people/s, no limit and no "
            f"latency; {seconds / bare:.2f} × reading and parsing the same pages and doing nothing with them "
            f"({bare:.1f} s)",
        )
    )


async def _bare(stack: Stack, admin: Church, pages: int) -> float:
    """Seconds to read and parse the same pages with the same parallelism: the floor without a limit."""
    token = admin.control.personal_access_token(organization(admin)["id"])
    numbers = iter(range(pages))
    began = time.monotonic()
    async with httpx.AsyncClient(
        base_url=stack.url(SIMULATOR),
        auth=(token.id, token.secret),
        headers={"User-Agent": "Bench (developers@platform.example)"},
        timeout=60,
    ) as client:

        async def reader() -> None:
            for number in numbers:
                query: dict[str, str | int] = {
                    "include": ",".join(INCLUDE),
                    "order": "created_at",
                    "per_page": 100,
                    "offset": number * 99,
                }
                answer = await client.get("/people/v2/people", params=query)
                orjson.loads(answer.raise_for_status().content)

        await asyncio.gather(*(reader() for _ in range(_PARALLEL)))
    return time.monotonic() - began


def _pypco(asked: Parameters, stack: Stack, admin: Church, ran: Ran, shown: Shown) -> None:
    vendor(admin, **_paced(asked))
    token = admin.control.personal_access_token(organization(admin)["id"])
    client = pypco.PCO(token.id, token.secret, api_base=stack.url(SIMULATOR))
    mark = admin.control.mark()
    began = time.monotonic()
    listed = sum(1 for _ in client.iterate("/people/v2/people", per_page=100, include=",".join(INCLUDE)))
    seconds = time.monotonic() - began
    requests = len(admin.control.journal(after=mark, path="^/people/", limit=100_000))
    say(f"pypco: {seconds:.1f} s, {requests} requests")
    shown(
        Row(
            "pypco listing the same: wall ÷ ours",
            f"{seconds / ran.exchange_seconds:.2f}",
            "shown",
            None,
            f"{listed:,} people with the same includes, {seconds:.1f} s and {requests} requests; ours "
            f"{ran.exchange_seconds:.1f} s and {ran.requests}, stored as well; same latency, same limit",
        )
    )


def _now(asked: Parameters, admin: Church, shown: Shown) -> None:
    """*Sync this person now*, while a full run reads the church at the vendor's pace."""
    vendor(admin, **_paced(asked))
    members = [one for one in admin.get("/people/members", limit=200)["items"] if one["link"]][: asked.asked]
    run_id = admin.start("full")
    admin.eventually(lambda: admin.run(run_id)["progress"]["done"] > 0, "the run reads")
    ours: list[float] = []
    whole: list[float] = []
    for member in members:
        time.sleep(0.5)  # pace of a person at a screen
        if admin.run(run_id)["progress"]["phase"] != "pull":
            break
        mark = admin.control.mark()
        took = _sync_now(admin, member["id"])
        path = f"^/people/v2/people/{member['link']['pco_id']}$"
        entries = admin.control.journal(after=mark, path=path, limit=100)
        if not entries:
            raise RuntimeError("a person was synced without being read")
        whole.append(took)
        ours.append(took - sum(one["duration_ms"] for one in entries) / 1000)
    if len(ours) < min(_ENOUGH, asked.asked):
        raise RuntimeError(f"the run had read everybody before {_ENOUGH} people were asked for: {len(ours)}")
    admin.call("POST", f"/people/runs/{run_id}/stop")
    admin.wait(run_id)
    at = ceil(0.95 * len(ours)) - 1
    p95, p50, with_vendor = sorted(ours)[at], median(ours), sorted(whole)[at]
    shown(
        Row(
            "sync this person now, during a full run: p95",
            f"{p95 * 1000:.0f} ms",
            "< 300 ms",
            p95 < 0.3,
            f"{len(ours)} of {asked.people:,} people, one after the other, from the request at the door to the outcome "
            f"in people-sync, without the vendor's {asked.latency_ms} ms a request; median {p50 * 1000:.0f} ms, with "
            f"the vendor p95 {with_vendor * 1000:.0f} ms",
        )
    )


def _sync_now(admin: Church, member_id: str) -> float:
    """Seconds until the outcome, by people-sync's clock at the end."""
    began = datetime.now(UTC)
    sync_id = admin.call("POST", f"/people/members/{member_id}/sync")["id"]
    while True:
        found = admin.get(f"/people/syncs/{sync_id}")
        if found["state"] == "done":
            return (datetime.fromisoformat(found["finished_at"]) - began).total_seconds()
        time.sleep(0.05)


def apply(asked: Parameters, shown: Shown) -> None:
    """The write half of a first import, beside a bare COPY of its rows."""
    with church(asked.people, **FREE) as (stack, admin):
        ran = sync(admin, every=0.05)
        records = sum(ran.run["counts"].values())
        rows, bare = asyncio.run(copied(stack))
    seconds = ran.phases["apply"]
    ratio = bare / seconds
    shown(
        Row(
            "first import, applying: records/s",
            f"{records / seconds:,.0f}",
            "≥ 2,000",
            records / seconds >= 2000,
            f"{records:,} people and families in {seconds:.1f} s of {ran.seconds:.1f} s ({ran.shown()}); no limit and "
            "no latency, published to Kafka meanwhile",
        )
    )
    shown(
        Row(
            "first import, applying: records/s ÷ bare COPY of its rows",
            f"{ratio:.2f}",
            "≥ 0.1",
            ratio >= 0.1,
            f"{rows:,} rows of {', '.join(COPIED)} copied into empty tables with the same indexes in {bare:.1f} s; the "
            "messages, which are gone by then, left out",
        )
    )


def idle(asked: Parameters, shown: Shown) -> None:
    """CPU of every idle service, connected."""
    with church(1_000, services=SERVICES, **FREE) as (stack, admin):
        sync(admin)
        # The relay publishes a run's facts within seconds, and the other services read them.
        admin.eventually(lambda: max(spent(stack, 2.0).values()) < 0.05, "the stack comes to rest")
        used = spent(stack, float(asked.quiet))
    name, most = max(used.items(), key=lambda one: one[1])
    shown(
        Row(
            "idle: CPU of the busiest service",
            f"{most:.2%}",
            "< 1 % of a core",
            most < 0.01,
            f"{name}; over {asked.quiet} s: {', '.join(f'{one} {share:.2%}' for one, share in sorted(used.items()))}",
        )
    )


def push(asked: Parameters, shown: Shown) -> None:
    """Pushing new people with contacts and households."""
    latency, period = asked.latency_ms // asked.scale, asked.period // asked.scale
    with church(300, **FREE) as (_, admin):
        sync(admin)
        _add(admin, asked.new)
        vendor(admin, rate_limit=asked.limit, rate_period_seconds=period, latency_ms=latency)
        ran = sync(admin, "incremental")
    families = ceil(asked.new / 3)
    created = ran.run["counts"].get("created_there", 0)
    if created != asked.new + families:
        raise RuntimeError(f"{created} created, not {asked.new} people and {families} families: {ran.run['counts']}")
    least = floor(ran.requests, limit=asked.limit, period=period, latency=latency / 1000)
    ratio = ran.exchange_seconds / least
    scaled = f"period and latency divided by {asked.scale}, so " if asked.scale > 1 else ""
    shown(
        Row(
            "push of new people: wall ÷ floor",
            f"{ratio:.3f}",
            "≤ 1.05",
            ratio <= 1.05,
            f"{asked.new} people, each with e-mail, phone and address, in {families} households; {scaled}{latency} ms, "
            f"{asked.limit} requests per {period} s: {ran.exchange_seconds:.1f} s for all {ran.requests} requests of "
            f"the run ({sum(one['method'] != 'GET' for one in ran.entries)} of them writes), floor {least:.1f} s",
        )
    )


def _add(admin: Church, count: int) -> None:
    """Generated members, in the shape of a platform's bulk call."""
    members = [
        {
            "external_id": f"bench-{number}",
            "first_name": f"Person{number}",
            "last_name": f"Benchfamily{number // 3}",
            "email": f"bench.{number}@example.org",
            "phone": f"(202) 555-{number % 10_000:04}",
            "address": {"street_line_1": f"{number + 1} Mill Lane", "city": "Dover", "state": "NH", "zip": "03820"},
        }
        for number in range(count)
    ]
    families = [
        {
            "external_id": f"bench-family-{number}",
            "name": f"Benchfamily{number}",
            "member_external_ids": [f"bench-{member}" for member in range(number * 3, min(number * 3 + 3, count))],
        }
        for number in range(ceil(count / 3))
    ]
    for start in range(0, len(members), _PER_CALL):
        admin.call("PUT", "/people/bulk", json={"members": members[start : start + _PER_CALL]})
    for start in range(0, len(families), _PER_CALL):
        admin.call("PUT", "/people/bulk", json={"families": families[start : start + _PER_CALL]})


@dataclass(slots=True)
class _Peaks:
    """Peak memory of a process in bytes: resident by the kernel, unique (USS) by sampling."""

    resident: int = 0
    own: int = 0

    @classmethod
    @contextmanager
    def of(cls, pid: int) -> Iterator[Self]:
        """Measure the peak over a block."""
        peaks, ended, process = cls(), threading.Event(), psutil.Process(pid)
        Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")  # resets the resident peak

        def sample() -> None:
            while not ended.wait(0.1):
                peaks.own = max(peaks.own, process.memory_full_info().uss)

        sampler = threading.Thread(target=sample, daemon=True)
        sampler.start()
        try:
            yield peaks
        finally:
            ended.set()
            sampler.join()
            status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
            line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
            peaks.resident = int(line.split()[1]) * 1024


def memory(asked: Parameters, shown: Shown) -> None:
    """people-sync's peaks with a small and a large church, in a first run and in one without changes."""
    found: dict[tuple[int, str], _Peaks] = {}
    runs = ("first full run", "run with nothing to change")
    for people in (asked.small, asked.large):
        with church(people, **FREE) as (stack, admin):
            pid = stack.process(PEOPLE_SYNC).pid
            if pid is None:
                raise RuntimeError("people-sync does not run")
            for name in runs:
                with _Peaks.of(pid) as peaks:
                    sync(admin)
                found[people, name] = peaks
                say(f"{people:,} people, {name}: RSS {peaks.resident / _MIB:.0f} MB, USS {peaks.own / _MIB:.0f} MB")
    for name in runs:
        little, much = found[asked.small, name], found[asked.large, name]
        resident, own = (much.resident - little.resident) / _MIB, (much.own - little.own) / _MIB
        shown(
            Row(
                f"growth of people-sync's memory, {name}",
                f"{resident:.0f} MB",
                "< 50 MB",
                max(resident, own) < 50,
                f"peak RSS {little.resident / _MIB:.0f} MB with {asked.small:,} people, "
                f"{much.resident / _MIB:.0f} MB with {asked.large:,} (× {much.resident / little.resident:.2f}); "
                f"USS {little.own / _MIB:.0f} and {much.own / _MIB:.0f} MB",
            )
        )


def start(asked: Parameters, shown: Shown) -> None:
    """`make run` until the console answers, on an empty state directory and on the one it left."""
    fresh, again = [], []
    for _ in range(asked.repeat):
        with tempfile.TemporaryDirectory(prefix="bench-") as state:
            fresh.append(_make_run(state))
            again.append(_make_run(state))
    for name, times in (("fresh", fresh), ("existing", again)):
        seconds = median(times)
        shown(
            Row(
                f"make run to the console, {name} state",
                f"{seconds:.1f} s",
                "< 15 s",
                seconds < 15,
                f"{seconds / 15:.2f} × the aim; 1,000 people, everything installed, from `make run` to the console's "
                f"page and a ready door (median of {', '.join(f'{one:.1f}' for one in times)})",
            )
        )


def _make_run(state: str) -> float:
    ports = {name: free_port() for name in ("PORT", "SIMULATOR_PORT", "IDENTITY_PORT")}
    with tempfile.TemporaryFile() as output:
        began = time.monotonic()
        process = subprocess.Popen(
            ["make", "run", f"STATE={state}/state", "PEOPLE=1000", *(f"{name}={port}" for name, port in ports.items())],
            cwd=_ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKEOVERRIDES"}},
            start_new_session=True,
        )
        try:
            while not (
                _answers(f"http://localhost:{ports['PORT']}/") and _is_ready(Path(state) / "state" / "ports.json")
            ):
                if process.poll() is not None or time.monotonic() - began > _START_SECONDS:
                    output.seek(0)
                    raise RuntimeError(f"make run did not come up:\n{output.read().decode()}")
                time.sleep(0.05)
            seconds = time.monotonic() - began
        finally:
            _end(process)
    say(f"make run: {seconds:.1f} s")
    return seconds


def _is_ready(ports: Path) -> bool:
    """Whether the gateway is ready, by its operator's port, which the launcher stores in the state directory."""
    port = RememberedFile(ports).integer(f"{WEBHOOK_GATEWAY}.operator")
    return port is not None and _answers(f"http://localhost:{port}/readyz")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Send SIGINT to the whole process group, like Ctrl-C in a terminal."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            kill_tree(process.pid)
            process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def matching(asked: Parameters, shown: Shown) -> None:
    """Matching of unlinked people, first each with a unique e-mail, then all with the same one."""
    own = median(_match(asked.sharers, "{}@example.org") for _ in range(asked.repeat))
    shared = median(_match(asked.sharers, "office@example.org") for _ in range(asked.repeat))
    shown(
        Row(
            "matching, one e-mail shared by all: people/s ÷ without",
            f"{own / shared:.2f}",
            "≥ 0.5",
            own / shared >= 0.5,
            f"{asked.sharers:,} people there and {asked.sharers:,} members here, in batches of {_MATCHED}: "
            f"{asked.sharers / shared:,.0f} people/s with one e-mail, {asked.sharers / own:,.0f} with one each (median "
            f"of {asked.repeat}); counts and rows as a query gives them, its own time left out",
        )
    )


def _match(count: int, email: str) -> float:
    """CPU seconds of this process."""
    people = [Theirs(str(n), f"Person{n}", f"Family{n // 3}", emails=(email.format(n),)) for n in range(count)]
    members = [Local(f"m{n}", f"Person{n}", f"Family{n // 3}", email=email.format(n)) for n in range(count)]
    peers = [Peer(person.pco_id, person.name_keys(), person.email_keys()) for person in people]
    counts = (
        {email.format(n): Sharers.of(members[n : n + 1], peers[n : n + 1]) for n in range(count)}
        if "{}" in email
        else {email: Sharers.of(members, peers)}
    )
    seconds = 0.0
    for start in range(0, count, _MATCHED):
        batch = slice(start, start + _MATCHED)
        began = time.process_time()
        found = match_people(people[batch], members[batch], counts)
        seconds += time.process_time() - began
        if any(one.member_ids != (f"m{pco_id}",) for pco_id, one in found.items()):
            raise RuntimeError("a person was not matched")
    return seconds
