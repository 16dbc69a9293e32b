"""The plan of a very large run: its first rows, and the whole plan as a file."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from math import ceil
from statistics import median
from typing import Any, Final

import asyncpg

from bench.parameters import Parameters
from bench.table import Row
from bench.work import FREE, church, say
from contracts.values import PEOPLE_SYNC
from local_stack.church import Church
from local_stack.stack import Stack

Shown = Callable[[Row], None]
_LOOKS: Final = 40
"""Number of repetitions of each read."""
_ROWS: Final = 25
_BARE: Final = """
    SELECT *, (SELECT count(*) FROM change WHERE run_id = $1 AND planned IS NOT NULL) FROM change
    WHERE run_id = $1 AND planned IS NOT NULL ORDER BY id LIMIT $2
"""
"""The same rows and their number by bare SQL, without service and gateway."""


def plan(asked: Parameters, shown: Shown) -> None:
    """The first rows of a first import's plan through the gateway, beside a bare query of the same rows."""
    with church(asked.people, **FREE) as (stack, admin):
        admin.call("PATCH", "/people/settings", json={"first_match": "planning_center"})
        began = time.monotonic()
        run = admin.preview(within=1800)
        made = time.monotonic() - began
        changes = sum(count for name, count in run["question"]["counts"].items() if name != "may_be_mailed")
        say(f"a plan of {changes:,} changes after {made:.1f} s")
        path = f"/people/runs/{run['id']}/plan"
        deep = admin.get(path, limit=200)
        for _ in range(50):
            deep = admin.get(path, limit=200, after=deep["next"]) if deep["next"] else deep
        questions: dict[str, dict[str, Any]] = {
            "first rows": {"limit": _ROWS},
            "one outcome": {"limit": _ROWS, "outcome": "created_here"},
            "an outcome that few have": {"limit": _ROWS, "outcome": "conflict"},
            "deep": {"limit": _ROWS, "after": deep["next"] or ""},
        }
        found = {name: _p95(partial(admin.get, path, **query)) for name, query in questions.items()}
        bare = asyncio.run(_bare(stack, run["id"]))
        seconds, size = _file(admin, path)
        admin.call("POST", f"/people/runs/{run['id']}/answer", json={"question": "plan", "answer": "stop"})
    worst = max(found.values())
    shown(
        Row(
            "plan of a run: first rows, p95 of the slowest question",
            f"{worst * 1000:.0f} ms",
            "< 1 s",
            worst < 1,
            f"{changes:,} changes, {_ROWS} rows and the total, {_LOOKS} times each, with the door's share: "
            + ", ".join(f"{name} {taken * 1000:.0f} ms" for name, taken in found.items())
            + f"; a bare query of the first rows {bare * 1000:.0f} ms; the whole as CSV {size / 1e6:.1f} MB in "
            f"{seconds:.1f} s; {made:.0f} s from Preview to the plan",
        )
    )


def _p95(ask: Callable[[], Any]) -> float:
    took = []
    for _ in range(_LOOKS):
        began = time.perf_counter()
        ask()
        took.append(time.perf_counter() - began)
    return sorted(took)[ceil(0.95 * len(took)) - 1]


async def _bare(stack: Stack, run_id: str) -> float:
    connection = await asyncpg.connect(stack.database_url(PEOPLE_SYNC, driver="postgresql"))
    took = []
    try:
        for _ in range(_LOOKS):
            began = time.perf_counter()
            await connection.fetch(_BARE, run_id, _ROWS)
            took.append(time.perf_counter() - began)
    finally:
        await connection.close()
    return median(took)


def _file(admin: Church, path: str) -> tuple[float, int]:
    """Seconds and bytes of the whole plan as a file."""
    began = time.perf_counter()
    with admin.api.stream("GET", f"/api/v1{path}.csv", timeout=120) as answer:
        answer.raise_for_status()
        size = sum(map(len, answer.iter_bytes()))
    return time.perf_counter() - began, size
