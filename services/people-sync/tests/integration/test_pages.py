"""Page keys of lists can be decoded, and do not reveal the activity of other churches."""

import base64
import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from people_sync.storage.sync_tables import Change, Run
from servicekit.http import paging

pytestmark = pytest.mark.asyncio(loop_scope="session")
BEGIN = {"pco_organization_id": "77", "kind": "full", "state": "done", "trigger": "person", "counts": {}}


async def walk(church: Any, path: str) -> tuple[list[Any], list[Any]]:
    """All rows of a list, two per page, and the page keys."""
    rows: list[Any] = []
    places: list[Any] = []
    after = ""
    while True:
        page = await church.call("GET", f"{path}?limit=2{after}")
        rows += page["items"]
        if page["next"] is None:
            return rows, places
        places.append(json.loads(base64.urlsafe_b64decode(page["next"] + "=" * (-len(page["next"]) % 4))))
        after = f"&after={page['next']}"


async def test_records_of_a_run_are_paged_by_their_own_ids(church: Any, another: Any) -> None:
    """Also past rows that an erasure left without any id, wherever a page ends."""
    other, run, others = await another("org-2"), uuid4(), uuid4()
    at = datetime(2026, 1, 5, tzinfo=UTC)
    for one, id_ in ((church, run), (other, others)):
        await one.store(Run, BEGIN | {"id": id_, "created_at": at, "finished_at": at})
    named: list[dict[str, Any]] = [
        {"pco_id": None},
        {"pco_id": None},
        {"pco_id": None},
        {"record_id": uuid4(), "pco_id": "1"},
        {"pco_id": None},
        {"pco_id": "2"},
        {"pco_id": None},
        {"pco_id": None},
        {"record_id": uuid4()},
        {"pco_id": "3"},
        {"pco_id": "4"},
    ]
    rest = {"kind": "member", "outcome": "linked", "here": "none", "there": "none", "planned": "linked", "plan": []}
    for number, ids in enumerate(named):
        await church.store(Change, rest | {"run_id": run, "name": f"n{number}"} | ids)
        for busy in range(number % 3):
            await other.store(Change, rest | {"run_id": others, "name": "x", "pco_id": f"{number}-{busy}"})

    for path in (f"/runs/{run}/items", f"/runs/{run}/plan"):
        rows, places = await walk(church, path)
        assert [row["name"] for row in rows] == [f"n{number}" for number in range(len(named))]
        of_rows = [(str(ids.get("record_id", "")), ids.get("pco_id") or "") for ids in named]
        shown = {id_ for ids in of_rows for id_ in ids if id_}
        for kind, record_id, pco_id, behind in places:
            assert kind in {"", "member"}
            assert {record_id, pco_id} <= shown | {""}
            assert 0 <= behind <= 4
    for bad in (
        ("member", "", "99", 0),
        ("member", str(uuid4()), "", 0),
        ("member", "", "2", -1),
        ("member", "x", "", 0),
    ):
        await church.call("GET", f"/runs/{run}/items?after={paging.encode(*bad)}", status=422)
    await church.call("GET", f"/runs/{run}/items?after={paging.encode(7)}", status=422)
