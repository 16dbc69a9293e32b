"""Conflicts: a very long list, and decisions from the click to both sides."""

import asyncio
import time
from collections.abc import Callable
from math import ceil
from statistics import median
from typing import Any, Final

import asyncpg

from bench.parameters import Parameters
from bench.table import Row
from bench.work import FREE, church, floor, say, sync, vendor
from contracts.values import CONFLICT_SERVICE
from local_stack.church import Church
from local_stack.stack import SERVICES, Stack

Shown = Callable[[Row], None]
_LOOKS: Final = 60
"""Number of repetitions of each query."""

_MANY: Final = """
    INSERT INTO conflict (
        organization_id, id, record, family_ids, fields, state, source_version, version, values_version, opened_at,
        updated_at, child, field_names, one_side_empty, newer, together, placed_at
    )
    SELECT $1, gen_random_uuid(),
        jsonb_build_object(
            'kind', 'member', 'id', gen_random_uuid(), 'name', 'Person ' || number, 'pco_id', number::text,
            'family_ids', jsonb_build_array('family-' || number / 4), 'child', number % 3 = 0
        ),
        ARRAY['family-' || number / 4],
        jsonb_build_array(jsonb_build_object(
            'field', name, 'base', 'old', 'base_known', true, 'ours', 'ours ' || number,
            'theirs', CASE WHEN number % 10 = 0 THEN NULL ELSE 'theirs ' || number END
        )),
        'open', 1, 1, 1, now() - number * interval '10 s', now(), number % 3 = 0, ARRAY[name], number % 10 = 0,
        (ARRAY['ours', 'theirs', NULL])[number % 5 % 3 + 1],
        'family-' || number / 4, now() - (number / 4 * 4 + 3) * interval '10 s'
    FROM generate_series(1, $2::int) AS number,
        LATERAL (SELECT (ARRAY['email', 'phone', 'address', 'last_name'])[number % 4 + 1] AS name) AS field
"""


def conflicts(asked: Parameters, shown: Shown) -> None:
    """List, filter and count conflicts through the gateway, in a church with very many open ones."""
    with church(100, services=SERVICES, **FREE) as (stack, admin):
        asyncio.run(_fill(stack, str(admin.get("/me")["user"]["organization_id"]), asked.conflicts))
        deep = admin.get("/conflicts", limit=200)
        for _ in range(20):
            deep = admin.get("/conflicts", limit=200, after=deep["next"])
        questions: dict[str, tuple[str, dict[str, Any]]] = {
            "list": ("/conflicts", {"limit": 25}),
            "list, deep": ("/conflicts", {"limit": 25, "after": deep["next"]}),
            "one field": ("/conflicts", {"limit": 25, "field": "phone"}),
            "children with an empty side": ("/conflicts", {"limit": 25, "child": True, "one_side_empty": True}),
            "one family": ("/conflicts", {"limit": 25, "family_id": "family-77"}),
            "nobody's": ("/conflicts", {"limit": 1, "record_id": "nobody"}),
            "older than a week": ("/conflicts", {"limit": 25, "older_than_days": 7}),
            "newer here": ("/conflicts", {"limit": 25, "newer": "ours"}),
            "newer there, children": ("/conflicts", {"limit": 25, "newer": "theirs", "child": True}),
            "count": ("/conflicts/count", {}),
        }
        found = {name: _p95(admin, path, query) for name, (path, query) in questions.items()}
    worst = max(found.values())
    shown(
        Row(
            "conflicts: list, filter, count: p95 of the slowest",
            f"{worst * 1000:.0f} ms",
            "< 50 ms",
            worst < 0.05,
            f"{asked.conflicts:,} open in one church, {_LOOKS} times each, with the door's share: "
            + ", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in found.items()),
        )
    )


async def _fill(stack: Stack, organization_id: str, count: int) -> None:
    connection = await asyncpg.connect(stack.database_url(CONFLICT_SERVICE, driver="postgresql"))
    try:
        await connection.execute(_MANY, organization_id, count)
        await connection.execute("VACUUM ANALYZE conflict")  # like autovacuum
    finally:
        await connection.close()
    say(f"{count:,} open conflicts")


def _p95(admin: Church, path: str, query: dict[str, Any]) -> float:
    took = []
    for _ in range(_LOOKS):
        began = time.perf_counter()
        admin.get(path, **query)
        took.append(time.perf_counter() - began)
    return sorted(took)[ceil(0.95 * len(took)) - 1]


def decide(asked: Parameters, shown: Shown) -> None:
    """Decide single conflicts: from the click to both sides and the badge, without the vendor's round trips."""
    with church(1_000, services=SERVICES, **FREE) as (_, admin):
        sync(admin)
        pco = str(admin.control.organizations()[0]["id"])
        members = [one for one in admin.get("/people/members", limit=200)["items"] if one["link"]][: asked.asked]
        for member in members:
            admin.change_member(member, last_name="Here")
            admin.control.edit_person(pco, member["link"]["pco_id"], last_name="There")
        admin.sync()
        admin.eventually(lambda: admin.get("/conflicts/count")["open"] == len(members), "the conflicts are open")
        ours, whole = [], []
        for conflict in list(admin.all("/conflicts")):
            time.sleep(0.5)  # pace of a person at a screen
            mark = admin.control.mark()
            took = _decide(admin, conflict)
            path = f"^/people/v2/people/{conflict['record']['pco_id']}$"
            entries = admin.control.journal(after=mark, path=path, limit=100)
            whole.append(took)
            ours.append(took - sum(one["duration_ms"] for one in entries) / 1000)
    at = ceil(0.95 * len(ours)) - 1
    p95, with_vendor = sorted(ours)[at], sorted(whole)[at]
    shown(
        Row(
            "a decision, from the click to both sides and the badge: p95",
            f"{p95 * 1000:.0f} ms",
            "< 300 ms",
            p95 < 0.3,
            f"{len(ours)} of 1,000 people, ours kept, from the request at the door until it is told as settled; "
            f"without the vendor's answers; median {median(ours) * 1000:.0f} ms, with the vendor p95 "
            f"{with_vendor * 1000:.0f} ms",
        )
    )


def _decide(admin: Church, conflict: dict[str, Any]) -> float:
    """Seconds until the conflict is published as settled."""
    choices = {field["field"]: "ours" for field in conflict["fields"]}
    body = {"values_version": conflict["values_version"], "choices": choices}
    began = time.perf_counter()
    admin.call("POST", f"/conflicts/{conflict['id']}/decision", json=body)
    while admin.get(f"/conflicts/{conflict['id']}")["state"] != "resolved":
        if time.perf_counter() - began > 60:
            raise RuntimeError("a decision was not carried out within a minute")
        time.sleep(0.01)
    return time.perf_counter() - began


def bulk(asked: Parameters, shown: Shown) -> None:
    """One answer to many, from the click until both sides have it, against the floor of the vendor's limit."""
    latency, period = asked.latency_ms // asked.scale, asked.period // asked.scale
    with church(asked.bulk, services=SERVICES, **FREE) as (_, admin):
        sync(admin)
        pco = str(admin.control.organizations()[0]["id"])
        members = admin.members(state="linked")[: asked.bulk]
        for member in members:
            admin.change_member(member, last_name=f"Here{member['link']['pco_id']}")
            admin.control.edit_person(pco, member["link"]["pco_id"], last_name="There")
        sync(admin)
        admin.eventually(
            lambda: admin.get("/conflicts/count")["open"] == len(members), "the conflicts are open", within=600
        )
        vendor(admin, rate_limit=asked.limit, rate_period_seconds=period, latency_ms=latency)
        preview = admin.call("POST", "/conflicts/bulk", json={"answer": "ours"})
        mark = admin.control.mark()
        began = time.perf_counter()
        path = f"/conflicts/bulk/{preview['id']}"
        admin.call("POST", f"{path}/answer", json={"digest": preview["digest"]})
        while (now := admin.get(path))["state"] != "done" or now["waiting"]:
            if time.perf_counter() - began > 3600:
                raise RuntimeError(f"an answer to many was not carried out within an hour: {now}")
            time.sleep(0.2)
        wall = time.perf_counter() - began
        entries = admin.control.journal(after=mark, path="^/people/", limit=100_000)
    if now["applied"] != len(members) or now["refused"]:
        raise RuntimeError(f"not everything was applied: {now}")
    least = floor(len(entries), limit=asked.limit, period=period, latency=latency / 1000)
    scaled = f"period and latency divided by {asked.scale}, so " if asked.scale > 1 else ""
    shown(
        Row(
            "one answer to many conflicts: wall ÷ floor",
            f"{wall / least:.3f}",
            "≤ 1.05",
            wall / least <= 1.05,
            f"{len(members):,} people, ours kept, from the click until all are told as settled; {scaled}{latency} ms, "
            f"{asked.limit} requests per {period} s: {wall:.1f} s for all {len(entries)} requests "
            f"({sum(one['method'] != 'GET' for one in entries)} of them writes), floor {least:.1f} s",
        )
    )
