"""Undo of a sync with very many changes, on both sides."""

import time
from collections.abc import Callable
from datetime import datetime

from bench.parameters import Parameters
from bench.table import Row
from bench.work import FREE, church, floor, say, sync, vendor

Shown = Callable[[Row], None]


def undo(asked: Parameters, shown: Shown) -> None:
    """From the approval until both sides have the former values, against the floor of the vendor's limit."""
    latency, period = asked.latency_ms // asked.scale, asked.period // asked.scale
    with church(asked.undo, **FREE) as (_, admin):
        admin.call("PATCH", "/people/settings", json={"threshold_percent": 100})
        sync(admin)
        pco = str(admin.control.organizations()[0]["id"])
        members = admin.members(state="linked")[: asked.undo]
        for member in members:
            admin.control.edit_person(pco, member["link"]["pco_id"], last_name="Changed")
        ran = sync(admin)
        if ran.run["counts"].get("updated_here", 0) < len(members):
            raise RuntimeError(f"not everybody was changed: {ran.run['counts']}")
        vendor(admin, rate_limit=asked.limit, rate_period_seconds=period, latency_ms=latency)
        run = admin.call("POST", "/people/undo", json={"run_id": ran.run["id"]})
        began = time.perf_counter()
        admin.eventually(lambda: admin.run(run["id"])["question"], "the undo has its plan", within=600)
        plan = time.perf_counter() - began
        say(f"the plan took {plan:.1f} s")
        mark = admin.control.mark()
        planned = admin.run(run["id"])
        answer = {"question": "undo", "answer": "approve", "digest": planned["question"]["digest"]}
        approved = time.time()
        admin.call("POST", f"/people/runs/{run['id']}/answer", json=answer)
        now = admin.wait(run["id"], within=3600)
        wall = datetime.fromisoformat(now["finished_at"]).timestamp() - approved
        entries = admin.control.journal(after=mark, path="^/people/", limit=100_000)
    if now["state"] != "done" or now["counts"].get("undone", 0) < len(members):
        raise RuntimeError(f"not everything was put back: {now}")
    least = floor(len(entries), limit=asked.limit, period=period, latency=latency / 1000)
    scaled = f"period and latency divided by {asked.scale}, so " if asked.scale > 1 else ""
    shown(
        Row(
            "undo of a sync: wall ÷ floor",
            f"{wall / least:.3f}",
            "≤ 1.1",
            wall / least <= 1.1,
            f"{len(members):,} people, from the approval to the end; {scaled}{latency} ms, {asked.limit} requests per "
            f"{period} s: {wall:.1f} s for all {len(entries)} requests "
            f"({sum(one['method'] != 'GET' for one in entries)} of them writes), floor {least:.1f} s; the plan before "
            f"it took {plan:.1f} s",
        )
    )
